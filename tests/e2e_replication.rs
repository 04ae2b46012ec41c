//! End to end: what a replica is sent. A raw SYNC reads the snapshot and then the stream as a list of
//! commands; with REDIS_SERVER, the binary of a real redis-server 7.2, that one becomes a replica and
//! must end with the same dataset.

mod common;

use common::Value::Int;
use common::load::random_line;
use common::{Conn, Server, Value, signal, wait_until};
use oxidis::algo::rng::Rng;

/// A replica by hand: what stands behind the snapshot is commands.
struct Raw {
    conn: Conn,
    snapshot: Vec<u8>,
}

impl Raw {
    /// Attaches by SYNC, and has the snapshot.
    #[track_caller]
    fn sync(srv: &Server) -> Raw {
        let mut conn = srv.connect();
        conn.put(&["SYNC"]);
        let snapshot = read_snapshot(&mut conn);
        Raw { conn, snapshot }
    }

    /// The next command but PING, words parted by spaces.
    #[track_caller]
    fn next(&mut self) -> String {
        loop {
            let words = self.conn.read();
            let words: Vec<String> = words.items().iter().map(Value::text).collect();
            if words != ["PING"] {
                return words.join(" ");
            }
        }
    }

    /// The next commands are these; of a word that ends in `*` only the beginning counts.
    #[track_caller]
    fn expect(&mut self, commands: &[&str]) {
        let got: Vec<String> = commands.iter().map(|_| self.next()).collect();
        let alike = |got: &str, want: &str| {
            let (got, want): (Vec<_>, Vec<_>) = (got.split(' ').collect(), want.split(' ').collect());
            got.len() == want.len()
                && got.iter().zip(want).all(|(g, w)| match w.strip_suffix('*') {
                    Some(begin) => g.starts_with(begin),
                    None => *g == w,
                })
        };
        assert!(got.iter().zip(commands).all(|(g, w)| alike(g, w)), "{got:#?}\nis not\n{commands:#?}");
    }

    /// Nothing came but what was asked for.
    #[track_caller]
    fn ends(&mut self, c: &mut Conn) {
        assert_eq!(c.run("PUBLISH end of-it"), Int(0));
        self.expect(&["PUBLISH end of-it"]);
    }
}

/// Signs of life may precede the length.
#[track_caller]
fn read_snapshot(conn: &mut Conn) -> Vec<u8> {
    let mut first = conn.take(1);
    while first == b"\n" {
        first = conn.take(1);
    }
    assert_eq!(first, b"$");
    let len = String::from_utf8(conn.line()).expect("text");
    let Some(mark) = len.strip_prefix("EOF:") else {
        return conn.take(len.parse().expect("a length"));
    };
    // From the child, without a file: a mark ends it.
    let mut all = conn.take(mark.len());
    while !all.ends_with(mark.as_bytes()) {
        all.extend(conn.take(1));
    }
    all.truncate(all.len() - mark.len());
    all
}

fn quiet() -> Server {
    Server::with(&["--repl-ping-replica-period", "3600", "--enable-debug-command", "yes"])
}

/// A connection, and a replica.
fn settled(srv: &Server) -> (Conn, Raw) {
    (srv.connect(), Raw::sync(srv))
}

#[test]
fn a_unit_of_several_ops_is_a_transaction_and_databases_are_selected() {
    let srv = quiet();
    let (mut c, mut r) = settled(&srv);
    assert!(r.snapshot.starts_with(b"REDIS0011") && r.snapshot.len() > 100);
    c.pipeline(&["set a 1", "get a", "MULTI", "incr a", "incr b", "EXEC", "MULTI", "incr a", "EXEC"]);
    c.pipeline(&[
        "MULTI", "get a", "EXEC", "SELECT 9", "MULTI", "set c 1", "SELECT 3", "incr c", "EXEC",
    ]);
    c.pipeline(&["SELECT 9", "del c", "del c", "persist nothing"]);
    r.expect(&["SELECT 0", "set a 1", "MULTI", "incr a", "incr b", "EXEC", "incr a"]);
    r.expect(&["MULTI", "SELECT 9", "set c 1", "SELECT 3", "incr c", "EXEC", "SELECT 9", "del c"]);
    r.ends(&mut c);
}

