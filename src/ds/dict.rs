//! The entries of one database: the table that owns them and the index of those with a TTL.
//!
//! ```text
//! keys    ──► entry ◄── expires      (the same entry; only those whose TTL word exists)
//! ```
//!
//! An entry moves when its shape changes (a TTL is added, a longer value): `exchange` is the one place
//! where that happens, and it repairs both tables. Payload words are handed back to the caller, who
//! knows their type.

use super::entry::{Entry, Payload};
use super::table::Table;

#[derive(Default)]
pub struct Dict {
    keys: Table<Entry>,
    expires: Table<Entry>,
}

/// The word of an entry that is gone, with its type and encoding; `None` for bytes that went with it.
pub type Remains = Option<(u8, u8, u64)>;

fn remains(e: Entry) -> Remains {
    if e.is_inline() { None } else { Some((e.ty(), e.enc(), e.word())) }
}

impl Dict {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn keys(&self) -> &Table<Entry> {
        &self.keys
    }
    pub fn expires(&self) -> &Table<Entry> {
        &self.expires
    }
    pub fn len(&self) -> usize {
        self.keys.len()
    }
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<Entry> {
        self.keys.find(hash, key)
    }

    /// Are there arrays to be freed?
    pub fn has_room(&self) -> bool {
        self.keys.slots() > 0 || self.expires.slots() > 0
    }

    /// One step of whatever rehash is under way; before a lookup, never while an entry is held.
    #[inline]
    pub fn step(&mut self) {
        if self.keys.is_rehashing() {
            self.keys.rehash(1);
        }
        if self.expires.is_rehashing() {
            self.expires.rehash(1);
        }
    }

    /// Moves up to `n` chains of both tables; true while more are left.
    pub fn rehash(&mut self, n: usize) -> bool {
        let keys = self.keys.rehash(n);
        self.expires.rehash(n) || keys
    }

    pub fn is_rehashing(&self) -> bool {
        self.keys.is_rehashing() || self.expires.is_rehashing()
    }

    /// Bytes that adding a key (with a TTL?) would take for growing tables.
    #[inline]
    pub fn growth(&self, ttl: bool) -> usize {
        self.keys.growth() + if ttl { self.expires.growth() } else { 0 }
    }

    /// Lets both tables wait with growing, or no longer.
    pub fn hold_growth(&mut self, hold: bool) {
        self.keys.hold_growth(hold);
        self.expires.hold_growth(hold);
    }

    /// Shrinks tables that have become nearly empty.
    pub fn shrink_if_sparse(&mut self) {
        for t in [&mut self.keys, &mut self.expires] {
            if t.wants_shrink() {
                t.shrink();
            }
        }
    }

    pub fn reserve(&mut self, keys: usize, expires: usize) {
        self.keys.reserve(keys);
        self.expires.reserve(expires);
    }

    /// Adds an entry of a key that is not there.
    #[inline]
    pub fn insert(
        &mut self,
        hash: u64,
        key: &[u8],
        ty: u8,
        enc: u8,
        value: Payload,
        ttl: Option<i64>,
    ) -> Entry {
        let e = Entry::new(key, ty, enc, value, ttl);
        self.keys.insert(hash, e);
        if ttl.is_some() {
            self.expires.insert(hash, e);
        }
        e
    }

    /// Gives the key of `e` another value and TTL; keeps LRU bits. Returns the entry as it is now, and
    /// the old word.
    pub fn exchange(
        &mut self,
        hash: u64,
        e: Entry,
        ty: u8,
        enc: u8,
        value: Payload,
        ttl: Option<i64>,
    ) -> (Entry, Remains) {
        let new = Entry::new(e.key(), ty, enc, value, ttl);
        new.set_lru(e.lru());
        let done = self.keys.replace(hash, e, new);
        debug_assert!(done, "the entry was not in the table");
        match (e.when().is_some(), ttl.is_some()) {
            (true, true) => {
                self.expires.replace(hash, e, new);
            }
            (true, false) => {
                self.expires.remove(hash, e);
            }
            (false, true) => self.expires.insert(hash, new),
            (false, false) => {}
        }
        let old = remains(e);
        // SAFETY: both tables lead to the new entry; the word is handed out.
        unsafe { e.free() };
        (new, old)
    }

    /// Sets or takes away the TTL; the value stays what it is.
    pub fn set_ttl(&mut self, hash: u64, e: Entry, ttl: Option<i64>) -> Entry {
        match (e.when(), ttl) {
            (Some(_), Some(when)) => {
                e.set_when(when);
                e
            }
            (None, None) => e,
            _ => {
                // The word moves with the entry, so the old one is not to be freed. An inline value
                // that gets a TTL is copied from the old block before that is freed.
                let (new, _) = self.exchange(hash, e, e.ty(), e.enc(), e.payload(), ttl);
                new
            }
        }
    }

    pub fn remove(&mut self, hash: u64, e: Entry) -> Remains {
        let done = self.keys.remove(hash, e);
        debug_assert!(done, "the entry was not in the table");
        if e.when().is_some() {
            self.expires.remove(hash, e);
        }
        let old = remains(e);
        // SAFETY: both tables have forgotten it; the word is handed out.
        unsafe { e.free() };
        old
    }

    /// Frees everything; `word` takes each payload word. Usable on any thread.
    pub fn drain(&mut self, mut word: impl FnMut(u8, u8, u64)) {
        for e in self.keys.iter_ahead() {
            if let Some((t, enc, w)) = remains(e) {
                word(t, enc, w);
            }
            // SAFETY: the iterator hands each entry out once and looks at none; both tables are cleared
            // below.
            unsafe { e.free() };
        }
        self.expires.clear();
        self.keys.clear();
    }
}
