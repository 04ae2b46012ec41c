//! How long the loop is held: a second client pings every half millisecond while the first one makes
//! the server grow, free and flush. A measuring program, not a check: it runs when it is asked for, and
//! prints a table of the longest answer times, best of three, beside those of a quiet server.
//!
//! ```text
//!   cargo test --release --test longest_pause -- --ignored --nocapture
//! ```

mod common;

use common::Server;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

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
    let stop = Arc::new(AtomicBool::new(false));
    let mut s = TcpStream::connect(("127.0.0.1", port)).expect("listening");
    s.set_nodelay(true).expect("tcp");
    let mut p = TcpStream::connect(("127.0.0.1", port)).expect("listening");
    p.set_nodelay(true).expect("tcp");
    let until = stop.clone();
    let pinger = thread::spawn(move || {
        let (mut worst, mut reply) = (Duration::ZERO, [0u8; 7]);
        while !until.load(Ordering::Relaxed) {
            let begun = Instant::now();
            p.write_all(b"*1\r\n$4\r\nPING\r\n").expect("alive");
            p.read_exact(&mut reply).expect("alive");
            worst = worst.max(begun.elapsed());
            thread::sleep(Duration::from_micros(500));
        }
        worst
    });
    work(&mut s);
    stop.store(true, Ordering::Relaxed);
    pinger.join().expect("the pinger ends")
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

#[test]
#[ignore = "a measuring program: prints a table, takes minutes, and wants a quiet machine"]
fn longest_pause() {
    let cases: [(&str, Option<Work>, Work); 4] = [
        ("quiet", None, quiet),
        ("growing through 2^20 keys", None, grow),
        ("DEL of a set of 2M members", Some(fill_set), del),
        ("FLUSHALL of 5M keys", Some(populate), flush),
    ];
    for (name, before, work) in cases {
        let best = (0..3).map(|_| {
            let server = Server::with(&["--enable-debug-command", "yes"]);
            if let Some(before) = before {
                let mut s = TcpStream::connect(("127.0.0.1", server.port)).expect("listening");
                before(&mut s);
            }
            longest(server.port, work)
        });
        println!("{name:30} {:>8.2} ms", best.min().expect("three runs").as_secs_f64() * 1e3);
    }
}
