//! The entries of a stream: a tree of blocks, and what is known of all entries that ever were.
//!
//! ```text
//!   blocks   key of the block's first ID ──► Some(listpack)   every block but the last
//!                                        ──► None             the last one, which lies in `tail`
//! ```
//!
//! Nearly every change is an append, so the last block stands outside of the tree, where an append finds
//! it without a descent; the tree keeps its key, so that its shape is what it would be with all of them.
//!
//! # Invariants
//!
//! - The last key of the tree, and no other, has None; it is that of `tail`. No key, no tail.
//! - IDs ascend, within blocks and over them: `last_id` is below every ID that is added. Only XSETID
//!   with a `last_id` below that of deleted entries breaks this; then a search may miss an ID, but a walk
//!   over all blocks finds every entry.
//! - `length` is the number of live entries, `first_id` the first of them (0-0 when there is none),
//!   `max_deleted` the greatest ID that XDEL took out. Trimming does not move it: it leaves no gaps.

use super::DEFRAG_STEP;
use super::id::{Id, Wish};
use super::node::{self, Fit, StreamNode};
use super::range::Range;
use crate::ds::listpack::{Listpack, Lp};
use crate::ds::rax::{Rax, Seek};
use crate::sys::defrag::Mover;

/// No block, and no entry's content, is bigger (STREAM_LISTPACK_MAX_SIZE).
const BLOCK_MAX: usize = 1 << 30;

/// When a block is full: `stream-node-max-bytes` and `stream-node-max-entries`, where 0 is no limit.
#[derive(Clone, Copy, Debug)]
pub struct StreamLimits {
    pub bytes: usize,
    pub entries: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AddError {
    /// The ID is not above all that were.
    NotAbove,
    TooLarge,
}

/// What trimming is to leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// So many of the last entries.
    Newest(u64),
    /// Those from an ID on.
    From(Id),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trim {
    pub keep: Keep,
    /// Only whole blocks go.
    pub whole_blocks: bool,
    /// Stops before more entries than this would go; 0 for no limit.
    pub limit: u64,
}

#[derive(Default)]
pub struct Log {
    pub(super) blocks: Rax<Option<Listpack>>,
    pub(super) tail: Option<(Id, Listpack)>,
    /// What the blocks in the tree cost in the allocator; the tail is not one of them.
    pub(super) tree_bytes: usize,
    pub length: u64,
    pub first_id: Id,
    pub last_id: Id,
    pub max_deleted: Id,
    /// How many were ever added.
    pub entries_added: u64,
}

impl Log {
    /// Blocks, and nodes of the tree that holds them.
    pub fn tree_figures(&self) -> (usize, usize) {
        (self.blocks.len(), self.blocks.node_count())
    }

    pub fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// The blocks in order, as long as `f` has no error.
    pub fn try_each_block<E>(&self, mut f: impl FnMut(Id, &Lp) -> Result<(), E>) -> Result<(), E> {
        let mut walk = self.blocks.iter();
        while let Some((key, lp)) = walk.next() {
            let id = Id::from_key(key).expect("keys are IDs");
            let lp = match (lp, &self.tail) {
                (Some(lp), _) | (None, Some((_, lp))) => lp,
                (None, None) => unreachable!("the last block lies in the tail"),
            };
            f(id, lp)?;
        }
        Ok(())
    }

    /// Bytes of the heap behind this structure.
    pub fn heap_bytes(&self) -> usize {
        let tree = self.blocks.mem_size() - size_of::<Rax<Option<Listpack>>>();
        tree + self.tree_bytes + self.tail.as_ref().map_or(0, |(_, lp)| lp.alloc_size())
    }

    /// One step of a walk that moves blocks out of sparse slabs, from `key` on; true at the end.
    pub(super) fn defrag(&mut self, key: &mut Vec<u8>, mover: &mut Mover) -> bool {
        if key.is_empty()
            && let Some((_, lp)) = &mut self.tail
        {
            lp.defrag(mover);
        }
        let next = self.blocks.defrag(key, DEFRAG_STEP, mover, |lp, mover| {
            if let Some(lp) = lp {
                lp.defrag(mover);
            }
        });
        key.clear();
        key.extend(next.iter().flat_map(|k| k.iter()));
        next.is_none()
    }

    /// Puts a block into the tree, or the mark of the tail; what stood there is replaced.
    fn put_block(&mut self, id: Id, lp: Option<Listpack>) {
        self.tree_bytes += lp.as_ref().map_or(0, Listpack::alloc_size);
        let old = self.blocks.insert(&id.key(), lp).flatten();
        self.tree_bytes -= old.map_or(0, |lp| lp.alloc_size());
    }

    /// The ID that a new entry gets.
    pub fn next_id(&self, wish: Wish, now_ms: u64) -> Result<Id, AddError> {
        let last = self.last_id;
        let id = match wish {
            Wish::Auto if now_ms > last.ms => Some(Id::new(now_ms, 0)),
            Wish::Auto => last.after(),
            Wish::Within(ms) if ms == last.ms => last.after().filter(|id| id.ms == ms),
            Wish::Within(ms) => Some(Id::new(ms, 0)),
            Wish::Exact(id) => Some(id),
        };
        id.filter(|id| *id > last).ok_or(AddError::NotAbove)
    }

