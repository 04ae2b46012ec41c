//! Client-side caching end to end: who hears of which key, when, and in which order with replies.

mod common;

use common::{Conn, Server, Value, Value::*, wait_until};

/// A message of RESP3 that one key is invalid.
fn invalid(key: &str) -> Value {
    Push(vec![Value::bulk("invalidate"), Value::bulks(&[key])])
}

fn all_invalid() -> Value {
    Push(vec![Value::bulk("invalidate"), Null])
}

/// The same in the channel of RESP2.
fn message(keys: Value) -> Value {
    Array(vec![Value::bulk("message"), Value::bulk("__redis__:invalidate"), keys])
}

fn tracker(srv: &Server, how: &str) -> Conn {
    let mut c = srv.connect();
    c.run("HELLO 3");
    assert_eq!(c.run(&format!("CLIENT TRACKING ON{how}")), Value::ok());
    c
}

/// A subscribed RESP2 client, and its number.
fn listener(srv: &Server) -> (Conn, i64) {
    let mut c = srv.connect();
    let id = c.run("CLIENT ID").int();
    c.run("SUBSCRIBE __redis__:invalidate");
    (c, id)
}

/// Nothing has come before the answer to this.
fn nothing(c: &mut Conn) {
    assert_eq!(c.run("PING"), Status("PONG".into()));
}

#[test]
fn a_key_that_was_read_is_told_once_to_each_reader() {
    let srv = Server::start();
    let (mut a, mut b, mut w) = (tracker(&srv, ""), tracker(&srv, ""), srv.connect());
    w.run("MSET k 1 l 1");
    a.run("GET k");
    a.run("MGET k nothing");
    b.run("STRLEN k");
    assert_eq!((w.figure("tracking_total_keys"), w.figure("tracking_total_items")), (2, 3));
    assert_eq!(w.figure("tracking_clients"), 2);
    w.run("SET k 2");
    w.run("SET k 3");
    w.run("SET l 3");
    w.run("SETRANGE nothing 0 x");
    assert_eq!((a.read(), a.read()), (invalid("k"), invalid("nothing")));
    assert_eq!(b.read(), invalid("k"));
    nothing(&mut a);
    nothing(&mut b);
    assert_eq!((w.figure("tracking_total_keys"), w.figure("tracking_total_items")), (0, 0));
    // What did not change is no news.
    a.run("GET k");
    w.run("SETNX k 4");
    w.run("EXPIRE nokey 10");
    nothing(&mut a);
}

#[test]
fn own_changes_are_told_behind_the_reply_and_never_inside_exec() {
    let srv = Server::start();
    let mut c = tracker(&srv, "");
    c.run("HSET h f 1");
    c.run("HGET h f");
    assert_eq!(c.run("HDEL h f"), Int(1));
    assert_eq!(c.read(), invalid("h"));
    c.run("MSET a 1 b 1");
    c.run("MGET a b");
    c.run("MULTI");
    for line in ["INCR a", "GET a", "INCR a", "FLUSHDB"] {
        c.run(line);
    }
    let done = Array(vec![Int(2), Value::bulk("2"), Int(3), Value::ok()]);
    assert_eq!(c.run("EXEC"), done);
    assert_eq!((c.read(), c.read(), c.read()), (invalid("a"), invalid("a"), all_invalid()));
    nothing(&mut c);
    // A script's commands are those of its caller.
    c.run("SET k 1");
    let code = "redis.call('get', 'k') redis.call('set', 'k', 2) return redis.call('get', 'k')";
    assert_eq!(c.cmd(&["EVAL", code, "1", "k"]), Value::bulk("2"));
    assert_eq!(c.read(), invalid("k"));
    c.run("DEL k");
    assert_eq!(c.read(), invalid("k"), "its last read was remembered again");
    // Pushes of others' making come first, as they came.
    c.run("CONFIG SET notify-keyspace-events K$");
    c.run("SUBSCRIBE __keyspace@0__:k");
    c.run("GET k");
    assert_eq!(c.run("SET k 1"), Value::ok());
    assert_eq!(c.read().items()[0], Value::bulk("message"));
    assert_eq!(c.read(), invalid("k"));
    // The client says what it wants no more while the news waits.
    c.run("GET k");
    c.run("MULTI");
    c.run("SET k 2");
    c.run("CLIENT TRACKING OFF");
    assert_eq!(c.run("EXEC").items().len(), 2);
    assert_eq!(c.read().items()[0], Value::bulk("message"));
    assert_eq!(c.read(), invalid("k"));
    nothing(&mut c);
}

