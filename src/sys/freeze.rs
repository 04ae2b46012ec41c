//! Stops all other threads of this process, for good: for the memory test of a crash report, which
//! changes memory that other threads use. From a signal handler: no lock, no allocation.
//!
//! Each thread gets a signal whose handler counts itself in and then never returns.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use super::signals;

const STOP: i32 = libc::SIGUSR2;
/// How long to wait for threads deep in the kernel, in milliseconds.
const PATIENCE: u32 = 1000;

static STOPPED: AtomicU32 = AtomicU32::new(0);

/// True when this is the only thread that still runs.
pub fn others() -> bool {
    signals::set(STOP, park as extern "C" fn(i32) as libc::sighandler_t, 0);
    // SAFETY: neither call has preconditions.
    let (pid, me) = unsafe { (libc::getpid(), libc::gettid()) };
    let mut sent = 0;
    let listed = each_thread(|tid| {
        // SAFETY: tgkill takes plain numbers; a thread gone meanwhile is an error and not counted.
        if tid != me && unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, STOP) } == 0 {
            sent += 1;
        }
    });
    let mut waited = 0;
    while listed && STOPPED.load(SeqCst) < sent && waited < PATIENCE {
        let ms = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        // SAFETY: the time is a live local, the rest is not asked for.
        unsafe { libc::nanosleep(&ms, std::ptr::null_mut()) };
        waited += 1;
    }
    listed && STOPPED.load(SeqCst) >= sent
}

extern "C" fn park(_: i32) {
    STOPPED.fetch_add(1, SeqCst);
    loop {
        // SAFETY: the set is filled before use; nothing but SIGKILL gets through it.
        unsafe {
            let mut all: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::sigsuspend(&all);
        }
    }
}

/// Calls `f` with the id of each thread. False when they could not be listed.
fn each_thread(mut f: impl FnMut(i32)) -> bool {
    /// Where the fields of a linux_dirent64 begin.
    const RECLEN: usize = 16;
    const NAME: usize = 19;
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    // SAFETY: the path is a NUL-terminated literal.
    let fd = unsafe { libc::open(c"/proc/self/task".as_ptr(), flags) };
    if fd < 0 {
        return false;
    }
    let mut buf = [0u8; 4096];
    loop {
        // SAFETY: the pointer and length are those of a live array.
        let n = unsafe { libc::syscall(libc::SYS_getdents64, fd, buf.as_mut_ptr(), buf.len()) };
        let Some(mut rest) =
            usize::try_from(n).ok().and_then(|n| buf.get(..n)).filter(|r| !r.is_empty())
        else {
            // SAFETY: opened above.
            unsafe { libc::close(fd) };
            return n == 0;
        };
        while let Some(len) = rest.get(RECLEN..).and_then(|r| r.first_chunk()) {
            let len = usize::from(u16::from_ne_bytes(*len)).max(NAME);
            let name = rest.get(NAME..len).unwrap_or_default();
            let name = name.split(|&b| b == 0).next().unwrap_or_default();
            if let Some(tid) = std::str::from_utf8(name).ok().and_then(|n| n.parse().ok()) {
                f(tid);
            }
            rest = rest.get(len..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{play, role};
    use std::sync::atomic::AtomicU64;

    #[test]
    fn threads_stop_whatever_they_are_doing() {
        static WORK: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
        if role().is_none() {
            let out = play("sys::freeze::tests::threads_stop_whatever_they_are_doing", "child");
            assert_eq!(out.status.code(), Some(7), "{}", String::from_utf8_lossy(&out.stdout));
            return;
        }
        for w in &WORK[..2] {
            std::thread::spawn(move || {
                loop {
                    w.fetch_add(1, SeqCst);
                }
            });
        }
        std::thread::spawn(|| {
            WORK[2].fetch_add(1, SeqCst);
            std::thread::park();
        });
        crate::sys::testing::wait_until(|| WORK.iter().all(|w| w.load(SeqCst) > 0));
        let mut threads = 0;
        assert!(each_thread(|_| threads += 1));
        assert!(threads >= 4);
        assert!(others());
        assert!(STOPPED.load(SeqCst) >= 3);
        let seen = WORK.each_ref().map(|w| w.load(SeqCst));
        for _ in 0..1_000_000 {
            std::hint::spin_loop();
        }
        assert_eq!(WORK.each_ref().map(|w| w.load(SeqCst)), seen);
        crate::sys::process::exit_child(7);
    }
}
