//! The child process that saves or rewrites: what is known of it here, and its reports. At most one at a
//! time; `server/child` forks it and waits for its end.

use super::loading::delay;
use crate::replication::Position;
use crate::sys::clock::unix_ms;
use crate::sys::process::{self, ChildInfo, Ended, InfoKind, InfoReader, InfoWriter};

/// Keys between two looks at the clock, and how often the parent hears.
const LOOK_EVERY: u64 = 1024;
pub const REPORT_MS: i64 = 1000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildKind {
    Snapshot,
    Rewrite,
}

impl ChildKind {
    /// As the log calls the job.
    fn word(self) -> &'static str {
        match self {
            ChildKind::Snapshot => "RDB",
            ChildKind::Rewrite => "AOF rewrite",
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
    pub kind: ChildKind,
    pub started_ms: i64,
    /// `ks.dirty` when it began.
    pub dirty: u64,
    /// Where the dataset that it saves stands in the stream, when that was kept and a file is written.
    pub stands: Option<Position>,
    /// Nothing but replicas asked for it.
    pub for_replicas: bool,
    pub progress: Progress,
    pub reports: InfoReader,
    pub read_ms: i64,
}

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    Good,
    Bad,
    Signal(i32),
}

impl Exit {
    pub fn of(end: Ended) -> Exit {
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
    kind: ChildKind,
    keys: u64,
    total: u64,
    sent_ms: i64,
    /// `rdb-key-save-delay`, for tests.
    delay_us: i64,
}

impl Report {
    /// `total` keys are to be written; the child rests after each as `delay_us` says.
    pub fn new(writer: InfoWriter, kind: ChildKind, total: u64, delay_us: i64) -> Report {
        Report { writer, kind, keys: 0, total, sent_ms: unix_ms(), delay_us }
    }

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
        delay(self.delay_us, self.keys);
    }

    /// All is written.
    pub fn done(&mut self) {
        self.send(match self.kind {
            ChildKind::Snapshot => InfoKind::RdbCow,
            ChildKind::Rewrite => InfoKind::AofCow,
        });
    }

    fn send(&mut self, what: InfoKind) {
        let share = self.keys as f64 / self.total.max(1) as f64;
        self.writer.send(what, self.keys, share, self.kind.word());
    }
}

impl Child {
    /// Takes in what the child has reported; `saves` are the bytes copied by a snapshot and by a rewrite.
    pub fn hear(&mut self, saves: &mut [u64; 2]) {
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
