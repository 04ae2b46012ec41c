//! Lists, end to end: encodings as OBJECT ENCODING shows them, events in their order, and above all
//! blocked clients: which is served, by what, in which order, and what it costs.

mod common;

use common::*;

fn pair(key: &str, value: &str) -> Value {
    Value::bulks(&[key, value])
}

#[test]
fn encodings_change_at_the_limits() {
    let srv = Server::with(&["--list-max-listpack-size", "4"]);
    let mut c = srv.connect();
    let encoding = |c: &mut Conn| c.run("OBJECT ENCODING l").text();
    assert_eq!(c.run("RPUSH l a b c d"), Int(4));
    assert_eq!(encoding(&mut c), "listpack");
    // Nothing comes of it, but room was made for a fifth.
    assert_eq!(c.run("LINSERT l BEFORE nosuch x"), Int(-1));
    assert_eq!(encoding(&mut c), "quicklist");
    assert_eq!(c.run("LPUSH l 0"), Int(5));
    assert_eq!(c.run("LRANGE l 0 -1"), Value::bulks(&["0", "a", "b", "c", "d"]));
    assert_eq!(c.run("LPOP l 2"), Value::bulks(&["0", "a"]));
    assert_eq!(encoding(&mut c), "quicklist", "three are more than half of four");
    assert_eq!(c.run("RPOP l"), Value::bulk("d"));
    assert_eq!(encoding(&mut c), "listpack");
    assert_eq!(c.run("LSET l 7 x").error(), "ERR index out of range");
    assert_eq!(c.run("LSET nosuch 0 x").error(), "ERR no such key");
    // Only the low 32 bits of an index count.
    assert_eq!(c.run("LSET l 4294967297 C"), Value::ok());
    assert_eq!(c.run("LRANGE l 0 -1"), Value::bulks(&["b", "C"]));
}

#[test]
fn moving_announces_the_destination_first() {
    let srv = Server::with(&["--notify-keyspace-events", "Elgn"]);
    let (mut c, mut s) = (srv.connect(), srv.connect());
    s.run("PSUBSCRIBE __keyevent*");
    c.run("RPUSH src 1");
    assert_eq!(c.run("LMOVE src dst LEFT RIGHT"), Value::bulk("1"));
    assert_eq!(c.run("LMOVE dst dst LEFT RIGHT"), Value::bulk("1"));
    let mut events = Vec::new();
    while events.last().is_none_or(|e| e != "end") {
        let heard = s.read();
        let name = heard.items()[2].text().replace("__keyevent@0__:", "");
        events.push(format!("{name} {}", heard.items()[3].text()));
        if events.len() == 8 {
            break;
        }
    }
    let want =
        ["new src", "rpush src", "new dst", "rpush dst", "lpop src", "del src", "rpush dst", "lpop dst"];
    assert_eq!(events, want);
}

#[test]
fn changes_are_counted() {
    let srv = Server::start();
    let mut c = srv.connect();
    for (line, changes) in [
        ("RPUSH l a b a c a d", 6),
        ("LREM l -2 a", 2),
        ("LREM l 1 nosuch", 0),
        ("LTRIM l 0 -1", 0),
        ("LTRIM l 1 2", 2),
        ("LMOVE l m LEFT LEFT", 1),
        ("LMPOP 2 nosuch l LEFT COUNT 9", 1),
        ("LPOP l 3", 0),
    ] {
        let count = |c: &mut Conn| -> i64 { c.figure("rdb_changes_since_last_save") };
        let before = count(&mut c);
        c.run(line);
        assert_eq!(count(&mut c) - before, changes, "{line}");
    }
}

#[test]
fn who_came_first_is_served_first() {
    let srv = Server::start();
    let mut c = srv.connect();
    let mut all: Vec<Conn> =
        ["a k b 0", "k k 0", "b k 0"].map(|keys| waiting(&srv, &mut c, &format!("BLPOP {keys}"))).into();
    assert_eq!(c.run("RPUSH k 1 2"), Int(2));
    assert_eq!(all[0].read(), pair("k", "1"));
    assert_eq!(all[1].read(), pair("k", "2"));
    // The third is still first in the line of its other key, where the first stood before it.
    let mut fourth = waiting(&srv, &mut c, "BRPOP b 0");
    assert_eq!(c.run("RPUSH b 3 4"), Int(2));
    assert_eq!((all[2].read(), fourth.read()), (pair("b", "3"), pair("b", "4")));
    assert_eq!(c.run("EXISTS k b"), Int(0));
}