#[test]
fn scripts_remember_what_their_commands_read_and_no_more() {
    let srv = Server::start();
    let (mut c, mut w) = (tracker(&srv, ""), srv.connect());
    w.run("MSET a 1 b 1 c 1");
    for run in ["EVAL", "EVAL_RO"] {
        c.cmd(&[run, "return redis.call('get', 'b')", "3", "a", "b", "c"]);
        w.run("MSET a 2 b 2 c 2");
        assert_eq!(c.read(), invalid("b"));
        nothing(&mut c);
    }
    // A script of another client writes.
    c.run("GET a");
    w.cmd(&["EVAL", "redis.call('incr', KEYS[1]) redis.call('incr', KEYS[1])", "1", "a"]);
    assert_eq!(c.read(), invalid("a"));
    nothing(&mut c);
}

#[test]
fn noloop_spares_the_author() {
    let srv = Server::start();
    let (mut c, mut w) = (tracker(&srv, " NOLOOP"), srv.connect());
    c.run("MGET a b");
    c.run("SET a 1");
    c.cmd(&["EVAL", "redis.call('set', 'b', 1)", "0"]);
    nothing(&mut c);
    assert_eq!(w.figure("tracking_total_keys"), 0, "forgotten all the same");
    c.run("CLIENT TRACKING OFF");
    c.run("CLIENT TRACKING ON BCAST NOLOOP PREFIX k");
    c.run("SET k1 1");
    w.run("MSET k2 1 x 1");
    assert_eq!(c.read(), invalid("k2"));
    // The last author counts, and a key that goes by itself has none.
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    c.run("SET k3 1 PX 1");
    nothing(&mut c);
    wait_until("the key to be over", || w.run("GET k3") == Null);
    assert_eq!(c.read(), invalid("k3"));
}

#[test]
fn broadcasts_gather_the_keys_of_a_pass_prefix_by_prefix() {
    let srv = Server::start();
    let (mut c, mut w) = (tracker(&srv, " BCAST PREFIX b: PREFIX a:"), srv.connect());
    let mut all = tracker(&srv, " BCAST");
    assert_eq!(w.figure("tracking_total_prefixes"), 3);
    w.pipeline(&["MSET b:2 1 a:1 1 c 1", "SET b:1 1", "SET b:2 2"]);
    let push = |keys: &[&str]| Push(vec![Value::bulk("invalidate"), Value::bulks(keys)]);
    // The requests may be read in more than one pass.
    let gather = |conn: &mut Conn, n: usize| {
        let mut keys: Vec<Value> = Vec::new();
        while keys.len() < n {
            let news = conn.read();
            keys.extend_from_slice(news.items()[1].items());
        }
        keys.sort_by_key(Value::text);
        keys.dedup();
        keys
    };
    assert_eq!(Array(gather(&mut all, 4)), Value::bulks(&["a:1", "b:1", "b:2", "c"]));
    assert_eq!(Array(gather(&mut c, 3)), Value::bulks(&["a:1", "b:1", "b:2"]));
    w.cmd(&[
        "EVAL",
        "for _, k in pairs({'b:2', 'a:2', 'b:1', 'a:1'}) do redis.call('incr', k) end",
        "0",
    ]);
    while c.read() != push(&["a:1", "a:2"]) {}
    assert_eq!(c.read(), push(&["b:1", "b:2"]));
    // More prefixes later; none that overlap.
    assert_eq!(c.run("CLIENT TRACKING ON BCAST PREFIX c"), Value::ok());
    for (given, what) in [
        ("PREFIX c:1", "Prefix 'c:1' overlaps with an existing prefix 'c'."),
        ("PREFIX b", "Prefix 'b' overlaps with an existing prefix 'b:'."),
        ("PREFIX x PREFIX y", ""),
        ("PREFIX zz PREFIX z", "Prefix 'zz' overlaps with another provided prefix 'z'."),
    ] {
        let reply = c.run(&format!("CLIENT TRACKING ON BCAST {given}"));
        if what.is_empty() {
            assert_eq!(reply, Value::ok());
        } else {
            let rest = " Prefixes for a single client must not overlap.";
            assert_eq!(reply.error(), format!("ERR {what}{rest}"));
        }
    }
    let info = c.run("CLIENT TRACKINGINFO");
    let Map(fields) = &info else { panic!("a map: {info:?}") };
    assert_eq!(fields[2].1, Value::bulks(&["a:", "b:", "c", "x", "y"]));
    drop(c);
    wait_until("its prefixes to be forgotten", || w.figure("tracking_total_prefixes") == 1);
    all.put(&["RESET"]);
    while all.read() != Status("RESET".into()) {}
    assert_eq!((w.figure("tracking_total_prefixes"), w.figure("tracking_clients")), (0, 0));
}

