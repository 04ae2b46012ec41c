//! Blocked clients: the keys each of them waits for, in the order they blocked, and their timeouts.
//!
//! ```text
//! db ─► key ─► seq ─► client     first come first served     timeouts: (ms, client), sorted
//! ready: keys that clients wait for and a unit touched, each once, served at the end of the unit
//! ```
//!
//! A blocked client keeps its request. When a key becomes ready the request is run again, through all
//! refusals, with the timeout it had; if it blocks once more it has a new number, so it stands at the
//! end of every line again.
//!
//! Nothing here looks at all the clients of a key at once: the server asks for one after the other, so
//! that ten thousand clients blocked on one key cost a push no more than one does.

use crate::clients::ClientId;
use crate::replication::acks::AckWait;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

/// What a client waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// A key of this type; `any_change` also wakes on deletion and change of type (XREADGROUP).
    Key { ty: u8, any_change: bool },
    /// WAIT and WAITAOF.
    Replicas(AckWait),
    /// The work of a module.
    #[allow(dead_code, reason = "there are no modules yet")]
    Module,
    /// SHUTDOWN, which waits for replicas.
    Shutdown,
    /// BGREWRITEAOF, which waits until there is a child.
    Rewrite,
}

impl Wait {
    fn any_change(self) -> bool {
        matches!(self, Wait::Key { any_change: true, .. })
    }

    /// Is a key of this type (None: no key) worth another try?
    pub fn wakes(self, ty: Option<u8>) -> bool {
        match self {
            Wait::Key { ty: wanted, any_change } => any_change || ty == Some(wanted),
            Wait::Module => ty.is_some(),
            Wait::Replicas(_) | Wait::Shutdown | Wait::Rewrite => false,
        }
    }
}

#[derive(Debug)]
pub struct Block {
    pub wait: Wait,
    pub db: usize,
    pub keys: Vec<Box<[u8]>>,
    /// Unix milliseconds; 0 for ever.
    pub deadline: i64,
    pub cmd: u16,
    pub args: Vec<Box<[u8]>>,
    /// The request as it came, when `args` says something else; what the slow log shows.
    pub original: Option<Vec<Box<[u8]>>>,
    /// Ticks that the attempts took so far.
    pub spent: u64,
}

/// The clients that wait for one key.
#[derive(Debug, Default)]
struct Line {
    clients: BTreeMap<u64, ClientId>,
    /// How many of them wake on any change.
    any_change: usize,
}

#[derive(Debug, Default)]
pub struct Blocked {
    /// With their numbers in the lines.
    clients: HashMap<ClientId, (u64, Block)>,
    /// By database.
    lines: Vec<HashMap<Box<[u8]>, Line>>,
    timeouts: BTreeSet<(i64, ClientId)>,
    /// Those that wait for replicas or the disk.
    acks: BTreeMap<u64, ClientId>,
    ready: VecDeque<(usize, Box<[u8]>)>,
    in_ready: HashSet<(usize, Box<[u8]>)>,
    /// How many wait for a key of each type.
    by_type: [usize; 8],
    modules: usize,
    next_seq: u64,
}

impl Blocked {
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Types of keys that clients wait for, as bits.
    pub fn types(&self) -> u8 {
        if self.modules > 0 {
            return u8::MAX;
        }
        let bit = |(ty, n): (usize, &usize)| u8::from(*n > 0) << ty;
        self.by_type.iter().enumerate().map(bit).fold(0, |all, b| all | b)
    }

    /// Number of keys that clients wait for, and of those whose deletion wakes a client.
    pub fn key_counts(&self) -> (usize, usize) {
        let lines = || self.lines.iter().flat_map(HashMap::values);
        (lines().count(), lines().filter(|l| l.any_change > 0).count())
    }

    /// The clients that wait for something that is no key.
    pub fn waiting(&self, wait: Wait) -> Vec<ClientId> {
        let all = self.clients.iter().filter(|(_, (_, b))| b.wait == wait);
        all.map(|(id, _)| *id).collect()
    }

    pub fn waits_for_acks(&self) -> bool {
        !self.acks.is_empty()
    }

    /// The clients in WAIT and WAITAOF, the newest first.
    pub fn acks_waiting(&self) -> Vec<ClientId> {
        self.acks.values().rev().copied().collect()
    }

    /// Number of blocked clients with a timeout.
    pub fn with_timeout(&self) -> usize {
        self.timeouts.len()
    }

    pub fn get(&self, id: ClientId) -> Option<&Block> {
        self.clients.get(&id).map(|(_, b)| b)
    }

    fn count(&mut self, wait: Wait) -> Option<&mut usize> {
        match wait {
            Wait::Key { ty, .. } => self.by_type.get_mut(usize::from(ty)),
            Wait::Module => Some(&mut self.modules),
            Wait::Replicas(_) | Wait::Shutdown | Wait::Rewrite => None,
        }
    }

