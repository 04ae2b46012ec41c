//! The entries of one database: the tables that own them and the index of those with a TTL.
//!
//! ```text
//! keys    ──► entry ◄── expires      (the same entry; only those whose TTL word exists)
//! ```
//!
//! Both are one table, or with `Dict::slotted` one for each slot of a cluster (`slot_tables`), which are made
//! when the first key comes, and the first TTL.
//!
//! An entry moves when its shape changes (a TTL is added, a longer value): `exchange` and `set_ttl` are
//! the places where that happens, and they repair both tables. Values are handed back to the caller, which
//! knows their types.
//!
//! # Places
//!
//! An `EntryPlace` is where an entry was found. It borrows nothing, so it can be kept while other things
//! change, and it carries the stamp of its dict at that time. The stamp becomes another with every entry
//! that goes or moves, and no two dicts ever have the same one: a place whose stamp is the dict's leads to an
//! entry that lives, and any other leads nowhere (`at` gives None, the changing calls panic).
//!
//! What is borrowed ends before anything changes:
//!
//! ```compile_fail,E0502
//! use oxidis::ds::{dict::Dict, entry::Content, hash::hash};
//! let mut dict = Dict::new();
//! let place = dict.insert(hash(b"key"), b"key", Content::Int(1), None, 0);
//! let entry = dict.at(place).unwrap();
//! dict.remove(hash(b"key"), place);
//! entry.key();
//! ```
//!
//! and the bytes of a value are not written over while they are read:
//!
//! ```compile_fail,E0502
//! use oxidis::ds::{dict::Dict, entry::Content, hash::hash};
//! let mut dict = Dict::new();
//! let place = dict.insert(hash(b"key"), b"key", Content::Inline(0, b"one"), None, 0);
//! let bytes = dict.at(place).unwrap().inline_bytes();
//! dict.at_mut(place).unwrap().overwrite(&Content::Inline(0, b"two"));
//! bytes.len();
//! ```

use super::entry::{Content, Entry, EntryMut, EntryRef, Remains};
use super::hash::SLOTS;
use super::slot_tables::Tables;
use super::table::Figures;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that no other state of any dict has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stamp(u64);

/// Stamps that a dict counts through before it takes fresh ones.
const STAMPS: u64 = 1 << 20;

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Stamp {
    #[cold]
    fn fresh() -> Stamp {
        let stamp = NEXT.fetch_add(STAMPS, Ordering::Relaxed);
        assert!(stamp < u64::MAX - (1 << 32), "2^44 dicts");
        Stamp(stamp)
    }

    #[inline]
    fn next(self) -> Stamp {
        let next = self.0 + 1;
        if next.is_multiple_of(STAMPS) { Stamp::fresh() } else { Stamp(next) }
    }
}

/// Where an entry was found; good until an entry of the same dict goes or moves.
#[derive(Clone, Copy, Debug)]
pub struct EntryPlace {
    entry: Entry,
    stamp: Stamp,
}

pub struct Dict {
    keys: Tables<Entry>,
    expires: Tables<Entry>,
    stamp: Stamp,
    slotted: bool,
}

/// Which of the two tables is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Index {
    Keys,
    Expires,
}

impl Dict {
    /// Of one table.
    #[expect(clippy::new_without_default, reason = "which of the two is meant has to be said")]
    pub fn new() -> Self {
        Dict {
            keys: Tables::default(),
            expires: Tables::default(),
            stamp: Stamp::fresh(),
            slotted: false,
        }
    }

    /// Of a table for each slot; the hashes of keys carry theirs.
    pub fn slotted() -> Self {
        Dict { slotted: true, ..Dict::new() }
    }

