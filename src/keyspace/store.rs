//! Putting values under keys, taking keys away, and moving them about.

use super::{Db, Found, Junk, Keyspace, Touched, class};
use crate::algo::num::parse_i64;
use crate::ds::entry::{Entry, Payload, enc, ty};
use crate::ds::sds::Sds;
use crate::object::value::{EMBSTR_MAX, Value};
use crate::proto::args::Key;

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
        let word = self.dbs[db].measured(|_| Sds::from_slice(b).into_word());
        self.place(db, key, ty::STRING, e, Payload::Word(word), ttl, found)
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
        self.discard(Value::from_remains(remains), self.policy.lazy_server_del);
        if old_ty != t {
            self.signal_ready(db, key.bytes, old_ty);
            self.signal_ready(db, key.bytes, t);
        } else {
            self.signal_ready(db, key.bytes, t);
        }
    }

    fn add(&mut self, db: usize, key: Key, t: u8, e: u8, value: Payload, ttl: Ttl) {
        let when = if let Ttl::At(at) = ttl { Some(at) } else { None };
        let lru = self.fresh_lru();
        let entry = self.dbs[db].measured(|d| d.insert(key.hash, key.bytes, t, e, value, when));
        entry.set_lru(lru);
        self.signal_ready(db, key.bytes, t);
        self.event(db, key.bytes, class::NEW, "new");
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

    /// The bare removal, without signals but for the blocked.
    pub(super) fn remove_entry(&mut self, db: usize, key: Key, e: Entry, lazy: bool) {
        let t = e.ty();
        let remains = self.dbs[db].measured(|d| d.remove(key.hash, e));
        self.discard(Value::from_remains(remains), lazy);
        self.edits = self.edits.wrapping_add(1);
        self.signal_ready(db, key.bytes, t);
    }

    /// Moves a value to another key or database, expiry included; the destination is free.
    pub fn relocate<'a>(&mut self, f: Found, to_db: usize, to: Key<'a>) -> Touched<'a> {
        let (t, e, when, lru) = (f.entry.ty(), f.entry.enc(), f.entry.when(), f.entry.lru());
        let ttl = when.map_or(Ttl::Clear, Ttl::At);
        if f.entry.is_inline() {
            let bytes = f.entry.inline_bytes().to_vec();
            self.remove_entry(f.db, f.key, f.entry, false);
            if Entry::fits(to.bytes.len(), bytes.len()) {
                self.add(to_db, to, t, e, Payload::Inline(&bytes), ttl);
            } else {
                let word = Payload::Word(Sds::from_slice(&bytes).into_word());
                self.add(to_db, to, t, e, word, ttl);
            }
        } else {
            let remains = self.dbs[f.db].measured(|d| d.remove(f.key.hash, f.entry));
            let (_, _, word) = remains.expect("not inline: the value is a word");
            self.signal_ready(f.db, f.key.bytes, t);
            self.add(to_db, to, t, e, Payload::Word(word), ttl);
        }
        if let Some(e) = self.peek(to_db, to) {
            e.set_lru(lru);
        }
        self.edits = self.edits.wrapping_add(1);
        self.signal_modified(f.db, f.key.bytes);
        self.signal_modified(to_db, to.bytes);
        Touched { db: to_db, key: to, gone: false }
    }

    /// Empties one database or all. Returns the number of keys. The caller has told watchers and the blocked.
    pub fn flush(&mut self, db: Option<usize>, lazy: bool) -> usize {
        let range = db.map_or(0..self.dbs.len(), |d| d..d + 1);
        let mut removed = 0;
        for i in range {
            let old = std::mem::take(&mut self.dbs[i]);
            removed += old.dict.len();
            if !old.dict.is_empty() {
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
