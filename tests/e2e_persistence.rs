//! End to end: what is on the disk after an orderly end, after kill -9 in the middle of everything, and
//! after the disk said no.

mod common;

use common::Value::{Int, Null};
use common::{Conn, Server, Value, own_folder, request, signal, wait_until};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const AOF: [&str; 2] = ["--appendonly", "yes"];

#[track_caller]
fn ok(v: Value) {
    assert_eq!(v, Value::ok());
}

fn no_child(c: &mut Conn) {
    let rest = ["rdb_bgsave_in_progress:0", "aof_rewrite_in_progress:0", "aof_rewrite_scheduled:0"];
    // All of one reply: between two of them a rewrite that is scheduled may begin.
    wait_until("the child to end", || {
        let info = c.run("INFO persistence").text();
        rest.iter().all(|line| info.lines().any(|l| l == *line))
    });
}

fn manifest(srv: &Server) -> Vec<String> {
    let text = fs::read_to_string(srv.dir.join("appendonlydir/appendonly.aof.manifest"));
    text.expect("the manifest is there").lines().map(str::to_owned).collect()
}

/// Files of the log, without the manifest.
fn log_files(srv: &Server) -> Vec<String> {
    let all = fs::read_dir(srv.dir.join("appendonlydir")).expect("the folder is there");
    let mut names: Vec<String> =
        all.map(|e| e.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    names.retain(|n| !n.ends_with(".manifest"));
    names.sort();
    names
}

/// Values of every type in each of their encodings, some with a TTL.
fn fill(c: &mut Conn) {
    let long = "y".repeat(100);
    let mut lines: Vec<String> =
        ["SET int 12345", "SET neg -9223372036854775808", "SET text plain"].map(str::to_owned).to_vec();
    lines.push(format!("SET long {}", "x".repeat(5000)));
    for i in 0..200 {
        lines.push(format!("RPUSH list:small {i} a{}", i % 3));
        lines.push(format!("RPUSH list:big {long}{i}"));
        lines.push(format!("SADD set:ints {}", i * 7));
        lines.push(format!("SADD set:small m{}", i % 50));
        lines.push(format!("SADD set:big {long}{i}"));
        lines.push(format!("HSET hash:small f{} {i}", i % 50));
        lines.push(format!("HSET hash:big f{i} {long}{i}"));
        lines.push(format!("ZADD zset:small {} m{}", i as f64 / 3.0, i % 50));
        lines.push(format!("ZADD zset:big {} {long}{i}", -i as f64 * 1e100));
    }
    lines.push("ZADD zset:odd inf a -inf b 3 c 1e-300 d".into());
    for i in 1..300 {
        lines.push(format!("XADD stream {i}-{} f{} {long} n {i}", i % 5, i % 3));
    }
    lines.extend(
        [
            "XDEL stream 299-4 150-0",
            "XGROUP CREATE stream group 0",
            "XGROUP CREATE stream other $ ENTRIESREAD 7",
            "XREADGROUP GROUP group alice COUNT 10 STREAMS stream >",
            "XREADGROUP GROUP group bob COUNT 3 STREAMS stream >",
            "XACK stream group 3-3",
            "XGROUP CREATECONSUMER stream group idle",
            "XADD stream:empty 7-7 a b",
            "XDEL stream:empty 7-7",
        ]
        .map(str::to_owned),
    );
    lines.push("PEXPIREAT hash:big 4102444800000".into());
    lines.push("PEXPIREAT text 4102444800001".into());
    lines.push("SELECT 9".into());
    lines.push("SET elsewhere 1".into());
    lines.push("SELECT 0".into());
    let answers = c.pipeline(&lines.iter().map(|l| &l[..]).collect::<Vec<_>>());
    let bad = answers.iter().find(|a| matches!(a, Value::Error(_)));
    assert!(bad.is_none(), "{bad:?}");
}

/// Who was given what, and how often; not how long ago.
fn pending_of(c: &mut Conn) -> Vec<String> {
    let all = c.run("XPENDING stream group - + 100");
    let line = |p: &Value| {
        let [id, who, _, times] = p.items() else { panic!("four figures: {p:?}") };
        format!("{} {} {}", id.text(), who.text(), times.int())
    };
    all.items().iter().map(line).collect()
}

fn digest(c: &mut Conn) -> String {
    c.run("DEBUG DIGEST").text()
}

const DEBUG: [&str; 2] = ["--enable-debug-command", "yes"];

// ---- snapshots ---------------------------------------------------------------------------------

#[test]
fn a_save_point_saves_by_itself() {
    let mut srv = Server::with(&["--save", "1 3"]);
    let mut c = srv.connect();
    c.pipeline(&["SET a 1", "SET b 2"]);
    assert_eq!(c.figure("rdb_changes_since_last_save"), 2);
    c.run("SET c 3");
    wait_until("the save point", || c.figure("rdb_saves") == 1);
    no_child(&mut c);
    assert!(srv.log().contains("3 changes in 1 seconds. Saving..."), "{}", srv.log());
    assert_eq!(c.figure("rdb_changes_since_last_save"), 0);
    assert_eq!(c.fact("rdb_last_bgsave_status"), "ok");
    srv.kill();
    srv.restart();
    assert_eq!(srv.connect().run("MGET a b c"), Value::bulks(&["1", "2", "3"]));
}

#[test]
fn writes_are_refused_while_saving_fails() {
    let srv = Server::with(&["--save", "3600 1"]);
    let mut c = srv.connect();
    ok(c.run("SET a 1"));
    // A folder cannot be replaced by a file.
    fs::create_dir(srv.dir.join("dump.rdb")).expect("our folder");
    assert_eq!(c.run("SAVE").error(), "ERR");
    assert_eq!(c.fact("rdb_last_bgsave_status"), "ok", "only the background one counts");
    assert_eq!(c.run("BGSAVE").text(), "Background saving started");
    wait_until("the failure", || c.fact("rdb_last_bgsave_status") == "err");
    let begin =
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist";
    for line in ["SET a 2", "PING", "DEL a", "EVAL return(redis.call('SET','a','3')) 0"] {
        let why = c.run(line);
        assert!(why.error().starts_with(begin), "{line}: {why:?}");
    }
    assert_eq!(c.run("GET a").text(), "1");
    ok(c.run("CONFIG SET stop-writes-on-bgsave-error no"));
    ok(c.run("SET a 4"));
    ok(c.run("CONFIG SET stop-writes-on-bgsave-error yes"));
    fs::remove_dir(srv.dir.join("dump.rdb")).expect("it is empty");
    ok(c.run("SAVE"));
    ok(c.run("SET a 5"));
}

#[test]
fn a_reload_is_told_once_and_is_no_warning() {
    let srv = Server::with(&DEBUG);
    let mut c = srv.connect();
    ok(c.run("SET a 1"));
    ok(c.run("DEBUG RELOAD"));
    let log = srv.log();
    assert!(log.contains(" * DB reloaded by DEBUG RELOAD"), "{log}");
    assert!(!log.contains("DB loaded from disk"), "that is of the start: {log}");
}

#[test]
fn flushall_leaves_an_empty_snapshot_and_no_child() {
    let mut srv = Server::with(&["--save", "3600 1000", "--rdb-key-save-delay", "100000000"]);
    let mut c = srv.connect();
    c.pipeline(&["SET a 1", "SET b 2", "SET c 3"]);
    assert_eq!(c.run("BGSAVE").text(), "Background saving started");
    assert_eq!(c.run("BGSAVE").error(), "ERR Background save already in progress");
    assert_eq!(c.run("BGSAVE SCHEDULE").error(), "ERR Background save already in progress");
    ok(c.run("CONFIG SET rdb-key-save-delay 0"));
    ok(c.run("FLUSHALL"));
    assert_eq!(c.figure("rdb_bgsave_in_progress"), 0);
    assert_eq!(c.figure("rdb_changes_since_last_save"), 0);
    let temps = |dir: &Path| {
        let all = fs::read_dir(dir).expect("our folder").map(|e| e.expect("readable").file_name());
        all.filter(|n| n.to_string_lossy().starts_with("temp-")).count()
    };
    assert_eq!(temps(&srv.dir), 0);
    srv.kill();
    srv.restart();
    assert_eq!(srv.connect().run("DBSIZE"), Int(0));
}

// ---- the log -----------------------------------------------------------------------------------

#[test]
fn every_type_survives_a_rewrite_in_both_forms() {
    for (preamble, base) in [("yes", "base.rdb"), ("no", "base.aof")] {
        let mut srv =
            Server::with(&[AOF[0], AOF[1], "--aof-use-rdb-preamble", preamble, DEBUG[0], DEBUG[1]]);
        let mut c = srv.connect();
        fill(&mut c);
        let before = digest(&mut c);
        let pending = pending_of(&mut c);
        assert_eq!(c.run("BGREWRITEAOF").text(), "Background append only file rewriting started");
        ok(c.run("SET later 1"));
        no_child(&mut c);
        assert_eq!(
            manifest(&srv),
            [
                format!("file appendonly.aof.2.{base} seq 2 type b"),
                "file appendonly.aof.2.incr.aof seq 2 type i".to_owned(),
            ]
        );
        let files = log_files(&srv);
        assert_eq!(files, [format!("appendonly.aof.2.{base}"), "appendonly.aof.2.incr.aof".into()]);
        srv.wait_logged();
        srv.kill();
        srv.restart();
        let mut c = srv.connect();
        assert_eq!(c.run("DEL later"), Int(1));
        assert_eq!(digest(&mut c), before, "preamble {preamble}");
        assert_eq!(c.run("PEXPIRETIME hash:big"), Int(4_102_444_800_000));
        assert_eq!(c.run("XPENDING stream group").items()[0], Int(12));
        assert_eq!(pending_of(&mut c), pending);
        assert_eq!(c.run("DEBUG LOADAOF"), Value::ok());
        assert_eq!(digest(&mut c), before, "preamble {preamble}");
    }
}

#[test]
fn the_log_is_switched_on_and_off_at_run_time() {
    let mut srv = Server::with(&DEBUG);
    let mut c = srv.connect();
    fill(&mut c);
    ok(c.run("CONFIG SET appendonly yes"));
    ok(c.run("SET meanwhile 1"));
    no_child(&mut c);
    assert_eq!(c.figure("aof_enabled"), 1);
    ok(c.run("SET after 1"));
    let before = digest(&mut c);
    ok(c.run("DEBUG LOADAOF"));
    assert_eq!(digest(&mut c), before);
    ok(c.run("CONFIG SET appendonly no"));
    assert_eq!(c.figure("aof_enabled"), 0);
    ok(c.run("SET lost 1"));
    ok(c.run("CONFIG SET appendonly yes"));
    no_child(&mut c);
    let before = digest(&mut c);
    ok(c.run("DEBUG LOADAOF"));
    assert_eq!(digest(&mut c), before, "the new base has all of it");
    ok(c.cmd(&["CONFIG", "SET", "appendonly", "no"]));
    srv.stop();
    assert_eq!(log_files(&srv).len(), 2, "{:?}", manifest(&srv));
}

#[test]
fn saves_and_rewrites_wait_for_each_other() {
    let srv = Server::with(&AOF);
    let mut c = srv.connect();
    c.pipeline(&["SET a 1", "SET b 2", "SET c 3"]);
    // What comes together is run before anybody looks whether a child has ended.
    let said = c.pipeline(&["BGSAVE", "BGREWRITEAOF", "INFO persistence"]);
    assert_eq!(said[0].text(), "Background saving started");
    assert_eq!(said[1].text(), "Background append only file rewriting scheduled");
    assert!(said[2].text().contains("\r\naof_rewrite_scheduled:1\r\n"), "{said:?}");
    wait_until("both", || c.figure("rdb_saves") == 1 && c.figure("aof_rewrites") == 1);
    no_child(&mut c);
    let said = c.pipeline(&["BGREWRITEAOF", "BGREWRITEAOF", "BGSAVE", "BGSAVE SCHEDULE"]);
    assert_eq!(said[0].text(), "Background append only file rewriting started");
    assert_eq!(said[1].error(), "ERR Background append only file rewriting already in progress");
    assert!(said[2].error().starts_with("ERR Another child process is active (AOF?)"), "{said:?}");
    assert_eq!(said[3].text(), "Background saving scheduled");
    wait_until("both", || c.figure("rdb_saves") == 2 && c.figure("aof_rewrites") == 2);
    no_child(&mut c);
    let answers = c.pipeline(&["MULTI", "BGREWRITEAOF", "BGSAVE", "EXEC"]);
    assert_eq!(
        answers[3].items().iter().map(Value::text).collect::<Vec<_>>(),
        ["Background append only file rewriting scheduled", "Background saving scheduled"]
    );
    wait_until("both again", || c.figure("rdb_saves") == 3 && c.figure("aof_rewrites") == 3);
}

#[test]
fn what_follows_a_rewrite_at_once_finds_the_log_whole() {
    let mut srv = Server::with(&[&AOF[..], &DEBUG, &["--appendfsync", "always"]].concat());
    let mut c = srv.connect();
    let mut d = srv.connect();
    // The manifest learns of the new increment while these are run, and of the base while others are.
    for round in 0..5 {
        let (a, b) = (format!("SET a {round}"), format!("SET b {round}"));
        ok(c.run(&a));
        c.put(&["BGREWRITEAOF"]);
        let said = d.pipeline(&[&b, "DEBUG LOADAOF", "MGET a b", "INCR n"]);
        assert_eq!(said[2], Value::bulks(&[round.to_string(), round.to_string()]));
        let answer = c.read().text();
        assert!(answer.starts_with("Background append only file rewriting s"), "{answer}");
        no_child(&mut c);
    }
    let rewrites = c.figure("aof_rewrites");
    assert!(rewrites >= 5, "one that was overtaken is made up for: {rewrites}");
    let said =
        c.pipeline(&["BGREWRITEAOF", "CONFIG SET appendonly no", "CONFIG SET appendonly yes", "INCR n"]);
    assert_eq!((&said[1], &said[2], &said[3]), (&Value::ok(), &Value::ok(), &Int(6)));
    no_child(&mut c);
    c.pipeline(&["BGREWRITEAOF", "INCR n"]);
    srv.kill();
    srv.restart();
    let mut c = srv.connect();
    assert_eq!(c.run("INCR n"), Int(8));
    c.pipeline(&["BGREWRITEAOF", "INCR n"]);
    srv.stop();
    srv.restart();
    assert_eq!(srv.connect().run("MGET a b n"), Value::bulks(&["4", "4", "9"]));
}

#[test]
fn a_log_that_has_grown_is_rewritten_by_itself() {
    let growth = ["--auto-aof-rewrite-percentage", "100", "--auto-aof-rewrite-min-size", "50000"];
    let srv = Server::with(&[&AOF[..], &growth].concat());
    let mut c = srv.connect();
    let value = "x".repeat(1000);
    for _ in 0..100 {
        ok(c.cmd(&["SET", "key", &value]));
    }
    wait_until("the rewrite", || c.figure("aof_rewrites") != 0);
    no_child(&mut c);
    assert!(srv.log().contains("Starting automatic rewriting of AOF on "));
    let size = c.figure("aof_current_size");
    assert!(size < 60_000, "{size}");
}

#[test]
fn timestamps_stand_in_the_log_and_are_skipped() {
    let mut srv = Server::with(&[AOF[0], AOF[1], "--aof-timestamp-enabled", "yes"]);
    let mut c = srv.connect();
    ok(c.run("SET a 1"));
    let log = srv.aof();
    srv.kill();
    assert!(log.starts_with("#TS:"), "{log:?}");
    srv.restart();
    assert_eq!(srv.connect().run("GET a").text(), "1");
}

// ---- old and broken files ----------------------------------------------------------------------

fn commands(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|l| request(&l.split(' ').collect::<Vec<_>>())).collect()
}