    pub fn add(&mut self, id: ClientId, b: Block) {
        debug_assert!(!self.clients.contains_key(&id), "blocked twice");
        self.next_seq += 1;
        let seq = self.next_seq;
        if self.lines.len() <= b.db {
            self.lines.resize_with(b.db + 1, HashMap::new);
        }
        for key in &b.keys {
            let line = self.lines[b.db].entry(key.clone()).or_default();
            // A key may be named twice.
            if line.clients.insert(seq, id).is_none() {
                line.any_change += usize::from(b.wait.any_change());
            }
        }
        if b.deadline > 0 {
            self.timeouts.insert((b.deadline, id));
        }
        if let Some(n) = self.count(b.wait) {
            *n += 1;
        }
        if matches!(b.wait, Wait::Replicas(_)) {
            self.acks.insert(seq, id);
        }
        self.clients.insert(id, (seq, b));
    }

    pub fn remove(&mut self, id: ClientId) -> Option<Block> {
        let (seq, b) = self.clients.remove(&id)?;
        for key in &b.keys {
            let Some(line) = self.lines[b.db].get_mut(key) else { continue };
            if line.clients.remove(&seq).is_some() {
                line.any_change -= usize::from(b.wait.any_change());
            }
            if line.clients.is_empty() {
                self.lines[b.db].remove(key);
            }
        }
        self.timeouts.remove(&(b.deadline, id));
        self.acks.remove(&seq);
        if let Some(n) = self.count(b.wait) {
            *n -= 1;
        }
        Some(b)
    }

    /// A request that was parked as `before` has been run again and has blocked again: it keeps the deadline
    /// and the words that it came with.
    pub fn carry_over(&mut self, id: ClientId, before: Block) {
        let Some((_, b)) = self.clients.get_mut(&id) else { return };
        self.timeouts.remove(&(b.deadline, id));
        b.deadline = before.deadline;
        b.original = before.original.or_else(|| b.original.take());
        if b.deadline > 0 {
            self.timeouts.insert((b.deadline, id));
        }
    }

    /// Books the time of an attempt that ended in waiting.
    #[cold]
    pub fn spent(&mut self, id: ClientId, ticks: u64) {
        if let Some((_, b)) = self.clients.get_mut(&id) {
            b.spent += ticks;
        }
    }

    fn line(&self, db: usize, key: &[u8]) -> Option<&Line> {
        self.lines.get(db)?.get(key)
    }

    /// A key changed in a way that could serve a client: it came (`exists`), or it went or became
    /// something else.
    pub fn signal(&mut self, db: usize, key: &[u8], exists: bool) {
        let Some(line) = self.line(db, key) else { return };
        if !exists && line.any_change == 0 {
            return;
        }
        let at = (db, Box::from(key));
        if !self.in_ready.contains(&at) {
            self.in_ready.insert(at.clone());
            self.ready.push_back(at);
        }
    }

