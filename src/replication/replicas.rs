//! The replicas of this server, and what each is sent next. Decides; the sockets and files are `master`'s.
//!
//! ```text
//! WaitStart ─ begin ─► WaitEnd ─ transfer ─► SendBulk ─ sent all of it ─► Online | Leaves (rdb-only)
//!     a line end now and then       head: "$len"        the file             the stream from `at` on
//!                  head: +FULLRESYNC
//! ```
//!
//! Without a file: WaitStart ─ begin ─► Transfer ─ the child has ended ─► WaitAck ─ ACK ─► Online. What is
//! sent comes in pieces that all replicas of the transfer share (`offer`).
//!
//! A replica that wants nothing of the data (`filtered`) goes from WaitStart to SendBulk in one step:
//! there is nothing to save.
//!
//! Before anything else a replica is sent its `head`: lines that precede what its stage gives. A client
//! that has only said something by REPLCONF is `known`; SYNC or PSYNC makes it a replica.
//!
//! By two connections (dual channel): the first one is told so and stays a plain client; the second one has
//! the snapshot alone, with where it ends before it ($ENDOFF). From the fork on the stream is kept (`Holds`)
//! until the first one has asked for it: Load ─ ACK ─► Online.
//!
//! A new stage: a variant, its name for INFO in `Stage::name`, what it is sent in `Replica::next`.

use super::absent::Absentees;
use super::holds::Holds;
use crate::clients::ClientId;
use std::collections::HashMap;
use std::fs::File;

/// What a client has stated about itself by REPLCONF.
#[derive(Debug, Default, Clone)]
pub struct ReplconfFacts {
    /// Where it listens; 0 for unknown.
    pub port: i64,
    pub ip: Option<Box<[u8]>>,
    /// What it understands: a snapshot of unknown length, and a new ID when it goes on.
    pub eof: bool,
    pub psync2: bool,
    /// It wants the snapshot and nothing behind it.
    pub rdb_only: bool,
    /// It wants no keys in its snapshot.
    pub filtered: bool,
    /// ... but the libraries of functions.
    pub functions: bool,
    /// It can have the snapshot by a second connection, while the first one carries the stream.
    pub dual: bool,
    /// It is such a second connection.
    pub rdb_channel: bool,
    /// It is the first one: the number of the client that gets the snapshot.
    pub main_of: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    WaitStart,
    WaitEnd,
    SendBulk,
    /// The snapshot comes from the child, piece by piece.
    Transfer,
    /// It has the snapshot. The stream may begin when it has said so.
    WaitAck,
    /// It is sent the stream, which it keeps until it has loaded what comes by its other connection.
    Load,
    Online,
}

impl Stage {
    /// As INFO names it.
    pub fn name(self) -> &'static str {
        match self {
            Stage::WaitStart | Stage::WaitEnd | Stage::Transfer => "wait_bgsave",
            Stage::SendBulk => "send_bulk",
            Stage::Load => "bg_transfer",
            Stage::WaitAck | Stage::Online => "online",
        }
    }
}

/// Where a snapshot is.
#[derive(Debug)]
pub enum Source {
    File(File),
    Memory(Vec<u8>),
}

/// A snapshot on its way.
#[derive(Debug)]
pub struct Bulk {
    pub source: Source,
    pub len: u64,
    pub sent: u64,
}

#[derive(Debug)]
pub struct Replica {
    pub id: ClientId,
    /// Its address, as the log names it; it has the same one when it comes again.
    pub name: String,
    /// As CLIENT ID numbers the client.
    pub number: u64,
    pub facts: ReplconfFacts,
    /// It came by SYNC and will never acknowledge anything.
    pub silent: bool,
    pub stage: Stage,
    /// Position in the stream that it is sent next; from the fork on.
    pub at: u64,
    /// Position at which it began.
    from: u64,
    /// When its full sync has begun, in Unix seconds, until it has acknowledged that.
    pub begun_at: Option<i64>,
    /// The database that is selected there, for a replica that reads the stream by another connection.
    pub db: usize,
    pub head: Vec<u8>,
    pub bulk: Option<Bulk>,
    /// Bytes of the piece of a transfer that it has taken, and how many there are.
    piece: (usize, usize),
    /// Since when it takes nothing of a piece, in Unix seconds.
    pub stalled_since: Option<i64>,
    /// What it has applied, and what is on its disk, by its own word.
    pub acked: i64,
    pub aof_acked: i64,
    /// When it spoke last, in Unix seconds.
    pub ack_at: i64,
}

