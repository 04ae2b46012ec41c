//! End to end: a replica, and a master that is played by the test. What a master may say, do and break.

mod common;

use common::{Conn, Server, Value, request, wait_blocked, wait_until};
use oxidis::algo::rng::Rng;
use std::io::Write;
use std::net::TcpListener;

const ID: &str = "0123456789012345678901234567890123456789";
const MARK: &str = "abcdefghijabcdefghijabcdefghijabcdefghij";

/// A master by hand.
struct Master {
    listener: TcpListener,
}

impl Master {
    fn new() -> Master {
        Master { listener: TcpListener::bind("127.0.0.1:0").expect("a free port") }
    }

    fn port(&self) -> String {
        self.listener.local_addr().expect("bound").port().to_string()
    }

    /// The next connection of the replica, up to its PSYNC: what it asks for.
    fn accept(&self) -> (Conn, Vec<String>) {
        let (stream, _) = self.listener.accept().expect("the replica connects");
        let mut c = Conn::over(stream);
        loop {
            let words: Vec<String> = c.read().items().iter().map(Value::text).collect();
            match words[0].as_str() {
                "PING" => c.send(b"+PONG\r\n"),
                "REPLCONF" => c.send(b"+OK\r\n"),
                "PSYNC" => return (c, words[1..].to_vec()),
                other => panic!("{other}"),
            }
        }
    }

    /// A replica that has had a full sync to offset 100, and the connection to it.
    fn synced(&self, srv: &Server) -> (Conn, Conn) {
        let mut r = srv.connect();
        assert_eq!(r.run(&format!("REPLICAOF 127.0.0.1 {}", self.port())), Value::ok());
        let (mut m, _) = self.accept();
        let rdb = snapshot();
        m.send(format!("+FULLRESYNC {ID} 100\r\n${}\r\n", rdb.len()).as_bytes());
        m.send(&rdb);
        wait_until("the link", || r.fact("master_link_status") == "up");
        (r, m)
    }
}

/// The snapshot of a server with a few keys.
fn snapshot() -> Vec<u8> {
    let srv = Server::start();
    let mut c = srv.connect();
    c.pipeline(&["SET old 1", "RPUSH list a b c", "SELECT 2", "SET two 2", "SAVE"]);
    std::fs::read(srv.dir.join("dump.rdb")).expect("just saved")
}

fn stream(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|l| request(&l.split(' ').collect::<Vec<_>>())).collect()
}

/// The offset of the next acknowledgement.
fn acked(m: &mut Conn) -> i64 {
    loop {
        let words: Vec<String> = m.read().items().iter().map(Value::text).collect();
        if words[..2] == ["REPLCONF", "ACK"] {
            return words[2].parse().expect("an offset");
        }
    }
}

#[test]
fn a_transaction_that_is_cut_leaves_nothing_and_is_asked_for_again() {
    let (srv, master) = (Server::start(), Master::new());
    let (mut r, mut m) = master.synced(&srv);
    let first = stream(&["SELECT 0", "SET a 1"]);
    m.send(&first);
    let whole = stream(&["MULTI", "INCR a", "INCR a", "EXEC", "INCR a"]);
    let at = 100 + first.len();
    for cut in [1, 16, 30, whole.len() / 2, whole.len() - 30] {
        m.send(&whole[..cut]);
        wait_until("all that was sent", || r.figure("slave_read_repl_offset") == (at + cut) as i64);
        assert_eq!(r.figure("slave_repl_offset"), at as i64);
        assert_eq!(r.run("GET a"), Value::bulk("1"));
        drop(m);
        let (next, asks) = master.accept();
        m = next;
        assert_eq!(asks, [ID.to_string(), (at + 1).to_string()]);
        m.send(b"+CONTINUE\r\n");
    }
    m.send(&whole);
    m.send(&stream(&["REPLCONF GETACK *"]));
    let end = (at + whole.len()) as i64;
    wait_until("the acknowledgement", || acked(&mut m) >= end);
    assert_eq!(r.run("GET a"), Value::bulk("4"));
}

