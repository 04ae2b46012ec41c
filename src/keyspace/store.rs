//! Putting values under keys, taking keys away, and moving them about.

use super::{Db, Found, Junk, Keyspace, Touched, class};
use crate::algo::num::parse_i64;
use crate::ds::entry::{Entry, Payload, enc, ty};
use crate::ds::sds::Sds;
use crate::object::value::{EMBSTR_MAX, Value};
use crate::proto::args::Key;
use crate::sys::alloc;

/// A value to be stored.
pub enum New<'v> {
    /// A string that is encoded the best way: integer, embstr or raw.
    Bytes(&'v [u8]),
    Int(i64),
    /// A string under the name of an encoding: copies and loaded strings keep theirs.
    Named(u8, &'v [u8]),
    /// Anything that is built already.
    Value(Value),
}

/// What becomes of the key's expiry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ttl {
    Clear,
    Keep,
    At(i64),
}

/// Strings longer than this cannot be integers (LONG_STR_SIZE less the sign and the end).
const INT_DIGITS: usize = 20;

/// The encoding's name and, for integers, the number.
#[inline]
fn encode(b: &[u8]) -> (u8, Option<i64>) {
    if b.len() <= INT_DIGITS
        && b.first().is_some_and(|c| c.is_ascii_digit() || *c == b'-')
        && let Some(n) = parse_i64(b)
    {
        return (enc::INT, Some(n));
    }
    (if b.len() <= EMBSTR_MAX { enc::EMBSTR } else { enc::RAW }, None)
}