/// What leaves next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    Head,
    /// The file from this byte on.
    Bulk(u64),
    /// The piece of a transfer from this byte on.
    Piece(usize),
    /// The stream from this position on.
    Stream(u64),
    Nothing,
}

impl Replica {
    fn new(id: ClientId, facts: ReplconfFacts, silent: bool, stage: Stage) -> Replica {
        Replica {
            id,
            name: String::new(),
            number: 0,
            facts,
            silent,
            stage,
            at: 0,
            from: 0,
            begun_at: None,
            db: 0,
            head: Vec::new(),
            bulk: None,
            piece: (0, 0),
            stalled_since: None,
            acked: 0,
            aof_acked: 0,
            ack_at: 0,
        }
    }

    /// Does it count as online?
    pub fn is_online(&self) -> bool {
        matches!(self.stage, Stage::Online | Stage::WaitAck)
    }

    /// Up to here it has the stream, as far as is known.
    pub fn has(&self) -> u64 {
        self.from.max(u64::try_from(self.acked).unwrap_or(0))
    }

    /// Will it ask to go on where it was, when it is lost now?
    fn is_expected_back(&self) -> bool {
        self.is_online() && !self.silent && !self.facts.rdb_only
    }

    /// Is it sent the stream?
    pub fn is_streamed(&self) -> bool {
        matches!(self.stage, Stage::Online | Stage::Load)
    }

    /// It goes on where it was.
    pub fn go_on(&mut self, at: u64, now: i64) {
        debug_assert!(self.is_streamed());
        (self.at, self.from, self.ack_at) = (at, at, now);
    }

    /// The next piece of a transfer has so many bytes.
    pub fn offer(&mut self, len: usize) {
        debug_assert!(self.stage == Stage::Transfer && self.piece.0 == self.piece.1);
        self.piece = (0, len);
    }

    /// Does the stream keep what this one has not got yet?
    pub fn is_fed(&self) -> bool {
        self.stage != Stage::WaitStart && !self.facts.rdb_only
    }

    /// A snapshot of the moment in which the stream ended at `at` is being written, since `now`.
    pub fn begin(&mut self, at: u64, replid: &str, now: i64) {
        debug_assert_eq!(self.stage, Stage::WaitStart);
        (self.stage, self.at, self.from, self.begun_at) = (Stage::WaitEnd, at, at, Some(now));
        if self.facts.rdb_channel {
            let (db, number) = (self.db, self.number);
            self.head.extend_from_slice(format!("$ENDOFF:{at} {replid} {db} {number}\r\n").as_bytes());
        } else if !self.silent {
            self.head.extend_from_slice(format!("+FULLRESYNC {replid} {at}\r\n").as_bytes());
        }
    }

    /// The snapshot is there, and goes across.
    pub fn transfer(&mut self, source: Source, len: u64) {
        debug_assert_eq!(self.stage, Stage::WaitEnd);
        self.stage = Stage::SendBulk;
        self.head.extend_from_slice(format!("${len}\r\n").as_bytes());
        self.bulk = Some(Bulk { source, len, sent: 0 });
    }

    /// A sign of life for one that waits, unless it has not read the last one.
    pub fn keep_alive(&mut self) -> bool {
        let due = matches!(self.stage, Stage::WaitStart | Stage::WaitEnd) && self.head.is_empty();
        if due {
            self.head.push(b'\n');
        }
        due
    }

    /// `end`: where the stream ends.
    pub fn next(&self, end: u64) -> Next {
        if !self.head.is_empty() {
            return Next::Head;
        }
        match (self.stage, &self.bulk) {
            (Stage::SendBulk, Some(b)) => Next::Bulk(b.sent),
            (Stage::Transfer, _) if self.piece.0 < self.piece.1 => Next::Piece(self.piece.0),
            (Stage::Online | Stage::Load, _) if self.at < end => Next::Stream(self.at),
            _ => Next::Nothing,
        }
    }

    /// So many bytes of `what` have left. True when the snapshot is across with that.
    pub fn sent(&mut self, what: Next, n: usize, now: i64) -> bool {
        match what {
            Next::Head => drop(self.head.drain(..n)),
            Next::Stream(_) => self.at += n as u64,
            Next::Piece(_) => {
                self.piece.0 += n;
                self.stalled_since = (self.piece.0 < self.piece.1).then_some(now);
            }
            Next::Bulk(_) => {
                let Some(b) = &mut self.bulk else { return false };
                b.sent += n as u64;
                if b.sent == b.len {
                    self.bulk = None;
                    (self.stage, self.ack_at) = (Stage::Online, now);
                    return true;
                }
            }
            Next::Nothing => {}
        }
        false
    }

