//! Code without `unsafe` cannot break the dataset, whatever it does with what it was given: each sequence
//! that might ends in the right answer or in a panic, and what was there before is unharmed.
//!
//! Some sequences do not compile, which is as good; they stand where the types are:
//!
//! ```text
//! an entry, or its bytes, used after a change of its table       ds/dict.rs    (compile_fail)
//! a word made to a value: `Remains::new` is unsafe               ds/entry.rs   (tidy: no unsafe up here)
//! an element of a table that points nowhere: `Elem` is unsafe    ds/table.rs   (likewise)
//! a second owner of a Lua state; `look` inside of `look`         not public
//! ```

#![forbid(unsafe_code)]
#![allow(unused_must_use, reason = "what has changed is not announced here")]

use oxidis::ds::dict::Dict;
use oxidis::ds::entry::Content;
use oxidis::ds::hash::hash;
use oxidis::ds::listpack::{Element, Listpack, Pos};
use oxidis::keyspace::store::{New, Ttl};
use oxidis::keyspace::{Found, Keyspace, WrongType};
use oxidis::object::list::{List, ListEnd};
use oxidis::object::set::{Set, SetLimits};
use oxidis::object::value::Variant;
use oxidis::proto::args::Key;
use std::panic::{AssertUnwindSafe, catch_unwind};

fn panics<R>(f: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

fn keys(d: &Dict) -> Vec<Vec<u8>> {
    let mut all: Vec<_> = d.iter().map(|e| e.key().to_vec()).collect();
    all.sort();
    all
}

fn inline(b: &[u8]) -> Content<'_> {
    Content::Inline(0, b)
}

#[test]
fn a_place_of_an_entry_that_is_gone_leads_nowhere() {
    let mut d = Dict::new();
    let alice = d.insert(hash(b"alice"), b"alice", inline(b"one"), None, 0);
    assert!(d.remove(hash(b"alice"), alice).is_none(), "the value lay in the entry");
    // Of the same size, so the memory may be the same.
    d.insert(hash(b"bobby"), b"bobby", inline(b"two"), None, 0);
    assert!(d.at(alice).is_none() && d.at_mut(alice).is_none());
    assert!(panics(|| d.remove(hash(b"alice"), alice)));
    assert!(panics(|| d.remove(hash(b"bobby"), alice)));
    assert!(panics(|| d.exchange(hash(b"alice"), alice, inline(b"three"), None)));
    assert_eq!(keys(&d), [b"bobby"]);
}

#[test]
fn a_place_of_an_entry_that_has_moved_leads_nowhere() {
    let mut d = Dict::new();
    let before = d.insert(hash(b"key"), b"key", inline(b"short"), None, 0);
    let long = [b'x'; 200];
    let (now, old) = d.exchange(hash(b"key"), before, inline(&long), Some(77));
    assert!(old.is_none(), "the value lay in the entry");
    assert!(d.at(before).is_none());
    assert_eq!(d.at(now).map(|e| (e.inline_bytes().len(), e.when())), Some((200, Some(77))));
}

#[test]
fn a_place_of_another_table_is_a_stranger() {
    let (mut mine, mut other) = (Dict::new(), Dict::new());
    mine.insert(hash(b"mine"), b"mine", inline(b"one"), None, 0);
    let stranger = other.insert(hash(b"other"), b"other", inline(b"two"), None, 0);
    assert!(mine.at(stranger).is_none() && mine.at_mut(stranger).is_none());
    assert!(panics(|| mine.remove(hash(b"other"), stranger)));
    // Tables that change places take their entries along.
    std::mem::swap(&mut mine, &mut other);
    assert_eq!(mine.at(stranger).map(|e| e.key().to_vec()).as_deref(), Some(&b"other"[..]));
    assert_eq!((keys(&mine), keys(&other)), (vec![b"other".to_vec()], vec![b"mine".to_vec()]));
}

#[test]
fn a_hash_that_is_not_that_of_the_entry_removes_nothing() {
    let mut d = Dict::new();
    let place = d.insert(hash(b"key"), b"key", inline(b"one"), None, 0);
    if panics(|| d.remove(hash(b"another"), place)) {
        assert_eq!(keys(&d), [b"key"]);
    }
    assert!(d.len() <= 1);
}

fn listpack(n: usize) -> Listpack {
    let mut lp = Listpack::new();
    (0..n).for_each(|i| lp.push_back(format!("element {i}").as_bytes()));
    lp
}

