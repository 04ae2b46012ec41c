//! The keyspace against a naive twin: a map of keys to values and times, and a clock that moves.

use super::defrag::DatasetWalk;
use super::store::{New, Ttl};
use super::{Db, Effect, Expiry, Found, Junk, Keyspace, class, mode};
use crate::algo::crc16::key_slot;
use crate::algo::rng::Rng;
use crate::ds::dict::Index;
use crate::ds::entry::{EntryRef, enc};
use crate::ds::hash::SLOTS;
use crate::ds::prop::Source;
use crate::ds::sds::Sds;
use crate::object::ValueLimits;
use crate::object::digest::Digest;
use crate::object::hash::{Hash, HashLimits};
use crate::object::list::{List, ListEnd};
use crate::object::set::Set;
use crate::object::stream::Stream;
use crate::object::stream::group::Group;
use crate::object::stream::id::Id;
use crate::object::value::{StrRef, Value, Variant, View};
use crate::object::zset::Zset;
use crate::proto::args::Key;
use crate::sys::alloc;
use crate::sys::defrag::Mover;
use std::collections::{HashMap, HashSet};

const DBS: usize = 3;
const LIMITS: HashLimits = HashLimits { entries: 4, value: 20 };

#[derive(Clone, Debug, PartialEq)]
enum Model {
    Text(Vec<u8>),
    Fields(HashMap<Vec<u8>, Vec<u8>>),
}

type Twin = Vec<HashMap<Vec<u8>, (Model, Option<i64>)>>;

fn content(e: EntryRef<'_>) -> Model {
    match StrRef::of(e) {
        Some(s) => Model::Text(s.bytes(&mut itoa::Buffer::new()).to_vec()),
        None => {
            let lent = Value::lent(e);
            let mut fields = HashMap::new();
            Hash::of(&lent).expect("only strings and hashes are stored here").for_each(|f, v| {
                f.with_text(|f| v.with_text(|v| fields.insert(f.to_vec(), v.to_vec())));
            });
            Model::Fields(fields)
        }
    }
}

struct Pair {
    ks: Keyspace,
    twin: Twin,
    /// Blocks are moved all the while.
    walk: DatasetWalk,
    mover: Mover,
}

impl Pair {
    fn new(slotted: bool) -> Pair {
        let mut ks = if slotted { Keyspace::slotted(DBS) } else { Keyspace::new(DBS) };
        ks.now_ms = 1_000_000;
        let (walk, mover) = (DatasetWalk::default(), Mover::always());
        Pair { ks, twin: vec![HashMap::new(); DBS], walk, mover }
    }

    /// Names of which many share a slot.
    fn name(src: &mut Source) -> String {
        format!("{{{}}}k{}", src.pick(&["a", "a", "a", "b", "c", ""]), src.below(60))
    }

    /// What a lookup of the twin sees, after it has deleted the expired.
    fn expect(&mut self, db: usize, name: &[u8]) -> Option<&mut (Model, Option<i64>)> {
        let now = self.ks.now_ms;
        let gone = self.twin[db].get(name).is_some_and(|(_, when)| when.is_some_and(|w| now > w));
        match self.ks.policy.expiry {
            Expiry::Delete if gone => {
                self.twin[db].remove(name);
            }
            Expiry::Report | Expiry::Paused if gone => return None,
            _ => {}
        }
        self.twin[db].get_mut(name)
    }

