//! Consumer groups: what was delivered last, and what was delivered but not acknowledged, by group and
//! by consumer.
//!
//! ```text
//!   group      pending   ID ──► Pending { owner, delivered at, how often }
//!              names     name ──► place ──► Consumer { name, times, pending: set of IDs }
//! ```
//!
//! What is pending has its record in the group alone; its consumer, by place, keeps just the ID. So
//! every ID in a consumer's set is in the group's tree with that consumer as its owner, and the other
//! way about: whatever changes one side changes both.

use super::DEFRAG_STEP;
use super::id::Id;
use crate::ds::moving::{self, DefragCursor};
use crate::ds::rax::{Rax, Seek};
use crate::sys::defrag::Mover;

/// How many entries a group has read cannot be told (SCG_INVALID_ENTRIES_READ).
pub const UNKNOWN: i64 = -1;

/// The place of a consumer within its group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConsumerIndex(u32);

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Unix time in milliseconds.
    pub delivered_at: i64,
    pub deliveries: u64,
    pub owner: ConsumerIndex,
}

#[derive(Debug)]
pub struct Consumer {
    pub name: Box<[u8]>,
    /// When it last asked for anything.
    pub seen_at: i64,
    /// When it last got or claimed anything; -1 for never.
    pub active_at: i64,
    pending: Rax<()>,
}

#[derive(Default)]
pub struct Group {
    pub last_id: Id,
    /// Entries of the stream up to `last_id`, or `UNKNOWN`.
    pub entries_read: i64,
    pending: Rax<Box<Pending>>,
    names: Rax<u32>,
    consumers: Vec<Option<Box<Consumer>>>,
    /// Places of consumers that are gone.
    free: Vec<u32>,
    /// Bytes of all consumers.
    consumer_bytes: usize,
}

impl Consumer {
    fn bytes(&self) -> usize {
        size_of::<Consumer>() - size_of::<Rax<()>>() + self.name.len() + self.pending.mem_size()
    }

    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    /// The first ID that is pending with it, from `from` on.
    pub fn next_pending(&self, from: Id) -> Option<Id> {
        let (key, ()) = self.pending.seek_key(Seek::Ge(&from.key()))?;
        Id::from_key(&key)
    }

    /// IDs that are pending with it, in order.
    pub fn for_each_pending(&self, mut f: impl FnMut(Id) -> bool) {
        let mut walk = self.pending.iter();
        while let Some((key, ())) = walk.next() {
            if !f(Id::from_key(key).expect("keys are IDs")) {
                return;
            }
        }
    }
}

impl Group {
    pub fn new(last_id: Id, entries_read: i64) -> Self {
        Group { last_id, entries_read, ..Group::default() }
    }

    // ---- consumers ------------------------------------------------------------------------------

    pub fn consumer_count(&self) -> usize {
        self.names.len()
    }

    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerIndex> {
        self.names.find(name).map(|at| ConsumerIndex(*at))
    }

    pub fn consumer(&self, consumer: ConsumerIndex) -> &Consumer {
        self.consumers[consumer.0 as usize].as_deref().expect("consumers leave with all that is theirs")
    }

    pub fn consumer_mut(&mut self, consumer: ConsumerIndex) -> &mut Consumer {
        self.consumers[consumer.0 as usize]
            .as_deref_mut()
            .expect("consumers leave with all that is theirs")
    }

    /// A new consumer; None when the name is taken.
    pub fn add_consumer(&mut self, name: &[u8], now_ms: i64) -> Option<ConsumerIndex> {
        if self.names.contains(name) {
            return None;
        }
        let c = Consumer { name: name.into(), seen_at: now_ms, active_at: -1, pending: Rax::new() };
        let consumer = ConsumerIndex(self.free.pop().unwrap_or_else(|| {
            self.consumers.push(None);
            u32::try_from(self.consumers.len() - 1).expect("memory holds fewer consumers")
        }));
        self.consumer_bytes += c.bytes();
        self.consumers[consumer.0 as usize] = Some(Box::new(c));
        self.names.insert(name, consumer.0);
        Some(consumer)
    }