#[test]
fn what_depends_on_chance_or_time_is_rewritten() {
    let srv = quiet();
    let (mut c, mut r) = settled(&srv);
    c.pipeline(&["sadd s 1 2 3 4 5", "spop s", "spop s 2", "spop s 10", "set k 5", "incrbyfloat k 1.5"]);
    c.pipeline(&["expire k 100", "getex k", "getex k persist", "set t v ex 100", "getdel k"]);
    r.expect(&["SELECT 0", "sadd s 1 2 3 4 5", "SREM s *", "SREM s * *"]);
    r.expect(&["DEL s", "set k 5", "SET k 6.5 KEEPTTL", "PEXPIREAT k *", "PERSIST k"]);
    r.expect(&["SET t v PXAT *", "DEL k"]);
    r.ends(&mut c);
}

#[test]
fn a_script_leaves_its_effects_as_one_unit() {
    let srv = quiet();
    let (mut c, mut r) = settled(&srv);
    let two = "redis.call('set', KEYS[1], ARGV[1]); return redis.call('incr', KEYS[1])";
    assert_eq!(c.cmd(&["EVAL", two, "1", "k", "41"]), Int(42));
    assert_eq!(c.cmd(&["EVAL", "return redis.call('incr', KEYS[1])", "1", "k"]), Int(43));
    assert_eq!(c.cmd(&["EVAL", "return redis.call('get', KEYS[1])", "1", "k"]), Value::bulk("43"));
    r.expect(&["MULTI", "SELECT 0", "set k 41", "incr k", "EXEC", "incr k"]);
    r.ends(&mut c);
}

#[test]
fn a_key_that_expires_leaves_as_a_deletion_of_its_own() {
    let srv = quiet();
    let (mut c, mut r) = settled(&srv);
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    c.pipeline(&["set a 1 px 1", "set b 1 px 1", "set c 1 px 1"]);
    r.expect(&["SELECT 0", "SET a 1 PXAT *", "SET b 1 PXAT *", "SET c 1 PXAT *"]);
    wait_until("the keys to expire", || c.run("GET a") == Value::Null);
    r.expect(&["DEL a"]);
    wait_until("the keys to expire", || c.run("EXISTS b") == Int(0));
    r.expect(&["DEL b"]);
    wait_until("the keys to expire", || c.run("SCAN 0").items()[1].items().is_empty());
    r.expect(&["DEL c"]);
    r.ends(&mut c);
}

#[test]
fn what_happens_during_the_snapshot_follows_it() {
    let srv = Server::with(&["--repl-ping-replica-period", "3600", "--rdb-key-save-delay", "5000"]);
    let mut c = srv.connect();
    for i in 0..200 {
        c.cmd(&["SET", &format!("key:{i}"), &"x".repeat(2000)]);
    }
    let mut conn = srv.connect();
    conn.put(&["SYNC"]);
    wait_until("the snapshot to begin", || c.figure("rdb_bgsave_in_progress") == 1);
    // However slow we are, all of this happens before it ends.
    let child = srv.saver();
    signal(&child, "STOP");
    assert_eq!(c.run("SET during snapshot"), Value::ok());
    assert!(c.fact("slave0").contains("state=wait_bgsave"));
    // A second one gets the same snapshot, and the same stream.
    let mut second = srv.connect();
    second.put(&["SYNC"]);
    wait_until("the second replica", || c.figure("connected_slaves") == 2);
    assert_eq!(c.run("SET during later"), Value::ok());
    signal(&child, "CONT");
    for conn in [conn, second] {
        let mut r = Raw { snapshot: Vec::new(), conn };
        r.snapshot = read_snapshot(&mut r.conn);
        let has = |s: &[u8]| r.snapshot.windows(s.len()).any(|w| w == s);
        assert!(has(b"key:199") && !has(b"during"));
        let mut got = vec![r.next()];
        while got.last().is_some_and(|g| !g.ends_with("later")) {
            got.push(r.next());
        }
        got.retain(|g| g != "SELECT 0");
        assert_eq!(got, ["SET during snapshot", "SET during later"]);
    }
    assert_eq!(c.figure("total_forks"), 1);
}

