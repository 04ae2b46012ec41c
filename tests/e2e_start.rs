//! End to end: starts that must not succeed, and what they say; the names of the binary; children, and
//! the end for want of memory.

mod common;

use common::{Conn, Server, Value, free_port, own_folder, run_to_end, wait_until};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Runs the server in a folder until it ends by itself.
fn run(dir: &Path, args: &[&str]) -> Output {
    run_to_end(&common::binary(), dir, args, Stdio::null())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Ended by itself with this status.
fn code(out: &Output) -> i32 {
    out.status.code().unwrap_or_else(|| panic!("{:?}\n{}", out.status, text(&out.stdout)))
}

#[test]
fn a_configuration_that_cannot_be_followed_ends_the_start() {
    let dir = own_folder();
    let (line, sentence) = ("loadmodule /m.so", "This build cannot load modules.");
    fs::write(dir.join("a.conf"), format!("port 0\n\n{line}\n")).expect("our folder");
    let out = run(&dir, &["a.conf"]);
    let said = text(&out.stderr);
    let place = format!("Reading the configuration file, at line 3\n>>> '{line}'\n{sentence}");
    assert_eq!(code(&out), 1, "{said}");
    assert!(said.contains(&place), "{said}");
    // The same by the command line.
    let mut args = vec!["--port", "0"];
    let option = format!("--{line}");
    args.push(&option);
    let out = run(&dir, &args);
    assert_eq!(code(&out), 1);
    assert!(text(&out.stderr).contains(sentence), "{}", text(&out.stderr));
    fs::remove_dir_all(dir).expect("our folder");
}

#[test]
fn a_wish_that_cannot_be_followed_is_warned_of() {
    let srv = Server::with(&["--io-threads", "4"]);
    let log = srv.log();
    assert!(log.contains("# WARNING: io-threads is not followed."), "{log}");
}

#[cfg(not(feature = "tls"))]
#[test]
fn a_build_without_tls_says_so() {
    let dir = own_folder();
    for option in ["--tls-port", "--tls-replication", "--tls-cluster"] {
        let value = if option == "--tls-port" { "1" } else { "yes" };
        let out = run(&dir, &["--port", "0", option, value]);
        assert_eq!(out.status.code(), Some(1));
        assert!(text(&out.stdout).contains("# Failed finding TLS support."), "{option}");
    }
    let mut c = Server::start().connect();
    let refused = c.cmd(&["CONFIG", "SET", "tls-port", "1"]);
    assert!(refused.error().ends_with("Unable to update TLS configuration. Check server logs."));
    let _ = fs::remove_dir_all(&dir);
}

/// The file that CONFIG REWRITE leaves holds the default user, with the password as it is by then.
#[test]
fn a_rewritten_file_starts_again() {
    let dir = own_folder();
    let open = "user default on nopass sanitize-payload ~* &* +@all\n";
    fs::write(dir.join("a.conf"), open).expect("our folder");
    let path = dir.join("a.conf");
    let path = path.to_str().expect("UTF-8");
    let mut srv = Server::with_folder(&[path], dir.clone());
    let mut c = srv.connect();
    assert_eq!(c.cmd(&["CONFIG", "SET", "requirepass", "foo"]), Value::ok());
    assert_eq!(c.cmd(&["CONFIG", "REWRITE"]), Value::ok());
    let file = fs::read_to_string(path).expect("the file");
    let hash = "#2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    assert!(
        file.starts_with(&format!("user default on sanitize-payload {hash} ~* &* +@all\n")),
        "{file}"
    );
    srv.stop();
    srv.restart();
    let mut c = srv.connect();
    assert_eq!(c.cmd(&["GET", "x"]).kind(), "-NOAUTH");
    assert_eq!(c.cmd(&["AUTH", "foo"]), Value::ok());
    assert_eq!(c.cmd(&["GET", "x"]), Value::Null);
}