    /// Looks up in both, which must agree.
    fn admit<'a>(&mut self, db: usize, name: &'a [u8], how: u8) -> Option<Found<'a>> {
        let found = self.ks.admit(db, Key::new(name), how);
        let seen = found.as_ref().map(|f| self.ks.at(f)).map(|e| (content(e), e.when()));
        assert_eq!(seen.as_ref(), self.expect(db, name).map(|e| &*e));
        found
    }

    fn set(&mut self, src: &mut Source, db: usize, name: &[u8]) {
        let found = self.admit(db, name, mode::WRITE);
        let now = self.ks.now_ms;
        let (ttl, kept) = match src.below(4) {
            0 => (Ttl::Keep, found.and_then(|f| self.ks.at(&f).when())),
            1 => (Ttl::At(now + src.below(50) as i64), None),
            _ => (Ttl::Clear, None),
        };
        let when = if let Ttl::At(at) = ttl { Some(at) } else { kept };
        let text = vec![b'v'; src.pick(&[0, 1, 5, 44, 45, 300, 511, 512, 513, 2000])];
        let mut later = None;
        let (value, model) = match src.below(6) {
            0 => (New::Int(-7), Model::Text(b"-7".to_vec())),
            1 => (New::Bytes(b"12345"), Model::Text(b"12345".to_vec())),
            2 => {
                let mut h = Hash::default();
                let n = 1 + src.below(100);
                let mut fields = HashMap::new();
                for i in 0..n {
                    let field = format!("f{i}").into_bytes();
                    h.set(&field, &text, &LIMITS);
                    fields.insert(field, text.clone());
                }
                (New::Value(h.wrap()), Model::Fields(fields))
            }
            3 => {
                let big = vec![b'b'; 3000];
                later = Some(Sds::from_slice(&big));
                (New::Value(Value::Str(enc::RAW, Sds::with_capacity(0))), Model::Text(big))
            }
            _ => (New::Bytes(&text), Model::Text(text.clone())),
        };
        let _ = self.ks.set(db, Key::new(name), value, ttl, found);
        if let Some(bytes) = later {
            self.ks.fill(db, Key::new(name), bytes);
        }
        self.twin[db].insert(name.to_vec(), (model, when));
    }

    fn edit(&mut self, src: &mut Source, db: usize, name: &[u8]) {
        let Some(found) = self.admit(db, name, mode::WRITE) else { return };
        let mut e = self.ks.edit(found);
        if let Ok(h) = e.value::<Hash>() {
            let add = src.one_in(2);
            let field = format!("f{}", src.below(6)).into_bytes();
            if add {
                h.set(&field, b"new", &LIMITS)
            } else {
                h.remove(&field)
            };
            let t = e.done(1);
            let gone = t.gone;
            let (Model::Fields(fields), _) = self.twin[db].get_mut(name).expect("admitted") else {
                panic!("a hash is a hash")
            };
            if add {
                fields.insert(field, b"new".to_vec())
            } else {
                fields.remove(&field)
            };
            assert_eq!(gone, fields.is_empty());
            if gone {
                self.twin[db].remove(name);
            }
        } else {
            let more = vec![b'a'; src.below(700)];
            e.raw().expect("a string").extend(&more);
            let _ = e.done(1);
            if let (Model::Text(t), _) = self.twin[db].get_mut(name).expect("admitted") {
                t.extend_from_slice(&more);
            }
        }
    }

    fn relocate(&mut self, db: usize, name: &[u8], to_db: usize, to: &[u8]) {
        if (db, name) == (to_db, to) {
            return;
        }
        let (Some(_), None) = (self.admit(db, name, mode::WRITE), self.admit(to_db, to, mode::WRITE))
        else {
            return;
        };
        let found = self.ks.find_as_is(db, Key::new(name)).expect("admitted");
        self.ks.relocate(found, to_db, Key::new(to));
        let moved = self.twin[db].remove(name).expect("admitted");
        self.twin[to_db].insert(to.to_vec(), moved);
    }

    /// A step of the walk that moves what it meets; hashes of more than 50 fields part by part.
    fn defrag(&mut self) {
        let before: Vec<isize> = self.ks.dbs.iter().map(|d| d.bytes).collect();
        if self.ks.defrag(&mut self.walk, &mut self.mover, 50) {
            self.walk = DatasetWalk::default();
        }
        assert!(self.ks.dbs.iter().map(|d| d.bytes).eq(before), "what moves stays as large as it is");
    }

    /// All keys in the slot of this one go, where there are tables of slots.
    fn drop_slot(&mut self, name: &[u8]) {
        let slot = usize::from(key_slot(name));
        let gone = self.ks.drop_slot(slot);
        let before = self.twin[0].len();
        if self.ks.db(0).dict().is_slotted() {
            self.twin[0].retain(|k, _| usize::from(key_slot(k)) != slot);
        }
        assert_eq!(gone, before - self.twin[0].len());
    }

    fn step(&mut self, src: &mut Source) {
        self.defrag();
        let name = Pair::name(src).repeat(src.pick(&[1, 1, 1, 100])).into_bytes();
        let other = Pair::name(src).into_bytes();
        let db = src.below(DBS);
        match src.below(14) {
            0..4 => self.set(src, db, &name),
            4 => self.edit(src, db, &name),
            5 => {
                if let Some(f) = self.admit(db, &name, mode::WRITE) {
                    let _ = self.ks.remove(f, false);
                    self.twin[db].remove(&name);
                }
            }
            6 => {
                if let Some(f) = self.admit(db, &name, mode::WRITE) {
                    let when = if src.one_in(3) { None } else { Some(self.ks.now_ms + 20) };
                    self.ks.set_ttl(f, when);
                    self.twin[db].get_mut(&name).expect("admitted").1 = when;
                }
            }
            7 => self.relocate(db, &name, src.below(DBS), &other),
            8 => self.ks.now_ms += src.below(20) as i64,
            9 if src.one_in(10) => self.drop_slot(&name),
            9 if src.one_in(40) => {
                assert_eq!(self.ks.flush(Some(db), false), self.twin[db].len());
                self.twin[db].clear();
            }
            10 if src.one_in(10) => {
                self.ks.swap(db, 0);
                self.twin.swap(db, 0);
            }
            11 => {
                let all =
                    [Expiry::Delete, Expiry::Delete, Expiry::Report, Expiry::Paused, Expiry::Ignore];
                self.ks.policy.expiry = src.pick(&all);
            }
            _ => {
                self.admit(db, &name, mode::READ);
            }
        }
    }

    fn slots_agree(&self, db: &Db, twin: &HashMap<Vec<u8>, (Model, Option<i64>)>) {
        let Some(taken) = db.slots_taken() else { return };
        let slots: HashSet<u16> = twin.keys().map(|k| key_slot(k)).collect();
        for slot in 0..SLOTS as u16 {
            let is_taken = taken[usize::from(slot) / 64] >> (slot % 64) & 1 != 0;
            assert_eq!(is_taken, slots.contains(&slot));
        }
        for &slot in &slots {
            let expected: HashSet<&[u8]> =
                twin.keys().filter(|k| key_slot(k) == slot).map(Vec::as_slice).collect();
            assert_eq!(db.dict().slot_len(slot.into()), expected.len());
            let listed: HashSet<&[u8]> = db.dict().slot_iter(slot.into()).map(|e| e.key()).collect();
            assert_eq!(listed, expected);
            let (mut scanned, mut cursor) = (HashSet::new(), 0);
            loop {
                cursor = db.scan_slot(slot.into(), cursor, |e| {
                    scanned.insert(e.key());
                });
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(scanned, expected);
        }
    }

    fn agree(&self) {
        for (db, twin) in self.ks.dbs.iter().zip(&self.twin) {
            let all: HashMap<_, _> =
                db.iter().map(|e| (e.key().to_vec(), (content(e), e.when()))).collect();
            assert_eq!(&all, twin);
            let (mut volatile, mut cursor) = (HashSet::new(), 0);
            loop {
                cursor = db.scan(Index::Expires, cursor, |e| {
                    volatile.insert(e.key().to_vec());
                });
                if cursor == 0 {
                    break;
                }
            }
            let expected: HashSet<_> =
                twin.iter().filter(|(_, (_, w))| w.is_some()).map(|(k, _)| k.clone()).collect();
            assert_eq!(volatile, expected);
            assert_eq!((db.len(), db.volatile()), (twin.len(), expected.len()));
            self.slots_agree(db, twin);
        }
    }
}

