//! The signals a server lives with: SIGTERM and SIGINT ask for a shutdown, SIGCHLD says that a child has
//! ended, SIGUSR1 ends a forked child, SIGHUP and SIGPIPE mean nothing.
//!
//! A handler does as little as it can: it logs (without locks, see `sys::log`), stores two atomics and
//! writes to the wake descriptor, so that a reactor asleep in its poll returns and asks
//! [`shutdown_asked`].
//!
//! ```text
//!  SIGTERM, SIGINT ──► LAST = signal, ASKED = true, log, wake ──► the loop polls shutdown_asked()
//!  SIGINT again    ──► log, unlink temp-<pid>.rdb, _exit(1)       until clear_shutdown() says it failed
//!  SIGCHLD         ──► CHILD_ENDED = true, wake           ──► the loop asks child_ended(), and reaps
//! ```
//!
//! Redis ends an impatient second SIGINT by exit(1), whose exit handlers are not safe inside a signal
//! handler; `_exit` gives the same status without them.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering::SeqCst};

use super::log::{self, Level};

/// Exit status of a child that was told to stop: not an error, and nothing to save.
pub const CHILD_NOERROR_RETVAL: i32 = 255;

static ASKED: AtomicBool = AtomicBool::new(false);
static LAST: AtomicI32 = AtomicI32::new(0);
static LOADING: AtomicBool = AtomicBool::new(false);
/// True at first: children that the process had before it became a server may have ended already.
static CHILD_ENDED: AtomicBool = AtomicBool::new(true);
static WAKE_FD: AtomicI32 = AtomicI32::new(-1);
static CHILD_LEVEL: AtomicU8 = AtomicU8::new(Level::Warning as u8);

/// Installs the server's handlers. `wake_fd` (an eventfd or the writing end of a non-blocking pipe)
/// stays the caller's and must stay open as long as the process runs.
pub fn install(wake_fd: Option<i32>) {
    WAKE_FD.store(wake_fd.unwrap_or(-1), SeqCst);
    set(libc::SIGHUP, libc::SIG_IGN, 0);
    set(libc::SIGPIPE, libc::SIG_IGN, 0);
    let handler = on_shutdown as extern "C" fn(i32) as libc::sighandler_t;
    set(libc::SIGTERM, handler, 0);
    set(libc::SIGINT, handler, 0);
    // The disposition may have been inherited as "ignored", and then no end could be waited for. Calls
    // that a child's end interrupts go on.
    let handler = on_child as extern "C" fn(i32) as libc::sighandler_t;
    set(libc::SIGCHLD, handler, libc::SA_RESTART | libc::SA_NOCLDSTOP);
}

/// In a forked child: SIGUSR1 ends it, and the parent's reactor is no longer woken by the child's
/// signals. `expected` lowers the log line to verbose, for children whose killing is routine.
pub fn install_in_child(expected: bool) {
    WAKE_FD.store(-1, SeqCst);
    let level = if expected { Level::Verbose } else { Level::Warning };
    CHILD_LEVEL.store(level as u8, SeqCst);
    set(libc::SIGUSR1, on_kill_child as extern "C" fn(i32) as libc::sighandler_t, 0);
}

/// In a child that serves a client by itself: what ends the server does not end it.
pub fn ignore_shutdown() {
    set(libc::SIGTERM, libc::SIG_IGN, 0);
    set(libc::SIGINT, libc::SIG_IGN, 0);
}

/// The signal that asked for a shutdown, if one did and it has not been cleared.
pub fn shutdown_asked() -> Option<i32> {
    ASKED.load(SeqCst).then(|| LAST.load(SeqCst))
}

/// Whether a child may have ended since the last call.
pub fn child_ended() -> bool {
    CHILD_ENDED.swap(false, SeqCst)
}

/// The shutdown was refused or called off: the next SIGINT is a first one again.
pub fn clear_shutdown() {
    ASKED.store(false, SeqCst);
    LAST.store(0, SeqCst);
}

/// While data is being loaded the handler words its line differently, as Redis does.
pub fn set_loading(yes: bool) {
    LOADING.store(yes, SeqCst);
}

/// sigaction with an empty mask; the handler is a function of the form `flags` demands, or SIG_IGN,
/// SIG_DFL.
pub(super) fn set(sig: i32, handler: libc::sighandler_t, flags: i32) {
    // SAFETY: zero is a valid sigaction (empty mask, no restorer).
    let mut act: libc::sigaction = unsafe { std::mem::zeroed() };
    act.sa_sigaction = handler;
    act.sa_flags = flags;
    // SAFETY: the action is initialised, and its handler keeps to async-signal-safe calls.
    let rc = unsafe { libc::sigaction(sig, &act, std::ptr::null_mut()) };
    debug_assert_eq!(rc, 0, "sigaction refuses only bad signal numbers");
}

