//! End to end: what a master learns from its replicas. WAIT and WAITAOF, a replica that only shows that it
//! lives, a handover by FAILOVER, and keys that are handed over by MIGRATE.

mod common;

use common::Value::{Array, Int, Null};
use common::{Conn, Server, Value, wait_blocked, wait_until, waiting};
use std::io::{Read, Write};
use std::net::TcpListener;

const GETACK: [&str; 3] = ["REPLCONF", "GETACK", "*"];

/// A replica by hand, which has its snapshot: the connection, and the offset behind it.
#[track_caller]
fn replica(srv: &Server) -> (Conn, i64) {
    let mut c = srv.connect();
    c.put(&["PSYNC", "?", "-1"]);
    let line = loop {
        let line = c.line();
        if !line.is_empty() {
            break String::from_utf8(line).expect("text");
        }
    };
    let offset = line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("FULLRESYNC id offset");
    let length = loop {
        let line = c.line();
        if !line.is_empty() {
            break String::from_utf8(line).expect("text");
        }
    };
    c.take(length[1..].parse().expect("a length"));
    let mut to = srv.connect();
    wait_until("the replica to be online", || to.fact("slave0").contains("state=online"));
    (c, offset)
}

fn words(v: &Value) -> Vec<String> {
    v.items().iter().map(Value::text).collect()
}

/// Reads the stream up to the next GETACK; the offset behind it.
#[track_caller]
fn asked(r: &mut Conn, mut offset: i64) -> i64 {
    loop {
        let words = words(&r.read());
        offset += common::request(&words).len() as i64;
        if words == GETACK {
            return offset;
        }
    }
}

fn ack(r: &mut Conn, offset: i64) {
    r.put(&["REPLCONF", "ACK", &offset.to_string()]);
}

fn quiet(options: &[&str]) -> Server {
    Server::with(&[&["--repl-ping-replica-period", "3600"], options].concat())
}

#[test]
fn wait_counts_replicas_that_have_the_last_write_of_the_caller() {
    let srv = quiet(&[]);
    let (mut r, start) = replica(&srv);
    let mut c = srv.connect();
    assert_eq!(c.run("SET k 1"), Value::ok());
    assert_eq!(c.run("WAIT 1 1"), Int(0));
    let end = asked(&mut r, start);
    // Another client has written nothing.
    assert_eq!(srv.connect().run("WAIT 1 0"), Int(1));
    c.put(&["WAIT", "1", "0"]);
    wait_blocked(&mut srv.connect(), 1);
    ack(&mut r, end);
    assert_eq!(c.read(), Int(1));
    assert_eq!(c.run("WAIT 2 1"), Int(1), "as many as there are when the time is over");
    assert_eq!(c.run("WAIT 0 0"), Int(1));
    assert!(c.run("INFO commandstats").text().contains("cmdstat_wait:calls=5,"));
}

#[test]
fn wait_answers_at_once_where_it_may_not_block() {
    let srv = quiet(&[]);
    let (_r, _) = replica(&srv);
    let mut c = srv.connect();
    let got = c.pipeline(&["MULTI", "SET k 1", "WAIT 1 0", "EXEC"]);
    assert_eq!(got[3], Array(vec![Value::ok(), Int(1)]), "before the transaction nothing was written");
    assert_eq!(c.cmd(&["EVAL", "return redis.call('wait', '5', '0')", "0"]), Int(1));
    for (line, why) in [
        ("WAIT x 0", "ERR value is not an integer or out of range"),
        ("WAIT 1 -1", "ERR timeout is negative"),
        ("WAITAOF 2 0 0", "ERR value is out of range, value must between 0 and 1"),
        ("WAITAOF 0 -1 0", "ERR value is out of range, must be positive"),
        ("WAITAOF 1 0 0", "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."),
    ] {
        assert_eq!(c.run(line).error(), why, "{line}");
    }
}