impl Keyspace {
    /// Stores a value under a key, whether it was there (`found`) or not. Counts one change.
    #[inline]
    pub fn set<'a>(
        &mut self,
        db: usize,
        key: Key<'a>,
        value: New,
        ttl: Ttl,
        found: Option<Found<'a>>,
    ) -> Touched<'a> {
        let t = self.put(db, key, value, ttl, found);
        self.dirty += 1;
        self.signal_modified(db, key.bytes);
        t
    }

    /// As `set`, without counting or signalling (loading, and stores that count for themselves).
    #[inline]
    pub fn put<'a>(
        &mut self,
        db: usize,
        key: Key<'a>,
        value: New,
        ttl: Ttl,
        found: Option<Found<'a>>,
    ) -> Touched<'a> {
        match value {
            New::Bytes(b) => match encode(b) {
                (_, Some(n)) => {
                    self.place(db, key, ty::STRING, enc::INT, Payload::Word(n as u64), ttl, found)
                }
                (e, None) => self.place_bytes(db, key, e, b, ttl, found),
            },
            New::Int(n) => {
                self.place(db, key, ty::STRING, enc::INT, Payload::Word(n as u64), ttl, found)
            }
            New::Named(e, b) => self.place_bytes(db, key, e, b, ttl, found),
            New::Value(Value::Str(e, s)) if Entry::fits(key.bytes.len(), s.len()) => {
                self.place_bytes(db, key, e, &s, ttl, found)
            }
            New::Value(v) => {
                self.dbs[db].bytes += v.heap_bytes() as isize;
                let (t, e, w) = v.into_word();
                self.place(db, key, t, e, Payload::Word(w), ttl, found)
            }
        };
        self.edits = self.edits.wrapping_add(1);
        Touched { db, key, gone: false }
    }

    /// A string beside its key when it is short, else on its own.
    #[inline]
    fn place_bytes(&mut self, db: usize, key: Key, e: u8, b: &[u8], ttl: Ttl, found: Option<Found>) {
        debug_assert_ne!(e, enc::INT, "an integer is no bytes");
        if Entry::fits(key.bytes.len(), b.len()) {
            return self.place(db, key, ty::STRING, e, Payload::Inline(b), ttl, found);
        }
        let s = Sds::from_slice(b);
        self.dbs[db].bytes += s.footprint() as isize;
        self.place(db, key, ty::STRING, e, Payload::Word(s.into_word()), ttl, found)
    }

    #[inline]
    #[allow(clippy::too_many_arguments)] // the parts of one entry
    fn place(
        &mut self,
        db: usize,
        key: Key,
        t: u8,
        e: u8,
        value: Payload,
        ttl: Ttl,
        found: Option<Found>,
    ) {
        let Some(f) = found else { return self.add(db, key, t, e, value, ttl) };
        debug_assert_eq!(f.edits, self.edits, "admit again after a change");
        let old = f.entry;
        let when = match ttl {
            Ttl::Clear => None,
            Ttl::Keep => old.when(),
            Ttl::At(at) => Some(at),
        };
        let same_shape =
            old.ty() == ty::STRING && t == ty::STRING && old.when().is_some() == when.is_some();
        if same_shape && old.overwrite(e, value) {
            if let Some(when) = when {
                old.set_when(when);
            }
            return;
        }
        self.exchange(db, key, old, t, e, value, when);
    }

    #[allow(clippy::too_many_arguments)] // the parts of one entry
    fn exchange(
        &mut self,
        db: usize,
        key: Key,
        old: Entry,
        t: u8,
        e: u8,
        value: Payload,
        when: Option<i64>,
    ) {
        let old_ty = old.ty();
        let (_, remains) = self.dbs[db].measured(|d| d.exchange(key.hash, old, t, e, value, when));
        self.discard(db, Value::from_remains(remains), self.policy.lazy_server_del);
        // Whoever waits for a list is not served by what was another value before.
        self.signal_gone(db, key.bytes, old_ty);
    }

    fn add(&mut self, db: usize, key: Key, t: u8, e: u8, value: Payload, ttl: Ttl) {
        let when = if let Ttl::At(at) = ttl { Some(at) } else { None };
        let lru = self.fresh_lru();
        if self.policy.expiry.hides() {
            self.remove_hidden(db, key);
        }
        if self.policy.memory_limit > 0 {
            self.hold_growth(db, when.is_some());
        }
        let entry = self.dbs[db].measured(|d| d.insert(key.hash, key.bytes, t, e, value, when));
        entry.set_lru(lru);
        self.signal_ready(db, key.bytes, t);
        self.event(db, key.bytes, class::NEW, "new");
    }

    /// An expired key that stayed where lookups only report it gives way to what is written in its place.
    #[cold]
    fn remove_hidden(&mut self, db: usize, key: Key) {
        if let Some(e) = self.peek(db, key) {
            debug_assert!(self.is_expired(e), "the key is there, and was not passed on");
            self.expire(db, key, e);
        }
    }

    /// A table whose next array would break the memory limit waits with growing: evicting keys to make
    /// room for empty slots helps nobody.
    #[inline]
    fn hold_growth(&mut self, db: usize, ttl: bool) {
        let bytes = self.dbs[db].dict.growth(ttl);
        if bytes > 0 {
            let over = alloc::used().saturating_add(bytes) > self.policy.memory_limit;
            self.dbs[db].dict.hold_growth(over);
        }
    }

    /// Changes only the expiry. Counts nothing; the caller announces. The token is good no longer.
    pub fn set_ttl<'a>(&mut self, f: Found<'a>, when: Option<i64>) -> Found<'a> {
        debug_assert_eq!(f.edits, self.edits, "admit again after a change");
        let entry = self.dbs[f.db].measured(|d| d.set_ttl(f.key.hash, f.entry, when));
        self.edits = self.edits.wrapping_add(1);
        self.found(f.db, f.key, entry)
    }

    /// Takes the key away. `lazy` says that upstream would count it as lazily freed.
    pub fn remove<'a>(&mut self, f: Found<'a>, lazy: bool) -> Touched<'a> {
        debug_assert_eq!(f.edits, self.edits, "admit again after a change");
        self.remove_entry(f.db, f.key, f.entry, lazy);
        self.signal_modified(f.db, f.key.bytes);
        Touched { db: f.db, key: f.key, gone: false }
    }

    /// As `remove`, for a key that is at once put anew: nobody is told of the removal but the blocked.
    pub fn remove_silently(&mut self, f: Found, lazy: bool) {
        debug_assert_eq!(f.edits, self.edits, "admit again after a change");
        self.remove_entry(f.db, f.key, f.entry, lazy);
    }

    /// The bare removal, without signals but for the blocked.
    pub(super) fn remove_entry(&mut self, db: usize, key: Key, e: Entry, lazy: bool) {
        let t = e.ty();
        let remains = self.dbs[db].measured(|d| d.remove(key.hash, e));
        self.discard(db, Value::from_remains(remains), lazy);
        self.edits = self.edits.wrapping_add(1);
        self.signal_gone(db, key.bytes, t);
    }

    /// Moves a value to another key or database, expiry included; the destination is free. To everybody
    /// else it is a new key there: its LRU begins anew.
    pub fn relocate(&mut self, f: Found, to_db: usize, to: Key) {
        debug_assert_eq!(f.edits, self.edits, "admit again after a change");
        debug_assert!(
            self.peek(to_db, to).is_none_or(|e| self.is_expired(e)),
            "the destination is taken"
        );
        let (entry, t, e) = (f.entry, f.entry.ty(), f.entry.enc());
        let ttl = entry.when().map_or(Ttl::Clear, Ttl::At);
        // For a moment there are two of it, as upstream has it: so tables grow when upstream's do.
        if entry.is_inline() {
            self.place_bytes(to_db, to, e, entry.inline_bytes(), ttl, None);
        } else {
            self.add(to_db, to, t, e, Payload::Word(entry.word()), ttl);
        }
        // The word belongs to the new entry, so what the old one leaves is not dropped.
        let remains = self.dbs[f.db].measured(|d| d.remove(f.key.hash, entry));
        if f.db != to_db
            && let Some(v) = Value::from_remains(remains)
        {
            let bytes = v.heap_bytes() as isize;
            self.dbs[f.db].bytes -= bytes;
            self.dbs[to_db].bytes += bytes;
            let _ = v.into_word();
        }
        self.signal_gone(f.db, f.key.bytes, t);
        self.edits = self.edits.wrapping_add(1);
        self.signal_modified(f.db, f.key.bytes);
        self.signal_modified(to_db, to.bytes);
    }

    /// Empties one database or all. Returns the number of keys. The caller has told watchers and the
    /// blocked.
    pub fn flush(&mut self, db: Option<usize>, lazy: bool) -> usize {
        let range = db.map_or(0..self.dbs.len(), |d| d..d + 1);
        let mut removed = 0;
        for i in range {
            let old = std::mem::take(&mut self.dbs[i]);
            removed += old.dict.len();
            if old.dict.has_room() {
                self.junk.push((Junk::Dict(Box::new(old)), lazy));
            }
        }
        self.edits = self.edits.wrapping_add(1);
        removed
    }

    /// The caller has told watchers and the blocked.
    pub fn swap(&mut self, a: usize, b: usize) {
        self.dbs.swap(a, b);
        self.edits = self.edits.wrapping_add(1);
    }

    /// The database, for loops that only read.
    pub fn db(&self, db: usize) -> &Db {
        &self.dbs[db]
    }
}