    /// Can it be served from a snapshot that was begun for `other`?
    fn can_join(&self, other: &Replica) -> bool {
        other.stage == Stage::WaitEnd
            && !self.facts.rdb_channel
            && (!other.facts.rdb_only || self.facts.rdb_only)
            && (!other.facts.eof || self.facts.eof)
            && (!other.facts.psync2 || self.facts.psync2)
    }

    /// True when it is online with that: the stream begins, or what was sent of it is being applied.
    fn acknowledge(&mut self, offset: i64, aof: Option<i64>, now: i64) -> bool {
        self.acked = self.acked.max(offset);
        self.aof_acked = self.aof_acked.max(aof.unwrap_or(0));
        self.ack_at = now;
        let begins = matches!(self.stage, Stage::WaitAck | Stage::Load);
        if begins {
            self.stage = Stage::Online;
        }
        begins
    }
}

#[derive(Default)]
pub struct Replicas {
    /// In the order in which they attached.
    list: Vec<Replica>,
    known: HashMap<ClientId, ReplconfFacts>,
    /// What is kept for replicas that are about to attach a second time.
    pub holds: Holds,
    /// Killed, and what follows from it not done yet.
    left: Vec<Replica>,
    /// Those that were lost, and may come back for what they lack.
    pub absent: Absentees,
    /// Seconds that the last full sync has taken, from the fork to the first acknowledgement or the loss of
    /// the replica.
    pub last_sync: Option<u64>,
}

impl Replicas {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Replica> {
        self.list.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Replica> {
        self.list.iter_mut()
    }

    pub fn get(&self, id: ClientId) -> Option<&Replica> {
        self.list.iter().find(|r| r.id == id)
    }

    pub fn get_mut(&mut self, id: ClientId) -> Option<&mut Replica> {
        self.list.iter_mut().find(|r| r.id == id)
    }

    /// The replicas that are sent the stream.
    pub fn streamed(&self) -> Vec<ClientId> {
        self.list.iter().filter(|r| r.is_streamed()).map(|r| r.id).collect()
    }

    /// The replicas at a stage.
    pub fn at_stage(&self, stage: Stage) -> Vec<ClientId> {
        self.list.iter().filter(|r| r.stage == stage).map(|r| r.id).collect()
    }

    /// What a client has stated by REPLCONF; None when it sent none.
    pub fn facts(&self, id: ClientId) -> Option<&ReplconfFacts> {
        self.get(id).map(|r| &r.facts).or_else(|| self.known.get(&id))
    }

    /// The same to be changed; made when the client has sent no REPLCONF before.
    pub fn facts_mut(&mut self, id: ClientId) -> &mut ReplconfFacts {
        match self.list.iter().position(|r| r.id == id) {
            Some(i) => &mut self.list[i].facts,
            None => self.known.entry(id).or_default(),
        }
    }

    /// The client is a replica from now on; `named` says which one.
    pub fn attach(&mut self, id: ClientId, silent: bool, stage: Stage) -> &mut Replica {
        debug_assert!(self.get(id).is_none(), "attached twice");
        let facts = self.known.remove(&id).unwrap_or_default();
        self.list.push(Replica::new(id, facts, silent, stage));
        self.list.last_mut().expect("just pushed")
    }

    /// Where a replica that has just attached comes from. It is not missed any more.
    pub fn named(&mut self, id: ClientId, name: String) {
        self.absent.back(&name);
        if let Some(r) = self.get_mut(id) {
            r.name = name;
        }
    }

    /// The client is no replica any more; returns what it was.
    pub fn forget(&mut self, id: ClientId) -> Option<Replica> {
        self.known.remove(&id);
        let i = self.list.iter().position(|r| r.id == id)?;
        Some(self.list.remove(i))
    }

    /// The client has been killed: what it was waits for `take_left`.
    pub fn leave(&mut self, id: ClientId) {
        if let Some(replica) = self.forget(id) {
            if replica.is_expected_back() {
                self.absent.lost(replica.name.clone(), replica.has());
            }
            self.left.push(replica);
        }
    }

    /// What a killed client was, if it was a replica; once.
    pub fn take_left(&mut self, id: ClientId) -> Option<Replica> {
        let i = self.left.iter().position(|r| r.id == id)?;
        Some(self.left.remove(i))
    }

    /// Lets a replica have the snapshot that is being written for another one, if there is one that it
    /// can use.
    pub fn join(&mut self, id: ClientId, replid: &str) -> bool {
        let Some(new) = self.get(id) else { return false };
        let Some(other) = self.list.iter().find(|r| new.can_join(r)) else { return false };
        let (at, begun) = (other.at, other.begun_at.unwrap_or(0));
        self.get_mut(id).expect("looked at above").begin(at, replid, begun);
        true
    }

