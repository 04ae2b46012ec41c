//! How long the loop is held: a second client pings every half millisecond while the first one makes
//! the server grow, free, flush, evict, expire and rewrite its log. A measuring program, not a check: it
//! runs when it is asked for, and prints a table of the longest answer times, best of three, beside those
//! of a quiet server. With MEASURE_PAUSE only the cases run whose name holds it.
//!
//! ```text
//!   cargo test --release --test longest_pause -- --ignored --nocapture
//! ```

mod common;

use common::pinger::Pinger;
use common::{Conn, Server, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sends `n` pipelined commands and waits for as many replies of one line each.
fn pipeline(s: &mut TcpStream, n: usize, mut command: impl FnMut(usize, &mut Vec<u8>)) {
    let mut buf = Vec::new();
    let mut reply = [0u8; 65536];
    for start in (0..n).step_by(500) {
        let end = (start + 500).min(n);
        buf.clear();
        (start..end).for_each(|i| command(i, &mut buf));
        s.write_all(&buf).expect("the server takes it");
        let mut lines = 0;
        while lines < end - start {
            let got = s.read(&mut reply).expect("the server answers");
            assert!(got > 0, "the server closed");
            lines += reply[..got].iter().filter(|b| **b == b'\n').count();
        }
    }
}

fn words(out: &mut Vec<u8>, words: &[&str]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for w in words {
        out.extend_from_slice(format!("${}\r\n{w}\r\n", w.len()).as_bytes());
    }
}

/// The longest time between a ping and its answer while `work` runs.
fn longest(port: u16, work: impl FnOnce(&mut TcpStream)) -> Duration {
    let mut s = TcpStream::connect(("127.0.0.1", port)).expect("listening");
    s.set_nodelay(true).expect("tcp");
    let pinger = Pinger::start(port);
    work(&mut s);
    pinger.end()
}

type Work = fn(&mut TcpStream);

fn grow(s: &mut TcpStream) {
    pipeline(s, 1_200_000, |i, out| words(out, &["SET", &format!("key:{i:012}"), "x"]));
}

fn fill_set(s: &mut TcpStream) {
    pipeline(s, 2_000_000, |i, out| words(out, &["SADD", "big", &format!("member:{i}")]));
}

fn populate(s: &mut TcpStream) {
    pipeline(s, 1, |_, out| words(out, &["DEBUG", "POPULATE", "5000000"]));
}

fn quiet(_: &mut TcpStream) {
    thread::sleep(Duration::from_secs(2));
}

fn del(s: &mut TcpStream) {
    pipeline(s, 1, |_, out| words(out, &["DEL", "big"]));
    thread::sleep(Duration::from_millis(500));
}

fn flush(s: &mut TcpStream) {
    pipeline(s, 1, |_, out| words(out, &["FLUSHALL"]));
    thread::sleep(Duration::from_secs(1));
}

/// A connection of the other kind to the same server.
fn conn(s: &TcpStream) -> Conn {
    Conn::new(s.peer_addr().expect("connected").port())
}

fn two_million(s: &mut TcpStream) {
    pipeline(s, 1, |_, out| words(out, &["DEBUG", "POPULATE", "2000000", "key", "100"]));
}

/// Half of the memory is enough from now on, while another client writes in pipelines.
fn halve(s: &mut TcpStream) {
    let mut c = conn(s);
    c.run("CONFIG SET maxmemory-policy allkeys-lru");
    let half = c.figure("used_memory") / 2;
    c.run(&format!("CONFIG SET maxmemory {half}"));
    let value = "x".repeat(100);
    let mut round = 0;
    while c.figure("used_memory") > half + half / 100 {
        pipeline(s, 20_000, |i, out| words(out, &["SET", &format!("new:{round}:{i}"), &value]));
        round += 1;
    }
}

/// Milliseconds since 1970.
fn unix_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis()
}

/// A million keys that fall due at once, some time after all are there.
fn due_at_once(s: &mut TcpStream) {
    let due = (unix_ms() + 20_000).to_string();
    pipeline(s, 1_000_000, |i, out| words(out, &["SET", &format!("due:{i:09}"), "x", "PXAT", &due]));
    let mut c = conn(s);
    assert_eq!(c.run("DBSIZE").int(), 1_000_000, "filling took too long");
    while unix_ms() + 500 < due.parse().expect("a number") {
        thread::sleep(Duration::from_millis(100));
    }
}

fn fall_due(s: &mut TcpStream) {
    let mut c = conn(s);
    wait_until("all keys to expire", || c.run("DBSIZE").int() == 0);
}

fn rewrite(s: &mut TcpStream) {
    let mut c = conn(s);
    c.run("BGREWRITEAOF");
    wait_until("the rewrite to end", || {
        c.info("aof_rewrite_in_progress").as_deref() == Some("0")
            && c.info("aof_rewrite_scheduled").as_deref() == Some("0")
    });
    thread::sleep(Duration::from_millis(300));
}

fn save(s: &mut TcpStream) {
    let mut c = conn(s);
    c.run("BGSAVE");
    wait_until("the save to end", || c.info("rdb_bgsave_in_progress").as_deref() == Some("0"));
}

#[test]
#[ignore = "a measuring program: prints a table, takes minutes, and wants a quiet machine"]
fn longest_pause() {
    let wanted = common::setting("MEASURE_PAUSE", "");
    let cases: [(&str, Option<Work>, Work); 8] = [
        ("quiet", None, quiet),
        ("growing through 2^20 keys", None, grow),
        ("DEL of a set of 2M members", Some(fill_set), del),
        ("FLUSHALL of 5M keys", Some(populate), flush),
        ("halving maxmemory over 2M keys", Some(two_million), halve),
        ("1M keys that fall due at once", Some(due_at_once), fall_due),
        ("AOF rewrite of 2M keys", Some(two_million), rewrite),
        ("BGSAVE of 2M keys", Some(two_million), save),
    ];
    for (name, before, work) in cases {
        if !name.contains(&wanted) {
            continue;
        }
        let best = (0..3).map(|_| {
            let log = if name.starts_with("AOF") { "yes" } else { "no" };
            let server = Server::with(&["--enable-debug-command", "yes", "--appendonly", log]);
            if let Some(before) = before {
                let mut s = TcpStream::connect(("127.0.0.1", server.port)).expect("listening");
                before(&mut s);
            }
            longest(server.port, work)
        });
        println!("{name:30} {:>8.2} ms", best.min().expect("three runs").as_secs_f64() * 1e3);
    }
}
