//! End to end: full syncs by two connections (dual-channel-replication-enabled), with ours at both ends, with
//! either end played by the test, and, with VALKEY_SERVER, with a real valkey-server 8.0 at either end.

mod common;

use common::Value::Int;
use common::load::Load;
use common::{Conn, Server, Value, request, same, signal, up, wait_until};
use oxidis::algo::rng::Rng;
use std::io::Write;
use std::net::TcpListener;
use std::thread;

const ID: &str = "0123456789012345678901234567890123456789";
const MARK: &str = "abcdefghijabcdefghijabcdefghijabcdefghij";
const OPEN: [&str; 4] = ["--enable-debug-command", "yes", "--dual-channel-replication-enabled", "yes"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&OPEN[..], more].concat()
}

fn follow(c: &mut Conn, srv: &Server) {
    assert_eq!(c.run(&format!("REPLICAOF 127.0.0.1 {}", srv.port)), Value::ok());
}

fn fill(c: &mut Conn, keys: usize) {
    assert_eq!(c.run(&format!("DEBUG POPULATE {keys} key 100")), Value::ok());
}

/// A sync under load from `master` to `replica`, and what follows it. The child is held until both channels
/// are there, so that there is a stream beside the snapshot.
fn sync_under_load(master: &Server, replica: &Server, child: &str) {
    let (mut m, mut r) = (master.connect(), replica.connect());
    fill(&mut m, 2000);
    // The child writes slowly.
    m.run("CONFIG SET rdb-key-save-delay 1000");
    let load = Load::on(master, 3);
    follow(&mut r, master);
    wait_until("both channels", || {
        let info = m.run("INFO replication").text();
        info.contains("type=main-channel") && info.contains("type=rdb-channel")
    });
    assert!(master.log().contains(child), "{}", master.log());
    wait_until("the replica to keep the stream", || r.figure("replicas_repl_buffer_size") > 0);
    m.run("CONFIG SET rdb-key-save-delay 0");
    up(&mut r);
    wait_until("the replica to be plain", || {
        let info = m.run("INFO replication").text();
        info.contains("state=online") && info.contains("type=replica") && !info.contains("channel")
    });
    load.end();
    same(&mut m, &mut r);
    assert!(r.figure("replicas_repl_buffer_peak") > 0);
    assert_eq!(r.figure("replicas_repl_buffer_size"), 0);
    assert_eq!(m.figure("replicas_waiting_psync"), 0);
    assert_eq!((m.figure("sync_full"), m.figure("sync_partial_ok")), (1, 1));
    // A cut costs a partial sync, as ever.
    r.run("CLIENT KILL TYPE master");
    m.run("SET after cut");
    up(&mut r);
    same(&mut m, &mut r);
    assert_eq!((m.figure("sync_full"), m.figure("sync_partial_ok")), (1, 2));
    assert_eq!(r.figure("unexpected_error_replies"), 0);
}

#[test]
fn the_stream_comes_beside_the_snapshot() {
    for load in ["disabled", "on-empty-db", "swapdb"] {
        let master = Server::with(&OPEN);
        let replica = Server::with(&with(&["--repl-diskless-load", load]));
        sync_under_load(&master, &replica, "Sending to replica");
        let log = replica.log();
        assert!(log.contains("Master accepted a Partial Resynchronization, RDB load in background."));
        assert!(log.contains("Successfully streamed replication data into memory"), "{log}");
    }
}

#[test]
fn a_real_replica_takes_our_channels() {
    let Some(replica) = Server::valkey(&OPEN) else { return };
    sync_under_load(&Server::with(&OPEN), &replica, "Sending to replica");
    assert!(replica.log().contains("Successfully streamed replication data into memory"));
}

#[test]
fn we_take_the_channels_of_a_real_master() {
    for load in ["disabled", "on-empty-db", "swapdb"] {
        let Some(master) = Server::valkey(&OPEN) else { return };
        let replica = Server::with(&with(&["--repl-diskless-load", load]));
        sync_under_load(&master, &replica, "direct socket to replica");
    }
}

