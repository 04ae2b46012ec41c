//! What the end-to-end tests share: a server of their own, a raw connection to it, and patience.
//!
//! ```text
//! let srv = Server::start();                         our binary on a free port, in a folder of its own
//! let srv = Server::with(&["--appendonly", "yes"]);  options of the command line, after the usual ones
//! let mut c = srv.connect();                         raw RESP: bytes out, `Value`s (or bytes) back
//! assert_eq!(c.cmd(&["INCR", "n"]), Int(1));
//! let mut r = srv.client();                          a connection of the `redis` crate
//! ```
//!
//! A server is killed and its folder removed when it goes out of scope. `restart` starts it again in the
//! same folder, after `stop` (an orderly SHUTDOWN, by signal) or `kill` (SIGKILL). A reply that does
//! not come within `PATIENCE` fails the test with what was asked; nothing here sleeps where it can wait
//! for a condition.
//!
//! With SERVER_UNDER_TEST set to another binary, "ours" is that one: so a test can be tried against the
//! real redis-server, to see that what it demands is what clients know.
//!
//! Every test file that says `mod common;` compiles its own copy and uses its own part of it.
#![allow(dead_code)]

#[cfg(feature = "tls")]
pub mod certs;
pub mod load;
pub mod pinger;

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a binary in a folder until it ends by itself.
pub fn run_to_end(binary: &Path, dir: &Path, args: &[&str], input: Stdio) -> Output {
    let mut child = Command::new(binary)
        .args(args)
        .current_dir(dir)
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary is there");
    let begun = Instant::now();
    while child.try_wait().expect("our own child").is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().expect("our own child");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().expect("it has ended")
}

/// Asks again and again until `happened` is true.
#[track_caller]
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a variable of the environment says.
pub fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.into())
}

pub fn number(name: &str, default: usize) -> usize {
    let text = setting(name, &default.to_string());
    text.parse().unwrap_or_else(|_| panic!("{name} wants a number, not {text:?}"))
}

// ---- servers -----------------------------------------------------------------------------------

/// A server process with a port and a folder of its own.
pub struct Server {
    binary: PathBuf,
    options: Vec<String>,
    child: Child,
    pub port: u16,
    pub dir: PathBuf,
}

impl Server {
    /// Ours, without persistence.
    pub fn start() -> Server {
        Self::with(&[])
    }

    /// Ours; `options` come after those that every test server gets and win over them.
    pub fn with(options: &[&str]) -> Server {
        Self::of(&binary(), options)
    }

    /// Any binary that takes the options of a redis-server.
    pub fn of(binary: &Path, options: &[&str]) -> Server {
        Self::in_folder(binary, options, own_folder())
    }

    /// Ours, in a folder that was prepared (see `own_folder`) and is removed with the server.
    pub fn with_folder(options: &[&str], dir: PathBuf) -> Server {
        Self::in_folder(&binary(), options, dir)
    }

    /// The real redis-server 7.2 whose binary REDIS_SERVER names; None, and a word about it, without one.
    pub fn real(options: &[&str]) -> Option<Server> {
        Self::named_by("REDIS_SERVER", options)
    }

    /// The same for a valkey-server 8.0 and VALKEY_SERVER.
    pub fn valkey(options: &[&str]) -> Option<Server> {
        Self::named_by("VALKEY_SERVER", options)
    }

    fn named_by(variable: &str, options: &[&str]) -> Option<Server> {
        let binary = std::env::var_os(variable);
        if binary.is_none() {
            eprintln!("skipped: {variable} names no real server to go with ours");
        }
        Some(Self::of(Path::new(&binary?), options))
    }

    fn in_folder(binary: &Path, options: &[&str], mut dir: PathBuf) -> Server {
        let options: Vec<String> = options.iter().map(|o| o.to_string()).collect();
        // Another process may take the port between our look and the server's: then the next one.
        for _ in 0..20 {
            let port = free_port();
            let child = launch(binary, port, &dir, &options);
            let mut srv = Server { binary: binary.into(), options: options.clone(), child, port, dir };
            match srv.wait_ready() {
                Ok(()) => return srv,
                Err(log) if log.contains("Address already in use") => {
                    dir = std::mem::take(&mut srv.dir);
                }
                Err(log) => panic!("the server did not start:\n{log}"),
            }
        }
        panic!("no free port");
    }