#[test]
fn a_configuration_that_cannot_be_read_is_told_by_the_log() {
    let dir = own_folder();
    let line = "# Fatal error, can't open config file '/nonexistent.conf': No such file or directory\n";
    let out = run(&dir, &["/nonexistent.conf"]);
    assert_eq!((code(&out), text(&out.stderr)), (1, String::new()));
    let said = text(&out.stdout);
    assert!(said.ends_with(line) && said.contains(":C "), "{said}");
    // By then the file may have said where the log is.
    let log = dir.join("server.log");
    let file = format!("logfile {}\ninclude /nonexistent.conf\n", log.display());
    fs::write(dir.join("a.conf"), file).expect("our folder");
    let out = run(&dir, &["a.conf"]);
    assert_eq!((code(&out), text(&out.stdout), text(&out.stderr)), (1, String::new(), String::new()));
    assert!(fs::read_to_string(&log).expect("the log").ends_with(line));
    // A folder can be opened and not be read.
    let folder = fs::File::open(&dir).expect("our folder");
    let out = run_to_end(&common::binary(), &dir, &["-", "--port", "0"], folder.into());
    assert_eq!(code(&out), 1);
    let said = text(&out.stdout);
    assert!(
        said.contains("# Fatal error, can't read the configuration from standard input: "),
        "{said}"
    );
    fs::remove_dir_all(dir).expect("our folder");
}

/// `make install` into a folder: every name is this binary, and does what it is called.
#[test]
fn the_installed_names_are_programs() {
    let dir = own_folder();
    let target = dir.join("target");
    fs::create_dir_all(target.join("release")).expect("our folder");
    let server = target.join("release/redis-server");
    std::os::unix::fs::symlink(common::binary(), &server).expect("our folder");
    let made = Command::new("make")
        .arg("-s")
        .arg("-C")
        .arg(env!("CARGO_MANIFEST_DIR"))
        .arg("install")
        .arg(format!("DESTDIR={}", dir.display()))
        .arg("PREFIX=/usr")
        .env("CARGO_TARGET_DIR", &target)
        .env_remove("MAKEFLAGS")
        .output()
        .expect("make is there");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let bin = dir.join("usr/bin");
    let mut names: Vec<String> = fs::read_dir(&bin)
        .expect("the folder of programs")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    let expected = ["check-aof", "check-rdb", "sentinel", "server"];
    let expected: Vec<String> = ["redis", "valkey"]
        .iter()
        .flat_map(|family| expected.iter().map(move |name| format!("{family}-{name}")))
        .collect();
    assert_eq!(names, expected);
    for name in names {
        let told = run_to_end(&bin.join(&name), &dir, &["--version"], Stdio::null());
        let said = text(&told.stdout) + &text(&told.stderr);
        let is_server = said.starts_with("Redis server v=7.2.6 ");
        assert_eq!(is_server, !name.contains("-check-"), "{name}: {said}");
    }
    let old = fs::metadata(bin.join("redis-server")).expect("installed").permissions().mode();
    assert_eq!(old & 0o777, 0o755);
    for name in ["redis-sentinel", "valkey-sentinel"] {
        let out = run_to_end(&bin.join(name), &dir, &[], Stdio::null());
        assert_eq!(code(&out), 1);
        assert!(
            text(&out.stdout).contains("Sentinel needs config file on disk"),
            "{}",
            text(&out.stdout)
        );
    }
    fs::remove_dir_all(dir).expect("our folder");
}

/// A script that does something in the shell and then becomes the server.
fn script(dir: &Path, first: &str) -> PathBuf {
    let path = dir.join("start");
    let binary = common::binary();
    let text = format!("#!/bin/sh\n{first}\nexec '{}' \"$@\"\n", binary.display());
    fs::write(&path, text).expect("our folder");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("our file");
    path
}

#[test]
fn the_end_of_a_child_needs_no_cron() {
    let srv = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = srv.connect();
    assert_eq!(c.run("DEBUG PAUSE-CRON 1"), Value::ok());
    let before = c.figure("rdb_last_save_time");
    assert_eq!(c.run("BGSAVE").kind(), "+Background saving started");
    wait_until("the save to end", || c.figure("rdb_bgsave_in_progress") == 0);
    assert!(c.figure("rdb_last_save_time") >= before);
    assert!(srv.log().contains("Background saving terminated with success"));
}