/// One that has the directive and one that has not, and one whose master writes to the disk.
#[test]
fn where_only_one_side_can_there_is_a_plain_sync() {
    let plain = ["--enable-debug-command", "yes"];
    for (master, replica) in [
        (with(&[]), plain.to_vec()),
        (plain.to_vec(), with(&[])),
        (with(&["--repl-diskless-sync", "no"]), with(&[])),
    ] {
        let (master, replica) = (Server::with(&master), Server::with(&replica));
        let (mut m, mut r) = (master.connect(), replica.connect());
        fill(&mut m, 100);
        follow(&mut r, &master);
        up(&mut r);
        same(&mut m, &mut r);
        assert!(!replica.log().contains("initialize RDB channel"));
        assert_eq!((m.figure("sync_full"), m.figure("sync_partial_ok")), (1, 0));
    }
    let off = Server::start();
    let mut c = off.connect();
    for option in ["rdb-channel", "set-rdb-client-id"] {
        let why = format!("ERR Unrecognized REPLCONF option: {option}");
        assert_eq!(c.run(&format!("REPLCONF {option} 1")).error(), why);
    }
}

#[test]
fn both_connections_log_in() {
    let master = Server::with(&with(&["--requirepass", "secret"]));
    let mut m = master.connect();
    m.run("AUTH secret");
    m.run("ACL SETUSER repl on >word +psync +replconf +ping +sync");
    let replica = Server::with(&with(&["--masteruser", "repl", "--masterauth", "word"]));
    let mut r = replica.connect();
    fill(&mut m, 100);
    follow(&mut r, &master);
    up(&mut r);
    same(&mut m, &mut r);
    assert!(replica.log().contains("initialize RDB channel"));
    // Where the second connection cannot have what it asks for, the next try does without.
    m.run("ACL SETUSER repl -sync");
    m.run("DEBUG CHANGE-REPL-ID");
    r.run("CLIENT KILL TYPE master");
    wait_until("the refusal", || {
        replica.log().contains("Received unexpected $ENDOFF response: -NOPERM")
    });
    up(&mut r);
    same(&mut m, &mut r);
}

#[test]
fn two_replicas_share_a_child_and_a_chain_goes_on_below() {
    let master = Server::with(&OPEN);
    let [one, two, low] = [(); 3].map(|()| Server::with(&OPEN));
    let (mut m, mut l) = (master.connect(), low.connect());
    fill(&mut m, 1000);
    m.run("CONFIG SET repl-diskless-sync-delay 100");
    m.run("CONFIG SET repl-diskless-sync-max-replicas 2");
    let load = Load::on(&master, 4);
    let mut both = [one.connect(), two.connect()];
    both.iter_mut().for_each(|c| follow(c, &master));
    both.iter_mut().for_each(up);
    assert_eq!((m.figure("total_forks"), m.figure("sync_full")), (1, 2));
    follow(&mut l, &one);
    up(&mut l);
    load.end();
    both.iter_mut().for_each(|c| same(&mut m, c));
    same(&mut m, &mut l);
}

// ---- a replica by hand -------------------------------------------------------------------------

/// The two connections of a replica behind $ENDOFF: the id, the offset and the number of the client.
struct Ends {
    main: Conn,
    rdb: Conn,
    replid: String,
    offset: i64,
    client: String,
}

#[track_caller]
fn text_line(c: &mut Conn) -> String {
    loop {
        // Signs of life end with a mere line feed, which stands before the next line then.
        let line = String::from_utf8(c.line()).expect("text");
        let line = line.trim_start_matches('\n');
        if !line.is_empty() {
            return line.to_owned();
        }
    }
}