    /// Until it says that it is ready and answers; the log when it ended instead.
    fn wait_ready(&mut self) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            if self.child.try_wait().expect("our own child").is_some() {
                return Err(self.log());
            }
            // The log is this process's own, so another server on the port does not fool us.
            if self.log().contains("Ready to accept connections") {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "the server is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        let pong = self.connect().cmd(&["PING"]);
        let up = match &pong {
            Value::Status(s) => s == "PONG",
            // A replica loads what its master sends, as soon as it is ready.
            Value::Error(e) => ["NOAUTH", "LOADING"].iter().any(|why| e.starts_with(why)),
            _ => false,
        };
        assert!(up, "PING was answered {pong:?}");
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that the server printed since it was last started.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.dir.join("server.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the append only file has all that was done: `everysec` lets a write wait for a sync.
    #[track_caller]
    pub fn wait_logged(&self) {
        let mut c = self.connect();
        wait_until("the log to be written", || c.figure("aof_buffer_length") == 0);
    }

    /// The first increment of the append only file, with all that was done.
    #[track_caller]
    pub fn aof(&self) -> String {
        self.wait_logged();
        let file = fs::read(self.dir.join("appendonlydir/appendonly.aof.1.incr.aof"));
        String::from_utf8_lossy(&file.expect("the log of the server")).into_owned()
    }

    /// A raw connection.
    #[track_caller]
    pub fn connect(&self) -> Conn {
        Conn::new(self.port)
    }

    /// A connection of the `redis` crate.
    pub fn client(&self) -> redis::Connection {
        let client =
            redis::Client::open(format!("redis://127.0.0.1:{}/", self.port)).expect("an address");
        client.get_connection().expect("the server listens")
    }

    /// `kill -9`, and wait for the end.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().expect("our own child");
    }

    /// Sends a signal by its name (`TERM`, `USR1`).
    pub fn signal(&self, name: &str) {
        signal(&self.pid().to_string(), name);
    }

    /// The child that was started last for a snapshot.
    pub fn saver(&self) -> String {
        let log = self.log();
        let told = log.rsplit_once("Background saving started by pid ").expect("there was one").1;
        told.lines().next().expect("a number").to_owned()
    }

    /// An orderly shutdown; returns how the process ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait_exit()
    }

    pub fn wait_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the server to exit", || {
            status = self.child.try_wait().expect("our own child");
            status.is_some()
        });
        status.expect("just seen")
    }

    /// Starts again in the same folder on the same port, after `stop` or `kill`.
    pub fn restart(&mut self) {
        assert!(self.child.try_wait().expect("our own child").is_some(), "stop it first");
        let old = self.dir.join("server.log");
        fs::rename(&old, self.dir.join("earlier.log")).expect("the log of the first start");
        let begun = Instant::now();
        loop {
            self.child = launch(&self.binary, self.port, &self.dir, &self.options);
            match self.wait_ready() {
                Ok(()) => return,
                // A child of the one that was killed has the port until it first runs.
                Err(log) if log.contains("Address already in use") && begun.elapsed() < PATIENCE => {}
                Err(log) => panic!("no restart:\n{log}"),
            }
        }
    }
}

/// Sends a signal by its name to a process that is there. The shell can do it itself, so no other program
/// is needed.
#[track_caller]
pub fn signal(pid: &str, name: &str) {
    let sent = Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, pid]).status();
    assert!(sent.expect("a shell").success(), "kill -s {name} {pid}");
}

