//! The path of a request, end to end: splits and pipelines, transactions, subscriptions, scripts, the
//! log, snapshots.

mod common;

use common::{Server, Value, wait_until};
use std::io::Write;

/// A request may come in any pieces; the replies are the same.
#[test]
fn smoke_any_split_of_a_pipeline() {
    let srv = Server::start();
    let stream = common::request(&["SET", "k", "v"]);
    let all =
        [&stream[..], b"PING\r\n", &common::request(&["GET", "k"]), &common::request(&["INCR", "n"])]
            .concat();
    for cut in 1..all.len() {
        let mut c = srv.connect();
        c.send(&all[..cut]);
        c.send(&all[cut..]);
        assert_eq!(c.read(), Value::ok());
        assert_eq!(c.line(), b"+PONG");
        assert_eq!(c.read(), Value::bulk("v"));
        assert_eq!(c.read().int(), cut as i64);
    }
}

#[test]
fn smoke_a_transaction_runs_whole_or_not_at_all() {
    let srv = Server::start();
    let (mut a, mut b) = (srv.connect(), srv.connect());
    a.run("WATCH k");
    b.run("SET k 1");
    a.run("MULTI");
    a.run("SET k 2");
    assert_eq!(a.run("EXEC"), Value::NullArray);
    assert_eq!(b.run("GET k"), Value::bulk("1"));
    a.run("MULTI");
    assert_eq!(a.run("INCR k").text(), "QUEUED");
    assert_eq!(a.run("EXEC").items()[0].int(), 2);
    a.run("MULTI");
    a.run("NOSUCHCOMMAND");
    assert_eq!(a.run("EXEC").error(), "EXECABORT Transaction discarded because of previous errors.");
}

/// A RESP3 client hears what it publishes itself, after the reply to PUBLISH.
#[test]
fn a_resp3_client_hears_itself() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("HELLO 3");
    c.run("SUBSCRIBE ch");
    c.put(&["PUBLISH", "ch", "hi"]);
    assert_eq!(c.line(), b":1");
    assert_eq!(c.line(), b">3");
}

#[test]
fn keyspace_events_reach_their_channel() {
    let srv = Server::with(&["--notify-keyspace-events", "KEA"]);
    let (mut a, mut b) = (srv.connect(), srv.connect());
    b.run("SUBSCRIBE __keyevent@0__:set");
    a.run("SET k v");
    let heard = b.read();
    assert_eq!(heard.items()[2].text(), "k");
}

#[test]
fn smoke_scripts_call_commands_and_see_their_errors() {
    let srv = Server::start();
    let mut c = srv.connect();
    let eval = |c: &mut common::Conn, script: &str| c.cmd(&["EVAL", script, "1", "k"]);
    assert_eq!(eval(&mut c, "return redis.call('set', KEYS[1], 'text')"), Value::ok());
    assert!(
        eval(&mut c, "return redis.call('incr', KEYS[1])")
            .error()
            .starts_with("ERR value is not an integer")
    );
    assert_eq!(
        eval(&mut c, "return redis.pcall('incr', KEYS[1]).err").text(),
        "ERR value is not an integer or out of range"
    );
}

/// While a script is busy others are told so, and one of them may end it.
#[test]
fn a_busy_script_is_killed() {
    let srv = Server::with(&["--busy-reply-threshold", "10"]);
    let (mut a, mut b) = (srv.connect(), srv.connect());
    a.put(&["EVAL", "while true do end", "0"]);
    wait_until("the script to be busy", || {
        let r = b.run("PING");
        matches!(&r, Value::Error(e) if e.starts_with("BUSY"))
    });
    assert_eq!(b.run("SCRIPT KILL"), Value::ok());
    assert!(a.read().error().contains("Script killed by user with SCRIPT KILL"));
    assert_eq!(b.run("PING").text(), "PONG");
}

/// What was acknowledged under `always` is there after kill -9, expired keys are not, transactions are
/// whole.
#[test]
fn the_log_survives_kill() {
    let mut srv = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let mut c = srv.connect();
    for i in 0..200 {
        assert_eq!(c.cmd(&["SET", &format!("k{i}"), &i.to_string()]), Value::ok());
    }
    c.run("SELECT 3");
    c.run("MULTI");
    c.run("INCR a");
    c.run("INCR b");
    c.run("EXEC");
    c.run("SET gone 1 PX 1");
    wait_until("the key to expire", || c.run("EXISTS gone").int() == 0);
    srv.kill();
    srv.restart();
    let mut c = srv.connect();
    assert_eq!(c.run("DBSIZE").int(), 200);
    assert_eq!(c.run("GET k199").text(), "199");
    c.run("SELECT 3");
    assert_eq!(c.run("DBSIZE").int(), 2);
}