#[test]
fn a_replica_that_has_gone_is_nowhere_and_can_go_on_where_it_was() {
    let srv = quiet();
    let mut c = srv.connect();
    let mut p = srv.connect();
    assert_eq!(p.run("REPLCONF listening-port 7777 capa eof capa psync2"), Value::ok());
    p.put(&["PSYNC", "?", "-1"]);
    let line = p.read().text();
    let words: Vec<&str> = line.split(' ').collect();
    let [_, replid, offset] = words[..] else { panic!("{line}") };
    assert_eq!(c.fact("master_replid"), replid);
    read_snapshot(&mut p);
    wait_until("it to be online", || c.fact("slave0").contains("state=online"));
    p.put(&["REPLCONF", "ACK", "1"]);
    wait_until("the acknowledgement", || {
        c.fact("slave0").starts_with("ip=127.0.0.1,port=7777,state=online,offset=1,")
    });
    let role = c.run("ROLE");
    assert_eq!(role.items()[2], Value::Array(vec![Value::bulks(&["127.0.0.1", "7777", "1"])]));
    assert!(c.run("CLIENT LIST TYPE replica").text().contains(" flags=S "));
    p.stream().shutdown(std::net::Shutdown::Both).expect("connected");
    wait_until("it to be gone", || c.figure("connected_slaves") == 0);
    assert_eq!(c.run("ROLE").items()[2], Value::Array(Vec::new()));
    assert_eq!(c.run("SET missed it"), Value::ok());
    let mut again = srv.connect();
    let next = offset.parse::<i64>().expect("a number") + 1;
    assert_eq!(again.run("REPLCONF capa psync2"), Value::ok());
    let answer = again.run(&format!("PSYNC {replid} {next}"));
    assert_eq!(answer, Value::Status(format!("CONTINUE {replid}")));
    let mut r = Raw { conn: again, snapshot: Vec::new() };
    let mut all = vec![r.next()];
    while all.last().is_some_and(|g| g == "SELECT 0") {
        all.push(r.next());
    }
    assert_eq!(all.last().map(String::as_str), Some("SET missed it"));
    assert_eq!(c.figure("sync_partial_ok"), 1);
    let mut late = srv.connect();
    let answer = late.run(&format!("PSYNC {replid} 1000000")).text();
    assert!(answer.starts_with(&format!("FULLRESYNC {replid} ")), "{answer}");
    assert_eq!(c.figure("sync_partial_err"), 1);
}

#[test]
fn a_replica_hears_that_its_master_lives() {
    let srv = Server::with(&["--repl-ping-replica-period", "1"]);
    let (mut c, mut r) = settled(&srv);
    assert_eq!([r.conn.read(), r.conn.read()], [Value::bulks(&["PING"]), Value::bulks(&["PING"])]);
    let offset = c.figure("master_repl_offset") as u64;
    assert!(offset >= 28 && offset.is_multiple_of(14), "two PINGs and more");
    // The database is selected when it matters, not before.
    c.run("SET k v");
    r.expect(&["SELECT 0", "SET k v"]);
}

