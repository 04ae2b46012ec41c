//! Values of every form there has been, what becomes of them at the limits, and what is refused.

use super::*;
use crate::ds::dict::Dict;
use crate::ds::entry::{Content, enc, ty};
use crate::keyspace::Keyspace;
use crate::keyspace::store::{New, Ttl};
use crate::object::digest::Digest;
use crate::object::value::encoding_name;
use crate::persist::rdb::source::{Fed, Window};
use crate::persist::rdb::{save, ziplist, zipmap};
use crate::proto::args::Key;

const SHALLOW: Checks = Checks { checksum: true, deep: false };
const DEEP: Checks = Checks { checksum: true, deep: true };

fn len(n: usize) -> Vec<u8> {
    match n {
        0..64 => vec![n as u8],
        64..16_384 => vec![0x40 | (n >> 8) as u8, n as u8],
        n => [&[0x80][..], &(n as u32).to_be_bytes()].concat(),
    }
}

fn text(b: &[u8]) -> Vec<u8> {
    [len(b.len()), b.to_vec()].concat()
}

/// Type, number of elements, texts.
fn many(t: u8, n: usize, texts: &[&[u8]]) -> Vec<u8> {
    let texts: Vec<u8> = texts.iter().flat_map(|b| text(b)).collect();
    [&[t][..], &len(n), &texts].concat()
}

fn packed(t: u8, bytes: &[u8]) -> Vec<u8> {
    [&[t][..], &text(bytes)].concat()
}

fn listpack(values: &[&str]) -> Vec<u8> {
    Listpack::of(values.iter().map(|v| Element::Str(v.as_bytes()))).bytes().to_vec()
}

fn ziplist(values: &[&'static str]) -> Vec<u8> {
    let as_stored = |v: &&'static str| match v.parse() {
        Ok(n) => Element::Int(n),
        Err(_) => Element::Str(v.as_bytes()),
    };
    ziplist::tests::make(&values.iter().map(as_stored).collect::<Vec<_>>())
}

fn footed(mut value: Vec<u8>) -> Vec<u8> {
    value.extend((VERSION as u16).to_le_bytes());
    let crc = crc64::update(0, &value);
    value.extend(crc.to_le_bytes());
    value
}

/// The name of its encoding, and its elements in their order, or sorted where there is none.
fn shown(value: Value) -> (&'static str, Vec<String>) {
    let text = |e: Element<'_>| String::from_utf8_lossy(&e.to_vec()).into_owned();
    let mut all = Vec::new();
    match &value {
        Value::List(l) => l.for_each(|e| all.push(text(e))),
        Value::Set(s) => s.for_each(|e| all.push(text(e))),
        Value::Hash(h) => h.for_each(|f, v| all.push(format!("{}={}", text(f), text(v)))),
        Value::Zset(z) => z.walk(0..z.len(), false, |m, _| {
            let score = m.with_text(|m| z.score(m)).expect("it is a member");
            all.push(format!("{}={score}", text(m)));
        }),
        _ => panic!("no collection"),
    }
    let mut dict = Dict::new();
    let place = dict.insert(0, b"k", Content::Word(value.into_remains()), None, 0);
    let name = dict.at(place).map_or("", |e| encoding_name(e.ty(), e.enc()));
    if name == "hashtable" {
        all.sort();
    }
    dict.drain(|r| drop(Value::from_remains(r)));
    (name, all)
}

fn load(
    value: Vec<u8>,
    limits: ValueLimits,
    checks: Checks,
) -> std::result::Result<(&'static str, Vec<String>), String> {
    match restore(&footed(value), limits, checks, &mut 0) {
        Ok(Loaded::Value(v)) => Ok(shown(v)),
        Ok(Loaded::Bytes(b)) => Ok(("string", vec![String::from_utf8_lossy(&b).into_owned()])),
        Err(Refusal::Format(_, why)) => Err(why),
        Err(Refusal::Footer) => panic!("the footer is good"),
    }
}

#[track_caller]
fn check(value: &[u8], limits: ValueLimits, encoding: &str, all: &[&str]) {
    for checks in [SHALLOW, DEEP] {
        let (name, got) = load(value.to_vec(), limits, checks).expect("a good value");
        assert_eq!((name, got), (encoding, all.iter().map(|s| s.to_string()).collect()));
    }
}