    /// Adds an entry of these fields and values, under an ID that `next_id` gave.
    pub fn append(
        &mut self,
        id: Id,
        pairs: &[[&[u8]; 2]],
        limits: StreamLimits,
    ) -> Result<(), AddError> {
        debug_assert!(id > self.last_id, "IDs ascend");
        let bytes = pairs.iter().map(|[field, value]| field.len() + value.len()).sum::<usize>();
        if bytes > BLOCK_MAX {
            return Err(AddError::TooLarge);
        }
        match &mut self.tail {
            Some((base, lp)) if let Some(fit) = fit(lp, bytes, pairs, limits) => {
                node::append(lp, *base, id, pairs, fit);
            }
            _ => self.begin_block(id, pairs),
        }
        self.length = self.length.wrapping_add(1);
        self.entries_added = self.entries_added.wrapping_add(1);
        self.last_id = id;
        if self.length == 1 {
            self.first_id = id;
        }
        Ok(())
    }

    /// A new block with its first entry.
    fn begin_block(&mut self, id: Id, pairs: &[[&[u8]; 2]]) {
        let mut lp = node::new_block(pairs);
        node::append(&mut lp, id, id, pairs, Fit::FIRST);
        match self.tail.as_ref().map(|(base, _)| *base) {
            // Out of order: see the invariants. A block that is under this key has nothing but deleted
            // entries.
            Some(base) if base > id => self.put_block(id, Some(lp)),
            Some(base) if base == id => self.tail = Some((id, lp)),
            _ => self.begin_tail(id, lp),
        }
    }

    /// Adds a block from outside, which is sound. False when there is one under this ID already.
    pub fn add_block(&mut self, id: Id, lp: Listpack) -> bool {
        let key = id.key();
        match &self.tail {
            Some((base, _)) if *base == id => false,
            Some((base, _)) if *base > id => {
                let bytes = lp.alloc_size();
                let added = self.blocks.try_insert(&key, Some(lp)).is_ok();
                self.tree_bytes += if added { bytes } else { 0 };
                added
            }
            _ => {
                self.begin_tail(id, lp);
                true
            }
        }
    }

    fn begin_tail(&mut self, id: Id, lp: Listpack) {
        if let Some((base, full)) = self.tail.replace((id, lp)) {
            self.put_block(base, Some(full));
        }
        self.put_block(id, None);
    }

    pub(super) fn node(&self, id: Id) -> Option<StreamNode<'_>> {
        match &self.tail {
            Some((base, lp)) if *base == id => Some(StreamNode { id, lp }),
            _ => self.blocks.find(&id.key())?.as_ref().map(|lp| StreamNode { id, lp }),
        }
    }

    /// Changes a block that is there; the bytes follow.
    fn change_block<R>(&mut self, id: Id, change: impl FnOnce(&mut Listpack) -> R) -> R {
        if let Some((base, lp)) = &mut self.tail
            && *base == id
        {
            return change(lp);
        }
        let block = self.blocks.find_mut(&id.key()).and_then(Option::as_mut);
        let lp = block.expect("the block has just been seen");
        let before = lp.alloc_size();
        let result = change(lp);
        self.tree_bytes = self.tree_bytes + lp.alloc_size() - before;
        result
    }

    fn remove_block(&mut self, id: Id) {
        let gone = self.blocks.remove(&id.key()).flatten();
        self.tree_bytes -= gone.map_or(0, |lp| lp.alloc_size());
        if self.tail.as_ref().is_none_or(|(base, _)| *base != id) {
            return;
        }
        self.tail = self.blocks.seek_key_mut(Seek::Last).map(|(key, lp)| {
            let id = Id::from_key(&key).expect("keys are IDs");
            (id, lp.take().expect("only the last block lies outside of the tree"))
        });
        self.tree_bytes -= self.tail.as_ref().map_or(0, |(_, lp)| lp.alloc_size());
    }