pub fn binary() -> PathBuf {
    match std::env::var_os("SERVER_UNDER_TEST") {
        Some(path) => path.into(),
        None => env!("CARGO_BIN_EXE_redis-server").into(),
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- the server's log ----\n{}", self.log());
        }
        if !self.dir.as_os_str().is_empty() {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn launch(binary: &Path, port: u16, dir: &Path, options: &[String]) -> Child {
    let log = File::create(dir.join("server.log")).expect("the folder is ours");
    let err = log.try_clone().expect("a second handle");
    // A configuration file comes first or not at all.
    let file = usize::from(options.first().is_some_and(|first| !first.starts_with('-')));
    let (file, options) = options.split_at(file);
    Command::new(binary)
        .args(file)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
        .args(["--repl-diskless-sync-delay", "0"])
        .arg("--dir")
        .arg(dir)
        .args(options)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(err)
        .spawn()
        .unwrap_or_else(|e| panic!("{}: {e}", binary.display()))
}

/// Waits until so many clients are blocked.
#[track_caller]
pub fn wait_blocked(c: &mut Conn, n: usize) {
    wait_until(&format!("{n} blocked clients"), || c.figure("blocked_clients") == n as i64);
}

/// A connection that is blocked by this request.
#[track_caller]
pub fn waiting(srv: &Server, c: &mut Conn, line: &str) -> Conn {
    let before = c.figure("blocked_clients") as usize;
    let mut w = srv.connect();
    w.put(&line.split(' ').collect::<Vec<_>>());
    wait_blocked(c, before + 1);
    w
}

/// An empty folder for one server, below cargo's folder for tests.
pub fn own_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("srv-{}-{n}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("cargo's folder for tests is writable");
    dir
}

/// A port that no process listens on now, with room above it for the cluster bus. Below the range from which
/// the system takes the ports of outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 12_000;
    const PORTS: u32 = 8_000;
    let start = std::process::id().wrapping_mul(61);
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + start.wrapping_add(n) % PORTS) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
        assert!(n < PORTS, "no free port");
    }
}

// ---- replies -----------------------------------------------------------------------------------

/// A reply as it stood on the wire.
#[derive(Clone, PartialEq)]
pub enum Value {
    Status(String),
    /// Without the dash.
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    /// `$-1`, and `_` in RESP3.
    Null,
    /// `*-1`.
    NullArray,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Double(String),
    Bool(bool),
    BigNumber(String),
    /// Format and text.
    Verbatim(String, Vec<u8>),
}

pub use Value::*;

impl Value {
    /// The kind, and of errors the code: what tells two replies apart at a glance.
    pub fn kind(&self) -> String {
        match self {
            Status(s) => format!("+{s}"),
            Error(e) => format!("-{}", e.split(' ').next().unwrap_or("")),
            Int(_) => "int".into(),
            Bulk(_) => "bulk".into(),
            Null => "null".into(),
            NullArray => "nullarray".into(),
            Array(v) => if v.is_empty() { "array0" } else { "array" }.into(),
            Map(_) => "map".into(),
            Set(_) => "set".into(),
            Push(_) => "push".into(),
            Double(_) => "double".into(),
            Bool(_) => "bool".into(),
            BigNumber(_) => "big".into(),
            Verbatim(..) => "verbatim".into(),
        }
    }

    /// A bulk string.
    pub fn bulk(b: impl AsRef<[u8]>) -> Value {
        Bulk(b.as_ref().to_vec())
    }

    /// An array of bulk strings.
    pub fn bulks<B: AsRef<[u8]>>(all: &[B]) -> Value {
        Array(all.iter().map(Value::bulk).collect())
    }

    pub fn ok() -> Value {
        Status("OK".into())
    }

    #[track_caller]
    pub fn int(&self) -> i64 {
        match self {
            Int(n) => *n,
            other => panic!("an integer was expected, not {other:?}"),
        }
    }

    #[track_caller]
    pub fn text(&self) -> String {
        match self {
            Status(s) | Double(s) | BigNumber(s) => s.clone(),
            Bulk(b) | Verbatim(_, b) => String::from_utf8_lossy(b).into_owned(),
            other => panic!("a text was expected, not {other:?}"),
        }
    }

    #[track_caller]
    pub fn items(&self) -> &[Value] {
        match self {
            Array(v) | Set(v) | Push(v) => v,
            other => panic!("an array was expected, not {other:?}"),
        }
    }

