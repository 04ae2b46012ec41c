//! End to end: what a master does for replicas that come back, that come together and that lag.

mod common;

use common::{Conn, Server, Value, signal, wait_until};

/// A replica by hand, up to the end of its snapshot.
struct Follower {
    conn: Conn,
    replid: String,
    /// Where the snapshot stands.
    offset: i64,
}

/// Says what a replica says that listens at this port, and asks to go on.
fn asks(srv: &Server, port: u16, replid: &str, next: i64) -> Conn {
    let mut c = srv.connect();
    let says = format!("REPLCONF listening-port {port} capa eof capa psync2");
    assert_eq!(c.run(&says), Value::ok());
    c.put(&["PSYNC", replid, &next.to_string()]);
    c
}

/// The next line that is no sign of life.
fn line(c: &mut Conn) -> String {
    loop {
        let line = String::from_utf8(c.line()).expect("text");
        let line = line.trim_start_matches('\n');
        if !line.is_empty() {
            return line.into();
        }
    }
}

/// The snapshot, whose length was announced.
fn take_snapshot(c: &mut Conn) -> Vec<u8> {
    let length = line(c);
    c.take(length[1..].parse().expect("a length"))
}

/// Reads `+FULLRESYNC`.
fn full(c: &mut Conn) -> (String, i64) {
    let line = line(c);
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!(words[0], "+FULLRESYNC", "{line}");
    (words[1].into(), words[2].parse().expect("an offset"))
}

impl Follower {
    fn new(srv: &Server, port: u16) -> Follower {
        let mut conn = asks(srv, port, "?", -1);
        let (replid, offset) = full(&mut conn);
        take_snapshot(&mut conn);
        let mut f = Follower { conn, replid, offset };
        f.acks(offset);
        let mut c = srv.connect();
        let online = format!("port={port},state=online,offset={offset},");
        wait_until("the replica to be online", || fact_of_replica(&mut c, &online).is_some());
        f
    }

    fn acks(&mut self, offset: i64) {
        self.conn.put(&["REPLCONF", "ACK", &offset.to_string()]);
    }

    /// Closes the connection, and waits until the master has seen it.
    fn leaves(self, c: &mut Conn) {
        let before = c.figure("connected_slaves");
        drop(self.conn);
        wait_until("the loss", || c.figure("connected_slaves") < before);
    }
}

/// The line of INFO about a replica that has this text.
fn fact_of_replica(c: &mut Conn, has: &str) -> Option<String> {
    (0..c.figure("connected_slaves")).map(|n| c.fact(&format!("slave{n}"))).find(|l| l.contains(has))
}

/// Without PINGs, and with snapshots by way of a file.
fn quiet(options: &[&str]) -> Server {
    let usual = ["--repl-ping-replica-period", "3600", "--repl-diskless-sync", "no"];
    Server::with(&[&usual[..], options].concat())
}

fn writes(c: &mut Conn, n: usize) {
    for _ in 0..n {
        c.cmd(&["SET", "k", &"x".repeat(10_000)]);
    }
}

#[test]
fn a_replica_that_was_cut_goes_on_though_the_backlog_was_overrun() {
    let srv = quiet(&["--repl-backlog-size", "16384"]);
    let mut c = srv.connect();
    let f = Follower::new(&srv, 7001);
    let (replid, offset) = (f.replid.clone(), f.offset);
    f.leaves(&mut c);
    writes(&mut c, 10);
    assert!(c.figure("repl_backlog_histlen") > 100_000, "it is kept for the one that was lost");
    assert_eq!(c.figure("repl_backlog_size"), 16384);
    let mut back = asks(&srv, 7001, &replid, offset + 1);
    assert_eq!(line(&mut back), format!("+CONTINUE {replid}"));
    // It has all of it, and is not missed any more.
    let end = c.figure("master_repl_offset");
    back.put(&["REPLCONF", "ACK", &end.to_string()]);
    let has = format!("offset={end},");
    wait_until("the acknowledgement", || fact_of_replica(&mut c, &has).is_some());
    writes(&mut c, 1);
    wait_until("the backlog to shrink", || {
        writes(&mut c, 2);
        c.figure("repl_backlog_histlen") < 60_000
    });
}