/// The child writes and is reaped while commands go on.
#[test]
fn a_snapshot_is_written_beside_the_work() {
    let srv = Server::start();
    let mut c = srv.connect();
    for i in 0..1000 {
        c.cmd(&["SET", &format!("k{i}"), "some value that is stored"]);
    }
    let before = c.run("LASTSAVE").int();
    assert_eq!(c.run("BGSAVE").text(), "Background saving started");
    wait_until("the child to be reaped", || {
        c.run("INCR n");
        c.run("LASTSAVE").int() >= before
            && srv.log().contains("Background saving terminated with success")
    });
    let file = std::fs::read(srv.dir.join("dump.rdb")).expect("the snapshot");
    assert!(file.starts_with(b"REDIS0011"));
}

/// Whatever bytes come, the answer is an error or a closed connection, and others are served on.
#[test]
fn smoke_any_bytes_are_survived() {
    let srv = Server::start();
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    for round in 0..300 {
        let mut bytes = Vec::new();
        for _ in 0..(round % 40) + 1 {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let pieces: [&[u8]; 12] = [
                b"*3\r\n",
                b"$-1\r\n",
                b"*-5\r\n",
                b"$3\r\nSET\r\n",
                b"\r\n",
                b"\"",
                b"$99999999999\r\n",
                b"*1\r\n",
                b"\xff\x00",
                b"GET k\r\n",
                b"$1\r\nk\r\n",
                b"*1000000\r\n",
            ];
            bytes.extend_from_slice(pieces[(x >> 33) as usize % pieces.len()]);
        }
        let mut c = srv.connect();
        c.send(&bytes);
    }
    assert_eq!(srv.connect().run("PING").text(), "PONG");
}

/// What SAVE wrote is there after a restart, types and expiries too; a broken file stops the start and
/// stays.
#[test]
fn a_snapshot_is_read_back() {
    let mut srv = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = srv.connect();
    for i in 0..400 {
        c.cmd(&["SET", &format!("s{i}"), &"x".repeat(i)]);
        c.cmd(&["RPUSH", "l", &format!("e{i}")]);
        c.cmd(&["SADD", "t", &format!("m{i}")]);
        c.cmd(&["SADD", "i", &i.to_string()]);
        c.cmd(&["HSET", "h", &format!("f{i}"), "v"]);
        c.cmd(&["ZADD", "z", &i.to_string(), &format!("m{i}")]);
    }
    c.run("SET ttl 1 EX 1000");
    let digest = c.run("DEBUG DIGEST").text();
    assert_eq!(c.run("SAVE"), Value::ok());
    srv.kill();
    srv.restart();
    let mut c = srv.connect();
    assert_eq!(c.run("DEBUG DIGEST").text(), digest);
    assert!(c.run("TTL ttl").int() > 900);
    srv.kill();
    let path = srv.dir.join("dump.rdb");
    let mut bytes = std::fs::read(&path).expect("the snapshot");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    std::fs::write(&path, &bytes).expect("writable");
    let end = std::process::Command::new(env!("CARGO_BIN_EXE_redis-server"))
        .args(["--port", "0", "--unixsocket", "s.sock", "--dir"])
        .arg(&srv.dir)
        .output()
        .expect("the binary");
    assert_eq!(end.status.code(), Some(1));
    let log = String::from_utf8_lossy(&end.stdout);
    assert!(log.contains("Loading RDB") && !log.contains("Done loading RDB"), "{log}");
    assert_eq!(std::fs::read(&path).expect("still there"), bytes);
}

#[test]
fn a_deep_pipeline_does_not_wait_for_the_clock() {
    let srv = Server::with(&["--hz", "1"]);
    let mut c = srv.connect();
    const N: usize = 300_000;
    let mut writer = c.stream().try_clone().expect("a socket");
    let begun = std::time::Instant::now();
    std::thread::scope(|s| {
        let all = b"*1\r\n$4\r\nPING\r\n".repeat(N);
        s.spawn(move || writer.write_all(&all).expect("the server reads"));
        for _ in 0..N / 1000 {
            assert_eq!(c.take(7 * 1000), b"+PONG\r\n".repeat(1000));
        }
    });
    // It took a tick for each 64 KiB: more than a minute.
    let most = std::time::Duration::from_secs(40);
    assert!(begun.elapsed() < most, "the server slept over what it had to do");
}

#[test]
fn a_bulk_of_any_length_is_waited_for() {
    let srv = Server::with(&["--proto-max-bulk-len", "9223372036854775807"]);
    let mut c = srv.connect();
    for n in [i64::MAX, i64::MAX - 1, 1 << 62, 1 << 45] {
        let mut other = srv.connect();
        other.send(format!("*2\r\n$4\r\nECHO\r\n${n}\r\nabc").as_bytes());
        other.send(&[b'x'; 100_000]);
        wait_until("the beginning to be read", || {
            let list = c.cmd(&["CLIENT", "LIST"]).text();
            let held = |l: &str| l.split_once(" qbuf=").is_some_and(|(_, n)| n.starts_with("10000"));
            list.lines().any(held)
        });
    }
}
