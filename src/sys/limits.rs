//! Limits of the process. That of open files is raised to what `maxclients` needs, or `maxclients`
//! lowered to what it allows.

use super::errno;
use crate::{notice, warning};

/// Descriptors kept for other uses than clients: listeners, files, the links of replication.
pub const MIN_RESERVED_FDS: u64 = 32;
/// How far one attempt lies below the one before.
const STEP: u64 = 16;

/// Makes room for `maxclients` clients and returns how many there is room for. None when there is not
/// even room for one, which has been logged: the server exits with 1.
pub fn adjust_open_files(maxclients: u32) -> Option<u32> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is a live local.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == -1 {
        let e = errno::text(&std::io::Error::last_os_error());
        warning!(
            "Unable to obtain the current NOFILE limit ({e}), assuming 1024 and setting the max clients \
             configuration accordingly."
        );
        return u32::try_from(1024 - MIN_RESERVED_FDS).ok();
    }
    let kernel = std::fs::read_to_string("/proc/sys/fs/nr_open").ok();
    let kernel = kernel.and_then(|s| s.trim().parse().ok()).unwrap_or(0);
    decide(maxclients, limit.rlim_cur, limit.rlim_max.max(kernel), |files| {
        let limit = libc::rlimit { rlim_cur: files, rlim_max: files };
        // SAFETY: as above.
        let rc = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
        if rc == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    })
}

/// Bytes that the C stack of the main thread may grow to.
pub fn stack() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is a live local.
    let told = unsafe { libc::getrlimit(libc::RLIMIT_STACK, &mut limit) } == 0;
    if told { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { 1 << 20 }
}

/// `now` is the limit in force, `ceiling` one that certainly cannot be exceeded.
fn decide(
    maxclients: u32,
    now: u64,
    ceiling: u64,
    mut set: impl FnMut(u64) -> std::io::Result<()>,
) -> Option<u32> {
    let wanted = u64::from(maxclients) + MIN_RESERVED_FDS;
    if now >= wanted {
        return Some(maxclients);
    }
    let Err(mut error) = set(wanted) else {
        notice!("Increased maximum number of open files to {wanted} (it was originally set to {now}).");
        return Some(maxclients);
    };
    // Downwards from `wanted` in steps, without those that are bound to fail.
    let hopeless = wanted.saturating_sub(ceiling).div_ceil(STEP).max(1);
    let mut best = wanted.saturating_sub(hopeless * STEP);
    while best > now {
        match set(best) {
            Ok(()) => break,
            Err(e) => error = e,
        }
        best = best.saturating_sub(STEP);
    }
    let best = best.max(now);
    if best <= MIN_RESERVED_FDS {
        warning!(
            "Your current 'ulimit -n' of {now} is not enough for the server to start. Please increase \
             your open file limit to at least {wanted}. Exiting."
        );
        return None;
    }
    let room = u32::try_from(best - MIN_RESERVED_FDS).expect("less than maxclients");
    let error = errno::text(&error);
    warning!(
        "You requested maxclients of {maxclients} requiring at least {wanted} max file descriptors."
    );
    warning!("Server can't set maximum open files to {wanted} because of OS error: {error}.");
    warning!(
        "Current maximum open files is {best}. maxclients has been reduced to {room} to compensate \
         for low ulimit. If you need higher maxclients increase 'ulimit -n'."
    );
    Some(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{play, role};
    use std::io::{Error, Result};

    /// A kernel that allows up to `max`, and what it was asked for.
    fn ask(maxclients: u32, now: u64, max: u64, ceiling: u64) -> (Option<u32>, Vec<u64>) {
        let mut asked = Vec::new();
        let set = |n: u64| -> Result<()> {
            asked.push(n);
            if n <= max { Ok(()) } else { Err(Error::from_raw_os_error(libc::EPERM)) }
        };
        let got = decide(maxclients, now, ceiling, set);
        (got, asked)
    }

    #[test]
    fn the_limit_is_raised_or_the_clients_reduced() {
        assert_eq!(ask(10_000, 20_000, 0, 0), (Some(10_000), vec![]));
        assert_eq!(ask(10_000, 10_032, 0, 0), (Some(10_000), vec![]));
        assert_eq!(ask(10_000, 1024, 20_000, 20_000), (Some(10_000), vec![10_032]));
        // In steps of 16 below what is wanted, never below what there is.
        assert_eq!(ask(100, 64, 110, 1000), (Some(68), vec![132, 116, 100]));
        assert_eq!(ask(100, 64, 0, 1000), (Some(32), vec![132, 116, 100, 84, 68]));
        assert_eq!(ask(100, 64, 110, 110), (Some(68), vec![132, 100]));
        // Skipping the hopeless changes how often the kernel is asked, not the answer.
        let (got, asked) = ask(u32::MAX, 1024, 5_000, 6_000);
        assert!(asked.len() < 70 && got == ask(u32::MAX, 1024, 5_000, 5_000).0, "{asked:?}");
        assert!(got.is_some_and(|n| n <= 5_000 - 32 && n > 5_000 - 32 - 16));
        assert_eq!(ask(100, 32, 0, 32).0, None);
        assert_eq!(ask(100, 33, 0, 33).0, Some(1));
    }

    #[test]
    fn a_real_limit_is_raised_to_its_ceiling() {
        if role().is_none() {
            let out = play("sys::limits::tests::a_real_limit_is_raised_to_its_ceiling", "child");
            let text = String::from_utf8_lossy(&out.stdout);
            assert!(out.status.success(), "{text}");
            let raised =
                " * Increased maximum number of open files to 132 (it was originally set to 100).\n";
            assert!(text.contains(raised), "{text}");
            assert!(
                text.contains(" # You requested maxclients of 4294967295 requiring at least "),
                "{text}"
            );
            return;
        }
        crate::sys::log::init();
        let low = libc::rlimit { rlim_cur: 100, rlim_max: 200 };
        // SAFETY: the pointer is a live local.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &low) }, 0);
        assert_eq!(adjust_open_files(10), Some(10));
        assert_eq!(adjust_open_files(100), Some(100));
        let most = adjust_open_files(u32::MAX).expect("what there was is enough");
        let mut limit = low;
        // SAFETY: as above.
        assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
        assert_eq!(limit.rlim_cur, u64::from(most) + MIN_RESERVED_FDS);
        assert!(limit.rlim_cur >= 132);
    }
}
