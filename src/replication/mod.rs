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
//! * `absent`   for which replicas that were lost the stream is kept
//! * `marks`    when the stream was where
//! * `forecast` will a full sync take longer than the output limit of replicas allows?
//! * `acks`     what WAIT and WAITAOF wait for
//! * `failover` how a master hands its place to a replica
//! * `holds`    what of the stream is kept for a replica whose snapshot goes by a second connection
//! * `held`     what such a replica keeps of the stream until it has its snapshot
//! * `link`     the way to the master of a replica, from the connection to the stream; decides as well
//! * `backoff`  how long a replica rests between full syncs that fail
//! * `master`   the master's side: attaches, feeds, writes, forgets
//!
//! Positions count the bytes before them. On the wire an offset names a byte and the first one is 1:
//! `PSYNC id n` asks for position n - 1, and `FULLRESYNC id n` says that the stream goes on behind n.

pub mod absent;
pub mod acks;
pub mod backlog;
pub mod backoff;
pub mod failover;
pub mod forecast;
pub mod held;
pub mod holds;
pub mod link;
pub mod marks;
pub mod ops;
pub mod replicas;
#[cfg(test)]
mod sim;

use crate::algo::rng::random_hex;
use backlog::Backlog;
use failover::Failover;
use link::Link;
use marks::Marks;
use replicas::Replicas;

/// Stands where there is no second ID.
pub const NO_ID: &str = "0000000000000000000000000000000000000000";

/// A place in a history: so many bytes of it stand before, and this database is selected there, if that is
/// known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub replid: String,
    pub offset: u64,
    pub db: Option<usize>,
}

/// Has the text the form of a replication id?
pub fn is_id(text: &[u8]) -> bool {
    text.len() == NO_ID.len() && text.iter().all(u8::is_ascii_graphic)
}

pub fn random_id() -> String {
    String::from_utf8_lossy(&random_hex::<40>()).into_owned()
}

/// Why a replica cannot go on where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No history of this server has the id.
    OtherHistory,
    /// It has so many bytes of the history before this one that this server never had.
    BehindTheTurn { by: u64 },
    /// Nothing of the stream is kept.
    NoBacklog,
    /// The stream is kept from so many bytes further on.
    TooOld { missing: u64 },
    /// The stream ends so many bytes before.
    Ahead { by: u64 },
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
    pub marks: Marks,
    /// The way to the master, while this server is a replica.
    pub link: Link,
    pub failover: Failover,
    /// A command of the stream of the master runs.
    pub applying: bool,
    /// The stream has grown since the replicas were last marked for writing.
    pub grown: bool,
    /// A client has begun to wait for replicas: they are to be asked how far they are.
    pub wants_acks: bool,
    /// Where the stream ended when replicas were last written inside of a batch.
    pub pushed_at: u64,
    /// Where the stream ended when it was last asked how far replicas are behind.
    pub measured_at: u64,
    /// The second in which the last replica left.
    pub alone_since: i64,
    /// The snapshot on the disk was written for replicas, and shall go (`rdb-del-sync-files`).
    pub file_for_replicas: bool,
    /// Seconds since the start, as the cron counts them; the first one is over when it counts first.
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
            marks: Marks::default(),
            link: Link::default(),
            failover: Failover::None,
            applying: false,
            grown: false,
            wants_acks: false,
            pushed_at: 0,
            measured_at: 0,
            alone_since: 0,
            file_for_replicas: false,
            beats: 1,
        }
    }
}

impl Replication {
    /// Bytes of the stream so far.
    pub fn offset(&self) -> u64 {
        self.backlog.as_ref().map_or(self.rests_at, Backlog::end)
    }

    /// So many ops have left while no stream is kept. They move its end all the same: what the log has on
    /// the disk is known by this position.
    pub fn pass_by(&mut self, ops: u64) {
        debug_assert!(self.backlog.is_none());
        self.rests_at += ops;
    }

    /// Begins a new history: no replica can go on from an old one.
    pub fn change_id(&mut self) {
        self.replid = random_id();
        self.replid2 = NO_ID.into();
        self.second_offset = -1;
    }

    /// Begins to keep the stream, where it ends now.
    pub fn open_backlog(&mut self) {
        debug_assert!(self.backlog.is_none());
        self.backlog = Some(Backlog::new(self.rests_at));
    }

    /// Forgets the stream. What is appended to it from now on is not counted, so the caller must see to it
    /// that no replica goes on from here under the same id.
    pub fn close_backlog(&mut self) {
        debug_assert!(self.replicas.is_empty(), "replicas read from it");
        self.replicas.holds.clear();
        self.rests_at = self.offset();
        self.backlog = None;
        self.replicas.absent.clear();
    }

    /// The dataset has been replaced by that of a master: its history is ours from here on.
    pub fn rebase(&mut self, replid: String, offset: u64) {
        debug_assert!(self.replicas.is_empty(), "replicas are in the middle of another history");
        (self.replid, self.replid2, self.second_offset) = (replid, NO_ID.into(), -1);
        self.replicas.holds.clear();
        self.backlog = None;
        self.replicas.absent.clear();
        self.marks.clear();
        (self.rests_at, self.measured_at, self.pushed_at) = (offset, offset, offset);
        self.open_backlog();
    }

    /// The history goes on under another id; the one before is good up to here.
    pub fn shift_id(&mut self, replid: String) {
        self.replid2 = std::mem::replace(&mut self.replid, replid);
        self.second_offset = self.offset().cast_signed().saturating_add(1);
    }