#[track_caller]
fn two_channels(srv: &Server) -> Ends {
    let (mut main, mut rdb) = (srv.connect(), srv.connect());
    assert_eq!(main.run("REPLCONF capa eof capa psync2 capa dual-channel"), Value::ok());
    assert_eq!(main.run("PSYNC ? -1"), Value::Status("DUALCHANNELSYNC".into()));
    assert_eq!(rdb.run("REPLCONF capa eof rdb-only 1 rdb-channel 1 listening-port 7"), Value::ok());
    rdb.put(&["SYNC"]);
    let line = text_line(&mut rdb);
    let words: Vec<&str> = line.strip_prefix("$ENDOFF:").expect(&line).split(' ').collect();
    let [offset, replid, _, client] = words[..] else { panic!("{line}") };
    let (replid, client) = (replid.to_owned(), client.to_owned());
    Ends { main, rdb, replid, offset: offset.parse().expect("a number"), client }
}

#[track_caller]
fn the_rest(rdb: &mut Conn) -> Vec<u8> {
    let line = text_line(rdb);
    let mark = line.strip_prefix("$EOF:").expect(&line).to_owned();
    let mut all = rdb.take(mark.len());
    while !all.ends_with(mark.as_bytes()) {
        all.extend(rdb.take(1));
    }
    all
}

#[test]
fn the_stream_is_kept_from_the_fork_until_it_is_asked_for() {
    let srv =
        Server::with(&with(&["--repl-backlog-size", "16384", "--repl-ping-replica-period", "3600"]));
    let mut c = srv.connect();
    let big = "x".repeat(1000);
    let mut e = two_channels(&srv);
    assert_eq!(c.figure("replicas_waiting_psync"), 1);
    // Much more than the backlog.
    for n in 0..500 {
        c.cmd(&["SET", &format!("k{n}"), &big]);
    }
    assert!(the_rest(&mut e.rdb).starts_with(b"REDIS0011"));
    assert!(e.rdb.at_end(), "it wanted no more");
    wait_until("it to be gone", || c.figure("connected_slaves") == 0);
    assert!(c.figure("repl_backlog_histlen") > 500_000);
    assert_eq!(e.main.run(&format!("REPLCONF set-rdb-client-id {}", e.client)), Value::ok());
    let answer = e.main.run(&format!("PSYNC {} {}", e.replid, e.offset + 1));
    assert_eq!(answer, Value::Status(format!("CONTINUE {}", e.replid)));
    assert_eq!(c.figure("replicas_waiting_psync"), 0);
    assert!(
        c.fact("slave0").contains("state=bg_transfer,")
            && c.fact("slave0").contains(",type=main-channel,")
    );
    assert_eq!(c.run("WAIT 1 1"), Int(0), "it has not loaded yet");
    assert_eq!(e.main.read(), Value::bulks(&["SELECT", "0"]));
    for n in 0..500 {
        assert_eq!(e.main.read(), Value::bulks(&["SET", &format!("k{n}"), &big]));
    }
    let end = c.figure("master_repl_offset");
    e.main.put(&["REPLCONF", "ACK", &end.to_string()]);
    wait_until("it to be online", || c.fact("slave0").contains("state=online,"));
    assert!(c.fact("slave0").contains(",type=replica,"));
    wait_until("the stream to go", || {
        c.cmd(&["SET", "k", &big]);
        e.main.read();
        let end = c.figure("master_repl_offset");
        e.main.put(&["REPLCONF", "ACK", &end.to_string()]);
        c.figure("repl_backlog_histlen") < 200_000
    });
}