#[test]
fn a_replica_that_lacks_too_much_or_stays_away_is_not_waited_for() {
    let srv = quiet(&["--repl-backlog-size", "16384", "--repl-timeout", "600"]);
    let mut c = srv.connect();
    let f = Follower::new(&srv, 7001);
    let (replid, offset) = (f.replid.clone(), f.offset);
    f.leaves(&mut c);
    writes(&mut c, 20);
    assert!(c.figure("repl_backlog_histlen") < 60_000, "eight times the size are the most");
    let mut back = asks(&srv, 7001, &replid, offset + 1);
    full(&mut back);
    let missing = "bytes of the stream are not kept any more, see repl-backlog-size.";
    assert!(srv.log().contains(missing), "it says by how many bytes");
    take_snapshot(&mut back);
    drop(back);
    // Lost again, and for longer than repl-timeout.
    wait_until("the loss", || c.figure("connected_slaves") == 0);
    let f = Follower::new(&srv, 7002);
    f.leaves(&mut c);
    writes(&mut c, 10);
    assert!(c.figure("repl_backlog_histlen") > 100_000);
    c.run("CONFIG SET repl-timeout 1");
    wait_until("the backlog to shrink", || c.figure("repl_backlog_histlen") < 60_000);
}

#[test]
fn what_a_partial_sync_misses_is_told_in_bytes() {
    let srv = quiet(&[]);
    let mut c = srv.connect();
    let f = Follower::new(&srv, 7001);
    let end = c.figure("master_repl_offset");
    drop(asks(&srv, 7002, &f.replid, end + 12));
    wait_until("the line", || srv.log().contains("that is 11 bytes behind the end of the stream."));
}

#[test]
fn the_lag_of_a_replica_is_told_in_bytes_and_seconds() {
    let srv = quiet(&[]);
    let mut c = srv.connect();
    let mut f = Follower::new(&srv, 7001);
    let none = ",lag_bytes=0,lag_seconds=0,unsent_bytes=0";
    assert!(c.fact("slave0").ends_with(none), "{}", c.fact("slave0"));
    writes(&mut c, 1);
    let end = c.figure("master_repl_offset");
    let lacks = format!(",lag_bytes={},", end - f.offset);
    wait_until("the lag", || {
        let told = c.fact("slave0");
        assert!(told.contains(&lacks), "{told}");
        !told.contains("lag_seconds=0,") && told.ends_with(",unsent_bytes=0")
    });
    f.acks(end);
    wait_until("the acknowledgement", || c.fact("slave0").ends_with(none));
}

#[test]
fn a_sync_that_the_output_limit_will_cut_is_told_before() {
    let srv = quiet(&[]);
    let mut c = srv.connect();
    let mut slow = asks(&srv, 7001, "?", -1);
    let (_, offset) = full(&mut slow);
    take_snapshot(&mut slow);
    // The sync lasts until it is acknowledged.
    writes(&mut c, 1);
    wait_until("some seconds", || {
        let told = c.fact("slave0");
        let seconds = told.split(',').find_map(|f| f.strip_prefix("lag_seconds="));
        seconds.expect("it is told").parse::<u64>().expect("a number") >= 2
    });
    slow.put(&["REPLCONF", "ACK", &offset.to_string()]);
    let acked = format!("offset={offset},lag=");
    wait_until("the acknowledgement", || c.fact("slave0").contains(&acked));
    assert!(!srv.log().contains("may be cut"));
    c.run("CONFIG SET repl-backlog-size 16384");
    c.cmd(&["CONFIG", "SET", "client-output-buffer-limit", "replica 64kb 0 0"]);
    writes(&mut c, 400);
    let mut next = asks(&srv, 7002, "?", -1);
    full(&mut next);
    assert!(srv.log().contains("may be cut by the output limit of replicas: at "), "{}", srv.log());
}