#[test]
fn news_may_go_to_another_client_in_either_protocol() {
    let srv = Server::start();
    let (mut to, number) = listener(&srv);
    let (mut c, mut w) = (srv.connect(), srv.connect());
    c.run(&format!("CLIENT TRACKING ON REDIRECT {number}"));
    assert_eq!(c.run("CLIENT GETREDIR"), Int(number));
    w.run("SET k 1");
    c.run("GET k");
    c.run("SET k 2");
    assert_eq!(to.read(), message(Value::bulks(&["k"])));
    w.run("FLUSHALL");
    assert_eq!(to.read(), message(Null));
    // Without a subscription RESP2 cannot be told.
    to.run("UNSUBSCRIBE");
    c.run("GET k");
    w.run("SET k 3");
    nothing(&mut to);
    to.run("HELLO 3");
    c.run("GET k");
    w.run("SET k 4");
    assert_eq!(to.read(), invalid("k"));
    // The chosen client is the one that writes.
    c.run("GET k");
    assert_eq!(to.run("INCR k"), Int(5));
    assert_eq!(to.read(), invalid("k"));
    let flags = |w: &mut Conn| {
        let line = w.run("CLIENT LIST").text();
        let of = format!("redir={number} ");
        let line = line.lines().find(|l| l.contains(&of)).expect("it still redirects").to_owned();
        line.split_once("flags=").expect("a field").1.split(' ').next().expect("a value").to_owned()
    };
    assert_eq!(flags(&mut w), "t");
    c.run("HELLO 3");
    c.run("GET k");
    drop(to);
    wait_until("the chosen client to be gone", || w.figure("connected_clients") == 2);
    w.run("SET k 6");
    assert_eq!(c.read(), Push(vec![Value::bulk("tracking-redir-broken"), Int(number)]));
    assert_eq!(flags(&mut w), "tR");
    for (line, why) in [
        (
            format!("CLIENT TRACKING ON REDIRECT {number}"),
            "The client ID you want redirect to does not exist",
        ),
        ("CLIENT TRACKING ON REDIRECT 0".into(), "The client ID you want redirect to does not exist"),
        ("CLIENT TRACKING ON REDIRECT x".into(), "value is not an integer or out of range"),
        ("CLIENT TRACKING ON PREFIX a".into(), "PREFIX option requires BCAST mode to be enabled"),
        ("CLIENT TRACKING ON BCAST OPTIN".into(), "You can't switch BCAST mode on/off before disabling"),
        ("CLIENT TRACKING ON OPTIN OPTOUT".into(), "You can't specify both OPTIN mode and OPTOUT mode"),
        ("CLIENT TRACKING MAYBE".into(), "syntax error"),
        ("CLIENT TRACKING ON REDIRECT".into(), "syntax error"),
    ] {
        assert!(c.run(&line).error().starts_with(&format!("ERR {why}")), "{line}");
    }
}

#[test]
fn caching_is_about_the_next_request_or_transaction() {
    let srv = Server::start();
    let (mut c, mut w) = (tracker(&srv, " OPTIN"), srv.connect());
    let wrote = |w: &mut Conn| w.run("MSET a 1 b 1 c 1");
    c.pipeline(&["GET a", "CLIENT CACHING YES", "CLIENT ID", "GET b", "GET c"]);
    wrote(&mut w);
    assert_eq!(c.read(), invalid("b"));
    c.pipeline(&["CLIENT CACHING YES", "MULTI", "GET a", "GET c", "EXEC", "GET b"]);
    wrote(&mut w);
    assert_eq!((c.read(), c.read()), (invalid("a"), invalid("c")));
    c.pipeline(&["CLIENT CACHING YES", "NOSUCH", "GET a"]);
    wrote(&mut w);
    nothing(&mut c);
    assert!(
        c.run("CLIENT CACHING NO").error().contains("only valid when tracking is enabled in OPTOUT")
    );
    assert!(c.run("CLIENT TRACKING ON OPTOUT").error().contains("switch OPTIN/OPTOUT mode"));
    c.run("CLIENT TRACKING OFF");
    assert!(c.run("CLIENT CACHING YES").error().contains("can be called only when"));
    c.run("CLIENT TRACKING ON OPTOUT");
    c.pipeline(&["GET a", "CLIENT CACHING NO", "GET b", "GET c"]);
    wrote(&mut w);
    assert_eq!((c.read(), c.read()), (invalid("a"), invalid("c")));
    nothing(&mut c);
}