#[test]
fn it_agrees_with_its_naive_twin() {
    for seed in 0..12 {
        let mut src = Source::seeded(seed);
        let mut pair = Pair::new(seed % 2 == 1);
        for n in 0..8_000 {
            pair.step(&mut src);
            if n % 100 == 0 {
                pair.agree();
            }
        }
        pair.agree();
        pair.ks.junk.clear();
    }
}

/// A value of the type and size, in the encoding that it has then.
fn value_of(kind: usize, n: usize, limits: &ValueLimits) -> Value {
    let member = |i: usize| format!("member:{i}").into_bytes();
    match kind {
        0 => {
            let mut l = List::default();
            (0..n).for_each(|i| {
                l.grow_for(1, 100, &limits.list);
                l.push(ListEnd::Tail, &member(i).repeat(9));
            });
            l.wrap()
        }
        1 => {
            let mut s = Set::for_member(b"1", 0, &limits.set);
            (0..n).for_each(|i| _ = s.add(i.to_string().as_bytes(), &limits.set));
            s.wrap()
        }
        2 => {
            let mut s = Set::for_member(b"m", 0, &limits.set);
            (0..n).for_each(|i| _ = s.add(&member(i), &limits.set));
            s.wrap()
        }
        3 => {
            let mut h = Hash::default();
            (0..n).for_each(|i| _ = h.set(&member(i), &member(i + 1), &limits.hash));
            h.wrap()
        }
        4 => {
            let scored: Vec<_> = (0..n).map(|i| (i as f64 / 3.0, format!("{i:06}"))).collect();
            Zset::from_sorted(&scored, &limits.zset).wrap()
        }
        _ => {
            let mut s = Stream::default();
            for i in 0..n as u64 {
                let id = Id::new(i + 1, i % 3);
                let added = s.log.append(id, &[[b"field", b"value"]], limits.stream());
                assert_eq!(added, Ok(()));
            }
            for name in ["a", "ab", "b"].iter().take(n % 4) {
                let mut group = Group::new(Id::MIN, 0);
                for c in 0..n % 5 {
                    let owner = group.add_consumer(&member(c), 5).expect("a new name");
                    (0..n as u64).for_each(|i| group.assign(Id::new(i + 1, i % 3), owner, 1, 1));
                }
                s.groups.add(name.as_bytes(), group);
            }
            s.wrap()
        }
    }
}

