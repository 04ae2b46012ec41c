//! End to end: sentinels over real masters and replicas. With REDIS_SERVER, the binary of a real
//! redis-server 7.2, groups are mixed: some sentinels and some servers are that one.

mod common;

use common::Value::{Int, Status};
use common::{Conn, Server, Value, binary, free_port, own_folder, run_to_end, signal, wait_until};
use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A sentinel process with a file and a folder of its own.
struct Watcher {
    binary: PathBuf,
    child: Child,
    port: u16,
    dir: PathBuf,
}

impl Watcher {
    /// `lines` stand behind `sentinel` in its file.
    fn start(binary: &Path, lines: &[String]) -> Watcher {
        Watcher::configured(binary, "", lines)
    }

    /// With other lines before them.
    fn configured(binary: &Path, others: &str, lines: &[String]) -> Watcher {
        let (dir, port) = (own_folder(), free_port());
        let mut text = format!("port {port}\nbind 127.0.0.1\ndir {}\n# mine\n{others}", dir.display());
        lines.iter().for_each(|line| text += &format!("sentinel {line}\n"));
        fs::write(dir.join("s.conf"), text).expect("our folder");
        let child = Watcher::launch(binary, &dir);
        let w = Watcher { binary: binary.into(), child, port, dir };
        w.wait_ready();
        w
    }

    fn launch(binary: &Path, dir: &Path) -> Child {
        let log = File::options().append(true).create(true).open(dir.join("log")).expect("our folder");
        Command::new(binary)
            .args(["s.conf", "--sentinel"])
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the binary is there")
    }