#[track_caller]
fn refused(value: Vec<u8>, checks: Checks, why: &str) {
    let got = load(value, ValueLimits::default(), checks).expect_err("a bad value");
    assert!(got.contains(why), "{got}");
}

/// Limits past which two elements are too many.
fn tight() -> ValueLimits {
    let mut l = ValueLimits::default();
    (l.hash.entries, l.zset.entries, l.set.entries, l.set.ints) = (1, 1, 1, 1);
    l.list.fill = 1;
    l
}

#[test]
fn lists_of_all_times() {
    let usual = ValueLimits::default();
    let forms = [
        many(kind::LIST, 3, &[b"a", b"12", b""]),
        [&[kind::LIST_QUICKLIST, 1][..], &text(&ziplist(&["a", "12", ""]))].concat(),
        [&[kind::LIST_QUICKLIST_2, 1, 2][..], &text(&listpack(&["a", "12", ""]))].concat(),
    ];
    for form in &forms {
        check(form, usual, "listpack", &["a", "12", ""]);
        check(form, tight(), "quicklist", &["a", "12", ""]);
    }
    let nodes = [text(&ziplist(&["a"])), text(&ziplist(&["12", ""]))].concat();
    let two = [&[kind::LIST_QUICKLIST, 2][..], &nodes].concat();
    check(&two, usual, "quicklist", &["a", "12", ""]);
    let kept = packed(kind::LIST_ZIPLIST, &ziplist(&["a", "12", ""]));
    check(&kept, usual, "quicklist", &["a", "12", ""]);
    let plain = [&[kind::LIST_QUICKLIST_2, 2, 1][..], b"\x01x\x02", &text(&listpack(&["y"]))].concat();
    check(&plain, usual, "quicklist", &["x", "y"]);
}

#[test]
fn sets_of_all_times() {
    let usual = ValueLimits::default();
    check(&many(kind::SET, 2, &[b"2", b"1"]), usual, "intset", &["1", "2"]);
    check(&many(kind::SET, 2, &[b"2", b"x"]), usual, "listpack", &["2", "x"]);
    check(&many(kind::SET, 2, &[b"2", b"1"]), tight(), "hashtable", &["1", "2"]);
    let ints = [&2u32.to_le_bytes()[..], &2u32.to_le_bytes(), &[1, 0, 2, 0]].concat();
    check(&packed(kind::SET_INTSET, &ints), usual, "intset", &["1", "2"]);
    check(&packed(kind::SET_INTSET, &ints), tight(), "hashtable", &["1", "2"]);
    let lp = listpack(&["a", "1"]);
    check(&packed(kind::SET_LISTPACK, &lp), usual, "listpack", &["a", "1"]);
    check(&packed(kind::SET_LISTPACK, &lp), tight(), "hashtable", &["1", "a"]);
    // More integers than an intset takes become a table at once, however many a listpack would take.
    let mut few_ints = usual;
    few_ints.set.ints = 1;
    check(&many(kind::SET, 2, &[b"2", b"1"]), few_ints, "hashtable", &["1", "2"]);
}

#[test]
fn hashes_of_all_times() {
    let zm = |pairs: &[(&[u8], &[u8])]| packed(kind::HASH_ZIPMAP, &zipmap::tests::make(pairs, 1));
    let forms = [
        many(kind::HASH, 2, &[b"f", b"1", b"g", b"x"]),
        zm(&[(b"f", b"1"), (b"g", b"x")]),
        packed(kind::HASH_ZIPLIST, &ziplist(&["f", "1", "g", "x"])),
        packed(kind::HASH_LISTPACK, &listpack(&["f", "1", "g", "x"])),
    ];
    for form in &forms {
        check(form, ValueLimits::default(), "listpack", &["f=1", "g=x"]);
        check(form, tight(), "hashtable", &["f=1", "g=x"]);
    }
    // Only where values are taken one by one their length counts.
    let mut short = ValueLimits::default();
    short.hash.value = 1;
    let long = ["f", "long"];
    check(&zm(&[(b"f", b"long")]), short, "hashtable", &["f=long"]);
    check(&many(kind::HASH, 1, &[b"f", b"long"]), short, "hashtable", &["f=long"]);
    check(&packed(kind::HASH_ZIPLIST, &ziplist(&long)), short, "listpack", &["f=long"]);
    check(&packed(kind::HASH_LISTPACK, &listpack(&long)), short, "listpack", &["f=long"]);
}

