//! Sets and hashes end to end: reply shapes, encodings, chance, scans while everything changes, events, and
//! what reaches the log.

mod common;

use common::{Array, Bulk, Conn, Double, Error, Int, Map, Null, Server, Set, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Small thresholds.
fn small() -> Server {
    Server::with(&[
        "--set-max-intset-entries",
        "5",
        "--set-max-listpack-entries",
        "8",
        "--set-max-listpack-value",
        "10",
        "--hash-max-listpack-entries",
        "4",
        "--hash-max-listpack-value",
        "10",
    ])
}

fn encoding(c: &mut Conn, key: &str) -> String {
    c.cmd(&["OBJECT", "ENCODING", key]).text()
}

/// The texts of an aggregate, sorted.
fn sorted(v: &Value) -> Vec<String> {
    let mut all: Vec<String> = v.items().iter().map(Value::text).collect();
    all.sort();
    all
}

#[test]
fn resp3_has_sets_maps_and_pairs() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("SADD s a b");
    c.run("SADD t b c");
    c.run("HSET h f v");
    assert_eq!(sorted(&c.run("SMEMBERS s")), ["a", "b"]);
    assert_eq!(c.run("HGETALL h"), Value::bulks(&["f", "v"]));
    assert_eq!(c.run("HRANDFIELD h 2 WITHVALUES"), Value::bulks(&["f", "v"]));
    assert_eq!(c.run("HRANDFIELD h -2 WITHVALUES"), Value::bulks(&["f", "v", "f", "v"]));
    assert_eq!(c.run("HINCRBYFLOAT h n 1.50"), Value::bulk("1.5"));
    assert_eq!((c.run("SPOP none"), c.run("SPOP none 3")), (Null, Array(vec![])));
    c.run("HDEL h n");
    c.run("HELLO 3");
    let one = |m: &str| Set(vec![Value::bulk(m)]);
    assert!(matches!(c.run("SMEMBERS s"), Set(all) if all.len() == 2));
    assert_eq!((c.run("SINTER s t"), c.run("SDIFF s t")), (one("b"), one("a")));
    assert!(matches!(c.run("SUNION s t"), Set(all) if all.len() == 3));
    assert_eq!(c.run("SMEMBERS none"), Set(vec![]));
    assert_eq!(c.run("SMISMEMBER s a c"), Array(vec![Int(1), Int(0)]));
    // Picks are lists: they may hold a member twice.
    assert!(matches!(c.run("SRANDMEMBER s -3"), Array(all) if all.len() == 3));
    assert!(matches!(c.run("SRANDMEMBER s 5"), Array(all) if all.len() == 2));
    assert!(matches!(c.run("SPOP s 1"), Set(all) if all.len() == 1));
    let pair = Value::bulks(&["f", "v"]);
    assert_eq!(c.run("HRANDFIELD h 2 WITHVALUES"), Array(vec![pair.clone()]));
    assert_eq!(c.run("HRANDFIELD h -2 WITHVALUES"), Array(vec![pair.clone(), pair]));
    assert_eq!(c.run("HGETALL h"), Map(vec![(Value::bulk("f"), Value::bulk("v"))]));
    assert_eq!(c.run("HGETALL none"), Map(vec![]));
    assert_eq!((c.run("HKEYS h"), c.run("HVALS h")), (Value::bulks(&["f"]), Value::bulks(&["v"])));
    assert_eq!(c.run("HMGET h f g"), Array(vec![Value::bulk("v"), Null]));
    // A score is a double in RESP3, a field's number is not.
    assert_eq!(c.run("HINCRBYFLOAT h n 1.50"), Value::bulk("1.5"));
    assert_eq!(c.run("ZADD z INCR 1.5 m"), Double("1.5".into()));
    assert_eq!(c.run("HSCAN h 0"), Array(vec![Value::bulk("0"), Value::bulks(&["f", "v", "n", "1.5"])]));
}