extern "C" fn on_shutdown(sig: i32) {
    // SAFETY: errno belongs to this thread; the interrupted code must find it unchanged.
    let errno = unsafe { *libc::__errno_location() };
    // First the state, then the line: a reader of the line may send the next signal at once, and
    // another thread may take it.
    LAST.store(sig, SeqCst);
    if ASKED.swap(true, SeqCst) && sig == libc::SIGINT {
        log::handler_line(Level::Warning, "You insist... exiting now.");
        remove_temp_rdb();
        // SAFETY: _exit is async-signal-safe.
        unsafe { libc::_exit(1) };
    }
    let text = match sig {
        _ if LOADING.load(SeqCst) => "Received shutdown signal during loading, scheduling shutdown.",
        libc::SIGINT => "Received SIGINT scheduling shutdown...",
        libc::SIGTERM => "Received SIGTERM scheduling shutdown...",
        _ => "Received shutdown signal, scheduling shutdown...",
    };
    log::handler_line(Level::Warning, text);
    wake();
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

extern "C" fn on_child(_: i32) {
    // SAFETY: errno belongs to this thread; the interrupted code must find it unchanged.
    let errno = unsafe { *libc::__errno_location() };
    CHILD_ENDED.store(true, SeqCst);
    wake();
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Wakes the reactor from its poll.
fn wake() {
    let fd = WAKE_FD.load(SeqCst);
    if fd >= 0 {
        let one = 1u64.to_ne_bytes();
        // A full pipe or counter will wake the reactor anyway.
        // SAFETY: write is async-signal-safe; eight bytes are what an eventfd takes.
        unsafe { libc::write(fd, one.as_ptr().cast(), one.len()) };
    }
}

extern "C" fn on_kill_child(_: i32) {
    let level =
        if CHILD_LEVEL.load(SeqCst) == Level::Verbose as u8 { Level::Verbose } else { Level::Warning };
    log::handler_line(level, "Received SIGUSR1 in child, exiting now.");
    // SAFETY: _exit is async-signal-safe.
    unsafe { libc::_exit(CHILD_NOERROR_RETVAL) };
}

/// A SAVE interrupted in this very process leaves its temp file behind. No allocation.
fn remove_temp_rdb() {
    let mut name = [0u8; 32];
    let mut rest = &mut name[..];
    // SAFETY: getpid has no preconditions.
    let pid = unsafe { libc::getpid() };
    if io::Write::write_fmt(&mut rest, format_args!("temp-{pid}.rdb\0")).is_ok() {
        // SAFETY: the name ends with the NUL just written.
        unsafe { libc::unlink(name.as_ptr().cast()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{TempDir, play, respawn, role, signal};
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    const SELF: &str = "sys::signals::tests::";

    fn raise(sig: i32) {
        // SAFETY: raise takes a plain number.
        assert_eq!(unsafe { libc::raise(sig) }, 0);
    }

    #[test]
    fn a_signal_asks_wakes_and_can_be_called_off() {
        if role().is_some() {
            let (mut r, w) = UnixStream::pair().expect("a pair");
            install(Some(w.as_raw_fd()));
            raise(libc::SIGHUP);
            raise(libc::SIGPIPE);
            assert_eq!((shutdown_asked(), LAST.load(SeqCst)), (None, 0));
            raise(libc::SIGTERM);
            assert_eq!(shutdown_asked(), Some(libc::SIGTERM));
            let mut woken = [0; 8];
            r.read_exact(&mut woken).expect("woken");
            clear_shutdown();
            raise(libc::SIGINT);
            assert_eq!(shutdown_asked(), Some(libc::SIGINT));
            set_loading(true);
            raise(libc::SIGTERM);
            assert_eq!(LAST.load(SeqCst), libc::SIGTERM);
            return;
        }
        let out = play(&format!("{SELF}a_signal_asks_wakes_and_can_be_called_off"), "child");
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{text}");
        for want in [
            ") Received SIGTERM scheduling shutdown...\n",
            ") Received SIGINT scheduling shutdown...\n",
            ") Received shutdown signal during loading, scheduling shutdown.\n",
        ] {
            assert!(text.contains(want), "{text}");
        }
    }

    #[test]
    fn the_second_sigint_exits_at_once() {
        if role().is_some() {
            install(None);
            let pid = std::process::id();
            std::fs::write(format!("temp-{pid}.rdb"), "half").expect("a writable folder");
            println!("\nready");
            loop {
                // SAFETY: pause only waits.
                unsafe { libc::pause() };
            }
        }
        let dir = TempDir::new("sigint");
        let mut c = respawn(&format!("{SELF}the_second_sigint_exits_at_once"), "child");
        let mut child = c.current_dir(dir.path()).spawn().expect("starts");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        let mut until = |want: &str| {
            while !line.contains(want) {
                line.clear();
                assert_ne!(out.read_line(&mut line).expect("text"), 0, "ended before {want}");
            }
        };
        until("ready");
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 1);
        signal(&child, libc::SIGINT);
        until(") Received SIGINT scheduling shutdown...");
        signal(&child, libc::SIGINT);
        until(") You insist... exiting now.");
        assert_eq!(child.wait().expect("ends").code(), Some(1));
        assert_eq!(std::fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_child_told_to_stop_says_no_error() {
        if let Some(role) = role() {
            install_in_child(role == "expected");
            raise(libc::SIGUSR1);
        }
        let name = format!("{SELF}a_child_told_to_stop_says_no_error");
        for (role, logged) in [("rdb", true), ("expected", false)] {
            let out = play(&name, role);
            assert_eq!(out.status.code(), Some(CHILD_NOERROR_RETVAL));
            let text = String::from_utf8_lossy(&out.stdout);
            assert_eq!(text.contains(") Received SIGUSR1 in child, exiting now.\n"), logged, "{text}");
        }
    }
}