    #[track_caller]
    fn wait_ready(&self) {
        wait_until("a sentinel to listen", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    #[track_caller]
    fn ask(&self, line: &str) -> Value {
        Conn::new(self.port).run(line)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn file(&self) -> String {
        fs::read_to_string(self.dir.join("s.conf")).expect("it is always there")
    }

    /// A field of SENTINEL MASTER m.
    #[track_caller]
    fn field(&self, name: &str) -> String {
        let reply = self.ask("SENTINEL MASTER m");
        let items = reply.items();
        let at = items.iter().position(|i| i.text() == name);
        at.map(|at| items[at + 1].text()).unwrap_or_default()
    }

    /// The port of the master.
    #[track_caller]
    fn master(&self) -> u16 {
        let reply = self.ask("SENTINEL GET-MASTER-ADDR-BY-NAME m");
        assert_eq!(reply.items()[0].text(), "127.0.0.1");
        reply.items()[1].text().parse().expect("a port")
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().expect("our own child");
    }

    fn restart(&mut self) {
        self.kill();
        self.child = Watcher::launch(&self.binary, &self.dir);
        self.wait_ready();
    }

    /// Short periods, so that tests need not wait long.
    fn hurry(&self) {
        let line = "SENTINEL DEBUG info-period 500 ping-period 200 publish-period 300 ask-period 200 \
                    min-link-reconnect-period 2000 tilt-period 1000";
        assert_eq!(self.ask(line), Value::ok());
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- a sentinel's log ----\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn lines(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| line.to_string()).collect()
}

/// The sentinels of a master that is there.
fn watch(binaries: &[&Path], master: &Server, quorum: usize) -> Vec<Watcher> {
    let monitor = format!("monitor m 127.0.0.1 {} {quorum}", master.port);
    let lines = lines(&[&monitor, "down-after-milliseconds m 2000", "failover-timeout m 20000"]);
    let all: Vec<Watcher> = binaries.iter().map(|b| Watcher::start(b, &lines)).collect();
    all.iter().for_each(Watcher::hurry);
    all
}

/// INFO of a server; None when a sentinel has just cut all of its clients.
fn info(srv: &Server) -> Option<String> {
    let client = redis::Client::open(format!("redis://127.0.0.1:{}/", srv.port)).expect("an address");
    let mut c = client.get_connection_with_timeout(common::PATIENCE).ok()?;
    c.set_read_timeout(Some(common::PATIENCE)).ok()?;
    redis::cmd("INFO").arg("replication").query(&mut c).ok()
}

/// One master for all: the servers, and every sentinel.
#[track_caller]
fn wait_settled(what: &str, sentinels: &[Watcher], servers: &[&Server], master: u16) {
    wait_until(what, || sentinels.iter().all(|w| w.master() == master));
    wait_until("the replicas to follow", || {
        servers.iter().all(|s| {
            let Some(text) = info(s) else { return false };
            let has = |line: &str| text.lines().any(|l| l == line);
            match s.port == master {
                true => has("role:master"),
                false => has(&format!("master_port:{master}")) && has("master_link_status:up"),
            }
        })
    });
}

/// Kills the master of a group, by turns in two ways, and looks at what becomes of it.
fn group_survives(sentinels: &[&Path], servers: &[&Path]) {
    let mut all: Vec<Server> = Vec::new();
    for binary in servers {
        let master = all.first().map(|m| m.port.to_string());
        let mut options = vec![];
        if let Some(port) = &master {
            options.extend(["--replicaof", "127.0.0.1", port]);
        }
        all.push(Server::of(binary, &options));
    }
    let watchers = watch(sentinels, &all[0], sentinels.len() / 2 + 1);
    let known = |w: &Watcher| {
        w.field("num-slaves") == (servers.len() - 1).to_string()
            && w.field("num-other-sentinels") == (sentinels.len() - 1).to_string()
    };
    wait_until("the group to know itself", || watchers.iter().all(known));
    for w in &watchers {
        let text = Status(format!(
            "OK {} usable Sentinels. Quorum and failover authorization can be reached",
            sentinels.len()
        ));
        wait_until("a quorum", || w.ask("SENTINEL CKQUORUM m") == text);
    }
    for kill in [true, false] {
        let old = watchers[0].master();
        let at = all.iter().position(|s| s.port == old).expect("one of ours");
        let pid = all[at].pid().to_string();
        match kill {
            true => all[at].kill(),
            false => signal(&pid, "STOP"),
        }
        wait_until("another master", || watchers.iter().all(|w| w.master() != old));
        match kill {
            true => all[at].restart(),
            false => signal(&pid, "CONT"),
        }
        let master = watchers[0].master();
        let servers: Vec<&Server> = all.iter().collect();
        wait_settled("agreement", &watchers, &servers, master);
        let epoch = watchers[0].field("config-epoch");
        wait_until("one epoch", || watchers.iter().all(|w| w.field("config-epoch") == epoch));
    }
}

#[test]
fn a_master_that_dies_is_replaced() {
    let ours = binary();
    group_survives(&[&ours, &ours, &ours], &[&ours, &ours, &ours]);
}

#[test]
fn a_mixed_group_agrees() {
    let Some(real) = std::env::var_os("REDIS_SERVER").map(PathBuf::from) else {
        eprintln!("skipped: REDIS_SERVER names no real server to go with ours");
        return;
    };
    let ours = binary();
    group_survives(&[&ours, &real, &real, &ours, &real], &[&real, &ours, &real]);
}

#[test]
fn a_failover_can_be_asked_for_and_is_told() {
    let master = Server::start();
    let port = master.port.to_string();
    let replica = Server::with(&["--replicaof", "127.0.0.1", &port]);
    let watchers = watch(&[&binary(), &binary()], &master, 2);
    let mut listener = Conn::new(watchers[1].port);
    listener.run("SUBSCRIBE +switch-master");
    let known = |w: &Watcher| w.field("num-slaves") == "1" && w.field("num-other-sentinels") == "1";
    wait_until("the group to know itself", || watchers.iter().all(known));
    wait_until("a replica that can be promoted", || {
        let reply = watchers[0].ask("SENTINEL FAILOVER m");
        let early = Value::Error("NOGOODSLAVE No suitable replica to promote".into());
        reply == Value::ok() || {
            assert_eq!(reply, early);
            false
        }
    });
    let told = listener.read();
    let text = format!("m 127.0.0.1 {port} 127.0.0.1 {}", replica.port);
    assert_eq!(told, Value::bulks(&["message", "+switch-master", &text]));
    wait_settled("agreement", &watchers, &[&master, &replica], replica.port);
    let log = watchers[0].log();
    for event in
        ["+try-failover", "+elected-leader", "+selected-slave", "+promoted-slave", "+failover-end"]
    {
        assert!(log.contains(&format!("# {event} ")), "{event}:\n{log}");
    }
}

#[test]
fn state_is_in_the_file() {
    let master = Server::start();
    let mut w = watch(&[&binary()], &master, 1).remove(0);
    assert_eq!(w.ask("SENTINEL SET m parallel-syncs 3 auth-pass secret"), Value::ok());
    assert_eq!(w.ask("SENTINEL CONFIG SET announce-port 5 sentinel-pass x"), Value::ok());
    let other = format!("SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 {} 7 other", master.port);
    let vote = Value::Array(vec![Int(0), Value::bulk("other"), Int(7)]);
    assert_eq!(w.ask(&other), vote);
    let file = w.file();
    for line in [
        "# mine".to_string(),
        format!("sentinel monitor m 127.0.0.1 {} 1", master.port),
        "sentinel parallel-syncs m 3".into(),
        "sentinel auth-pass m secret".into(),
        "sentinel leader-epoch m 7".into(),
        "sentinel current-epoch 7".into(),
        "sentinel announce-port 5".into(),
        "sentinel sentinel-pass x".into(),
    ] {
        assert!(file.lines().any(|l| l == line), "{line}:\n{file}");
    }
    assert!(w.log().contains("+set master m") && !w.log().contains("secret"), "{}", w.log());
    let id = w.ask("SENTINEL MYID");
    w.restart();
    assert_eq!(w.ask("SENTINEL MYID"), id);
    assert_eq!(w.field("parallel-syncs"), "3");
    // The vote of the epoch is given, whatever was forgotten.
    let third = format!("SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 {} 7 third", master.port);
    assert_eq!(w.ask(&third), Value::Array(vec![Int(0), Value::bulk("*"), Int(0)]));
    // A file that cannot be replaced is told of.
    fs::remove_file(w.dir.join("s.conf")).expect("our file");
    fs::create_dir(w.dir.join("s.conf")).expect("our folder");
    let failed = "ERR Failed to save config file. Check server logs.";
    assert_eq!(w.ask("SENTINEL FLUSHCONFIG").error(), failed);
    fs::remove_dir(w.dir.join("s.conf")).expect("our folder");
    assert_eq!(w.ask("SENTINEL FLUSHCONFIG"), Value::ok());
    assert_eq!(w.ask("SENTINEL REMOVE m"), Value::ok());
    assert!(!w.file().contains("sentinel monitor"), "{}", w.file());
}

#[test]
fn scripts_run_and_inherit_nothing() {
    let master = Server::start();
    let dir = own_folder();
    let (script, told, open) = (dir.join("notify"), dir.join("told"), dir.join("open"));
    let text = format!(
        "#!/bin/sh\nls -l /proc/$$/fd > '{}'\nprintf '%s|%s\\n' \"$1\" \"$2\" >> '{}'\n",
        open.display(),
        told.display()
    );
    fs::write(&script, text).expect("our folder");
    let monitor = format!("monitor m 127.0.0.1 {} 1", master.port);
    let w = Watcher::start(&binary(), &lines(&["deny-scripts-reconfig no", &monitor]));
    let set = format!("SENTINEL SET m notification-script {}", script.display());
    assert_eq!(w.ask(&set).error(), "ERR Notification script seems non existing or non executable");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("our file");
    assert_eq!(w.ask(&set), Value::ok());
    assert_eq!(w.ask("SENTINEL SET m quorum 2"), Value::ok());
    let line = format!("+set|master m 127.0.0.1 {} quorum 2\n", master.port);
    let said = || fs::read_to_string(&told).unwrap_or_default();
    wait_until("the script to be told", || said().contains(&line));
    let open = fs::read_to_string(open).expect("the script wrote it");
    // What this test was given by its parent went to the sentinel, too.
    let given = |line: &str| {
        let own = fs::read_dir("/proc/self/fd").expect("our own descriptors").flatten();
        own.filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|to| line.ends_with(&to.display().to_string()))
    };
    for line in open.lines() {
        let kinds = ["socket:", "anon_inode:", "pipe:"];
        assert!(given(line) || !kinds.iter().any(|kind| line.contains(kind)), "{open}");
    }
    wait_until("the queue to be empty", || w.ask("SENTINEL PENDING-SCRIPTS").items().is_empty());
    fs::remove_dir_all(dir).expect("our folder");
}

#[test]
fn a_sentinel_is_no_server() {
    let w = Watcher::start(&binary(), &[]);
    let mut c = Conn::new(w.port);
    for line in [
        "GET a",
        "SET a b",
        "CONFIG GET port",
        "MULTI",
        "EVAL return 0",
        "SAVE",
        "SYNC",
        "DEBUG SLEEP 0",
    ] {
        let reply = c.run(line);
        assert!(reply.error().starts_with("ERR unknown command "), "{reply:?}");
    }
    assert!(c.run("CLIENT NO-TOUCH on").error().starts_with("ERR unknown subcommand "));
    let only = "ERR Only HELLO messages are accepted by Sentinel instances.";
    assert_eq!(c.run("PUBLISH a b").error(), only);
    assert_eq!(c.run("PUBLISH __sentinel__:hello x"), Int(1));
    let role = Value::Array(vec![Value::bulk("sentinel"), Value::Array(vec![])]);
    assert_eq!(c.run("ROLE"), role);
    assert_eq!(c.fact("redis_mode"), "sentinel");
    assert_eq!(c.fact("sentinel_masters"), "0");
    assert_eq!(c.info("used_memory"), None);
    assert_eq!(c.info("role"), None);
    let hello: Vec<String> = c.run("HELLO").items().iter().step_by(2).map(Value::text).collect();
    assert_eq!(hello, ["server", "version", "proto", "id", "mode", "modules"]);
    let bad = c.run("SENTINEL MASTER");
    assert_eq!(bad.error(), "ERR wrong number of arguments for 'sentinel|master' command");
    assert!(c.run("SENTINEL NONSENSE").error().starts_with("ERR unknown subcommand 'NONSENSE'"));
    let server = Server::start();
    let unknown = server.connect().run("SENTINEL MASTERS");
    assert!(unknown.error().starts_with("ERR unknown command 'SENTINEL'"), "{unknown:?}");
    assert_eq!(server.connect().info("sentinel_masters"), None);
}

#[test]
fn a_sentinel_needs_its_file() {
    let dir = own_folder();
    let run = |args: &[&str]| {
        let out = run_to_end(&binary(), &dir, args, Stdio::null());
        assert_eq!(out.status.code(), Some(1), "{args:?}");
        String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
    };
    let said = run(&["--sentinel", "--port", "0"]);
    assert!(said.contains("# Sentinel needs config file on disk to save state. Exiting..."), "{said}");
    for (line, why) in [
        ("monitor m 127.0.0.1 1 0", "Quorum must be 1 or greater."),
        ("monitor m no.such.host.invalid 1 1", "Can't resolve instance hostname."),
        ("down-after-milliseconds m 5", "No such master with specified name."),
        ("nonsense m 1", "Unrecognized sentinel configuration statement."),
    ] {
        fs::write(dir.join("s.conf"), format!("port 0\nsentinel {line}\n")).expect("our folder");
        let said = run(&["s.conf", "--sentinel"]);
        let place = format!("Reading the configuration file, at line 2\n>>> 'sentinel {line}'\n{why}");
        assert!(said.contains(&place), "{said}");
    }
    fs::remove_dir_all(dir).expect("our folder");
}

#[test]
fn names_are_resolved_when_asked_for() {
    let master = Server::start();
    let monitor = format!("monitor m localhost {} 1", master.port);
    let w = Watcher::start(&binary(), &lines(&[&monitor, "resolve-hostnames yes"]));
    w.hurry();
    wait_until("the master to be seen", || w.field("flags") == "master" && !w.field("runid").is_empty());
    assert_eq!(w.ask("SENTINEL CONFIG SET announce-hostnames yes"), Value::ok());
    let reply = w.ask("SENTINEL GET-MASTER-ADDR-BY-NAME m");
    assert_eq!(reply, Value::bulks(&["localhost", &master.port.to_string()]));
    let refused = w.ask("SENTINEL MONITOR x no.such.host.invalid 1 1");
    assert_eq!(refused.error(), "ERR Invalid IP address or hostname specified");
    assert!(w.file().contains(&format!("sentinel {monitor}\n")), "{}", w.file());
}

#[cfg(feature = "tls")]
#[test]
fn a_group_is_watched_over_tls() {
    let certs = common::certs::Certs::new();
    let (_master, port) = certs.server(&[]);
    let master = format!("127.0.0.1 {port}");
    let (_replica, replica) = certs.server(&["--tls-replication", "yes", "--replicaof", &master]);
    // As in a file.
    let options = certs.options();
    let pairs = options.chunks(2).map(|two| two.join(" ").trim_start_matches("--").to_string() + "\n");
    let options: String = pairs.collect::<String>() + "tls-replication yes\n";
    let lines = lines(&[&format!("monitor m {master} 2"), "down-after-milliseconds m 2000"]);
    let ports = [free_port(), free_port()];
    let watchers = ports.map(|port| {
        let w = Watcher::configured(&binary(), &format!("{options}tls-port {port}\n"), &lines);
        w.hurry();
        w
    });
    for w in &watchers {
        wait_until("the group to know itself", || {
            w.field("num-slaves") == "1" && w.field("num-other-sentinels") == "1"
        });
        wait_until("a quorum", || w.ask("SENTINEL CKQUORUM m").kind().starts_with("+OK"));
        assert_eq!(w.field("flags"), "master");
    }
    // All know each other by their ports for TLS.
    let named = |line: &str, port: u16| {
        let all = watchers[0].ask(line);
        let items: Vec<String> = all.items()[0].items().iter().map(Value::text).collect();
        let at = items.iter().position(|i| i == "port").expect("a field");
        assert_eq!(items[at + 1], port.to_string());
    };
    named("SENTINEL REPLICAS m", replica);
    named("SENTINEL SENTINELS m", ports[1]);
}
