//! Replication: the stream of propagated commands, and the replicas that are sent it.
//!
//! ```text
//! unit ─► ops ─┬─► AOF
//!              └──────────────────► Backlog  [....|........|.............]
//!                                   kept ──┘    ▲ at      ▲ at          └─ end: master_repl_offset
//!                                               replica   replica
//! SYNC, PSYNC ─► WaitStart ── fork ─► WaitEnd ── saved ─► SendBulk ── sent ─► Online
//!                   ▲ another child runs      at = end at the fork, stays      at moves on
//! ```
//!
//! There is one copy of the stream, the backlog; a replica is a position in it. What was propagated
//! between the fork and the end of the transfer needs no buffer of its own: the position stays where it
//! was at the fork until the snapshot is across. A partial resynchronization is a position that is
//! chosen by the replica.
//!
//! * `ops`      what leaves a unit, and the sinks it leaves to
//! * `backlog`  the bytes of the stream, and which of them may go
//! * `replicas` what is known of each replica and what it is sent next; decides, and does no I/O
//! * `master`   the master's side: attaches, feeds, writes, forgets
//!
//! Positions count the bytes before them. On the wire an offset names a byte and the first one is 1:
//! `PSYNC id n` asks for position n - 1, and `FULLRESYNC id n` says that the stream goes on behind n.

pub mod backlog;
pub mod ops;
pub mod replicas;

use crate::algo::rng::random_hex;
use backlog::Backlog;
use replicas::Replicas;

/// Stands where there is no second ID.
pub const NO_ID: &str = "0000000000000000000000000000000000000000";

pub fn random_id() -> String {
    String::from_utf8_lossy(&random_hex::<40>()).into_owned()
}

pub struct Replication {
    /// Which history of the dataset the offsets belong to.
    pub replid: String,
    /// The history before, good up to `second_offset`.
    pub replid2: String,
    pub second_offset: i64,
    /// Exists from the first replica on, until `repl-backlog-ttl` seconds after the last one has left.
    pub backlog: Option<Backlog>,
    /// Where the stream ended when there was a backlog last.
    rests_at: u64,
    pub replicas: Replicas,
    /// The stream has grown since the replicas were last marked for writing.
    pub grown: bool,
    /// Where the stream ended when it was last asked how far replicas are behind.
    pub measured_at: u64,
    /// The second in which the last replica left.
    pub alone_since: i64,
    /// The snapshot on the disk was written for replicas, and shall go (`rdb-del-sync-files`).
    pub file_for_replicas: bool,
    /// Seconds that the cron has counted.
    pub beats: u64,
}

impl Default for Replication {
    fn default() -> Self {
        Replication {
            replid: random_id(),
            replid2: NO_ID.into(),
            second_offset: -1,
            backlog: None,
            rests_at: 0,
            replicas: Replicas::default(),
            grown: false,
            measured_at: 0,
            alone_since: 0,
            file_for_replicas: false,
            beats: 0,
        }
    }
}

impl Replication {
    /// Bytes of the stream so far.
    pub fn offset(&self) -> u64 {
        self.backlog.as_ref().map_or(self.rests_at, Backlog::end)
    }

    /// Begins a new history: no replica can go on from an old one.
    pub fn change_id(&mut self) {
        self.replid = random_id();
        self.replid2 = NO_ID.into();
        self.second_offset = -1;
    }

    /// Begins to keep the stream.
    pub fn open_backlog(&mut self) {
        debug_assert!(self.backlog.is_none());
        self.change_id();
        self.backlog = Some(Backlog::new(self.rests_at));
    }

    /// Forgets the stream. The ID changes, so that no replica goes on from here: it would miss what was
    /// written while no stream was kept.
    pub fn close_backlog(&mut self) {
        debug_assert!(self.replicas.is_empty(), "replicas read from it");
        self.rests_at = self.offset();
        self.change_id();
        self.backlog = None;
    }

    /// The position behind which `replid` and `offset` of a PSYNC go on, when it can be served.
    pub fn can_continue(&self, replid: &[u8], offset: i64) -> Option<u64> {
        let ours = replid.eq_ignore_ascii_case(self.replid.as_bytes());
        let before = replid.eq_ignore_ascii_case(self.replid2.as_bytes());
        if !(ours || before && offset <= self.second_offset) {
            return None;
        }
        let at = u64::try_from(offset).ok()?.checked_sub(1)?;
        let b = self.backlog.as_ref()?;
        (b.start() <= at && at <= b.end()).then_some(at)
    }

    /// Bytes of the stream that a client has not been sent yet.
    pub fn owed(&self, id: crate::clients::ClientId) -> usize {
        let Some(r) = self.replicas.get(id).filter(|r| r.is_fed()) else { return 0 };
        usize::try_from(self.offset().saturating_sub(r.at)).unwrap_or(usize::MAX)
    }

    /// Bytes of memory that the stream takes, and how many of them are beyond the backlog's size.
    pub fn footprint(&self, size: u64) -> (usize, usize) {
        let all = self.backlog.as_ref().map_or(0, Backlog::footprint);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        (all, all.saturating_sub(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_goes_on_where_the_stream_is_still_kept() {
        let mut r = Replication::default();
        let id = r.replid.clone();
        assert_eq!(r.can_continue(id.as_bytes(), 1), None, "nothing is kept");
        r.open_backlog();
        assert_ne!(id, r.replid, "a new backlog is a new history");
        let id = r.replid.to_uppercase();
        r.backlog.as_mut().expect("just opened").push(b"0123456789");
        let ask = |offset| r.can_continue(id.as_bytes(), offset);
        assert_eq!([ask(1), ask(7), ask(11)], [Some(0), Some(6), Some(10)]);
        assert_eq!([ask(0), ask(-1), ask(12), ask(i64::MIN), ask(i64::MAX)], [None; 5]);
        assert_eq!(r.can_continue(NO_ID.as_bytes(), -5), None);
        assert_eq!(r.can_continue(b"?", -1), None);
    }

    #[test]
    fn offsets_go_on_when_the_backlog_comes_back() {
        let mut r = Replication::default();
        r.open_backlog();
        r.backlog.as_mut().expect("just opened").push(b"0123456789");
        r.close_backlog();
        assert_eq!(r.offset(), 10);
        r.open_backlog();
        r.backlog.as_mut().expect("just opened").push(b"0");
        assert_eq!(r.offset(), 11);
        assert_eq!(r.can_continue(r.replid.clone().as_bytes(), 5), None, "that was another history");
    }
}