/// Every encoding there is, with and without a TTL, big and small, moved while keys come and go.
#[test]
fn values_of_every_encoding_are_what_they_were_when_they_have_moved() {
    let limits = ValueLimits::default();
    let print = |ks: &Keyspace| -> HashMap<Vec<u8>, (u8, Option<i64>, [u8; 20], String)> {
        let mut all = HashMap::new();
        for e in ks.db(0).iter() {
            let (mut d, mut groups) = (Digest::default(), String::new());
            match StrRef::of(e) {
                Some(s) => d.mix(s.bytes(&mut itoa::Buffer::new())),
                None => Value::lent(e).digest(&mut d),
            }
            if let Some(s) = View::<Stream>::of(e) {
                s.groups.for_each(|name, g| {
                    groups += &format!("{name:?}");
                    g.for_each_pending(Id::MIN, |id, p| {
                        let owner = &g.consumer(p.owner).name;
                        groups += &format!("{id:?}{p:?}{owner:?}");
                        true
                    });
                });
            }
            all.insert(e.key().to_vec(), (e.enc(), e.when(), d.0, groups));
        }
        all
    };
    let mut src = Source::seeded(3);
    let mut ks = Keyspace::new(1);
    ks.now_ms = 1000;
    for i in 0..180usize {
        let name = format!("key:{i}");
        let found = ks.write(0, Key::new(name.as_bytes()));
        let text = vec![b't'; i * 4];
        let value = match i % 9 {
            6 => New::Int(i as i64),
            7 | 8 => New::Bytes(&text),
            kind => New::Value(value_of(kind, [3, 40, 700, 3000][src.below(4)], &limits)),
        };
        let ttl = if i % 2 == 0 { Ttl::At(1_000_000) } else { Ttl::Clear };
        let _ = ks.set(0, Key::new(name.as_bytes()), value, ttl, found);
    }
    let before = print(&ks);
    let encodings: HashSet<_> = before.values().map(|(enc, ..)| *enc).collect();
    assert_eq!(encodings.len(), 9, "{encodings:?}");
    for max_fields in [10, 100_000] {
        let (mut walk, mut mover, mut n) = (DatasetWalk::default(), Mover::always(), 0u32);
        while !ks.defrag(&mut walk, &mut mover, max_fields) {
            let name = format!("beside:{}", n % 50);
            let found = ks.write(0, Key::new(name.as_bytes()));
            match found {
                Some(f) if n.is_multiple_of(3) => _ = ks.remove(f, false),
                _ => _ = ks.set(0, Key::new(name.as_bytes()), New::Bytes(b"x"), Ttl::At(5000), found),
            }
            n += 1;
        }
        assert!(mover.hits > 180 && walk.key_misses == 0 && walk.key_hits >= 180);
        let mut after = print(&ks);
        after.retain(|name, _| name.starts_with(b"key:"));
        assert!(after == before);
    }
}

