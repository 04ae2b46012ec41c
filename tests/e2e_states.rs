//! Clients in every state at once: blocked, paused, queueing, watching, subscribed, replicas, with
//! unread replies, with half a request, with a script that is too slow; killed, evicted and hung up in
//! each of them while databases are emptied, swapped, saved, loaded and rewritten, and keys expire and
//! are evicted under scans.
//!
//! The replies are not looked at. What is asserted is that the server lives and answers afterwards: in
//! the profile of the tests its own assertions are on, and `make asan` runs the same with every access
//! to memory checked. SMOKE_SEED is another course of events, SMOKE_ROUNDS a longer one of the second.

mod common;

use common::{Conn, Server, Value, number, request, wait_until};
use oxidis::algo::rng::Rng;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

const CLIENTS: usize = 24;
/// Enough to see every line in most states.
const REQUESTS: usize = 30_000;

/// `#k` a key, `#n` a small number, `#id` a client, `#x` a long string.
const DATA: &[&str] = &[
    "SET #k #x",
    "SET e:#n v PX #n",
    "SET f:#n:#n v PX #n",
    "GET #k",
    "GETDEL #k",
    "DEL #k #k",
    "APPEND #k #x",
    "SETRANGE a 20000 x",
    "LPUSH l #n #n #x",
    "RPUSH m #x",
    "LPOP l 5",
    "LRANGE l 0 -1",
    "LMOVE l m LEFT RIGHT",
    "ZADD z #n m:#n #n m:#n",
    "ZPOPMIN z 2",
    "ZUNIONSTORE z 2 z y",
    "SADD s #n a#n b#n c#n",
    "SPOP s 2",
    "SINTERSTORE s s s",
    "HSET h #n #x #n #n",
    "HGETALL h",
    "XADD st * f #x",
    "XGROUP CREATE st g $ MKSTREAM",
    "XGROUP DESTROY st g",
    "SORT l",
    "SCAN #n",
    "HSCAN h 0",
    "KEYS *",
    "RANDOMKEY",
    "PEXPIRE #k #n",
    "RENAME #k #k",
    "COPY #k #k REPLACE",
    "MOVE #k 1",
    "SELECT 0",
    "SELECT 1",
    "SWAPDB 0 1",
    "FLUSHALL",
    "FLUSHALL ASYNC",
    "FLUSHDB SYNC",
    "OBJECT ENCODING #k",
    "MEMORY USAGE #k",
    "PUBLISH ch #x",
    "SPUBLISH ch #x",
    "PING",
];

const WAITS: &[&str] = &[
    "BLPOP l #k 0",
    "BRPOP #k m 0.01",
    "BLMOVE l m LEFT RIGHT 0",
    "BLMOVE m l LEFT LEFT 0.02",
    "BLMPOP 0 2 l m LEFT",
    "BZPOPMIN z 0",
    "BZMPOP 0.01 1 z MIN",
    "XREAD BLOCK 0 STREAMS st $",
    "XREADGROUP GROUP g c BLOCK 5 STREAMS st >",
];

const SESSION: &[&str] = &[
    "MULTI",
    "EXEC",
    "EXEC",
    "DISCARD",
    "WATCH #k",
    "UNWATCH",
    "SUBSCRIBE ch",
    "UNSUBSCRIBE",
    "PSUBSCRIBE __key*",
    "SSUBSCRIBE ch",
    "MONITOR",
    "RESET",
    "HELLO 3",
    "HELLO 2",
    "CLIENT REPLY OFF",
    "CLIENT REPLY SKIP",
    "QUIT",
    "CLIENT KILL ID #id",
    "CLIENT KILL ID #id SKIPME no",
    "CLIENT KILL TYPE pubsub",
    "CLIENT KILL TYPE replica",
    "CLIENT UNBLOCK #id",
    "CLIENT UNBLOCK #id ERROR",
    "CLIENT PAUSE #n WRITE",
    "CLIENT PAUSE #n",
    "CLIENT UNPAUSE",
    "CLIENT LIST",
    "CLIENT NO-EVICT on",
    "CLIENT SETNAME n#n",
    "SYNC",
    "PSYNC ? -1",
    "SCRIPT KILL",
    "SCRIPT KILL",
    "SCRIPT FLUSH",
];

