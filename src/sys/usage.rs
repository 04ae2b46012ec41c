//! What the process uses and where it runs, as INFO tells it.

use std::mem::MaybeUninit;

/// The owner of a processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Process,
    Children,
    ThisThread,
}

/// Processor time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    pub system_us: u64,
    pub user_us: u64,
}

pub fn cpu_time(whose: Whose) -> CpuTime {
    let target = match whose {
        Whose::Process => libc::RUSAGE_SELF,
        Whose::Children => libc::RUSAGE_CHILDREN,
        Whose::ThisThread => libc::RUSAGE_THREAD,
    };
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is valid for a rusage, which the call fills when it succeeds.
    let usage = unsafe {
        if libc::getrusage(target, usage.as_mut_ptr()) != 0 {
            return CpuTime::default();
        }
        usage.assume_init()
    };
    let us = |t: libc::timeval| {
        let (seconds, micros) = (u64::try_from(t.tv_sec), u64::try_from(t.tv_usec));
        seconds.unwrap_or(0).saturating_mul(1_000_000).saturating_add(micros.unwrap_or(0))
    };
    CpuTime { system_us: us(usage.ru_stime), user_us: us(usage.ru_utime) }
}

/// `Linux 6.1.0 x86_64`.
pub fn system_name() -> String {
    let mut name = MaybeUninit::<libc::utsname>::uninit();
    // SAFETY: the pointer is valid for a utsname, which the call fills when it succeeds.
    let name = unsafe {
        if libc::uname(name.as_mut_ptr()) != 0 {
            return String::from("unknown");
        }
        name.assume_init()
    };
    let text = |field: &[libc::c_char]| -> String {
        field.iter().take_while(|c| **c != 0).map(|c| char::from(c.to_ne_bytes()[0])).collect()
    };
    format!("{} {} {}", text(&name.sysname), text(&name.release), text(&name.machine))
}

fn sysconf(name: libc::c_int) -> usize {
    // SAFETY: sysconf takes a plain number.
    usize::try_from(unsafe { libc::sysconf(name) }).unwrap_or(0)
}

/// Bytes of memory that the machine has.
pub fn total_memory() -> usize {
    sysconf(libc::_SC_PHYS_PAGES).saturating_mul(sysconf(libc::_SC_PAGESIZE))
}

/// Bytes of this process that are in memory.
pub fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0);
    pages.saturating_mul(sysconf(libc::_SC_PAGESIZE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_plausible() {
        assert!(resident() > 100_000 && resident() < total_memory());
        assert!(system_name().starts_with("Linux "));
        let (all, mine) = (cpu_time(Whose::Process), cpu_time(Whose::ThisThread));
        assert!(all.system_us + all.user_us > 0);
        assert!(mine.system_us + mine.user_us <= all.system_us + all.user_us + 1_000_000);
    }
}