#[test]
fn sorted_sets_of_all_times() {
    let score = |s: &str| [&[s.len() as u8][..], s.as_bytes()].concat();
    let old = [&[kind::ZSET, 4][..], b"\x01a", &score("1.5"), b"\x01b\xff", b"\x01c\xfe", b"\x01d"];
    let old = [&old.concat()[..], &score("2x")].concat();
    let new = |pairs: &[(&str, f64)]| {
        let mut out = vec![kind::ZSET_2, pairs.len() as u8];
        for (m, s) in pairs {
            out.extend(text(m.as_bytes()));
            out.extend(s.to_le_bytes());
        }
        out
    };
    let order = ["b=-inf", "a=1.5", "d=2", "c=inf"];
    check(&old, ValueLimits::default(), "listpack", &order);
    check(&old, tight(), "skiplist", &order);
    check(
        &new(&[("c", f64::INFINITY), ("a", 1.5)]),
        ValueLimits::default(),
        "listpack",
        &["a=1.5", "c=inf"],
    );
    for form in [
        packed(kind::ZSET_ZIPLIST, &ziplist(&["a", "1", "b", "1.5"])),
        packed(kind::ZSET_LISTPACK, &listpack(&["a", "1", "b", "1.5"])),
    ] {
        check(&form, ValueLimits::default(), "listpack", &["a=1", "b=1.5"]);
        check(&form, tight(), "skiplist", &["a=1", "b=1.5"]);
    }
    refused(new(&[("a", f64::NAN)]), SHALLOW, "NAN");
    refused(new(&[("a", 1.0), ("a", 2.0)]), SHALLOW, "Duplicate zset fields");
    refused([&[kind::ZSET, 1][..], b"\x01a", &score("x")].concat(), SHALLOW, "no number");
    let no_score = packed(kind::ZSET_LISTPACK, &listpack(&["a", "x"]));
    refused(no_score, SHALLOW, "Zset listpack integrity check failed");
}

#[test]
fn what_comes_twice_is_refused() {
    refused(many(kind::SET, 2, &[b"1", b"1"]), SHALLOW, "Duplicate set members");
    refused(many(kind::SET, 2, &[b"a", b"a"]), SHALLOW, "Duplicate set members");
    refused(many(kind::HASH, 2, &[b"f", b"1", b"f", b"2"]), SHALLOW, "Duplicate hash fields");
    let twice = ["f", "1", "f", "2"];
    let zm: [(&[u8], &[u8]); 2] = [(b"f", b"1"), (b"f", b"2")];
    refused(packed(kind::HASH_ZIPMAP, &zipmap::tests::make(&zm, 0)), SHALLOW, "Zipmap integrity");
    refused(packed(kind::HASH_ZIPLIST, &ziplist(&twice)), SHALLOW, "Hash ziplist integrity");
    refused(packed(kind::ZSET_ZIPLIST, &ziplist(&twice)), SHALLOW, "Zset ziplist integrity");
    // Listpacks are looked at in depth when that is asked for, or when they become a table.
    for (t, what) in [
        (kind::HASH_LISTPACK, "Hash listpack"),
        (kind::ZSET_LISTPACK, "Zset listpack"),
        (kind::SET_LISTPACK, "Set listpack"),
    ] {
        let form = packed(t, &listpack(&["1", "1", "1", "1"]));
        refused(form.clone(), DEEP, &format!("{what} integrity"));
        assert!(load(form.clone(), ValueLimits::default(), SHALLOW).is_ok());
        let why = load(form, tight(), SHALLOW).expect_err("a table holds each once");
        assert_eq!(why, format!("{what} with dup elements"));
    }
}

