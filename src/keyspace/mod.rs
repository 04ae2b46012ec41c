//! The dataset: databases, lookups, changes, expiry, and the outbox of what happened.
//!
//! ```text
//! admit(&mut) ──► Found (a token)   at(&self, found) ──► EntryRef   edit(found) ──► Edit ── done ──► Touched
//!    expiry, LRU, hits, keymiss          as many as needed                the only road to &mut values
//! ```
//!
//! The keyspace never calls up. What it did waits in `fx`, one ordered queue, until the server settles
//! it. `policy`, pushed down from above, says which effects have listeners: one without costs a branch.
//!
//! Expired means `now > when`. A `Found` remembers where its entry was; when an entry of the same table has
//! gone or moved since, the key is looked up again. Asking for a key that has gone meanwhile is a panic.
//!
//! No table leaves this folder but to be read: others reach the keys of a database by `Db::dict`.

pub mod db;
pub mod edit;
pub mod effects;
pub mod evict;
pub mod expire;
pub mod own_ttls;
pub mod slots;
pub mod store;
#[cfg(test)]
mod tests;

pub use db::Db;
pub use edit::Edit;
pub use effects::{Effect, Effects, Watched};

use crate::algo::rng::Rng;
use crate::ds::dict::{EntryPlace, Index};
use crate::ds::entry::{EntryMut, EntryRef};
use crate::ds::hash::carry_slots;
use crate::object::ValueLimits;
use crate::object::value::{StrRef, Value, Variant, View};
use crate::proto::args::Key;

/// Classes of keyspace events, with the letters of `notify-keyspace-events`.
pub mod class {
    pub const KEYSPACE: u32 = 1 << 0; // K
    pub const KEYEVENT: u32 = 1 << 1; // E
    pub const GENERIC: u32 = 1 << 2; // g
    pub const STRING: u32 = 1 << 3; // $
    pub const LIST: u32 = 1 << 4; // l
    pub const SET: u32 = 1 << 5; // s
    pub const HASH: u32 = 1 << 6; // h
    pub const ZSET: u32 = 1 << 7; // z
    pub const EXPIRED: u32 = 1 << 8; // x
    pub const EVICTED: u32 = 1 << 9; // e
    pub const STREAM: u32 = 1 << 10; // t
    pub const KEY_MISS: u32 = 1 << 11; // m, not part of A
    pub const MODULE: u32 = 1 << 13; // d
    pub const NEW: u32 = 1 << 14; // n, not part of A
    pub const ALL: u32 =
        GENERIC | STRING | LIST | SET | HASH | ZSET | EXPIRED | EVICTED | STREAM | MODULE;
}

/// What to do with a key whose time has come: loading and the master's stream ignore it, a replica reports
/// it as missing, a master deletes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    Ignore,
    Report,
    /// A writable replica: reads report, what is about to be written over is deleted.
    DeleteOnWrite,
    /// A master while writes rest: reports. What is given a time in the past still goes at once, and so does
    /// what a transaction or script that is under way writes over.
    Paused,
    Delete,
}

impl Expiry {
    /// May a key be there that a lookup did not show?
    pub fn hides(self) -> bool {
        matches!(self, Expiry::Report | Expiry::DeleteOnWrite | Expiry::Paused)
    }

    /// Is a time in the past no time, but a deletion?
    pub fn past_deletes(self) -> bool {
        matches!(self, Expiry::Delete | Expiry::Paused)
    }
}

/// Modes of a lookup, added up.
pub mod mode {
    /// For reading: counts a hit or a miss.
    pub const READ: u8 = 0;
    /// For writing: counts nothing.
    pub const WRITE: u8 = 1;
    /// Leaves the LRU alone.
    pub const NOTOUCH: u8 = 2;
    /// No keymiss event.
    pub const NONOTIFY: u8 = 4;
    /// No hits and misses.
    pub const NOSTATS: u8 = 8;
    /// An expired key is reported as missing, but stays.
    pub const NOEXPIRE: u8 = 16;
}

