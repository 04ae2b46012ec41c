//! SORT, DUMP and RESTORE, end to end: what they change besides their replies (events, dirty counts,
//! blocked clients, ops for replicas), and files of older servers.

mod common;

use common::*;
use oxidis::algo::crc64;
use std::fs;

fn dirty(c: &mut Conn) -> i64 {
    c.figure("rdb_changes_since_last_save")
}

/// A listener for all events of database 0, and what it hears until the key `end` is deleted.
struct Events(Conn);

impl Events {
    fn of(srv: &Server, c: &mut Conn) -> Events {
        assert_eq!(c.run("CONFIG SET notify-keyspace-events KEAn"), Value::ok());
        let mut e = srv.connect();
        e.put(&["PSUBSCRIBE", "__keyevent@0__:*"]);
        assert_eq!(e.read().items().len(), 3);
        Events(e)
    }

    fn heard(&mut self, c: &mut Conn) -> Vec<String> {
        c.run("SET end 1");
        c.run("DEL end");
        let mut all = Vec::new();
        loop {
            let message = self.0.read();
            let words: Vec<String> = message.items().iter().map(Value::text).collect();
            let event = words[2].trim_start_matches("__keyevent@0__:");
            match (event, &words[3][..]) {
                ("del", "end") => return all,
                (_, "end") => {}
                (event, key) => all.push(format!("{event} {key}")),
            }
        }
    }
}

#[test]
fn a_stored_sort_is_one_change_for_each_element() {
    let srv = Server::start();
    let mut c = srv.connect();
    let mut events = Events::of(&srv, &mut c);
    c.run("RPUSH l 3 1 2");
    c.run("SET dst old EX 100");
    events.heard(&mut c);
    let before = dirty(&mut c);
    assert_eq!(c.run("SORT l STORE dst"), Int(3));
    assert_eq!(dirty(&mut c), before + 3);
    assert_eq!(c.run("LRANGE dst 0 -1"), Value::bulks(&["1", "2", "3"]));
    assert_eq!(c.run("TTL dst"), Int(-1));
    assert_eq!(c.run("OBJECT ENCODING dst"), Value::bulk("listpack"));
    assert_eq!(events.heard(&mut c), ["sortstore dst"]);
    // An empty result takes the destination away, once.
    assert_eq!(c.run("SORT nosuch STORE dst"), Int(0));
    assert_eq!(c.run("SORT nosuch STORE dst"), Int(0));
    // The two changes of the events' end are not ours.
    assert_eq!(dirty(&mut c), before + 3 + 2 + 1);
    assert_eq!(events.heard(&mut c), ["del dst"]);
    assert_eq!(c.run("SORT_RO l STORE dst").error(), "ERR syntax error");
}

#[test]
fn a_stored_sort_serves_those_who_wait() {
    let srv = Server::start();
    let (mut c, mut w) = (srv.connect(), srv.connect());
    w.put(&["BLPOP", "dst", "0"]);
    wait_blocked(&mut c, 1);
    c.run("RPUSH l b a");
    assert_eq!(c.run("SORT l ALPHA STORE dst"), Int(2));
    assert_eq!(w.read(), Value::bulks(&["dst", "a"]));
}

#[test]
fn what_decides_among_equals() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("RPUSH l 2 10 1 3");
    c.run("MSET w_1 5 w_2 5 w_10 5 w_3 1");
    assert_eq!(c.run("SORT l BY w_*"), Value::bulks(&["3", "1", "10", "2"]));
    assert_eq!(c.run("SORT l BY w_* DESC"), Value::bulks(&["2", "10", "1", "3"]));
    assert_eq!(c.run("SORT l BY none_* ALPHA DESC"), Value::bulks(&["2", "10", "1", "3"]));
    // With a limit the order of equals is that of a certain quicksort.
    c.run("RPUSH ten 0 1 2 3 4 5 6 7 8 9");
    let mut want: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    want[0] = "9".into();
    assert_eq!(c.run("SORT ten BY none_* ALPHA LIMIT 0 9"), Value::bulks(&want));
    c.run("SADD s c a b");
    assert_eq!(c.run("SORT s BY nosort STORE dst"), Int(3));
    assert_eq!(c.run("LRANGE dst 0 -1"), Value::bulks(&["a", "b", "c"]));
    c.run("ZADD z 1 x 2 y 3 w");
    assert_eq!(c.run("OBJECT ENCODING z"), Value::bulk("listpack"));
    assert_eq!(c.run("SORT z BY nosort DESC LIMIT 1 5"), Value::bulks(&["y", "x"]));
    assert_eq!(c.run("OBJECT ENCODING z"), Value::bulk("skiplist"), "as upstream leaves it");
}