/// Runs with a slot of the allocator's count of its own.
pub fn counted(slot: usize, test: fn()) {
    let t = std::thread::spawn(move || {
        alloc::register_thread(alloc::slot::TESTS + slot);
        test();
    });
    t.join().expect("the assertions hold");
}

#[test]
fn databases_know_what_they_hold() {
    counted(2, || {
        databases_tell(false);
        databases_tell(true);
    });
}

fn databases_tell(slotted: bool) {
    let mut src = Source::seeded(99);
    let mut pair = Pair::new(slotted);
    for _ in 0..20_000 {
        pair.step(&mut src);
        pair.ks.junk.clear();
    }
    // So many keys that the child buckets, whose number depends on the seed of the hash, are few beside.
    for db in 0..pair.ks.dbs.len() {
        for i in 0..2_000u32 {
            let name = format!("beside:{i}");
            let key = Key::new(name.as_bytes());
            let found = pair.ks.write(db, key);
            let _ = pair.ks.set(db, key, New::Bytes(&[b'v'; 300]), Ttl::Clear, found);
        }
    }
    for db in pair.ks.dbs.drain(..) {
        let told = db.bytes;
        let freed = alloc::uncounted(|| drop(db));
        // All is exact but the child buckets of the tables.
        let off = (told - freed).abs();
        assert!(off * 20 <= freed, "{told} told, {freed} freed");
    }
}