/// Children that the process had before it became a server, as the first process of a container has.
#[test]
fn children_of_others_are_taken_in() {
    let dir = own_folder();
    // The one ends before the server runs, the other when it is told to.
    let start = script(&dir, "true & echo $! > early\ncat fifo > late.out & echo $! > late");
    let fifo = Command::new("mkfifo").arg(dir.join("fifo")).status().expect("mkfifo is there");
    assert!(fifo.success());
    let in_folder = format!("cd '{}'", dir.display());
    fs::write(
        &start,
        fs::read_to_string(&start).expect("ours").replacen('\n', &format!("\n{in_folder}\n"), 1),
    )
    .expect("our file");
    let srv = Server::of(&start, &["--save", ""]);
    let pid = |name: &str| fs::read_to_string(dir.join(name)).expect("a number").trim().to_owned();
    let gone = |pid: &str| !Path::new(&format!("/proc/{pid}")).exists();
    wait_until("the early child to be taken in", || gone(&pid("early")));
    assert!(!gone(&pid("late")));
    fs::write(dir.join("fifo"), "x").expect("the reader waits");
    wait_until("the late child to be taken in", || gone(&pid("late")));
    let line = format!("Warning, detected child with unmatched pid: {}", pid("late"));
    wait_until("a line in the log", || srv.log().contains(&line));
    let mut c = srv.connect();
    assert_eq!(c.run("BGSAVE").kind(), "+Background saving started");
    wait_until("the save to end", || c.figure("rdb_bgsave_in_progress") == 0);
    drop(srv);
    fs::remove_dir_all(dir).expect("our folder");
}

/// Ends a server in the background that a failed test leaves behind.
struct Background(String);

impl Drop for Background {
    fn drop(&mut self) {
        if Path::new(&format!("/proc/{}", self.0)).exists() {
            common::signal(&self.0, "KILL");
        }
    }
}

#[test]
fn want_of_memory_is_told_before_the_report() {
    let dir = own_folder();
    let start = script(&dir, "ulimit -v 4000000");
    let port = free_port();
    let log = dir.join("server.log");
    let args = [
        "--port",
        &port.to_string(),
        "--daemonize",
        "yes",
        "--pidfile",
        "pid",
        "--logfile",
        log.to_str().expect("UTF-8"),
        "--crash-memcheck-enabled",
        "no",
        "--proto-max-bulk-len",
        "16gb",
        "--dir",
        dir.to_str().expect("UTF-8"),
    ];
    assert_eq!(code(&run_to_end(&start, &dir, &args, Stdio::null())), 0);
    let read = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("the start", || read().contains("Ready to accept connections"));
    let pid = fs::read_to_string(dir.join("pid")).expect("the pid file").trim().to_owned();
    let guard = Background(pid.clone());
    let mut c = Conn::new(port);
    // What can do without goes on.
    assert_eq!(c.run("XADD s 1-1 a b").kind(), "bulk");
    assert_eq!(c.run("XGROUP CREATE s g 0"), Value::ok());
    let many = i64::MAX / 16;
    assert!(
        c.run(&format!("XAUTOCLAIM s g c 0 0 COUNT {many}")).error().contains("Insufficient memory")
    );
    c.put(&["SETRANGE", "k", "8000000000", "x"]);
    wait_until("the end", || read().contains("=== REDIS BUG REPORT END."));
    let log = read();
    let (before, report) = log.split_once("=== REDIS BUG REPORT START").expect("a report");
    let line = before.lines().rfind(|line| line.contains(" # ")).expect("a warning");
    let bytes = line.split_once(" # Out Of Memory allocating ").unwrap_or_else(|| panic!("{log}")).1;
    let bytes = bytes.strip_suffix(" bytes!").expect("its size");
    assert!(bytes.parse::<u64>().is_ok_and(|n| n > 8_000_000_000), "{line}");
    let guru = format!("Guru Meditation: Redis aborting for OUT OF MEMORY. Allocating {bytes} bytes! #");
    assert!(report.contains(&guru), "{log}");
    wait_until("the process to be gone", || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    });
    drop(guard);
    fs::remove_dir_all(dir).expect("our folder");
}