#[test]
fn what_was_asked_for_is_answered_with_the_offset_before_it() {
    let (srv, master) = (Server::start(), Master::new());
    let (mut r, mut m) = master.synced(&srv);
    let ask = stream(&["REPLCONF GETACK *"]);
    let set = stream(&["SET a 1"]);
    m.send(&[&ask[..], &set, &ask].concat());
    let n = ask.len() as i64;
    let mut got = Vec::new();
    while got.last() != Some(&(100 + n + set.len() as i64)) {
        got.push(acked(&mut m));
        assert!(got.len() < 20, "{got:?}");
    }
    assert!(got.contains(&100), "{got:?}");
    assert_eq!(r.figure("slave_repl_offset"), 100 + 2 * n + set.len() as i64);
}

#[test]
fn nonsense_in_the_stream_ends_in_a_full_sync() {
    let (srv, master) = (Server::start(), Master::new());
    let (_r, mut m) = master.synced(&srv);
    let nonsense: [&[u8]; 4] = [b"GET a\r\n", b"*1\r\n+x\r\n", b"*x\r\n", b"*1\r\n$-5\r\n"];
    for bytes in nonsense {
        m.send(bytes);
        let (mut next, asks) = master.accept();
        assert_eq!(asks, ["?", "-1"], "behind {:?}", bytes.escape_ascii().to_string());
        let rdb = snapshot();
        // Lines of nothing are signs of life.
        next.send(format!("\n+FULLRESYNC {ID} 100\r\n\n\n${}\r\n", rdb.len()).as_bytes());
        next.send(&rdb);
        m = next;
        let mut r = srv.connect();
        wait_until("the link", || r.fact("master_link_status") == "up");
        assert_eq!(r.run("GET old"), Value::bulk("1"));
    }
}

#[test]
fn a_snapshot_with_a_mark_arrives_in_any_pieces() {
    let (srv, master) = (Server::start(), Master::new());
    let mut r = srv.connect();
    let rdb = snapshot();
    let mut rng = Rng::seeded(3);
    for _ in 0..5 {
        r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
        let (mut m, _) = master.accept();
        m.send(format!("+FULLRESYNC {ID} 100\r\n$EOF:{MARK}\r\n").as_bytes());
        let all = [&rdb[..], MARK.as_bytes()].concat();
        let mut rest = &all[..];
        while !rest.is_empty() {
            let n = (1 + rng.below(60) as usize).min(rest.len());
            m.send(&rest[..n]);
            rest = &rest[n..];
        }
        // The acknowledgement that lets the stream begin.
        assert_eq!(acked(&mut m), 100);
        m.send(&stream(&["SELECT 2", "INCR two"]));
        wait_until("the stream", || r.figure("slave_repl_offset") > 140);
        assert_eq!(r.figure("loading"), 0);
        assert_eq!(r.run("DBSIZE"), Value::Int(2));
        r.run("REPLICAOF NO ONE");
    }
}

#[test]
fn a_snapshot_that_is_broken_is_asked_for_again() {
    let (srv, master) = (Server::start(), Master::new());
    let mut r = srv.connect();
    let rdb = snapshot();
    let mut bad = rdb.clone();
    bad[60] ^= 0x55;
    let mut _retry = None;
    for bytes in [&rdb[..0], &rdb[..5], &rdb[..40], &rdb[..rdb.len() - 1], &bad] {
        // An order begins the row of failures anew: the next try is made at once.
        r.run("REPLICAOF NO ONE");
        r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
        let (mut m, _) = master.accept();
        m.send(format!("+FULLRESYNC {ID} 100\r\n${}\r\n", bytes.len()).as_bytes());
        m.send(bytes);
        _retry = Some(master.accept());
    }
    r.run("REPLICAOF NO ONE");
    r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    for cut in [0, 7, rdb.len() - 1] {
        let (mut m, _) = master.accept();
        m.send(format!("+FULLRESYNC {ID} 100\r\n${}\r\n", rdb.len()).as_bytes());
        m.send(&rdb[..cut]);
    }
    let (mut m, _) = master.accept();
    m.send(format!("+FULLRESYNC {ID} 100\r\n${}\r\n", rdb.len()).as_bytes());
    m.send(&rdb);
    wait_until("the link", || r.fact("master_link_status") == "up");
    assert_eq!(r.run("LRANGE list 0 -1"), Value::bulks(&["a", "b", "c"]));
    let left = std::fs::read_dir(&srv.dir).expect("its folder");
    let temps =
        left.filter(|f| f.as_ref().is_ok_and(|f| f.file_name().to_string_lossy().starts_with("temp-")));
    assert_eq!(temps.count(), 0, "nothing is left behind");
}