#[test]
fn a_log_of_one_file_is_adopted() {
    // A snapshot in front, as servers before 7 wrote it.
    let mut maker = Server::start();
    let mut c = maker.connect();
    ok(c.run("SET from:snapshot 1"));
    ok(c.run("SAVE"));
    let mut bytes = fs::read(maker.dir.join("dump.rdb")).expect("saved");
    maker.kill();
    bytes.extend(commands(&["SELECT 0", "SET from:tail 2"]));
    for (bytes, snapshot) in [(bytes, "1"), (commands(&["SELECT 0", "SET from:tail 2"]), "")] {
        let dir = own_folder();
        fs::write(dir.join("appendonly.aof"), bytes).expect("our folder");
        let mut srv = Server::with_folder(&AOF, dir);
        let mut c = srv.connect();
        assert_eq!(c.run("GET from:tail").text(), "2");
        let value = c.run("GET from:snapshot");
        assert_eq!(if value == Null { String::new() } else { value.text() }, snapshot);
        assert!(!srv.dir.join("appendonly.aof").exists());
        assert_eq!(
            manifest(&srv),
            ["file appendonly.aof seq 1 type b", "file appendonly.aof.1.incr.aof seq 1 type i"]
        );
        ok(c.run("SET new 3"));
        srv.wait_logged();
        srv.kill();
        srv.restart();
        assert_eq!(srv.connect().run("MGET from:tail new"), Value::bulks(&["2", "3"]));
    }
}