#[test]
fn sets_change_their_encoding_at_the_bounds() {
    let srv = small();
    let mut c = srv.connect();
    // Added at once, and one after the other: the number to come is a hint.
    for (members, at_once, one_by_one) in [
        ("1 2 3 4 5", "intset", "intset"),
        ("1 2 3 4 5 6", "listpack", "hashtable"),
        ("1 2 3 4 5 6 7 8 9", "hashtable", "hashtable"),
        ("1 a", "listpack", "listpack"),
        ("a b c d e f g h", "listpack", "listpack"),
        ("a b c d e f g h i", "hashtable", "hashtable"),
        ("a 12345678901", "hashtable", "hashtable"),
        ("a 1234567890", "listpack", "listpack"),
        ("1 01", "listpack", "listpack"),
        ("9223372036854775807 -9223372036854775808", "intset", "intset"),
        ("9223372036854775808", "hashtable", "hashtable"),
        ("92233720368", "intset", "intset"),
    ] {
        c.run("DEL k l");
        c.run(&format!("SADD k {members}"));
        members.split(' ').for_each(|m| drop(c.run(&format!("SADD l {m}"))));
        let encodings = (encoding(&mut c, "k"), encoding(&mut c, "l"));
        assert_eq!(encodings, (at_once.into(), one_by_one.into()), "{members}");
        assert_eq!(sorted(&c.run("SMEMBERS k")), sorted(&c.run("SMEMBERS l")));
    }
    // There is no way back for a set that shrinks, but results are made anew.
    c.run("DEL k");
    c.run("SADD k a b c d e f g h i 1 2");
    c.run("SREM k a b c d e f g h i");
    assert_eq!(encoding(&mut c, "k"), "hashtable");
    c.run("SINTERSTORE l k k");
    assert_eq!(encoding(&mut c, "l"), "intset");
    c.run("SADD m x");
    assert_eq!((c.run("SMOVE l m 1"), c.run("SMOVE m l x")), (Int(1), Int(1)));
    assert_eq!((encoding(&mut c, "l"), encoding(&mut c, "m")), ("listpack".into(), "listpack".into()));
}

#[test]
fn hashes_change_their_encoding_at_the_bounds() {
    let srv = small();
    let mut c = srv.connect();
    for (pairs, want) in [
        ("a 1 b 2 c 3 d 4", "listpack"),
        // So many pairs are a hint, although one field comes twice.
        ("a 1 b 2 c 3 d 4 a 5", "hashtable"),
        ("a 1 b 2 c 3 d 4 e 5", "hashtable"),
        ("a 1234567890", "listpack"),
        ("a 12345678901", "hashtable"),
        ("12345678901 a", "hashtable"),
    ] {
        c.run("DEL k");
        c.run(&format!("HSET k {pairs}"));
        assert_eq!(encoding(&mut c, "k"), want, "{pairs}");
    }
    c.run("DEL k");
    c.run("HSET k a 9 b 8 c 7 d 6");
    assert_eq!(c.run("HGETALL k"), Value::bulks(&["a", "9", "b", "8", "c", "7", "d", "6"]));
    assert_eq!((c.run("HINCRBY k a 1"), encoding(&mut c, "k")), (Int(10), "listpack".into()));
    assert_eq!((c.run("HSETNX k e 5"), encoding(&mut c, "k")), (Int(1), "hashtable".into()));
    assert_eq!((c.run("HDEL k b c d e nosuch"), encoding(&mut c, "k")), (Int(4), "hashtable".into()));
    assert_eq!((c.run("HDEL k a"), c.run("EXISTS k")), (Int(1), Int(0)));
}