#[test]
fn any_bytes_at_any_moment_are_survived() {
    let (srv, master) = (Server::start(), Master::new());
    let mut r = srv.connect();
    let rdb = snapshot();
    let mut rng = Rng::seeded(9);
    // The replica may have closed the connection already.
    let put = |m: &Conn, bytes: &[u8]| drop(m.stream().write_all(bytes));
    for round in 0..40 {
        r.run("REPLICAOF NO ONE");
        r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
        let (stream, _) = master.listener.accept().expect("the replica connects");
        let m = Conn::over(stream);
        let stage = round % 5;
        if stage > 0 {
            put(&m, b"+PONG\r\n+OK\r\n+OK\r\n");
        }
        if stage > 1 {
            put(&m, format!("+FULLRESYNC {ID} 100\r\n").as_bytes());
        }
        if stage > 2 {
            put(&m, format!("${}\r\n", rdb.len()).as_bytes());
        }
        if stage > 3 {
            put(&m, &rdb);
        }
        let n = 1 + rng.below(3000) as usize;
        let noise: Vec<u8> = (0..n)
            .map(|_| {
                if rng.below(4) == 0 {
                    b"\r\n$*+-:0123"[rng.below(11) as usize]
                } else {
                    rng.below(256) as u8
                }
            })
            .collect();
        put(&m, &noise);
        drop(m);
        assert_eq!(r.run("PING"), Value::Status("PONG".into()));
    }
}

#[test]
fn a_replica_refuses_writes_and_without_its_master_what_is_stale() {
    let (srv, master) = (Server::start(), Master::new());
    let (mut r, m) = master.synced(&srv);
    let read_only = "READONLY You can't write against a read only replica.";
    assert_eq!(r.run("SET a 1").error(), read_only);
    assert_eq!(r.cmd(&["EVAL", "return redis.call('set','a','1')", "0"]).error()[..8], read_only[..8]);
    r.run("CONFIG SET replica-read-only no");
    assert_eq!(r.run("SET a 1"), Value::ok());
    r.run("CONFIG SET replica-read-only yes");
    assert_eq!(r.run("GET a"), Value::bulk("1"));
    r.run("CONFIG SET replica-serve-stale-data no");
    assert_eq!(r.run("GET a"), Value::bulk("1"));
    drop((m, master));
    wait_until("the loss", || r.fact("master_link_status") == "down");
    let down = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    assert_eq!(r.run("GET a").error(), down);
    assert_eq!(r.run("SET a 1").error(), read_only);
    assert_eq!(r.cmd(&["EVAL", "return 1", "0"]).error(), down);
    assert_eq!(r.cmd(&["EVAL", "#!lua flags=allow-stale,no-writes\nreturn 1", "0"]), Value::Int(1));
    assert_eq!(r.run("PING").error(), down);
    assert_eq!(r.run("MULTI"), Value::ok());
    r.run("REPLICAOF NO ONE");
    r.run("DISCARD");
    r.run("REPLICAOF NO ONE");
    assert_eq!(r.run("GET a"), Value::bulk("1"));
}

#[test]
fn a_replica_that_has_heard_nothing_for_too_long_refuses_to_answer() {
    let (srv, master) = (Server::start(), Master::new());
    let (mut r, mut m) = master.synced(&srv);
    r.run("CONFIG SET replica-max-lag 1");
    let lags = "MASTERDOWN Nothing was heard of MASTER for longer than replica-max-lag allows.";
    wait_until("the silence to be noticed", || r.run("GET old") == Value::Error(lags.into()));
    assert_eq!(r.fact("master_link_status"), "up");
    assert!(r.figure("replica_lag_seconds") > 1);
    wait_until("an answer", || {
        m.send(&stream(&["PING"]));
        r.run("GET old") == Value::bulk("1")
    });
    assert_eq!(r.figure("replica_lag_bytes"), 0);
    wait_until("the silence to be noticed", || r.run("GET old") == Value::Error(lags.into()));
    r.run("CONFIG SET replica-max-lag 0");
    assert_eq!(r.run("GET old"), Value::bulk("1"));
    r.run("CONFIG SET replica-max-lag 1");
    r.run("REPLICAOF NO ONE");
    assert_eq!(r.run("GET old"), Value::bulk("1"), "a master does not lag");
}

