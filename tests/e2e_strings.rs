//! Strings and bitmaps, end to end: the real binary, spoken to through raw sockets and the `redis`
//! crate.
//!
//! What is asked here does not show in a single reply: encodings, events and their order, counts of
//! changes, what WATCH sees. Replies by themselves are the business of `compare.rs`, which asks a real
//! server.

mod common;

use common::*;

/// A bulk string.
fn b(s: &str) -> Value {
    Value::bulk(s)
}

fn err(text: &str) -> Value {
    Error(text.into())
}

const WRONGTYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
const SYNTAX: &str = "ERR syntax error";

/// Each line has its reply.
#[track_caller]
fn dialogue(c: &mut Conn, lines: &[(&str, Value)]) {
    for (line, want) in lines {
        assert_eq!(c.run(line), *want, "{line}");
    }
}

fn encoding(c: &mut Conn, key: &str) -> String {
    c.cmd(&["OBJECT", "ENCODING", key]).text()
}

#[test]
fn smoke_through_the_redis_crate() {
    use redis::Commands;
    let srv = Server::start();
    let mut c = srv.client();
    let _: () = c.set("greeting", "hello").expect("SET");
    assert_eq!(c.get::<_, String>("greeting").expect("GET"), "hello");
    assert_eq!(c.incr::<_, _, i64>("n", 5).expect("INCRBY"), 5);
    let _: () = c.mset(&[("a", "1"), ("b", "2")]).expect("MSET");
    let got: (Option<i64>, Option<i64>, Option<String>) = c.mget(&["a", "b", "c"]).expect("MGET");
    assert_eq!(got, (Some(1), Some(2), None));
    assert_eq!(c.append::<_, _, usize>("greeting", " you").expect("APPEND"), 9);
    assert_eq!(c.getrange::<_, String>("greeting", -3, -1).expect("GETRANGE"), "you");
    assert!(!c.setbit::<_, bool>("bits", 9, true).expect("SETBIT"));
    assert_eq!(c.bitcount::<_, usize>("bits").expect("BITCOUNT"), 1);
}

