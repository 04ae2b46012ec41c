//! The append only file, as state: its files, how far it is written and synced, and its rewrites.

use crate::bio::{Handed, SyncedOffset};
use crate::persist::aof::manifest::Manifest;
use crate::warning;
use std::fs::File;
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum AofState {
    #[default]
    Off,
    On,
    /// Switched on; the first base is still to be written.
    WaitRewrite,
}

#[derive(Default)]
pub struct Aof {
    pub state: AofState,
    pub file: Option<Arc<File>>,
    pub manifest: Manifest,
    /// Bytes of base and increments; and how many there were after the last rewrite.
    pub size: u64,
    pub base_size: u64,
    /// Bytes of the increment that is written, and of them those that a sync was asked for.
    pub increment_size: u64,
    pub synced_size: u64,
    /// The position of the stream up to which all is in a log on the disk; None without a log.
    pub fsynced: Option<u64>,
    /// The same, as syncs report it. Before the first base is written it does not count yet.
    pub syncs: SyncedOffset,
    /// In Unix seconds.
    pub last_sync: i64,
    pub postponed_since: Option<i64>,
    /// Writes that did not wait any longer.
    pub delayed: u64,
    /// The system's number of the failure that is not overcome.
    pub write_error: Option<i32>,
    pub error_logged: i64,
    /// Bytes that the last rewriting child had to copy.
    pub last_cow: u64,
    pub rewrite: Rewrites,
}

/// What the disk thread does for a rewrite while commands go on.
pub enum Handover {
    /// The manifest learns of a new increment. Then what is appended goes there, and a child begins.
    Opening { file: Arc<File>, name: Vec<u8>, done: Handed<Option<Manifest>> },
    /// What the child has written becomes the base. Then the rewrite is over.
    Installing { pid: u32, done: Handed<Option<Manifest>> },
}

impl Handover {
    pub fn is_done(&self) -> bool {
        match self {
            Handover::Opening { done, .. } | Handover::Installing { done, .. } => done.is_done(),
        }
    }
}

/// Failures in a row until tries are spaced out (AOF_REWRITE_LIMITE_THRESHOLD).
const PATIENCE: u64 = 3;
const MAX_MINUTES: i64 = 60;

pub struct Rewrites {
    /// The disk thread is at it, before or after the child.
    pub handover: Option<Handover>,
    /// Clients wait for the child to begin.
    pub awaited: bool,
    /// One begins when no other child is there.
    pub scheduled: bool,
    pub last_ok: bool,
    pub last_seconds: i64,
    pub count: u64,
    /// In a row.
    pub failures: u64,
    pub delay_minutes: i64,
    /// Not before this second.
    pub not_before: Option<i64>,
}

impl Default for Rewrites {
    fn default() -> Self {
        Rewrites {
            handover: None,
            awaited: false,
            scheduled: false,
            last_ok: true,
            last_seconds: -1,
            count: 0,
            failures: 0,
            delay_minutes: 0,
            not_before: None,
        }
    }
}

impl Rewrites {
    pub fn failed(&mut self) {
        self.last_ok = false;
        self.failures += 1;
    }

    /// Is it too early for another try?
    pub fn limited(&mut self, now: i64) -> bool {
        if self.failures < PATIENCE {
            (self.delay_minutes, self.not_before) = (0, None);
            return false;
        }
        if let Some(at) = self.not_before {
            if now < at {
                return true;
            }
            self.not_before = None;
            return false;
        }
        self.delay_minutes = (self.delay_minutes * 2).clamp(1, MAX_MINUTES);
        self.not_before = Some(now + self.delay_minutes * 60);
        warning!(
            "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {} \
             minutes",
            self.delay_minutes
        );
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_three_failures_tries_are_spaced_out() {
        let mut r = Rewrites::default();
        r.failed();
        r.failed();
        assert!(!r.limited(1000));
        r.failed();
        let mut now = 1000;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(r.limited(now));
            assert!(r.limited(now + minutes * 60 - 1));
            now += minutes * 60;
            assert!(!r.limited(now), "after {minutes} minutes one try");
        }
        r.failures = 0;
        assert!(!r.limited(now));
    }
}