/// What a handler writes while a value is open belongs to the reply, not to the database.
#[test]
fn a_reply_written_inside_an_edit_is_not_booked_as_bytes_of_the_value() {
    counted(4, || {
        let mut ks = Keyspace::new(1);
        let key = Key::new(b"k");
        let _ = ks.put(0, key, New::Int(1), Ttl::Clear, None);
        let found = ks.write(0, key).expect("it was just put");
        let _ = ks.remove(found, false);
        let idle = ks.dbs[0].bytes;
        let mut replies: Vec<Vec<u8>> = Vec::new();
        let limits = ks.policy.limits;
        for _ in 0..5 {
            let mut set = Set::for_member(b"member", 20_000, &limits.set);
            let mut list = List::default();
            for i in 0..20_000 {
                set.add(format!("member {i}").as_bytes(), &limits.set);
                list.grow_for(1, 15, &limits.list);
                list.push(ListEnd::Tail, format!("element {i}").as_bytes());
            }
            for value in [set.wrap(), list.wrap()] {
                let found = ks.write(0, key);
                let _ = ks.put(0, key, New::Value(value), Ttl::Clear, found);
                assert!(ks.dbs[0].bytes > idle + 200_000);
                let found = ks.write(0, key).expect("it was just put");
                let (mut edit, mut rng) = (ks.edit(found), Rng::from_os());
                let mut reply = Vec::new();
                if let Ok(set) = edit.value::<Set>() {
                    while set.pop(&mut rng, |m| m.with_text(|m| reply.extend_from_slice(m))).is_some() {}
                } else {
                    let list = edit.value::<List>().expect("it is one of the two");
                    while list
                        .pop(ListEnd::Tail, |e| e.with_text(|e| reply.extend_from_slice(e)))
                        .is_some()
                    {}
                }
                let touched = edit.done(20_000);
                assert!(touched.gone && reply.len() > 200_000);
                replies.push(reply);
                assert_eq!((ks.keys(), ks.dbs[0].bytes), (0, idle));
                ks.junk.clear();
            }
        }
    });
}

#[test]
fn an_expired_key_is_deleted_reported_or_ignored_as_policy_says() {
    let key = Key::new(b"k");
    for (expiry, how, seen, stays) in [
        (Expiry::Delete, mode::READ, false, false),
        (Expiry::Delete, mode::WRITE, false, false),
        (Expiry::Delete, mode::NOEXPIRE, false, true),
        (Expiry::Report, mode::WRITE, false, true),
        (Expiry::Paused, mode::WRITE, false, true),
        (Expiry::DeleteOnWrite, mode::READ, false, true),
        (Expiry::DeleteOnWrite, mode::WRITE, false, false),
        (Expiry::Ignore, mode::READ, true, true),
    ] {
        let mut ks = Keyspace::new(1);
        ks.policy.expiry = expiry;
        ks.policy.ops = true;
        ks.policy.notify = class::ALL;
        let _ = ks.put(0, key, New::Bytes(b"v"), Ttl::At(5), None);
        ks.now_ms = 5;
        assert!(ks.admit(0, key, how).is_some(), "not before its time is over");
        ks.now_ms = 6;
        ks.fx.take();
        assert_eq!(ks.admit(0, key, how).is_some(), seen, "{expiry:?} {how}");
        assert_eq!(ks.peek(0, key).is_some(), stays, "{expiry:?} {how}");
        let mut told = ks.fx.take();
        if stays {
            assert!(told.is_empty());
            continue;
        }
        assert!(matches!(told.pop(), Some(Effect::Event { name: "expired", .. })));
        match told.pop() {
            Some(Effect::Op { args, .. }) => {
                assert_eq!(args, [b"DEL".as_slice().into(), b"k".as_slice().into()])
            }
            other => panic!("the deletion leaves after its event, not {other:?}"),
        }
        assert_eq!(ks.stats.expired, 1);
    }
}

#[test]
fn random_keys_are_fair_and_expired_ones_are_passed_over() {
    random_keys_are_fair(Keyspace::new(1));
    random_keys_are_fair(Keyspace::slotted(1));
}