#[test]
fn a_server_without_persistence_leaves_no_snapshot_if_so_configured() {
    let srv = Server::with(&["--rdb-del-sync-files", "yes"]);
    let r = Raw::sync(&srv);
    assert!(r.snapshot.starts_with(b"REDIS0011"));
    wait_until("the file to go", || !srv.dir.join("dump.rdb").exists());
    let kept = Server::start();
    let mut r = Raw::sync(&kept);
    // The first second, in which it would go, is over with the first PING.
    assert_eq!(r.conn.read(), Value::bulks(&["PING"]));
    assert!(kept.dir.join("dump.rdb").exists());
}

#[test]
fn who_wants_the_snapshot_only_is_closed_behind_it() {
    let srv = quiet();
    let (mut c, mut p) = (srv.connect(), srv.connect());
    assert_eq!(p.run("REPLCONF rdb-only 1"), Value::ok());
    p.put(&["SYNC"]);
    assert_eq!(c.run("SET k v"), Value::ok());
    assert!(read_snapshot(&mut p).starts_with(b"REDIS0011"));
    assert!(p.at_end());
    assert_eq!(c.figure("connected_slaves"), 0);
}

#[test]
fn who_wants_no_keys_gets_the_head_of_a_snapshot_and_then_the_stream() {
    let srv = quiet();
    let (mut c, mut conn) = (srv.connect(), srv.connect());
    assert_eq!(c.run("SET k v"), Value::ok());
    assert_eq!(conn.run("REPLCONF rdb-filter-only functions"), Value::ok());
    conn.put(&["SYNC"]);
    assert_eq!(conn.read().error(), "ERR Filtered replica requires EOF capability");
    assert_eq!(conn.cmd(&["REPLCONF", "capa", "eof", "rdb-filter-only", ""]), Value::ok());
    conn.put(&["SYNC"]);
    let snapshot = read_snapshot(&mut conn);
    assert!(snapshot.starts_with(b"REDIS0011\xfa\x09redis-ver"));
    // No key and its value, but an end and a checksum.
    assert!(!snapshot.windows(4).any(|w| w == b"\x01k\x01v"));
    assert_eq!(snapshot[snapshot.len() - 9], 0xff);
    assert_eq!(c.run("SET k w"), Value::ok());
    let mut raw = Raw { conn, snapshot };
    raw.expect(&["SELECT 0", "SET k w"]);
    assert_eq!(c.figure("rdb_saves"), 0);
}

#[test]
fn a_replica_that_asks_is_closed_and_may_not_touch_keys() {
    let srv = quiet();
    let mut r = Raw::sync(&srv);
    r.conn.put(&["GET", "k"]);
    assert!(r.conn.at_end());
    assert!(srv.log().contains("Replica generated a reply to command 'get', disconnecting it: id="));
    let mut c = srv.connect();
    c.send(b"PING\r\nSYNC\r\n");
    assert_eq!(c.read(), Value::Status("PONG".into()));
    assert_eq!(c.read().error(), "ERR SYNC and PSYNC are invalid with pending output");
}

#[test]
fn a_replica_that_says_later_what_it_wants_loses_nothing_of_the_stream() {
    let srv = quiet();
    let mut c = srv.connect();
    assert_eq!(c.run("CONFIG SET repl-backlog-size 16384"), Value::ok());
    let mut raw = Raw::sync(&srv);
    // The acknowledgement shows that this has been read, and keeps it from being answered.
    raw.conn.put(&["REPLCONF", "rdb-only", "1", "ack", "7"]);
    wait_until("the acknowledgement", || c.run("INFO replication").text().contains("offset=7,"));
    // More than sockets hold.
    let (big, sets) = ("x".repeat(512 * 1024), 64);
    for _ in 0..sets {
        assert_eq!(c.cmd(&["SET", "k", &big]), Value::ok());
    }
    assert_eq!(raw.next(), "SELECT 0");
    for _ in 0..sets {
        assert!(raw.next() == format!("SET k {big}"));
    }
    raw.ends(&mut c);
}