#[test]
fn keys_go_when_the_master_says_so() {
    let (srv, master) = (Server::start(), Master::new());
    let (mut r, mut m) = master.synced(&srv);
    let offset = |r: &mut Conn| r.figure("slave_repl_offset");
    m.send(&stream(&["SELECT 0", "SET gone 5", "PEXPIRE gone 1", "SET stays 1"]));
    wait_until("the stream", || r.run("GET stays") == Value::bulk("1"));
    wait_until("the time to pass", || r.run("GET gone") == Value::Null);
    assert_eq!(r.run("DBSIZE"), Value::Int(4), "it is still there");
    // The master still had it when it counted on.
    let before = offset(&mut r);
    m.send(&stream(&["INCR gone", "PERSIST gone"]));
    wait_until("the stream", || offset(&mut r) > before);
    assert_eq!(r.run("GET gone"), Value::bulk("6"));
    // What clients of a writable replica let expire it deletes itself.
    r.run("CONFIG SET replica-read-only no");
    r.run("SET own 1 PX 1");
    assert!(r.figure("slave_expires_tracked_keys") <= 1);
    wait_until("the key to go", || r.run("DBSIZE") == Value::Int(4));
    wait_until("it to be forgotten", || r.figure("slave_expires_tracked_keys") == 0);
}

#[test]
fn clients_that_wait_are_sent_away_when_the_role_changes() {
    let srv = Server::start();
    let (mut c, mut waits) = (srv.connect(), srv.connect());
    waits.put(&["BLPOP", "nothing", "0"]);
    wait_blocked(&mut c, 1);
    assert_eq!(c.run("REPLICAOF 127.0.0.1 1"), Value::ok());
    let why =
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
    assert_eq!(waits.read().error(), why);
    assert!(waits.at_end());
    assert_eq!(
        c.run("REPLICAOF 127.0.0.1 1"),
        Value::Status("OK Already connected to specified master".into())
    );
    assert_eq!(c.run("CONFIG GET replicaof"), Value::bulks(&["replicaof", "127.0.0.1 1"]));
    assert_eq!(c.fact("role"), "slave");
    c.run("REPLICAOF NO ONE");
    assert_eq!(c.run("CONFIG GET replicaof"), Value::bulks(&["replicaof", ""]));
}

#[test]
fn a_replica_goes_on_after_a_restart_and_so_do_the_replicas_of_a_master() {
    let options = ["--repl-diskless-sync-delay", "0", "--save", "3600 1"];
    let mut top = Server::with(&options);
    let mut t = top.connect();
    t.pipeline(&["SELECT 3", "SET a 1", "SET t v PX 1"]);
    let port = top.port.to_string();
    let mut middle = Server::with(&["--save", "3600 1", "--replicaof", "127.0.0.1", &port]);
    let mut m = middle.connect();
    wait_until("the link", || m.fact("master_link_status") == "up");
    t.run("INCR a");
    let same = |t: &mut Conn, m: &mut Conn| {
        wait_until("the same offset", || {
            let of = |c: &mut Conn| (c.fact("master_replid"), c.fact("master_repl_offset"));
            of(t) == of(m)
        });
    };
    same(&mut t, &mut m);
    middle.stop();
    t.run("INCR a");
    middle.restart();
    let mut m = middle.connect();
    wait_until("the link", || m.fact("master_link_status") == "up");
    same(&mut t, &mut m);
    m.run("SELECT 3");
    assert_eq!(m.run("GET a"), Value::bulk("3"));
    assert_eq!(t.figure("sync_full"), 1);
    // The master restarts, and its replica goes on.
    top.stop();
    top.restart();
    let mut t = top.connect();
    wait_until("the link", || m.fact("master_link_status") == "up");
    t.pipeline(&["SELECT 3", "INCR a"]);
    wait_until("the stream", || m.run("GET a") == Value::bulk("4"));
    assert_eq!((t.figure("sync_full"), t.figure("sync_partial_ok")), (0, 1));
}