/// A folder with a log of two files.
fn prepared(base: &[u8], increment: &[u8]) -> std::path::PathBuf {
    let dir = own_folder();
    let folder = dir.join("appendonlydir");
    fs::create_dir(&folder).expect("our folder");
    fs::write(folder.join("appendonly.aof.1.base.aof"), base).expect("writable");
    fs::write(folder.join("appendonly.aof.1.incr.aof"), increment).expect("writable");
    let text =
        "file appendonly.aof.1.base.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n";
    fs::write(folder.join("appendonly.aof.manifest"), text).expect("writable");
    dir
}

/// Starts a server that is to end by itself; its log.
fn refused(dir: &Path, options: &[&str]) -> String {
    // A socket in its own folder: nobody else can have that.
    let out = Command::new(env!("CARGO_BIN_EXE_redis-server"))
        .args(["--port", "0", "--unixsocket", "s.sock", "--save", "", "--dir"])
        .arg(dir)
        .args(AOF)
        .args(options)
        .stdin(Stdio::null())
        .output()
        .expect("it runs");
    assert_eq!(out.status.code(), Some(1));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn what_was_cut_short_is_dropped_from_the_last_file_only() {
    let base = commands(&["SELECT 0", "SET a 1"]);
    let mut short = commands(&["SELECT 0", "SET b 2", "MULTI", "SET c 3", "SET d 4"]);
    let whole = commands(&["SELECT 0", "SET b 2"]).len() as u64;
    for extra in ["", "*3\r\n$3\r\nSET\r\n$1\r\n"] {
        short.extend(extra.as_bytes());
        let dir = prepared(&base, &short);
        let log = refused(&dir, &["--aof-load-truncated", "no"]);
        assert!(log.contains("Unexpected end of file reading the append only file"), "{log}");
        let mut srv = Server::with_folder(&AOF, dir);
        let mut c = srv.connect();
        let there = Value::Array(vec![Value::bulk("1"), Value::bulk("2"), Null, Null]);
        assert_eq!(c.run("MGET a b c d"), there);
        assert!(srv.log().contains("loaded anyway because aof-load-truncated is enabled"));
        let file = srv.dir.join("appendonlydir/appendonly.aof.1.incr.aof");
        assert_eq!(fs::metadata(&file).expect("there").len(), whole);
        ok(c.run("SET e 5"));
        srv.wait_logged();
        srv.kill();
        srv.restart();
        assert_eq!(srv.connect().run("MGET b e"), Value::bulks(&["2", "5"]));
    }
    let dir = prepared(&short, &base);
    let log = refused(&dir, &[]);
    assert!(log.contains("Fatal error: the truncated file is not the last file"), "{log}");
    fs::remove_dir_all(dir).expect("ours");
}

#[test]
fn broken_files_end_the_start_and_stay_as_they_are() {
    let good = commands(&["SELECT 0", "SET a 1"]);
    let unknown = commands(&["SELECT 0", "NOSUCH a 1"]);
    let mut broken = commands(&["SELECT 0"]);
    broken.extend(b"SET a 1\r\n");
    for (increment, why) in
        [(&unknown, "Unknown command 'NOSUCH' reading"), (&broken, "Bad file format reading")]
    {
        let dir = prepared(&good, increment);
        let log = refused(&dir, &[]);
        assert!(log.contains(why), "{log}");
        let file = dir.join("appendonlydir/appendonly.aof.1.incr.aof");
        assert_eq!(&fs::read(&file).expect("there"), increment);
        fs::remove_file(&file).expect("there");
        assert!(refused(&dir, &[]).contains("No such file or directory"), "a file is missing");
        fs::write(dir.join("appendonlydir/appendonly.aof.manifest"), "file x\n").expect("writable");
        assert!(refused(&dir, &[]).contains("Invalid AOF manifest file format"));
        fs::remove_dir_all(dir).expect("ours");
    }
}

#[test]
fn files_that_cannot_be_read_end_the_start_and_stay_as_they_are() {
    // A folder in the place of a file opens, and its reads fail.
    let dir = prepared(&commands(&["SET a 1"]), b"");
    let file = dir.join("appendonlydir/appendonly.aof.1.incr.aof");
    fs::remove_file(&file).expect("there");
    fs::create_dir(&file).expect("writable");
    let log = refused(&dir, &[]);
    assert!(log.contains("Unrecoverable error reading the append only file"), "{log}");
    assert!(log.contains("Is a directory") && !log.contains("Truncating"), "{log}");
    fs::remove_dir_all(&dir).expect("ours");
    // An old log that may be there: a server that began without it would begin without its data.
    let dir = own_folder();
    std::os::unix::fs::symlink("appendonly.aof", dir.join("appendonly.aof")).expect("a link");
    let log = refused(&dir, &[]);
    assert!(log.contains("Can't look for an old-style AOF file appendonly.aof"), "{log}");
    fs::remove_dir_all(&dir).expect("ours");
}

#[test]
fn a_snapshot_is_never_whole_in_memory_while_it_is_loaded() {
    // Text that LZF does not shorten: the file is as large as the dataset.
    let options = ["--appendonly", "yes", DEBUG[0], DEBUG[1], "--rdbcompression", "no"];
    let mut srv = Server::with(&options);
    let mut c = srv.connect();
    ok(c.run("DEBUG POPULATE 60000 key 600"));
    assert_eq!(c.run("BGREWRITEAOF").text(), "Background append only file rewriting started");
    wait_until("the rewrite", || {
        c.figure("aof_rewrites") == 1 && c.figure("aof_rewrite_in_progress") == 0
    });
    let base =
        fs::metadata(srv.dir.join("appendonlydir/appendonly.aof.2.base.rdb")).expect("there").len();
    assert!(base > 30 << 20, "{base}");
    srv.kill();
    srv.restart();
    let mut c = srv.connect();
    let above = c.figure("used_memory_peak") - c.figure("used_memory");
    assert!(above < 8 << 20, "{above} bytes above the dataset");
    assert_eq!(c.figure("rdb_last_load_keys_loaded"), 60_000);
    ok(c.run("SAVE"));
    ok(c.run("CONFIG RESETSTAT"));
    ok(c.run("DEBUG RELOAD NOSAVE"));
    assert_eq!(c.run("DBSIZE"), Int(60_000));
}

// ---- a disk that says no -----------------------------------------------------------------------

#[test]
fn a_broken_snapshot_ends_the_start_with_its_marks() {
    const SHORT: &str = "Short read or OOM loading DB. Unrecoverable error, aborting now.";
    const END: &str = "Terminating server after rdb file reading failure.";
    const FATAL: &str = "Fatal error loading the DB, check server logs. Exiting.";
    let cases: [(&[u8], &[&str], &[&str]); 8] = [
        (
            b"",
            &[SHORT, "-> Unexpected EOF reading RDB file", "Checking RDB file dump.rdb"],
            &[END, FATAL],
        ),
        (b"REDIS0011\x00\x01k", &[SHORT, "While doing: read-object-value", "Reading key 'k'"], &[END]),
        (
            b"REDIS0011\xff12345678",
            &["Wrong RDB checksum expected: (", "-> RDB CRC error", "While doing: check-sum"],
            &[END, SHORT],
        ),
        (
            b"REDIS0011\x02\x01k\x02\x01m\x01m",
            &["-> Duplicate set members detected", "Reading type 2 (set-hashtable)", END],
            &[SHORT, FATAL],
        ),
        (b"REDIS0011\x63\x01k", &["-> Unknown RDB encoding type 99", "Invalid object type: 99"], &[END]),
        (b"REDIS0099", &["Can't handle RDB format version 99", FATAL], &["Internal error", END]),
        (b"RODIS0011", &["Wrong signature trying to load DB from file", FATAL], &["Internal error"]),
        (b"REDIS0011\xfe\x40\x63", &["FATAL: Data file was created with"], &["Internal error", FATAL]),
    ];
    for (bytes, told, not) in cases {
        let dir = own_folder();
        fs::write(dir.join("dump.rdb"), bytes).expect("our folder");
        let log = refused(&dir, &["--appendonly", "no"]);
        for mark in told {
            assert!(log.contains(mark), "{mark}: {log}");
        }
        for mark in not {
            assert!(!log.contains(mark), "{mark}: {log}");
        }
        assert_eq!(fs::read(dir.join("dump.rdb")).expect("it stays"), bytes);
        fs::remove_dir_all(&dir).expect("our folder");
    }
}

#[test]
fn a_log_that_ends_inside_a_transaction_is_cut_before_it() {
    let whole = commands(&["SELECT 0", "SET a 1"]);
    let open = commands(&["MULTI", "SET a 2", "SET b 2"]);
    for cut in (1..open.len()).step_by(6) {
        let tail = [&whole[..], &open[..cut]].concat();
        let dir = prepared(b"", &tail);
        let mut srv = Server::with_folder(&AOF, dir);
        ok(srv.connect().run("SET c 3"));
        srv.wait_logged();
        srv.kill();
        srv.restart();
        // What came after is no part of it.
        assert_eq!(srv.connect().run("MGET a c").items(), Value::bulks(&["1", "3"]).items(), "{cut}");
    }
}

/// What logs hold of transactions that were never ended, with the values of a, b, c and d afterwards, and
/// how many errors the log of the server tells. Servers before 6 left a MULTI without EXEC at a power cut
/// and appended what came next.
const TRANSACTIONS: [(&str, &[&str], [&str; 4], usize); 10] = [
    ("left open", &["MULTI", "SET a 1", "SET b 1", "MULTI", "SET c 1", "EXEC", "SET d 1"], ["1"; 4], 1),
    (
        "twice",
        &["MULTI", "MULTI", "SET a 1", "EXEC", "SET b 1", "EXEC", "SET c 1"],
        ["1", "1", "1", ""],
        2,
    ),
    (
        "in lower case",
        &["multi", "set a 1", "multi", "set b 1", "exec", "set c 1"],
        ["1", "1", "1", ""],
        1,
    ),
    ("empty", &["MULTI", "EXEC", "MULTI", "EXEC", "SET a 1"], ["1", "", "", ""], 0),
    ("empty inside", &["MULTI", "SET a 1", "MULTI", "EXEC", "MULTI", "EXEC"], ["1", "", "", ""], 1),
    ("EXEC alone", &["EXEC", "SET a 1", "MULTI", "SET b 1", "EXEC", "EXEC"], ["1", "1", "", ""], 2),
    ("DISCARD alone", &["DISCARD", "SET a 1"], ["1", "", "", ""], 1),
    // No command of it is lost, whatever a DISCARD there should mean.
    (
        "DISCARD inside",
        &["MULTI", "SET a 1", "DISCARD", "SET b 1", "EXEC", "SET c 1"],
        ["1", "1", "1", ""],
        1,
    ),
    (
        "WATCH inside",
        &["MULTI", "WATCH a", "SET a 1", "EXEC", "MULTI", "SET b 1", "EXEC"],
        ["1", "1", "", ""],
        1,
    ),
    (
        "errors inside",
        &["MULTI", "SET a 1", "LPUSH a 1", "SADD a 1", "SET b 1", "EXEC"],
        ["1", "1", "", ""],
        2,
    ),
];

/// A folder with a log of some age that ends in `bytes`, and where they are after a start.
fn aged(age: &str, bytes: &[u8], snapshot: &[u8]) -> (std::path::PathBuf, &'static str) {
    match age {
        "base" => (prepared(bytes, b""), "appendonlydir/appendonly.aof.1.base.aof"),
        "increment" => (prepared(snapshot, bytes), "appendonlydir/appendonly.aof.1.incr.aof"),
        _ => {
            let dir = own_folder();
            let before = if age == "preamble" { snapshot } else { b"" };
            fs::write(dir.join("appendonly.aof"), [before, bytes].concat()).expect("our folder");
            (dir, "appendonlydir/appendonly.aof")
        }
    }
}

fn values(c: &mut Conn) -> Vec<String> {
    let text = |v: &Value| if *v == Null { String::new() } else { v.text() };
    c.run("MGET a b c d").items().iter().map(text).collect()
}

#[test]
fn transactions_of_every_shape_are_read_from_logs_of_every_age() {
    let mut maker = Server::start();
    ok(maker.connect().run("SAVE"));
    let snapshot = fs::read(maker.dir.join("dump.rdb")).expect("saved");
    maker.kill();
    for (shape, lines, wanted, errors) in TRANSACTIONS {
        for age in ["one file", "preamble", "base", "increment"] {
            let bytes = commands(lines);
            let (dir, file) = aged(age, &bytes, &snapshot);
            let mut srv = Server::with_folder(&AOF, dir);
            assert_eq!(values(&mut srv.connect()), wanted, "{shape}, {age}");
            let log = srv.log();
            assert_eq!(
                log.matches("== CRITICAL == This server is sending").count(),
                errors,
                "{shape}: {log}"
            );
            assert!(!log.contains("Truncating"), "{shape}, {age}: {log}");
            let after = fs::read(srv.dir.join(file)).expect("there");
            assert!(after.ends_with(&bytes), "{shape}, {age}: the file is left alone");
            srv.kill();
            srv.restart();
            assert_eq!(values(&mut srv.connect()), wanted, "{shape}, {age}, again");
        }
    }
}

#[test]
fn transactions_that_no_exec_ends_are_cut_where_the_first_begins() {
    let whole = commands(&["SET a 1"]);
    // The second MULTI is a command of the first: cut there, the file would end in a transaction, and
    // whatever is appended to it would be part of that.
    let open = commands(&["MULTI", "SET b 1", "MULTI", "SET c 1"]);
    for tail in [&b""[..], b"*3\r\n$3\r\nSET\r\n$1\r\nd\r\n"] {
        for age in ["one file", "increment"] {
            let (dir, file) = aged(age, &[&whole, &open, tail].concat(), b"");
            let mut srv = Server::with_folder(&AOF, dir);
            assert_eq!(values(&mut srv.connect()), ["1", "", "", ""], "{age}");
            assert_eq!(fs::read(srv.dir.join(file)).expect("there"), whole, "{age}");
            ok(srv.connect().run("SET d 1"));
            srv.wait_logged();
            srv.kill();
            srv.restart();
            assert_eq!(values(&mut srv.connect()), ["1", "", "", "1"], "{age}, again");
        }
    }
}

#[test]
fn a_client_stays_in_its_transaction_while_exec_runs_it() {
    let srv = Server::start();
    let mut c = srv.connect();
    let said = c.pipeline(&["MULTI", "CLIENT INFO", "SET a 1", "EXEC", "CLIENT INFO"]);
    let inside = said[3].items()[0].text();
    assert!(inside.contains(" flags=x ") && inside.contains(" multi=2 "), "{inside}");
    let outside = said[4].text();
    assert!(outside.contains(" flags=N ") && outside.contains(" multi=-1 "), "{outside}");
}

/// A folder whose increment takes no bytes.
fn full_disk() -> std::path::PathBuf {
    let dir = own_folder();
    let folder = dir.join("appendonlydir");
    fs::create_dir(&folder).expect("our folder");
    std::os::unix::fs::symlink("/dev/full", folder.join("appendonly.aof.1.incr.aof")).expect("a link");
    let text = "file appendonly.aof.1.incr.aof seq 1 type i\n";
    fs::write(folder.join("appendonly.aof.manifest"), text).expect("writable");
    dir
}

#[test]
fn a_full_disk_refuses_writes_under_everysec() {
    let srv = Server::with_folder(&AOF, full_disk());
    let mut c = srv.connect();
    ok(c.run("SET a 1"));
    wait_until("the failed write", || c.fact("aof_last_write_status") == "err");
    let why = "MISCONF Errors writing to the AOF file: No space left on device";
    assert_eq!(c.run("SET a 2").error(), why);
    assert_eq!(c.run("PING").error(), why);
    assert_eq!(c.run("GET a").text(), "1");
    ok(c.run("CONFIG SET appendonly no"));
    ok(c.run("SET a 3"));
}

#[test]
fn a_full_disk_ends_the_process_under_always_before_the_reply() {
    let mut srv = Server::with_folder(&[AOF[0], AOF[1], "--appendfsync", "always"], full_disk());
    let mut c = srv.connect();
    c.put(&["SET", "a", "1"]);
    assert!(c.at_end(), "no reply");
    assert_eq!(srv.wait_exit().code(), Some(1));
    let why = "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...";
    assert!(srv.log().contains(why), "{}", srv.log());
}

// ---- kill -9 -----------------------------------------------------------------------------------

#[test]
fn a_child_that_outlives_its_master_holds_no_port() {
    let mut srv = Server::with(&["--save", "3600 1000", "--rdb-key-save-delay", "100000000"]);
    let mut c = srv.connect();
    c.pipeline(&["SET a 1", "SET b 2"]);
    assert_eq!(c.run("BGSAVE").text(), "Background saving started");
    let child = srv.saver();
    srv.kill();
    srv.restart();
    assert_eq!(srv.connect().run("DBSIZE"), Int(0));
    signal(&child, "KILL");
}

#[test]
fn a_child_that_saves_is_killed_before_its_parent_when_memory_runs_out() {
    let srv = Server::with(&["--rdb-key-save-delay", "100000000"]);
    let mut c = srv.connect();
    let score = |pid: &str| -> i32 {
        let text = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).expect("a process");
        text.trim().parse().expect("a number")
    };
    let pid = srv.pid().to_string();
    let base = score(&pid);
    ok(c.cmd(&["CONFIG", "SET", "oom-score-adj", "yes", "oom-score-adj-values", "10 20 30"]));
    assert_eq!(score(&pid), base + 10);
    ok(c.run("SET a 1"));
    assert_eq!(c.run("BGSAVE").text(), "Background saving started");
    let child = srv.saver();
    wait_until("the child to have its score", || score(&child) == base + 30);
    assert_eq!(score(&pid), base + 10);
    // Ends the child.
    ok(c.run("FLUSHALL"));
}