const RARE: &[&str] = &[
    "CONFIG SET maxmemory 3mb",
    "CONFIG SET maxmemory 0",
    "CONFIG SET maxmemory-policy allkeys-lru",
    "CONFIG SET maxmemory-policy volatile-ttl",
    "CONFIG SET maxmemory-policy noeviction",
    "CONFIG SET maxmemory-clients 200kb",
    "CONFIG SET maxmemory-clients 0",
    "CONFIG SET lua-time-limit 2",
    "CONFIG SET notify-keyspace-events KEA",
    "CONFIG SET notify-keyspace-events ",
    "CONFIG SET maxclients 30",
    "CONFIG SET maxclients 100",
    "CONFIG SET hz 100",
    "CONFIG SET appendonly yes",
    "CONFIG SET appendonly no",
    "CONFIG SET list-max-listpack-size 2",
    "CONFIG SET hash-max-listpack-entries 4",
    "CONFIG SET timeout 1",
    "CONFIG SET lazyfree-lazy-expire yes",
    "CONFIG SET lazyfree-lazy-user-del yes",
    "BGSAVE",
    "BGREWRITEAOF",
    "DEBUG RELOAD",
    "DEBUG LOADAOF",
    "DEBUG CHANGE-REPL-ID",
    "SLOWLOG GET -1",
    "INFO",
    "MEMORY PURGE",
];

const SCRIPTS: &[&str] = &[
    "for i = 1, 400000 do end return redis.call('lpush', 'l', 1)",
    "redis.call('lpush', 'l', 'x') redis.call('zadd', 'z', 1, 'a') return redis.call('lrange', \
     'l', 0, -1)",
    "for i = 1, 300 do redis.call('set', 'e:' .. i, 'v', 'px', 1) end return redis.call('keys', '*')",
    "redis.call('client', 'kill', 'type', 'normal') return redis.call('publish', 'ch', \
     string.rep('x', 3000))",
    "while true do end",
    "return coroutine.wrap(function() for i = 1, 400000 do end return redis.call('hgetall', 'h') end)()",
    "redis.call('set', 'a', string.rep('x', 60000)) return redis.call('get', 'a')",
];

fn words(rng: &mut Rng, newest: u64) -> Vec<String> {
    let line = match rng.below(100) {
        0..=56 => DATA[rng.index(DATA.len())],
        57..=67 => WAITS[rng.index(WAITS.len())],
        68..=72 => {
            let script = SCRIPTS[rng.index(SCRIPTS.len())];
            return ["EVAL", script, "0"].map(String::from).to_vec();
        }
        73..=95 => SESSION[rng.index(SESSION.len())],
        _ => RARE[rng.index(RARE.len())],
    };
    let mut word = |w: &str| {
        let w = w.replace("#id", &(newest.saturating_sub(rng.below(40))).to_string());
        let w = w.replace("#k", ["a", "b", "l", "m", "z", "s", "h", "st", "e:1"][rng.index(9)]);
        let w = w.replace("#n", &rng.below(60).to_string());
        w.replace("#x", &"x".repeat(rng.index(300) * if rng.below(9) == 0 { 100 } else { 1 }))
    };
    line.split(' ').map(&mut word).collect()
}

struct Wild {
    stream: TcpStream,
    unsent: Vec<u8>,
}

impl Wild {
    fn new(srv: &Server) -> Option<Wild> {
        let stream = TcpStream::connect(("127.0.0.1", srv.port)).ok()?;
        stream.set_nonblocking(true).expect("a TCP socket");
        Some(Wild { stream, unsent: Vec::new() })
    }

    /// Sends and reads as far as the sockets take it; false when it is over.
    fn turn(&mut self, reads: bool) -> bool {
        let over = |e: &std::io::Error| e.kind() != ErrorKind::WouldBlock;
        match self.stream.write(&self.unsent) {
            Ok(n) => drop(self.unsent.drain(..n)),
            Err(e) if over(&e) => return false,
            Err(_) => {}
        }
        let mut room = [0; 65536];
        match if reads { self.stream.read(&mut room) } else { Ok(1) } {
            Ok(n) => n > 0,
            Err(e) => !over(&e),
        }
    }
}