/// Which effects have listeners, and how keys age; pushed down once per pass and after commands that
/// change it.
#[derive(Debug, Clone)]
pub struct Policy {
    pub expiry: Expiry,
    /// Event classes that are published, with KEYSPACE and KEYEVENT; 0 when no client can hear.
    pub notify: u32,
    /// Keys are watched or tracked: queue `Modified`, for those in `watched` ...
    pub modified: bool,
    /// ... or for all, since clients cache keys.
    pub tracked: bool,
    /// Types of keys that clients are blocked on, as bits: queue `Ready` for those in `awaited`.
    pub ready: u8,
    /// Ops leave to an AOF or to replicas: queue `Op`.
    pub ops: bool,
    /// Keys remember how often, not when.
    pub lfu: bool,
    pub lfu_decay_minutes: i64,
    pub lfu_log_factor: i64,
    /// A child shares the pages: do not touch LRU bits.
    pub freeze_lru: bool,
    /// Expired keys leave as UNLINK instead of DEL.
    pub lazy_expire: bool,
    /// What leaves is freed where it leaves, however big it is.
    pub free_here: bool,
    /// Old values that a write replaces are freed lazily and counted so.
    pub lazy_server_del: bool,
    /// Bytes that all may use; 0 for any number.
    pub memory_limit: usize,
    pub limits: ValueLimits,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            expiry: Expiry::Delete,
            notify: 0,
            modified: false,
            tracked: false,
            ready: 0,
            ops: false,
            lfu: false,
            lfu_decay_minutes: 1,
            lfu_log_factor: 10,
            freeze_lru: false,
            lazy_expire: false,
            free_here: false,
            lazy_server_del: false,
            memory_limit: 0,
            limits: ValueLimits::default(),
        }
    }
}

#[derive(Debug, Default, Clone)]
pub struct KsStats {
    pub hits: u64,
    pub misses: u64,
    pub expired: u64,
    pub evicted: u64,
}

/// How often a key that has not expired is looked for, where expired ones may not be deleted.
const RANDOM_TRIES: u32 = 100;

/// What is no longer reachable, to be freed on another thread.
pub enum Junk {
    Value(Value),
    /// All of a database, with the bytes it held.
    Dict(Box<Db>),
}

/// The key holds a value of another type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongType;

/// Keys that are fetched from memory together.
pub const GROUP: usize = 16;

/// Proof that a key was looked up (expired, counted, touched).
#[derive(Clone, Copy)]
pub struct Found<'a> {
    pub db: usize,
    pub key: Key<'a>,
    place: EntryPlace,
}

impl Found<'_> {
    /// Do both stand for the same key?
    pub fn is(&self, other: &Found<'_>) -> bool {
        self.db == other.db && self.key.bytes == other.key.bytes
    }
}

/// A changed key: announce its events with it, any number, in the order the protocol promises.
#[derive(Clone, Copy)]
#[must_use = "announce the change"]
pub struct Touched<'a> {
    pub db: usize,
    pub key: Key<'a>,
    /// The value became empty and the key went.
    pub gone: bool,
}

pub struct Keyspace {
    dbs: Vec<Db>,
    pub fx: Effects,
    /// Keys that `policy.modified` is about.
    pub watched: Watched,
    /// Keys that clients are blocked on.
    pub awaited: Watched,
    pub dirty: u64,
    /// Unix milliseconds, frozen inside an execution unit.
    pub now_ms: i64,
    /// The client that asks wants to leave no trace in the LRU (CLIENT NO-TOUCH).
    pub no_touch: bool,
    pub policy: Policy,
    pub stats: KsStats,
    /// Keys that clients of a writable replica let expire.
    pub own_ttls: own_ttls::OwnTtls,
    pub rng: Rng,
    /// Freed by a thread after the unit; `lazyfreed` of them count as lazily freed.
    pub junk: Vec<(Junk, bool)>,
}

impl Keyspace {
    /// Of databases with one table each.
    pub fn new(databases: usize) -> Self {
        Keyspace::of(databases, false)
    }

    /// Of databases with a table for each slot of a cluster. From now on the hash of any key of this process
    /// carries its slot.
    pub fn slotted(databases: usize) -> Self {
        carry_slots();
        Keyspace::of(databases, true)
    }

