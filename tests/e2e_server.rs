//! End to end: starting, listening, reconfiguring, telling about itself, ending.

mod common;

use common::Value::{Array, Int};
use common::{Conn, Server, Value, free_port, wait_blocked, wait_until, waiting};
use std::os::unix::fs::PermissionsExt;

/// The marks stand in the log in this order.
fn in_order(log: &str, marks: &[&str]) {
    let mut rest = log;
    for mark in marks {
        let at = rest.find(mark).unwrap_or_else(|| panic!("no {mark:?} where it belongs:\n{log}"));
        rest = &rest[at + mark.len()..];
    }
}

#[test]
fn the_log_tells_of_a_start_and_an_orderly_end() {
    let mut srv = Server::with(&["--always-show-logo", "yes", "--pidfile", "server.pid"]);
    let pid = srv.pid();
    let written = std::fs::read_to_string(srv.dir.join("server.pid")).expect("the pid file is there");
    assert_eq!(written.trim(), pid.to_string());
    srv.signal("TERM");
    assert_eq!(srv.wait_exit().code(), Some(0));
    let pid = format!("PID: {pid}");
    in_order(
        &srv.log(),
        &[
            "Redis is starting",
            "Redis version=7.2.6",
            "Configuration loaded",
            &pid,
            "Server initialized",
            "Ready to accept connections tcp",
            "Received SIGTERM scheduling shutdown...",
            "User requested shutdown...",
            "Removing the pid file.",
            "Redis is now ready to exit, bye bye...",
        ],
    );
    assert!(!srv.dir.join("server.pid").exists());
}

#[test]
fn a_signal_to_end_waits_for_the_busy_script() {
    let mut srv = Server::with(&["--save", "1000 1", "--lua-time-limit", "20"]);
    let (mut c, mut other) = (srv.connect(), srv.connect());
    // It ends when more than two have come, besides the one that asked whether the server was up.
    let script = "redis.call('set', 'half', 1) \
                  repeat local all = redis.call('info', 'clients') \
                  until tonumber(all:match('connected_clients:(%d+)')) > 3 \
                  redis.call('set', 'whole', 1)";
    c.put(&["EVAL", script, "0"]);
    wait_until("the script is slow", || other.cmd(&["PING"]).kind() == "-BUSY");
    srv.signal("TERM");
    wait_until("the signal", || srv.log().contains("Received SIGTERM scheduling shutdown..."));
    let _more = [srv.connect(), srv.connect()];
    assert_eq!(srv.wait_exit().code(), Some(0));
    srv.restart();
    let mut c = srv.connect();
    assert_eq!(c.cmd(&["EXISTS", "half", "whole"]), Int(2));
}