#[test]
fn smoke_raw() {
    let srv = Server::start();
    let mut c = srv.connect();
    assert_eq!(c.pipeline(&["SET k v", "GET k", "GET nosuch"]), [Value::ok(), b("v"), Null]);
    c.send(b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$4\r\n\0\r\n\xff\r\n");
    assert_eq!(c.read(), Value::ok());
    assert_eq!(c.run("GET b"), Value::bulk(b"\0\r\n\xff"));
}

#[test]
fn the_encoding_follows_from_the_command() {
    let srv = Server::start();
    let mut c = srv.connect();
    let (short, long) = ("s".repeat(44), "l".repeat(45));
    for (line, want) in [
        ("SET k 12345", "int"),
        ("SET k -9223372036854775808", "int"),
        ("SET k 9223372036854775808", "embstr"),
        ("SET k 007", "embstr"),
        ("SET k +1", "embstr"),
        (&format!("SET k {short}"), "embstr"),
        (&format!("SET k {long}"), "raw"),
        (&format!("GETSET k {short}"), "embstr"),
        ("SETEX k 100 7", "int"),
        ("MSET k 7", "int"),
        ("APPEND k 8", "raw"),
        ("INCR k", "int"),
        ("INCRBYFLOAT k 1", "embstr"),
        ("INCRBY k 1", "int"),
        // Nothing changes but the encoding.
        ("SETBIT k 7 1", "raw"),
        ("SET k 5", "int"),
        ("SETRANGE k 0 6", "raw"),
        ("SET k 5", "int"),
        ("BITFIELD k GET u8 0", "int"),
        ("BITFIELD k INCRBY u8 0 0", "raw"),
        ("BITOP NOT k k", "raw"),
        ("DEL k", ""),
        ("APPEND k 17", "int"),
        ("DEL k", ""),
        ("APPEND k x", "embstr"),
        ("DEL k", ""),
        ("SETRANGE k 2 x", "raw"),
        ("DEL k", ""),
        ("SETBIT k 2 1", "raw"),
        ("SET k x", "embstr"),
        ("APPEND k ", "raw"),
        ("SET k 5", "int"),
        ("SETRANGE k 9 ", "int"),
    ] {
        let reply = c.run(line);
        assert!(!matches!(reply, Error(_)), "{line}: {reply:?}");
        if !want.is_empty() {
            assert_eq!(encoding(&mut c, "k"), want, "after {line}");
        }
    }
}

/// The events that the lines cause, `event key`, as another client hears them.
fn events(lines: &[&str]) -> Vec<String> {
    let srv = Server::with(&["--notify-keyspace-events", "EAnm"]);
    let (mut c, mut ear) = (srv.connect(), srv.connect());
    ear.run("PSUBSCRIBE __keyevent@0__:* end");
    ear.read();
    for line in lines {
        let reply = c.run(line);
        assert!(!matches!(reply, Error(_)), "{line}: {reply:?}");
    }
    c.run("PUBLISH end now");
    let mut heard = Vec::new();
    loop {
        let message = ear.read();
        let [_, _, channel, key] = message.items() else { panic!("no message: {message:?}") };
        match channel.text().strip_prefix("__keyevent@0__:") {
            Some(event) => heard.push(format!("{event} {}", key.text())),
            None => return heard,
        }
    }
}

#[test]
fn events_come_in_order() {
    for (lines, want) in [
        (&["SET k v"][..], &["new k", "set k"][..]),
        (&["SET k v", "SET k w EX 100"], &["new k", "set k", "set k", "expire k"]),
        (&["SET k v NX PX 100000 GET"], &["keymiss k", "new k", "set k", "expire k"]),
        (&["SET k v XX"], &[]),
        (&["SETEX k 100 v"], &["new k", "set k", "expire k"]),
        (&["SETNX k v", "SETNX k v"], &["new k", "set k"]),
        (
            &["GETSET k v", "GETDEL k", "GETDEL k"],
            &["keymiss k", "new k", "set k", "del k", "keymiss k"],
        ),
        (
            &["SET k v", "GETEX k", "GETEX k EX 100", "GETEX k PERSIST", "GETEX k PERSIST"],
            &["new k", "set k", "expire k", "persist k"],
        ),
        (&["SET k v", "GETEX k EXAT 1"], &["new k", "set k", "del k"]),
        (&["MSET a 1 b 2 a 3"], &["new a", "set a", "new b", "set b", "set a"]),
        (&["MSETNX a 1 b 2", "MSETNX c 1 a 2"], &["new a", "set a", "new b", "set b"]),
        (
            &["INCR n", "DECRBY n 3", "INCRBYFLOAT n 1"],
            &["new n", "incrby n", "incrby n", "incrbyfloat n"],
        ),
        (&["APPEND k v", "APPEND k "], &["new k", "append k", "append k"]),
        (&["SETRANGE k 1 v", "SETRANGE k 1 "], &["new k", "setrange k"]),
        (&["SETBIT k 1 1", "SETBIT k 1 1", "SETBIT k 1 0"], &["new k", "setbit k", "setbit k"]),
        (&["BITFIELD k SET u8 0 1 SET u8 0 2", "BITFIELD k SET u8 0 2"], &["new k", "setbit k"]),
        (&["BITFIELD k OVERFLOW FAIL INCRBY u2 0 9"], &["new k"]),
        (
            &["SET a x", "BITOP OR d a", "BITOP OR d none"],
            &["new a", "set a", "new d", "set d", "keymiss none", "del d"],
        ),
        (&["MGET none a", "STRLEN none"], &["keymiss none", "keymiss a", "keymiss none"]),
    ] {
        assert_eq!(events(lines), want, "{lines:?}");
    }
}

#[test]
fn changes_are_counted() {
    let srv = Server::start();
    let mut c = srv.connect();
    for (line, want) in [
        ("SET k v", 1),
        ("SET k v NX", 0),
        ("SETNX k v", 0),
        ("GETSET k v", 1),
        ("GETEX k", 0),
        ("GETEX k EX 100", 1),
        ("GETEX k PERSIST", 1),
        ("GETEX k PERSIST", 0),
        ("MSET a 1 b 2 a 3", 3),
        ("MSETNX a 1 z 2", 0),
        ("INCR a", 1),
        ("INCRBYFLOAT a 0", 1),
        ("APPEND k ", 1),
        ("SETRANGE k 3 ", 0),
        ("SETRANGE k 3 x", 1),
        ("SETBIT bits 7 0", 1),
        ("SETBIT bits 7 0", 0),
        ("SETBIT bits 7 1", 1),
        ("SETBIT bits 8 0", 1),
        ("BITFIELD bits GET u8 0 SET u8 0 1", 0),
        ("BITFIELD bits SET u8 0 2 SET u8 0 3 SET u8 0 3", 2),
        ("BITFIELD bits SET u8 64 0 SET u8 0 3 GET u8 0", 2),
        ("BITFIELD bits OVERFLOW FAIL INCRBY u2 0 9", 0),
        ("BITOP AND d none", 0),
        ("BITOP AND d bits", 1),
        ("BITOP AND d none", 1),
        ("GETDEL k", 1),
        ("GETDEL k", 0),
    ] {
        let before = c.figure("rdb_changes_since_last_save");
        c.run(line);
        assert_eq!(c.figure("rdb_changes_since_last_save") - before, want, "{line}");
    }
}

#[test]
fn watchers_see_changes_and_nothing_else() {
    let srv = Server::start();
    let (mut c, mut other) = (srv.connect(), srv.connect());
    for (line, touches) in [
        ("SET k 12", true),
        ("SET k 12 NX", false),
        ("APPEND k ", true),
        ("SETRANGE k 0 ", false),
        ("SETBIT k 0 0", false),
        ("SETBIT k 0 1", true),
        ("BITFIELD k INCRBY u8 0 0", false),
        ("BITFIELD k INCRBY u8 0 1", true),
        ("BITFIELD k GET u8 0", false),
        ("GETEX k", false),
        ("GETEX k PX 100000", true),
        ("BITOP NOT k k", true),
        ("MSETNX k 1 l 2", false),
        ("GETDEL k", true),
        ("GETDEL k", false),
        ("INCR k", true),
    ] {
        c.run("WATCH k");
        c.run("MULTI");
        let reply = other.run(line);
        assert!(!matches!(reply, Error(_)), "{line}: {reply:?}");
        let want = if touches { NullArray } else { Array(vec![]) };
        assert_eq!(c.run("EXEC"), want, "{line}");
    }
}

#[test]
fn set_has_many_options() {
    let srv = Server::start();
    let mut c = srv.connect();
    dialogue(
        &mut c,
        &[
            ("SET k v XX", Null),
            ("SET k v XX GET", Null),
            ("SET k v NX", Value::ok()),
            ("SET k w NX GET", b("v")),
            ("SET k w GET", b("v")),
            ("SET k x EXAT 99999999999", Value::ok()),
            ("SET k y KEEPTTL", Value::ok()),
            ("EXPIRETIME k", Int(99_999_999_999)),
            ("SET k y", Value::ok()),
            ("TTL k", Int(-1)),
            ("SET k y pxat 99999999999999 get", b("y")),
            ("PEXPIRETIME k", Int(99_999_999_999_999)),
            ("SET k y EX 1 PX 2", err(SYNTAX)),
            ("SET k y EX", err(SYNTAX)),
            ("SET k y NX XX", err(SYNTAX)),
            ("SET k y KEEPTTL EX 1", err(SYNTAX)),
            ("SET k y PERSIST", err(SYNTAX)),
            ("SET k y EX 0", err("ERR invalid expire time in 'set' command")),
            ("SET k y PX 9223372036854775807", err("ERR invalid expire time in 'set' command")),
            ("SET k y EX x", err("ERR value is not an integer or out of range")),
            ("SETEX k -1 y", err("ERR invalid expire time in 'setex' command")),
            ("PSETEX k 0 y", err("ERR invalid expire time in 'psetex' command")),
            ("GETEX k EX 0", err("ERR invalid expire time in 'getex' command")),
            ("GETEX k EX 1 PERSIST", err(SYNTAX)),
            ("GETEX none EX 0", Null),
            // In the past: it is set and then gone.
            ("SET k y PXAT 1", Value::ok()),
            ("GET k", Null),
            ("EXISTS k", Int(0)),
        ],
    );
    // The last word counts.
    assert_eq!(c.pipeline(&["SET k y EX 1 EX 100", "TTL k"]), [Value::ok(), Int(100)]);
}

#[test]
fn another_type_is_refused_and_left_alone() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("RPUSH l a b");
    for line in [
        "GET l",
        "GETSET l v",
        "GETDEL l",
        "GETEX l",
        "GETEX l EX 5",
        "SET l v GET",
        "STRLEN l",
        "APPEND l v",
        "GETRANGE l 0 1",
        "SUBSTR l 0 1",
        "SETRANGE l 0 x",
        "INCR l",
        "DECRBY l 2",
        "INCRBYFLOAT l 1",
        "SETBIT l 0 1",
        "GETBIT l 0",
        "BITCOUNT l",
        "BITPOS l 1",
        "BITOP AND d l",
        "BITFIELD l GET u8 0",
        "BITFIELD l SET u8 0 1",
        "BITFIELD_RO l GET u8 0",
    ] {
        assert_eq!(c.run(line), err(WRONGTYPE), "{line}");
    }
    dialogue(
        &mut c,
        &[
            ("MGET l", Array(vec![Null])),
            ("LCS l l", err("ERR The specified keys must contain string values")),
            ("SETNX l v", Int(0)),
            ("LRANGE l 0 -1", Value::bulks(&["a", "b"])),
            ("SET l v", Value::ok()),
            ("GET l", b("v")),
        ],
    );
}