#[test]
fn a_snapshot_that_is_not_known_or_too_old_is_refused() {
    let srv = Server::with(&with(&["--repl-backlog-size", "16384"]));
    let mut c = srv.connect();
    fill(&mut c, 3000);
    let refused = |e: &mut Ends| {
        let why = format!("ERR Unrecognized RDB client id {}", e.client);
        e.main.run(&format!("REPLCONF set-rdb-client-id {}", e.client)) == Value::Error(why)
    };
    for wrong in ["REPLCONF set-rdb-client-id 0", "REPLCONF set-rdb-client-id -1"] {
        assert!(c.run(wrong).error().starts_with("ERR Unrecognized RDB client id "));
    }
    for (line, why) in [
        ("REPLCONF set-rdb-client-id x", "ERR value is not an integer or out of range"),
        ("REPLCONF rdb-channel 2", "ERR value is out of range, value must between 0 and 1"),
    ] {
        assert_eq!(c.run(line).error(), why);
    }
    // The snapshot is cut.
    c.run("CONFIG SET rdb-key-save-delay 1000");
    let mut e = two_channels(&srv);
    e.rdb.stream().shutdown(std::net::Shutdown::Both).expect("connected");
    wait_until("it to be missed", || c.figure("replicas_waiting_psync") == 0);
    assert!(refused(&mut e));
    assert!(srv.log().contains("rdb channel disconnected."));
    c.run("CONFIG SET rdb-key-save-delay 0");
    // It is across, and the time is over.
    c.run("DEBUG DELAY-RDB-CLIENT-FREE-SECONDS 0");
    wait_until("the child to end", || c.figure("rdb_bgsave_in_progress") == 0);
    let mut e = two_channels(&srv);
    the_rest(&mut e.rdb);
    wait_until("it to be given up", || c.figure("replicas_waiting_psync") == 0);
    assert!(refused(&mut e));
    assert!(
        srv.log().contains("Replica main channel failed to establish PSYNC within the grace period")
    );
    c.run("DEBUG DELAY-RDB-CLIENT-FREE-SECONDS 60");
    // Of another history: it is told to begin anew.
    let mut e = two_channels(&srv);
    the_rest(&mut e.rdb);
    assert!(!refused(&mut e));
    c.run("DEBUG CHANGE-REPL-ID");
    let answer = e.main.run(&format!("PSYNC {} {}", e.replid, e.offset + 1));
    assert_eq!(answer, Value::Status("DUALCHANNELSYNC".into()));
}

#[test]
fn what_is_kept_is_bounded_by_the_limit_of_replicas() {
    let srv = Server::with(&with(&["--repl-backlog-size", "16384"]));
    let mut c = srv.connect();
    assert_eq!(c.cmd(&["CONFIG", "SET", "client-output-buffer-limit", "replica 2mb 0 0"]), Value::ok());
    let big = "x".repeat(100_000);
    for across in [true, false] {
        fill(&mut c, 3000);
        c.run(if across {
            "CONFIG SET rdb-key-save-delay 0"
        } else {
            "CONFIG SET rdb-key-save-delay 1000"
        });
        let mut e = two_channels(&srv);
        if across {
            the_rest(&mut e.rdb);
            wait_until("it to be gone", || c.figure("connected_slaves") == 0);
        }
        wait_until("the limit to be reached", || {
            c.cmd(&["SET", "k", &big]);
            c.figure("replicas_waiting_psync") == 0
        });
        wait_until("the stream to go", || {
            c.cmd(&["SET", "k", &big]);
            c.figure("repl_backlog_histlen") < 1_000_000
        });
        assert!(
            e.main.run(&format!("REPLCONF set-rdb-client-id {}", e.client)).error().starts_with("ERR")
        );
    }
}

// ---- a master by hand --------------------------------------------------------------------------

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

struct Master {
    listener: TcpListener,
}

impl Master {
    fn new() -> Master {
        Master { listener: TcpListener::bind("127.0.0.1:0").expect("a free port") }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("bound").port()
    }

    fn next(&self) -> Conn {
        Conn::over(self.listener.accept().expect("the replica connects").0)
    }

    /// The next connection up to its PSYNC; whether it offers two channels, and what it asks for.
    fn main(&self) -> (Conn, bool, Vec<String>) {
        let (mut c, mut dual) = (self.next(), false);
        loop {
            let words: Vec<String> = c.read().items().iter().map(Value::text).collect();
            match words[0].as_str() {
                "PING" => c.send(b"+PONG\r\n"),
                "REPLCONF" => {
                    dual |= words.last().is_some_and(|w| w == "dual-channel");
                    c.send(b"+OK\r\n");
                }
                "PSYNC" => return (c, dual, words[1..].to_vec()),
                other => panic!("{other}"),
            }
        }
    }

