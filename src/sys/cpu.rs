//! Binding threads to processors, from lists in the form taskset takes: `0,2,4-10:2` is processors 0 and
//! 2, and from 4 to 10 every second one.
//!
//! ```text
//!  list = item { "," item }        item = number [ "-" number [ ":" number ] ]
//! ```

use std::io;

const LIMIT: usize = libc::CPU_SETSIZE as usize;

/// The processors of a list; None where it is malformed, a range runs backwards or its step is 0. Those
/// past what a mask can name are left out.
pub fn parse(list: &[u8]) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for item in list.split(|&b| b == b',') {
        let (first, last, step) = match item.split_once_byte(b'-') {
            None => (number(item)?, None, 1),
            Some((first, rest)) => match rest.split_once_byte(b':') {
                None => (number(first)?, Some(number(rest)?), 1),
                Some((last, step)) => (number(first)?, Some(number(last)?), number(step)?),
            },
        };
        let last = last.unwrap_or(first);
        if first > last || step == 0 {
            return None;
        }
        cpus.extend((first..=last.min(LIMIT - 1)).step_by(step));
    }
    Some(cpus)
}

fn number(digits: &[u8]) -> Option<usize> {
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

trait SplitOnce {
    fn split_once_byte(&self, at: u8) -> Option<(&[u8], &[u8])>;
}

impl SplitOnce for [u8] {
    fn split_once_byte(&self, at: u8) -> Option<(&[u8], &[u8])> {
        let i = self.iter().position(|&b| b == at)?;
        Some((&self[..i], &self[i + 1..]))
    }
}

/// Binds the calling thread (and those it will start) to a list. A bad list is an error and changes
/// nothing.
pub fn bind(list: &[u8]) -> io::Result<()> {
    let cpus = parse(list).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: a mask is plain bits, and all zero is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for cpu in cpus {
        debug_assert!(cpu < LIMIT);
        // SAFETY: `parse` gives only numbers that the mask has a bit for.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the mask is a live local of the size given; 0 is this thread.
    let rc = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Processors that the process may use: by its mask, and by the quota of its control group.
pub fn usable() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_taskset_does() {
        let p = |s: &str| parse(s.as_bytes());
        assert_eq!(p("0"), Some(vec![0]));
        assert_eq!(p("0,2,4-10:2"), Some(vec![0, 2, 4, 6, 8, 10]));
        assert_eq!(p("1-3,7"), Some(vec![1, 2, 3, 7]));
        assert_eq!(p("0-10:20"), Some(vec![0]));
        assert_eq!(p("1022-4000000000"), Some(vec![1022, 1023]));
        assert_eq!(p("5000"), Some(vec![]));
        for bad in
            ["", ",", "0,", ",0", "a", "0-", "-1", "3-1", "0-4:0", "0-4:", "0:2", "1 ", "+1", "0-2-4"]
        {
            assert_eq!(p(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_thread_is_bound() {
        let mine = || {
            // SAFETY: zero is a valid mask, and the kernel fills one of that size.
            unsafe {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &mut set), 0);
                (0..LIMIT).filter(|&c| libc::CPU_ISSET(c, &set)).collect::<Vec<_>>()
            }
        };
        // A thread of its own: the binding stays with it.
        let test = move || {
            let all = mine();
            assert!(bind(b"5000").is_err() && bind(b"x").is_err());
            assert_eq!(mine(), all);
            let last = *all.last().expect("it runs somewhere");
            bind(last.to_string().as_bytes()).expect("allowed before");
            assert_eq!(mine(), [last]);
        };
        std::thread::spawn(test).join().expect("passes");
    }
}
