//! The child process that saves or rewrites: at most one at a time.
//!
//! ```text
//!           fork ───► child: writes its file, reports keys and copied memory ──► _exit
//! parent:   tables and LRU bits rest, so that few pages are copied
//! cron:     reports are read ─► it has ended ─► jobs::done | rewrite::done
//! ```
//!
//! The child touches no reactor, no `log`, no lock and no counter of the parent.

use super::{Server, jobs, listen, master, rewrite};
use crate::ds::table::{Resize, set_resize};
use crate::sys::clock::{mono_ns, unix_ms};
use crate::sys::cpu;
use crate::sys::process::{self, ChildInfo, Ended, Fork, InfoKind, InfoReader, InfoWriter};
use std::io;

/// Keys between two looks at the clock, and how often the parent hears.
const LOOK_EVERY: u64 = 1024;
const REPORT_MS: i64 = 1000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Snapshot,
    Rewrite,
}

impl Kind {
    /// As the log calls the job.
    fn word(self) -> &'static str {
        match self {
            Kind::Snapshot => "RDB",
            Kind::Rewrite => "AOF rewrite",
        }
    }
}

/// What the child has told of itself.
#[derive(Default, Debug, Clone)]
pub struct Progress {
    pub cow: u64,
    pub cow_peak: u64,
    /// When the copied memory was measured, by the monotonic clock.
    pub cow_at_us: u64,
    pub keys: u64,
    pub keys_total: u64,
    /// From 0 to 1.
    pub share: f64,
}

pub struct Child {
    pub pid: i32,
    pub kind: Kind,
    pub started_ms: i64,
    /// `ks.dirty` when it began.
    pub dirty: u64,
    pub progress: Progress,
    reports: InfoReader,
    read_ms: i64,
}

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    Good,
    Bad,
    Signal(i32),
}

impl Exit {
    fn of(end: Ended) -> Exit {
        match end {
            Ended::Exited(0) => Exit::Good,
            // It was asked to end, and did.
            Ended::Exited(process::CHILD_NOERROR_RETVAL) => Exit::Signal(libc::SIGUSR1),
            Ended::Exited(_) => Exit::Bad,
            Ended::Signaled(n) => Exit::Signal(n),
        }
    }
}

/// The child's side: tells the parent how far it has got.
pub struct Report {
    writer: InfoWriter,
    kind: Kind,
    keys: u64,
    total: u64,
    sent_ms: i64,
    /// `rdb-key-save-delay`, for tests.
    delay_us: i64,
}

impl Report {
    /// One more key is written.
    pub fn key(&mut self) {
        self.keys += 1;
        if self.keys % LOOK_EVERY == 1 {
            let now = unix_ms();
            if now - self.sent_ms >= REPORT_MS {
                self.sent_ms = now;
                self.send(InfoKind::Current);
            }
        }
        super::loading::delay(self.delay_us, self.keys);
    }

    /// All is written.
    pub fn done(&mut self) {
        self.send(match self.kind {
            Kind::Snapshot => InfoKind::RdbCow,
            Kind::Rewrite => InfoKind::AofCow,
        });
    }

    fn send(&mut self, what: InfoKind) {
        let share = self.keys as f64 / self.total.max(1) as f64;
        self.writer.send(what, self.keys, share, self.kind.word());
    }
}