#[test]
fn patterns_look_keys_up() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("RPUSH l 1 2 x");
    c.run("HSET h_1 f one");
    c.run("SET v_2 two");
    let got = c.run("SORT l ALPHA GET # GET h_*->f GET v_* GET v_*->f GET fixed");
    let row = |e: &str, h: Value, v: Value| [Value::bulk(e), h, v, Null, Null];
    let want =
        [row("1", Value::bulk("one"), Null), row("2", Null, Value::bulk("two")), row("x", Null, Null)];
    assert_eq!(got, Array(want.concat()));
    c.run("DEL v_2");
    assert_eq!(c.run("SORT l ALPHA GET v_* STORE d"), Int(3));
    assert_eq!(c.run("LRANGE d 0 -1"), Value::bulks(&["", "", ""]));
    assert_eq!(c.run("SORT l").error(), "ERR One or more scores can't be converted into double");
    assert_eq!(c.run("SORT h_1").error(), WRONGTYPE);
}

const WRONGTYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

#[test]
fn restore_has_its_own_events_and_changes() {
    let srv = Server::start();
    let mut c = srv.connect();
    let mut events = Events::of(&srv, &mut c);
    c.run("RPUSH l a b");
    let Bulk(payload) = c.run("DUMP l") else { panic!("no payload") };
    assert_eq!(c.run("DUMP nosuch"), Null);
    events.heard(&mut c);
    let before = dirty(&mut c);
    let restore = |c: &mut Conn, rest: &[&[u8]]| {
        c.cmd(&[&[&b"RESTORE"[..], b"new"], &[rest[0], &payload], &rest[1..]].concat())
    };
    assert_eq!(restore(&mut c, &[b"0"]), Value::ok());
    assert_eq!(restore(&mut c, &[b"0"]).error(), "BUSYKEY Target key name already exists.");
    assert_eq!(restore(&mut c, &[b"100000", b"replace"]), Value::ok());
    assert!((1..=100).contains(&c.run("TTL new").int()));
    assert_eq!(dirty(&mut c), before + 2);
    assert_eq!(events.heard(&mut c), ["new new", "restore new", "new new", "restore new"]);
    // A time that is over: the old value goes, and nothing comes.
    assert_eq!(restore(&mut c, &[b"1", b"ABSTTL", b"REPLACE"]), Value::ok());
    assert_eq!(c.run("EXISTS new"), Int(0));
    assert_eq!(events.heard(&mut c), ["del new"]);
    for (words, error) in [
        (&[&b"-1"[..]][..], "ERR Invalid TTL value, must be >= 0"),
        (&[b"x"], "ERR value is not an integer or out of range"),
        (&[b"0", b"IDLETIME", b"-1"], "ERR Invalid IDLETIME value, must be >= 0"),
        (&[b"0", b"FREQ", b"256"], "ERR Invalid FREQ value, must be >= 0 and <= 255"),
        (&[b"0", b"IDLETIME", b"1", b"FREQ", b"1"], "ERR syntax error"),
        (&[b"0", b"FREQ"], "ERR syntax error"),
    ] {
        assert_eq!(restore(&mut c, words).error(), error);
    }
    assert_eq!(restore(&mut c, &[b"0", b"IDLETIME", b"1000"]), Value::ok());
    assert!(c.run("OBJECT IDLETIME new").int() >= 1000);
}