    /// The whole text of an error.
    #[track_caller]
    pub fn error(&self) -> &str {
        match self {
            Error(e) => e,
            other => panic!("an error was expected, not {other:?}"),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status(s) => write!(f, "+{s}"),
            Error(e) => write!(f, "-{e}"),
            Int(n) => write!(f, ":{n}"),
            Bulk(b) => write!(f, "\"{}\"", b.escape_ascii()),
            Null => f.write_str("(null)"),
            NullArray => f.write_str("(null array)"),
            Array(v) => f.debug_list().entries(v).finish(),
            Map(v) => f.debug_map().entries(v.iter().map(|(k, v)| (k, v))).finish(),
            Set(v) => f.write_str("~").and_then(|()| f.debug_list().entries(v).finish()),
            Push(v) => f.write_str(">").and_then(|()| f.debug_list().entries(v).finish()),
            Double(s) => write!(f, ",{s}"),
            Bool(b) => write!(f, "#{b}"),
            BigNumber(s) => write!(f, "({s}"),
            Verbatim(ext, b) => write!(f, "={ext}:\"{}\"", b.escape_ascii()),
        }
    }
}

// ---- connections -------------------------------------------------------------------------------

/// One connection that speaks RESP by hand.
pub struct Conn {
    stream: TcpStream,
    buf: Vec<u8>,
    at: usize,
    /// What was sent last, for the message of a test that waits in vain.
    last: Vec<u8>,
}

impl Conn {
    #[track_caller]
    pub fn new(port: u16) -> Conn {
        Conn::over(TcpStream::connect(("127.0.0.1", port)).expect("the server listens"))
    }