    /// Takes a consumer out with all that is pending with it; how much that was.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let at = self.names.remove(name)?;
        let gone = self.consumers[at as usize].take().expect("its name led there");
        self.free.push(at);
        self.consumer_bytes -= gone.bytes();
        gone.for_each_pending(|id| self.pending.remove(&id.key()).is_some());
        Some(gone.pending_len())
    }

    /// All consumers by the order of their names.
    pub fn for_each_consumer(&self, mut f: impl FnMut(&Consumer)) {
        let mut walk = self.names.iter();
        while let Some((_, at)) = walk.next() {
            f(self.consumer(ConsumerIndex(*at)));
        }
    }

    // ---- what is pending ------------------------------------------------------------------------

    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    pub fn pending(&self, id: Id) -> Option<&Pending> {
        self.pending.find(&id.key()).map(|p| &**p)
    }

    pub fn pending_mut(&mut self, id: Id) -> Option<&mut Pending> {
        self.pending.find_mut(&id.key()).map(|p| &mut **p)
    }

    /// The first that is pending, from `from` on.
    pub fn next_pending(&self, from: Id) -> Option<(Id, &Pending)> {
        let (key, p) = self.pending.seek_key(Seek::Ge(&from.key()))?;
        Some((Id::from_key(&key)?, p))
    }

    /// The first and the last ID that is pending.
    pub fn pending_edges(&self) -> Option<(Id, Id)> {
        let (first, _) = self.pending.first()?;
        let (last, _) = self.pending.last()?;
        Some((Id::from_key(&first)?, Id::from_key(&last)?))
    }

    /// Shows what is pending in order, from `from` on, as long as `f` wants more.
    pub fn for_each_pending(&self, from: Id, mut f: impl FnMut(Id, &Pending) -> bool) {
        let mut walk = self.pending.iter();
        walk.seek(Seek::Ge(&from.key()));
        while let Some((key, p)) = walk.next() {
            if !f(Id::from_key(key).expect("keys are IDs"), p) {
                return;
            }
        }
    }

    /// Makes an entry pending with a consumer, in place of the consumer that had it before, if any.
    pub fn assign(&mut self, id: Id, owner: ConsumerIndex, delivered_at: i64, deliveries: u64) {
        let key = id.key();
        let fresh = Box::new(Pending { delivered_at, deliveries, owner });
        if let Err(fresh) = self.pending.try_insert(&key, fresh) {
            let old = self.pending.find_mut(&key).expect("it is in the way");
            let before = std::mem::replace(&mut **old, *fresh).owner;
            if before == owner {
                return;
            }
            self.change_pending(before, |ids| ids.remove(&key).is_some());
        }
        let added = self.change_pending(owner, |ids| ids.try_insert(&key, ()).is_ok());
        debug_assert!(added, "pending with a consumer, but not in the group");
    }

    /// An entry is no longer pending; false when it was not.
    pub fn release(&mut self, id: Id) -> bool {
        let key = id.key();
        let Some(p) = self.pending.remove(&key) else { return false };
        let had = self.change_pending(p.owner, |ids| ids.remove(&key).is_some());
        debug_assert!(had, "pending in the group, but with no consumer");
        true
    }

    /// Changes the IDs that are pending with a consumer; the bytes follow.
    fn change_pending<R>(&mut self, owner: ConsumerIndex, change: impl FnOnce(&mut Rax<()>) -> R) -> R {
        let ids = &mut self.consumer_mut(owner).pending;
        let before = ids.mem_size();
        let result = change(ids);
        let after = ids.mem_size();
        self.consumer_bytes = self.consumer_bytes + after - before;
        result
    }

    // ---- moving ---------------------------------------------------------------------------------

    /// One step of a walk that moves blocks out of sparse slabs; true at the end. The stages are what is
    /// pending, the names, and the consumers one after the other.
    pub(super) fn defrag(&mut self, at: &mut DefragCursor, mover: &mut Mover) -> bool {
        let from = std::mem::take(&mut at.key);
        let next = match at.stage {
            0 | 1 => self.pending.defrag(&from, DEFRAG_STEP, mover, moving::boxed),
            2 => {
                if from.is_empty() {
                    moving::vector(&mut self.consumers, mover);
                    moving::vector(&mut self.free, mover);
                }
                self.names.defrag(&from, DEFRAG_STEP, mover, |_, _| {})
            }
            n => {
                let Some(place) = self.consumers.get_mut(n as usize - 3) else { return true };
                place.as_mut().and_then(|c| {
                    if from.is_empty() {
                        moving::boxed(c, mover);
                        moving::slice(&mut c.name, mover);
                    }
                    c.pending.defrag(&from, DEFRAG_STEP, mover, |_, _| {})
                })
            }
        };
        match next {
            Some(key) => at.key = key.to_vec(),
            None => at.next_stage(),
        }
        false
    }

    // ---- size -----------------------------------------------------------------------------------

    /// Bytes of the heap behind this structure.
    pub fn heap_bytes(&self) -> usize {
        let trees = self.pending.mem_size() + self.names.mem_size() - 2 * size_of::<Rax<()>>();
        let records = self.pending.len() * size_of::<Pending>();
        let places = size_of::<Option<Box<Consumer>>>() + size_of::<u32>();
        trees + records + self.consumers.capacity() * places + self.consumer_bytes
    }
}