#[test]
fn broken_payloads_are_refused_and_explained() {
    let srv = Server::with(&["--loglevel", "verbose", "--enable-debug-command", "yes"]);
    let mut c = srv.connect();
    c.run("SET k old");
    let footed = |value: &[u8]| {
        let body = [value, b"\x0b\0"].concat();
        [&body[..], &crc64::update(0, &body).to_le_bytes()].concat()
    };
    let twice = footed(b"\x14\x0d\x0d\0\0\0\x02\0\x81a\x02\x81a\x02\xff");
    let restore =
        |c: &mut Conn, payload: &[u8]| c.cmd(&[&b"RESTORE"[..], b"k", b"0", payload, b"REPLACE"]);
    let mut wrong = twice.clone();
    wrong[3] ^= 1;
    assert_eq!(restore(&mut c, &wrong).error(), "ERR DUMP payload version or checksum are wrong");
    assert_eq!(c.run("DEBUG SET-SKIP-CHECKSUM-VALIDATION 1"), Value::ok());
    assert_eq!(restore(&mut c, &wrong).error(), "ERR Bad data format");
    assert!(srv.log().contains("Set listpack integrity check failed"));
    assert_eq!(c.run("GET k"), Value::bulk("old"), "the old value stays");
    assert_eq!(c.run("CONFIG SET sanitize-dump-payload yes"), Value::ok());
    assert_eq!(restore(&mut c, &twice).error(), "ERR Bad data format");
    assert_eq!(c.figure("dump_payload_sanitizations"), 1);
    assert_eq!(c.run("CONFIG SET sanitize-dump-payload no"), Value::ok());
    assert_eq!(restore(&mut c, &twice), Value::ok());
    assert_eq!(c.run("SCARD k"), Int(2));
    assert_eq!(c.run("SDIFF k").items().len(), 1);
}

#[test]
fn files_of_older_servers_are_loaded() {
    let dir = own_folder();
    // Version 4: no checksum. A list of texts, a zipmap, an empty set, a key that has run out.
    let mut file = b"REDIS0004\xfe\x00".to_vec();
    file.extend(b"\x01\x01l\x02\x01a\xc0\x05");
    file.extend(b"\x09\x01h\x09\x01\x01f\x01\x02v??\xff");
    file.extend(b"\x02\x05empty\x00");
    file.extend(b"\xfd\x01\0\0\0\x00\x04gone\x01x\xff");
    fs::write(dir.join("dump.rdb"), file).expect("the folder is ours");
    let srv = Server::with_folder(&[], dir);
    let mut c = srv.connect();
    assert_eq!(c.run("DBSIZE"), Int(2));
    assert_eq!(c.run("LRANGE l 0 -1"), Value::bulks(&["a", "5"]));
    assert_eq!(c.run("HGETALL h"), Value::bulks(&["f", "v"]));
    let log = srv.log();
    assert!(log.contains("rdbLoadObject skipping empty key: empty"), "{log}");
    assert!(log.contains("keys loaded: 2, keys expired: 1, empty keys skipped: 1."), "{log}");
}

#[test]
fn how_keys_were_used_survives_a_reload() {
    let srv = Server::with(&[
        "--maxmemory-policy",
        "allkeys-lru",
        "--lfu-decay-time",
        "0",
        "--enable-debug-command",
        "yes",
    ]);
    let mut c = srv.connect();
    c.run("SET k v");
    let Bulk(payload) = c.run("DUMP k") else { panic!("no payload") };
    let restored = c.cmd(&[&b"RESTORE"[..], b"old", b"0", &payload, b"IDLETIME", b"5000"]);
    assert_eq!(restored, Value::ok());
    assert_eq!(c.run("DEBUG RELOAD"), Value::ok());
    assert!((5000..5100).contains(&c.run("OBJECT IDLETIME old").int()));
    assert!(c.run("OBJECT IDLETIME k").int() < 100);
    c.run("CONFIG SET maxmemory-policy allkeys-lfu");
    let restored = c.cmd(&[&b"RESTORE"[..], b"often", b"0", &payload, b"FREQ", b"200"]);
    assert_eq!(restored, Value::ok());
    assert_eq!(c.run("DEBUG RELOAD"), Value::ok());
    assert_eq!(c.run("OBJECT FREQ often"), Int(200));
}
