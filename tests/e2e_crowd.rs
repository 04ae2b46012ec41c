//! Ten thousand clients that wait: who came first is served first, nobody else is woken, and those who
//! leave are forgotten.

mod common;

use common::{Server, Value::*, request, wait_blocked, wait_until};
use oxidis::limits;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Clients of the largest crowd.
const MOST: usize = 10_000;
/// Descriptors of a test besides those of its crowd.
const SPARE: usize = 300;

/// One crowd at a time: all tests of this file share the descriptors of one process.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As many connections as there are to be, or as this machine lets a process have.
fn crowd(srv: &Server, wanted: usize) -> Vec<TcpStream> {
    // The same for all, since a limit that was set is not raised again without privileges.
    let files = u32::try_from(MOST + SPARE).expect("a small number");
    let allowed = limits::adjust_open_files(files).expect("a limit that leaves room");
    let n = wanted.min((allowed as usize).saturating_sub(SPARE));
    assert!(n >= 500, "too few descriptors to make a crowd");
    (0..n).map(|_| TcpStream::connect(("127.0.0.1", srv.port)).expect("the server listens")).collect()
}

fn send(s: &mut TcpStream, line: &str) {
    s.write_all(&request(&line.split(' ').collect::<Vec<_>>())).expect("the server reads");
}

fn expect(s: &mut TcpStream, reply: &str) {
    let mut got = vec![0; reply.len()];
    s.read_exact(&mut got).expect("the server answers");
    assert_eq!(String::from_utf8_lossy(&got), reply);
}

fn popped(key: &str, value: &str) -> String {
    format!("*2\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len())
}

fn calls(c: &mut common::Conn, name: &str) -> usize {
    let text = c.run("INFO commandstats").text();
    let head = format!("cmdstat_{name}:calls=");
    let of = |l: &str| l.strip_prefix(&head)?.split(',').next()?.parse().ok();
    text.lines().find_map(of).unwrap_or(0)
}

#[test]
fn ten_thousand_wait_in_line() {
    let _alone = alone();
    let srv = Server::with(&["--maxclients", "15000"]);
    let mut c = srv.connect();
    let mut waiting = crowd(&srv, MOST);
    let n = waiting.len();
    for (i, s) in waiting.iter_mut().enumerate() {
        // One after the other, so that the line is known; several keys each, one of them common.
        send(s, &format!("BLPOP own:{i} common other 0"));
        let blocked = format!("\r\nblocked_clients:{}\r\n", i + 1);
        wait_until("the next in line", || c.run("INFO clients").text().contains(&blocked));
    }
    // A key that only one of them waits for wakes that one.
    c.run("CONFIG RESETSTAT");
    c.run(&format!("RPUSH own:{} x", n - 1));
    expect(&mut waiting[n - 1], &popped(&format!("own:{}", n - 1), "x"));
    assert_eq!((calls(&mut c, "blpop"), c.figure("blocked_clients")), (1, n as i64 - 1));
    // Of another type: nobody is woken, nobody leaves.
    c.run("SET own:5 text");
    c.run("SADD other m");
    assert_eq!((calls(&mut c, "blpop"), c.figure("blocked_clients")), (1, n as i64 - 1));
    c.run("DEL other own:5");
    // The head of the line by itself, then all of the rest by one push after the other.
    c.run("RPUSH common 0");
    expect(&mut waiting[0], &popped("common", "0"));
    assert_eq!(calls(&mut c, "blpop"), 2);
    for from in (1..n - 1).step_by(1000) {
        let to = (from + 1000).min(n - 1);
        let values: Vec<String> = (from..to).map(|i| i.to_string()).collect();
        assert_eq!(c.run(&format!("RPUSH common {}", values.join(" "))), Int((to - from) as i64));
        for (s, v) in waiting[from..to].iter_mut().zip(values) {
            expect(s, &popped("common", &v));
        }
    }
    assert_eq!((c.figure("blocked_clients"), calls(&mut c, "blpop")), (0, n));
    assert_eq!(c.run("EXISTS common"), Int(0));
}

#[test]
fn a_crowd_that_leaves_is_forgotten() {
    let _alone = alone();
    let srv = Server::with(&["--maxclients", "15000"]);
    let mut c = srv.connect();
    let mut waiting = crowd(&srv, 3000);
    let n = waiting.len();
    for s in &mut waiting {
        send(s, "BRPOP a b c 0");
    }
    wait_blocked(&mut c, n);
    // All but the last, whose turn it is then.
    let mut last = waiting.pop().expect("a crowd");
    drop(waiting);
    wait_until("the crowd to be gone", || c.figure("blocked_clients") == 1);
    c.run("RPUSH b 1 2");
    expect(&mut last, &popped("b", "2"));
    assert_eq!(c.run("LRANGE b 0 -1").items().len(), 1);
}