/// A connection, after what kept everybody waiting or might hurt it was ended.
fn quiet(srv: &Server) -> Conn {
    let mut found = None;
    wait_until("a place and an answer", || {
        let Ok(mut s) = TcpStream::connect(("127.0.0.1", srv.port)) else { return false };
        let patience = Some(std::time::Duration::from_secs(2));
        s.set_read_timeout(patience).expect("a TCP socket");
        let sent = s.write_all(
            b"SCRIPT KILL\r\nCLIENT UNPAUSE\r\nCONFIG SET maxmemory-clients 0 maxmemory 0 timeout 0\r\n",
        );
        // The first may say that there is nothing to kill; the others fail while another script is slow.
        let (mut said, mut room) = (Vec::new(), [0; 4096]);
        while sent.is_ok() && said.iter().filter(|b| **b == b'\n').count() < 3 {
            match s.read(&mut room) {
                Ok(n) if n > 0 => said.extend_from_slice(&room[..n]),
                _ => return false,
            }
        }
        if said.ends_with(b"\r\n+OK\r\n+OK\r\n") {
            found = Some(srv.connect());
        }
        found.is_some()
    });
    found.expect("waited for")
}

/// The only connection, once the others are gone and their scripts have ended.
fn alone(srv: &Server) -> Conn {
    wait_until("everybody to be gone", || {
        let mut c = quiet(srv);
        let Value::Bulk(text) = c.run("INFO clients") else { return false };
        let text = String::from_utf8_lossy(&text);
        text.contains("blocked_clients:0\r\n") && text.contains("connected_clients:1\r\n")
    });
    // One of them may have had the last word about what may hurt.
    quiet(srv)
}

#[test]
fn smoke_clients_in_every_state() {
    let mut srv = Server::with(&[
        "--enable-debug-command",
        "yes",
        "--lua-time-limit",
        "2",
        "--maxclients",
        "100",
        "--repl-diskless-sync-delay",
        "0",
    ]);
    let mut rng = Rng::seeded(number("SMOKE_SEED", 7) as u64);
    let (mut all, mut newest): (Vec<Wild>, u64) = (Vec::new(), 2);
    let mut sent = 0;
    while sent < REQUESTS {
        while all.len() < CLIENTS
            && let Some(w) = Wild::new(&srv)
        {
            all.push(w);
            newest += 1;
        }
        let Some(i) = (!all.is_empty()).then(|| rng.index(all.len())) else { continue };
        if all[i].unsent.len() < 1 << 20 {
            let n = [1, 1, 1, 2, 5, 40][rng.index(6)];
            (0..n).for_each(|_| all[i].unsent.extend(request(&words(&mut rng, newest))));
            sent += n;
        }
        if rng.below(50) == 0 {
            // Half a request, and nothing that makes it whole.
            let end = all[i].unsent.len() / 2;
            all[i].unsent.truncate(end);
        }
        for _ in 0..4 {
            let i = rng.index(all.len());
            let slow = i < 3;
            if !all[i].turn(!slow || rng.below(200) == 0) || rng.below(300) == 0 {
                all.swap_remove(i);
                if all.is_empty() {
                    break;
                }
            }
        }
        if sent % 1000 < 40 {
            drop(quiet(&srv));
        }
    }
    drop(all);
    let mut c = alone(&srv);
    assert_eq!(c.run("PING"), Value::Status("PONG".into()));
    for line in ["FLUSHALL", "SET k v", "CONFIG SET appendonly no"] {
        assert_eq!(c.run(line), Value::ok(), "{line}");
    }
    assert_eq!(c.run("GET k"), Value::bulk("v"));
    assert!(srv.stop().success());
    assert!(!srv.log().contains("BUG REPORT"));
}

/// What clients of one pass do to each other; `#id` one of them.
const MEETINGS: &[&str] = &[
    "CLIENT KILL ID #id",
    "CLIENT KILL ID #id SKIPME no",
    "CLIENT UNBLOCK #id",
    "CLIENT PAUSE 3 WRITE",
    "CLIENT PAUSE 3",
    "CLIENT UNPAUSE",
    "CLIENT LIST",
    "CLIENT REPLY OFF",
    "CLIENT REPLY ON",
    "CLIENT REPLY SKIP",
    "HELLO 3",
    "RESET",
    "QUIT",
    "MONITOR",
    "SYNC",
    "SUBSCRIBE ch",
    "UNSUBSCRIBE",
    "PUBLISH ch #x",
    "BLPOP wait 0",
    "BLPOP wait 0.005",
    "LPUSH wait a b c",
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH wait",
    "SELECT 1",
    "SWAPDB 0 1",
    "SCRIPT KILL",
    "DEBUG SLEEP 0.001",
    "CONFIG SET proto-max-bulk-len 1mb",
    "CONFIG SET proto-max-bulk-len 512mb",
    "CONFIG SET maxmemory-clients 300kb",
    "CONFIG SET maxmemory-clients 0",
    "CONFIG SET client-output-buffer-limit pubsub\u{a0}50000\u{a0}0\u{a0}0",
];