#[test]
fn the_log_of_a_replica_holds_what_the_master_sent() {
    let top = Server::with(&["--repl-diskless-sync-delay", "0"]);
    let mut low = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (mut t, mut l) = (top.connect(), low.connect());
    t.pipeline(&["SET a 1", "RPUSH l 1 2 3"]);
    l.pipeline(&["SET junk 1"]);
    let order = format!("REPLICAOF 127.0.0.1 {}", top.port);
    l.run(&order);
    wait_until("the link", || l.fact("master_link_status") == "up");
    wait_until("the log", || l.fact("aof_rewrite_in_progress") == "0" && l.fact("aof_enabled") == "1");
    t.pipeline(&["INCR a", "MULTI", "RPOP l", "INCR a", "EXEC", "SPOP nothing"]);
    wait_until("the stream", || l.run("GET a") == Value::bulk("3"));
    low.kill();
    low.restart();
    let mut l = low.connect();
    assert_eq!(l.run("GET a"), Value::bulk("3"));
    assert_eq!(l.run("LRANGE l 0 -1"), Value::bulks(&["1", "2"]));
    assert_eq!(l.run("EXISTS junk"), Value::Int(0));
}

#[test]
fn clients_are_served_while_a_snapshot_is_loaded() {
    let (srv, master) = (Server::with(&["--key-load-delay", "2000"]), Master::new());
    let rdb = {
        let other = Server::with(&["--enable-debug-command", "yes"]);
        let mut c = other.connect();
        c.run("DEBUG POPULATE 3000 key 10");
        c.run("SAVE");
        std::fs::read(other.dir.join("dump.rdb")).expect("just saved")
    };
    let mut r = srv.connect();
    r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let (mut m, _) = master.accept();
    m.send(format!("+FULLRESYNC {ID} 100\r\n${}\r\n", rdb.len()).as_bytes());
    m.send(&rdb);
    wait_until("the load", || r.figure("loading") == 1);
    assert!(r.run("GET key:1").error().starts_with("LOADING"));
    assert!(r.run("REPLICAOF NO ONE").error().starts_with("LOADING"));
    // A sign of life, and then the first acknowledgement.
    assert_eq!(m.take(1), b"\n");
    r.run("CONFIG SET key-load-delay 0");
    wait_until("the link", || r.fact("master_link_status") == "up");
    assert_eq!(r.run("DBSIZE"), Value::Int(3000));
}

/// A replica that loads what arrives, and a master that sends it a dataset of 3000 keys, slowly.
fn reads_socket(how: &str) -> (Server, Server) {
    let top = Server::with(&["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"]);
    let low = Server::with(&["--repl-diskless-load", how, "--enable-debug-command", "yes"]);
    (top, low)
}

#[test]
fn a_snapshot_is_loaded_as_it_arrives() {
    for how in ["on-empty-db", "swapdb"] {
        let (top, low) = reads_socket(how);
        let (mut t, mut l) = (top.connect(), low.connect());
        t.run("DEBUG POPULATE 20000 key 100");
        t.pipeline(&["SELECT 3", "RPUSH l 1 2 3"]);
        l.run(&format!("REPLICAOF 127.0.0.1 {}", top.port));
        wait_until("the link", || l.fact("master_link_status") == "up");
        assert!(low.log().contains("to parser"));
        t.run("RPUSH l 4");
        wait_until("the same dataset", || t.run("DEBUG DIGEST") == l.run("DEBUG DIGEST"));
        assert!(!low.dir.join("dump.rdb").exists());
        // Not empty any more: then by way of a file, or beside what is there.
        l.run("REPLICAOF NO ONE");
        l.run("SET junk 1");
        t.run("DEBUG CHANGE-REPL-ID");
        l.run(&format!("REPLICAOF 127.0.0.1 {}", top.port));
        wait_until("the link", || l.fact("master_link_status") == "up");
        assert!(low.log().contains(if how == "swapdb" { "Swapping active DB" } else { "to disk" }));
        wait_until("the same dataset", || t.run("DEBUG DIGEST") == l.run("DEBUG DIGEST"));
    }
}

#[test]
fn the_watchdog_may_strike_while_a_snapshot_arrives() {
    let debug = ["--repl-diskless-load", "on-empty-db", "--enable-debug-command", "yes"];
    let (srv, master) = (Server::with(&debug), Master::new());
    let mut r = srv.connect();
    r.run("CONFIG SET watchdog-period 200");
    r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let (mut m, _) = master.accept();
    let rdb = snapshot();
    m.send(format!("+FULLRESYNC {ID} 100\r\n$EOF:{MARK}\r\n").as_bytes());
    let (first, rest) = rdb.split_at(rdb.len() / 2);
    m.send(first);
    wait_until("the load", || r.figure("loading") == 1);
    wait_until("the watchdog", || {
        assert_eq!(r.run("DEBUG SLEEP 0.5"), Value::ok());
        srv.log().contains("WATCHDOG TIMER EXPIRED")
    });
    assert_eq!(r.figure("loading"), 1);
    m.send(&[rest, MARK.as_bytes()].concat());
    assert_eq!(acked(&mut m), 100);
    assert!(!srv.log().contains("Reconnecting to MASTER"));
}