#[test]
fn a_killed_connection_ends_while_a_child_saves() {
    let srv = Server::with(&["--rdb-key-save-delay", "100000000"]);
    let (mut c, mut killed, mut quits) = (srv.connect(), srv.connect(), srv.connect());
    let id = killed.run("CLIENT ID").int();
    ok(c.run("SET a 1"));
    assert_eq!(c.run("BGSAVE").text(), "Background saving started");
    assert_eq!(c.run(&format!("CLIENT KILL ID {id}")), Int(1));
    assert!(killed.at_end(), "the child holds the connection open");
    ok(quits.run("QUIT"));
    assert!(quits.at_end(), "the child holds the connection open");
    assert_eq!(c.figure("rdb_bgsave_in_progress"), 1);
    // Ends the child.
    ok(c.run("FLUSHALL"));
}

#[test]
fn the_end_kills_a_rewrite_of_a_log_that_is_off() {
    let mut srv = Server::with(&["--rdb-key-save-delay", "100000000"]);
    let mut c = srv.connect();
    c.pipeline(&["SET a 1", "SET b 2"]);
    assert_eq!(c.run("BGREWRITEAOF").text(), "Background append only file rewriting started");
    assert_eq!(c.figure("aof_rewrite_in_progress"), 1);
    c.put(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(srv.wait_exit().code(), Some(0));
    let log = srv.log();
    assert!(log.contains("There is a child rewriting the AOF. Killing it!"), "{log}");
    let names =
        fs::read_dir(&srv.dir).expect("the server's folder").map(|f| f.expect("a name").file_name());
    let temps: Vec<_> = names.filter(|n| n.to_string_lossy().starts_with("temp-")).collect();
    assert!(temps.is_empty(), "{temps:?}");
}

/// One writer: counts and appends in one transaction, and remembers what it was told is done. Ends when
/// the server does.
fn write_until_the_end(mut s: TcpStream, n: usize, acknowledged: &AtomicU64) {
    let (count, list) = (format!("count:{n}"), format!("list:{n}"));
    let one = [
        request(&["MULTI"]),
        request(&["INCR", &count]),
        request(&["RPUSH", &list, "element"]),
        request(&["EXEC"]),
    ]
    .concat();
    // Two on the way: the second is never known to be done when the first is.
    let (mut sent, mut got) = (0u64, Vec::new());
    let mut room = [0; 4096];
    loop {
        while sent < acknowledged.load(Ordering::SeqCst) + 2 {
            if s.write_all(&one).is_err() {
                return;
            }
            sent += 1;
        }
        match s.read(&mut room) {
            Ok(0) | Err(_) => return,
            Ok(n) => got.extend_from_slice(&room[..n]),
        }
        // Each EXEC answers an array of two.
        while let Some(at) = got.windows(4).position(|w| w == b"*2\r\n") {
            let rest = &got[at + 4..];
            let lines = rest.iter().filter(|b| **b == b'\n').count();
            if lines < 2 {
                break;
            }
            let done = got.len() - rest.len();
            got.drain(..done);
            acknowledged.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Four writers and a rewriter until `enough` is acknowledged; then kill -9, a restart, and everything
/// that was acknowledged is there.
fn killed_under_load(options: &[&str], enough: u64, rewrites: bool) {
    let mut srv = Server::with(&[&AOF[..], options].concat());
    let acknowledged: [AtomicU64; 4] = Default::default();
    for round in 1..=3 {
        let port = srv.port;
        let over = AtomicBool::new(false);
        let before: u64 = acknowledged.iter().map(|a| a.load(Ordering::SeqCst)).sum();
        std::thread::scope(|s| {
            // A thread may begin late, when the server is gone: so the connections are there before.
            let connect = || TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
            for (n, a) in acknowledged.iter().enumerate() {
                let stream = connect();
                s.spawn(move || write_until_the_end(stream, n, a));
            }
            if rewrites {
                let (mut c, over) = (connect(), &over);
                s.spawn(move || {
                    let mut room = [0; 256];
                    while !over.load(Ordering::SeqCst)
                        && c.write_all(&request(&["BGREWRITEAOF"])).is_ok()
                        && c.read(&mut room).is_ok_and(|n| n > 0)
                    {
                        std::thread::yield_now();
                    }
                });
            }
            wait_until("the writers", || {
                let each = acknowledged.each_ref().map(|a| a.load(Ordering::SeqCst));
                each.iter().sum::<u64>() >= before + enough && each.iter().all(|n| *n > 0)
            });
            srv.kill();
            over.store(true, Ordering::SeqCst);
        });
        srv.restart();
        let mut c = srv.connect();
        for (n, a) in acknowledged.iter().enumerate() {
            let there = c.cmd(&["GET", &format!("count:{n}")]).text().parse::<u64>().expect("a count");
            let told = a.load(Ordering::SeqCst);
            assert!(there >= told, "round {round}: {told} were acknowledged, {there} are there");
            let elements = c.cmd(&["LLEN", &format!("list:{n}")]).int();
            assert_eq!(elements as u64, there, "a transaction is there whole or not at all");
            a.store(there, Ordering::SeqCst);
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_under_always() {
    killed_under_load(&["--appendfsync", "always"], 300, false);
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_while_the_log_is_rewritten() {
    // `everysec` may hold a write back while the disk is busy, so it promises less.
    killed_under_load(&["--appendfsync", "no"], 3000, true);
    killed_under_load(&["--appendfsync", "always", "--aof-use-rdb-preamble", "no"], 300, true);
}

#[test]
fn a_log_that_asks_for_more_than_changes_leaves_nobody_behind() {
    let log =
        ["SYNC", "PSYNC ? -1", "WATCH k", "MULTI", "SUBSCRIBE ch", "PSUBSCRIBE *", "EXEC", "SET k v"];
    let dir = prepared(&commands(&["SELECT 0"]), &commands(&log));
    let srv = Server::with_folder(&AOF, dir);
    let mut c = srv.connect();
    wait_until("nobody else to be there", || c.figure("connected_clients") == 1);
    assert!(c.run("INFO replication").text().contains("connected_slaves:0\r\n"));
    assert_eq!(c.run("PUBLISH ch x"), Int(0));
    assert_eq!(c.run("PUBSUB NUMPAT"), Int(0));
    assert_eq!(c.run("GET k"), Value::bulk("v"));
}

#[test]
fn what_the_log_is_given_is_in_the_form_of_the_protocol_however_it_came() {
    let mut srv = Server::with(&[&AOF[..], &["--appendfsync", "always"]].concat());
    let mut c = srv.connect();
    // Line ends are not looked at by the parser; the log has them all the same.
    let odd = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\rX1XX*3\rX$3\r\nSET\r\n$1\r\nb\r\n$1\r\n2\r\n";
    let canonical = request(&["SET", "c", &"3".repeat(100_000)]);
    let inline = b"SET d 4\r\n";
    c.send(
        &[&odd[..], &canonical, inline, b"MULTI\r\nINCR e\r\nINCR e\r\nEXEC\r\nSET f 6 EX 1000\r\n"]
            .concat(),
    );
    // SET four times, MULTI, two queued, EXEC, SET.
    (0..9).for_each(|_| drop(c.read()));
    c.run("SELECT 9");
    c.run("SET g 7");
    let log = srv.aof();
    assert!(log.split_once("MULTI").expect("two commands are one unit").1.contains("EXEC"));
    assert!(
        log.contains(
            "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n2\r\n"
        )
    );
    srv.kill();
    srv.restart();
    let mut c = srv.connect();
    for (key, value) in [("a", "1"), ("b", "2"), ("d", "4"), ("e", "2"), ("f", "6")] {
        assert_eq!(c.cmd(&["GET", key]), Value::bulk(value), "{key}");
    }
    assert_eq!(c.run("STRLEN c"), Int(100_000));
    c.run("SELECT 9");
    assert_eq!(c.run("GET g"), Value::bulk("7"));
}