fn texts(lp: &Listpack) -> Vec<Vec<u8>> {
    lp.iter().map(|e: Element<'_>| e.to_vec()).collect()
}

#[test]
fn places_of_a_longer_listpack_end_before_anything_moves() {
    // Neighbours in memory, of one size.
    let mut short: Vec<Listpack> = (0..8).map(|_| listpack(3)).collect();
    let long = listpack(300);
    let mut far = long.first();
    for _ in 0..250 {
        far = far.and_then(|p| long.next(p));
    }
    let (first, far) = (short[4].first().expect("three"), far.expect("three hundred"));
    assert!(panics(|| short[4].delete_all(&[first, far])));
    assert!(panics(|| short[4].delete_all(&[far])));
    assert!(panics(|| short[4].delete_all(&[first, first])), "a place twice");
    let whole = texts(&listpack(3));
    assert!(short.iter().all(|lp| texts(lp) == whole));
}

#[test]
fn a_stale_place_of_a_listpack_reads_nothing_outside() {
    let mut lp = listpack(50);
    let all: Vec<Pos> = std::iter::successors(lp.first(), |p| lp.next(*p)).take(50).collect();
    lp.delete_all(&all[2..49]);
    // Nonsense or a panic, and the list is what it was.
    for p in &all {
        panics(|| lp.next(*p));
        panics(|| lp.get(*p).to_vec());
    }
    assert_eq!(lp.len(), 3);
    assert_eq!(texts(&lp).last().map(Vec::as_slice), Some(&b"element 49"[..]));
}

fn list(ks: &mut Keyspace, name: &[u8], n: usize) {
    let mut l = List::default();
    (0..n).for_each(|i| l.push(ListEnd::Tail, format!("element {i}").as_bytes()));
    ks.set(0, Key::new(name), New::Value(l.wrap()), Ttl::Clear, None);
}

fn found<'a>(ks: &mut Keyspace, name: &'a [u8]) -> Found<'a> {
    ks.read(0, Key::new(name)).expect("the key is there")
}

#[test]
fn a_guard_that_is_forgotten_leaves_no_value_behind_and_no_word_of_it() {
    let mut ks = Keyspace::new(1);
    list(&mut ks, b"key", 3);
    let f = found(&mut ks, b"key");
    let mut edit = ks.edit(f);
    let l = edit.value::<List>().expect("a list");
    (0..1000).for_each(|i| l.push(ListEnd::Tail, &[b'x'; 100][..i % 100]));
    std::mem::forget(edit);
    let f = found(&mut ks, b"key");
    assert!(matches!(ks.value::<List>(&f), Err(WrongType)));
    assert!(matches!(ks.string(&f), Err(WrongType)));
    assert!(ks.edit(f).value::<List>().is_err());
    assert!(ks.delete(0, Key::new(b"key"), false).is_some());
    assert_eq!(ks.keys(), 0);
}

#[test]
fn a_token_of_a_key_that_is_gone_panics() {
    let mut ks = Keyspace::new(2);
    list(&mut ks, b"key", 3);
    list(&mut ks, b"other", 2);
    let f = found(&mut ks, b"key");
    ks.remove(f, false);
    assert!(panics(|| ks.at(&f).key().len()));
    assert!(panics(|| ks.value::<List>(&f).map(|l| l.len())));
    assert!(panics(|| ks.remove(f, false)));
    assert!(panics(|| ks.set_ttl(f, Some(1))));
    // Of another keyspace, where the key is another one.
    let mut second = Keyspace::new(2);
    list(&mut second, b"key", 9);
    let theirs = found(&mut second, b"key");
    assert!(panics(|| ks.at(&theirs).key().len()));
    assert_eq!(ks.keys(), 1);
    assert_eq!(second.value::<List>(&theirs).expect("a list").len(), 9);
}

#[test]
fn a_token_outlives_what_happens_to_other_keys_and_to_its_own() {
    let mut ks = Keyspace::new(1);
    let names: Vec<Vec<u8>> = (0..2000).map(|i| format!("key {i}").into_bytes()).collect();
    list(&mut ks, b"key", 3);
    let f = found(&mut ks, b"key");
    // The table grows, entries go, its own entry moves for a TTL.
    names.iter().for_each(|n| list(&mut ks, n, 1));
    names.iter().step_by(2).for_each(|n| assert!(ks.delete(0, Key::new(n), false).is_some()));
    ks.set_ttl(f, Some(i64::MAX));
    let mut edit = ks.edit(f);
    edit.value::<List>().expect("a list").push(ListEnd::Tail, b"more");
    edit.done(1);
    assert_eq!(ks.value::<List>(&f).expect("a list").len(), 4);
    assert_eq!(ks.at(&f).key(), b"key");
    // The key becomes another value.
    let s = Set::for_member(b"member", 1, &SetLimits::default());
    ks.set(0, Key::new(b"key"), New::Value(s.wrap()), Ttl::Clear, Some(f));
    assert!(matches!(ks.value::<List>(&f), Err(WrongType)));
    assert_eq!(ks.keys(), 1001);
}

#[test]
fn a_guard_that_is_dropped_in_a_panic_puts_its_value_back() {
    let mut ks = Keyspace::new(1);
    list(&mut ks, b"key", 3);
    let f = found(&mut ks, b"key");
    assert!(panics(|| {
        let mut edit = ks.edit(f);
        edit.value::<List>().expect("a list").push(ListEnd::Tail, b"more");
        panic!("in the middle of a change");
    }));
    let f = found(&mut ks, b"key");
    assert_eq!(ks.value::<List>(&f).map(|l| l.len()).ok(), Some(4));
}
