//! Parsers of outside bytes against random input. Each target is a function of a generator; a run is a
//! number of seeds. `make test` runs the same few seeds every time, `make fuzz` fresh ones for a while:
//!
//! ```text
//!   FUZZ_SECONDS=600   each target, from a seed out of the kernel; without it: seeds 0..RUNS
//!   FUZZ_SEED=123      begin there; a failing run prints the line that repeats it
//! ```
//!
//! A target asserts more than "no panic": the parser agrees with a naive twin, and gives the same
//! however the bytes are cut into reads. To add one: a function of `&mut Rng`, and a test that hands it
//! to `fuzz`.

use oxidis::algo::quote::split_args;
use oxidis::algo::rng::Rng;
use oxidis::keyspace::Keyspace;
use oxidis::keyspace::store::{New, Ttl};
use oxidis::object::list::ListEnd;
use oxidis::object::stream::Stream;
use oxidis::object::stream::entries::{Keep, Trim};
use oxidis::object::stream::group::Group;
use oxidis::object::stream::id::{Id, Wish};
use oxidis::object::value::{Value, ValueKind, Variant};
use oxidis::object::zset::Rules;
use oxidis::object::{self, digest::Digest};
use oxidis::persist::rdb::load::{self, Checks, Loaded, Loader, RdbItem};
use oxidis::persist::rdb::save;
use oxidis::persist::rdb::source::Memory;
use oxidis::proto::args::Key;
use oxidis::proto::bus::{self, Body, Entries, Ext, Exts, Flags, Gossip, Header};
use oxidis::proto::parse::{ParseLimits, ParseState, Parsed, Span};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

const RUNS: u64 = 3_000;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} wants a number, not {text:?}")))
}

fn fuzz(name: &str, target: fn(&mut Rng)) {
    let seconds = number("FUZZ_SECONDS");
    let first =
        number("FUZZ_SEED").unwrap_or_else(|| seconds.map_or(0, |_| Rng::from_os().next_u64() >> 1));
    let end = seconds.map(|s| Instant::now() + Duration::from_secs(s));
    let mut seed = first;
    while end.map_or(seed - first < RUNS, |end| Instant::now() < end) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&mut Rng::seeded(seed)))) {
            eprintln!("to repeat: FUZZ_SEED={seed} cargo test --profile fast --test fuzz {name}");
            resume_unwind(panic);
        }
        seed += 1;
    }
    assert!(seed > first, "at least one run");
    println!("{name}: {} runs from seed {first}", seed - first);
}

// ---- the request parser --------------------------------------------------------------------------

/// Requests in order, and the text of the error that ended them.
type Requests = (Vec<Vec<Vec<u8>>>, Option<String>);

/// Reads the whole stream at once, as plainly as the protocol can be said.
fn naive_requests(mut rest: &[u8], limits: &ParseLimits) -> Requests {
    let mut requests = Vec::new();
    while !rest.is_empty() {
        match naive_request(rest, limits) {
            Err(text) => return (requests, Some(text)),
            Ok(None) => break,
            Ok(Some((words, used))) => {
                requests.extend(words);
                rest = &rest[used..];
            }
        }
    }
    (requests, None)
}

/// One request and its length; no request inside for an empty multibulk. None: not complete.
type Request = Option<(Option<Vec<Vec<u8>>>, usize)>;

fn naive_request(bytes: &[u8], limits: &ParseLimits) -> Result<Request, String> {
    if bytes[0] != b'*' {
        let Some(lf) = naive_end(bytes, b'\n') else { return Ok(None) };
        let line = bytes[..lf].strip_suffix(b"\r").unwrap_or(&bytes[..lf]);
        let words = split_args(line).ok_or("unbalanced quotes in request")?;
        return Ok(Some((Some(words), lf + 1)));
    }
    let Some((count, mut at)) = naive_line(bytes) else { return Ok(None) };
    let count = count.filter(|n| *n <= i64::from(i32::MAX)).ok_or("invalid multibulk length")?;
    if count > 10 && !limits.authenticated {
        return Err("unauthenticated multibulk length".into());
    }
    if count <= 0 {
        return Ok(Some((None, at)));
    }
    let mut words = Vec::new();
    for _ in 0..count {
        let Some((len, used)) = naive_line(&bytes[at..]) else { return Ok(None) };
        if bytes[at] != b'$' {
            return Err(format!("expected '$', got '{}'", bytes[at] as char));
        }
        let len = len.filter(|n| (0..=limits.max_bulk).contains(n)).ok_or("invalid bulk length")?;
        if len > 16384 && !limits.authenticated {
            return Err("unauthenticated bulk length".into());
        }
        at += used;
        let end = at + len as usize;
        if bytes.len() < end + 2 {
            return Ok(None);
        }
        words.push(bytes[at..end].to_vec());
        at = end + 2;
    }
    Ok(Some((Some(words), at)))
}