#[test]
fn strings_do_not_grow_past_the_limit() {
    let srv = Server::with(&["--proto-max-bulk-len", "1mb"]);
    let mut c = srv.connect();
    let too_long = err("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    let off = err("ERR bit offset is not an integer or out of range");
    dialogue(
        &mut c,
        &[
            ("SETRANGE k 1048575 x", Int(1 << 20)),
            ("SETRANGE k 1048576 x", too_long.clone()),
            ("SETRANGE k 9223372036854775807 x", too_long.clone()),
            ("APPEND k x", too_long),
            ("STRLEN k", Int(1 << 20)),
            ("SETBIT k 8388607 1", Int(0)),
            ("SETBIT k 8388608 1", off.clone()),
            ("GETBIT k 8388608", off.clone()),
            ("BITFIELD k GET u8 #1048576", off.clone()),
            ("BITFIELD k GET i64 #9223372036854775807", off),
            ("BITCOUNT k", Int(1 + 4)),
            (
                "LCS k k",
                err("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"),
            ),
        ],
    );
}

#[test]
fn big_values_are_changed_where_they_lie() {
    const LEN: usize = 20 << 20;
    let srv = Server::start();
    let mut c = srv.connect();
    assert_eq!(c.run(&format!("SETRANGE big {} z", LEN - 1)), Int(LEN as i64));
    let used = c.figure("used_memory");
    // One call, one copy of 20 MB each, would be 100 GB of copying.
    let line =
        |i: usize| request(&["SETBIT".into(), "big".into(), (i * 30_011).to_string(), "1".into()]);
    let all: Vec<u8> = (0..5_000).flat_map(line).collect();
    c.send(&all);
    (0..5_000).for_each(|_| assert_eq!(c.read(), Int(0)));
    assert_eq!(c.run("BITCOUNT big 0 -2"), Int(5_000));
    assert_eq!(c.run("BITPOS big 1 1"), Int(30_011));
    let grown = c.figure("used_memory") - used;
    assert!(grown < 1 << 20, "{grown} bytes more for the same value");
    assert_eq!(c.run("GETRANGE big -2 -1"), b("\0z"));
    assert_eq!(c.run("BITOP NOT not big"), Int(LEN as i64));
    assert_eq!(c.run("BITOP XOR ones not big"), Int(LEN as i64));
    assert_eq!(c.run("BITPOS ones 0"), Int(8 * LEN as i64));
    match c.run("GET not") {
        Bulk(v) => assert!(v.len() == LEN && v[LEN - 1] == !b'z' && v[LEN / 2] == 0xff),
        other => panic!("a string, not {other:?}"),
    }
}

#[test]
fn many_keys_at_once() {
    let srv = Server::start();
    let mut c = srv.connect();
    let key = |i: usize| format!("key:{i}");
    let mut mset = vec!["MSET".to_string()];
    (0..1_000).for_each(|i| mset.extend([key(i), format!("{}", i * 7)]));
    assert_eq!(c.cmd(&mset), Value::ok());
    let mut mget = vec!["MGET".to_string()];
    (0..1_010).for_each(|i| mget.push(key(i)));
    let reply = c.cmd(&mget);
    for (i, v) in reply.items().iter().enumerate() {
        assert_eq!(*v, if i < 1_000 { b(&format!("{}", i * 7)) } else { Null });
    }
    assert_eq!(c.run("DBSIZE"), Int(1_000));
    assert_eq!(c.run("MSET a 1 b"), err("ERR wrong number of arguments for 'mset' command"));
    assert_eq!(c.run("MSETNX a 1 b"), err("ERR wrong number of arguments for 'msetnx' command"));
    let hits = c.figure("keyspace_hits");
    let misses = c.figure("keyspace_misses");
    c.run("MGET key:1 none key:2");
    c.run("GETEX key:1");
    c.run("APPEND key:1 x");
    assert_eq!(c.figure("keyspace_hits") - hits, 3);
    assert_eq!(c.figure("keyspace_misses") - misses, 1);
}

#[test]
fn expired_sources_do_not_disturb_the_others() {
    let srv = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = srv.connect();
    assert_eq!(c.run("DEBUG SET-ACTIVE-EXPIRE 0"), Value::ok());
    c.run("SET a abc");
    for (line, want) in
        [("BITOP OR d a gone a", Int(3)), ("LCS a gone LEN", Int(0)), ("LCS gone a", b(""))]
    {
        c.run("SET gone abcdef PXAT 1");
        assert_eq!(c.run(line), want, "{line}");
        assert_eq!(c.run("EXISTS gone"), Int(0));
    }
    assert_eq!(c.run("GET d"), b("abc"));
    // An expired destination goes without ado when there is nothing to store.
    c.run("SET d x PXAT 1");
    assert_eq!(c.run("BITOP OR d none"), Int(0));
}

#[test]
fn floats_are_added_in_eighty_bits() {
    let srv = Server::start();
    let mut c = srv.connect();
    let not_a_float = err("ERR value is not a valid float");
    dialogue(
        &mut c,
        &[
            ("INCRBYFLOAT f 10.50", b("10.5")),
            ("INCRBYFLOAT f 0.1", b("10.6")),
            ("INCRBYFLOAT f -5", b("5.6")),
            ("INCRBYFLOAT f 5.0e3", b("5005.60000000000000009")),
            ("SET f 17179869184", Value::ok()),
            ("INCRBYFLOAT f 17179869184.1", b("34359738368.10000000149011612")),
            ("SET f 3", Value::ok()),
            ("INCRBYFLOAT f 1.1", b("4.1")),
            ("INCRBYFLOAT f -4.1", b("0")),
            ("INCRBYFLOAT f -0.0", b("0")),
            ("INCRBYFLOAT f 1x", not_a_float.clone()),
            ("INCRBYFLOAT f nan", not_a_float.clone()),
            ("INCRBYFLOAT f inf", err("ERR increment would produce NaN or Infinity")),
            ("SET f abc", Value::ok()),
            ("INCRBYFLOAT f 1", not_a_float),
        ],
    );
}

#[test]
fn lcs_tells_length_text_and_places() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("MSET a ohmytext b mynewtext");
    let pair = |from, to| Array(vec![Int(from), Int(to)]);
    let text = Array(vec![pair(4, 7), pair(5, 8)]);
    let my = Array(vec![pair(2, 3), pair(0, 1)]);
    let idx = |found: Vec<Value>| Array(vec![b("matches"), Array(found), b("len"), Int(6)]);
    dialogue(
        &mut c,
        &[
            ("LCS a b", b("mytext")),
            ("LCS a b LEN", Int(6)),
            ("LCS a b IDX", idx(vec![text.clone(), my])),
            ("LCS a b IDX MINMATCHLEN 4", idx(vec![text.clone()])),
            (
                "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
                idx(vec![Array(vec![pair(4, 7), pair(5, 8), Int(4)])]),
            ),
            ("LCS a none", b("")),
            (
                "LCS a b IDX LEN",
                err("ERR If you want both the length and indexes, please just use IDX."),
            ),
            ("LCS a b MINMATCHLEN", err(SYNTAX)),
        ],
    );
}

