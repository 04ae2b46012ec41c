//! One server of the two, and the two connections that we have to it.
//!
//! ```text
//!   main   ── the commands that are compared, one at a time ──────────────────────────► server
//!   watch  ◄─ pushes: keyspace events ──┐
//!          ── INFO persistence, DEBUG DIGEST-VALUE, OBJECT ENCODING, what another client does ─► server
//! ```
//!
//! The watch speaks RESP3 and is subscribed to all keyspace events. A server runs what main sent before what
//! we ask on the watch after main's reply, so every event of a command stands before the answer to the next
//! question: nothing has to be waited for. The same holds for what it wrote to its append only file.

use crate::common::{Conn, PATIENCE, Server, Value, Value::*};
use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

/// A command that has no reply after this is taken to wait, and is sent on.
const WAITS: Duration = Duration::from_millis(250);

pub struct Side {
    pub main: Conn,
    pub watch: Conn,
    port: u16,
    /// The client id of main.
    id: i64,
    resp3: bool,
    /// Changes, hits and misses that the server had counted when we last looked.
    figures: [i64; 3],
    heard: Vec<String>,
    aof: File,
}

/// What a command did beside its reply.
#[derive(Debug, PartialEq)]
pub struct Effects {
    pub changes: i64,
    pub hits: i64,
    pub misses: i64,
    pub events: Vec<String>,
    /// The words that went to the append only file.
    pub ops: Vec<Vec<u8>>,
}

impl Side {
    pub fn new(server: &Server, resp3: bool) -> Side {
        let (main, watch) = (server.connect(), server.connect());
        let aof = File::open(server.dir.join("appendonlydir/appendonly.aof.1.incr.aof"))
            .expect("an append only file");
        let port = server.port;
        let mut side = Side { main, watch, port, id: 0, resp3, figures: [0; 3], heard: vec![], aof };
        side.watch.run("HELLO 3");
        assert_eq!(side.watch.run("CONFIG SET notify-keyspace-events KEAnm"), Value::ok());
        assert_eq!(side.watch.run("DEBUG SET-ACTIVE-EXPIRE 0"), Value::ok());
        let said = side.watch.run("PSUBSCRIBE __key*__:*");
        assert!(matches!(said, Push(_)), "{said:?}");
        side.greet();
        side
    }

    /// A new main, after something that the old one may not have survived.
    pub fn reconnect(&mut self) {
        self.main = Conn::new(self.port);
        self.greet();
        let begun = Instant::now();
        while self.waiting() > 0 {
            assert!(begun.elapsed() < PATIENCE, "the old connection still waits");
        }
    }

    fn greet(&mut self) {
        if self.resp3 {
            let hello = self.main.run("HELLO 3");
            assert!(matches!(hello, Map(_)), "HELLO 3: {hello:?}");
        }
        self.id = self.main.run("CLIENT ID").int();
    }

    pub fn another(&self) -> Conn {
        Conn::new(self.port)
    }

    /// Main's reply. A client that would wait for good is sent on.
    pub fn reply(&mut self) -> Value {
        let begun = Instant::now();
        while !self.main.ready(WAITS) {
            assert!(begun.elapsed() < PATIENCE, "no reply on main");
            self.unblock(b"TIMEOUT");
        }
        self.main.read()
    }

    pub fn unblock(&mut self, how: &[u8]) -> Value {
        let id = self.id.to_string();
        self.ask(&[b"CLIENT", b"UNBLOCK", id.as_bytes(), how])
    }

    /// Something asked on the watch; events that come before the answer are kept.
    pub fn ask(&mut self, words: &[&[u8]]) -> Value {
        self.watch.put(words);
        self.answer()
    }

    pub fn answer(&mut self) -> Value {
        loop {
            match self.watch.read() {
                Push(items) => self.heard.push(event(&items)),
                other => return other,
            }
        }
    }

    /// Hangs up on everybody else.
    pub fn dismiss(&mut self) {
        let own = [self.id, self.ask(&[b"CLIENT", b"ID"]).int()];
        let list = self.ask(&[b"CLIENT", b"LIST"]).text();
        let ids = list.lines().filter_map(|l| l.strip_prefix("id=")?.split(' ').next());
        for id in ids.filter(|id| !own.iter().any(|o| o.to_string() == *id)) {
            self.ask(&[b"CLIENT", b"KILL", b"ID", id.as_bytes()]);
        }
    }

    /// How many clients wait.
    pub fn waiting(&mut self) -> i64 {
        let text = self.ask(&[b"INFO", b"clients"]).text();
        figure(&text, "blocked_clients")
    }

    pub fn put_question(&mut self) {
        self.watch.put(&["INFO", "persistence", "stats"]);
    }

    /// What happened since this was last read, after `put_question`; the answers to `more` questions that
    /// were put behind it. Those may do something too, so the file is read when they have been answered.
    pub fn effects(&mut self, more: usize) -> (Effects, Vec<Value>) {
        let text = self.answer().text();
        let now = ["rdb_changes_since_last_save", "keyspace_hits", "keyspace_misses"]
            .map(|name| figure(&text, name));
        let [changes, mut hits, mut misses] = [0, 1, 2].map(|i| now[i] - self.figures[i]);
        if hits < 0 {
            // RESETSTAT.
            (hits, misses) = (now[1], now[2]);
        }
        self.figures = now;
        let events = std::mem::take(&mut self.heard);
        let answers = (0..more).map(|_| self.answer()).collect();
        let mut written = Vec::new();
        self.aof.read_to_end(&mut written).expect("the file can be read");
        (Effects { changes, hits, misses, events, ops: words(&written) }, answers)
    }
}

/// The words of requests as the protocol writes them, each first one behind a line of its own.
fn words(mut b: &[u8]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let number = |line: &[u8]| std::str::from_utf8(line).ok()?.parse::<usize>().ok();
    while let Some(end) = b.iter().position(|c| *c == b'\r') {
        let (line, rest) = (&b[..end], b.get(end + 2..).unwrap_or(&[]));
        match (line.first(), number(line.get(1..).unwrap_or(&[]))) {
            (Some(b'*'), Some(_)) => {
                all.push(b"\n".to_vec());
                b = rest;
            }
            (Some(b'$'), Some(n)) if rest.len() >= n + 2 => {
                all.push(rest[..n].to_vec());
                b = &rest[n + 2..];
            }
            other => panic!("no request in the append only file: {other:?} {}", b.escape_ascii()),
        }
    }
    assert!(b.is_empty(), "a part of a request in the append only file: {}", b.escape_ascii());
    all
}

pub fn figure(info: &str, name: &str) -> i64 {
    let line = info.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|n| n.trim().parse().ok()).unwrap_or_else(|| panic!("INFO has {name}"))
}

/// Of `pmessage pattern channel payload`, the last two.
fn event(push: &[Value]) -> String {
    match push {
        [_, _, Bulk(channel), Bulk(payload)] => {
            format!("{} {}", channel.escape_ascii(), payload.escape_ascii())
        }
        other => format!("{other:?}"),
    }
}