#[test]
fn a_replica_that_does_not_read_is_closed_and_its_share_of_the_stream_goes() {
    let srv = quiet();
    let mut c = srv.connect();
    c.run("CONFIG SET repl-backlog-size 16384");
    assert_eq!(c.cmd(&["CONFIG", "SET", "client-output-buffer-limit", "replica 2mb 0 0"]), Value::ok());
    let raw = Raw::sync(&srv);
    let big = "x".repeat(256 * 1024);
    wait_until("the limit to be reached", || {
        c.cmd(&["SET", "k", &big]);
        c.figure("connected_slaves") == 0
    });
    assert!(srv.log().contains("for overcoming of output buffer limits."));
    let kept = c.figure("repl_backlog_histlen") as u64;
    assert!(kept < 1024 * 1024, "{kept} bytes are still kept for nobody");
    drop(raw);
}

#[test]
fn too_few_good_replicas_refuse_writes() {
    let srv = Server::with(&["--min-replicas-to-write", "1", "--repl-ping-replica-period", "3600"]);
    let mut c = srv.connect();
    let refused = "NOREPLICAS Not enough good replicas to write.";
    assert_eq!(c.run("SET k v").error(), refused);
    let r = Raw::sync(&srv);
    wait_until("the replica to count", || c.run("SET k v") == Value::ok());
    assert_eq!(c.figure("min_slaves_good_slaves"), 1);
    drop(r);
    wait_until("the replica to be missed", || matches!(c.run("SET k v"), Value::Error(_)));
    assert_eq!(c.run("SET k v").error(), refused);
}

#[test]
fn replconf_refuses_what_it_does_not_understand() {
    let srv = quiet();
    let mut c = srv.connect();
    assert_eq!(c.run("REPLCONF"), Value::ok());
    for (line, why) in [
        ("REPLCONF capa", "ERR syntax error"),
        ("REPLCONF listening-port x", "ERR value is not an integer or out of range"),
        ("REPLCONF rdb-only 2", "ERR value is out of range, value must between 0 and 1"),
        ("REPLCONF rdb-filter-only keys", "ERR Unsupported rdb-filter-only option: keys"),
        ("REPLCONF rdb-filter-only '", "ERR Missing rdb-filter-only values"),
        ("REPLCONF nonsense 2", "ERR Unrecognized REPLCONF option: nonsense"),
    ] {
        assert_eq!(c.run(line).error(), why, "{line}");
    }
    let long = "h".repeat(256);
    let why = "ERR REPLCONF ip-address provided by replica instance is too long: 256 bytes";
    assert_eq!(c.cmd(&["REPLCONF", "ip-address", &long]).error(), why);
    c.put(&["REPLCONF", "ACK", "5"]);
    c.put(&["REPLCONF", "GETACK", "*"]);
    assert_eq!(c.run("PING"), Value::Status("PONG".into()), "neither is answered");
}

#[test]
fn a_master_is_told_that_it_is_one() {
    let srv = quiet();
    let mut c = srv.connect();
    assert_eq!([c.run("REPLICAOF no ONE"), c.run("slaveof NO one")], [Value::ok(), Value::ok()]);
    for (line, why) in [
        ("REPLICAOF 127.0.0.1 x", "ERR Invalid master port"),
        ("REPLICAOF 127.0.0.1 65536", "ERR Invalid master port"),
        ("PSYNC ? -1 FAILOVER", "ERR PSYNC FAILOVER can't be sent to a master."),
    ] {
        assert_eq!(c.run(line).error(), why);
    }
    assert_eq!(c.run("ROLE"), Value::Array(vec![Value::bulk("master"), Int(0), Value::Array(vec![])]));
}

fn digest(c: &mut Conn) -> Value {
    c.run("DEBUG DIGEST")
}