/// Where a line ends; a zero byte hides the end.
fn naive_end(bytes: &[u8], end: u8) -> Option<usize> {
    let shown = bytes.split(|&b| b == 0).next().unwrap_or(b"");
    shown.iter().position(|&b| b == end)
}

/// The number after the first byte of a line, and the length of the line with CR and the byte behind it.
fn naive_line(bytes: &[u8]) -> Option<(Option<i64>, usize)> {
    let cr = naive_end(bytes, b'\r')?;
    if bytes.len() < cr + 2 {
        return None;
    }
    let digits = std::str::from_utf8(bytes.get(1..cr).unwrap_or(&[])).unwrap_or("");
    let number = digits.parse::<i64>().ok().filter(|n| n.to_string() == digits);
    Some((number, cr + 2))
}

/// Feeds the stream in reads of random size, as the reactor would, and takes complete requests off.
fn requests_in_reads(rng: &mut Rng, stream: &[u8], limits: &ParseLimits) -> Requests {
    let (mut state, mut buf, mut requests) = (ParseState::default(), Vec::new(), Vec::new());
    let mut spans: Vec<Span> = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let most = if rng.index(2) == 0 { 4 } else { rest.len() };
        let (read, later) = rest.split_at(1 + rng.index(most.min(rest.len())));
        rest = later;
        buf.extend_from_slice(read);
        loop {
            spans.clear();
            let used = match state.next(&buf, limits, &mut spans) {
                Parsed::Multibulk { len } => {
                    requests.push(spans.iter().map(|s| buf[s.off..s.off + s.len].to_vec()).collect());
                    len
                }
                Parsed::Inline { len, words } => {
                    requests.push(words);
                    len
                }
                Parsed::Empty { len } => len,
                Parsed::Partial => break,
                Parsed::Broken(text) => return (requests, Some(text)),
            };
            assert!((1..=buf.len()).contains(&used), "a request has bytes, and only such that came");
            buf.drain(..used);
            assert!(!state.is_partial(), "nothing is begun right behind a request");
        }
    }
    (requests, None)
}

fn random_requests(rng: &mut Rng) -> Vec<u8> {
    const PIECES: &[&[u8]] =
        &[b"*", b"$", b"\r\n", b"\r", b"\n", b"0", b"-1", b"16385", b" ", b"\"", b"'", b"\\x4", b"\0"];
    let mut stream = Vec::new();
    for _ in 0..rng.index(5) {
        match rng.index(8) {
            0 => stream.extend_from_slice(b"set k 'a b' \"\\x41\\n\"\r\n"),
            1 => stream.extend_from_slice(format!("*{}\r\n", rng.index(3)).as_bytes()),
            _ => push_multibulk(rng, &mut stream),
        }
    }
    // Most streams are hurt in a few places: the interesting bytes are those close to valid ones.
    for _ in 0..rng.index(4) {
        let at = rng.index(stream.len() + 1);
        match rng.index(3) {
            0 => stream.truncate(at),
            1 if at < stream.len() => stream[at] = rng.next_u32() as u8,
            _ => drop(stream.splice(at..at, PIECES[rng.index(PIECES.len())].iter().copied())),
        }
    }
    stream
}

fn push_multibulk(rng: &mut Rng, stream: &mut Vec<u8>) {
    // Small ones mostly; 10 arguments and 16,384 bytes are what is open before authentication.
    let count = if rng.index(20) == 0 { 10 + rng.index(2) } else { 1 + rng.index(4) };
    stream.extend_from_slice(format!("*{count}\r\n").as_bytes());
    for _ in 0..count {
        let len = match rng.index(100) {
            0 => 16_384 + rng.index(2),
            1..5 => rng.index(1000),
            _ => rng.index(12),
        };
        let mut word = vec![0; len];
        rng.fill(&mut word);
        stream.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        stream.extend_from_slice(&word);
        stream.extend_from_slice(b"\r\n");
    }
}

fn request_parser(rng: &mut Rng) {
    let limits = ParseLimits { max_bulk: 512 << 20, authenticated: rng.index(4) > 0 };
    let stream = random_requests(rng);
    let want = naive_requests(&stream, &limits);
    for _ in 0..3 {
        let got = requests_in_reads(rng, &stream, &limits);
        assert_eq!(got, want, "stream {:?}", stream.escape_ascii().to_string());
    }
}