fn random_keys_are_fair(mut ks: Keyspace) {
    for i in 0..200u32 {
        // A slot with half of the keys is as likely as all others together.
        let name = if i % 2 == 0 { format!("{{tag}}{i}") } else { i.to_string() };
        let ttl = if i < 100 { Ttl::At(5) } else { Ttl::Clear };
        let _ = ks.put(0, Key::new(name.as_bytes()), New::Int(1), ttl, None);
    }
    ks.now_ms = 10;
    let mut seen: HashMap<Vec<u8>, u32> = HashMap::new();
    for _ in 0..20_000 {
        let name = ks.random_key(0).expect("a hundred are left");
        *seen.entry(name).or_default() += 1;
    }
    assert_eq!(seen.len(), 100);
    assert!(seen.values().all(|n| (100..320).contains(n)), "200 on average: {seen:?}");
    // Where nothing may be deleted and all are expired, one of those is returned after all.
    let mut ks = Keyspace::new(1);
    ks.policy.expiry = Expiry::Report;
    assert!(ks.random_key(0).is_none());
    let _ = ks.put(0, Key::new(b"old"), New::Int(1), Ttl::At(5), None);
    ks.now_ms = 10;
    assert_eq!(ks.random_key(0), Some(b"old".to_vec()));
}

#[test]
fn only_a_key_that_a_client_waits_for_is_told_ready() {
    let mut ks = Keyspace::new(1);
    ks.policy.ready = u8::MAX;
    ks.awaited.add(b"awaited");
    let ready = |ks: &mut Keyspace, name: &'static [u8]| {
        let _ = ks.put(0, Key::new(name), New::Int(1), Ttl::Clear, None);
        ks.signal_ready(0, name, 1);
        let mut told = ks.fx.take();
        std::iter::from_fn(|| told.pop()).filter(|e| matches!(e, Effect::Ready { .. })).count()
    };
    assert_eq!(ready(&mut ks, b"other"), 0);
    assert_eq!(ready(&mut ks, b"awaited"), 2, "it is new, and signalled");
    ks.awaited.remove(b"awaited");
    ks.signal_ready(0, b"awaited", 1);
    assert!(ks.fx.is_empty());
}

#[test]
fn big_values_are_handed_over_and_small_ones_freed_at_once() {
    let mut ks = Keyspace::new(1);
    let key = Key::new(b"k");
    for (fields, free_here, handed_over) in [(64, false, false), (65, false, true), (65, true, false)] {
        ks.policy.free_here = free_here;
        let mut h = Hash::default();
        for i in 0..fields {
            h.set(format!("f{i}").as_bytes(), b"v", &LIMITS);
        }
        let found = ks.write(0, key);
        let _ = ks.set(0, key, New::Value(h.wrap()), Ttl::Clear, found);
        let found = ks.write(0, key).expect("just set");
        let _ = ks.remove(found, true);
        assert_eq!(
            ks.junk.pop().is_some_and(|(j, lazy)| matches!(j, Junk::Value(_)) && lazy),
            handed_over
        );
    }
}

#[test]
fn a_forgotten_edit_harms_nothing() {
    let mut ks = Keyspace::new(1);
    let (hash, text) = (Key::new(b"hash"), Key::new(b"text"));
    let mut h = Hash::default();
    h.set(b"field", b"value", &LIMITS);
    let _ = ks.put(0, hash, New::Value(h.wrap()), Ttl::Clear, None);
    let _ = ks.put(0, text, New::Named(enc::RAW, &[b'x'; 2000]), Ttl::Clear, None);
    let found = ks.write(0, hash).expect("it was just put");
    let mut edit = ks.edit(found);
    let h = edit.value::<Hash>().expect("a hash");
    for i in 0..100u32 {
        h.set(&i.to_le_bytes(), &[0; 100], &LIMITS);
    }
    std::mem::forget(edit);
    let found = ks.write(0, text).expect("it was just put");
    let mut edit = ks.edit(found);
    edit.raw().expect("a string").extend(&[b'y'; 100_000]);
    std::mem::forget(edit);
    for key in [hash, text] {
        let found = ks.write(0, key).expect("the key is still there");
        assert!(ks.value::<Hash>(&found).is_err() && ks.string(&found).is_err());
        assert!(ks.edit(found).raw().is_err());
        let _ = ks.set(0, key, New::Int(1), Ttl::Clear, Some(found));
        assert_eq!(ks.string(&found), Ok(StrRef::Int(1)));
        let _ = ks.remove(found, false);
    }
    assert_eq!(ks.keys(), 0);
}