    /// Both connections, up to SYNC on the second one.
    fn both(&self) -> (Conn, Conn) {
        let mut main = loop {
            let (mut main, dual, _) = self.main();
            if dual {
                break main;
            }
            // The try after one that failed is a plain one: it fails as well.
            main.send(b"-LOADING later\r\n");
        };
        main.send(b"+DUALCHANNELSYNC\r\n");
        let mut rdb = self.next();
        let words: Vec<String> = rdb.read().items().iter().map(Value::text).collect();
        assert_eq!(words[..7], ["REPLCONF", "capa", "eof", "rdb-only", "1", "rdb-channel", "1"]);
        rdb.send(b"+OK\r\n");
        assert_eq!(rdb.read(), Value::bulks(&["SYNC"]));
        (main, rdb)
    }

    /// ... up to PSYNC on the first one, which is asked for the position behind the snapshot.
    fn asked(&self) -> (Conn, Conn) {
        let (mut main, mut rdb) = self.both();
        rdb.send(format!("\n\n$ENDOFF:100 {ID} 0 55\r\n").as_bytes());
        assert_eq!(main.read(), Value::bulks(&["REPLCONF", "set-rdb-client-id", "55"]));
        main.send(b"+OK\r\n");
        assert_eq!(main.read(), Value::bulks(&["PSYNC", ID, "101"]));
        (main, rdb)
    }
}

fn head() -> Vec<u8> {
    format!("$EOF:{MARK}\r\n").into_bytes()
}

#[track_caller]
fn acked(m: &mut Conn) -> i64 {
    // Line by line: signs of life may stand between.
    while m.line() != b"ACK" {}
    m.line();
    String::from_utf8(m.line()).expect("text").parse().expect("an offset")
}

/// Both channels of a sync, broken in one of ten ways.
fn break_it(master: &Master, file: &[u8], case: usize) {
    let half = &file[..file.len() / 2];
    let end = format!("$ENDOFF:100 {ID} 0 55\r\n");
    match case {
        // The second connection is closed at once.
        0 => {
            let (mut main, ..) = master.main();
            main.send(b"+DUALCHANNELSYNC\r\n");
            drop(master.next());
        }
        // Its SYNC is refused, or answered with nonsense.
        1 => drop(master.both().1.stream().write_all(b"-NOMASTERLINK no\r\n")),
        2 => drop(master.both().1.stream().write_all(b"$ENDOFF:1 2 3\r\n")),
        // The main channel is refused.
        3 => {
            let (mut main, mut rdb) = master.both();
            rdb.send(end.as_bytes());
            main.read();
            main.send(b"-ERR Unrecognized RDB client id 55\r\n");
            assert!(main.at_end() && rdb.at_end());
        }
        4 => {
            let (mut main, mut rdb) = master.asked();
            rdb.send(&[&head()[..], half].concat());
            main.send(format!("+FULLRESYNC {ID} 5\r\n").as_bytes());
            assert!(main.at_end() && rdb.at_end());
        }
        // The snapshot is cut, with a stream behind it; within the mark; or it is broken.
        5..8 => {
            let (mut main, mut rdb) = master.asked();
            main.send(b"+CONTINUE\r\n");
            main.send(&stream(&["SELECT 0", "SET never 1"]));
            let mut bad = file.to_vec();
            bad[60] ^= 0x55;
            rdb.send(&match case {
                5 => [&head()[..], half].concat(),
                6 => [&head()[..], file, &MARK.as_bytes()[..39]].concat(),
                _ => [&head()[..], &bad, MARK.as_bytes()].concat(),
            });
            if case == 7 {
                assert!(main.at_end());
            }
            drop(rdb);
            assert!(main.at_end());
        }
        // The main channel is cut before it has its answer, or was asked.
        8 => drop(master.asked().0),
        _ => {
            let (main, mut rdb) = master.both();
            rdb.send(end.as_bytes());
            drop(main);
            assert!(rdb.at_end());
        }
    }
}