#[test]
fn a_unix_socket_has_its_permissions_and_goes_with_the_server() {
    let mut srv = Server::with(&["--unixsocket", "s.sock", "--unixsocketperm", "700"]);
    let path = srv.dir.join("s.sock");
    let mode = std::fs::metadata(&path).expect("the socket is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let mut c = srv.connect();
    assert!(c.cmd(&["INFO", "server"]).text().contains("listener1:name=unix,bind=s.sock\r\n"));
    assert!(srv.stop().success());
    assert!(!path.exists());
}

#[test]
fn ports_move_and_a_taken_one_changes_nothing() {
    let (srv, other) = (Server::start(), Server::start());
    let mut c = srv.connect();
    let taken = other.port.to_string();
    let refused = c.cmd(&["CONFIG", "SET", "port", &taken, "hz", "50"]);
    assert_eq!(
        refused.error(),
        "ERR CONFIG SET failed (possibly related to argument 'port') - Unable to listen on this port. \
         Check server logs."
    );
    assert_eq!((c.figure("tcp_port"), c.figure("configured_hz")), (srv.port.into(), 10));
    drop(srv.connect());
    let free = free_port();
    assert_eq!(c.cmd(&["CONFIG", "SET", "port", &free.to_string()]), Value::ok());
    wait_until("the new port", || std::net::TcpStream::connect(("127.0.0.1", free)).is_ok());
    assert!(std::net::TcpStream::connect(("127.0.0.1", srv.port)).is_err(), "the old port is closed");
}

#[test]
fn slow_commands_are_kept_trimmed_and_without_secrets() {
    let srv = Server::with(&["--slowlog-log-slower-than", "-1"]);
    let mut c = srv.connect();
    c.cmd(&["CLIENT", "SETNAME", "me"]);
    c.cmd(&["CONFIG", "SET", "slowlog-log-slower-than", "0", "masterauth", "secret"]);
    let long = "x".repeat(200);
    let mut many: Vec<String> = vec!["DEL".into(), long];
    many.extend((0..40).map(|i| i.to_string()));
    c.cmd(&many.iter().map(|s| &**s).collect::<Vec<_>>());
    c.cmd(&["MULTI"]);
    c.cmd(&["PING"]);
    c.cmd(&["EXEC"]);
    let log = c.cmd(&["SLOWLOG", "GET", "-1"]);
    let names: Vec<String> = log.items().iter().map(|e| e.items()[3].items()[0].text()).collect();
    assert_eq!(names, ["PING", "MULTI", "DEL", "CONFIG"], "EXEC itself is left out");
    let del = log.items()[2].items()[3].items();
    assert_eq!((del.len(), del[1].text()), (32, format!("{}... (72 more bytes)", "x".repeat(128))));
    assert_eq!(del[31].text(), "... (11 more arguments)");
    let config: Vec<String> = log.items()[3].items()[3].items().iter().map(Value::text).collect();
    assert_eq!(config[5], "(redacted)");
    assert_eq!(log.items()[3].items()[5].text(), "me");
}

/// The words of each entry of the slow log, the oldest first.
fn slow_words(c: &mut Conn) -> Vec<String> {
    let log = c.run("SLOWLOG GET -1");
    let words = |e: &Value| e.items()[3].items().iter().map(Value::text).collect::<Vec<_>>().join(" ");
    log.items().iter().rev().map(words).collect()
}

#[test]
fn commands_inside_transactions_and_scripts_count_as_processed() {
    let srv = Server::start();
    let mut c = srv.connect();
    let mut cost = |lines: &[&str]| {
        let before = c.figure("total_commands_processed");
        c.pipeline(lines);
        // The INFO that read the figure has counted itself since.
        c.figure("total_commands_processed") - before - 1
    };
    assert_eq!(cost(&["MULTI", "PING", "PING", "INCR n", "GET n", "PING", "EXEC"]), 7);
    let before = c.figure("total_commands_processed");
    c.cmd(&["EVAL", "for i = 1, 10 do redis.call('incr', 'n') end", "0"]);
    assert_eq!(c.figure("total_commands_processed") - before, 12);
    assert!(c.fact("cmdstat_incr").starts_with("calls=11,"));
}

#[test]
fn blocking_commands_are_slow_commands_however_they_end() {
    let srv = Server::with(&["--slowlog-log-slower-than", "0", "--slowlog-max-len", "1000000"]);
    let mut c = srv.connect();
    let mut served = waiting(&srv, &mut c, "BLPOP served 0");
    c.run("RPUSH served x");
    assert_eq!(served.read(), Value::bulks(&["served", "x"]));
    c.run("XADD s 1-1 a b");
    let mut stream = waiting(&srv, &mut c, "XREAD BLOCK 0 STREAMS s $");
    c.run("XADD s 2-1 a b");
    stream.read();
    assert_eq!(srv.connect().run("BZPOPMIN late 0.01"), Value::NullArray);
    let mut freed = srv.connect();
    let number = freed.run("CLIENT ID").int();
    freed.send(b"BLMOVE a b LEFT RIGHT 0\r\n");
    wait_blocked(&mut c, 1);
    c.run(&format!("CLIENT UNBLOCK {number} ERROR"));
    assert!(freed.read().error().starts_with("UNBLOCKED"));
    freed.send(b"XREAD BLOCK 0 STREAMS s $\r\n");
    wait_blocked(&mut c, 1);
    c.run(&format!("CLIENT UNBLOCK {number}"));
    freed.read();
    let kept: Vec<String> = slow_words(&mut c);
    let blocking: Vec<&String> =
        kept.iter().filter(|w| w.starts_with('B') || w.contains("BLOCK ")).collect();
    let unblock = |how: &str| format!("CLIENT UNBLOCK {number}{how}");
    assert_eq!(
        blocking,
        [
            "BLPOP served 0",
            "XREAD BLOCK 0 STREAMS s $",
            "BZPOPMIN late 0.01",
            "BLMOVE a b LEFT RIGHT 0",
            &unblock(" ERROR"),
            "XREAD BLOCK 0 STREAMS s $",
            &unblock(""),
        ],
        "each once, as it came, when its wait ends"
    );
    // A wait takes no time of its own: far less than the 10 ms of the one that timed out.
    for (name, calls) in [("blpop", 1), ("bzpopmin", 1), ("blmove", 1), ("xread", 2)] {
        let stats = c.info(&format!("cmdstat_{name}")).expect("it has run");
        assert!(stats.starts_with(&format!("calls={calls},usec=")), "{name}: {stats}");
    }
}

#[test]
fn renamed_commands_keep_their_secrets() {
    let options = "--slowlog-log-slower-than 0 --requirepass right --rename-command AUTH LOGIN \
                   --rename-command CONFIG SETUP --rename-command HELLO HI";
    let srv = Server::with(&options.split_whitespace().collect::<Vec<_>>());
    let mut c = srv.connect();
    c.send(b"LOGIN right\r\n");
    assert_eq!(c.read(), Value::ok());
    let mut watch = srv.connect();
    watch.run("LOGIN right");
    watch.run("MONITOR");
    c.run("LOGIN default right");
    c.run("HI 2 AUTH default right SETNAME me");
    c.run("SETUP SET maxmemory 0 requirepass right masterauth secret");
    c.run("SET right right");
    let kept = slow_words(&mut c);
    for line in [
        "LOGIN (redacted)",
        "LOGIN (redacted) (redacted)",
        "HI 2 AUTH (redacted) (redacted) SETNAME me",
        "SETUP SET maxmemory 0 requirepass (redacted) masterauth (redacted)",
        "SET right right",
    ] {
        assert!(kept.iter().any(|k| k == line), "{line:?} is not in {kept:?}");
    }
    for line in
        ["\"LOGIN\" \"(redacted)\" \"(redacted)\"", "\"HI\" \"2\" \"AUTH\" \"(redacted)\" ", "\"SET\" "]
    {
        let said = watch.read().text();
        assert!(said.contains(line), "{said}");
    }
}

#[test]
fn refused_logins_are_counted() {
    let srv = Server::with(&["--requirepass", "right"]);
    let mut c = srv.connect();
    for line in ["AUTH wrong", "AUTH nobody right", "HELLO 3 AUTH default wrong", "HELLO 3 AUTH x right"]
    {
        assert!(c.run(line).error().starts_with("WRONGPASS"), "{line}");
    }
    c.run("AUTH a b c");
    assert_eq!(c.run("AUTH right"), Value::ok());
    assert_eq!(c.figure("acl_access_denied_auth"), 4);
    c.run("CONFIG RESETSTAT");
    assert_eq!(c.figure("acl_access_denied_auth"), 4, "not one of the figures that are reset");
}

#[test]
fn spikes_are_monitored_and_histograms_counted() {
    let srv = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = srv.connect();
    // Nothing else takes so long by chance, and two clocks need not agree to the millisecond.
    let said = c.pipeline(&[
        "CONFIG SET latency-monitor-threshold 300",
        "DEBUG SLEEP 0.6",
        "CONFIG SET latency-monitor-threshold 1000000",
    ]);
    assert!(said.iter().all(|v| *v == Value::ok()), "{said:?}");
    let latest = c.cmd(&["LATENCY", "LATEST"]);
    let event = latest.items()[0].items();
    assert_eq!(event[0].text(), "command");
    assert!((500..60_000).contains(&event[2].int()), "{event:?}");
    assert!(c.cmd(&["LATENCY", "GRAPH", "command"]).text().starts_with("command - high"));
    assert_eq!(
        c.cmd(&["LATENCY", "GRAPH", "nope"]).error(),
        "ERR No samples available for event 'nope'"
    );
    assert!(c.cmd(&["LATENCY", "DOCTOR"]).text().contains("1. command: 1 latency spikes"));
    assert_eq!(c.cmd(&["LATENCY", "RESET"]), Int(1));
    let h = c.cmd(&["LATENCY", "HISTOGRAM", "debug", "nosuch", "config"]);
    let names: Vec<String> = h.items().chunks(2).map(|pair| pair[0].text()).collect();
    assert_eq!(names, ["debug", "config|set"]);
}

#[test]
fn info_shows_the_sections_asked_for() {
    let srv = Server::start();
    let mut c = srv.connect();
    let titles = |text: &str| -> Vec<String> {
        text.lines().filter_map(|l| l.strip_prefix("# ").map(str::to_owned)).collect()
    };
    let default = titles(&c.cmd(&["INFO"]).text());
    assert_eq!(default.first().map(|t| &**t), Some("Server"));
    assert!(!default.contains(&"Commandstats".into()));
    assert_eq!(titles(&c.cmd(&["INFO", "commandSTATS", "cpu"]).text()), ["CPU", "Commandstats"]);
    let everything = titles(&c.cmd(&["INFO", "everything"]).text());
    assert!(everything.contains(&"Latencystats".into()) && !everything.contains(&"Debug".into()));
    assert_eq!(c.cmd(&["INFO", "nosuch"]), Value::bulk(""));
    assert_eq!(c.figure("process_id"), srv.pid().into());
}

#[test]
fn an_idle_server_wakes_for_its_cron_only() {
    let srv = Server::start();
    let mut c = srv.connect();
    let (began, before) = (c.figure("server_time_usec"), c.figure("eventloop_cycles"));
    let mut asked = 2;
    wait_until("half a second to pass", || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        asked += 1;
        c.figure("server_time_usec") - began > 500_000
    });
    let woken = c.figure("eventloop_cycles") - before;
    let spent = (c.figure("server_time_usec") - began) / 100_000;
    assert!(woken <= asked + spent + 6, "{woken} passes in {spent} ticks and {asked} requests");
}