#[test]
fn a_real_replica_ends_with_the_same_dataset() {
    let open = ["--enable-debug-command", "yes"];
    let Some(real) = Server::real(&open) else { return };
    let srv = Server::with(&open);
    let (mut c, mut r) = (srv.connect(), real.connect());
    let mut rng = Rng::seeded(11);
    let mut play = |c: &mut Conn, n: usize| {
        for _ in 0..n {
            let lines: Vec<String> = (0..20).map(|_| random_line(&mut rng)).collect();
            c.pipeline(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        }
    };
    play(&mut c, 50);
    assert_eq!(r.cmd(&["REPLICAOF", "127.0.0.1", &srv.port.to_string()]), Value::ok());
    wait_until("the fork", || c.figure("connected_slaves") == 1);
    play(&mut c, 50);
    wait_until("the link", || r.fact("master_link_status") == "up");
    c.run("SELECT 5");
    play(&mut c, 50);
    wait_until("the same dataset", || digest(&mut c) == digest(&mut r));
    wait_until("every byte to be acknowledged", || {
        let state = c.run("ROLE");
        let mine = state.items()[1].int().to_string();
        state.items()[2].items()[0].items()[2] == Value::bulk(mine)
    });
    // A link that breaks goes on where it was.
    r.run("CLIENT KILL TYPE master");
    play(&mut c, 20);
    wait_until("the same dataset", || digest(&mut c) == digest(&mut r));
    assert_eq!(c.figure("sync_full"), 1);
    assert_eq!(c.figure("sync_partial_ok"), 1);
}

/// Top, middle and bottom follow each other through cuts, a promotion of the middle and one of the bottom.
fn chain(servers: [&Server; 3]) {
    let mut c: Vec<Conn> = servers.iter().map(|s| s.connect()).collect();
    let ports: Vec<String> = servers.iter().map(|s| s.port.to_string()).collect();
    let mut rng = Rng::seeded(12);
    let mut play = |c: &mut Conn, n: usize| {
        for _ in 0..n {
            let mut lines: Vec<String> = (0..20).map(|_| random_line(&mut rng)).collect();
            lines.insert(5, "MULTI".into());
            lines.insert(10, "EXEC".into());
            lines.push(format!("SELECT {}", rng.below(4)));
            lines.push("SET t v PX 30".into());
            c.pipeline(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            let script = "redis.call('incr', KEYS[1]) return redis.call('lpush', KEYS[2], ARGV[1])";
            c.cmd(&["EVAL", script, "2", "counter", "l1", "x"]);
        }
    };
    fn place(c: &mut Conn) -> (String, i64) {
        (c.fact("master_replid"), c.figure("master_repl_offset"))
    }
    fn same(c: &mut [Conn]) {
        wait_until("the same dataset at the same offset", || {
            let first = (place(&mut c[0]), digest(&mut c[0]));
            c.iter_mut().all(|c| (place(c), digest(c)) == first)
        });
    }
    fn up(c: &mut Conn) {
        wait_until("the link", || c.fact("master_link_status") == "up");
    }
    play(&mut c[0], 20);
    for n in [1, 2] {
        assert_eq!(c[n].run(&format!("REPLICAOF 127.0.0.1 {}", ports[n - 1])), Value::ok());
        play(&mut c[0], 5);
        up(&mut c[n]);
    }
    play(&mut c[0], 20);
    same(&mut c);
    for round in 0..4 {
        c[1 + round % 2].run("CLIENT KILL TYPE master");
        play(&mut c[0], 3);
    }
    same(&mut c);
    let full: i64 = c.iter_mut().map(|c| c.figure("sync_full")).sum();
    assert_eq!(full, 2, "a cut costs no full sync");
    // The middle is the master now, and the old top its replica.
    c[1].run("REPLICAOF NO ONE");
    play(&mut c[1], 5);
    c[0].run(&format!("REPLICAOF 127.0.0.1 {}", ports[1]));
    up(&mut c[0]);
    play(&mut c[1], 5);
    same(&mut c);
    // Then the bottom.
    c[2].run("REPLICAOF NO ONE");
    c[1].run(&format!("REPLICAOF 127.0.0.1 {}", ports[2]));
    up(&mut c[1]);
    play(&mut c[2], 5);
    up(&mut c[0]);
    same(&mut c);
    let again: i64 = c.iter_mut().map(|c| c.figure("sync_full")).sum();
    assert_eq!(full, again, "a change of roles costs none either");
}

const OPEN: [&str; 4] = ["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"];

#[test]
fn a_chain_of_ours_goes_through_cuts_and_promotions() {
    let [a, b, c] = [(); 3].map(|()| Server::with(&OPEN));
    chain([&a, &b, &c]);
}

#[test]
fn a_chain_of_ours_and_real_ones_goes_through_cuts_and_promotions() {
    let Some(real) = Server::real(&OPEN) else { return };
    let Some(second) = Server::real(&OPEN) else { return };
    let [ours, other] = [(); 2].map(|()| Server::with(&OPEN));
    chain([&real, &ours, &second]);
    for c in [&real, &ours, &second] {
        c.connect().run("FLUSHALL");
        c.connect().run("REPLICAOF NO ONE");
        c.connect().run("CONFIG RESETSTAT");
    }
    chain([&ours, &real, &other]);
}

#[test]
fn the_end_waits_for_replicas_that_lag() {
    let mut srv = quiet();
    let (mut c, mut replica) = settled(&srv);
    let (mut asks, mut writes) = (srv.connect(), srv.connect());
    let id = c.run("CLIENT ID").int().to_string();
    assert_eq!(c.run("SET first 1"), Value::ok());
    replica.expect(&["SELECT 0", "SET first 1"]);
    c.put(&["SHUTDOWN"]);
    replica.expect(&["REPLCONF GETACK *"]);
    wait_until("a line in the log", || srv.log().contains("Waiting for replicas before shutting down."));
    // Writes rest meanwhile; a second wish to end waits for the same end.
    let mut second = srv.connect();
    second.put(&["SHUTDOWN", "NOW"]);
    writes.put(&["SET", "k", "1"]);
    wait_until("three blocked clients", || asks.figure("blocked_clients") == 3);
    assert!(asks.figure("shutdown_in_milliseconds") > 0);
    assert_eq!(asks.cmd(&["CLIENT", "UNBLOCK", &id]), Int(0));
    assert_eq!(asks.run("SHUTDOWN ABORT"), Value::ok());
    for conn in [&mut c, &mut second] {
        assert_eq!(conn.read().error(), "ERR Errors trying to SHUTDOWN. Check logs.");
    }
    assert_eq!(writes.read(), Value::ok());
    replica.expect(&["SET k 1"]);
    assert_eq!(asks.run("SHUTDOWN ABORT").error(), "ERR No shutdown in progress.");

    srv.signal("TERM");
    replica.expect(&["REPLCONF GETACK *"]);
    let offset = asks.figure("master_repl_offset");
    replica.conn.put(&["REPLCONF", "ACK", &offset.to_string()]);
    assert_eq!(srv.wait_exit().code(), Some(0));
    assert!(srv.log().contains("1 of 1 replicas are in sync when shutting down."));
}

#[test]
fn the_end_waits_no_longer_than_told() {
    let mut srv = quiet();
    let (mut c, _replica) = settled(&srv);
    assert_eq!(c.run("SET k 1"), Value::ok());
    assert_eq!(c.run("CONFIG SET shutdown-timeout 1"), Value::ok());
    c.put(&["SHUTDOWN"]);
    assert_eq!(srv.wait_exit().code(), Some(0));
    let log = srv.log();
    assert!(log.contains("Waiting for replicas before shutting down."), "{log}");
    assert!(log.contains("Lagging replica ") && log.contains("0 of 1 replicas are in sync"), "{log}");
}