    /// REPLCONF ACK. True when the replica is online from now on.
    pub fn acknowledge(&mut self, id: ClientId, offset: i64, aof: Option<i64>, now: i64) -> bool {
        let Some(r) = self.get_mut(id) else { return false };
        let begins = r.acknowledge(offset, aof, now);
        if r.is_online()
            && let Some(begun) = r.begun_at.take()
        {
            self.took(begun, now);
        }
        begins
    }

    /// A full sync that began at `begun` is over.
    pub fn took(&mut self, begun: i64, now: i64) {
        self.last_sync = Some(now.saturating_sub(begun).max(0).unsigned_abs());
    }

    /// The first position that a replica still has to be sent; `end` when there is none.
    pub fn wanted(&self, end: u64) -> u64 {
        let fed = self.list.iter().filter(|r| r.is_fed()).map(|r| r.at);
        fed.chain(self.holds.first()).min().unwrap_or(end)
    }

    /// The number of replicas that are online and have acknowledged in the last `lag` seconds.
    pub fn good(&self, now: i64, lag: u64) -> u64 {
        let fresh = |r: &&Replica| u64::try_from((now - r.ack_at).max(0)).is_ok_and(|l| l <= lag);
        self.list.iter().filter(|r| r.is_online()).filter(fresh).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u32) -> ClientId {
        ClientId { index, generation: 1 }
    }

    fn file() -> File {
        File::open("/dev/null").expect("there on every system we run on")
    }

    #[test]
    fn a_replica_gets_its_answer_then_the_snapshot_then_the_stream_from_the_fork_on() {
        let mut all = Replicas::default();
        let r = all.attach(id(1), false, Stage::WaitStart);
        assert!(r.keep_alive() && !r.keep_alive(), "one sign of life at a time");
        assert!(!r.is_fed());
        r.begin(40, "abc", 1);
        assert_eq!(r.head, b"\n+FULLRESYNC abc 40\r\n");
        let n = r.head.len();
        assert!(!r.sent(Next::Head, n, 1));
        assert_eq!(r.next(100), Next::Nothing, "the snapshot is not there yet");
        assert!(r.is_fed());
        r.transfer(Source::File(file()), 10);
        assert!(!r.keep_alive(), "nothing may stand inside the snapshot");
        assert_eq!(r.head, b"$10\r\n");
        assert!(!r.sent(Next::Head, 2, 1));
        assert_eq!((r.next(100), &r.head[..]), (Next::Head, &b"0\r\n"[..]));
        assert!(!r.sent(Next::Head, 3, 1));
        assert_eq!(r.next(100), Next::Bulk(0));
        assert!(!r.sent(Next::Bulk(0), 9, 1));
        assert_eq!((r.next(100), r.stage), (Next::Bulk(9), Stage::SendBulk));
        assert!(r.sent(Next::Bulk(9), 1, 77));
        assert_eq!((r.next(100), r.stage, r.ack_at), (Next::Stream(40), Stage::Online, 77));
        assert!(!r.sent(Next::Stream(40), 60, 78));
        assert_eq!(r.next(100), Next::Nothing);
    }

    #[test]
    fn behind_a_transfer_the_stream_waits_for_an_acknowledgement() {
        let mut all = Replicas::default();
        let r = all.attach(id(1), false, Stage::WaitStart);
        r.begin(40, "abc", 1);
        r.stage = Stage::Transfer;
        let n = r.head.len();
        assert!(!r.sent(Next::Head, n, 1) && !r.keep_alive(), "nothing may stand inside the snapshot");
        assert_eq!(r.next(100), Next::Nothing);
        r.offer(10);
        assert_eq!(r.next(100), Next::Piece(0));
        assert!(!r.sent(Next::Piece(0), 4, 7));
        assert_eq!((r.next(100), r.stalled_since), (Next::Piece(4), Some(7)));
        assert!(!r.sent(Next::Piece(4), 6, 8));
        assert_eq!((r.next(100), r.stalled_since), (Next::Nothing, None));
        r.stage = Stage::WaitAck;
        assert_eq!((r.next(100), r.stage.name(), r.is_fed()), (Next::Nothing, "online", true));
        assert_eq!(all.last_sync, None);
        assert!(all.acknowledge(id(1), 40, None, 9) && !all.acknowledge(id(1), 41, None, 19));
        assert_eq!(all.last_sync, Some(8), "from the fork to the first acknowledgement");
        assert_eq!(all.get(id(1)).map(|r| r.next(100)), Some(Next::Stream(40)));
    }

