//! What may be done only while the process has a single thread: each call here makes sure of that
//! first, and does nothing where it cannot.

use super::supervise::SuperviseMode;
use super::{proctitle, supervise};
use std::ffi::CString;

/// No other thread runs, so nothing reads or changes the environment meanwhile.
fn alone() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// Clears the place for process titles.
pub fn prepare_title() -> bool {
    // SAFETY: there is one thread, this one, and it holds no pointer into the environment.
    alone() && unsafe { proctitle::init() }
}

/// Finds the supervisor and tells it that the server is starting.
pub fn find_supervisor(asked: SuperviseMode) -> SuperviseMode {
    if !alone() {
        return SuperviseMode::No;
    }
    // SAFETY: there is one thread, this one.
    unsafe { supervise::begin(asked) }
}

/// `locale-collate`: the order of SORT ALPHA; an empty name is what the environment says. False for a
/// locale that the system does not have.
pub fn set_collation(name: &[u8]) -> bool {
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: the name is a live C string. Only this thread, which serves commands, ever compares by
    // locale.
    !unsafe { libc::setlocale(libc::LC_COLLATE, name.as_ptr()) }.is_null()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locales_are_known_or_not() {
        assert!(set_collation(b"C"));
        assert!(!set_collation(b"no-such-locale"));
        assert!(!set_collation(b"C\0x"));
    }
}