#[test]
fn bitfields_hold_integers_of_any_width() {
    let srv = Server::start();
    let mut c = srv.connect();
    let ints = |n: &[i64]| Array(n.iter().map(|n| Int(*n)).collect());
    let no_type = "ERR Invalid bitfield type. Use something like i16 u8. \
                   Note that u64 is not supported but i64 is.";
    dialogue(
        &mut c,
        &[
            ("BITFIELD k SET i8 0 -100 SET i8 #1 101 GET i8 8", ints(&[0, 0, 101])),
            ("BITFIELD k GET u8 0 GET i3 1 GET u63 0", ints(&[156, 1, 5_634_706_821_282_267_136])),
            ("BITFIELD k INCRBY i8 0 -100 OVERFLOW SAT INCRBY i8 8 100", ints(&[56, 127])),
            ("BITFIELD k OVERFLOW FAIL INCRBY i8 8 1 SET u8 0 1", Array(vec![Null, Int(56)])),
            ("BITFIELD k SET i64 63 -1 GET i64 63", ints(&[0, -1])),
            ("STRLEN k", Int(16)),
            ("BITFIELD k", ints(&[])),
            ("BITFIELD k GET u64 0", err(no_type)),
            ("BITFIELD k GET u8", err(SYNTAX)),
            ("BITFIELD k OVERFLOW x", err("ERR Invalid OVERFLOW type specified")),
            ("BITFIELD_RO k GET u8 0", ints(&[1])),
            ("BITFIELD_RO k SET u8 0 1", err("ERR BITFIELD_RO only supports the GET subcommand")),
            ("BITFIELD_RO none GET i64 1000", ints(&[0])),
            ("EXISTS none", Int(0)),
        ],
    );
}