impl Clone for Group {
    fn clone(&self) -> Self {
        let mut copy = Group::new(self.last_id, self.entries_read);
        self.for_each_consumer(|c| {
            let consumer = copy.add_consumer(&c.name, c.seen_at).expect("names are taken once");
            copy.consumer_mut(consumer).active_at = c.active_at;
        });
        self.for_each_pending(Id::MIN, |id, p| {
            let consumer =
                copy.find_consumer(&self.consumer(p.owner).name).expect("all consumers were copied");
            copy.assign(id, consumer, p.delivered_at, p.deliveries);
            true
        });
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::prop::Source;
    use std::collections::BTreeMap;

    /// ID to owner's name and deliveries.
    type Twin = BTreeMap<Id, (u8, u64)>;

    fn check(g: &Group, twin: &Twin, names: &[u8]) {
        let mut seen = Twin::new();
        g.for_each_pending(Id::MIN, |id, p| {
            seen.insert(id, (g.consumer(p.owner).name[0], p.deliveries));
            true
        });
        assert_eq!(&seen, twin);
        assert_eq!(g.pending_len(), twin.len());
        assert_eq!(
            g.pending_edges(),
            Option::zip(twin.keys().next().copied(), twin.keys().last().copied())
        );
        let mut shown = Vec::new();
        g.for_each_consumer(|c| {
            shown.push(c.name[0]);
            let mut own = Vec::new();
            c.for_each_pending(|id| {
                own.push(id);
                true
            });
            let want: Vec<Id> =
                twin.iter().filter(|(_, v)| v.0 == c.name[0]).map(|(id, _)| *id).collect();
            assert_eq!(own, want);
            assert_eq!(c.next_pending(Id::MIN), want.first().copied());
        });
        assert_eq!(shown, names);
        let mut bytes = 0;
        g.for_each_consumer(|c| bytes += c.bytes());
        assert_eq!(g.consumer_bytes, bytes);
    }

    #[test]
    fn group_and_consumers_agree_whatever_is_done() {
        for seed in 0..20 {
            let mut source = Source::seeded(seed);
            let (mut g, mut twin, mut names) = (Group::default(), Twin::new(), Vec::<u8>::new());
            for step in 0..400 {
                let name = b'a' + source.below(5) as u8;
                let id = Id::new(source.below(3) as u64, source.below(12) as u64);
                match source.below(8) {
                    0 => {
                        assert_eq!(g.add_consumer(&[name], 7).is_none(), names.contains(&name));
                        names.push(name);
                        names.sort_unstable();
                        names.dedup();
                    }
                    1 if source.one_in(4) => {
                        let count = twin.values().filter(|v| v.0 == name).count();
                        let was = names.contains(&name).then_some(count);
                        assert_eq!(g.remove_consumer(&[name]), was);
                        names.retain(|n| *n != name);
                        twin.retain(|_, v| v.0 != name);
                    }
                    2 | 3 => assert_eq!(g.release(id), twin.remove(&id).is_some()),
                    _ => {
                        if let Some(consumer) = g.find_consumer(&[name]) {
                            g.assign(id, consumer, 1, step);
                            twin.insert(id, (name, step));
                        }
                    }
                }
                if source.one_in(20) {
                    let mut at = DefragCursor::default();
                    while !g.defrag(&mut at, &mut Mover::always()) {}
                    check(&g, &twin, &names);
                }
            }
            check(&g, &twin, &names);
            check(&g.clone(), &twin, &names);
        }
    }
}