    /// The other end of a connection that the server has opened.
    pub fn over(stream: TcpStream) -> Conn {
        stream.set_nodelay(true).expect("a TCP socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("a TCP socket");
        Conn { stream, buf: Vec::new(), at: 0, last: Vec::new() }
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.last = bytes[..bytes.len().min(200)].to_vec();
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends a command and does not wait for its reply.
    #[track_caller]
    pub fn put<A: AsRef<[u8]>>(&mut self, args: &[A]) {
        let request = request(args);
        self.send(&request);
    }

    /// Sends a command and reads one reply.
    #[track_caller]
    pub fn cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.put(args);
        self.read()
    }

    /// As `cmd`, for words parted by single spaces: `c.run("SET k v")`.
    #[track_caller]
    pub fn run(&mut self, line: &str) -> Value {
        let words: Vec<&str> = line.split(' ').collect();
        self.cmd(&words)
    }

    /// A field of INFO, of whatever section; None when it is not there.
    pub fn info(&mut self, field: &str) -> Option<String> {
        let text = self.cmd(&["INFO", "everything"]).text();
        text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':').map(str::to_owned))
    }

    /// A field of INFO that is there.
    #[track_caller]
    pub fn fact(&mut self, field: &str) -> String {
        self.info(field).unwrap_or_else(|| panic!("no {field} in INFO"))
    }

    /// A number of INFO.
    #[track_caller]
    pub fn figure(&mut self, field: &str) -> i64 {
        let text = self.fact(field);
        text.parse().unwrap_or_else(|_| panic!("{field} is {text}"))
    }

    /// Sends all the lines at once and reads as many replies.
    #[track_caller]
    pub fn pipeline(&mut self, lines: &[&str]) -> Vec<Value> {
        let one = |l: &&str| request(&l.split(' ').collect::<Vec<_>>());
        let all: Vec<u8> = lines.iter().flat_map(one).collect();
        self.send(&all);
        lines.iter().map(|_| self.read()).collect()
    }

    /// Nothing more can be read: the server has closed the connection (what came before is dropped).
    #[track_caller]
    pub fn at_end(&mut self) -> bool {
        loop {
            let mut room = [0; 4096];
            match self.stream.read(&mut room) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return e.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }

    /// The socket itself, for half-closes and timeouts.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Is there something to read, or will there be within this time?
    #[track_caller]
    pub fn ready(&mut self, within: Duration) -> bool {
        if self.at < self.buf.len() {
            return true;
        }
        self.stream.set_read_timeout(Some(within)).expect("a TCP socket");
        let mut room = [0; 1];
        let there = self.stream.peek(&mut room).is_ok();
        self.stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        there
    }

    /// One reply; pushes are values like any other.
    #[track_caller]
    pub fn read(&mut self) -> Value {
        let line = self.line();
        let (&mark, rest) = line.split_first().expect("a reply has a first byte");
        let text = || String::from_utf8_lossy(rest).into_owned();
        let count = || text().parse::<i64>().unwrap_or_else(|_| panic!("a length: {:?}", text()));
        match mark {
            b'+' => Status(text()),
            b'-' => Error(text()),
            b':' => Int(count()),
            b'$' if count() < 0 => Null,
            b'$' => Bulk(self.body(count())),
            b'*' if count() < 0 => NullArray,
            b'*' => Array(self.many(count())),
            b'_' => Null,
            b'%' => Map((0..count()).map(|_| (self.read(), self.read())).collect()),
            b'~' => Set(self.many(count())),
            b'>' => Push(self.many(count())),
            b',' => Double(text()),
            b'#' => Bool(rest == b"t"),
            b'(' => BigNumber(text()),
            b'=' => {
                let all = self.body(count());
                Verbatim(String::from_utf8_lossy(&all[..3]).into_owned(), all[4..].to_vec())
            }
            b'|' => {
                // Attributes precede the reply they belong to; no test looks at them.
                self.many(2 * count());
                self.read()
            }
            other => panic!("a reply cannot begin with {:?}: {line:?}", other as char),
        }
    }

    #[track_caller]
    fn many(&mut self, n: i64) -> Vec<Value> {
        (0..n).map(|_| self.read()).collect()
    }

    #[track_caller]
    fn body(&mut self, n: i64) -> Vec<u8> {
        let n = usize::try_from(n).expect("a length");
        let mut b = self.take(n + 2);
        assert_eq!(b.split_off(n), b"\r\n", "a bulk string ends with its line");
        b
    }

    /// Exactly `n` bytes as they come.
    #[track_caller]
    pub fn take(&mut self, n: usize) -> Vec<u8> {
        while self.buf.len() - self.at < n {
            self.fill();
        }
        let bytes = self.buf[self.at..self.at + n].to_vec();
        self.at += n;
        bytes
    }

    /// One line without its end.
    #[track_caller]
    pub fn line(&mut self) -> Vec<u8> {
        let mut from = self.at;
        loop {
            if let Some(n) = self.buf[from..].windows(2).position(|w| w == b"\r\n") {
                let mut line = self.take(from - self.at + n + 2);
                line.truncate(line.len() - 2);
                return line;
            }
            // The end may lie across two reads.
            from = self.buf.len().saturating_sub(1).max(self.at);
            let before = self.at;
            self.fill();
            from -= before - self.at;
        }
    }

    #[track_caller]
    fn fill(&mut self) {
        if self.at > 0 {
            self.buf.drain(..self.at);
            self.at = 0;
        }
        let mut room = [0; 65536];
        let after = || self.last.escape_ascii().to_string();
        match self.stream.read(&mut room) {
            Ok(0) => panic!("the server closed the connection after {}", after()),
            Ok(n) => self.buf.extend_from_slice(&room[..n]),
            Err(e) => panic!("no reply ({e}) to {}", after()),
        }
    }
}

/// A command as the protocol writes it.
pub fn request<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for a in args {
        let a = a.as_ref();
        out.extend_from_slice(format!("${}\r\n", a.len()).as_bytes());
        out.extend_from_slice(a);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// The link of a replica is up.
#[track_caller]
pub fn up(c: &mut Conn) {
    wait_until("the link", || c.fact("master_link_status") == "up");
}

/// Equal data at an equal offset of one history.
#[track_caller]
pub fn same(a: &mut Conn, b: &mut Conn) {
    let place =
        |c: &mut Conn| (c.fact("master_replid"), c.figure("master_repl_offset"), c.run("DEBUG DIGEST"));
    wait_until("the same dataset at the same offset", || place(a) == place(b));
}