    pub fn is_slotted(&self) -> bool {
        self.slotted
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Keys that have a TTL.
    #[inline]
    pub fn volatile(&self) -> usize {
        self.expires.len()
    }

    #[inline]
    fn tables(&self, which: Index) -> &Tables<Entry> {
        match which {
            Index::Keys => &self.keys,
            Index::Expires => &self.expires,
        }
    }

    /// Logical slots of the arrays, as upstream counts them.
    pub fn size(&self, which: Index) -> usize {
        self.tables(which).size()
    }

    /// Is a walk through the places of the index likely to find nothing for long?
    pub fn is_sparse(&self, which: Index) -> bool {
        self.tables(which).is_sparse()
    }

    /// Bytes of the tables without their entries.
    pub fn overhead(&self, which: Index) -> usize {
        self.tables(which).overhead()
    }

    /// Figures of all tables together, with the lengths of chains where they are wanted.
    pub fn figures(&self, which: Index, full: bool) -> Figures {
        self.tables(which).figures(full)
    }

    // ---- slots

    /// Keys of a slot; 0 where slots have no tables of their own.
    pub fn slot_len(&self, slot: usize) -> usize {
        self.keys.of_slot(slot).map_or(0, |t| t.len())
    }

    /// The entries of a slot.
    pub fn slot_iter(&self, slot: usize) -> impl Iterator<Item = EntryRef<'_>> {
        // SAFETY: as in `find`.
        self.keys.of_slot(slot).into_iter().flat_map(|t| t.iter_ahead()).map(|e| unsafe { e.borrow() })
    }

    /// Slots that hold keys, a bit each; None while there are no tables of slots.
    pub fn slots_taken(&self) -> Option<&[u64; SLOTS / 64]> {
        self.keys.taken()
    }

    /// Takes all entries of a slot out, in a time that does not depend on how many they are.
    pub fn detach(&mut self, slot: usize) -> Dict {
        self.stamp = Stamp::fresh();
        Dict {
            keys: Tables::One(self.keys.take_slot(slot)),
            expires: Tables::One(self.expires.take_slot(slot)),
            ..Dict::new()
        }
    }

    // ---- looking

