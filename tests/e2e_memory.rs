//! End to end: `maxmemory`. Which commands are refused, which keys go, and how it is announced.

mod common;

use common::Value::{Int, Null};
use common::{Conn, Server, Value, wait_until};

fn ok(v: &Value) -> bool {
    *v == Value::ok()
}

/// A server that can hold `room` bytes more.
fn limited(policy: &str, room: i64, options: &[&str]) -> (Server, Conn) {
    let mut all = vec!["--maxmemory-policy", policy, "--latency-tracking", "no"];
    all.extend(options);
    let srv = Server::with(&all);
    let mut c = srv.connect();
    let limit = c.figure("used_memory") + room;
    assert!(ok(&c.cmd(&["CONFIG", "SET", "maxmemory", &limit.to_string()])));
    (srv, c)
}

/// In one unit, since a look at the figures may evict as well.
fn left_and_evicted(c: &mut Conn) -> (i64, i64) {
    let answers = c.pipeline(&["MULTI", "DBSIZE", "INFO stats", "EXEC"]);
    let [left, stats] = answers[3].items() else { panic!("two answers") };
    let stats = stats.text();
    let evicted = stats.lines().find_map(|l| l.strip_prefix("evicted_keys:"));
    (left.int(), evicted.expect("a field of INFO").parse().expect("a number"))
}

const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

#[test]
fn without_eviction_only_what_needs_memory_is_refused() {
    let (_srv, mut c) = limited("noeviction", 200_000, &[]);
    let value = "x".repeat(10_000);
    let mut kept = 0;
    let refused = loop {
        let r = c.cmd(&["SET", &format!("key:{kept}"), &value]);
        if !ok(&r) {
            break r;
        }
        kept += 1;
        assert!(kept < 100, "the limit is not kept");
    };
    assert_eq!(refused.error(), OOM);
    assert_eq!(c.run("GET key:0").text(), value);
    assert_eq!(c.run("LPUSH l a").error(), OOM);
    let why = c.run("EVAL return(redis.call('SET','a','b')) 0");
    assert!(why.error().starts_with(OOM), "{why:?}");
    assert_eq!(c.run("EVAL return(redis.call('DBSIZE')) 0"), Int(kept));

    // A transaction may be ended, but not grow; EXEC of readers runs.
    let answers = c.pipeline(&["MULTI", "SET a b", "GET key:1", "EXEC"]);
    assert_eq!((answers[1].error(), answers[2].error()), (OOM, OOM));
    assert!(answers[3].error().starts_with("EXECABORT"), "{:?}", answers[3]);
    let answers = c.pipeline(&["MULTI", "DISCARD", "PING"]);
    assert!(answers.iter().all(|a| !matches!(a, Value::Error(_))), "{answers:?}");

    assert_eq!(c.run("DEL key:0 key:1 key:2"), Int(3));
    assert!(ok(&c.run("SET a b")));
    assert_eq!(c.figure("evicted_keys"), 0);
}

#[test]
fn a_queued_command_that_needs_memory_spoils_exec_when_memory_is_short_then() {
    let (_srv, mut c) = limited("noeviction", 1_000_000, &[]);
    assert!(ok(&c.run("MULTI")));
    assert_eq!(c.run("SET a b").text(), "QUEUED");
    let mut other = _srv.connect();
    assert!(ok(&other.run("CONFIG SET maxmemory 1")));
    let why = c.run("EXEC");
    assert_eq!(why.error(), format!("EXECABORT Transaction discarded because of: {OOM}"));
    assert!(ok(&other.run("CONFIG SET maxmemory 0")));
    assert_eq!(c.run("GET a"), Null);
}

#[test]
fn evicted_keys_are_announced_and_leave_a_del_in_the_log() {
    let (srv, mut c) = limited("allkeys-random", 400_000, &["--appendonly", "yes"]);
    assert!(ok(&c.run("CONFIG SET notify-keyspace-events Ee")));
    let mut listener = srv.connect();
    listener.run("SUBSCRIBE __keyevent@0__:evicted");
    let value = "x".repeat(10_000);
    for i in 0..100 {
        assert!(ok(&c.cmd(&["SET", &format!("key:{i}"), &value])));
    }
    let (left, evicted) = left_and_evicted(&mut c);
    assert!((40..100).contains(&evicted), "{evicted} of 100 went");
    assert_eq!(left, 100 - evicted);
    let Value::Array(first) = listener.read() else { panic!("a message") };
    let name = first[2].text();
    assert_eq!(c.cmd(&["EXISTS", &name]), Int(0));
    let log = srv.aof();
    let dels = log.matches("$3\r\nDEL\r\n").count() as i64;
    assert!(dels >= evicted, "{dels} for {evicted}");
    assert!(!log.contains("MULTI"), "each is a unit of its own");
}

