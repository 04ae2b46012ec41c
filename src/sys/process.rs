//! Processes: going to the background, the pid file, forked children and what they report.
//!
//! ```text
//!   parent                                   child
//!   (reader, writer) = info_pipe()
//!   fork() ───────────────────────────────►  Fork::Child: logs without locks, dies by SIGUSR1 with 255
//!   drop(writer)                             drop(reader): writing fails once the parent is gone
//!   reader.next() ◄── 40-byte messages ────  writer.send(kind, keys, progress, what)
//!   reap() ◄────────────────────────────────  exit_child(code)
//! ```
//!
//! What a child may do: it has one thread, a copy of all memory and whatever locks the other threads
//! held when it was forked, never to be released. So no reactor, no `log` crate (the macros know, see
//! `sys::log`), no mutex shared with other threads. Allocating is fine, the allocators guard themselves
//! across fork. It leaves by [`exit_child`], which runs no exit handlers and flushes nothing of the
//! parent's.
//!
//! A report's copy-on-write size is read from smaps, which takes the kernel long for a big process:
//! reports on the way re-read it only when a hundred times the cost of the last reading has passed
//! since.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

use super::{clock, crash, errno, log, signals};
use crate::{log_at, warning};

pub use libc::pid_t;
pub use signals::CHILD_NOERROR_RETVAL;

const COW_DUTY_CYCLE: u64 = 100;

pub enum Fork {
    Parent(pid_t),
    Child,
}

/// Forks. The child comes back with its own log route and signal handlers.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the child keeps to the rules at the top of this file; nothing here runs in between.
    match unsafe { libc::fork() } {
        0 => {
            log::mark_child();
            crash::set_pidfile(None); // the parent's, whatever becomes of the child
            signals::install_in_child(false);
            Ok(Fork::Child)
        }
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// How a child leaves.
pub fn exit_child(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    Signaled(i32),
}

/// The next child that has ended, without waiting for one.
pub fn reap() -> Option<(pid_t, Ended)> {
    waitpid(-1, libc::WNOHANG)
}

/// Waits for this child to end; None when it is no child of ours.
pub fn wait(pid: pid_t) -> Option<Ended> {
    waitpid(pid, 0).map(|(_, e)| e)
}

fn waitpid(pid: pid_t, flags: i32) -> Option<(pid_t, Ended)> {
    let mut status = 0;
    loop {
        // SAFETY: the status pointer is a live local.
        match unsafe { libc::waitpid(pid, &mut status, flags) } {
            0 => return None,
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return None,
            pid if libc::WIFSIGNALED(status) => {
                return Some((pid, Ended::Signaled(libc::WTERMSIG(status))));
            }
            pid => return Some((pid, Ended::Exited(libc::WEXITSTATUS(status)))),
        }
    }
}

pub fn kill(pid: pid_t, sig: i32) -> io::Result<()> {
    assert!(pid > 0, "never a whole group");
    // SAFETY: kill takes plain numbers.
    if unsafe { libc::kill(pid, sig) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

// ---- background -------------------------------------------------------------------------------------

/// Goes to the background: the caller's process exits with 0, a child in a session of its own goes on,
/// with the standard descriptors at /dev/null. To be called before any thread is started.
pub fn daemonize() -> io::Result<()> {
    // SAFETY: called before there are threads, so the child is a complete copy.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        _ => std::process::exit(0),
    }
    // SAFETY: no preconditions; it cannot fail in a process that leads no group, as a fresh child.
    unsafe { libc::setsid() };
    if let Ok(null) = File::options().read(true).write(true).open("/dev/null") {
        for fd in [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO] {
            // SAFETY: both descriptors are open or, for the target, free to be taken.
            unsafe { libc::dup2(null.as_raw_fd(), fd) };
        }
        if null.as_raw_fd() <= libc::STDERR_FILENO {
            std::mem::forget(null); // it became one of the three
        }
    }
    Ok(())
}

/// Writes the pid file; failing is worth a line, not an end.
pub fn create_pidfile(path: &Path) {
    let done = File::create(path).and_then(|mut f| writeln!(f, "{}", std::process::id()));
    if let Err(e) = done {
        warning!("Failed to write PID file: {}", errno::text(&e));
    }
}

pub fn remove_pidfile(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)
}

// ---- memory of a process ----------------------------------------------------------------------------

/// Sum in bytes of one field ("Private_Dirty:", "Rss:", "AnonHugePages:") over the mappings of a
/// process, or of this one; 0 where smaps cannot be read.
pub fn smaps_bytes(field: &str, pid: Option<pid_t>) -> u64 {
    let path = pid.map_or_else(|| "/proc/self/smaps".to_owned(), |p| format!("/proc/{p}/smaps"));
    let Ok(f) = File::open(path) else { return 0 };
    let mut f = BufReader::new(f);
    let (mut line, mut sum) = (Vec::new(), 0u64);
    loop {
        line.clear();
        if !f.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            return sum;
        }
        if let Some(kb) = line.strip_prefix(field.as_bytes()).and_then(kilobytes) {
            sum = sum.saturating_add(kb.saturating_mul(1024));
        }
    }
}

