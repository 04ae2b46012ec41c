//! End to end: active defragmentation. What it wins, that it changes nothing, and what INFO tells of it.

mod common;

use common::{Conn, Server, Value, wait_until};

fn frag_ratio(c: &mut Conn) -> f64 {
    c.fact("allocator_frag_ratio").parse().expect("a number")
}

/// Works hard, and from little on.
const EAGER: &[&str] = &[
    "--hz",
    "100",
    "--active-defrag-threshold-lower",
    "5",
    "--active-defrag-ignore-bytes",
    "500kb",
    "--active-defrag-cycle-min",
    "60",
    "--active-defrag-cycle-max",
    "75",
    "--active-defrag-max-scan-fields",
    "100",
    "--save",
    "",
    "--enable-debug-command",
    "yes",
];

/// Runs many commands, and takes no interest in their replies.
fn all(c: &mut Conn, commands: impl Iterator<Item = Vec<String>>) {
    let commands: Vec<Vec<String>> = commands.collect();
    for some in commands.chunks(1000) {
        some.iter().for_each(|words| c.put(words));
        for _ in some {
            assert!(!matches!(c.read(), Value::Error(_)));
        }
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(String::from).collect()
}

/// Values of every encoding, small and big, between strings that are deleted again.
fn fill(c: &mut Conn) {
    let long = "x".repeat(150);
    for i in 0..40_000 {
        let ttl = if i % 3 == 0 { " PX 100000000" } else { "" };
        c.put(&words(&format!("SET str:{i} {long}{i}{ttl}")));
        let (kind, n) = (i % 10, i / 10);
        let key = n % 7;
        match kind {
            0 => c.put(&words(&format!("HSET hash:{key} field:{n} {long}"))),
            1 => c.put(&words(&format!("SADD set:{key} member:{n}"))),
            2 => c.put(&words(&format!("ZADD zset:{key} {n}.5 member:{n}"))),
            3 => c.put(&words(&format!("RPUSH list:{key} {long}{n}"))),
            4 => c.put(&words(&format!("XADD stream:{key} {}-1 field {n}", n + 1))),
            5 => c.put(&words(&format!("SADD ints:{n} 1 2 {n}"))),
            6 => c.put(&words(&format!("HSET small:{n} a {n}"))),
            7 => c.put(&words(&format!("SETRANGE raw:{n} 600 x"))),
            8 => c.put(&words(&format!("SET int:{n} {n}"))),
            _ => c.put(&words(&format!("ZADD tiny:{n} 1 a 2 b"))),
        }
        if i % 500 == 499 {
            (0..1000).for_each(|_| assert!(!matches!(c.read(), Value::Error(_))));
        }
    }
    for key in 0..7 {
        for group in ["g", "gg"] {
            c.cmd(&["XGROUP", "CREATE", &format!("stream:{key}"), group, "0"]);
            let read = format!("XREADGROUP GROUP {group} alice COUNT 300 STREAMS stream:{key} >");
            c.run(&read);
            c.run(&read.replace("alice", "bob"));
        }
    }
    // Three of four strings go, and of the others every second one.
    all(c, (0..40_000).filter(|i| i % 4 != 0).map(|i| words(&format!("DEL str:{i}"))));
    all(c, (0..4_000).filter(|i| i % 2 == 0).map(|n| words(&format!("DEL raw:{n} int:{n} tiny:{n}"))));
}

#[test]
fn what_is_lost_in_sparse_pages_is_won_back_and_nothing_changes() {
    let srv = Server::with(EAGER);
    let mut c = srv.connect();
    fill(&mut c);
    let (before, digest) = (frag_ratio(&mut c), c.run("DEBUG DIGEST").text());
    assert!(before > 1.2, "{before} is not fragmented");
    assert_eq!(c.figure("active_defrag_running"), 0);
    let mut other = srv.connect();
    assert_eq!(other.run("SELECT 9"), Value::ok());
    assert_eq!(c.run("CONFIG SET activedefrag yes"), Value::ok());
    wait_until("it runs", || c.figure("active_defrag_running") >= 60);
    // Keys come, change and go all the while, with and without a TTL.
    let mut n = 0;
    wait_until("it is done", || {
        for _ in 0..200 {
            n += 1;
            let key = n % 300;
            other.put(&words(&format!("SET k:{key} {}", "y".repeat(n % 700))));
            other.put(&words(&format!("PEXPIRE k:{key} {}", 1 + n % 50)));
            other.put(&words(&format!("HSET h:{} f:{n} v", n % 3)));
            other.put(&words(&format!("APPEND k:{} more", n % 301)));
        }
        for _ in 0..800 {
            assert!(!matches!(other.read(), Value::Error(_)));
        }
        c.figure("active_defrag_running") == 0
    });
    assert!(c.figure("active_defrag_hits") > 1000);
    assert!(c.figure("active_defrag_key_hits") > 500);
    assert!(c.figure("active_defrag_misses") > 0 && c.figure("active_defrag_key_misses") > 0);
    assert!(c.figure("total_active_defrag_time") > 0);
    assert_eq!(c.figure("current_active_defrag_time"), 0);
    assert_eq!(other.run("FLUSHDB"), Value::ok());
    assert_eq!(c.run("DEBUG DIGEST").text(), digest);
    let mut after = 9.0;
    wait_until("less is lost", || {
        after = frag_ratio(&mut c);
        after < 1.0 + (before - 1.0) / 2.0
    });
    assert_eq!(c.run("DEBUG RELOAD"), Value::ok());
    assert_eq!(c.run("DEBUG DIGEST").text(), digest);
    assert_eq!(c.run("CONFIG RESETSTAT"), Value::ok());
    assert_eq!(c.figure("active_defrag_hits") + c.figure("total_active_defrag_time"), 0);
}

#[test]
fn it_can_be_switched_off_and_on_while_everything_is_deleted() {
    let srv = Server::with(EAGER);
    let mut c = srv.connect();
    assert_eq!(c.run("CONFIG SET active-defrag-threshold-lower 1"), Value::ok());
    assert_eq!(c.run("CONFIG SET active-defrag-ignore-bytes 1kb"), Value::ok());
    for round in 0..3 {
        fill(&mut c);
        assert_eq!(c.run("CONFIG SET activedefrag yes"), Value::ok());
        wait_until("it runs", || c.figure("active_defrag_running") > 0);
        match round {
            0 => assert_eq!(c.run("FLUSHALL ASYNC"), Value::ok()),
            1 => assert_eq!(c.run("SWAPDB 0 1"), Value::ok()),
            _ => assert_eq!(c.run("FLUSHALL SYNC"), Value::ok()),
        }
        assert_eq!(c.run("CONFIG SET activedefrag no"), Value::ok());
        wait_until("it rests", || c.figure("active_defrag_running") == 0);
    }
}

#[test]
fn cached_scripts_move_too() {
    let srv = Server::with(EAGER);
    let mut c = srv.connect();
    let text = |i: usize| format!("--{}\nreturn {i:05}", "x".repeat(400));
    let one = |i: usize| {
        let script = vec!["SCRIPT".to_string(), "LOAD".into(), text(i)];
        [script, vec!["SET".to_string(), format!("k{i}"), text(i)]]
    };
    all(&mut c, (0..10_000).flat_map(one));
    all(&mut c, (0..10_000).map(|i| words(&format!("DEL k{i}"))));
    let before = frag_ratio(&mut c);
    assert!(before > 1.2, "{before} is not fragmented");
    assert_eq!(c.run("CONFIG SET activedefrag yes"), Value::ok());
    wait_until("it runs", || c.figure("active_defrag_running") > 0);
    wait_until("it is done", || c.figure("active_defrag_running") == 0);
    assert!(c.figure("active_defrag_hits") > 1000);
    for i in [0, 777, 9999] {
        assert_eq!(c.cmd(&["EVAL", &text(i), "0"]), Value::Int(i as i64));
    }
    assert_eq!(c.run("SCRIPT FLUSH SYNC"), Value::ok());
}