#[test]
fn only_keys_with_a_ttl_go_under_the_volatile_policies() {
    for policy in ["volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"] {
        let (_srv, mut c) = limited(policy, 300_000, &[]);
        let value = "x".repeat(2_000);
        for i in 0..50 {
            assert!(ok(&c.cmd(&["SET", &format!("stays:{i}"), &value])));
        }
        for i in 0..200 {
            let set = c.cmd(&["SET", &format!("goes:{i}"), &value, "EX", "10000"]);
            assert!(ok(&set), "{policy}: {set:?}");
        }
        let there = (0..50).filter(|i| c.cmd(&["EXISTS", &format!("stays:{i}")]) == Int(1)).count();
        assert_eq!(there, 50, "{policy}");
        assert!(c.figure("evicted_keys") > 50, "{policy}");
    }
}

/// With a factor of 0 every use counts and without decay none is forgotten: no chance decides.
#[test]
fn what_is_used_often_stays() {
    let counted = ["--maxmemory-samples", "10", "--lfu-log-factor", "0", "--lfu-decay-time", "0"];
    let (_srv, mut c) = limited("allkeys-lfu", 400_000, &counted);
    let value = "x".repeat(2_000);
    for i in 0..10 {
        assert!(ok(&c.cmd(&["SET", &format!("hot:{i}"), &value])));
        for _ in 0..100 {
            c.cmd(&["GET", &format!("hot:{i}")]);
        }
    }
    for i in 0..1000 {
        assert!(ok(&c.cmd(&["SET", &format!("cold:{i}"), &value])));
    }
    for i in 0..10 {
        // A new key starts from 5.
        assert_eq!(c.cmd(&["OBJECT", "FREQ", &format!("hot:{i}")]), Int(105), "hot:{i}");
    }
    assert!(c.figure("evicted_keys") > 500);
}

#[test]
fn a_lower_limit_is_reached_between_commands_and_the_log_warns() {
    let srv = Server::with(&["--maxmemory-policy", "allkeys-lru", "--maxmemory-eviction-tenacity", "0"]);
    let mut c = srv.connect();
    let before = c.figure("used_memory");
    let value = "x".repeat(1_000);
    let lines: Vec<String> = (0..5000).map(|i| format!("SET key:{i} {value}")).collect();
    c.pipeline(&lines.iter().map(|l| &l[..]).collect::<Vec<_>>());
    let limit = before + 1_000_000;
    assert!(ok(&c.cmd(&["CONFIG", "SET", "maxmemory", &limit.to_string()])));
    wait_until("memory to fit", || c.figure("used_memory") <= limit);
    let left = c.run("DBSIZE").int();
    assert!((100..2000).contains(&left), "{left} left");
    assert!(srv.log().contains("WARNING: the new maxmemory value set via CONFIG SET"));
    wait_until("the time over the limit to be booked", || {
        c.figure("current_eviction_exceeded_time") == 0
    });
    let (left, evicted) = left_and_evicted(&mut c);
    assert_eq!(left, 5000 - evicted);
    assert!(ok(&c.run("CONFIG RESETSTAT")));
    assert_eq!(c.figure("evicted_keys"), 0);
}

#[test]
fn lazy_eviction_frees_on_the_thread_and_leaves_as_unlink() {
    let options = ["--lazyfree-lazy-eviction", "yes", "--appendonly", "yes"];
    let (srv, mut c) = limited("allkeys-random", 1_000_000, &options);
    for i in 0..10 {
        let members: Vec<String> = (0..5000).map(|m| format!("member:{i}:{m}")).collect();
        let key = format!("set:{i}");
        let mut words = vec!["SADD", &key];
        words.extend(members.iter().map(|m| &m[..]));
        c.cmd(&words);
    }
    assert!(c.figure("evicted_keys") > 0, "the sets do not fit");
    wait_until("the thread to free them", || {
        c.figure("lazyfreed_objects") == left_and_evicted(&mut c).1
    });
    assert!(srv.aof().contains("UNLINK"));
}
