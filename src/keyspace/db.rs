//! One database: its entries, and what expiry and memory need to know about them.
//!
//! A database has one table of keys, or where it is part of a cluster one for each slot (`ds::dict`).
//! Nothing outside of `keyspace` changes one.

use crate::ds::dict::{Dict, Index};
use crate::ds::entry::EntryRef;
use crate::ds::hash::SLOTS;
use crate::object::value::Value;
use crate::proto::args::Key;
use crate::sys::alloc;

pub struct Db {
    dict: Dict,
    /// Average TTL in milliseconds, as the expire cycle samples it.
    pub(super) avg_ttl: i64,
    /// Where the expire cycle goes on scanning.
    pub(super) expire_cursor: u64,
    /// Bytes that keys, values and tables of this database hold.
    pub(super) bytes: isize,
}

impl Db {
    /// An empty one, with a table for each slot or one for all.
    pub(super) fn new(slotted: bool) -> Db {
        Db::of(if slotted { Dict::slotted() } else { Dict::new() })
    }

    fn of(dict: Dict) -> Db {
        Db { dict, avg_ttl: 0, expire_cursor: 0, bytes: 0 }
    }

    /// Another of its kind that holds nothing.
    pub fn empty_twin(&self) -> Db {
        Db::new(self.dict.is_slotted())
    }

    /// Its keys.
    #[inline]
    pub fn dict(&self) -> &Dict {
        &self.dict
    }

    #[inline]
    pub(super) fn dict_mut(&mut self) -> &mut Dict {
        &mut self.dict
    }

    /// Keys.
    #[inline]
    pub fn len(&self) -> usize {
        self.dict.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.dict.is_empty()
    }

    /// Keys with a TTL.
    #[inline]
    pub fn volatile(&self) -> usize {
        self.dict.volatile()
    }

    pub fn avg_ttl(&self) -> i64 {
        self.avg_ttl
    }

    /// Bytes that keys, values and tables of this database hold.
    pub fn bytes(&self) -> usize {
        self.bytes.max(0).cast_unsigned()
    }

    /// Bytes of the tables without their entries.
    pub fn overhead(&self, which: Index) -> usize {
        self.dict.overhead(which)
    }

    /// Places of the tables, as upstream counts them.
    pub fn size(&self, which: Index) -> usize {
        self.dict.size(which)
    }

    #[inline]
    pub fn find(&self, key: Key) -> Option<EntryRef<'_>> {
        self.dict.find(key.hash, key.bytes)
    }

    /// All entries, each on its way into the cache a few steps before it is given.
    pub fn iter(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.dict.iter()
    }

    /// One step of a scan over all keys, or over those with a TTL: calls `f` with some entries and returns
    /// the next cursor, 0 at the end. A key that stays for the whole scan is given once at least.
    pub fn scan<'k>(&'k self, which: Index, cursor: u64, f: impl FnMut(EntryRef<'k>)) -> u64 {
        self.dict.scan(which, cursor, f)
    }

    /// The same over the keys of one slot.
    pub fn scan_slot<'k>(&'k self, slot: usize, cursor: u64, f: impl FnMut(EntryRef<'k>)) -> u64 {
        self.dict.scan_slot(slot, cursor, f)
    }

    /// Slots that hold keys, a bit each; None while there are no tables of slots.
    pub fn slots_taken(&self) -> Option<&[u64; SLOTS / 64]> {
        self.dict.slots_taken()
    }

    /// One step of whatever rehash is under way in the table of this hash.
    #[inline]
    pub(super) fn step(&mut self, hash: u64) {
        if self.dict.steps(hash) {
            self.measured(|d| d.step(hash));
        }
    }

    /// Runs a change of the tables and books what it allocated.
    #[inline]
    pub(super) fn measured<R>(&mut self, change: impl FnOnce(&mut Dict) -> R) -> R {
        let before = alloc::mine();
        let r = change(&mut self.dict);
        self.bytes += alloc::mine() - before;
        r
    }

    /// Takes the keys of a slot out, as a database of their own, with the bytes that they hold.
    pub(super) fn detach(&mut self, slot: usize) -> Db {
        let mut gone = Db::of(self.dict.detach(slot));
        let entries: usize = gone.iter().map(|e| e.footprint() + held(e)).sum();
        let tables = gone.overhead(Index::Keys) + gone.overhead(Index::Expires);
        gone.bytes = (entries + tables).cast_signed();
        self.bytes -= gone.bytes;
        gone
    }

    /// Are there arrays to be freed?
    pub fn has_room(&self) -> bool {
        self.dict.has_room()
    }
}

/// Bytes that the value holds outside of its entry.
fn held(e: EntryRef<'_>) -> usize {
    if e.is_inline() { 0 } else { Value::held_by(e) }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.dict.drain(|r| drop(Value::from_remains(r)));
    }
}