    /// First touch of a lookup to come; the second and the third follow.
    #[inline]
    pub fn prefetch_head(&self, hash: u64) {
        self.keys.prefetch_head(hash);
    }

    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        self.keys.of(hash).prefetch_bucket(hash);
    }

    #[inline]
    pub fn prefetch_entry(&self, hash: u64) {
        self.keys.of(hash).prefetch_elem(hash);
    }

    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<EntryRef<'_>> {
        // SAFETY: entries in the table live; they go and change by `&mut self` only.
        self.keys.of(hash).find(hash, key).map(|e| unsafe { e.borrow() })
    }

    #[inline]
    pub fn locate(&self, hash: u64, key: &[u8]) -> Option<EntryPlace> {
        self.keys.of(hash).find(hash, key).map(|entry| self.place(entry))
    }

    #[inline]
    fn place(&self, entry: Entry) -> EntryPlace {
        EntryPlace { entry, stamp: self.stamp }
    }

    /// The entry of a place; None when an entry has gone or moved since, or the place is not of this dict.
    #[inline]
    pub fn at(&self, place: EntryPlace) -> Option<EntryRef<'_>> {
        if place.stamp != self.stamp {
            return None;
        }
        // SAFETY: of the same stamp, so the entry was in this dict and none has gone since.
        Some(unsafe { place.entry.borrow() })
    }

    #[inline]
    pub fn at_mut(&mut self, place: EntryPlace) -> Option<EntryMut<'_>> {
        if place.stamp != self.stamp {
            return None;
        }
        // SAFETY: as in `at`; `&mut self` excludes every other borrow.
        Some(unsafe { place.entry.borrow_mut() })
    }

    /// Any entry of a table, each as likely as every other.
    pub fn random(&self, which: Index, random: impl FnMut() -> u64) -> Option<EntryPlace> {
        self.tables(which).random(random).map(|entry| self.place(entry))
    }

    /// All entries, each on its way into the cache a few steps before it is given.
    pub fn iter(&self) -> impl Iterator<Item = EntryRef<'_>> {
        // SAFETY: as in `find`.
        self.keys.iter_ahead().map(|e| unsafe { e.borrow() })
    }

    /// One step of a scan, as `Table::scan`.
    pub fn scan<'k>(&'k self, which: Index, cursor: u64, mut f: impl FnMut(EntryRef<'k>)) -> u64 {
        // SAFETY: as in `find`.
        self.tables(which).scan(cursor, |e| f(unsafe { e.borrow() }))
    }

    /// One step of a scan over the keys of one slot.
    pub fn scan_slot<'k>(&'k self, slot: usize, cursor: u64, mut f: impl FnMut(EntryRef<'k>)) -> u64 {
        // SAFETY: as in `find`.
        self.keys.scan_slot(slot, cursor, |e| f(unsafe { e.borrow() }))
    }

    /// Up to `n` entries from a random place on, as `Table::some`.
    pub fn some<'k>(&'k self, which: Index, n: usize, random: u64, mut f: impl FnMut(EntryRef<'k>)) {
        // SAFETY: as in `find`.
        self.tables(which).some(n, random, |e| f(unsafe { e.borrow() }));
    }

    // ---- the size of the tables

    /// Are there arrays to be freed?
    pub fn has_room(&self) -> bool {
        self.keys.has_room() || self.expires.has_room()
    }

    /// One step of whatever rehash is under way in the tables of a hash.
    #[inline]
    pub fn step(&mut self, hash: u64) {
        self.keys.step(hash);
        self.expires.step(hash);
    }

    /// Is a rehash under way there?
    #[inline]
    pub fn steps(&self, hash: u64) -> bool {
        self.keys.of(hash).is_rehashing() || self.expires.of(hash).is_rehashing()
    }

    /// Moves up to `n` chains of both tables; true while more are left.
    pub fn rehash(&mut self, n: usize) -> bool {
        let keys = self.keys.rehash(n);
        self.expires.rehash(n) || keys
    }

    #[inline]
    pub fn is_rehashing(&self) -> bool {
        self.keys.is_rehashing() || self.expires.is_rehashing()
    }

    /// Bytes that adding a key (with a TTL?) would take for growing tables.
    #[inline]
    pub fn growth(&self, hash: u64, ttl: bool) -> usize {
        let expires = if ttl { self.expires.of(hash).growth() } else { 0 };
        self.keys.of(hash).growth() + expires
    }

    /// Lets both tables of a hash wait with growing, or no longer.
    pub fn hold_growth(&mut self, hash: u64, hold: bool) {
        self.keys.of_mut(hash).hold_growth(hold);
        self.expires.of_mut(hash).hold_growth(hold);
    }

    /// Shrinks tables that have become nearly empty.
    pub fn shrink_if_sparse(&mut self) {
        self.keys.shrink_if_sparse();
        self.expires.shrink_if_sparse();
    }

    pub fn reserve(&mut self, keys: usize) {
        self.keys.reserve(keys);
    }

    // ---- changes

    /// Adds an entry of a key that is not there.
    #[inline]
    pub fn insert(
        &mut self,
        hash: u64,
        key: &[u8],
        value: Content,
        ttl: Option<i64>,
        lru: u32,
    ) -> EntryPlace {
        let e = Entry::new(key, value, ttl);
        // SAFETY: just made; nothing else leads to it.
        unsafe { e.borrow_mut() }.set_lru(lru);
        if self.slotted {
            self.keys.split();
            if ttl.is_some() {
                self.expires.split();
            }
        }
        // SAFETY: the entry lives until `exchange`, `set_ttl`, `remove` or `drain` frees it, and each takes
        // it out of both tables before.
        unsafe {
            self.keys.insert(hash, e);
            if ttl.is_some() {
                self.expires.insert(hash, e);
            }
        }
        self.place(e)
    }

    /// Puts `new`, an entry of the same key, in the place of `e` in both tables, and frees `e`.
    fn supersede(&mut self, hash: u64, e: Entry, new: Entry) -> EntryPlace {
        // SAFETY: both live; `e` is freed below only.
        let (before, after) = unsafe { (e.borrow().when().is_some(), new.borrow().when().is_some()) };
        if self.slotted && after {
            self.expires.split();
        }
        // SAFETY: as in `insert`.
        let replaced = unsafe {
            self.keys.of_mut(hash).replace(hash, e, new)
                && match (before, after) {
                    (true, true) => self.expires.of_mut(hash).replace(hash, e, new),
                    (true, false) => self.expires.remove(hash, e),
                    (false, true) => {
                        self.expires.insert(hash, new);
                        true
                    }
                    (false, false) => true,
                }
        };
        assert!(replaced, "the hash is that of the key");
        self.stamp = self.stamp.next();
        // SAFETY: both tables lead to the new entry, and the stamp is another; callers have taken the value.
        unsafe { e.free() };
        self.place(new)
    }

    fn live(&self, place: EntryPlace) -> Entry {
        assert_eq!(place.stamp, self.stamp, "the place is of another dict, or of another time");
        place.entry
    }

    /// Gives the key of an entry another value and TTL; keeps LRU bits. Returns the place as it is now,
    /// and the old value.
    pub fn exchange(
        &mut self,
        hash: u64,
        place: EntryPlace,
        value: Content,
        ttl: Option<i64>,
    ) -> (EntryPlace, Option<Remains>) {
        let e = self.live(place);
        // SAFETY: a live place; nothing changes it here.
        let (key, lru) = unsafe { (e.borrow().key(), e.borrow().lru()) };
        let new = Entry::new(key, value, ttl);
        // SAFETY: the new entry was just made; the old one lives, and its value is not read any more.
        let old = unsafe {
            new.borrow_mut().set_lru(lru);
            e.remains()
        };
        (self.supersede(hash, e, new), old)
    }

    /// Sets or takes away the TTL; the value stays what it is.
    pub fn set_ttl(&mut self, hash: u64, place: EntryPlace, ttl: Option<i64>) -> EntryPlace {
        let e = self.live(place);
        // SAFETY: a live place, borrowed by nothing else.
        let mut m = unsafe { e.borrow_mut() };
        match (m.as_ref().when(), ttl) {
            (Some(_), Some(when)) => {
                m.set_when(when);
                place
            }
            (None, None) => place,
            _ => {
                // SAFETY: a live place; the old entry is freed before anything reads its value.
                let new = unsafe { e.with_ttl(ttl) };
                self.supersede(hash, e, new)
            }
        }
    }

    pub fn remove(&mut self, hash: u64, place: EntryPlace) -> Option<Remains> {
        let e = self.live(place);
        // SAFETY: a live place; it is freed below only.
        let volatile = unsafe { e.borrow() }.when().is_some();
        let removed = self.keys.remove(hash, e) && (!volatile || self.expires.remove(hash, e));
        assert!(removed, "the hash is that of the key");
        self.stamp = self.stamp.next();
        // SAFETY: both tables have forgotten it, and the stamp is another; the value is handed out.
        unsafe {
            let old = e.remains();
            e.free();
            old
        }
    }

    /// Frees everything; `value` takes what the entries held. Usable on any thread.
    pub fn drain(&mut self, mut value: impl FnMut(Remains)) {
        self.stamp = Stamp::fresh();
        self.expires.clear();
        let keys = std::mem::take(&mut self.keys);
        for e in keys.iter_ahead() {
            // SAFETY: the iterator hands each entry out once and looks at none; nothing else leads to them.
            unsafe {
                if let Some(r) = e.remains() {
                    value(r);
                }
                e.free();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ds::hash::hash;

    fn with(key: &[u8]) -> (Dict, EntryPlace) {
        let mut dict = Dict::new();
        let place = dict.insert(hash(key), key, Content::Int(1), None, 0);
        (dict, place)
    }

    #[test]
    fn a_place_leads_nowhere_once_its_entry_is_gone() {
        let (mut dict, place) = with(b"alice");
        assert!(dict.remove(hash(b"alice"), place).is_some());
        dict.insert(hash(b"bobby"), b"bobby", Content::Int(2), None, 0);
        assert!(dict.at(place).is_none() && dict.at_mut(place).is_none());
        dict.drain(|_| {});
    }

    #[test]
    fn a_place_is_good_in_its_own_dict_only() {
        let (mut dict, place) = with(b"key");
        let (mut other, _) = with(b"key");
        assert!(other.at(place).is_none());
        let swapped =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| other.remove(hash(b"key"), place)));
        assert!(swapped.is_err() && other.len() == 1 && dict.at(place).is_some());
        dict.drain(|_| {});
        other.drain(|_| {});
    }

    #[test]
    fn places_survive_what_moves_no_entry() {
        let (mut dict, place) = with(b"key");
        for i in 0..100u32 {
            dict.insert(hash(&i.to_le_bytes()), &i.to_le_bytes(), Content::Int(0), None, 0);
        }
        assert!(dict.at_mut(place).is_some_and(|mut e| e.overwrite(&Content::Int(9))));
        assert_eq!(dict.at(place).map(|e| e.word()), Some(9));
        let moved = dict.set_ttl(hash(b"key"), place, Some(5));
        assert!(dict.at(place).is_none());
        assert_eq!(dict.at(moved).map(|e| (e.word(), e.when())), Some((9, Some(5))));
        dict.drain(|_| {});
        assert!(dict.is_empty() && dict.volatile() == 0 && dict.at(moved).is_none());
    }
}