#[test]
fn fuzz_request_parser() {
    fuzz("fuzz_request_parser", request_parser);
}

#[test]
fn the_twin_sees_requests_and_errors() {
    let limits = ParseLimits { max_bulk: 512 << 20, authenticated: false };
    let (requests, error) = naive_requests(b"*1\r\n$4\r\nPING\r\nget k\n*0\r\n*1\r\n$1\r\nab", &limits);
    assert_eq!(requests, [vec![b"PING".to_vec()], vec![b"get".to_vec(), b"k".to_vec()]]);
    assert_eq!(error, None);
    assert_eq!(
        naive_requests(b"*11\r\n", &limits).1.as_deref(),
        Some("unauthenticated multibulk length")
    );
    assert_eq!(naive_requests(b"*1\r\n$01\r\n", &limits).1.as_deref(), Some("invalid bulk length"));
}

// ---- payloads and snapshots ----------------------------------------------------------------------

/// Values in forms that are written no more, and a stream with a group, as payloads without their footer;
/// the forms are explained in `persist::rdb`.
const FORMS: &[&[u8]] = &[
    b"\x01\x03\x01a\xc0\x05\x00",
    b"\x03\x03\x01a\x031.5\x01b\xff\x01c\xfe",
    b"\x09\x0e\x02\x01f\x01\x02v??\x01g\x01\x00w\xff",
    b"\x0a\x13\x13\0\0\0\x0e\0\0\0\x02\0\0\x02ab\x04\xc0\x2c\x01\xff",
    b"\x0c\x15\x15\0\0\0\x12\0\0\0\x04\0\0\x01a\x03\xf2\x02\x01b\x03\xf3\xff",
    b"\x0d\x15\x15\0\0\0\x12\0\0\0\x04\0\0\x01a\x03\xf2\x02\x01b\x03\xf3\xff",
    b"\x0e\x01\x13\x13\0\0\0\x0e\0\0\0\x02\0\0\x02ab\x04\xc0\x2c\x01\xff",
    b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x09\0",
    b"\x05\x02\x01a\0\0\0\0\0\0\xf8\x3f\x01b\0\0\0\0\0\0\0\x40",
    b"\x15\x01\x10\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x01@AA\x00\x00\
      \x00\x19\x00\x02\x01\x01\x01\x02\x01\x81f\x02\x81g\x02\x00\x01\x02\x01\x00\x01\x00\x01\
      \x01\x01\x83two\x04\x05\x01\x03\x01\x00\x01\x01\x01\x02\x01\x81x\x02\x05\x01\x00\x01\x01\
      \x01\xdf\xff\x02\x01\x01\x81h\x02\x02\x01\x06\x01\xff\x02\x06\x00\x05\x01\x05\x02\x03\
      \x01\x01g\x05\x01\x81\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00\x00\x00\x00\x00\x00\
      \x05\x00\x00\x00\x00\x00\x00\x00\x015);\xfd\xa1\x01\x00\x00\x01\x01\x01c5);\xfd\xa1\x01\
      \x00\x005);\xfd\xa1\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\
      \x00\x00\x01",
    b"\x04\x02\x01f\xc0\x07\xc3\x09\x40\x46\x01xx\xe0\x39\0\x01xx\x01v",
];

/// Limits at which values change their form early, or the usual ones.
fn some_limits(rng: &mut Rng) -> object::ValueLimits {
    let mut l = object::ValueLimits::default();
    if rng.index(2) == 0 {
        let most = [0, 1, 3, 8][rng.index(4)];
        (l.hash.entries, l.zset.entries, l.set.entries, l.set.ints) = (most, most, most, most);
        (l.hash.value, l.zset.value, l.set.value) = (4, 4, 4);
        l.list.fill = [-1, 1, 3][rng.index(3)];
        l.list.depth = rng.index(2) as i32;
    }
    l
}

fn some_text(rng: &mut Rng) -> Vec<u8> {
    match rng.index(4) {
        0 => rng.index(20).to_string().into_bytes(),
        1 => (rng.next_u64().cast_signed() >> rng.index(64)).to_string().into_bytes(),
        2 => vec![b'a' + rng.index(4) as u8; rng.index(5)],
        _ => vec![b'a' + rng.index(4) as u8; rng.index(100)],
    }
}