#[test]
fn a_command_does_all_or_nothing() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("HSET h text x int 9223372036854775807 space 1");
    c.cmd(&["HSET", "h", "space", " 1"]);
    c.run("SET string x");
    c.run("SADD s a");
    let wrong = "WRONGTYPE Operation against a key holding the wrong kind of value";
    for (line, text) in [
        ("HSET h a 1 b", "ERR wrong number of arguments for 'hset' command"),
        ("HMSET h a 1 b", "ERR wrong number of arguments for 'hmset' command"),
        ("HINCRBY h text 1", "ERR hash value is not an integer"),
        ("HINCRBY h space 1", "ERR hash value is not an integer"),
        ("HINCRBY h int 1", "ERR increment or decrement would overflow"),
        ("HINCRBY h int 1.0", "ERR value is not an integer or out of range"),
        ("HINCRBYFLOAT h text 1", "ERR hash value is not a float"),
        ("HINCRBYFLOAT h int x", "ERR value is not a valid float"),
        ("HINCRBYFLOAT h int inf", "ERR value is NaN or Infinity"),
        ("HRANDFIELD h 1 WITHSCORES", "ERR syntax error"),
        ("SPOP s -1", "ERR value is out of range, must be positive"),
        ("SRANDMEMBER s 1 2", "ERR syntax error"),
        ("SINTERCARD 0 s", "ERR numkeys should be greater than 0"),
        ("SINTERCARD 2 s", "ERR Number of keys can't be greater than number of args"),
        ("SINTERCARD 1 s LIMIT -1", "ERR LIMIT can't be negative"),
        ("SUNIONSTORE d s string", wrong),
        ("SMOVE s string a", wrong),
        ("SADD string a", wrong),
        ("HSET s a 1", wrong),
        ("HGET s a", wrong),
    ] {
        assert_eq!(c.run(line), Error(text.into()), "{line}");
    }
    assert_eq!((c.run("HLEN h"), c.run("SCARD s"), c.run("EXISTS d")), (Int(3), Int(1), Int(0)));
    // A missing source wins over a destination of another type.
    assert_eq!(c.run("SMOVE none string a"), Int(0));
}

/// Every element is drawn about as often as any other: within seven and a half deviations of a fair draw,
/// which one run in a billion leaves by chance, over all that is drawn here.
#[track_caller]
fn fair(drawn: &BTreeMap<String, usize>, of: usize, rounds: usize, chance: f64, what: &str) {
    let mean = rounds as f64 * chance;
    let slack = 7.5 * (mean * (1.0 - chance)).sqrt();
    assert_eq!(drawn.len(), of, "{what}: all are drawn");
    for (m, n) in drawn {
        assert!((*n as f64 - mean).abs() < slack, "{what}: {m} {n} times of {mean}");
    }
}

#[test]
fn picks_are_fair_in_every_encoding() {
    const MEMBERS: usize = 20;
    const ROUNDS: usize = 4000;
    let srv = Server::start();
    let mut c = srv.connect();
    for (kind, limit) in [("intset", "512"), ("listpack", "512"), ("hashtable", "0")] {
        for name in ["set-max-intset-entries", "set-max-listpack-entries", "hash-max-listpack-entries"] {
            c.cmd(&["CONFIG", "SET", name, limit]);
        }
        c.run("DEL s h");
        let name = |i: usize| if kind == "intset" { i.to_string() } else { format!("m{i}") };
        for m in (0..MEMBERS).map(name) {
            c.run(&format!("SADD s {m}"));
            c.run(&format!("HSET h {m} v"));
        }
        assert_eq!(encoding(&mut c, "s"), kind);
        for (line, each) in [
            ("SRANDMEMBER s", 1),
            ("SRANDMEMBER s -3", 3),
            ("SRANDMEMBER s 3", 3),
            ("SRANDMEMBER s 15", 15),
            ("HRANDFIELD h", 1),
            ("HRANDFIELD h -3", 3),
            ("HRANDFIELD h 3", 3),
            ("HRANDFIELD h 15", 15),
        ] {
            let mut drawn = BTreeMap::new();
            for reply in c.pipeline(&vec![line; ROUNDS]) {
                let picks = match &reply {
                    Bulk(_) => vec![reply.text()],
                    list => list.items().iter().map(Value::text).collect(),
                };
                assert_eq!(picks.len(), each);
                let different = picks.iter().collect::<BTreeSet<_>>().len();
                assert!(line.contains('-') || different == each, "{line}: {picks:?}");
                picks.into_iter().for_each(|m| *drawn.entry(m).or_insert(0) += 1);
            }
            let (draws, chance) = match line.contains('-') {
                true => (ROUNDS * each, 1.0 / MEMBERS as f64),
                false => (ROUNDS, each as f64 / MEMBERS as f64),
            };
            fair(&drawn, MEMBERS, draws, chance, &format!("{kind}: {line}"));
        }
    }
}