#[test]
fn what_holds_nothing_is_told_apart() {
    let empty_ziplist = ziplist(&[]);
    let empty_listpack = listpack(&[]);
    let node = [&[kind::LIST_QUICKLIST, 1][..], &text(&empty_ziplist)].concat();
    for form in [
        vec![kind::LIST, 0],
        vec![kind::SET, 0],
        vec![kind::HASH, 0xc0],
        vec![kind::ZSET_2, 0],
        vec![kind::LIST_QUICKLIST_2, 0],
        node,
        packed(kind::LIST_ZIPLIST, &empty_ziplist),
        packed(kind::HASH_ZIPLIST, &empty_ziplist),
        packed(kind::ZSET_ZIPLIST, &empty_ziplist),
        packed(kind::HASH_LISTPACK, &empty_listpack),
        packed(kind::ZSET_LISTPACK, &empty_listpack),
        packed(kind::SET_LISTPACK, &empty_listpack),
    ] {
        refused(form.clone(), SHALLOW, "an empty value");
        let file = [b"REDIS0004", &form[..1], b"\x01k", &form[1..], b"\xff"].concat();
        let mut l =
            Loader::new(Memory::new(&file), ValueLimits::default(), SHALLOW).expect("a good head");
        let Ok(Some(RdbItem::Empty { name })) = l.next_item() else { panic!("not usage: {form:?}") };
        assert_eq!(name, b"k");
        assert!(l.next_item().is_ok_and(|end| end.is_none()), "before version 5 there is no checksum");
    }
    refused(packed(kind::SET_INTSET, &[2, 0, 0, 0, 0, 0, 0, 0]), SHALLOW, "Intset integrity");
    refused(packed(kind::HASH_ZIPMAP, b"\0\xff"), SHALLOW, "Zipmap integrity");
    refused([&[kind::LIST_QUICKLIST_2, 1, 2][..], &[0]].concat(), SHALLOW, "without bytes");
}

#[test]
fn footers_are_looked_at() {
    let good = footed(many(kind::LIST, 1, &[b"a"]));
    let refusal = |p: &[u8], checks| restore(p, ValueLimits::default(), checks, &mut 0).err();
    assert_eq!(refusal(&good, SHALLOW), None);
    for n in 0..10 {
        assert_eq!(refusal(&good[..n], SHALLOW), Some(Refusal::Footer), "{n} bytes");
    }
    let mut bad = good.clone();
    *bad.last_mut().expect("it has a footer") ^= 1;
    assert_eq!(refusal(&bad, SHALLOW), Some(Refusal::Footer));
    assert_eq!(refusal(&bad, Checks { checksum: false, deep: false }), None);
    let mut late = good;
    let at = late.len() - 10;
    late[at] += 1;
    assert_eq!(refusal(&late, Checks { checksum: false, deep: false }), Some(Refusal::Footer));
}

fn next<'l>(l: &'l mut Loader<Memory<'_>>) -> Option<RdbItem<'l>> {
    l.next_item().expect("a good file")
}