/// A value of a random type and size.
fn some_value(rng: &mut Rng, limits: &object::ValueLimits) -> Value {
    use oxidis::object::{hash::Hash, list::List, set::Set, zset::Zset};
    let n = 1 + rng.index(12);
    match rng.index(5) {
        0 => Value::Str(oxidis::ds::entry::enc::RAW, oxidis::ds::sds::Sds::from_slice(&some_text(rng))),
        1 => {
            let mut l = List::default();
            for _ in 0..n {
                let text = some_text(rng);
                l.grow_for(1, text.len(), &limits.list);
                l.push(ListEnd::Tail, &text);
            }
            l.wrap()
        }
        2 => {
            let mut s = Set::for_member(&some_text(rng), n, &limits.set);
            (0..n).for_each(|_| _ = s.add(&some_text(rng), &limits.set));
            s.wrap()
        }
        3 => {
            let mut h = Hash::default();
            (0..n).for_each(|_| _ = h.set(&some_text(rng), &some_text(rng), &limits.hash));
            h.wrap()
        }
        _ => {
            let mut z = Zset::default();
            for _ in 0..n {
                let score = [0.5, 3.0, -1e300, f64::INFINITY, 7.0][rng.index(5)];
                z.add(&some_text(rng), score, Rules::default(), &limits.zset);
            }
            z.wrap()
        }
    }
}

/// A dataset of a few keys, some with a time.
fn some_keys(rng: &mut Rng) -> Keyspace {
    let mut ks = Keyspace::new(2);
    for i in 0..1 + rng.index(4) {
        let limits = some_limits(rng);
        let value = some_value(rng, &limits);
        let ttl = if rng.index(2) == 0 { Ttl::Clear } else { Ttl::At(rng.next_u64().cast_signed()) };
        let (db, name) = (rng.index(2), format!("key {i}"));
        let _ = ks.set(db, Key::new(name.as_bytes()), New::Value(value), ttl, None);
    }
    ks
}

/// Changes a few bytes.
fn hurt(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.index(4) {
        let at = rng.index(bytes.len().max(1));
        match rng.index(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at.min(bytes.len()), rng.next_u32() as u8),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            // Lengths and types are small, or have all bits set.
            3 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add([1, 255, 128][rng.index(3)]),
            _ if at < bytes.len() => bytes[at] = rng.next_u32() as u8,
            _ => {}
        }
    }
}

/// Whatever a value was read from, using it does not panic, and it comes back as what it is.
fn use_value(rng: &mut Rng, mut v: Value, limits: &object::ValueLimits, read_from: usize) {
    // A byte may stand for a hundred (compression), each element needs its share of a table.
    let bytes = v.heap_bytes();
    assert!(bytes < 20_000 + 1_000 * read_from, "{bytes} bytes out of {read_from}");
    assert!(!v.is_empty());
    let mut text = || some_text(&mut Rng::seeded(rng.next_u64()));
    let (a, b) = (text(), text());
    match &mut v {
        Value::List(l) => {
            l.grow_for(1, a.len(), &limits.list);
            l.push(ListEnd::Tail, &a);
            l.insert(&b, &a, true);
            l.pop(ListEnd::Head, |e| e.to_vec()).expect("there are two at least");
            l.for_range(0, l.len(), true, &mut |e: oxidis::ds::listpack::Element<'_>| {
                assert!(e.to_vec().len() <= 1 << 20)
            });
        }
        Value::Set(s) => {
            s.add(&a, &limits.set);
            assert!(s.contains(&a));
            s.remove(&b);
            s.random(rng).map(|e| e.to_vec());
        }
        Value::Hash(h) => {
            h.set(&a, &b, &limits.hash);
            assert!(h.get(&a).is_some_and(|v| v.is_text(&b)));
            h.remove(&b);
        }
        Value::Zset(z) => {
            z.add(&a, 2.0, Rules::default(), &limits.zset);
            assert_eq!(z.score(&a), Some(2.0));
            z.walk(0..z.len(), true, |m, _| _ = m.with_text(|m| z.rank(m)));
            z.delete_ranks(0..1);
        }
        _ => {}
    }
    if !v.is_empty() {
        come_back(v, limits);
    }
}

/// Dumped and restored, a value has the same content.
fn come_back(v: Value, limits: &object::ValueLimits) {
    let mut ks = Keyspace::new(1);
    let key = Key::new(b"k");
    let _ = ks.set(0, key, New::Value(v), Ttl::Clear, None);
    let e = ks.peek(0, key).expect("just put");
    let content = |v: &Value| {
        let mut d = Digest::default();
        v.digest(&mut d);
        d.0
    };
    let payload = save::payload(e, true).expect("memory takes all");
    let checks = Checks { checksum: true, deep: false };
    match load::restore(&payload, *limits, checks, &mut 0) {
        Ok(Loaded::Value(again)) => {
            assert_eq!(content(&again), content(&Value::lent(e)));
            drop(again);
        }
        Ok(Loaded::Bytes(b)) => {
            let old = oxidis::object::value::StrRef::of(e).expect("a string");
            assert_eq!(b.len(), old.len());
        }
        // Members that an unchecked payload had twice are found out when they are dumped as a table.
        Err(why) => assert!(format!("{why:?}").contains("dup elements"), "{why:?}"),
    }
}