    /// Live entries from `from` to `to`, both included.
    pub fn range(&self, from: Id, to: Id) -> Range<'_> {
        Range::new(self, from, to, false)
    }

    /// The same, from the last to the first.
    pub fn range_back(&self, from: Id, to: Id) -> Range<'_> {
        Range::new(self, from, to, true)
    }

    pub fn contains(&self, id: Id) -> bool {
        self.range(id, id).next().is_some()
    }

    /// The ID of the last live entry.
    pub fn last_live(&self) -> Option<Id> {
        self.range_back(Id::MIN, Id::MAX).next().map(|e| e.id)
    }

    /// The ID of the first entry, deleted or not; the greatest ID of all when there is none.
    pub fn first_of_all(&self) -> Id {
        self.range(Id::MIN, Id::MAX).with_deleted().next().map_or(Id::MAX, |e| e.id)
    }

    /// Finds where the live entries begin now.
    pub fn settle_first_id(&mut self) {
        let first = self.range(Id::MIN, Id::MAX).next().map(|e| e.id);
        self.first_id = if self.length == 0 { Id::MIN } else { first.unwrap_or(Id::MAX) };
    }

    /// Takes entries out; how many were there.
    pub fn delete(&mut self, ids: &[Id]) -> u64 {
        let (mut deleted, mut first_too) = (0, false);
        for &id in ids {
            if !self.delete_one(id) {
                continue;
            }
            first_too |= id == self.first_id;
            self.max_deleted = self.max_deleted.max(id);
            deleted += 1;
        }
        if deleted > 0 && (first_too || self.length == 0) {
            self.settle_first_id();
        }
        deleted
    }

    fn delete_one(&mut self, id: Id) -> bool {
        let mut range = self.range(id, id);
        let Some(entry) = range.next() else { return false };
        let (block, at) = (range.block(), entry.at);
        let last = self.node(block).is_some_and(|n| node::counts(n.lp).0 == 1);
        if last {
            self.remove_block(block);
        } else {
            self.change_block(block, |lp| {
                node::mark_deleted(lp, at);
                node::count_deleted(lp, 1);
            });
        }
        self.length = self.length.saturating_sub(1);
        true
    }

    /// Takes entries out at the front; how many lived.
    pub fn trim(&mut self, how: &Trim) -> u64 {
        let mut deleted = 0u64;
        while let Some((key, lp)) = self.blocks.first() {
            let id = Id::from_key(&key).expect("keys are IDs");
            let lp = match (lp, &self.tail) {
                (Some(lp), _) | (None, Some((_, lp))) => StreamNode { id, lp },
                (None, None) => unreachable!("the last block lies in the tail"),
            };
            let (live, _) = node::counts(lp.lp);
            if matches!(how.keep, Keep::Newest(n) if self.length <= n)
                || (how.limit > 0 && deleted.saturating_add(live) > how.limit)
            {
                break;
            }
            let whole = match how.keep {
                Keep::Newest(n) => self.length.saturating_sub(live) >= n,
                Keep::From(min) => lp.last_id().is_none_or(|last| last < min),
            };
            if !whole {
                if !how.whole_blocks {
                    deleted += self.trim_block(id, how.keep);
                }
                break;
            }
            self.remove_block(id);
            self.length = self.length.saturating_sub(live);
            deleted += live;
        }
        if deleted > 0 || self.length == 0 {
            self.settle_first_id();
        }
        deleted
    }

    /// Marks entries at the front of a block.
    fn trim_block(&mut self, id: Id, keep: Keep) -> u64 {
        let node = self.node(id).expect("it was the first of the tree");
        let master = node.master();
        let (mut walk, mut places) = (master.entries.clone(), Vec::new());
        let mut length = self.length;
        while let Some(entry) = node.entry(&master, &mut walk) {
            let stop = match keep {
                Keep::Newest(n) => length <= n,
                Keep::From(min) => entry.id >= min,
            };
            if stop {
                break;
            }
            if !entry.is_deleted() {
                places.push(entry.at);
                length = length.saturating_sub(1);
            }
        }
        self.length = length;
        self.change_block(id, |lp| {
            places.iter().for_each(|at| node::mark_deleted(lp, *at));
            node::count_deleted(lp, places.len() as u64);
        });
        places.len() as u64
    }

    /// Could a live entry between these have been followed or preceded by one that XDEL took out? Then
    /// counting by IDs is no use there.
    pub fn has_gaps_from(&self, id: Id) -> bool {
        self.length > 0
            && !self.max_deleted.is_zero()
            && self.first_id <= self.max_deleted
            && id <= self.max_deleted
    }

    /// How many entries were added up to and with an ID, where that can be told.
    pub fn added_until(&self, id: Id) -> Option<u64> {
        let added = self.entries_added;
        if added == 0 {
            return Some(0);
        }
        if id == self.last_id || (self.length == 0 && id < self.last_id) {
            return Some(added);
        }
        let whole = self.max_deleted.is_zero() || self.max_deleted < self.first_id;
        if id > self.last_id || !whole {
            return None;
        }
        let before = added.wrapping_sub(self.length);
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less => Some(before),
            std::cmp::Ordering::Equal => Some(before.wrapping_add(1)),
            std::cmp::Ordering::Greater => None,
        }
    }
}

/// Is there room in a block?
#[inline]
fn fit(lp: &Lp, bytes: usize, pairs: &[[&[u8]; 2]], limits: StreamLimits) -> Option<Fit> {
    let max = if limits.bytes == 0 { BLOCK_MAX } else { limits.bytes.min(BLOCK_MAX) };
    if lp.bytes().len() + bytes >= max {
        return None;
    }
    Fit::of(lp, pairs, limits.entries)
}

impl Clone for Log {
    fn clone(&self) -> Self {
        let (mut blocks, mut tree_bytes) = (Rax::new(), 0);
        let mut walk = self.blocks.iter();
        while let Some((key, lp)) = walk.next() {
            let lp = lp.clone();
            tree_bytes += lp.as_ref().map_or(0, Listpack::alloc_size);
            blocks.insert(key, lp);
        }
        Log { blocks, tree_bytes, tail: self.tail.clone(), ..*self }
    }
}