    /// Keys that clients wait for, in one database; the key of the longest waiting client comes first.
    pub fn keys_of(&self, db: usize) -> Vec<Box<[u8]>> {
        let Some(lines) = self.lines.get(db) else { return Vec::new() };
        let oldest = |l: &Line| l.clients.first_key_value().map(|(seq, _)| *seq);
        let mut keys: Vec<_> = lines.iter().map(|(key, l)| (oldest(l), key)).collect();
        keys.sort_unstable();
        keys.into_iter().map(|(_, key)| key.clone()).collect()
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next ready key.
    pub fn next_ready(&mut self) -> Option<(usize, Box<[u8]>)> {
        let at = self.ready.pop_front()?;
        self.in_ready.remove(&at);
        Some(at)
    }

    /// The number that was given last: a client that blocks from now on gets a higher one.
    pub fn last_seq(&self) -> u64 {
        self.next_seq
    }

    /// The first in the line of a key with a number above `after` and up to `last`.
    pub fn next_in_line(&self, db: usize, key: &[u8], after: u64, last: u64) -> Option<(u64, ClientId)> {
        let from = after.checked_add(1).filter(|f| *f <= last)?;
        let (seq, id) = self.line(db, key)?.clients.range(from..=last).next()?;
        Some((*seq, *id))
    }

    /// Does a client in the line of a key wake when the key is gone?
    pub fn wakes_without(&self, db: usize, key: &[u8]) -> bool {
        self.line(db, key).is_some_and(|l| l.any_change > 0)
    }

    /// Clients whose timeout has passed, the most overdue first.
    pub fn timed_out(&mut self, now_ms: i64) -> Vec<ClientId> {
        let due = self.timeouts.iter().take_while(|(at, _)| *at <= now_ms);
        due.map(|(_, id)| *id).collect()
    }

    pub fn next_timeout(&self) -> Option<i64> {
        self.timeouts.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: Wait = Wait::Key { ty: 1, any_change: false };
    const GROUP: Wait = Wait::Key { ty: 6, any_change: true };

    fn id(index: u32) -> ClientId {
        ClientId { index, generation: 1 }
    }

    fn block(wait: Wait, keys: &[&str], deadline: i64) -> Block {
        let keys = keys.iter().map(|k| Box::from(k.as_bytes())).collect();
        let args = Vec::new();
        Block { wait, db: 0, keys, deadline, cmd: 0, args, original: None, spent: 0 }
    }

    fn line(b: &Blocked, key: &str) -> Vec<u32> {
        let (mut all, mut after) = (Vec::new(), 0);
        while let Some((seq, c)) = b.next_in_line(0, key.as_bytes(), after, b.last_seq()) {
            all.push(c.index);
            after = seq;
        }
        all
    }

    #[test]
    fn a_client_that_blocks_again_stands_at_the_end_of_every_line() {
        let mut b = Blocked::default();
        b.add(id(1), block(LIST, &["x", "y", "x"], 0));
        b.add(id(2), block(LIST, &["x"], 0));
        b.add(id(3), block(LIST, &["y"], 0));
        assert_eq!((line(&b, "x"), line(&b, "y")), (vec![1, 2], vec![1, 3]));
        let again = b.remove(id(1)).expect("it was added");
        let before = b.last_seq();
        b.add(id(1), again);
        assert_eq!((line(&b, "x"), line(&b, "y")), (vec![2, 1], vec![3, 1]));
        let second = b.next_in_line(0, b"x", 2, before);
        assert_eq!(second, None, "a round ends with the clients that waited when it began");
    }

    #[test]
    fn a_request_that_blocks_again_keeps_its_deadline_and_its_words() {
        let mut b = Blocked::default();
        let first = Block { original: Some(vec![Box::from(*b"first")]), ..block(LIST, &["x"], 50) };
        b.add(id(1), block(LIST, &["x"], 90));
        b.carry_over(id(1), first);
        assert_eq!((b.next_timeout(), b.with_timeout()), (Some(50), 1));
        assert_eq!(b.remove(id(1)).and_then(|b| b.original), Some(vec![Box::from(*b"first")]));
        // Without an end, and as the client sent it.
        let second = Block { original: Some(Vec::new()), ..block(LIST, &["x"], 90) };
        b.add(id(1), second);
        b.carry_over(id(1), block(LIST, &["x"], 0));
        assert_eq!((b.next_timeout(), b.get(id(1)).map(|b| b.original.is_some())), (None, Some(true)));
        b.carry_over(id(2), block(LIST, &["x"], 70));
        assert_eq!((b.len(), b.with_timeout()), (1, 0), "one that has left comes not back");
    }

    #[test]
    fn nothing_is_left_of_clients_that_leave() {
        let mut b = Blocked::default();
        assert_eq!(b.types(), 0);
        b.add(id(1), block(LIST, &["x", "x"], 50));
        b.add(id(2), block(GROUP, &["x", "z"], 40));
        assert_eq!((b.types(), b.key_counts(), b.with_timeout()), (1 << 1 | 1 << 6, (2, 2), 2));
        assert_eq!(b.next_timeout(), Some(40));
        assert_eq!(b.timed_out(45), [id(2)]);
        assert!(b.remove(id(2)).is_some() && b.remove(id(2)).is_none());
        assert_eq!((b.types(), b.key_counts(), b.next_timeout()), (1 << 1, (1, 0), Some(50)));
        b.remove(id(1));
        assert_eq!((b.types(), b.key_counts(), b.next_timeout()), (0, (0, 0), None));
        assert!(b.is_empty());
    }

    #[test]
    fn a_key_is_ready_once_and_only_for_clients_that_it_can_serve() {
        let mut b = Blocked::default();
        b.add(id(1), block(LIST, &["x"], 0));
        b.add(id(2), block(GROUP, &["z"], 0));
        b.signal(0, b"x", false);
        b.signal(0, b"nobody", true);
        b.signal(3, b"x", true);
        assert!(!b.has_ready());
        b.signal(0, b"z", false);
        b.signal(0, b"x", true);
        b.signal(0, b"x", true);
        assert_eq!(b.next_ready(), Some((0, Box::from(*b"z"))));
        assert_eq!(b.next_ready(), Some((0, Box::from(*b"x"))));
        assert_eq!(b.next_ready(), None);
        assert!(LIST.wakes(Some(1)) && !LIST.wakes(Some(3)) && !LIST.wakes(None));
        assert!(GROUP.wakes(None) && Wait::Module.wakes(Some(0)) && !Wait::Module.wakes(None));
    }
}