#[test]
fn what_is_popped_is_gone_and_fair() {
    const MEMBERS: usize = 12;
    const ROUNDS: usize = 1000;
    let srv = Server::start();
    let mut c = srv.connect();
    let all: Vec<String> = (0..MEMBERS).map(|i| format!("m{i}")).collect();
    for (kind, limit) in [("listpack", "128"), ("hashtable", "0")] {
        c.cmd(&["CONFIG", "SET", "set-max-listpack-entries", limit]);
        for count in [1, 2, 9] {
            let mut drawn = BTreeMap::new();
            for _ in 0..ROUNDS {
                let fill = format!("SADD s {}", all.join(" "));
                let pop = format!("SPOP s {count}");
                let replies = c.pipeline(&["DEL s", &fill, &pop, "SMEMBERS s"]);
                let (popped, left) = (sorted(&replies[2]), sorted(&replies[3]));
                assert_eq!(popped.len(), count);
                let mut both: Vec<String> = popped.iter().chain(&left).cloned().collect();
                both.sort();
                let mut want = all.clone();
                want.sort();
                assert_eq!(both, want);
                popped.into_iter().for_each(|m| *drawn.entry(m).or_insert(0) += 1);
            }
            let chance = count as f64 / MEMBERS as f64;
            fair(&drawn, MEMBERS, ROUNDS, chance, &format!("{kind}: SPOP s {count}"));
        }
    }
}

/// What stays for the whole of a scan is shown, however the table grows and shrinks meanwhile.
#[test]
fn scans_show_all_that_stays() {
    const STAY: usize = 700;
    let srv = Server::start();
    let mut c = srv.connect();
    for (add, remove, scan, fields) in
        [("SADD", "SREM", "SSCAN", 1), ("HSET", "HDEL", "HSCAN", 2), ("ZADD", "ZREM", "ZSCAN", 2)]
    {
        let adding = |names: &mut dyn Iterator<Item = String>| -> Vec<String> {
            let one = |m: String| match add {
                "SADD" => vec![m],
                "HSET" => vec![m, "v".into()],
                _ => vec!["1".into(), m],
            };
            [add.into(), "k".into()].into_iter().chain(names.flat_map(one)).collect()
        };
        for grows in [true, false] {
            c.run("DEL k");
            c.cmd(&adding(&mut (0..STAY).map(|i| format!("stay{i}"))));
            let mut others = if grows { 0 } else { 20_000 };
            for from in (0..others).step_by(1000) {
                c.cmd(&adding(&mut (from..from + 1000).map(|i| format!("other{i}"))));
            }
            let (mut cursor, mut seen, mut calls) = ("0".to_string(), BTreeSet::new(), 0);
            loop {
                let reply = c.cmd(&[scan, "k", &cursor, "COUNT", "50"]);
                cursor = reply.items()[0].text();
                seen.extend(reply.items()[1].items().iter().step_by(fields).map(Value::text));
                calls += 1;
                if cursor == "0" {
                    break;
                }
                // Up to a size, or down to nothing, a hundred at a time.
                if grows && others < 20_000 {
                    c.cmd(&adding(&mut (others..others + 400).map(|i| format!("other{i}"))));
                    others += 400;
                } else if !grows && others > 0 {
                    let gone = (others - 400..others).map(|i| format!("other{i}"));
                    let words: Vec<String> =
                        [remove.into(), "k".into()].into_iter().chain(gone).collect();
                    assert_eq!(c.cmd(&words), Int(400));
                    others -= 400;
                }
            }
            assert!(calls > 10, "{scan}: the table changed while it was scanned");
            for i in 0..STAY {
                assert!(seen.contains(&format!("stay{i}")), "{scan}, grows {grows}: stay{i} is missing");
            }
            let strange = seen.iter().find(|m| !m.starts_with("stay") && !m.starts_with("other"));
            assert_eq!(strange, None);
        }
    }
}