#[test]
fn a_wait_ends_by_unblock_and_by_a_change_of_role() {
    let srv = quiet(&[]);
    let mut c = srv.connect();
    assert_eq!(c.run("SET k 1"), Value::ok());
    let mut w = waiting(&srv, &mut c, "WAIT 1 0");
    let id = c.run("CLIENT LIST").text();
    let id = id.lines().find(|l| l.contains("cmd=wait")).and_then(|l| l.split(' ').next());
    let id = id.and_then(|id| id.strip_prefix("id=")).expect("it is listed").to_string();
    assert_eq!(c.cmd(&["CLIENT", "UNBLOCK", &id]), Int(1));
    assert_eq!(w.read(), Int(0));
    w.put(&["WAIT", "1", "0"]);
    wait_blocked(&mut c, 1);
    assert_eq!(c.run("REPLICAOF 127.0.0.1 1"), Value::ok());
    assert!(w.read().error().starts_with("UNBLOCKED"));
    assert!(c.run("WAIT 1 0").error().starts_with("ERR WAIT cannot be used with replica instances."));
    assert!(c.run("WAITAOF 0 1 0").error().starts_with("ERR WAITAOF cannot be used with replica"));
}

#[test]
fn waitaof_waits_for_the_disks_and_fails_without_a_log() {
    let srv = quiet(&["--appendonly", "yes", "--appendfsync", "no"]);
    let (mut r, start) = replica(&srv);
    let mut c = srv.connect();
    assert_eq!(c.run("SET k 1"), Value::ok());
    let end = asked_after_wait(&srv, &mut r, start);
    ack(&mut r, end);
    assert_eq!(c.run("WAITAOF 0 1 1"), Array(vec![Int(0), Int(0)]), "applied, but not on its disk");
    r.put(&["REPLCONF", "ACK", &end.to_string(), "FACK", &end.to_string()]);
    assert_eq!(c.run("WAITAOF 0 1 0"), Array(vec![Int(0), Int(1)]));
    let mut w = srv.connect();
    w.pipeline(&["SET k 2"]);
    w.put(&["WAITAOF", "1", "0", "0"]);
    wait_blocked(&mut c, 1);
    assert_eq!(c.run("CONFIG SET appendfsync always"), Value::ok());
    assert_eq!(w.read(), Array(vec![Int(1), Int(0)]));
    assert_eq!(c.run("CONFIG SET appendfsync no"), Value::ok());
    w.pipeline(&["SET k 3"]);
    w.put(&["WAITAOF", "1", "0", "0"]);
    wait_blocked(&mut c, 1);
    assert_eq!(c.run("CONFIG SET appendonly no"), Value::ok());
    assert!(w.read().error().contains("appendonly is disabled"));
}

/// A WAIT that times out has the replica asked.
#[track_caller]
fn asked_after_wait(srv: &Server, r: &mut Conn, start: i64) -> i64 {
    let mut c = srv.connect();
    c.run("SET other 1");
    c.run("WAIT 1 1");
    asked(r, start)
}