/// The number in "      128 kB".
fn kilobytes(rest: &[u8]) -> Option<u64> {
    std::str::from_utf8(rest).ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// Memory this process has to itself: in a forked child, what copy-on-write has cost so far.
pub fn private_dirty() -> u64 {
    smaps_bytes("Private_Dirty:", None)
}

// ---- what a child reports ---------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum InfoKind {
    /// On the way; the others come once, at the end.
    Current = 0,
    AofCow = 1,
    RdbCow = 2,
    ModuleCow = 3,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChildInfo {
    pub kind: InfoKind,
    pub keys: u64,
    pub cow: u64,
    /// When `cow` was read, in microseconds of the monotonic clock.
    pub cow_updated: u64,
    /// From 0 to 1, or -1 when the child does not say.
    pub progress: f64,
}

const MESSAGE: usize = 40;
// Whole messages or nothing: the pipe must take one in a single write.
const _: () = assert!(MESSAGE <= libc::PIPE_BUF);

impl ChildInfo {
    fn encode(&self) -> [u8; MESSAGE] {
        let words = [self.kind as u64, self.keys, self.cow, self.cow_updated, self.progress.to_bits()];
        let mut out = [0; MESSAGE];
        for (to, word) in out.chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&word.to_ne_bytes());
        }
        out
    }

    fn decode(bytes: &[u8; MESSAGE]) -> Option<Self> {
        let mut words = [0u64; MESSAGE / 8];
        for (word, from) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(from.try_into().expect("chunks of eight"));
        }
        let [kind, keys, cow, cow_updated, progress] = words;
        let kinds = [InfoKind::Current, InfoKind::AofCow, InfoKind::RdbCow, InfoKind::ModuleCow];
        let kind = kinds.into_iter().find(|&k| k as u64 == kind)?;
        Some(ChildInfo { kind, keys, cow, cow_updated, progress: f64::from_bits(progress) })
    }
}

/// The parent's end. Non-blocking: [`next`](Self::next) is None when nothing (whole) has come.
pub struct InfoReader {
    pipe: File,
    partial: [u8; MESSAGE],
    got: usize,
}

/// The child's end.
pub struct InfoWriter {
    pipe: File,
    cow: u64,
    cow_updated: u64,
    cow_cost: u64,
    peak: u64,
    sum: u64,
    readings: u64,
}