#[test]
fn every_writer_wakes() {
    let srv = Server::start();
    let mut c = srv.connect();
    for writer in [
        "LPUSH k v",
        "RENAME other k",
        "RENAMENX other k",
        "COPY other k",
        "MULTI|LPUSH k v|EXEC",
        "LMOVE other k LEFT RIGHT",
        "SELECT 1|LPUSH k v|MOVE k 0|SELECT 0",
        "SELECT 1|LPUSH k v|SELECT 0|SWAPDB 0 1",
        "MULTI|SET k string|DEL k|LPUSH k v|EXEC",
    ] {
        c.run("FLUSHALL");
        c.run("LPUSH other v");
        let mut w = waiting(&srv, &mut c, "BLPOP k 0");
        for line in writer.split('|') {
            assert!(!matches!(c.run(line), Error(_)), "{line}");
        }
        assert_eq!(w.read(), pair("k", "v"), "{writer}");
        c.run("SELECT 0");
    }
}

#[test]
fn what_went_again_or_is_something_else_wakes_nobody() {
    let srv = Server::start();
    let mut c = srv.connect();
    let mut w = waiting(&srv, &mut c, "BLPOP k 0");
    c.pipeline(&["MULTI", "LPUSH k v", "DEL k", "EXEC"]);
    c.pipeline(&["MULTI", "LPUSH k v", "SET k string", "EXEC"]);
    c.pipeline(&["SET k string", "DEL k"]);
    assert_eq!(c.figure("blocked_clients"), 1);
    assert_eq!(c.info("cmdstat_blpop"), None, "it was not even tried");
    c.run("RPUSH k last");
    assert_eq!(w.read(), pair("k", "last"));
}

#[test]
fn moves_wake_those_who_wait_for_their_destination() {
    let srv = Server::start();
    let mut c = srv.connect();
    let mut last = waiting(&srv, &mut c, "BLPOP c 0");
    let mut second = waiting(&srv, &mut c, "BRPOPLPUSH b c 0");
    let mut first = waiting(&srv, &mut c, "BLMOVE a b LEFT RIGHT 0");
    assert_eq!(c.run("RPUSH a x"), Int(1));
    assert_eq!((first.read(), second.read()), (Value::bulk("x"), Value::bulk("x")));
    assert_eq!(last.read(), pair("c", "x"));
    assert_eq!(c.run("DBSIZE"), Int(0));
    // The destination is looked at when there is something to move.
    let mut w = waiting(&srv, &mut c, "BLMOVE a s LEFT RIGHT 0");
    c.run("SET s string");
    c.run("RPUSH a x");
    assert!(w.read().error().starts_with("WRONGTYPE"));
    assert_eq!(c.run("LLEN a"), Int(1), "what could not be moved stays");
}

#[test]
fn time_runs_out() {
    let srv = Server::start();
    let mut c = srv.connect();
    for line in
        ["BLPOP k 0.01", "BLMOVE k l LEFT LEFT 0.01", "BLMPOP 0.01 1 k LEFT", "BRPOPLPUSH k l 0.01"]
    {
        assert_eq!(c.run(line), NullArray, "{line}");
    }
    // Where a client may not wait.
    let replies = c.pipeline(&["MULTI", "BLPOP k 0", "BLMOVE k l LEFT LEFT 0", "EXEC"]);
    assert_eq!(replies[3], Array(vec![NullArray, Null]));
    for (timeout, why) in [
        ("-1", "ERR timeout is negative"),
        ("x", "ERR timeout is not a float or out of range"),
        ("1e300", "ERR timeout is out of range"),
    ] {
        assert_eq!(c.cmd(&["BLPOP", "k", timeout]).error(), why);
    }
    // Tried again and blocked anew, a request keeps the time it had.
    let mut w = srv.connect();
    w.put(&["BLPOP", "k", "0.5"]);
    let soon = std::time::Duration::from_millis(1);
    wait_until("it to wait", || c.figure("blocked_clients") == 1 || w.ready(soon));
    c.pipeline(&["MULTI", "LPUSH k v", "DEL k", "EXEC"]);
    assert_eq!(w.read(), NullArray);
}