    /// A dataset that was read from the disk has a past. As a replica the server goes on there; as a master
    /// it lets its replicas go on from there, under an id of its own. Nothing was appended to the stream yet
    /// but what the load itself has caused.
    pub fn restore(&mut self, past: Position, replica: bool) {
        let caused = self.backlog.take();
        self.rests_at = past.offset;
        self.open_backlog();
        if replica {
            self.replid.clone_from(&past.replid);
            self.link.remember(past);
            return;
        }
        self.replid2 = past.replid;
        self.second_offset = past.offset.cast_signed().saturating_add(1);
        if let (Some(b), Some(caused)) = (&mut self.backlog, caused) {
            caused.slices(caused.start(), usize::MAX).iter().for_each(|piece| b.push(piece));
        }
    }

    /// The position behind which `replid` and `offset` of a PSYNC go on, or why that cannot be served.
    pub fn can_continue(&self, replid: &[u8], offset: i64) -> Result<u64, Refusal> {
        let ours = replid.eq_ignore_ascii_case(self.replid.as_bytes());
        let before = replid.eq_ignore_ascii_case(self.replid2.as_bytes());
        if !ours && !before {
            return Err(Refusal::OtherHistory);
        }
        if !ours && offset > self.second_offset {
            let by = offset.abs_diff(self.second_offset);
            return Err(Refusal::BehindTheTurn { by });
        }
        let Some(b) = &self.backlog else { return Err(Refusal::NoBacklog) };
        let missing =
            |from: u64| u64::try_from(i128::from(from) + 1 - i128::from(offset)).unwrap_or(u64::MAX);
        match u64::try_from(offset).ok().and_then(|o| o.checked_sub(1)) {
            Some(at) if at > b.end() => Err(Refusal::Ahead { by: at - b.end() }),
            Some(at) if at >= b.start() => Ok(at),
            _ => Err(Refusal::TooOld { missing: missing(b.start()) }),
        }
    }

    /// Bytes of the stream that a client has not been sent yet.
    pub fn owed(&self, id: crate::clients::ClientId) -> usize {
        let Some(r) = self.replicas.get(id) else { return 0 };
        let at = if r.is_fed() { Some(r.at) } else { self.replicas.holds.at(r.number) };
        let Some(at) = at else { return 0 };
        usize::try_from(self.offset().saturating_sub(at)).unwrap_or(usize::MAX)
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

    fn at(replid: &str, offset: u64) -> Position {
        Position { replid: replid.into(), offset, db: Some(3) }
    }

    #[test]
    fn a_promoted_replica_is_followed_up_to_its_promotion() {
        let mut r = Replication::default();
        let old = random_id();
        r.rebase(old.clone(), 100);
        r.backlog.as_mut().expect("just opened").push(b"0123456789");
        r.shift_id(random_id());
        r.backlog.as_mut().expect("open").push(b"01234");
        let new = r.replid.clone();
        let ask = |id: &str, offset| r.can_continue(id.as_bytes(), offset).ok();
        assert_eq!((r.replid2.clone(), r.second_offset), (old.clone(), 111));
        assert_eq!([ask(&old, 101), ask(&old, 111), ask(&old, 112)], [Some(100), Some(110), None]);
        assert_eq!(r.can_continue(old.as_bytes(), 115), Err(Refusal::BehindTheTurn { by: 4 }));
        assert_eq!([ask(&new, 112), ask(&new, 116), ask(&new, 117)], [Some(111), Some(115), None]);
    }

    #[test]
    fn a_dataset_from_the_disk_goes_on_where_it_was_saved() {
        let id = random_id();
        let mut replica = Replication::default();
        replica.restore(at(&id, 50), true);
        assert_eq!((replica.offset(), replica.link.cached()), (50, Some(&at(&id, 50))));
        assert_eq!(replica.can_continue(id.as_bytes(), 51), Ok(50));
        let mut master = Replication::default();
        master.open_backlog();
        master.backlog.as_mut().expect("just opened").push(b"DEL");
        master.restore(at(&id, 50), false);
        assert_eq!((master.offset(), master.second_offset), (53, 51));
        assert_eq!(master.can_continue(id.as_bytes(), 51), Ok(50), "it gets what the load has caused");
        assert!(master.can_continue(id.as_bytes(), 52).is_err());
    }

    #[test]
    fn a_replica_goes_on_where_the_stream_is_still_kept() {
        let mut r = Replication::default();
        let id = r.replid.clone();
        assert_eq!(r.can_continue(id.as_bytes(), 1), Err(Refusal::NoBacklog));
        r.open_backlog();
        let id = id.to_uppercase();
        r.backlog.as_mut().expect("just opened").push(b"0123456789");
        let ask = |offset| r.can_continue(id.as_bytes(), offset);
        assert_eq!([ask(1), ask(7), ask(11)], [Ok(0), Ok(6), Ok(10)]);
        let old = |missing| Err(Refusal::TooOld { missing });
        assert_eq!([ask(0), ask(-1), ask(i64::MIN)], [old(1), old(2), old(1 + (1 << 63))]);
        assert_eq!(ask(12), Err(Refusal::Ahead { by: 1 }));
        assert_eq!(ask(i64::MAX), Err(Refusal::Ahead { by: i64::MAX.unsigned_abs() - 11 }));
        assert!(r.can_continue(NO_ID.as_bytes(), -5).is_err());
        assert_eq!(r.can_continue(b"?", -1), Err(Refusal::OtherHistory));
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
        let gone = r.can_continue(r.replid.clone().as_bytes(), 5);
        assert_eq!(gone, Err(Refusal::TooOld { missing: 6 }), "it is not kept any more");
    }
}
