//! Reading the log, one command after the other.
//!
//! ```text
//! *2 \r\n $3 \r\n GET \r\n $1 \r\n k \r\n      #TS:1700000000 \r\n (skipped)      end
//! ```
//!
//! Ways to be broken: `Short`, the file ends inside a command (the last write before a crash; what
//! stands before `whole` is sound), and `Format`, something else stands where a count or a length
//! should. Bytes are taken as they come: a length is believed only as far as the file goes.

use crate::algo::num::decimal;
use std::io::{self, BufRead, Read};

/// Counts, lengths and notes stand in lines of at most so many bytes.
const LINE: u64 = 1024;

#[derive(Debug)]
pub enum AofBroken {
    Short,
    Format,
    Io(io::Error),
}

pub struct Reader<R> {
    from: R,
    at: u64,
    line: Vec<u8>,
    /// The line ends where the file does.
    cut: bool,
}

impl<R: BufRead> Reader<R> {
    /// `at`: where `from` stands in its file.
    pub fn new(from: R, at: u64) -> Self {
        Reader { from, at, line: Vec::new(), cut: false }
    }

    /// Bytes up to here.
    pub fn position(&self) -> u64 {
        self.at
    }

    /// The next command into `args`; false at the end of the file.
    pub fn next(&mut self, args: &mut Vec<Vec<u8>>) -> Result<bool, AofBroken> {
        args.clear();
        let count = loop {
            if !self.line()? {
                return Ok(false);
            }
            match self.line.split_first() {
                Some((b'#', _)) => continue,
                Some((b'*', [])) if self.cut => return Err(AofBroken::Short),
                Some((b'*', digits)) => break decimal(digits).filter(|n: &u64| *n >= 1),
                _ => return Err(AofBroken::Format),
            }
        };
        let count = count.ok_or(AofBroken::Format)?;
        for _ in 0..count {
            if !self.line()? {
                return Err(AofBroken::Short);
            }
            let Some((b'$', digits)) = self.line.split_first() else { return Err(AofBroken::Format) };
            if digits.is_empty() && self.cut {
                return Err(AofBroken::Short);
            }
            let len = decimal(digits).ok_or(AofBroken::Format)?;
            let arg = self.bytes(len)?;
            self.bytes(2)?;
            args.push(arg);
        }
        Ok(true)
    }

    /// Reads a line, without its end; false when there is none.
    fn line(&mut self) -> Result<bool, AofBroken> {
        self.line.clear();
        let n =
            self.from.by_ref().take(LINE).read_until(b'\n', &mut self.line).map_err(AofBroken::Io)?;
        self.at = self.at.saturating_add(n as u64);
        self.cut = self.line.last() != Some(&b'\n') && (n as u64) < LINE;
        while let Some(b'\n' | b'\r') = self.line.last() {
            self.line.pop();
        }
        Ok(n > 0)
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, AofBroken> {
        let mut out = Vec::new();
        let n = self.from.by_ref().take(len).read_to_end(&mut out).map_err(AofBroken::Io)?;
        self.at = self.at.saturating_add(n as u64);
        if n as u64 == len { Ok(out) } else { Err(AofBroken::Short) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::aof::{push_command, push_timestamp};

    fn sample() -> (Vec<u8>, Vec<Vec<Vec<u8>>>) {
        let commands: Vec<Vec<Vec<u8>>> = vec![
            vec![b"SELECT".to_vec(), b"0".to_vec()],
            vec![b"SET".to_vec(), b"k".to_vec(), b"a\r\n*1\r\n".to_vec()],
            vec![b"SET".to_vec(), b"".to_vec(), vec![b'x'; 70_000]],
        ];
        let mut text = Vec::new();
        for (i, c) in commands.iter().enumerate() {
            push_timestamp(&mut text, 1_700_000_000 + i as i64);
            push_command(&mut text, &c.iter().map(|a| &a[..]).collect::<Vec<_>>());
        }
        (text, commands)
    }

    /// All commands, where the last whole one ends, and what was wrong then.
    fn all(text: &[u8]) -> (Vec<Vec<Vec<u8>>>, u64, Option<AofBroken>) {
        let mut r = Reader::new(text, 0);
        let (mut args, mut got, mut whole) = (Vec::new(), Vec::new(), 0);
        loop {
            match r.next(&mut args) {
                Ok(true) => {
                    got.push(args.clone());
                    whole = r.position();
                }
                Ok(false) => return (got, whole, None),
                Err(e) => return (got, whole, Some(e)),
            }
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (text, commands) = sample();
        let (got, whole, broken) = all(&text);
        assert_eq!((got, whole), (commands, text.len() as u64));
        assert!(broken.is_none());
    }

    #[test]
    fn a_cut_anywhere_leaves_the_commands_before_it() {
        let (text, commands) = sample();
        let ends: Vec<u64> = (0..commands.len()).map(|i| all_until(&text, i + 1)).collect();
        for cut in (0..300).chain([text.len() - 2, text.len() - 1]) {
            let (got, whole, broken) = all(&text[..cut]);
            let expected = ends.iter().filter(|e| **e <= cut as u64).count();
            assert_eq!(got[..], commands[..expected], "cut at {cut}");
            assert_eq!(whole, ends[..expected].last().copied().unwrap_or(0));
            assert!(matches!(broken, None | Some(AofBroken::Short)), "cut at {cut}: {broken:?}");
        }
    }

    fn all_until(text: &[u8], n: usize) -> u64 {
        let (mut r, mut args) = (Reader::new(text, 0), Vec::new());
        (0..n).for_each(|_| assert!(r.next(&mut args).expect("sound")));
        r.position()
    }

    #[test]
    fn what_is_no_command_is_told_apart_from_a_short_file() {
        let number = ["*x\r\n", "*0\r\n", "*-1\r\n", "*1\r\nGET\r\n", "*1\r\n$-1\r\n"];
        // A short file is cut, so a line without a number must not pass for one.
        let nothing = ["*\r\n", "*\n*1\r\n", "*1\r\n$\r\nabc\r\n"];
        for text in number.iter().chain(&nothing).chain(&["SET a b\r\n"]) {
            assert!(matches!(all(text.as_bytes()).2, Some(AofBroken::Format)), "{text}");
        }
        for text in ["*", "*1", "*1\r", "*1\r\n$", "*1\r\n$3", "*1\r\n$3\r\nabc\r"] {
            assert!(matches!(all(text.as_bytes()).2, Some(AofBroken::Short)), "{text}");
        }
        let (_, _, broken) = all(b"*1\r\n$18446744073709551615\r\nabc\r\n");
        assert!(matches!(broken, Some(AofBroken::Short)), "a length is no reason to allocate");
    }

    #[test]
    fn a_read_that_fails_is_not_the_end_of_the_file() {
        struct Sick<'a>(&'a [u8]);
        impl Read for Sick<'_> {
            fn read(&mut self, b: &mut [u8]) -> io::Result<usize> {
                match self.0.read(b) {
                    Ok(0) if !b.is_empty() => Err(io::Error::from_raw_os_error(libc::EIO)),
                    done => done,
                }
            }
        }
        let (text, _) = sample();
        for cut in (0..300).chain([text.len()]) {
            let mut r = Reader::new(io::BufReader::with_capacity(16, Sick(&text[..cut])), 0);
            let mut args = Vec::new();
            let end = loop {
                match r.next(&mut args) {
                    Ok(true) => {}
                    end => break end,
                }
            };
            assert!(matches!(end, Err(AofBroken::Io(_))), "{cut}: {end:?}");
        }
    }
}