#[test]
fn a_loop_that_may_not_poll_sleeps_at_once() {
    let srv = Server::with(&["--busy-poll-us", "0"]);
    let mut c = srv.connect();
    // From one reply: every request is a wait, which may poll.
    let polls = |c: &mut Conn| {
        let text = c.run("INFO stats").text();
        let figure = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        ["busy_polls", "busy_poll_hits", "busy_poll_usec"]
            .map(|name| figure(name).expect("it is shown").parse::<u64>().expect("a number"))
    };
    let ping = |c: &mut Conn, times| (0..times).for_each(|_| assert_eq!(c.run("PING").text(), "PONG"));
    ping(&mut c, 5000);
    assert_eq!(polls(&mut c), [0; 3]);
    assert_eq!(c.run("CONFIG SET busy-poll-us 1000"), Value::ok());
    ping(&mut c, 5000);
    let [n, hits, _] = polls(&mut c);
    assert!(hits <= n, "{n} polls, {hits} hits");
    assert_eq!(c.run("CONFIG SET busy-poll-us 0"), Value::ok());
    let before = polls(&mut c);
    ping(&mut c, 1000);
    assert_eq!(polls(&mut c), before);
    assert!(
        c.run("CONFIG SET busy-poll-us 1001").error().contains("argument must be between 0 and 1000")
    );
}