#[test]
fn fields_opcodes_and_modules() {
    let mut file = b"REDIS0011\xfa\x04name\xc0\x07\xfe\x03\xfb\x02\x01".to_vec();
    file.extend(b"\xfd\x05\0\0\0\xf8\x09\0\x01k\x01v");
    file.extend(b"\xfc\x06\0\0\0\0\0\0\0\xf9\x2a\0\x01l\xc0\x01\xf5\x04code\xff");
    let crc = crc64::update(0, &file);
    file.extend(crc.to_le_bytes());
    let mut l = Loader::new(Memory::new(&file), ValueLimits::default(), SHALLOW).expect("a good head");
    assert!(
        matches!(next(&mut l), Some(RdbItem::Aux { name, value }) if &*name == b"name" && &*value == b"7")
    );
    assert!(matches!(next(&mut l), Some(RdbItem::SelectDb(3))));
    assert!(matches!(next(&mut l), Some(RdbItem::Resize(2, 1))));
    let Some(RdbItem::Key { when: Some(5_000), usage, .. }) = next(&mut l) else {
        panic!("no key with a time")
    };
    assert_eq!(usage, Usage { idle_seconds: Some(9), freq: None });
    let Some(RdbItem::Key { when: Some(6), usage, value: Loaded::Bytes(one), .. }) = next(&mut l) else {
        panic!("no second key")
    };
    assert_eq!((usage.freq, &*one), (Some(42), &b"1"[..]));
    assert!(matches!(next(&mut l), Some(RdbItem::Function(code)) if &*code == b"code"));
    assert!(next(&mut l).is_none());
    let broken = |body: &[u8]| {
        let file = [b"REDIS0011", body].concat();
        let mut l =
            Loader::new(Memory::new(&file), ValueLimits::default(), SHALLOW).expect("a good head");
        l.next_item().err().expect("it cannot be loaded").to_string()
    };
    assert!(broken(b"\xf6").contains("Pre-release function format"));
    // Nine letters: "A" is 0.
    assert!(broken(b"\xf7\x81\0\0\0\0\0\0\x04\x01").ends_with("no matching module 'AAAAAAAAB'"));
    assert!(broken(b"\x07\x01k\x81\0\0\0\0\0\0\x08\0").ends_with("no matching module type 'AAAAAAAAC'"));
    assert!(broken(b"\x08\x01k").contains("Unknown RDB encoding type 8"));
    assert!(Loader::new(Memory::new(b"REDIS0012"), ValueLimits::default(), SHALLOW).is_err());
    assert!(Loader::new(Memory::new(b"RODIS0011"), ValueLimits::default(), SHALLOW).is_err());
}

#[test]
fn what_is_saved_is_loaded_again() {
    let long = vec![b'q'; 300];
    for (t, encoding, bytes) in [
        (ty::STRING, enc::RAW, &long[..]),
        (ty::STRING, enc::EMBSTR, b"short"),
        (ty::STRING, enc::RAW, b""),
    ] {
        for compress in [false, true] {
            let mut dict = Dict::new();
            let place = dict.insert(0, b"k", Content::Inline(encoding, bytes), None, 0);
            let e = dict.at(place).expect("just put there");
            assert_eq!(e.ty(), t);
            let p = save::payload(e, compress).expect("memory takes all");
            let Ok(Loaded::Bytes(b)) = restore(&p, ValueLimits::default(), DEEP, &mut 0) else {
                panic!("bad")
            };
            assert_eq!(&*b, bytes);
        }
    }
    let mut n = 0;
    let hash = packed(kind::HASH_LISTPACK, &listpack(&["a", "1"]));
    let Ok(Loaded::Value(v)) = restore(&footed(hash), ValueLimits::default(), DEEP, &mut n) else {
        panic!("bad")
    };
    assert_eq!(n, 1, "one listpack was looked at in depth");
    let mut d = Digest::default();
    v.digest(&mut d);
    assert_ne!(d.0, Digest::default().0);
}

// ---- sources -----------------------------------------------------------------------------------

/// A snapshot of many small keys, a long text and a long list.
fn snapshot() -> Vec<u8> {
    let mut ks = Keyspace::new(2);
    let mut put = |db: usize, name: &str, value: New<'_>, ttl| {
        let _ = ks.put(db, Key::new(name.as_bytes()), value, ttl, None);
    };
    for n in 0..500 {
        put(0, &format!("key:{n}"), New::Bytes(format!("value {n}").as_bytes()), Ttl::Clear);
        put(1, &format!("key:{n}"), New::Int(n * 1000), Ttl::At(1 << 41));
    }
    put(
        0,
        "long",
        New::Bytes(&(0..600_000u64).map(|n| ((n * n) >> 7) as u8).collect::<Vec<_>>()),
        Ttl::Clear,
    );
    let mut list = Quicklist::new(-2, 0);
    (0..3000).for_each(|n| list.push_back(format!("element {n}").as_bytes()));
    put(0, "list", New::Value(List::Quick(Box::new(list)).wrap()), Ttl::Clear);
    let aux = vec![("redis-ver", "7.2.6".to_string())];
    let options =
        save::SaveOptions { compress: true, checksum: true, usage: save::UsageSaved::Freq, aux };
    let mut bytes = Vec::new();
    save::save(&ks, &[], &options, &mut bytes, |_| Ok(())).expect("memory takes it");
    bytes
}