#[test]
fn a_table_that_is_too_large_drops_keys_and_says_so_before_the_reply() {
    let srv = Server::start();
    let (mut c, mut w) = (tracker(&srv, ""), srv.connect());
    w.run("DEBUG PAUSE-CRON 1");
    (0..250).for_each(|i| {
        c.run(&format!("GET key:{i}"));
    });
    w.run("CONFIG SET tracking-table-max-keys 10");
    // What is dropped before a command is told before its reply: 100 keys, then up to 200.
    let mut dropped = Vec::new();
    for line in ["MULTI", "DISCARD", "PING"] {
        c.put(&[line]);
        let told = (0..).find(|_| !matches!(c.read(), Push(_)));
        dropped.push(told.expect("a reply at last"));
    }
    assert_eq!((dropped, w.figure("tracking_total_keys")), (vec![100, 140, 0], 10));
    w.run("DEBUG PAUSE-CRON 0");
    w.run("CONFIG SET tracking-table-max-keys 0");
    w.run("FLUSHALL ASYNC");
    assert_eq!((c.read(), w.figure("tracking_total_keys")), (all_invalid(), 0));
}

#[test]
fn evicted_and_expired_keys_are_told() {
    let srv = Server::start();
    let (mut c, mut w) = (tracker(&srv, ""), srv.connect());
    w.run("SET short 1 PX 1");
    c.run("GET short");
    // Reads that come too late remember the key again: the last one that finds nothing invalidates before.
    w.run("SET soon 1 PX 40");
    assert_eq!(c.run("GET soon"), Value::bulk("1"));
    let heard = std::iter::from_fn(|| Some(c.read())).find(|v| *v == invalid("soon"));
    assert!(heard.is_some());
    // Evicted before a command: told before its reply.
    w.run("CONFIG SET maxmemory-policy volatile-random");
    w.run("SETEX evicted 10000 x");
    c.run("GET evicted");
    let used = w.figure("used_memory") - w.figure("mem_not_counted_for_evict");
    w.run(&format!("CONFIG SET maxmemory {}", used + 300 * 1024));
    w.run("SETBIT big 12800000 0");
    let first = c.run("GETBIT big 0");
    if first == invalid("evicted") {
        assert_eq!(c.read(), Int(0));
    } else {
        assert_eq!(
            (first, c.read()),
            (Int(0), invalid("evicted")),
            "the writer was the first to make room"
        );
    }
}

#[test]
fn silence_does_not_silence_news_and_reset_ends_it() {
    let srv = Server::start();
    let (mut c, mut w) = (tracker(&srv, ""), srv.connect());
    c.run("GET k");
    c.put(&["CLIENT", "REPLY", "OFF"]);
    wait_until("replies to be off", || {
        w.run("SET k 1") == Value::ok() && w.figure("tracking_total_keys") == 0
    });
    assert_eq!(c.read(), invalid("k"));
    assert_eq!(c.run("CLIENT REPLY ON"), Value::ok());
    c.run("GET k");
    assert_eq!(c.run("RESET"), Status("RESET".into()));
    w.run("SET k 2");
    nothing(&mut c);
    assert_eq!(c.run("CLIENT GETREDIR"), Int(-1));
    assert_eq!(w.figure("tracking_clients"), 0);
}

#[test]
fn a_client_that_waited_is_told_behind_what_it_waited_for() {
    let srv = Server::start();
    let (mut c, mut w) = (tracker(&srv, ""), srv.connect());
    w.run("RPUSH to a");
    c.run("LRANGE to 0 -1");
    c.put(&["BLMOVE", "from", "to", "LEFT", "LEFT", "0"]);
    common::wait_blocked(&mut w, 1);
    w.run("RPUSH from x");
    assert_eq!((c.read(), c.read()), (Value::bulk("x"), invalid("to")));
}

#[test]
fn a_thousand_clients_that_track_cost_a_write_of_another_key_nothing() {
    let srv = Server::start();
    let mut w = srv.connect();
    w.run("SET own 1");
    let mut crowd: Vec<Conn> = (0..300).map(|_| tracker(&srv, "")).collect();
    for (i, c) in crowd.iter_mut().enumerate() {
        let lines: Vec<String> =
            (0..300).map(|k| format!("GET key:{k}")).chain(["GET own".into()]).collect();
        c.pipeline(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(w.figure("tracking_total_items"), 301 * (i as i64 + 1));
    }
    w.run("SET other 1");
    w.run("SET own 2");
    for c in &mut crowd {
        assert_eq!(c.read(), invalid("own"));
        nothing(c);
    }
    drop(crowd);
    wait_until("the crowd to leave", || w.figure("connected_clients") == 1);
    w.run("SET key:5 1");
    assert_eq!((w.figure("tracking_total_keys"), w.figure("tracking_clients")), (299, 0));
}