#[test]
fn whatever_breaks_is_tried_again_and_leaves_nothing_half() {
    let file = snapshot();
    for load in ["disabled", "swapdb"] {
        let srv = Server::with(&with(&["--repl-diskless-load", load]));
        let master = Master::new();
        let mut r = srv.connect();
        r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
        for case in 0..10 {
            break_it(&master, &file, case);
            assert_eq!(r.run("PING"), Value::Status("PONG".into()), "case {case}");
        }
        let (mut main, mut rdb) = master.asked();
        let half = file.len() / 2;
        rdb.send(&[&head()[..], &file[..half]].concat());
        main.send(b"+CONTINUE\r\n");
        main.send(&stream(&["SELECT 2", "INCR two"]));
        rdb.send(&[&file[half..], MARK.as_bytes()].concat());
        up(&mut r);
        wait_until("the stream", || r.figure("slave_repl_offset") > 100);
        assert_eq!(r.run("MGET old never"), Value::Array(vec![Value::bulk("1"), Value::Null]));
        r.run("SELECT 2");
        assert_eq!(r.run("GET two"), Value::bulk("3"));
        assert!(acked(&mut main) >= 100);
        let left = std::fs::read_dir(&srv.dir).expect("its folder");
        let temp = |f: &std::io::Result<std::fs::DirEntry>| {
            f.as_ref().is_ok_and(|f| f.file_name().to_string_lossy().starts_with("temp-"))
        };
        assert_eq!(left.filter(temp).count(), 0, "nothing is left behind");
    }
}

#[test]
fn a_loaded_snapshot_is_gone_on_from_whatever_becomes_of_the_main_channel() {
    let (srv, master, file) = (Server::with(&OPEN), Master::new(), snapshot());
    let mut r = srv.connect();
    r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let whole = [&head()[..], &file, MARK.as_bytes()].concat();
    // It has had no answer yet.
    let (main, mut rdb) = master.asked();
    rdb.send(&whole);
    wait_until("the snapshot", || r.run("DBSIZE") == Int(2));
    drop(main);
    let (mut main, _, asks) = master.main();
    assert_eq!(asks, [ID.to_string(), "101".into()]);
    main.send(b"+CONTINUE\r\n");
    up(&mut r);
    // It ends while the snapshot is loaded: what has come of it is applied.
    r.run("REPLICAOF NO ONE");
    r.run("CONFIG SET key-load-delay 50000");
    r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let (mut main, mut rdb) = master.asked();
    main.send(b"+CONTINUE\r\n");
    let sent = stream(&["SELECT 0", "INCR old", "MULTI", "INCR old"]);
    main.send(&sent);
    wait_until("all of it", || r.figure("replicas_repl_buffer_size") == sent.len() as i64);
    rdb.send(&whole);
    wait_until("the snapshot to be loaded", || {
        r.figure("loading") == 1 || r.fact("master_link_status") == "up"
    });
    drop(main);
    let (mut main, _, asks) = master.main();
    let at = 101 + stream(&["SELECT 0", "INCR old"]).len();
    assert_eq!(asks, [ID.to_string(), at.to_string()], "before the transaction that was cut");
    main.send(b"+CONTINUE\r\n");
    up(&mut r);
    assert_eq!(r.run("GET old"), Value::bulk("2"));
}