#[test]
fn a_big_value_is_the_buffer_that_it_was_read_into() {
    let mut srv = Server::with(&["--appendonly", "yes"]);
    let mut c = srv.connect();
    let big = |seed: usize| -> Vec<u8> { (0..3_000_000).map(|i| (i * seed / 7 + i) as u8).collect() };
    let mut seed = 1;
    for (before, after) in [
        (&["SET", "a"][..], &[][..]),
        (&["SET", "a"], &["KEEPTTL"]),
        (&["SETEX", "a", "1000"], &[]),
        (&["SETNX", "new"], &[]),
        (&["GETSET", "a"], &[]),
        (&["APPEND", "added"], &[]),
        (&["APPEND", "added"], &[]),
        (&["SET", "b"], &["GET", "PX", "1000000"]),
    ] {
        seed += 1;
        let value = big(seed);
        let had = c.cmd(&["STRLEN", before[1]]).int() as usize;
        let mut words: Vec<&[u8]> = before.iter().map(|w| w.as_bytes()).collect();
        words.push(&value);
        words.extend(after.iter().map(|w| w.as_bytes()));
        let reply = c.cmd(&words);
        assert!(!matches!(reply, Value::Error(_)), "{before:?}: {reply:?}");
        let kept = if before[0] == "APPEND" { had } else { 0 };
        let now = c.cmd(&["GET", before[1]]);
        assert!(matches!(&now, Value::Bulk(b) if b[kept..] == value), "{before:?} {after:?}");
    }
    // Not alone in what was sent, inside a transaction, and where it is not stored.
    let value = big(50);
    let set = request(&[&b"SET"[..], b"c", &value]);
    c.send(&[&set[..], &request(&["STRLEN", "c"]), &set, &request(&["STRLEN", "c"])].concat());
    let replies: Vec<Value> = (0..4).map(|_| c.read()).collect();
    assert_eq!(replies, [Value::ok(), Int(3_000_000), Value::ok(), Int(3_000_000)]);
    c.run("MULTI");
    c.cmd(&[&b"SET"[..], b"d", &value]);
    assert_eq!(c.run("EXEC"), Value::Array(vec![Value::ok()]));
    assert_eq!(c.cmd(&[&b"SET"[..], b"none", &value, b"XX"]), Value::Null);
    assert_eq!(c.cmd(&[&b"SET"[..], b"none", &value, b"PXAT", b"1"]), Value::ok());
    assert_eq!(c.run("EXISTS none"), Int(0));
    c.run("RPUSH list x");
    assert!(matches!(c.cmd(&[&b"GETSET"[..], b"list", &value]), Value::Error(_)));
    assert_eq!(c.run("LRANGE list 0 -1"), Value::bulks(&["x"]));
    c.cmd(&[&b"SET"[..], b"list", &value]);
    assert_eq!(c.run("STRLEN list"), Int(3_000_000));
    let names = ["a", "b", "c", "d", "new", "added", "list"];
    let before: Vec<Value> = names.iter().map(|n| c.cmd(&["GET", n])).collect();
    srv.wait_logged();
    srv.stop();
    srv.restart();
    let mut c = srv.connect();
    let after: Vec<Value> = names.iter().map(|n| c.cmd(&["GET", n])).collect();
    assert!(before == after, "the log has the same values");
    // No copy stays beside it.
    c.run("FLUSHALL");
    let used = c.figure("used_memory");
    let value = vec![b'v'; 50_000_000];
    c.cmd(&[&b"SET"[..], b"k", &value]);
    let more = c.figure("used_memory") - used;
    assert!((40_000_000..60_000_000).contains(&more), "{more} bytes for 50,000,000");
    c.run("DEL k");
    let rest = c.figure("used_memory") - used;
    assert!(rest < 1_000_000, "{rest} bytes of it are left");
}