#[test]
fn a_token_is_good_as_long_as_its_key_is_there() {
    let mut ks = Keyspace::new(2);
    let (a, b) = (Key::new(b"a"), Key::new(b"b"));
    let _ = ks.put(0, a, New::Int(1), Ttl::Clear, None);
    let _ = ks.put(0, b, New::Int(2), Ttl::Clear, None);
    let [first, second] = [a, b].map(|k| ks.read(0, k).expect("it was just put"));
    let _ = ks.remove(second, false);
    assert_eq!(ks.string(&first), Ok(StrRef::Int(1)), "another key went");
    ks.set_ttl(first, Some(i64::MAX));
    assert_eq!(ks.at(&first).when(), Some(i64::MAX), "the entry has moved");
    ks.swap(0, 1);
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ks.at(&first).ty()));
    assert!(asked.is_err(), "the key is in another database now");
    let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ks.at(&second).ty()));
    assert!(asked.is_err(), "the key has gone");
}

#[test]
fn samples_of_slots_begin_anywhere_and_hold_no_key_twice() {
    const N: u32 = 3000;
    let mut ks = Keyspace::slotted(1);
    for i in 0..N {
        let name = if i % 3 == 0 { format!("{{tag}}{i}") } else { i.to_string() };
        let _ = ks.put(0, Key::new(name.as_bytes()), New::Int(1), Ttl::Clear, None);
    }
    let dict = ks.db(0).dict();
    let (mut seen, mut rng) = (HashMap::<&[u8], u32>::new(), Rng::seeded(9));
    for _ in 0..60_000 {
        let mut sample = HashSet::new();
        dict.some(Index::Keys, 5, rng.next_u64(), |e| assert!(sample.insert(e.key()), "twice"));
        assert_eq!(sample.len(), 5);
        sample.into_iter().for_each(|k| *seen.entry(k).or_default() += 1);
    }
    // A hundred times each on average.
    assert_eq!(seen.len(), N as usize);
    assert!(seen.values().all(|n| (10..1000).contains(n)), "{seen:?}");
    let mut all = HashSet::new();
    dict.some(Index::Keys, usize::MAX, rng.next_u64(), |e| assert!(all.insert(e.key()), "twice"));
    assert_eq!(all.len(), N as usize);
}

/// Every key that stays is given, whatever slots fill and empty meanwhile.
#[test]
fn a_scan_over_slots_gives_all_that_stay() {
    for seed in 0..10 {
        let (mut ks, mut src) = (Keyspace::slotted(1), Source::seeded(seed));
        let stays: Vec<String> =
            (0..400).map(|i| format!("{{{}}}{i}", if i % 2 == 0 { 0 } else { i })).collect();
        for name in &stays {
            let _ = ks.put(0, Key::new(name.as_bytes()), New::Int(1), Ttl::Clear, None);
        }
        let (mut seen, mut cursor, mut extra) = (HashSet::new(), 0, Vec::new());
        loop {
            cursor = ks.db(0).scan(Index::Keys, cursor, |e| {
                seen.insert(e.key().to_vec());
            });
            if cursor == 0 {
                break;
            }
            for _ in 0..src.below(20) {
                if src.one_in(2) {
                    let name = format!("{{{}}}extra{}", src.below(3), src.next());
                    let _ = ks.put(0, Key::new(name.as_bytes()), New::Int(1), Ttl::Clear, None);
                    extra.push(name);
                } else if let Some(name) = extra.pop() {
                    let _ = ks.remove_as_is(0, Key::new(name.as_bytes()), false);
                }
            }
            ks.shrink_sparse();
            ks.rehash_until(|| src.one_in(2));
        }
        assert!(stays.iter().all(|name| seen.contains(name.as_bytes())), "seed {seed}");
    }
}