#[test]
fn a_directive_without_its_value_is_a_syntax_error() {
    let srv = Server::start();
    let mut c = srv.connect();
    assert_eq!(c.run("CONFIG SET hz 10 hz").error(), "ERR syntax error");
    assert!(c.run("CONFIG SET hz").error().starts_with("ERR wrong number of arguments"));
}

#[test]
fn keys_are_found_in_any_command() {
    let srv = Server::start();
    let mut c = srv.connect();
    assert_eq!(c.cmd(&["COMMAND", "GETKEYS", "GET", "k"]), Value::bulks(&["k"]));
    let flags = c.cmd(&["COMMAND", "GETKEYSANDFLAGS", "DEL", "a", "b"]);
    assert_eq!(flags.items()[1].items()[0].text(), "b");
    for (words, why) in [
        (&["PING"][..], "ERR The command has no key arguments"),
        (&["NOSUCH"][..], "ERR Invalid command specified"),
        (&["GET"][..], "ERR Invalid number of arguments specified for command"),
    ] {
        let asked: Vec<&str> = ["COMMAND", "GETKEYS"].iter().chain(words).copied().collect();
        assert_eq!(c.cmd(&asked).error(), why);
    }
    assert_eq!(c.cmd(&["COMMAND", "LIST", "FILTERBY", "MODULE", "x"]), Array(vec![]));
}