    fn of(databases: usize, slotted: bool) -> Self {
        Keyspace {
            dbs: (0..databases).map(|_| Db::new(slotted)).collect(),
            fx: Effects::default(),
            watched: Watched::default(),
            awaited: Watched::default(),
            dirty: 0,
            now_ms: 0,
            no_touch: false,
            policy: Policy::default(),
            stats: KsStats::default(),
            own_ttls: own_ttls::OwnTtls::default(),
            rng: Rng::from_os(),
            junk: Vec::new(),
        }
    }

    /// How many databases there are.
    #[inline]
    pub fn databases(&self) -> usize {
        self.dbs.len()
    }

    #[inline]
    pub fn db(&self, db: usize) -> &Db {
        &self.dbs[db]
    }

    /// All databases with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Db)> {
        self.dbs.iter().enumerate()
    }

    /// First half of a lookup: expiry, statistics, LRU. Admit every key of a command before borrowing
    /// any.
    #[inline]
    pub fn admit<'a>(&mut self, db: usize, key: Key<'a>, how: u8) -> Option<Found<'a>> {
        let d = &mut self.dbs[db];
        d.step(key.hash);
        let Some(place) = d.dict().locate(key.hash, key.bytes) else {
            return self.missed(db, key, how);
        };
        let f = self.found(db, key, place);
        if let Some(when) = self.at(&f).when()
            && self.now_ms > when
            && self.expired_hides(f, how)
        {
            return self.missed(db, key, how);
        }
        if how & mode::NOTOUCH == 0 && !(self.policy.freeze_lru | self.no_touch) {
            self.touch(&f);
        }
        if how & (mode::NOSTATS | mode::WRITE) == 0 {
            self.stats.hits += 1;
        }
        Some(f)
    }

    /// Fetches the entries of some keys from memory, `GROUP` of them at most at a time.
    #[inline]
    pub fn fetch_ahead(&self, db: usize, keys: &[Key]) {
        debug_assert!(keys.len() <= GROUP);
        let dict = self.dbs[db].dict();
        if dict.is_slotted() {
            keys.iter().for_each(|k| dict.prefetch_head(k.hash));
        }
        keys.iter().for_each(|k| dict.prefetch_bucket(k.hash));
        keys.iter().for_each(|k| dict.prefetch_entry(k.hash));
    }

    /// For reading.
    #[inline]
    pub fn read<'a>(&mut self, db: usize, key: Key<'a>) -> Option<Found<'a>> {
        self.admit(db, key, mode::READ)
    }

    /// For writing.
    #[inline]
    pub fn write<'a>(&mut self, db: usize, key: Key<'a>) -> Option<Found<'a>> {
        self.admit(db, key, mode::WRITE)
    }

    #[inline]
    fn found<'a>(&self, db: usize, key: Key<'a>, place: EntryPlace) -> Found<'a> {
        Found { db, key, place }
    }

    #[cold]
    fn missed<'a>(&mut self, db: usize, key: Key<'a>, how: u8) -> Option<Found<'a>> {
        if how & (mode::NONOTIFY | mode::WRITE) == 0 {
            self.event(db, key.bytes, class::KEY_MISS, "keymiss");
        }
        if how & (mode::NOSTATS | mode::WRITE) == 0 {
            self.stats.misses += 1;
        }
        None
    }

    /// Without any effect: WATCH and wake-ups look this way. Expired keys are returned too.
    #[inline]
    pub fn peek(&self, db: usize, key: Key) -> Option<EntryRef<'_>> {
        self.dbs[db].find(key)
    }

    /// The same as a token, where a lookup would do too much.
    pub fn find_as_is<'a>(&self, db: usize, key: Key<'a>) -> Option<Found<'a>> {
        let place = self.dbs[db].dict().locate(key.hash, key.bytes)?;
        Some(self.found(db, key, place))
    }

    pub fn is_expired(&self, e: EntryRef<'_>) -> bool {
        self.policy.expiry != Expiry::Ignore && e.when().is_some_and(|w| self.now_ms > w)
    }

    /// Second half: the entry of a token.
    #[inline]
    pub fn at(&self, f: &Found<'_>) -> EntryRef<'_> {
        match self.dbs[f.db].dict().at(f.place) {
            Some(e) => e,
            None => self.look_again(f),
        }
    }

    /// Something has moved since the token was given.
    #[cold]
    fn look_again(&self, f: &Found<'_>) -> EntryRef<'_> {
        self.peek(f.db, f.key).expect("a key whose token is used is there")
    }

    /// The token as it would be given now.
    #[inline]
    fn again<'a>(&self, f: Found<'a>) -> Found<'a> {
        if self.dbs[f.db].dict().at(f.place).is_some() {
            return f;
        }
        self.find_as_is(f.db, f.key).expect("a key whose token is used is there")
    }

    #[inline]
    fn entry_mut(&mut self, f: &Found<'_>) -> EntryMut<'_> {
        let dict = self.dbs[f.db].dict_mut();
        dict.at_mut(f.place).expect("nothing has moved since the token was given")
    }

    /// The string of a token.
    #[inline]
    pub fn string(&self, f: &Found<'_>) -> Result<StrRef<'_>, WrongType> {
        StrRef::of(self.at(f)).ok_or(WrongType)
    }

    /// The value of a token, of one of the types other than string.
    #[inline]
    pub fn value<T: Variant>(&self, f: &Found<'_>) -> Result<View<'_, T>, WrongType> {
        View::of(self.at(f)).ok_or(WrongType)
    }

    #[inline]
    fn touch(&mut self, f: &Found<'_>) {
        let lru = if self.policy.lfu { self.next_lfu(f) } else { self.lru_clock() };
        self.entry_mut(f).set_lru(lru);
    }

    /// Seconds, 24 bits of them.
    #[inline]
    pub fn lru_clock(&self) -> u32 {
        (self.now_ms / 1000) as u32 & 0xff_ffff
    }

    fn lfu_minutes(&self) -> u32 {
        (self.now_ms / 60_000) as u32 & 0xffff
    }

    /// The LRU bits of an entry that has just been made.
    #[inline]
    fn fresh_lru(&self) -> u32 {
        // LFU_INIT_VAL is 5: a new key must not be the first to go.
        if self.policy.lfu { self.lfu_minutes() << 8 | 5 } else { self.lru_clock() }
    }

    #[cold]
    fn next_lfu(&mut self, f: &Found<'_>) -> u32 {
        let mut counter = self.lfu_counter(self.at(f));
        if counter < 255 {
            let base = counter.saturating_sub(5) as f64;
            let p = 1.0 / (base * self.policy.lfu_log_factor as f64 + 1.0);
            if self.rng.next_f64() < p {
                counter += 1;
            }
        }
        self.lfu_minutes() << 8 | counter
    }

    /// The access counter, decayed by the minutes that passed.
    pub fn lfu_counter(&self, e: EntryRef<'_>) -> u32 {
        let (then, counter) = (e.lru() >> 8, e.lru() & 255);
        let elapsed = self.lfu_minutes().wrapping_sub(then) & 0xffff;
        match self.policy.lfu_decay_minutes {
            0 => counter,
            d => counter.saturating_sub(elapsed / d.max(1) as u32),
        }
    }

    /// Sets how often the key was used (under LFU) or how long ago (otherwise), if that is given.
    pub fn set_usage(&mut self, db: usize, key: Key, freq: Option<u8>, idle_seconds: Option<u64>) {
        // The clock wraps within its 24 bits; an absurd time wraps as often as it does upstream.
        const MAX: i64 = (1 << 24) - 1;
        let Some(f) = self.find_as_is(db, key) else { return };
        if self.policy.lfu {
            if let Some(freq) = freq {
                let lru = self.lfu_minutes() << 8 | u32::from(freq);
                self.entry_mut(&f).set_lru(lru);
            }
        } else if let Some(idle) = idle_seconds {
            let seconds = idle.cast_signed().wrapping_mul(1000) / 1000;
            let then = i64::from(self.lru_clock()).wrapping_sub(seconds);
            let then = if then < 0 { then.wrapping_add(MAX) } else { then };
            self.entry_mut(&f).set_lru((then & MAX) as u32);
        }
    }

    /// Milliseconds since the key was last touched.
    pub fn idle_ms(&self, e: EntryRef<'_>) -> u64 {
        (self.lru_clock().wrapping_sub(e.lru()) & 0xff_ffff) as u64 * 1000
    }

    /// Queues a keyspace event, when its class is published.
    #[inline]
    pub fn event(&mut self, db: usize, key: &[u8], class: u32, name: &'static str) {
        if self.policy.notify & class != 0 {
            self.fx.push(Effect::Event { db, class, name, key: key.into() });
        }
    }

    #[inline]
    pub fn announce(&mut self, t: &Touched, class: u32, name: &'static str) {
        self.event(t.db, t.key.bytes, class, name);
        if t.gone {
            // The event of the change comes first, then the removal.
            self.event(t.db, t.key.bytes, class::GENERIC, "del");
        }
    }

    /// Queues the news that a key changed, for WATCH and tracking.
    #[inline]
    pub fn signal_modified(&mut self, db: usize, key: &[u8]) {
        if self.policy.modified {
            self.queue_modified(db, key, false);
        }
    }

    /// The same of a key that has expired or was evicted.
    fn signal_gone_by_itself(&mut self, db: usize, key: &[u8]) {
        if self.policy.modified {
            self.queue_modified(db, key, true);
        }
    }

    #[cold]
    fn queue_modified(&mut self, db: usize, key: &[u8], by_itself: bool) {
        if self.policy.tracked || self.watched.may_hold(key) {
            self.fx.push(Effect::Modified { db, key: key.into(), by_itself });
        }
    }

    /// Queues the news that a client blocked on the key may be served.
    #[inline]
    pub fn signal_ready(&mut self, db: usize, key: &[u8], ty: u8) {
        if self.awaits(key, ty) {
            self.fx.push(Effect::Ready { db, key: key.into(), ty, gone: false });
        }
    }

    /// Queues the news that the value of this type is gone, or replaced by one of another type: clients
    /// that wait for any change are woken by it.
    #[inline]
    fn signal_gone(&mut self, db: usize, key: &[u8], ty: u8) {
        if self.awaits(key, ty) {
            self.fx.push(Effect::Ready { db, key: key.into(), ty, gone: true });
        }
    }

    #[inline]
    fn awaits(&self, key: &[u8], ty: u8) -> bool {
        self.policy.ready >> ty & 1 != 0 && self.awaited.may_hold(key)
    }

    /// Frees a value that is no longer reachable: at once, or on a thread when it is big and
    /// `policy.free_here` is not set. `lazy` says that upstream would count it as lazily freed.
    #[inline]
    fn discard(&mut self, db: usize, v: Option<Value>, lazy: bool) {
        let Some(v) = v else { return };
        self.dbs[db].bytes -= v.heap_bytes() as isize;
        if v.worth_a_thread() && !self.policy.free_here {
            self.junk.push((Junk::Value(v), lazy));
        }
    }

    /// Any key of a database that has not expired, each as likely as every other.
    pub fn random_key(&mut self, db: usize) -> Option<Vec<u8>> {
        let d = &self.dbs[db];
        let all_volatile = d.len() == d.volatile();
        for tries in 1.. {
            let rng = &mut self.rng;
            let dict = self.dbs[db].dict();
            let place = dict.random(Index::Keys, || rng.next_u64())?;
            let e = dict.at(place).expect("it has just been found");
            // A copy: the entry's own bytes go with it.
            let name = e.key().to_vec();
            // Where nothing may be deleted all keys can have expired: then one of those has to do.
            let give_up = all_volatile && self.policy.expiry != Expiry::Delete && tries == RANDOM_TRIES;
            if e.when().is_none() || give_up || !self.expire_if_needed(db, Key::new(&name)) {
                return Some(name);
            }
        }
        None
    }

    /// Begins to shrink tables that have become nearly empty.
    pub fn shrink_sparse(&mut self) {
        for db in &mut self.dbs {
            db.measured(|d| d.shrink_if_sparse());
        }
    }

    /// Goes on with rehashing until nothing is left of it, or `enough` says so after some of it.
    pub fn rehash_until(&mut self, mut enough: impl FnMut() -> bool) {
        for db in &mut self.dbs {
            let stop = db.measured(|d| {
                while d.is_rehashing() {
                    d.rehash(32);
                    if enough() {
                        return true;
                    }
                }
                false
            });
            if stop {
                return;
            }
        }
    }

    /// Makes room for so many keys.
    pub fn reserve(&mut self, db: usize, keys: usize) {
        self.dbs[db].measured(|d| d.reserve(keys));
    }

    pub fn keys(&self) -> usize {
        self.dbs.iter().map(Db::len).sum()
    }
}
