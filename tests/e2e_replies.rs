//! Small things that a client can see, each of which once differed from the server that clients know. The
//! comparer (`compare.rs`) finds such things; here they stay found.

mod common;

use common::*;

/// Requests to a server that has nothing, in this order, and the replies.
#[test]
fn requests_and_replies() {
    let srv = Server::start();
    let mut c = srv.connect();
    let min = Int(i64::MIN);
    let e = |text: &str| Error(text.to_string());
    let not_known = |what: &str| {
        e(&format!("ERR unknown subcommand or wrong number of arguments for '{what}'. Try PUBSUB HELP."))
    };
    let table: &[(&str, Value)] = &[
        ("PUBSUB CHANNELS a b", not_known("CHANNELS")),
        ("PUBSUB ShardChannels a b", not_known("ShardChannels")),
        // A refused EXEC ends the transaction.
        ("MULTI", Value::ok()),
        (
            "EXEC now",
            e(
                "EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command",
            ),
        ),
        ("EXEC", e("ERR EXEC without MULTI")),
        // A count that no spec takes is read as far as it is a number.
        ("COMMAND GETKEYS LMPOP 1.0 l:3 l:4 RIGHT COUNT 1", Value::bulks(&["l:3"])),
        ("COMMAND GETKEYS BLMPOP 0 2x a b c LEFT", Value::bulks(&["a", "b"])),
        ("COMMAND GETKEYS EVAL s 4294967297 a b", Value::bulks(&["a"])),
        (
            "COMMAND GETKEYSANDFLAGS ZINTER +1 a b",
            Array(vec![Array(vec![Value::bulk("a"), Array(vec![])])]),
        ),
        ("COMMAND GETKEYSANDFLAGS SINTERCARD 1.5 a b", {
            Array(vec![Array(vec![Value::bulk("a"), Array(vec![])])])
        }),
        ("COMMAND GETKEYS LMPOP 4.0 a b LEFT", e("ERR Invalid arguments specified for command")),
        // Numbers of a script that do not fit.
        ("SET n 9223372036854775806", Value::ok()),
        ("EVAL local\tr=redis.call('INCR','n')\treturn\tr 0", min.clone()),
        ("EVAL return\t1e300 0", min.clone()),
        ("EVAL return\t-1e300 0", min.clone()),
        ("EVAL return\t0/0 0", min),
    ];
    for (line, want) in table {
        assert_eq!(c.run(line), *want, "{line}");
    }
}

#[test]
fn an_overwritten_value_serves_nobody() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("ZADD other 1 a");
    let mut w = srv.connect();
    w.put(&["BZPOPMIN", "z", "0"]);
    wait_blocked(&mut c, 1);
    // Out of sight of those who wait, a list makes room for a sorted set.
    assert_eq!(
        c.pipeline(&["MULTI", "RPUSH z a", "ZUNIONSTORE z 1 other", "EXEC"])[3].items()[1],
        Int(1)
    );
    assert_eq!(c.run("ZUNIONSTORE z 1 other"), Int(1));
    assert_eq!(c.run("ZCARD z"), Int(1), "nobody was served");
    c.run("DEL z");
    c.run("ZADD z 2 b");
    assert_eq!(w.read(), Value::bulks(&["z", "b", "2"]));
}

#[test]
fn a_reload_is_no_news() {
    let srv = Server::with(&["--enable-debug-command", "yes", "--notify-keyspace-events", "KEAn"]);
    let (mut c, mut s) = (srv.connect(), srv.connect());
    // The sign of zero stays, in a set that is big from its first member on.
    let many: Vec<String> = (0..200).map(|i| format!("0 m{i}")).collect();
    c.run(&format!("ZADD z -0 minus {}", many.join(" ")));
    let long = "m".repeat(70);
    c.run(&format!("ZADD y 1 {long} -0 minus"));
    let before = c.run("DEBUG DIGEST");
    s.run("PSUBSCRIBE __key*");
    assert_eq!(c.run("DEBUG RELOAD"), Value::ok());
    assert_eq!(c.run("DEBUG DIGEST"), before);
    assert_eq!(c.run("ZSCORE z minus"), Value::bulk("-0"));
    assert_eq!(c.run("ZSCORE y minus"), Value::bulk("-0"));
    c.run("SET end 1");
    let first = s.read();
    assert_eq!(first.items()[2..], [Value::bulk("__keyspace@0__:end"), Value::bulk("new")]);
}

#[test]
fn a_refused_exec_is_shown_as_it_came() {
    let srv = Server::start();
    let (mut c, mut m) = (srv.connect(), srv.connect());
    m.run("MONITOR");
    c.run("MULTI");
    c.run("eXeC now");
    let seen = [m.read().text(), m.read().text()];
    assert!(seen[0].ends_with(" \"MULTI\""), "{seen:?}");
    assert!(seen[1].ends_with(" \"eXeC\" \"now\""), "{seen:?}");
}

/// An error is counted once, where it arises; who passes it on has failed all the same.
#[test]
fn errors_of_scripts_are_counted() {
    let srv = Server::start();
    let mut c = srv.connect();
    // Script, errors that it adds, failures of EVAL, and of the command within: refused, failed.
    let table = [
        ("local r = redis.pcall('INCR', 's') return r", 1, 1, (0, 1)),
        ("local r = redis.call('INCR', 's') return r", 1, 1, (0, 1)),
        ("local r = redis.pcall('INCR', 's') return {r, r}", 1, 2, (0, 1)),
        ("local r = redis.pcall('INCR', 's') return 1", 1, 0, (0, 1)),
        ("local r = redis.pcall('INCR') return 1", 1, 0, (1, 0)),
        ("local r = redis.pcall('NOSUCH') return r", 1, 1, (0, 0)),
        ("return redis.error_reply('MY x')", 1, 1, (0, 0)),
        ("return", 0, 0, (0, 0)),
    ];
    c.run("SET s abc");
    for (script, errors, failures, within) in table {
        c.run("CONFIG RESETSTAT");
        c.cmd(&["EVAL", script, "0"]);
        let info = c.run("INFO stats commandstats").text();
        let field = |line: &str, name: &str| -> i64 {
            let line = info.lines().find(|l| l.starts_with(&format!("{line}:"))).unwrap_or("");
            let at = line.find(&format!("{name}=")).map(|at| at + name.len() + 1);
            at.map_or(0, |at| line[at..].split(',').next().expect("a field").parse().expect("a number"))
        };
        let line = info.lines().find_map(|l| l.strip_prefix("total_error_replies:"));
        assert_eq!(line, Some(&*errors.to_string()), "{script}");
        assert_eq!(field("cmdstat_eval", "failed_calls"), failures, "{script}");
        let seen = ["rejected_calls", "failed_calls"].map(|name| field("cmdstat_incr", name));
        assert_eq!((seen[0], seen[1]), within, "{script}");
    }
}