#[test]
fn a_log_alone_is_waited_for_and_begins_anew_when_it_is_switched_on_again() {
    let srv = quiet(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut c = srv.connect();
    for (before, after) in [("SET k 1", "WAITAOF 1 0 0"), ("INCR k", "WAITAOF 1 0 0")] {
        c.run(before);
        assert_eq!(c.run(after), Array(vec![Int(1), Int(0)]));
    }
    c.pipeline(&["CONFIG SET appendonly no", "INCR k", "CONFIG SET appendonly yes", "INCR k"]);
    assert_eq!(c.run("WAITAOF 1 0 0"), Array(vec![Int(1), Int(0)]));
    assert_eq!(c.fact("aof_rewrite_in_progress"), "0", "the first base was waited for");
}

#[test]
fn a_replica_that_only_shows_that_it_lives_stays() {
    let srv = quiet(&["--repl-timeout", "2"]);
    let (mut r, _) = replica(&srv);
    let mut c = srv.connect();
    let begun = c.figure("uptime_in_seconds");
    wait_until("the time to pass", || {
        r.send(b"\n");
        c.figure("uptime_in_seconds") > begun + 5
    });
    assert_eq!(c.figure("connected_slaves"), 1);
}

#[test]
fn a_failover_changes_the_roles_and_loses_nothing() {
    let (a, b) = (Server::start(), Server::start());
    let (mut ca, mut cb) = (a.connect(), b.connect());
    assert_eq!(ca.run("FAILOVER").error(), "ERR FAILOVER requires connected replicas.");
    assert_eq!(ca.run("FAILOVER ABORT").error(), "ERR No failover in progress.");
    assert_eq!(ca.run("FAILOVER TIMEOUT 0").error(), "ERR FAILOVER timeout must be greater than 0");
    assert_eq!(cb.run(&format!("REPLICAOF 127.0.0.1 {}", a.port)), Value::ok());
    wait_until("the replica to be online", || {
        ca.info("slave0").is_some_and(|s| s.contains("state=online"))
    });
    assert_eq!(ca.run("SET k 1"), Value::ok());
    let to = |rest: &str| format!("FAILOVER TO 127.0.0.1 {}{rest}", b.port);
    assert!(ca.run(&to(" FORCE")).error().contains("requires both a timeout"));
    let other = format!("FAILOVER TO 127.0.0.1 {}", a.port);
    assert_eq!(ca.run(&other).error(), "ERR FAILOVER target HOST and PORT is not a replica.");
    assert_eq!(ca.run(&to(" TIMEOUT 60000")), Value::ok());
    // A write that comes meanwhile waits, and is then told where to go.
    let refused = ca.run("SET k 2");
    assert!(refused.error().starts_with("READONLY"), "{refused:?}");
    wait_until("the roles to change", || cb.fact("role") == "master");
    wait_until("the link", || ca.info("master_link_status").as_deref() == Some("up"));
    assert_eq!(ca.fact("master_failover_state"), "no-failover");
    assert_eq!(cb.run("INCR k"), Int(2));
    wait_until("the write to arrive", || ca.run("GET k").text() == "2");
    assert_eq!(ca.fact("sync_full"), "1");
    assert_eq!(cb.fact("sync_full"), "0", "it went on where it was");
}

#[test]
fn a_failover_that_is_not_taken_up_is_called_off() {
    let srv = quiet(&[]);
    let (mut r, _) = replica(&srv);
    let mut c = srv.connect();
    assert_eq!(c.run("SET k 1"), Value::ok());
    assert_eq!(c.run("FAILOVER"), Value::ok());
    assert_eq!(c.fact("master_failover_state"), "waiting-for-sync");
    assert_eq!(c.run("FAILOVER").error(), "ERR FAILOVER already in progress.");
    assert_eq!(c.run("REPLICAOF NO ONE").error(), "ERR REPLICAOF not allowed while failing over.");
    let sync = srv.connect().run("PSYNC ? -1");
    assert_eq!(sync.error(), "NOMASTERLINK Can't SYNC while failing over");
    let mut w = waiting(&srv, &mut c, "SET k 2");
    assert_eq!(c.run("FAILOVER ABORT"), Value::ok());
    assert_eq!(w.read(), Value::ok());
    // With a deadline, which passes.
    assert_eq!(c.run("FAILOVER TIMEOUT 1"), Value::ok());
    wait_until("the deadline", || c.fact("master_failover_state") == "no-failover");
    assert_eq!(c.run("SET k 3"), Value::ok());
    // The replica has all, but nothing listens where it says that it does.
    let end = c.figure("master_repl_offset");
    assert_eq!(c.run("FAILOVER"), Value::ok());
    ack(&mut r, end);
    wait_until("the change", || c.fact("master_failover_state") == "failover-in-progress");
    assert_eq!(c.fact("role"), "slave");
    assert_eq!(c.run("FAILOVER ABORT"), Value::ok());
    assert_eq!(c.fact("role"), "master");
    assert_eq!(c.run("SET k 4"), Value::ok());
}

#[test]
fn keys_move_to_another_server() {
    let (a, b) = (Server::start(), Server::start());
    let (mut ca, mut cb) = (a.connect(), b.connect());
    let (mut r, _) = replica(&a);
    ca.pipeline(&["SET k v", "RPUSH l 1 2 3", "PEXPIRE l 1000000", "SET stays 1"]);
    let to = |rest: &str| format!("127.0.0.1 {} {rest}", b.port);
    assert_eq!(ca.run(&format!("MIGRATE {}", to("none 0 5000"))), Value::Status("NOKEY".into()));
    assert_eq!(ca.run(&format!("MIGRATE {}", to("k 9 5000 COPY"))), Value::ok());
    assert_eq!(ca.run(&format!("MIGRATE {}", to("k 9 5000"))).error(), BUSY);
    assert_eq!(ca.run(&format!("MIGRATE {}", to("k 9 5000 REPLACE"))), Value::ok());
    let port = b.port.to_string();
    let many = ["MIGRATE", "127.0.0.1", &port, "", "9", "5000", "KEYS", "l", "stays", "none"];
    assert_eq!(ca.cmd(&many), Value::ok());
    assert_eq!((ca.run("DBSIZE"), ca.figure("migrate_cached_sockets")), (Int(0), 1));
    cb.run("SELECT 9");
    assert_eq!((cb.run("GET k").text(), cb.run("LLEN l")), ("v".into(), Int(3)));
    assert!(cb.run("PTTL l").int() > 0 && cb.run("PTTL k").int() == -1);
    let stream: Vec<String> = (0..8).map(|_| words(&r.read()).join(" ")).collect();
    assert_eq!(stream[5..7], ["DEL k", "DEL l stays"], "{stream:?}");
}

const BUSY: &str = "ERR Target instance replied with error: BUSYKEY Target key name already exists.";

#[test]
fn only_what_the_target_has_acknowledged_leaves() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.pipeline(&["SET a 1", "SET b 2"]);
    let target = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = target.local_addr().expect("bound").port().to_string();
    let many = ["MIGRATE", "127.0.0.1", &port, "", "0", "60000", "KEYS", "a", "b"];
    // It acknowledges SELECT and the first key, and goes.
    let played = std::thread::spawn(move || {
        let (mut s, _) = target.accept().expect("it connects");
        s.write_all(b"+OK\r\n+OK\r\n").expect("room");
        s.shutdown(std::net::Shutdown::Write).expect("open");
        let mut asked = Vec::new();
        s.read_to_end(&mut asked).expect("it closes");
        target
    });
    assert_eq!(c.cmd(&many).error(), "IOERR error or timeout reading to target instance");
    assert_eq!((c.run("GET a"), c.run("GET b").text()), (Null, "2".into()));
    // One that closes before it has answered is asked once more.
    let target = played.join().expect("no panic");
    let played = std::thread::spawn(move || {
        drop(target.accept().expect("it connects"));
        let (mut s, _) = target.accept().expect("it connects again");
        s.write_all(b"+OK\r\n-ERR no\r\n").expect("room");
        s
    });
    let one = ["MIGRATE", "127.0.0.1", &port, "b", "0", "60000", "AUTH", "secret"];
    assert_eq!(c.cmd(&one[..6]).error(), "ERR Target instance replied with error: ERR no");
    drop(played.join().expect("no panic"));
    c.run("CONFIG SET slowlog-log-slower-than 0");
    assert!(c.cmd(&one).error().starts_with("IOERR"));
    let slow = format!("{:?}", c.run("SLOWLOG GET"));
    assert!(slow.contains("(redacted)") && !slow.contains("secret"), "{slow}");
}