#[test]
fn shutdown_words_are_checked() {
    let mut srv = Server::start();
    let mut c = srv.connect();
    for words in [&["SAVE", "NOSAVE"][..], &["ABORT", "NOW"], &["WHATEVER"]] {
        let asked: Vec<&str> = std::iter::once(&"SHUTDOWN").chain(words).copied().collect();
        assert_eq!(c.cmd(&asked).error(), "ERR syntax error");
    }
    assert_eq!(c.cmd(&["SHUTDOWN", "ABORT"]).error(), "ERR No shutdown in progress.");
    c.put(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(srv.wait_exit().code(), Some(0));
}

/// A server that takes long to read its 4,000 keys `key:N` and serves others meanwhile, and two of those.
fn slow_to_load() -> (Server, Conn, Conn) {
    let options = ["--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"];
    let srv = Server::with(&options);
    let (mut c, mut other) = (srv.connect(), srv.connect());
    assert_eq!(c.run("DEBUG POPULATE 4000 key 100"), Value::ok());
    assert_eq!(other.run("CONFIG SET key-load-delay 3000"), Value::ok());
    (srv, c, other)
}

#[test]
fn clients_are_served_while_the_dataset_is_read() {
    let (_srv, mut loads, mut asks) = slow_to_load();
    loads.put(&["DEBUG", "RELOAD"]);
    wait_until("the load", || asks.figure("loading") == 1);
    assert_eq!(asks.cmd(&["GET", "key:1"]).error(), "LOADING Redis is loading the dataset in memory");
    let refused = asks.cmd(&["CONFIG", "SET", "appendonly", "yes"]);
    assert_eq!(refused.error(), "LOADING Redis is loading the dataset in memory");
    assert_eq!(asks.cmd(&["CONFIG", "SET", "key-load-delay", "0"]), Value::ok());
    assert_eq!(loads.read(), Value::ok());
    assert_eq!(asks.figure("loading"), 0);
    assert_eq!(asks.cmd(&["DBSIZE"]), Int(4000));
}

#[test]
fn writes_want_replicas_when_told_so() {
    let srv = Server::start();
    let (mut c, mut other) = (srv.connect(), srv.connect());
    assert_eq!(c.cmd(&["MULTI"]), Value::ok());
    c.cmd(&["INCR", "n"]);
    assert_eq!(other.cmd(&["CONFIG", "SET", "min-replicas-to-write", "1"]), Value::ok());
    let why = "NOREPLICAS Not enough good replicas to write.";
    let whole = format!("EXECABORT Transaction discarded because of: {why}");
    assert_eq!(c.cmd(&["EXEC"]).error(), whole);
    assert_eq!(c.cmd(&["INCR", "n"]).error(), why);
    assert_eq!(c.cmd(&["GET", "n"]), Value::Null);
    assert_eq!(other.cmd(&["CONFIG", "SET", "min-replicas-max-lag", "0"]), Value::ok());
    assert_eq!(c.cmd(&["INCR", "n"]), Int(1));
}

#[test]
fn a_dataset_is_not_reloaded_while_it_is_being_read() {
    let (_srv, mut c, mut other) = slow_to_load();
    c.put(&["DEBUG", "RELOAD"]);
    wait_until("the reading to begin", || other.run("GET x").kind() == "-LOADING");
    for line in ["DEBUG RELOAD", "DEBUG RELOAD NOSAVE", "DEBUG LOADAOF"] {
        assert_eq!(other.run(line).kind(), "-LOADING", "{line}");
    }
    assert_eq!(other.run("CONFIG SET key-load-delay 0"), Value::ok());
    assert_eq!(c.read(), Value::ok());
    assert_eq!(c.run("DBSIZE"), Int(4000));
}

#[test]
fn a_transaction_served_by_the_load_of_another_does_not_end_that() {
    let (_srv, mut c, mut other) = slow_to_load();
    c.pipeline(&["MULTI", "DEBUG RELOAD", "BGREWRITEAOF"]);
    c.put(&["EXEC"]);
    wait_until("the reading to begin", || other.run("GET x").kind() == "-LOADING");
    let all = other.pipeline(&["MULTI", "CONFIG SET key-load-delay 0", "EXEC"]);
    assert_eq!(all[2].items(), [Value::ok()]);
    let scheduled = Value::Status("Background append only file rewriting scheduled".into());
    assert_eq!(c.read().items(), [Value::ok(), scheduled]);
}
