//! One database: its entries, and what expiry and memory need to know about them.
//!
//! Tables are reached by `table` and `tables` alone, here and above: a database has one table of keys
//! today, and one for each slot where it is part of a cluster. Nothing outside of `keyspace` changes one.

use crate::ds::dict::{Dict, Index};
use crate::ds::entry::{EntryRef, Remains};
use crate::object::value::Value;
use crate::proto::args::Key;
use crate::sys::alloc;
use crate::sys::defrag::Mover;

#[derive(Default)]
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
    /// The table of a key with this hash.
    #[inline]
    pub fn table(&self, _hash: u64) -> &Dict {
        &self.dict
    }

    #[inline]
    pub(super) fn table_mut(&mut self, _hash: u64) -> &mut Dict {
        &mut self.dict
    }

    /// All tables.
    pub fn tables(&self) -> impl Iterator<Item = &Dict> {
        std::iter::once(&self.dict)
    }

    pub(super) fn tables_mut(&mut self) -> impl Iterator<Item = &mut Dict> {
        std::iter::once(&mut self.dict)
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
        self.tables().map(|t| t.overhead(which)).sum()
    }

    /// Slots of the tables, as upstream counts them.
    pub fn slots(&self, which: Index) -> usize {
        self.tables().map(|t| t.slots(which)).sum()
    }

    #[inline]
    pub fn find(&self, key: Key) -> Option<EntryRef<'_>> {
        self.table(key.hash).find(key.hash, key.bytes)
    }

    /// All entries, each on its way into the cache a few steps before it is given.
    pub fn iter(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.tables().flat_map(Dict::iter)
    }

    /// One step of a scan over all keys, or over those with a TTL: calls `f` with some entries and returns
    /// the next cursor, 0 at the end. A key that stays for the whole scan is given once at least.
    pub fn scan<'k>(&'k self, which: Index, cursor: u64, f: impl FnMut(EntryRef<'k>)) -> u64 {
        self.dict.scan(which, cursor, f)
    }

    /// One step of a walk that moves blocks, as `Dict::defrag`.
    pub(super) fn defrag(
        &mut self,
        which: Index,
        cursor: u64,
        mover: &mut Mover,
        value: impl FnMut(&mut Mover, &[u8], Remains) -> Remains,
        seen: impl FnMut(bool),
    ) -> u64 {
        self.dict.defrag(which, cursor, mover, value, seen)
    }

    /// One step of whatever rehash is under way in the table of this hash.
    #[inline]
    pub(super) fn step(&mut self, hash: u64) {
        if self.table(hash).is_rehashing() {
            self.measured(hash, |d| d.step());
        }
    }

    /// Runs a change of a table and books what it allocated.
    #[inline]
    pub(super) fn measured<R>(&mut self, hash: u64, change: impl FnOnce(&mut Dict) -> R) -> R {
        let before = alloc::mine();
        let r = change(self.table_mut(hash));
        self.bytes += alloc::mine() - before;
        r
    }

    /// The same for each of the tables, until `change` says that it is enough.
    pub(super) fn measured_each(&mut self, mut change: impl FnMut(&mut Dict) -> bool) -> bool {
        let before = alloc::mine();
        let enough = self.tables_mut().any(&mut change);
        self.bytes += alloc::mine() - before;
        enough
    }

    /// Are there arrays to be freed?
    pub fn has_room(&self) -> bool {
        self.tables().any(Dict::has_room)
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        self.tables_mut().for_each(|t| t.drain(|r| drop(Value::from_remains(r))));
    }
}