    #[test]
    fn a_snapshot_is_shared_by_those_who_understand_it() {
        let mut all = Replicas::default();
        all.facts_mut(id(1)).psync2 = true;
        all.attach(id(1), false, Stage::WaitStart).begin(7, "x", 1);
        all.attach(id(2), true, Stage::WaitStart);
        assert!(!all.join(id(2), "x"), "it understands less than the first");
        all.facts_mut(id(3)).psync2 = true;
        all.attach(id(3), false, Stage::WaitStart);
        assert!(all.join(id(3), "x"));
        let third = all.get(id(3)).expect("attached");
        assert_eq!((third.at, third.stage), (7, Stage::WaitEnd));
        assert_eq!(all.wanted(9), 7, "whoever waits to begin needs nothing of the stream");
        all.leave(id(1));
        assert_eq!(all.take_left(id(1)).map(|r| (r.id, r.stage)), Some((id(1), Stage::WaitEnd)));
        assert!(all.take_left(id(1)).is_none() && all.forget(id(3)).is_some());
        assert_eq!(all.wanted(9), 9);
        assert_eq!(all.at_stage(Stage::WaitStart), [id(2)]);
    }

    #[test]
    fn who_wants_the_snapshot_only_holds_nothing_of_the_stream() {
        let mut all = Replicas::default();
        all.facts_mut(id(1)).rdb_only = true;
        all.attach(id(1), true, Stage::WaitStart).begin(3, "x", 1);
        assert_eq!(all.wanted(9), 9);
        all.attach(id(2), true, Stage::WaitStart);
        assert!(!all.join(id(2), "x"), "nobody keeps the stream for it");
    }

    #[test]
    fn a_snapshot_by_a_second_connection_leaves_the_stream_to_the_first() {
        let mut all = Replicas::default();
        *all.facts_mut(id(1)) =
            ReplconfFacts { rdb_only: true, rdb_channel: true, ..Default::default() };
        let r = all.attach(id(1), true, Stage::WaitStart);
        (r.number, r.db) = (77, 3);
        r.begin(40, "abc", 5);
        assert_eq!(r.head, b"$ENDOFF:40 abc 3 77\r\n");
        all.holds.add(77, 40);
        assert_eq!(all.wanted(90), 40, "kept for the first");
        all.facts_mut(id(2)).rdb_channel = true;
        all.attach(id(2), true, Stage::WaitStart);
        assert!(!all.join(id(2), "abc"), "each fork is told to those it was made for");
        assert!(all.holds.release(77));
        all.attach(id(3), false, Stage::Load).at = 40;
        let main = all.get(id(3)).expect("attached");
        assert_eq!(
            (main.next(90), main.stage.name(), main.is_online()),
            (Next::Stream(40), "bg_transfer", false)
        );
        assert_eq!((all.wanted(90), all.streamed()), (40, vec![id(3)]));
        assert!(all.acknowledge(id(3), 40, None, 9) && !all.acknowledge(id(3), 41, None, 9));
        assert!(all.get(id(3)).is_some_and(Replica::is_online));
    }

    #[test]
    fn acknowledgements_only_rise_and_count_for_a_while() {
        let mut all = Replicas::default();
        all.attach(id(1), false, Stage::Online);
        all.attach(id(2), false, Stage::WaitStart);
        all.acknowledge(id(1), 50, Some(20), 100);
        all.acknowledge(id(1), 40, None, 101);
        let r = all.get(id(1)).expect("attached");
        assert_eq!((r.acked, r.aof_acked, r.ack_at), (50, 20, 101));
        assert_eq!([all.good(101, 0), all.good(111, 10), all.good(112, 10)], [1, 1, 0]);
    }

    #[test]
    fn replicas_that_followed_are_missed_and_others_are_not() {
        let mut all = Replicas::default();
        for (n, stage) in [(1, Stage::Online), (2, Stage::WaitStart), (3, Stage::Online)] {
            all.attach(id(n), n == 3, stage);
            all.named(id(n), n.to_string());
        }
        all.get_mut(id(1)).expect("attached").go_on(30, 5);
        (1..=3).for_each(|n| all.leave(id(n)));
        assert_eq!(all.absent.wanted(100, 100, 5, 10), Some(30));
        all.attach(id(4), false, Stage::Online).go_on(35, 6);
        all.named(id(4), "1".into());
        assert!(all.absent.is_empty(), "it is back");
        all.acknowledge(id(4), 40, None, 7);
        all.leave(id(4));
        assert_eq!(all.absent.wanted(100, 100, 5, 10), Some(40), "it has told how far it is");
    }
}
