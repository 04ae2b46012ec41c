//! Putting values under keys, taking keys away, and moving them about.

use super::{Db, Expiry, Found, Junk, Keyspace, Touched, class};
use crate::algo::num::parse_i64;
use crate::ds::entry::{self, Content, enc};
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
                (_, Some(n)) => self.place(db, key, Content::Int(n), ttl, found),
                (e, None) => self.place_bytes(db, key, e, b, ttl, found),
            },
            New::Int(n) => self.place(db, key, Content::Int(n), ttl, found),
            New::Named(e, b) => self.place_bytes(db, key, e, b, ttl, found),
            New::Value(Value::Int(n)) => self.place(db, key, Content::Int(n), ttl, found),
            New::Value(Value::Str(e, s)) if entry::fits(key.bytes.len(), s.len()) => {
                self.place_bytes(db, key, e, &s, ttl, found)
            }
            New::Value(v) => {
                self.dbs[db].bytes += v.heap_bytes().cast_signed();
                self.place(db, key, Content::Word(v.into_remains()), ttl, found)
            }
        };
        Touched { db, key, gone: false }
    }

    /// Puts a result in the place of what stands under a key, with the number of changes that it counts for;
    /// no result takes away what is there, as it is, without asking whether its time has come. Dirty count,
    /// WATCH and tracking, and the event (or that of the deletion) are part of it.
    pub fn replace(
        &mut self,
        db: usize,
        key: Key,
        result: Option<(New, u64)>,
        class: u32,
        event: &'static str,
    ) {
        let Some((new, changes)) = result else {
            let lazy = self.policy.lazy_server_del;
            if let Some(t) = self.remove_as_is(db, key, lazy) {
                self.dirty += 1;
                self.announce(&t, class::GENERIC, "del");
            }
            return;
        };
        let found = self.write(db, key);
        let t = self.put(db, key, new, Ttl::Clear, found);
        self.dirty += changes;
        self.signal_modified(db, key.bytes);
        self.announce(&t, class, event);
    }

    /// A string beside its key when it is short, else on its own.
    #[inline]
    fn place_bytes(&mut self, db: usize, key: Key, e: u8, b: &[u8], ttl: Ttl, found: Option<Found>) {
        debug_assert_ne!(e, enc::INT, "an integer is no bytes");
        if entry::fits(key.bytes.len(), b.len()) {
            return self.place(db, key, Content::Inline(e, b), ttl, found);
        }
        let v = Value::Str(e, Sds::from_slice(b));
        self.dbs[db].bytes += v.heap_bytes().cast_signed();
        self.place(db, key, Content::Word(v.into_remains()), ttl, found)
    }

    #[inline]
    fn place(&mut self, db: usize, key: Key, value: Content, ttl: Ttl, found: Option<Found>) {
        if matches!(ttl, Ttl::At(_)) {
            self.note_ttl(db, key);
        }
        let Some(f) = found else { return self.add(db, key, value, ttl) };
        let f = self.again(f);
        let mut old = self.entry_mut(&f);
        let before = old.as_ref().when();
        let when = match ttl {
            Ttl::Clear => None,
            Ttl::Keep => before,
            Ttl::At(at) => Some(at),
        };
        if before.is_some() == when.is_some() && old.overwrite(&value) {
            if let Some(when) = when {
                old.set_when(when);
            }
            return;
        }
        self.exchange(f, value, when);
    }

    fn exchange(&mut self, f: Found, value: Content, when: Option<i64>) {
        let old_ty = self.at(&f).ty();
        let hash = f.key.hash;
        let (_, remains) = self.dbs[f.db].measured(|d| d.exchange(hash, f.place, value, when));
        self.discard(f.db, remains.map(Value::from_remains), self.policy.lazy_server_del);
        // Clients that wait for a list are not served by what was another value before.
        self.signal_gone(f.db, f.key.bytes, old_ty);
    }

    fn add(&mut self, db: usize, key: Key, value: Content, ttl: Ttl) {
        let when = if let Ttl::At(at) = ttl { Some(at) } else { None };
        let lru = self.fresh_lru();
        if self.policy.expiry.hides() {
            self.remove_hidden(db, key);
        }
        if self.policy.memory_limit > 0 {
            self.hold_growth(db, key.hash, when.is_some());
        }
        let d = &mut self.dbs[db];
        let place = d.measured(|d| d.insert(key.hash, key.bytes, value, when, lru));
        if self.policy.ready != 0 {
            let ty = self.at(&self.found(db, key, place)).ty();
            self.signal_ready(db, key.bytes, ty);
        }
        self.event(db, key.bytes, class::NEW, "new");
    }

    /// An expired key that stayed where lookups only report it gives way to what is written in its place.
    #[cold]
    fn remove_hidden(&mut self, db: usize, key: Key) {
        if let Some(f) = self.find_as_is(db, key) {
            debug_assert!(self.is_expired(self.at(&f)), "the key is there, and was not passed on");
            self.expire(f);
        }
    }

    /// A table whose next array would break the memory limit waits with growing: keys would be evicted to
    /// make room for empty slots.
    #[inline]
    fn hold_growth(&mut self, db: usize, hash: u64, ttl: bool) {
        let dict = self.dbs[db].dict_mut();
        let bytes = dict.growth(hash, ttl);
        if bytes > 0 {
            dict.hold_growth(hash, alloc::used().saturating_add(bytes) > self.policy.memory_limit);
        }
    }

    /// A key gets a TTL: on a writable replica, from one of its clients, it is remembered.
    #[inline]
    fn note_ttl(&mut self, db: usize, key: Key) {
        if self.policy.expiry == Expiry::DeleteOnWrite {
            self.own_ttls.add(db, key.bytes);
        }
    }

    /// Changes only the expiry. Counts nothing; the caller announces.
    pub fn set_ttl(&mut self, f: Found, when: Option<i64>) {
        if when.is_some() {
            self.note_ttl(f.db, f.key);
        }
        let f = self.again(f);
        let hash = f.key.hash;
        self.dbs[f.db].measured(|d| d.set_ttl(hash, f.place, when));
    }

    /// Takes the key away. `lazy` says that upstream would count it as lazily freed.
    pub fn remove<'a>(&mut self, f: Found<'a>, lazy: bool) -> Touched<'a> {
        self.remove_entry(f, lazy);
        self.signal_modified(f.db, f.key.bytes);
        Touched { db: f.db, key: f.key, gone: false }
    }

    /// Takes away what stands under a key, its time over or not; None when nothing does.
    pub fn remove_as_is<'a>(&mut self, db: usize, key: Key<'a>, lazy: bool) -> Option<Touched<'a>> {
        let found = self.find_as_is(db, key)?;
        Some(self.remove(found, lazy))
    }

    /// DEL: takes away what stands under a key, one that is over but must stay for now included. None when
    /// nothing does, or its time was over and it went for that.
    pub fn delete<'a>(&mut self, db: usize, key: Key<'a>, lazy: bool) -> Option<Touched<'a>> {
        self.dbs[db].step(key.hash);
        // Not by a lookup: a key that a replica only reports as expired is deleted all the same.
        self.expire_if_needed(db, key);
        self.remove_as_is(db, key, lazy)
    }

    /// As `remove`, for a key that is stored again at once: only clients blocked on it are signalled.
    pub fn remove_silently(&mut self, f: Found, lazy: bool) {
        self.remove_entry(f, lazy);
    }

    /// The bare removal, without signals but for the blocked.
    pub(super) fn remove_entry(&mut self, f: Found, lazy: bool) {
        let f = self.again(f);
        let (t, hash) = (self.at(&f).ty(), f.key.hash);
        let remains = self.dbs[f.db].measured(|d| d.remove(hash, f.place));
        self.discard(f.db, remains.map(Value::from_remains), lazy);
        self.signal_gone(f.db, f.key.bytes, t);
    }

    /// Moves a value to another key or database, expiry included; the destination is free. For everything
    /// else it is a new key there: its LRU begins anew.
    pub fn relocate(&mut self, f: Found, to_db: usize, to: Key) {
        debug_assert!(
            self.peek(to_db, to).is_none_or(|e| self.is_expired(e)),
            "the destination is taken"
        );
        let f = self.again(f);
        let e = self.at(&f);
        let (t, ttl) = (e.ty(), e.when().map_or(Ttl::Clear, Ttl::At));
        // For a moment there are two of it, as upstream has it: so tables grow when upstream's do.
        if e.is_inline() {
            let (enc, bytes) = (e.enc(), e.inline_bytes().to_vec());
            self.place_bytes(to_db, to, enc, &bytes, ttl, None);
        } else {
            let value =
                self.entry_mut(&f).take().map(Value::from_remains).expect("a word that is not lent");
            let bytes = value.heap_bytes().cast_signed();
            self.dbs[f.db].bytes -= bytes;
            self.dbs[to_db].bytes += bytes;
            self.add(to_db, to, Content::Word(value.into_remains()), ttl);
        }
        let (f, hash) = (self.again(f), f.key.hash);
        let left = self.dbs[f.db].measured(|d| d.remove(hash, f.place));
        debug_assert!(left.is_none(), "the value has been taken out");
        self.signal_gone(f.db, f.key.bytes, t);
        self.signal_modified(f.db, f.key.bytes);
        self.signal_modified(to_db, to.bytes);
    }

    /// Empties one database or all. Returns the number of keys. The caller has signalled watchers and
    /// blocked clients.
    pub fn flush(&mut self, db: Option<usize>, lazy: bool) -> usize {
        let range = db.map_or(0..self.dbs.len(), |d| d..d + 1);
        if db.is_none() {
            self.own_ttls.clear();
        }
        let mut removed = 0;
        for i in range {
            let none = self.dbs[i].empty_twin();
            let old = std::mem::replace(&mut self.dbs[i], none);
            removed += old.len();
            if old.has_room() {
                self.junk.push((Junk::Dict(Box::new(old)), lazy));
            }
        }
        removed
    }

    /// Puts other databases in the place of all.
    pub fn exchange_all(&mut self, others: &mut Vec<Db>) {
        debug_assert_eq!(self.dbs.len(), others.len());
        std::mem::swap(&mut self.dbs, others);
    }

    /// Swaps two databases. The caller has signalled watchers and blocked clients.
    pub fn swap(&mut self, a: usize, b: usize) {
        self.dbs.swap(a, b);
    }
}