/// Forks. None in the parent, which remembers the child.
pub fn fork(srv: &mut Server, kind: Kind) -> io::Result<Option<Report>> {
    assert!(srv.jobs.child.is_none(), "one child at a time");
    let (reports, writer) = process::info_pipe()?;
    let total = srv.ks.keys() as u64;
    let begun = mono_ns();
    match process::fork()? {
        Fork::Child => {
            drop(reports);
            let (title, cpus) = match kind {
                Kind::Snapshot => ("redis-rdb-bgsave", &srv.config.bgsave_cpulist),
                Kind::Rewrite => ("redis-aof-rewrite", &srv.config.aof_rewrite_cpulist),
            };
            listen::show_title_as(srv, title.as_bytes());
            if let Some(cpus) = cpus {
                // A list that this machine cannot follow leaves the scheduler free.
                let _ = cpu::bind(cpus);
            }
            listen::leave(srv);
            let delay_us = srv.config.rdb_key_save_delay;
            Ok(Some(Report { writer, kind, keys: 0, total, sent_ms: unix_ms(), delay_us }))
        }
        Fork::Parent(pid) => {
            let us = (mono_ns() - begun) / 1000;
            srv.jobs.fork_us = us;
            srv.stats.total_forks += 1;
            super::slow::sample(srv, "fork", us / 1000);
            match kind {
                Kind::Snapshot => crate::notice!("Background saving started by pid {pid}"),
                Kind::Rewrite => {
                    crate::notice!("Background append only file rewriting started by pid {pid}");
                }
            }
            srv.jobs.child = Some(Child {
                pid,
                kind,
                started_ms: unix_ms(),
                dirty: srv.ks.dirty,
                progress: Progress { keys_total: total, ..Progress::default() },
                reports,
                read_ms: unix_ms(),
            });
            rest(srv, true);
            Ok(None)
        }
    }
}

/// While the child lives, pages are shared with it: nothing is moved about without need.
fn rest(srv: &mut Server, on: bool) {
    set_resize(if on { Resize::Avoid } else { Resize::Allow });
    srv.ks.policy.freeze_lru = on;
}

pub fn runs(srv: &Server, kind: Kind) -> bool {
    srv.jobs.child.as_ref().is_some_and(|c| c.kind == kind)
}

/// Ends a child of this kind, and waits until it is gone. Returns its number.
pub fn kill(srv: &mut Server, kind: Kind) -> Option<u32> {
    let child = srv.jobs.child.take_if(|c| c.kind == kind)?;
    // One that has just ended needs no signal; it is waited for in either case.
    let _ = process::kill(child.pid, libc::SIGUSR1);
    process::wait(child.pid);
    rest(srv, false);
    Some(child.pid.unsigned_abs())
}

impl Child {
    fn hear(&mut self, saves: &mut [u64; 2]) {
        for ChildInfo { kind, keys, cow, cow_updated, progress } in self.reports.by_ref() {
            let p = &mut self.progress;
            match kind {
                InfoKind::RdbCow => saves[0] = cow,
                InfoKind::AofCow => saves[1] = cow,
                InfoKind::Current | InfoKind::ModuleCow => {}
            }
            p.cow_peak = p.cow_peak.max(cow);
            (p.cow, p.cow_at_us) = (cow, cow_updated);
            (p.keys, p.share) = (keys, progress);
        }
    }
}

/// From the cron: what does the child say, and has it ended?
pub fn reap(srv: &mut Server) {
    let Some(child) = &mut srv.jobs.child else { return };
    let now = unix_ms();
    let end = process::reap_pid(child.pid);
    if end.is_some() || now - child.read_ms >= REPORT_MS {
        child.read_ms = now;
        let mut copied = [srv.jobs.last_cow, srv.aof.last_cow];
        child.hear(&mut copied);
        [srv.jobs.last_cow, srv.aof.last_cow] = copied;
    }
    let Some(end) = end else { return };
    let child = srv.jobs.child.take().expect("looked at above");
    rest(srv, false);
    match child.kind {
        Kind::Snapshot => jobs::done(srv, &child, Exit::of(end)),
        Kind::Rewrite => rewrite::done(srv, &child, Exit::of(end)),
    }
    master::start_pending(srv);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_was_asked_to_end_did_not_fail() {
        assert_eq!(Exit::of(Ended::Exited(0)), Exit::Good);
        assert_eq!(Exit::of(Ended::Exited(1)), Exit::Bad);
        assert_eq!(Exit::of(Ended::Exited(255)), Exit::Signal(libc::SIGUSR1));
        assert_eq!(Exit::of(Ended::Signaled(9)), Exit::Signal(9));
    }
}