#[test]
fn a_snapshot_that_is_being_saved_serves_a_replica_that_comes() {
    let srv = quiet(&["--rdb-key-save-delay", "5000"]);
    let mut c = srv.connect();
    // The stream is kept from the first replica on.
    let f = Follower::new(&srv, 7001);
    c.run("SELECT 3");
    for i in 0..100 {
        c.cmd(&["SET", &format!("key:{i}"), &"x".repeat(2000)]);
    }
    let at = c.figure("master_repl_offset");
    assert_eq!(c.run("BGSAVE"), Value::Status("Background saving started".into()));
    let child = srv.saver();
    signal(&child, "STOP");
    c.run("SET during snapshot");
    let mut late = asks(&srv, 7002, "?", -1);
    assert_eq!(full(&mut late), (f.replid.clone(), at), "it stands where the child was forked");
    c.run("SET during later");
    signal(&child, "CONT");
    let snapshot = take_snapshot(&mut late);
    let has = |s: &[u8]| snapshot.windows(s.len()).any(|w| w == s);
    assert!(has(b"key:99") && !has(b"during") && has(b"repl-stream-db"));
    assert_eq!(
        late.read(),
        Value::bulks(&["SET", "during", "snapshot"]),
        "no SELECT: the snapshot has it"
    );
    assert_eq!(late.read(), Value::bulks(&["SET", "during", "later"]));
    assert_eq!(c.figure("total_forks"), 2);
}

#[test]
fn a_save_goes_on_when_a_replica_that_shared_it_leaves() {
    let srv = quiet(&["--rdb-key-save-delay", "5000"]);
    let mut c = srv.connect();
    let f = Follower::new(&srv, 7001);
    for i in 0..50 {
        c.cmd(&["SET", &format!("key:{i}"), "x"]);
    }
    c.run("BGSAVE");
    let child = srv.saver();
    signal(&child, "STOP");
    let mut late = asks(&srv, 7002, "?", -1);
    full(&mut late);
    drop(late);
    wait_until("the loss", || c.figure("connected_slaves") == 1);
    assert_eq!(c.figure("rdb_bgsave_in_progress"), 1, "it was not begun for the replica");
    signal(&child, "CONT");
    wait_until("the end", || c.figure("rdb_bgsave_in_progress") == 0);
    assert_eq!(c.fact("rdb_last_bgsave_status"), "ok");
    drop(f);
}

// ---- on the replica ----------------------------------------------------------------------------

fn follows(c: &mut Conn, host: &str, port: u16) {
    assert_eq!(c.run(&format!("REPLICAOF {host} {port}")), Value::ok());
    wait_until("the link", || c.fact("master_link_status") == "up");
}

fn names(dir: &std::path::Path) -> Vec<String> {
    let all = std::fs::read_dir(dir).map(|d| d.filter_map(Result::ok).collect::<Vec<_>>());
    all.unwrap_or_default().iter().map(|f| f.file_name().to_string_lossy().into_owned()).collect()
}

fn log_is_on(c: &mut Conn) {
    wait_until("the log", || {
        c.figure("aof_rewrite_in_progress") + c.figure("aof_rewrite_scheduled") == 0
    });
}

