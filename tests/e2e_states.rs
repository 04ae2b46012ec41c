//! Clients in every state at once: blocked, paused, queueing, watching, subscribed, replicas, with
//! unread replies, with half a request, with a script that is too slow; killed, evicted and hung up in
//! each of them while databases are emptied, swapped, saved, loaded and rewritten, and keys expire and
//! are evicted under scans.
//!
//! Nobody looks at the replies. What is asserted is that the server lives and answers afterwards: in
//! the profile of the tests its own assertions are on, and `make asan` runs the same with every access
//! to memory checked.

mod common;

use common::{Conn, Server, Value, request, wait_until};
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

/// A connection that was answered, after what kept everybody waiting was ended.
fn quiet(srv: &Server) -> Conn {
    let mut found = None;
    wait_until("a place and an answer", || {
        let Ok(mut s) = TcpStream::connect(("127.0.0.1", srv.port)) else { return false };
        let patience = Some(std::time::Duration::from_secs(2));
        s.set_read_timeout(patience).expect("a TCP socket");
        let sent = s.write_all(
            b"SCRIPT KILL\r\nCLIENT UNPAUSE\r\nCONFIG SET maxmemory-clients 0 maxmemory 0 timeout 0\r\n",
        );
        let mut room = [0; 1];
        if sent.is_ok() && s.read(&mut room).is_ok_and(|n| n > 0) {
            found = Some(srv.connect());
        }
        found.is_some()
    });
    found.expect("waited for")
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
    let mut rng = Rng::seeded(7);
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
    let mut c = quiet(&srv);
    wait_until("everybody to be gone", || {
        let mut c = quiet(&srv);
        let text = c.run("INFO clients").text();
        text.contains("blocked_clients:0\r\n") && text.contains("connected_clients:2\r\n")
    });
    assert_eq!(c.run("PING"), Value::Status("PONG".into()));
    for line in ["FLUSHALL", "SET k v", "CONFIG SET appendonly no"] {
        assert_eq!(c.run(line), Value::ok(), "{line}");
    }
    assert_eq!(c.run("GET k"), Value::bulk("v"));
    assert!(srv.stop().success());
    assert!(!srv.log().contains("BUG REPORT"));
}