/// A replica that says its name and counts what it asks for.
struct Counting {
    wild: Wild,
    name: usize,
    asked: usize,
}

impl Counting {
    /// One more piece of input, which may end anywhere.
    fn speak(&mut self, rng: &mut Rng, newest: usize) {
        for _ in 0..[1, 1, 2, 7, 80][rng.index(5)] {
            let line = match rng.below(8) {
                0 => MEETINGS[rng.index(MEETINGS.len())],
                1 => "EVAL for\u{a0}i=1,200000\u{a0}do\u{a0}end\u{a0}return\u{a0}1 0",
                _ => "RPUSH #name #seq",
            };
            self.asked += 1;
            let word = |w: &str| {
                w.replace('\u{a0}', " ")
                    .replace("#name", &format!("log:{}", self.name))
                    .replace("#seq", &self.asked.to_string())
                    .replace("#id", &newest.saturating_sub(rng.index(20)).to_string())
                    .replace("#x", &"x".repeat(9000))
            };
            let words: Vec<String> = line.split(' ').map(word).collect();
            self.wild.unsent.extend(request(&words));
        }
        match rng.below(60) {
            0 => self.wild.unsent.extend(b"*1\r\n$nonsense\r\n"),
            1 => self.wild.unsent.extend(b"*2\r\n$4\r\nECHO\r\n$40000\r\n"),
            _ => {}
        }
    }
}

/// Clients whose requests arrive in one pass kill, pause, free and silence each other. No request runs
/// twice or before an earlier one of its client.
#[test]
fn smoke_requests_of_one_pass() {
    let seed = number("SMOKE_SEED", 11) as u64;
    let rounds = number("SMOKE_ROUNDS", 700);
    let mut srv = Server::with(&["--enable-debug-command", "yes", "--lua-time-limit", "1"]);
    let mut rng = Rng::seeded(seed);
    let (mut all, mut names): (Vec<Counting>, usize) = (Vec::new(), 0);
    for round in 0..rounds {
        while all.len() < 12 {
            let wild = Wild::new(&srv).expect("the server listens");
            names += 1;
            all.push(Counting { wild, name: names, asked: 0 });
        }
        // While the first one's sleep holds the loop, the others' bytes gather.
        all[0].wild.unsent.extend(request(&["DEBUG", "SLEEP", "0.002"]));
        for c in &mut all {
            if c.wild.unsent.len() < 4096 {
                c.speak(&mut rng, names + 2 + round / 100);
            }
        }
        all.retain_mut(|c| {
            let later = match rng.below(4) {
                0 => c.wild.unsent.split_off(rng.index(c.wild.unsent.len() + 1)),
                _ => Vec::new(),
            };
            let goes_on = c.wild.turn(rng.below(3) > 0) && rng.below(150) > 0;
            c.wild.unsent.extend(later);
            goes_on
        });
        if round % 100 == 99 {
            drop(quiet(&srv));
        }
    }
    drop(all);
    let mut c = alone(&srv);
    let mut kept = 0;
    for db in ["SELECT 0", "SELECT 1"] {
        assert_eq!(c.run(db), Value::ok());
        for name in 1..=names {
            let log = c.cmd(&["LRANGE", &format!("log:{name}"), "0", "-1"]);
            let order: Vec<usize> =
                log.items().iter().map(|v| v.text().parse().expect("a number")).collect();
            assert!(order.is_sorted_by(|a, b| a < b), "seed {seed}, client {name}: {order:?}");
            kept += order.len();
        }
    }
    // How many depends on the machine; none would mean that nothing was tried.
    assert!(kept > rounds / 10, "seed {seed}: {kept} requests ran");
    assert!(srv.stop().success());
    assert!(!srv.log().contains("BUG REPORT"));
}