#[test]
fn the_snapshot_of_the_master_becomes_the_base_of_the_log() {
    let debug = ["--enable-debug-command", "yes"];
    let top = quiet(&debug);
    let mut t = top.connect();
    t.run("DEBUG POPULATE 1000 key 100");
    t.pipeline(&["SELECT 5", "RPUSH l a b c", "FUNCTION FLUSH"]);
    let lib = "#!lua name=l\nredis.register_function('f', function() return 1 end)";
    t.cmd(&["FUNCTION", "LOAD", lib]);
    let mut low = Server::with(&[&debug[..], &["--appendonly", "yes"]].concat());
    let mut l = low.connect();
    l.run("SET old 1");
    for round in 1..=3 {
        follows(&mut l, "127.0.0.1", top.port);
        log_is_on(&mut l);
        assert_eq!(l.figure("total_forks"), 0, "no child was needed");
        assert_eq!(l.figure("aof_enabled"), 1);
        t.run(&format!("RPUSH l {round}"));
        wait_until("the same dataset", || t.run("DEBUG DIGEST") == l.run("DEBUG DIGEST"));
        assert!(low.log().contains("dump.rdb becomes the base of the AOF"));
        low.wait_logged();
        low.kill();
        low.restart();
        l = low.connect();
        assert_eq!(t.run("DEBUG DIGEST"), l.run("DEBUG DIGEST"), "the log has all of it");
        assert_eq!(l.cmd(&["FCALL", "f", "0"]), Value::Int(1));
    }
    let left = names(&low.dir.join("appendonlydir"));
    assert!(!left.iter().any(|n| n.starts_with("temp-")), "{left:?}");
    assert_eq!(left.iter().filter(|n| n.ends_with(".base.rdb")).count(), 1, "{left:?}");
    // A save takes the place of the snapshot and not of the base.
    assert_eq!(l.run("SAVE"), Value::ok());
    l.run("FLUSHALL");
    assert_eq!(l.run("SAVE"), Value::ok());
    low.wait_logged();
    low.kill();
    low.restart();
    assert_eq!(low.connect().run("DBSIZE"), Value::Int(0));
}

#[test]
fn without_a_preamble_the_log_of_a_replica_is_rewritten() {
    let top = quiet(&[]);
    let low = Server::with(&["--appendonly", "yes", "--aof-use-rdb-preamble", "no"]);
    let mut l = low.connect();
    follows(&mut l, "127.0.0.1", top.port);
    log_is_on(&mut l);
    assert_eq!(l.figure("total_forks"), 1);
}

#[test]
fn a_master_is_found_by_its_name() {
    let (top, low) = (quiet(&[]), Server::start());
    let (mut t, mut l) = (top.connect(), low.connect());
    t.run("SET k v");
    assert_eq!(l.run("REPLICAOF no.such.host.invalid 7"), Value::ok());
    wait_until("the failure", || low.log().contains("Unable to connect to MASTER"));
    follows(&mut l, "localhost", top.port);
    assert_eq!(l.run("GET k"), Value::bulk("v"));
}

#[test]
fn what_was_gathered_for_a_log_goes_when_the_log_is_switched_off() {
    let srv = Server::with(&["--rdb-key-save-delay", "100000"]);
    let mut c = srv.connect();
    c.pipeline(&["SET a 1", "SET b 1", "SET c 1"]);
    assert_eq!(c.run("CONFIG SET appendonly yes"), Value::ok());
    wait_until("the child", || c.figure("aof_rewrite_in_progress") == 1);
    let gathered = |srv: &Server| names(&srv.dir.join("appendonlydir"));
    assert!(gathered(&srv).iter().any(|n| n.starts_with("temp-")), "{:?}", gathered(&srv));
    assert_eq!(c.run("CONFIG SET appendonly no"), Value::ok());
    assert!(!gathered(&srv).iter().any(|n| n.starts_with("temp-")), "{:?}", gathered(&srv));
}

#[test]
fn a_rewrite_that_was_asked_for_begins_whatever_the_role() {
    let srv = Server::with(&["--appendonly", "yes"]);
    let (mut a, mut b) = (srv.connect(), srv.connect());
    for round in 0..30 {
        a.put(&["BGREWRITEAOF"]);
        b.put(&["REPLICAOF", "127.0.0.1", if round % 2 == 0 { "1" } else { "2" }]);
        let answer = a.read();
        assert!(matches!(&answer, Value::Status(s) if s.starts_with("Background")), "{answer:?}");
        assert_eq!(b.read(), Value::ok());
        wait_until("the end", || b.figure("aof_rewrite_in_progress") == 0);
    }
}
