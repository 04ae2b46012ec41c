//! Sorted sets end to end: reply shapes of both protocols, encodings, events, changes, blocking.

mod common;

use common::{Array, Bulk, Double, Error, Int, Null, NullArray, Server, Value, wait_blocked};

#[test]
fn scores_are_bulks_in_resp2_and_doubles_in_pairs_in_resp3() {
    let srv = Server::start();
    let mut c = srv.connect();
    assert_eq!(c.run("ZADD z 1 a 2.5 b inf c"), Int(3));
    assert_eq!(c.run("ZRANGE z 0 1 WITHSCORES"), Value::bulks(&["a", "1", "b", "2.5"]));
    assert_eq!(c.run("ZSCORE z c"), Value::bulk("inf"));
    assert_eq!(c.run("ZRANK z nobody WITHSCORE"), NullArray);
    c.run("HELLO 3");
    let pair = |m: &str, s: &str| Array(vec![Value::bulk(m), Double(s.into())]);
    assert_eq!(c.run("ZRANGE z 0 1 WITHSCORES"), Array(vec![pair("a", "1"), pair("b", "2.5")]));
    assert_eq!(c.run("ZMSCORE z a nobody"), Array(vec![Double("1".into()), Null]));
    assert_eq!(c.run("ZRANK z b WITHSCORE"), Array(vec![Int(1), Double("2.5".into())]));
    assert_eq!(c.run("ZPOPMIN z"), pair("a", "1"));
    assert_eq!(c.run("ZPOPMAX z 1"), Array(vec![pair("c", "inf")]));
}

#[test]
fn ranges_of_every_kind() {
    let srv = Server::start();
    let mut c = srv.connect();
    // Once as a listpack, once as a skiplist.
    for entries in ["128", "0"] {
        c.cmd(&["CONFIG", "SET", "zset-max-listpack-entries", entries]);
        c.run("DEL z d");
        c.run("ZADD z 0 a 0 b 0 c 0 d 0 e");
        assert_eq!(c.run("ZRANGE z (a [d BYLEX"), Value::bulks(&["b", "c", "d"]));
        assert_eq!(c.run("ZRANGE z + [b BYLEX REV LIMIT 1 2"), Value::bulks(&["d", "c"]));
        assert_eq!(c.run("ZLEXCOUNT z - (c"), Int(2));
        assert_eq!(c.run("ZINCRBY z 7 b"), Value::bulk("7"));
        assert_eq!(c.run("ZRANGEBYSCORE z (0 +inf"), Value::bulks(&["b"]));
        assert_eq!(c.run("ZREVRANGE z 0 0"), Value::bulks(&["b"]));
        assert_eq!(c.run("ZRANGESTORE d z 7 0 BYSCORE REV LIMIT 0 2"), Int(2));
        assert_eq!(c.run("ZRANGE d 0 -1"), Value::bulks(&["e", "b"]));
        assert_eq!(c.run("ZREMRANGEBYRANK z 1 -2"), Int(3));
        assert_eq!(c.run("ZRANGESTORE d z 5 9"), Int(0));
        assert_eq!(c.run("EXISTS d"), Int(0));
    }
    assert_eq!(c.run("ZRANGE z a b BYSCORE").error(), "ERR min or max is not a float");
    assert_eq!(c.run("ZRANGE z a b BYLEX").error(), "ERR min or max not valid string range item");
}

#[test]
fn encodings_follow_the_directives() {
    let srv = Server::with(&["--zset-max-listpack-entries", "3", "--zset-max-listpack-value", "4"]);
    let mut c = srv.connect();
    let mut encoding = |line: &str| {
        c.run("DEL z");
        c.run(line);
        c.run("OBJECT ENCODING z").text()
    };
    assert_eq!(encoding("ZADD z 1 a 2 b 3 c"), "listpack");
    assert_eq!(encoding("ZADD z 1 a 2 b 3 c 4 d"), "skiplist");
    assert_eq!(encoding("ZADD z 1 abcd"), "listpack");
    assert_eq!(encoding("ZADD z 1 abcde"), "skiplist");
}

#[test]
fn set_operations_take_sets_and_weights() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("ZADD a 1 x 2 y inf z");
    c.run("SADD s y z w");
    let union = c.run("ZUNION 2 a s WEIGHTS 2 10 WITHSCORES");
    assert_eq!(union, Value::bulks(&["x", "2", "w", "10", "y", "14", "z", "inf"]));
    assert_eq!(
        c.run("ZUNION 2 a a WEIGHTS 1 -1 WITHSCORES"),
        Value::bulks(&["x", "0", "y", "0", "z", "0"])
    );
    assert_eq!(c.run("ZINTERSTORE a 2 a s AGGREGATE MIN"), Int(2));
    assert_eq!(c.run("ZRANGE a 0 -1 WITHSCORES"), Value::bulks(&["y", "1", "z", "1"]));
    assert_eq!(c.run("ZINTERCARD 2 a s LIMIT 1"), Int(1));
    assert_eq!(c.run("ZDIFF 2 s a"), Value::bulks(&["w"]));
    assert_eq!(c.run("ZDIFFSTORE a 2 a s"), Int(0));
    assert_eq!(c.run("EXISTS a"), Int(0));
    let none = c.run("ZUNION 0 a");
    assert_eq!(none, Error("ERR at least 1 input key is needed for 'zunion' command".into()));
}

#[test]
fn changes_are_announced_in_order() {
    let srv = Server::with(&["--notify-keyspace-events", "Ezgn"]);
    let (mut c, mut sub) = (srv.connect(), srv.connect());
    sub.run("PSUBSCRIBE __keyevent@0__:*");
    for line in [
        "ZADD z 1 a 2 b",
        "ZADD z 1 a",
        "ZINCRBY z 1 a",
        "ZREM z a nobody",
        "ZUNIONSTORE u 1 z",
        "ZPOPMIN z 9",
        "ZREMRANGEBYSCORE u 0 9",
    ] {
        c.run(line);
    }
    for (event, key) in [
        ("new", "z"),
        ("zadd", "z"),
        ("zincr", "z"),
        ("zrem", "z"),
        ("new", "u"),
        ("zunionstore", "u"),
        ("zpopmin", "z"),
        ("del", "z"),
        ("zremrangebyscore", "u"),
        ("del", "u"),
    ] {
        let heard = sub.read();
        assert_eq!(heard.items()[2].text(), format!("__keyevent@0__:{event}"));
        assert_eq!(heard.items()[3].text(), key);
    }
}

#[test]
fn pops_wait_for_the_first_of_their_keys() {
    let srv = Server::start();
    let (mut c, mut first, mut second) = (srv.connect(), srv.connect(), srv.connect());
    first.put(&["BZPOPMAX", "a", "b", "0"]);
    wait_blocked(&mut c, 1);
    second.put(&["BZMPOP", "0", "1", "b", "MIN", "COUNT", "5"]);
    wait_blocked(&mut c, 2);
    // Another type under the key wakes no client.
    c.run("SET b x");
    c.run("DEL b");
    assert_eq!(c.run("ZADD b 1 x 2 y 3 z"), Int(3));
    assert_eq!(first.read(), Value::bulks(&["b", "z", "3"]));
    let pair = |m: &str, s: &str| Value::bulks(&[m, s]);
    let pairs = Array(vec![pair("x", "1"), pair("y", "2")]);
    assert_eq!(second.read(), Array(vec![Bulk(b"b".to_vec()), pairs]));
    assert_eq!(c.run("EXISTS b"), Int(0));
    assert_eq!(c.run("BZPOPMIN a 0.01"), NullArray);
}