#[test]
fn changes_are_announced_in_order() {
    let srv = Server::with(&["--notify-keyspace-events", "EshgKn"]);
    let (mut c, mut sub) = (srv.connect(), srv.connect());
    sub.run("PSUBSCRIBE __keyevent@0__:*");
    for line in [
        "SADD s a b c d",
        "SADD s a",
        "SMOVE s t a",
        "SMOVE s t nobody",
        "SMOVE s s b",
        "SREM s b nobody",
        "SPOP s 1",
        "SPOP s 9",
        "SUNIONSTORE u t",
        "SINTERSTORE u none t",
        "SMOVE t u a",
        "HSET h a 1 b 2",
        "HINCRBY h a 1",
        "HINCRBYFLOAT h a 1",
        "HDEL h a b",
    ] {
        c.run(line);
    }
    for (event, key) in [
        ("new", "s"),
        ("sadd", "s"),
        ("srem", "s"),
        ("new", "t"),
        ("sadd", "t"),
        ("srem", "s"),
        ("spop", "s"),
        ("spop", "s"),
        ("del", "s"),
        ("new", "u"),
        ("sunionstore", "u"),
        ("del", "u"),
        ("srem", "t"),
        ("del", "t"),
        ("new", "u"),
        ("sadd", "u"),
        ("new", "h"),
        ("hset", "h"),
        ("hincrby", "h"),
        ("hincrbyfloat", "h"),
        ("hdel", "h"),
        ("del", "h"),
    ] {
        let heard = sub.read();
        assert_eq!(heard.items()[2].text(), format!("__keyevent@0__:{event}"), "{key}");
        assert_eq!(heard.items()[3].text(), key, "{event}");
    }
}

#[test]
fn the_log_holds_what_was_popped_and_computed() {
    let mut srv = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut c = srv.connect();
    c.run("SADD s 1 2 3 4 5 6 7 8");
    let one = c.run("SPOP s").text();
    let three: Vec<String> = c.run("SPOP s 3").items().iter().map(Value::text).collect();
    c.run("SMOVE s t nobody");
    let moved = c.run("SRANDMEMBER s").text();
    c.run(&format!("SMOVE s t {moved}"));
    c.run("SPOP s 100");
    c.run("HSET h f 10");
    c.run("HINCRBYFLOAT h f 0.1");
    c.run("HDEL h nosuch");
    let text = srv.aof();
    let words: Vec<&str> = text.split("\r\n").filter(|w| !w.starts_with(['*', '$'])).collect();
    let three = three.join(" ");
    assert_eq!(
        words.join(" ").trim(),
        format!(
            "SELECT 0 SADD s 1 2 3 4 5 6 7 8 SREM s {one} SREM s {three} SMOVE s t {moved} DEL s \
             HSET h f 10 HSET h f 10.1"
        )
    );
    srv.kill();
    srv.restart();
    let mut c = srv.connect();
    assert_eq!(c.run("SMEMBERS t"), Value::bulks(&[&moved]));
    assert_eq!((c.run("EXISTS s"), c.run("HGET h f")), (Int(0), Value::bulk("10.1")));
}