#[test]
fn the_dead_take_nothing() {
    let srv = Server::start();
    let mut c = srv.connect();
    let w = waiting(&srv, &mut c, "BLPOP k 0");
    drop(w);
    wait_blocked(&mut c, 0);
    c.run("RPUSH k 1");
    assert_eq!(c.run("LLEN k"), Int(1));
    c.run("DEL k");
    // Killed in the same pipeline.
    let mut w = srv.connect();
    let id = w.run("CLIENT ID").int();
    w.put(&["BLPOP", "k", "0"]);
    wait_blocked(&mut c, 1);
    let replies = c.pipeline(&[&format!("CLIENT KILL ID {id}"), "RPUSH k 1", "LLEN k"]);
    assert_eq!(replies, [Int(1), Int(1), Int(1)]);
    assert!(w.at_end());
}

#[test]
fn others_can_end_a_wait() {
    let srv = Server::start();
    let mut c = srv.connect();
    let mut w = srv.connect();
    let id = w.run("CLIENT ID").int().to_string();
    assert_eq!(c.cmd(&["CLIENT", "UNBLOCK", &id]), Int(0));
    for (how, reply) in [
        ("TIMEOUT", NullArray),
        ("ERROR", Error("UNBLOCKED client unblocked via CLIENT UNBLOCK".into())),
    ] {
        // What was sent behind the wait is run after it.
        let line = ["BLPOP", "k", "0"];
        w.put(&line);
        w.put(&["PING"]);
        wait_blocked(&mut c, 1);
        assert_eq!(c.cmd(&["CLIENT", "UNBLOCK", &id, how]), Int(1));
        assert_eq!((w.read(), w.read()), (reply, Status("PONG".into())));
    }
}

#[test]
fn a_crowd_costs_a_push_no_more_than_one() {
    const CROWD: usize = 300;
    let srv = Server::start();
    let mut c = srv.connect();
    let mut crowd: Vec<Conn> = (0..CROWD).map(|_| srv.connect()).collect();
    for (i, w) in crowd.iter_mut().enumerate() {
        w.cmd(&["ECHO", &i.to_string()]);
        w.put(&["BLPOP", "k", "0"]);
        // One after the other: the order is what this is about.
        if i % 50 == 0 {
            wait_blocked(&mut c, i + 1);
        }
    }
    wait_blocked(&mut c, CROWD);
    c.run("RPUSH k only");
    wait_blocked(&mut c, CROWD - 1);
    let stats = c.info("cmdstat_blpop").expect("it was called");
    assert!(stats.starts_with("calls=1,"), "only one was tried: {stats}");
    let values: Vec<String> = (1..CROWD).map(|i| i.to_string()).collect();
    let mut push = vec!["RPUSH", "k"];
    push.extend(values.iter().map(String::as_str));
    c.cmd(&push);
    wait_blocked(&mut c, 0);
    let mut got: Vec<String> = crowd.iter_mut().map(|w| w.read().items()[1].text()).collect();
    got.sort();
    let mut want = values;
    want.push("only".into());
    want.sort();
    assert_eq!(got, want, "each got one");
}

#[test]
fn big_elements_get_nodes_of_their_own() {
    let srv = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = srv.connect();
    let nodes = |c: &mut Conn| {
        let text = c.run("DEBUG OBJECT l").text();
        text.split(" ql_nodes:").nth(1).map(|t| t.split(' ').next().unwrap_or("").to_string())
    };
    assert_eq!(c.run("DEBUG QUICKLIST-PACKED-THRESHOLD 5gb").error().split(' ').next(), Some("ERR"));
    assert_eq!(c.run("DEBUG QUICKLIST-PACKED-THRESHOLD 100b"), Value::ok());
    let big = "x".repeat(9000);
    c.cmd(&["RPUSH", "l", "small", &big, "small"]);
    assert_eq!(nodes(&mut c).as_deref(), Some("3"));
    assert_eq!(c.run("DEBUG QUICKLIST-PACKED-THRESHOLD 0"), Value::ok());
    let digest = c.run("DEBUG DIGEST-VALUE l");
    c.run("COPY l m");
    assert_eq!(c.run("DEBUG DIGEST-VALUE m"), digest);
    c.run("LSET m 0 other");
    assert_ne!(c.run("DEBUG DIGEST-VALUE m"), digest);
}