#[test]
fn a_replica_keeps_no_more_than_its_limit_and_loses_nothing() {
    let srv = Server::with(&with(&["--client-output-buffer-limit", "replica", "1mb", "0", "0"]));
    let (master, file) = (Master::new(), snapshot());
    let mut r = srv.connect();
    r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let (mut main, mut rdb) = master.asked();
    main.send(b"+CONTINUE\r\n");
    let sets = 40;
    // Much more than the limit and what sockets hold.
    let big = "x".repeat(1 << 20);
    let mut feeds = Conn::over(main.stream().try_clone().expect("a socket"));
    let writer = thread::spawn(move || {
        feeds.send(&stream(&["SELECT 0"]));
        for n in 0..sets {
            feeds.send(&request(&["SET", &format!("big{n}"), &big]));
            feeds.send(&stream(&["INCR n"]));
        }
    });
    wait_until("the limit", || {
        srv.log().contains("Replication buffer limit reached, stopping buffering.")
    });
    let held = r.figure("replicas_repl_buffer_size");
    assert!((1 << 20..(1 << 20) + (1 << 18)).contains(&held), "{held}");
    rdb.send(&[&head()[..], &file, MARK.as_bytes()].concat());
    writer.join().expect("all of it is taken");
    up(&mut r);
    wait_until("all of it", || r.run("GET n") == Value::bulk(sets.to_string()));
    assert_eq!(r.run("DBSIZE"), Int(2 + 1 + sets));
    assert!(r.figure("replicas_repl_buffer_peak") >= held);
}

#[test]
fn what_was_kept_waits_for_a_pause_and_stays_in_order() {
    let (srv, master, file) = (Server::with(&OPEN), Master::new(), snapshot());
    let mut r = srv.connect();
    r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let (mut main, mut rdb) = master.asked();
    main.send(b"+CONTINUE\r\n");
    let count = |from: u64, to: u64| {
        let one = |n: u64| request(&["RPUSH", "order", &n.to_string()]);
        (from..to).flat_map(one).collect::<Vec<u8>>()
    };
    main.send(&stream(&["SELECT 0"]));
    let first = count(0, 30_000);
    main.send(&first);
    wait_until("much of it", || r.figure("replicas_repl_buffer_size") > 1_000_000);
    r.run("CLIENT PAUSE 300 ALL");
    rdb.send(&[&head()[..], &file, MARK.as_bytes()].concat());
    main.send(&count(30_000, 40_000));
    wait_until("all of it", || r.run("LLEN order") == Int(40_000));
    let all: Vec<String> = r.run("LRANGE order 0 -1").items().iter().map(Value::text).collect();
    assert!(all.iter().enumerate().all(|(n, text)| *text == n.to_string()));
    assert_eq!(r.figure("unexpected_error_replies"), 0);
}

#[test]
fn an_order_in_any_state_ends_both_connections() {
    let (srv, master, file) = (Server::with(&OPEN), Master::new(), snapshot());
    let mut r = srv.connect();
    let half = [&head()[..], &file[..file.len() / 2]].concat();
    for case in 0..12 {
        r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
        let mut conns = Vec::new();
        match case / 2 {
            0 => {
                let (mut main, ..) = master.main();
                main.send(b"+DUALCHANNELSYNC\r\n");
                conns.extend([main, master.next()]);
            }
            1 => conns.extend(<[Conn; 2]>::from(master.both())),
            2 => conns.extend(<[Conn; 2]>::from(master.asked())),
            3 => {
                let (main, mut rdb) = master.asked();
                rdb.send(&half);
                conns.extend([main, rdb]);
            }
            _ => {
                let (mut main, mut rdb) = master.asked();
                main.send(b"+CONTINUE\r\n");
                main.send(&stream(&["SELECT 0", "SET never 1"]));
                rdb.send(&half);
                wait_until("the stream", || r.figure("replicas_repl_buffer_size") > 0);
                conns.extend([main, rdb]);
            }
        }
        match case % 2 {
            0 => assert_eq!(r.run("REPLICAOF NO ONE"), Value::ok()),
            _ => assert_eq!(r.run("REPLICAOF 127.0.0.1 1"), Value::ok()),
        }
        for mut c in conns {
            assert!(c.at_end(), "case {case}");
        }
        assert_eq!(r.run("EXISTS never"), Int(0));
        assert!(r.info("replicas_repl_buffer_size").is_none_or(|n| n == "0"));
    }
    // And it can still be synced.
    r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port()));
    let (mut main, mut rdb) = master.asked();
    main.send(b"+CONTINUE\r\n");
    rdb.send(&[&head()[..], &file, MARK.as_bytes()].concat());
    up(&mut r);
    assert_eq!(r.run("GET old"), Value::bulk("1"));
}