pub fn info_pipe() -> io::Result<(InfoReader, InfoWriter)> {
    let mut fds = [0; 2];
    // SAFETY: pipe2 fills the array of two.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made these descriptors, nothing else owns them.
    let [r, w] = fds.map(|fd| unsafe { File::from(OwnedFd::from_raw_fd(fd)) });
    // SAFETY: fcntl on a descriptor we own; F_SETFL takes an int.
    if unsafe { libc::fcntl(r.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } == -1 {
        return Err(io::Error::last_os_error());
    }
    let writer =
        InfoWriter { pipe: w, cow: 0, cow_updated: 0, cow_cost: 0, peak: 0, sum: 0, readings: 0 };
    Ok((InfoReader { pipe: r, partial: [0; MESSAGE], got: 0 }, writer))
}

impl Iterator for InfoReader {
    type Item = ChildInfo;

    fn next(&mut self) -> Option<ChildInfo> {
        loop {
            debug_assert!(self.got < MESSAGE);
            let n = match self.pipe.read(&mut self.partial[self.got..]) {
                Ok(0) => return None,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return None,
            };
            self.got += n;
            if self.got == MESSAGE {
                self.got = 0;
                return ChildInfo::decode(&self.partial);
            }
        }
    }
}

impl InfoWriter {
    /// Reports to the parent; `what` names the job in the log ("RDB", "AOF rewrite"). A parent that
    /// cannot be written to is gone, and then the child ends too.
    pub fn send(&mut self, kind: InfoKind, keys: u64, progress: f64, what: &str) {
        let now = monotonic_us();
        let due = now.saturating_sub(self.cow_updated) > self.cow_cost.saturating_mul(COW_DUTY_CYCLE);
        if kind != InfoKind::Current || self.cow_updated == 0 || due {
            self.read_cow(now, kind, what);
        }
        let info = ChildInfo { kind, keys, cow: self.cow, cow_updated: self.cow_updated, progress };
        if let Err(e) = self.pipe.write_all(&info.encode()) {
            let e = errno::text(&e);
            warning!("Child failed reporting info to parent, exiting. {e}");
            exit_child(1);
        }
    }

    fn read_cow(&mut self, now: u64, kind: InfoKind, what: &str) {
        self.cow = private_dirty();
        self.cow_updated = monotonic_us();
        self.cow_cost = self.cow_updated.saturating_sub(now);
        self.peak = self.peak.max(self.cow);
        self.sum = self.sum.saturating_add(self.cow);
        self.readings += 1;
        let last = kind != InfoKind::Current;
        if self.cow > 0 || last {
            let level = if last { log::Level::Notice } else { log::Level::Verbose };
            let (now, peak, avg) = (self.cow >> 20, self.peak >> 20, (self.sum / self.readings) >> 20);
            log_at!(level, "Fork CoW for {what}: current {now} MB, peak {peak} MB, average {avg} MB");
        }
    }
}

/// The clock that parent and child share.
fn monotonic_us() -> u64 {
    clock::mono_ns() / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::{TempDir, play, respawn, role, wait_until};

    const SELF: &str = "sys::process::tests::";

    #[test]
    fn child_info_survives_its_encoding() {
        let infos = [
            ChildInfo {
                kind: InfoKind::Current,
                keys: 7,
                cow: 1,
                cow_updated: u64::MAX,
                progress: 0.25,
            },
            ChildInfo {
                kind: InfoKind::ModuleCow,
                keys: 0,
                cow: 1 << 40,
                cow_updated: 0,
                progress: -1.0,
            },
        ];
        for i in infos {
            assert_eq!(ChildInfo::decode(&i.encode()), Some(i));
        }
        assert_eq!(ChildInfo::decode(&[9; MESSAGE]), None);
    }

    #[test]
    fn messages_may_come_in_pieces() {
        let (mut r, mut w) = info_pipe().expect("a pipe");
        let a = ChildInfo { kind: InfoKind::AofCow, keys: 1, cow: 2, cow_updated: 3, progress: 0.5 };
        let bytes = a.encode();
        assert_eq!(r.next(), None);
        w.pipe.write_all(&bytes[..17]).expect("room");
        assert_eq!(r.next(), None);
        w.pipe.write_all(&bytes[17..]).expect("room");
        w.pipe.write_all(&bytes).expect("room");
        assert_eq!(r.next(), Some(a));
        assert_eq!(r.next(), Some(a));
        assert_eq!(r.next(), None);
        drop(w);
        assert_eq!(r.next(), None);
    }

    #[test]
    fn a_child_reports_its_copied_memory_and_is_reaped() {
        const MB: usize = 1 << 20;
        if role().is_none() {
            let out = play(&format!("{SELF}a_child_reports_its_copied_memory_and_is_reaped"), "child");
            let text = String::from_utf8_lossy(&out.stdout);
            assert!(out.status.success(), "{text}");
            assert!(text.contains("Fork CoW for RDB: current "), "{text}");
            assert!(text.contains(":C "), "{text}");
            return;
        }
        assert_eq!(reap(), None);
        let mut data = vec![1u8; 64 * MB];
        let (r, mut w) = info_pipe().expect("a pipe");
        let pid = match fork().expect("forked") {
            Fork::Child => {
                drop(r);
                w.send(InfoKind::Current, 1, 0.5, "RDB");
                data[..16 * MB].fill(2);
                std::hint::black_box(&data);
                w.send(InfoKind::RdbCow, 2, 1.0, "RDB");
                exit_child(42)
            }
            Fork::Parent(pid) => pid,
        };
        drop(w);
        assert_eq!(wait(pid), Some(Ended::Exited(42)));
        assert_eq!(wait(pid), None);
        let got: Vec<ChildInfo> = r.collect();
        assert_eq!(got.len(), 2);
        assert_eq!((got[0].kind, got[0].keys, got[0].progress), (InfoKind::Current, 1, 0.5));
        assert_eq!((got[1].kind, got[1].keys), (InfoKind::RdbCow, 2));
        let grown = got[1].cow - got[0].cow;
        assert!(grown >= 15 * MB as u64 && grown < 32 * MB as u64, "{grown}");
        assert!(got[1].cow_updated > got[0].cow_updated);
    }

    #[test]
    fn children_end_by_signal_and_by_orphanhood() {
        if role().is_none() {
            let out = play(&format!("{SELF}children_end_by_signal_and_by_orphanhood"), "child");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
            return;
        }
        signals::install(None); // SIGPIPE must not be what ends the second child
        let spawn = |then: &dyn Fn() -> i32| match fork().expect("forked") {
            Fork::Child => exit_child(then()),
            Fork::Parent(pid) => pid,
        };
        let pause = || loop {
            // SAFETY: pause only waits.
            unsafe { libc::pause() };
        };
        let a = spawn(&pause);
        assert_eq!(reap(), None);
        kill(a, libc::SIGKILL).expect("it lives");
        let mut ended = None;
        wait_until(|| {
            ended = reap();
            ended.is_some()
        });
        assert_eq!(ended, Some((a, Ended::Signaled(libc::SIGKILL))));
        let (r, w) = info_pipe().expect("a pipe");
        drop(r);
        let w = std::cell::RefCell::new(w);
        let b = spawn(&|| {
            w.borrow_mut().send(InfoKind::Current, 0, -1.0, "RDB");
            0
        });
        assert_eq!(wait(b), Some(Ended::Exited(1)));
        let c = spawn(&|| {
            // SAFETY: raise takes a plain number.
            unsafe { libc::raise(libc::SIGUSR1) };
            0
        });
        wait_until(|| {
            ended = waitpid(c, libc::WNOHANG);
            ended.is_some()
        });
        assert_eq!(ended, Some((c, Ended::Exited(CHILD_NOERROR_RETVAL))));
    }

    #[test]
    fn daemonize_leaves_the_terminal_and_writes_a_pidfile() {
        if role().is_some() {
            let dir = std::env::var("DIR").expect("given by the other half");
            daemonize().expect("forked");
            create_pidfile(&Path::new(&dir).join("pid"));
            let links: Vec<_> = (0..3)
                .map(|n| std::fs::read_link(format!("/proc/self/fd/{n}")).expect("open"))
                .collect();
            // SAFETY: getsid takes a plain number.
            let leads = unsafe { libc::getsid(0) == libc::getpid() };
            let said = format!("{leads} {links:?}");
            std::fs::write(Path::new(&dir).join("said.tmp"), said).expect("a writable folder");
            std::fs::rename(Path::new(&dir).join("said.tmp"), Path::new(&dir).join("said"))
                .expect("as above");
            exit_child(3);
        }
        let dir = TempDir::new("daemon");
        let mut c =
            respawn(&format!("{SELF}daemonize_leaves_the_terminal_and_writes_a_pidfile"), "child");
        let mut child = c.env("DIR", dir.path()).spawn().expect("starts");
        let pid = child.id();
        assert_eq!(child.wait().expect("ends").code(), Some(0));
        let said = dir.join("said");
        wait_until(|| said.exists());
        let said = std::fs::read_to_string(said).expect("text");
        assert_eq!(said, r#"true ["/dev/null", "/dev/null", "/dev/null"]"#);
        let file = dir.join("pid");
        let daemon: u32 =
            std::fs::read_to_string(&file).expect("text").trim_end().parse().expect("a pid");
        assert_ne!(daemon, pid);
        remove_pidfile(&file).expect("it is there");
        assert!(!file.exists());
    }
}