fn payloads(rng: &mut Rng) {
    let limits = some_limits(rng);
    let mut payload = match rng.index(3) {
        0 => FORMS[rng.index(FORMS.len())].to_vec(),
        _ => {
            let made_with = some_limits(rng);
            let value = some_value(rng, &made_with);
            let mut ks = Keyspace::new(1);
            let _ = ks.set(0, Key::new(b"k"), New::Value(value), Ttl::Clear, None);
            let e = ks.peek(0, Key::new(b"k")).expect("just put");
            let mut payload = save::payload(e, rng.index(2) == 0).expect("memory takes all");
            payload.truncate(payload.len() - 10);
            payload
        }
    };
    let whole = rng.index(8) == 0;
    if !whole {
        hurt(rng, &mut payload);
    }
    payload.extend([11, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let checks = Checks { checksum: false, deep: rng.index(2) == 0 };
    match load::restore(&payload, limits, checks, &mut 0) {
        Ok(Loaded::Value(v)) => use_value(rng, v, &limits, payload.len()),
        Ok(Loaded::Bytes(b)) => assert!(b.len() <= 300 * payload.len()),
        Err(why) => assert!(!whole, "{why:?} in {:?}", payload.escape_ascii().to_string()),
    }
}

fn snapshots(rng: &mut Rng) {
    let ks = some_keys(rng);
    let options = save::SaveOptions {
        compress: rng.index(2) == 0,
        checksum: rng.index(2) == 0,
        usage: [save::UsageSaved::Nothing, save::UsageSaved::Idle, save::UsageSaved::Freq][rng.index(3)],
        aux: vec![("redis-ver", "7.2.6".into())],
    };
    let mut file = Vec::new();
    save::save(&ks, &[b"code"], &options, &mut file, |_| Ok(())).expect("memory takes all");
    if rng.index(2) == 0 {
        // A key of another form before the end.
        let old = FORMS[rng.index(FORMS.len())];
        let end = file.len() - 9;
        let key = [&old[..1], b"\x03old", &old[1..]].concat();
        file.splice(end..end, key);
    }
    let before = file.clone();
    hurt(rng, &mut file);
    let limits = some_limits(rng);
    let checks = Checks { checksum: file == before && rng.index(2) == 0, deep: rng.index(2) == 0 };
    let Ok(mut loader) = Loader::new(Memory::new(&file), limits, checks) else { return };
    let mut items = 0;
    while let Ok(Some(item)) = loader.next_item() {
        items += 1;
        assert!(items <= file.len(), "each item has bytes of its own");
        if let RdbItem::Key { value: Loaded::Value(v), .. } = item {
            use_value(rng, v, &limits, file.len());
        }
    }
    assert!(loader.at() <= file.len() as u64);
}

#[test]
fn fuzz_payloads() {
    fuzz("fuzz_payloads", payloads);
}

#[test]
fn fuzz_snapshots() {
    fuzz("fuzz_snapshots", snapshots);
}

// ---- streams out of payloads ---------------------------------------------------------------------

const LIMITS: object::stream::entries::StreamLimits =
    object::stream::entries::StreamLimits { bytes: 200, entries: 5 };

fn small_id(rng: &mut Rng) -> Id {
    Id::new(rng.below(12), rng.below(3))
}

fn random_stream(rng: &mut Rng) -> Stream {
    let mut s = Stream::default();
    for _ in 0..rng.index(40) {
        let words: [&[u8]; 5] = [b"f", b"17", b"", b"-70000", &[b'x'; 30]];
        let pairs: Vec<[&[u8]; 2]> = (0..1 + rng.index(3))
            .map(|_| [words[rng.index(2)], words[rng.index(words.len())]])
            .collect();
        let wish = Wish::Exact(Id::new(s.log.last_id.ms + rng.below(2), s.log.last_id.seq + 1));
        let id = s.log.next_id(wish, 0).expect("above all that were");
        s.log.append(id, &pairs, LIMITS).expect("it fits");
        if rng.index(4) == 0 {
            s.log.delete(&[small_id(rng)]);
        }
    }
    for name in [&b"g"[..], b"h"].iter().take(rng.index(3)) {
        let mut g = Group::new(small_id(rng), rng.below(5) as i64 - 1);
        for consumer in [&b"alice"[..], b"bob"].iter().take(rng.index(3)) {
            let who = g.add_consumer(consumer, rng.below(100) as i64).expect("a new name");
            (0..rng.index(4)).for_each(|_| g.assign(small_id(rng), who, 7, 1));
        }
        s.groups.add(name, g);
    }
    s
}

fn dumped(s: &Stream) -> Vec<u8> {
    let mut ks = Keyspace::new(1);
    let key = Key::new(b"s");
    let _ = ks.put(0, key, New::Value(s.clone().wrap()), Ttl::Clear, None);
    let entry = ks.peek(0, key).expect("it was just put there");
    save::payload(entry, true).expect("memory takes it all")
}

fn restored(payload: &[u8]) -> Option<Stream> {
    let checks = Checks { checksum: false, deep: true };
    match load::restore(payload, Default::default(), checks, &mut 0) {
        Ok(Loaded::Value(Value::Stream(s))) => Some(s),
        _ => None,
    }
}

/// Whatever was let in can be walked through, changed, and saved again.
fn exercise(rng: &mut Rng, s: &mut Stream) {
    let forth: Vec<Id> = s.log.range(Id::MIN, Id::MAX).map(|e| e.id).collect();
    let mut back: Vec<Id> = s.log.range_back(Id::MIN, Id::MAX).map(|e| e.id).collect();
    back.reverse();
    assert_eq!(forth, back);
    let pairs: usize = s.log.range(Id::MIN, Id::MAX).map(|e| e.pairs().count()).sum();
    assert!(pairs >= forth.len() || forth.is_empty() || pairs == 0);
    let mut d = Digest::default();
    s.digest(&mut d);
    assert!(s.heap_bytes() > 0 && s.effort() > 0);
    s.groups.for_each(|_, g| {
        let behind = s.log.lag(g);
        assert!(behind.is_some() || s.log.length > 0 || s.log.entries_added > 0);
    });
    for _ in 0..6 {
        match rng.index(3) {
            0 => drop(s.log.delete(&[small_id(rng), *forth.first().unwrap_or(&Id::MIN)])),
            1 => {
                let keep = if rng.index(2) == 0 {
                    Keep::Newest(rng.below(6))
                } else {
                    Keep::From(small_id(rng))
                };
                s.log.trim(&Trim { keep, whole_blocks: rng.index(2) == 0, limit: rng.below(4) });
            }
            _ => {
                if let Ok(id) = s.log.next_id(Wish::Auto, 5) {
                    s.log.append(id, &[[b"f", b"v"]], LIMITS).expect("it fits");
                }
            }
        }
    }
    dumped(s);
}

fn stream_payload(rng: &mut Rng) {
    let s = random_stream(rng);
    let mut payload = dumped(&s);
    let mut back = restored(&payload).expect("what is saved is read");
    assert_eq!(dumped(&back), payload);
    exercise(rng, &mut back);
    let body = payload.len() - 10;
    for _ in 0..1 + rng.index(4) {
        let at = 1 + rng.index(body - 1);
        match rng.index(4) {
            0 => payload[at] = rng.next_u32() as u8,
            1 => payload[at] ^= 1 << rng.index(8),
            2 => payload.insert(at, rng.next_u32() as u8),
            _ => payload[0] = [15, 19, 21][rng.index(3)],
        }
    }
    if let Some(mut s) = restored(&payload) {
        exercise(rng, &mut s);
    }
}

#[test]
fn fuzz_stream_payload() {
    fuzz("fuzz_stream_payload", stream_payload);
}

// ---- the cluster bus -----------------------------------------------------------------------------

fn small_name(rng: &mut Rng) -> bus::Name {
    [b"09azb"[rng.index(5)]; 40]
}

fn some_gossip(rng: &mut Rng) -> (Vec<u8>, Vec<u8>, u16) {
    let (mut entries, mut exts, count) = (Vec::new(), Vec::new(), rng.index(4) as u16);
    for _ in 0..rng.index(4) {
        let (name, ip) =
            (small_name(rng), [None, "1.2.3.4".parse().ok(), "::1".parse().ok()][rng.index(3)]);
        let (ping_sent, pong_received) = (rng.next_u32(), rng.next_u32());
        let flags = Flags(rng.next_u32() as u16).only(Flags::GOSSIP);
        let (port, bus_port, other_port) = (1, 2, 3);
        let gossip =
            Gossip { name: &name, ping_sent, pong_received, ip, port, bus_port, other_port, flags };
        bus::put_entry(&mut entries, &gossip);
    }
    for _ in 0..count {
        let (name, text) = (small_name(rng), "host.name-0".repeat(rng.index(9)));
        bus::put_ext(
            &mut exts,
            &match rng.index(4) {
                0 => Ext::Hostname(&text),
                1 => Ext::Nodename(text.as_bytes()),
                2 => Ext::Forgotten { node: &name, seconds: rng.next_u64() },
                _ => Ext::Shard(&name),
            },
        );
    }
    (entries, exts, count)
}

fn some_packet(rng: &mut Rng) -> Vec<u8> {
    let (sender, master, other) = (small_name(rng), small_name(rng), small_name(rng));
    let mut slots = [0; 2048];
    rng.fill(&mut slots);
    let header = Header {
        port: rng.next_u32() as u16,
        current_epoch: rng.next_u64(),
        config_epoch: rng.below(9),
        offset: rng.next_u64(),
        sender: &sender,
        slots: &slots,
        master: [None, Some(&master)][rng.index(2)],
        ip: [None, "10.0.0.1".parse().ok(), "fe80::1:2".parse().ok()][rng.index(3)],
        other_port: rng.next_u32() as u16,
        bus_port: rng.next_u32() as u16,
        flags: Flags(rng.next_u32() as u16),
        failed: rng.index(2) == 0,
        mflags: rng.next_u32() as u8 | bus::EXT_DATA,
    };
    let (entries, exts, count) = some_gossip(rng);
    let (entries, exts) = (Entries(&entries), Exts { bytes: &exts, count });
    let (text, shard) = (some_text(rng), rng.index(2) == 0);
    let body = match rng.index(10) {
        0 => Body::Fail(&other),
        1 => Body::Publish { shard, channel: &text, message: &text },
        2 => Body::AuthRequest,
        3 => Body::AuthAck,
        4 => Body::Update { config_epoch: rng.next_u64(), node: &other, slots: &slots },
        5 => Body::MfStart,
        6 => Body::Module { module: rng.next_u64(), kind: 7, payload: &text },
        7 => Body::Meet(entries, exts),
        8 => Body::Pong(entries, exts),
        _ => Body::Ping(entries, exts),
    };
    let packet = bus::encode(&header, &body).to_vec();
    let msg = bus::decode(&packet).expect("what is written is read");
    assert_eq!((msg.header, msg.body), (header, body));
    packet
}

/// Do the lengths that a packet gives add up to what it has? As plainly as it can be said.
fn naive_lengths(p: &[u8]) -> bool {
    let number = |at: usize, bytes: usize| {
        p.get(at..at + bytes).map(|b| b.iter().fold(0u64, |n, b| n << 8 | u64::from(*b)))
    };
    let (Some(kind), Some(count), Some(exts)) = (number(12, 2), number(14, 2), number(2214, 2)) else {
        return false;
    };
    let body = p.len() as u64 - 2256;
    let told = match kind {
        0..3 => {
            let mut at = 104 * count;
            for _ in 0..exts {
                let Some(length) = number((2256 + at) as usize, 4) else { return false };
                at += length;
            }
            Some(at)
        }
        3 => Some(40),
        4 | 10 => number(2256, 4).zip(number(2260, 4)).map(|(channel, message)| 8 + channel + message),
        5 | 6 | 8 => Some(0),
        7 => Some(2096),
        9 => number(2264, 4).map(|length| 13 + length),
        _ => None,
    };
    told == Some(body)
}

fn bus_packet(rng: &mut Rng) {
    let mut packet = some_packet(rng);
    for _ in 0..rng.index(4) {
        // What decides stands at the edges of the header and behind it.
        let at = [rng.index(80), 2128 + rng.index(128), rng.index(packet.len())][rng.index(3)];
        packet[at] = [rng.next_u32() as u8, 0, 0xff, packet[at].wrapping_add(1)][rng.index(4)];
    }
    if rng.index(4) == 0 {
        packet.truncate(rng.index(packet.len() + 1));
    }
    if rng.index(2) == 0 && packet.len() >= 8 {
        let length = packet.len() as u32;
        packet[4..8].copy_from_slice(&length.to_be_bytes());
    }
    let peers = [
        bus::Peer::Stranger { nodes: rng.index(1000) },
        bus::Peer::Node { max_bulk: rng.below(1 << 30) },
    ];
    for peer in peers {
        let mut known = Ok(None);
        for n in 0..=bus::PREFIX.min(packet.len()) {
            let now = bus::frame(&packet[..n], peer);
            assert!(
                known == Ok(None) || known == now,
                "more bytes change an answer: {known:?}, {now:?}"
            );
            known = now;
        }
        assert_eq!(bus::frame(&packet, peer), known);
    }
    if let Ok(msg) = bus::decode(&packet) {
        assert!(naive_lengths(&packet));
        let again = bus::encode(&msg.header, &msg.body);
        let back = bus::decode(&again).expect("what is written is read");
        assert_eq!((back.header, back.body), (msg.header, msg.body));
        if let Body::Ping(entries, exts) | Body::Pong(entries, exts) | Body::Meet(entries, exts) =
            msg.body
        {
            assert_eq!(entries.iter().count() * bus::ENTRY, entries.0.len());
            assert!(exts.iter().count() <= usize::from(exts.count));
        }
    }
}

#[test]
fn fuzz_bus_packet() {
    fuzz("fuzz_bus_packet", bus_packet);
}

// ---- TLS -----------------------------------------------------------------------------------------

/// A pair of sessions of one certificate, which takes long enough to make once.
#[cfg(feature = "tls")]
fn tls_pair() -> oxidis::tls::testing::Pair {
    use oxidis::tls::testing::{Authority, Pair, Wish};
    use oxidis::tls::{ClientAuth, Contexts, Identity, Settings};
    static CONTEXTS: std::sync::OnceLock<Contexts> = std::sync::OnceLock::new();
    let contexts = CONTEXTS.get_or_init(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = i64::try_from(now.expect("after 1970").as_secs()).expect("before the end of time");
        let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
        let name = format!("fuzz-tls-{}", std::process::id());
        let file = |end: &str| dir.join(format!("{name}.{end}")).display().to_string().into_bytes();
        let ca = Authority::new("Fuzz CA", now).expect("keys can be made");
        ca.issue_into(dir, &Wish::named(&name), now).expect("cargo's folder for tests is writable");
        std::fs::write(dir.join(format!("{name}.ca")), ca.cert().expect("PEM"))
            .expect("the same folder");
        let (cert_file, key_file) = (Some(file("crt")), Some(file("key")));
        let server = Identity { cert_file, key_file, key_file_pass: None };
        let settings = Settings { server, ca_cert_file: Some(file("ca")), ..Settings::default() };
        let built = Contexts::build(&settings, now).expect("good files");
        for end in ["crt", "key", "ca"] {
            std::fs::remove_file(dir.join(format!("{name}.{end}"))).expect("just written");
        }
        built
    });
    Pair::new(contexts, contexts, ClientAuth::No, 1 << 20).expect("sessions")
}

/// Bytes with some of them changed, taken away, doubled or made up.
#[cfg(feature = "tls")]
fn damaged(rng: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    let mut b = bytes.to_vec();
    for _ in 0..rng.index(3) {
        let at = rng.index(b.len().max(1));
        match rng.index(5) {
            0 => b.truncate(at),
            1 => b.splice(at..at, (0..rng.index(40)).map(|_| rng.next_u32() as u8)).for_each(drop),
            2 if !b.is_empty() => b[at] ^= 1 << rng.index(8),
            3 => drop(b.drain(at..b.len().min(at + rng.index(20)))),
            _ => b.extend_from_within(at..),
        }
    }
    b
}

/// What a session lets through is a prefix of what was said to it, whatever happens to the records.
#[cfg(feature = "tls")]
fn tls_records(rng: &mut Rng) {
    let mut pair = tls_pair();
    if rng.index(4) == 0 {
        // A hello that is none, or not quite.
        assert_eq!(pair.client.handshake(), Ok(false));
        let hello: Vec<u8> = pair.sent[0].lock().expect("one thread").bytes.drain(..).collect();
        let hello = damaged(rng, &hello);
        let mut text = Vec::new();
        for piece in hello.chunks(1 + rng.index(hello.len().max(1))) {
            if !pair.server_takes(piece, &mut text) {
                break;
            }
        }
        return assert!(text.is_empty());
    }
    pair.open(1 << 20).expect("the certificate is good");
    let (mut said, mut heard) = (Vec::new(), Vec::new());
    for _ in 0..1 + rng.index(6) {
        let text: Vec<u8> = (0..rng.index(2000) + 1).map(|_| rng.next_u32() as u8).collect();
        said.extend_from_slice(&text);
        let records = pair.records(&text).expect("there is room");
        let records = damaged(rng, &records);
        for piece in records.chunks(1 + rng.index(records.len().max(1))) {
            if !pair.server_takes(piece, &mut heard) {
                assert!(said.starts_with(&heard));
                return assert!(!pair.server_takes(b"more", &mut heard), "it stays broken");
            }
        }
        assert!(said.starts_with(&heard));
    }
}

#[cfg(feature = "tls")]
#[test]
fn fuzz_tls_records() {
    fuzz("fuzz_tls_records", tls_records);
}