// ---- all of it ---------------------------------------------------------------------------------

/// Connections of both kinds are cut at random moments, and the child with them, under load.
fn cuts(master: &Server, replica: &Server, rounds: usize) {
    let (mut m, mut r) = (master.connect(), replica.connect());
    let mut rng = Rng::seeded(21);
    fill(&mut m, 1000);
    m.run("CONFIG SET repl-backlog-size 16384");
    m.run("CONFIG SET rdb-key-save-delay 300");
    let load = Load::on(master, 5);
    for _ in 0..rounds {
        // It may follow already.
        r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port));
        let kind = rng.below(4);
        load.wait_for(1 + rng.below(300) as usize);
        match kind {
            0 => drop(m.run("CLIENT KILL TYPE replica")),
            1 => drop(r.run("CLIENT KILL TYPE master")),
            2 if m.figure("rdb_bgsave_in_progress") == 1 => {
                let log = master.log();
                let told = log.rsplit_once("Background RDB transfer started by pid ");
                let pid = told.map(|(_, rest)| rest.split([' ', '\n']).next().unwrap_or("").to_owned());
                // It may just have ended.
                if let Some(pid) = pid
                    && m.figure("rdb_bgsave_in_progress") == 1
                    && std::path::Path::new(&format!("/proc/{pid}")).exists()
                {
                    signal(&pid, "KILL");
                }
            }
            _ => drop(r.run("REPLICAOF NO ONE")),
        }
    }
    m.run("CONFIG SET rdb-key-save-delay 0");
    r.run(&format!("REPLICAOF 127.0.0.1 {}", master.port));
    up(&mut r);
    load.end();
    same(&mut m, &mut r);
    assert_eq!(m.figure("replicas_waiting_psync"), 0);
}

/// A master that dies in the middle of a sync, and comes back with other data.
fn dies(mut master: Server) {
    let replica = Server::with(&OPEN);
    let mut r = replica.connect();
    follow(&mut r, &master);
    for round in 0..3 {
        up(&mut r);
        let mut m = master.connect();
        m.run("CONFIG SET rdb-key-save-delay 1000");
        fill(&mut m, 2000);
        m.run("DEBUG CHANGE-REPL-ID");
        r.run("CLIENT KILL TYPE master");
        wait_until("both channels", || {
            let info = m.run("INFO replication").text();
            info.contains("type=main-channel") && info.contains("type=rdb-channel")
        });
        m.run(&format!("SET round {round}"));
        master.kill();
        master.restart();
    }
    let mut m = master.connect();
    m.run("SET the last");
    up(&mut r);
    same(&mut m, &mut r);
    assert_eq!(r.run("DBSIZE"), Int(1));
}

#[test]
fn a_master_that_dies_in_the_middle_is_followed_when_it_is_back() {
    dies(Server::with(&OPEN));
    if let Some(real) = Server::valkey(&OPEN) {
        dies(real);
    }
}

#[test]
fn cuts_at_random_moments_end_in_equal_data() {
    let rounds = common::number("DUAL_ROUNDS", 12);
    let master = Server::with(&OPEN);
    for load in ["disabled", "swapdb"] {
        let replica = Server::with(&with(&["--repl-diskless-load", load]));
        cuts(&master, &replica, rounds);
        replica.connect().run("REPLICAOF NO ONE");
    }
}

#[test]
fn cuts_with_a_real_server_at_either_end_are_survived() {
    let rounds = common::number("DUAL_ROUNDS", 12);
    let Some(master) = Server::valkey(&OPEN) else { return };
    cuts(&master, &Server::with(&OPEN), rounds);
    let Some(replica) = Server::valkey(&OPEN) else { return };
    cuts(&Server::with(&OPEN), &replica, rounds);
}
