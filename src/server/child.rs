//! The child process that saves or rewrites: at most one at a time.
//!
//! ```text
//!           fork ───► child: writes its file, reports keys and copied memory ──► _exit
//! parent:   tables and LRU bits rest, so that few pages are copied
//! SIGCHLD, cron:  it has ended ─► the last reports are read ─► jobs::done | rewrite::done
//! ```
//!
//! Other children are none of the server's making: as the first process of a container it inherits those
//! whose parents are gone. They are taken in, so that they do not stay as zombies.
//!
//! The child touches no reactor, no `log`, no lock and no counter of the parent.

use super::{Server, apply, jobs, listen, master, rewrite, script_debug};
use crate::ds::table::{Resize, set_resize};
use crate::jobs::child::{Child, ChildKind, Exit, Progress, REPORT_MS, Report};
use crate::sys::clock::{mono_ns, unix_ms};
use crate::sys::process::{self, Ended, Fork};
use crate::sys::{cpu, signals};
use std::io;

/// The number of the process that orphans are given to: strangers are its everyday life.
const FIRST_PROCESS: u32 = 1;

/// Forks. None in the parent, which remembers the child.
pub fn fork(srv: &mut Server, kind: ChildKind) -> io::Result<Option<Report>> {
    assert!(srv.jobs.child.is_none(), "one child at a time");
    let (reports, writer) = process::info_pipe()?;
    let total = srv.ks.keys() as u64;
    let begun = mono_ns();
    match process::fork()? {
        Fork::Child => {
            drop(reports);
            let (title, cpus) = match kind {
                ChildKind::Snapshot if srv.transfer.is_some() => {
                    ("redis-rdb-to-slaves", &srv.config.bgsave_cpulist)
                }
                ChildKind::Snapshot => ("redis-rdb-bgsave", &srv.config.bgsave_cpulist),
                ChildKind::Rewrite => ("redis-aof-rewrite", &srv.config.aof_rewrite_cpulist),
            };
            listen::show_title_as(srv, title.as_bytes());
            if let Some(cpus) = cpus {
                // A list that this machine cannot follow leaves the scheduler free.
                let _ = cpu::bind(cpus);
            }
            apply::oom_score_of_child(srv);
            listen::leave(srv);
            super::bus::leave(srv);
            let delay_us = srv.config.rdb_key_save_delay;
            Ok(Some(Report::new(writer, kind, total, delay_us)))
        }
        Fork::Parent(pid) => {
            let us = (mono_ns() - begun) / 1000;
            srv.jobs.fork_us = us;
            srv.stats.total_forks += 1;
            super::slow::sample(srv, "fork", us / 1000);
            match kind {
                ChildKind::Snapshot if srv.transfer.is_some() => {
                    crate::notice!("Background RDB transfer started by pid {pid}");
                }
                ChildKind::Snapshot => crate::notice!("Background saving started by pid {pid}"),
                ChildKind::Rewrite => {
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

pub fn runs(srv: &Server, kind: ChildKind) -> bool {
    srv.jobs.child.as_ref().is_some_and(|c| c.kind == kind)
}

/// Ends a child of this kind, and waits until it is gone. Returns its number.
pub fn kill(srv: &mut Server, kind: ChildKind) -> Option<u32> {
    let child = srv.jobs.child.take_if(|c| c.kind == kind)?;
    // The signal fails when the child has just ended; the wait below is right in either case.
    let _ = process::kill(child.pid, libc::SIGUSR1);
    process::wait(child.pid);
    rest(srv, false);
    Some(child.pid.unsigned_abs())
}

/// What does the child say, and which children have ended? From the cron, and when a signal says that
/// one has.
pub fn reap(srv: &mut Server) {
    if srv.jobs.child.as_ref().is_some_and(|c| unix_ms() - c.read_ms >= REPORT_MS) {
        hear(srv);
    }
    // Without a child and a signal there is nothing to ask the kernel for.
    if !signals::child_ended() && srv.jobs.child.is_none() {
        return;
    }
    while let Some((pid, end)) = process::reap() {
        if srv.jobs.child.as_ref().is_some_and(|c| c.pid == pid) {
            ended(srv, end);
        } else if script_debug::ended(srv, pid) {
            crate::verbose!("The process {pid} of a debugging session has ended");
        } else if std::process::id() != FIRST_PROCESS {
            crate::warning!("Warning, detected child with unmatched pid: {pid}");
        }
    }
}

fn hear(srv: &mut Server) {
    let mut copied = [srv.jobs.last_cow, srv.aof.last_cow];
    if let Some(child) = &mut srv.jobs.child {
        child.read_ms = unix_ms();
        child.hear(&mut copied);
    }
    [srv.jobs.last_cow, srv.aof.last_cow] = copied;
}

fn ended(srv: &mut Server, end: Ended) {
    hear(srv);
    let child = srv.jobs.child.take().expect("the caller has compared its number");
    rest(srv, false);
    match child.kind {
        ChildKind::Snapshot => jobs::done(srv, &child, Exit::of(end)),
        ChildKind::Rewrite => rewrite::done(srv, &child, Exit::of(end)),
    }
    master::start_pending(srv);
}