fn told(item: &RdbItem<'_>) -> String {
    match item {
        RdbItem::SelectDb(n) => format!("db {n}"),
        RdbItem::Resize(keys, ttls) => format!("{keys} {ttls}"),
        RdbItem::Aux { name, value } => format!("{name:?} {value:?}"),
        RdbItem::Function(code) => format!("{code:?}"),
        RdbItem::Empty { name } => format!("empty {name:?}"),
        RdbItem::Key { name, when, usage, value } => {
            let mut d = Digest::default();
            let bytes = match value {
                Loaded::Value(Value::Str(_, s)) => crc64::update(1, s),
                Loaded::Value(v) => {
                    v.digest(&mut d);
                    0
                }
                Loaded::Bytes(b) => crc64::update(1, b),
            };
            format!("{name:?} {when:?} {usage:?} {bytes} {:?}", d.0)
        }
    }
}

fn items<S: Source>(mut l: Loader<S>, mut more: impl FnMut(&mut S)) -> (Vec<String>, u64) {
    let mut all = Vec::new();
    loop {
        match l.next_item() {
            Ok(Some(item)) => all.push(told(&item)),
            Ok(None) => return (all, l.at()),
            Err(Error::NeedMore) => more(l.source()),
            Err(why) => panic!("{why}"),
        }
    }
}

#[test]
fn every_source_gives_the_same_items() {
    let bytes = snapshot();
    let len = bytes.len() as u64;
    let limits = ValueLimits::default();
    let loader = |s| Loader::new(s, limits, SHALLOW).expect("a good head");
    let (all, end) = items(loader(Memory::new(&bytes)), |_| panic!("all is at hand"));
    assert!(all.len() > 1000 && end == len);
    let file = Loader::new(Window::new(&bytes[..], len, true), limits, SHALLOW).expect("a good head");
    assert!(items(file, |_| panic!("a file is waited for")) == (all.clone(), len));
    for piece in [1, 7, 1000, 100_000] {
        let mut fed = Fed::default();
        let (head, rest) = bytes.split_at(9);
        fed.feed(head);
        let mut pieces = rest.chunks(piece);
        let got =
            items(Loader::new(fed, limits, SHALLOW).expect("a good head"), |s| match pieces.next() {
                Some(piece) => s.feed(piece),
                None => s.end(),
            });
        assert!(got == (all.clone(), len), "in pieces of {piece} bytes");
    }
}

#[test]
fn a_source_that_ends_or_fails_inside_is_an_error() {
    let bytes = snapshot();
    for cut in (9..2000).chain([bytes.len() - 300_000, bytes.len() - 1]) {
        let mut fed = Fed::default();
        fed.feed(&bytes[..cut]);
        let mut l = Loader::new(fed, ValueLimits::default(), SHALLOW).expect("a good head");
        let end = loop {
            match l.next_item() {
                Ok(Some(_)) => {}
                Err(Error::NeedMore) => l.source().end(),
                end => break end.map(|item| item.is_none()),
            }
        };
        assert!(matches!(end, Err(Error::Short)), "cut at {cut}: {end:?}");
    }
    let mut wrong = bytes.clone();
    let at = wrong.len() - 20;
    wrong[at] ^= 1;
    let mut l =
        Loader::new(Window::new(&wrong[..], wrong.len() as u64, true), ValueLimits::default(), SHALLOW)
            .expect("a good head");
    let end = loop {
        match l.next_item() {
            Ok(Some(_)) => {}
            end => break end.map(|item| item.is_none()),
        }
    };
    assert!(end.is_err(), "the checksum is kept across windows");
}

#[test]
fn a_count_that_no_bytes_stand_behind_reserves_no_memory() {
    for t in [kind::SET, kind::HASH, kind::ZSET_2, kind::LIST] {
        let form = [&[t, 0x81][..], &(1u64 << 60).to_be_bytes(), &text(b"a"), &text(b"b")].concat();
        // Whatever the bytes behind the two elements are taken for.
        refused(form, SHALLOW, "");
    }
    let long = [&[kind::STRING, 0x81][..], &(1u64 << 60).to_be_bytes(), b"abc"].concat();
    refused(long, SHALLOW, "Unexpected EOF");
}