#[test]
fn a_snapshot_that_breaks_off_leaves_what_was_served_before() {
    let (srv, master) = (Server::with(&["--repl-diskless-load", "swapdb"]), Master::new());
    let (mut r, m) = master.synced(&srv);
    let rdb = snapshot();
    drop(m);
    // The same history, and then another one: the old data are served, or not shown.
    for (id, served) in [(ID, true), (MARK, false)] {
        let (mut m, _) = master.accept();
        m.send(format!("+FULLRESYNC {id} 300\r\n$EOF:{MARK}\r\n").as_bytes());
        m.send(&rdb[..rdb.len() - 3]);
        wait_until("the load", || r.figure("async_loading") + r.figure("loading") == 1);
        assert_eq!(r.figure("async_loading"), i64::from(served));
        match served {
            true => assert_eq!(r.run("GET old"), Value::bulk("1")),
            false => assert!(r.run("GET old").error().starts_with("LOADING")),
        }
        for line in ["REPLICAOF NO ONE", "CONFIG SET appendonly yes", "BGSAVE"] {
            assert!(r.run(line).error().starts_with("LOADING"), "{line}");
        }
        drop(m);
        wait_until("the end", || r.figure("async_loading") + r.figure("loading") == 0);
        assert_eq!(r.run("GET old"), Value::bulk("1"));
    }
    let log = srv.log();
    assert!(log.contains("Internal error in RDB") && log.contains("Discarding temporary DB"));
    let (mut m, _) = master.accept();
    let swapped = [&rdb[..], MARK.as_bytes()].concat();
    m.send(format!("+FULLRESYNC {ID} 300\r\n$EOF:{MARK}\r\n").as_bytes());
    m.send(&swapped);
    assert_eq!(acked(&mut m), 300);
    assert_eq!(r.run("GET old"), Value::bulk("1"));
}

#[test]
fn servers_that_are_killed_in_turns_are_equal_again() {
    let open = ["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"];
    let mut top =
        Server::with(&[&open[..], &["--appendonly", "yes", "--appendfsync", "always"]].concat());
    let port = top.port.to_string();
    let mut low = Server::with(&[&open[..], &["--replicaof", "127.0.0.1", &port]].concat());
    let mut sum = 0;
    for round in 0..6 {
        let mut t = top.connect();
        for n in 0..50 {
            let line = format!("INCRBY counter {n}");
            sum = t.run(&line).int();
            t.run(&format!("RPUSH l{round} {n}"));
            if n == 20 + round {
                low.kill();
            }
        }
        if round % 2 == 1 {
            top.kill();
            top.restart();
        }
        low.restart();
        let (mut t, mut l) = (top.connect(), low.connect());
        assert_eq!(t.run("GET counter"), Value::bulk(sum.to_string()), "nothing acknowledged is lost");
        wait_until("the link", || l.fact("master_link_status") == "up");
        wait_until("the same dataset", || t.run("DEBUG DIGEST") == l.run("DEBUG DIGEST"));
    }
}

#[test]
fn an_error_that_the_master_did_not_have_is_told_with_the_stream() {
    let top = Server::with(&["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"]);
    let low = Server::start();
    let (mut t, mut l) = (top.connect(), low.connect());
    l.run(&format!("REPLICAOF 127.0.0.1 {}", top.port));
    wait_until("the link", || l.fact("master_link_status") == "up");
    t.run("SET s 1");
    assert_eq!(t.run("DEBUG REPLICATE LPUSH s 1"), Value::ok());
    assert_eq!(t.run("DEBUG REPLICATE no-command"), Value::ok());
    wait_until("the complaint", || l.figure("unexpected_error_replies") == 2);
    let log = low.log();
    let critical = "== CRITICAL == This replica is sending an error to its master: '-WRONGTYPE";
    assert!(log.contains(critical) && log.contains("after processing the command 'lpush'"), "{log}");
    assert!(log.contains("'<unknown>'") && log.contains("Latest backlog is: '"));
    t.run("SET s 2");
    wait_until("the stream to go on", || l.run("GET s") == Value::bulk("2"));
}
