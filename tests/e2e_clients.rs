//! Connections from end to end: who they are, how they are limited, what they are told and how they end.

mod common;

use common::{Conn, Server, Value, Value::*, request, wait_blocked, wait_until};
use std::io::{Read, Write};

/// The field of a client's line.
fn field(line: &str, name: &str) -> String {
    let prefix = format!("{name}=");
    let found = line.split_whitespace().find_map(|f| f.strip_prefix(&prefix));
    found.unwrap_or_else(|| panic!("{name} in {line}")).to_string()
}

/// The line of the client with that name, if it is there.
fn line_of(c: &mut Conn, name: &str) -> Option<String> {
    let list = c.run("CLIENT LIST").text();
    list.lines().find(|l| field(l, "name") == name).map(str::to_string)
}

fn named(s: &Server, name: &str) -> Conn {
    let mut c = s.connect();
    assert_eq!(c.cmd(&["CLIENT", "SETNAME", name]), Value::ok());
    c
}

#[test]
fn a_password_is_asked_for_and_limits_what_strangers_may_send() {
    let s = Server::with(&["--requirepass", "secret"]);
    let mut c = s.connect();
    assert!(c.run("PING").error().starts_with("NOAUTH"));
    assert!(c.run("HELLO 3").error().starts_with("NOAUTH HELLO"));
    assert!(c.run("AUTH wrong").error().starts_with("WRONGPASS"));
    // A login and a big request in one write: the second is measured as what it is by then.
    let mut both = request(&["AUTH", "secret"]);
    both.extend(request(&["SET", "k", &"x".repeat(20_000)]));
    c.send(&both);
    assert_eq!((c.read(), c.read()), (Value::ok(), Value::ok()));
    assert_eq!(c.run("RESET").text(), "RESET");
    assert!(c.run("GET k").error().starts_with("NOAUTH"));
    let mut stranger = s.connect();
    stranger.send(b"*11\r\n");
    assert!(stranger.read().error().contains("unauthenticated multibulk length"));
    assert!(stranger.at_end());
}

#[test]
fn replies_are_switched_off_but_pushes_are_not() {
    let s = Server::start();
    let mut c = s.connect();
    c.send(b"CLIENT REPLY OFF\r\nPING a\r\nCLIENT REPLY ON\r\nPING b\r\n");
    assert_eq!((c.read(), c.read()), (Value::ok(), Value::bulk("b")));
    // Skipped is the reply of the next command, even when it is refused.
    c.send(b"CLIENT REPLY SKIP\r\nNOSUCH\r\nPING c\r\n");
    assert_eq!(c.read(), Value::bulk("c"));
    c.send(b"CLIENT REPLY OFF\r\nSUBSCRIBE ch\r\n");
    assert_eq!(c.read().items()[0], Value::bulk("subscribe"));
    assert_eq!(s.connect().run("PUBLISH ch hi"), Value::Int(1));
    assert_eq!(c.read().items()[2], Value::bulk("hi"));
}

#[test]
fn killed_clients_are_gone_at_once() {
    let s = Server::start();
    let (mut me, mut other) = (named(&s, "me"), named(&s, "other"));
    let id = other.run("CLIENT ID").int().to_string();
    assert_eq!(me.cmd(&["CLIENT", "KILL", "ID", &id]), Value::Int(1));
    assert_eq!(me.cmd(&["CLIENT", "KILL", "ID", &id]), Value::Int(0));
    assert!(line_of(&mut me, "other").is_none() && other.at_end());
    let addr = field(&line_of(&mut me, "me").expect("it is me"), "addr");
    assert_eq!(me.cmd(&["CLIENT", "KILL", &addr]), Value::ok());
    assert!(me.at_end());
}

#[test]
fn a_pause_keeps_writes_in_order_and_lets_reads_pass() {
    let s = Server::start();
    let (mut boss, mut writer) = (s.connect(), named(&s, "writer"));
    assert_eq!(boss.run("CLIENT PAUSE 100000 WRITE"), Value::ok());
    writer.send(b"SET k 1\r\nAPPEND k 2\r\nGET k\r\n");
    let waits = |boss: &mut Conn| {
        line_of(boss, "writer")
            .is_some_and(|l| field(&l, "flags") == "b" && field(&l, "argv-mem") == "5")
    };
    wait_until("the write waits", || waits(&mut boss));
    assert!(!matches!(boss.run("GET k"), Value::Bulk(_)));
    assert!(boss.run("SET k").error().contains("wrong number"));
    assert_eq!(boss.run("CLIENT UNPAUSE"), Value::ok());
    assert_eq!((writer.read(), writer.read()), (Value::ok(), Value::Int(2)));
    assert_eq!(writer.read(), Value::bulk("12"));
}

#[test]
fn what_a_pause_held_up_is_no_part_of_the_command_that_ends_it() {
    let s = Server::with(&["--appendonly", "yes"]);
    let (mut boss, mut waiter) = (s.connect(), named(&s, "waiter"));
    let (mut writer, mut m) = (named(&s, "writer"), s.connect());
    waiter.send(b"BLPOP k 0\r\n");
    wait_blocked(&mut boss, 1);
    // The key is ready when the pause is on already.
    boss.pipeline(&["MULTI", "CLIENT PAUSE 100000 WRITE", "RPUSH k a", "EXEC"]);
    writer.send(b"APPEND s x\r\nAPPEND s y\r\n");
    wait_blocked(&mut boss, 2);
    assert_eq!(m.run("MONITOR"), Value::ok());
    assert_eq!(boss.run("CLIENT UNPAUSE"), Value::ok());
    assert_eq!(waiter.read(), Value::bulks(&["k", "a"]));
    assert_eq!((writer.read(), writer.read()), (Value::Int(1), Value::Int(2)));
    // What was told once, or was held up, is no news.
    assert!(m.read().text().ends_with(r#""APPEND" "s" "y""#));
    let text = s.aof();
    assert_eq!(text.matches("APPEND").count(), 2, "{text}");
    assert!(text.contains("LPOP") && !text.contains("UNPAUSE"), "{text}");
}

#[test]
fn messages_in_a_transaction_speak_the_protocol_of_their_moment() {
    let s = Server::start();
    let mut c = s.connect();
    let lines = ["SUBSCRIBE ch", "PING", "RESET", "MULTI", "SUBSCRIBE ch", "PUBLISH ch a", "HELLO 3"];
    c.pipeline(&lines);
    let all = c.pipeline(&["PUBLISH ch b", "EXEC"]);
    assert_eq!(all[1].items().len(), 4, "{all:?}");
    assert!(matches!(c.read(), Value::Array(_)) && matches!(c.read(), Value::Push(_)));
}

#[test]
fn who_kills_himself_in_a_transaction_runs_the_rest_unheard() {
    let s = Server::start();
    let mut c = s.connect();
    let id = c.run("CLIENT ID").int().to_string();
    c.run("MULTI");
    c.cmd(&["CLIENT", "KILL", "ID", &id, "SKIPME", "no"]);
    c.run("INCR n");
    c.run("SUBSCRIBE ch");
    c.put(&["EXEC"]);
    let mut rest = Vec::new();
    c.stream().read_to_end(&mut rest).expect("the server hangs up");
    assert_eq!(rest.escape_ascii().to_string(), r"*3\r\n:1\r\n");
    assert_eq!(s.connect().run("GET n"), Value::bulk("1"));
}

#[test]
fn a_transaction_without_memory_takes_nothing_more_but_can_end() {
    let s = Server::start();
    let (mut c, mut other) = (s.connect(), s.connect());
    c.run("MULTI");
    assert_eq!(other.run("CONFIG SET maxmemory 1"), Value::ok());
    for line in ["GET k", "MULTI", "WATCH k", "PING"] {
        assert!(c.run(line).error().starts_with("OOM "), "{line}");
    }
    assert_eq!(c.run("DISCARD"), Value::ok());
    assert_eq!((c.run("MULTI"), c.run("EXEC").items().len()), (Value::ok(), 0));
}

#[test]
fn keys_do_not_expire_while_writes_rest() {
    let s = Server::start();
    let mut c = s.connect();
    let all = c.pipeline(&["MULTI", "SET k v PX 1", "CLIENT PAUSE 100000 WRITE", "EXEC"]);
    assert_eq!(all[3].items().len(), 2);
    wait_until("the key is seen no more", || !matches!(c.run("GET k"), Value::Bulk(_)));
    assert_eq!(c.run("DBSIZE"), Value::Int(1));
    assert_eq!(c.run("CLIENT UNPAUSE"), Value::ok());
    wait_until("the key is deleted", || c.run("DBSIZE") == Value::Int(0));
}

#[test]
fn what_is_written_over_an_expired_key_while_writes_rest_is_the_only_one_of_its_name() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.connect();
    assert_eq!(c.run("DEBUG SET-ACTIVE-EXPIRE 0"), Value::ok());
    let lines = ["SET a old PX 1", "SET b old PX 1", "SET c old PX 1", "SET last old PX 1", "SET d new"];
    c.pipeline(&lines);
    wait_until("their time to be over", || c.run("EXISTS last") == Value::Int(0));
    let lines = ["MULTI", "CLIENT PAUSE 100000 WRITE", "SET a new", "RPUSH b new", "RENAME d c", "EXEC"];
    let all = c.pipeline(&lines);
    assert_eq!(all[5], Value::Array(vec![Value::ok(), Value::ok(), Value::Int(1), Value::ok()]));
    assert_eq!(c.run("DBSIZE"), Value::Int(3));
    assert_eq!(c.run("CLIENT UNPAUSE"), Value::ok());
    assert_eq!(c.run("MGET a c"), Value::bulks(&["new", "new"]));
    assert_eq!(c.run("LRANGE b 0 -1"), Value::bulks(&["new"]));
    assert_eq!(c.run("DEL a b c"), Value::Int(3));
    assert_eq!(c.run("DBSIZE"), Value::Int(0));
}

/// `#` is a key that has expired, `!` a payload of DUMP.
const WRITERS: &str = "SET # v|SETNX # v|SETEX # 1000 v|GETSET # v|MSET # v|MSETNX # v|APPEND # v|\
    INCR #|INCRBYFLOAT # 1|SETRANGE # 1 v|SETBIT # 1 1|BITFIELD # SET u8 0 1|BITOP NOT # str|PFADD # a|\
    PFMERGE # none|RPUSH # v|LPUSH # v|LMOVE src # LEFT LEFT|RPOPLPUSH src #|SORT src ALPHA STORE #|\
    SADD # v|SMOVE set # a|SUNIONSTORE # set|SINTERSTORE # set set|SDIFFSTORE # set|ZADD # 1 v|\
    ZINCRBY # 1 v|ZUNIONSTORE # 1 zset|ZRANGESTORE # zset 0 -1|GEOADD # 1 1 v|\
    GEOSEARCHSTORE # geo FROMLONLAT 1 1 BYRADIUS 1 km|HSET # f v|HSETNX # f v|HINCRBY # f 1|\
    XADD # * f v|XGROUP CREATE # g $ MKSTREAM|COPY str #|RENAME str #|MOVE # 0|RESTORE # 0 !";

#[test]
fn every_writer_writes_over_what_has_expired_when_a_pause_begins() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let mut c = s.connect();
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    c.pipeline(&["RPUSH src a b c", "SADD set a b", "ZADD zset 1 a", "SET str x", "GEOADD geo 1 1 a"]);
    let Value::Bulk(payload) = c.run("DUMP str") else { panic!("no payload") };
    let n = WRITERS.split('|').count();
    for i in 0..n {
        // Something of another type, bigger and bigger.
        c.run(&format!("HSET k{i} old {}", "x".repeat(i * 10)));
        c.run(&format!("PEXPIRE k{i} 1"));
        c.pipeline(&["SELECT 1", &format!("SET k{i} v"), "SELECT 0"]);
    }
    wait_until("all to expire", || c.run("KEYS k*").items().is_empty());
    let there = c.run("DBSIZE").int();
    c.pipeline(&["MULTI", "CLIENT PAUSE 100000 WRITE"]);
    for (i, line) in WRITERS.split('|').enumerate() {
        let key = format!("k{i}");
        let words = line.split(' ').map(|w| match w {
            "#" => key.as_bytes(),
            "!" => &payload,
            word => word.as_bytes(),
        });
        c.run(if line.starts_with("MOVE") { "SELECT 1" } else { "SELECT 0" });
        c.cmd(&words.collect::<Vec<_>>());
    }
    c.run("SELECT 0");
    let all = c.run("EXEC");
    let refused: Vec<_> = all.items().iter().filter(|v| matches!(v, Value::Error(_))).collect();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(c.run("KEYS k*").items().len(), n, "all have a value that is seen");
    assert_eq!(c.run("DBSIZE"), Value::Int(there - 1), "and one each; str has another name");
    assert_eq!(c.run("CLIENT UNPAUSE"), Value::ok());
}

#[test]
fn monitors_see_what_runs_without_secrets_and_administration() {
    let s = Server::start();
    let (mut m, mut c) = (s.connect(), s.connect());
    assert_eq!(m.run("MONITOR"), Value::ok());
    c.cmd(&["SET", "k", "a\n\x01"]);
    c.run("AUTH user password");
    c.run("CONFIG GET port");
    c.pipeline(&["MULTI", "GET k", "EXEC"]);
    let mut seen = || m.read().text().split_once("] ").expect("an address").1.to_string();
    assert_eq!(seen(), r#""SET" "k" "a\n\x01""#);
    assert_eq!(seen(), r#""AUTH" "(redacted)" "(redacted)""#);
    assert_eq!(
        (seen(), seen(), seen()),
        (r#""MULTI""#.into(), r#""GET" "k""#.into(), r#""EXEC""#.into())
    );
}

#[test]
fn a_monitor_without_replies_sees_nothing() {
    let s = Server::start();
    let mut m = s.connect();
    m.send(b"MONITOR\r\nCLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON\r\nQUIT\r\n");
    assert_eq!((m.read(), m.read()), (Value::ok(), Value::ok()));
    assert!(m.read().text().ends_with(r#""CLIENT" "REPLY" "ON""#));
    assert_eq!(m.read(), Value::ok());
    let mut rest = Vec::new();
    m.stream().read_to_end(&mut rest).expect("the server hangs up");
    assert!(rest.is_empty(), "after the reply to QUIT: {}", rest.escape_ascii());
}

#[test]
fn queued_arguments_are_measured_with_a_pointer_each() {
    let s = Server::start();
    let (mut me, mut other) = (s.connect(), named(&s, "other"));
    other.pipeline(&["MULTI", "MOVE k3 1"]);
    assert_eq!(field(&line_of(&mut me, "other").expect("it is there"), "multi-mem"), "31");
}

#[test]
fn transactions_subscribe_to_channels_but_to_none_of_a_shard() {
    let s = Server::start();
    let mut c = s.connect();
    let all = c.pipeline(&["MULTI", "SUBSCRIBE a", "SSUBSCRIBE b", "EXEC"]);
    let [Value::Array(_), refused] = all[3].items() else { panic!("{all:?}") };
    assert_eq!(refused.error(), "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client");
}

#[test]
fn a_reader_that_does_not_read_is_closed_at_the_hard_limit() {
    let s = Server::with(&["--client-output-buffer-limit", "normal 100000 0 0"]);
    let (mut boss, mut c) = (s.connect(), named(&s, "greedy"));
    assert_eq!(boss.cmd(&["SET", "k", &"x".repeat(10_000)]), Value::ok());
    // What fits into one batch of replies is never written: the limit holds before that.
    c.send(&b"GET k\r\n".repeat(20));
    assert!(c.at_end());
    assert!(line_of(&mut boss, "greedy").is_none());
    assert!(s.log().contains("overcoming of output buffer limits"));
}

#[test]
fn the_largest_clients_go_when_all_take_too_much() {
    let s = Server::start();
    let (mut boss, mut big, mut small) = (s.connect(), named(&s, "big"), named(&s, "small"));
    assert_eq!(boss.run("CLIENT NO-EVICT ON"), Value::ok());
    big.send(&[b"*2\r\n$900000\r\n".as_slice(), &[b'x'; 900_000]].concat());
    small.send(&[b"*2\r\n$90000\r\n".as_slice(), &[b'x'; 90_000]].concat());
    for (name, n) in [("big", "900000"), ("small", "90000")] {
        wait_until("the query buffers fill", || {
            line_of(&mut boss, name).is_some_and(|l| field(&l, "qbuf") == n)
        });
    }
    assert_eq!(boss.run("CONFIG SET maxmemory-clients 500000"), Value::ok());
    assert!(line_of(&mut boss, "big").is_none() && line_of(&mut boss, "small").is_some());
    assert!(big.at_end());
    assert!(boss.run("INFO stats").text().contains("evicted_clients:1"));
}

#[test]
fn too_many_connections_are_told_so() {
    let s = Server::with(&["--maxclients", "3"]);
    let held: Vec<Conn> = (0..3)
        .map(|_| {
            let mut c = s.connect();
            assert_eq!(c.run("PING").text(), "PONG");
            c
        })
        .collect();
    let mut c = s.connect();
    assert_eq!(c.read().error(), "ERR max number of clients reached");
    assert!(c.at_end());
    drop(held);
}

#[test]
fn a_query_past_its_limit_ends_the_client() {
    let s = Server::with(&["--client-query-buffer-limit", "1mb"]);
    let mut c = s.connect();
    // The server may close before all of it is sent.
    let _ = c.stream().write_all(&[b"*1\r\n$4000000\r\n".as_slice(), &[b'x'; 2_000_000]].concat());
    assert!(c.at_end());
    assert!(s.log().contains("Closing client that reached max query buffer length"));
}

#[test]
fn a_paused_request_is_told_apart_from_empty_ones_before_it() {
    let srv = Server::start();
    let (mut c, mut paused) = (srv.connect(), srv.connect());
    let id = paused.run("CLIENT ID").int();
    assert_eq!(c.run("CLIENT PAUSE 100000 WRITE"), Value::ok());
    paused.send(b"*-1\r\n\r\n*0\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\nPING\r\n");
    let mut list = String::new();
    wait_until("it to be paused", || {
        list = c.run(&format!("CLIENT LIST ID {id}")).text();
        list.contains("flags=b")
    });
    assert!(list.contains(" qbuf=6 ") && list.contains(" argv-mem=5 "), "{list}");
    assert_eq!(c.run("CLIENT UNPAUSE"), Value::ok());
    assert_eq!((paused.read(), paused.read()), (Value::ok(), Status("PONG".into())));
}

#[test]
fn what_an_earlier_client_does_holds_for_what_a_later_one_has_sent_already() {
    let limit = ["--client-output-buffer-limit", "pubsub 100000 0 0"];
    let s = Server::with(&[&["--enable-debug-command", "yes"][..], &limit].concat());
    let (mut sleeper, mut boss) = (s.connect(), s.connect());
    // What is sent while the loop sleeps arrives in one pass, in the order of sending.
    let mut meet = |boss: &mut Conn, first: &[u8], late: &mut Conn, second: &[u8]| {
        sleeper.put(&["DEBUG", "SLEEP", "0.1"]);
        boss.send(first);
        late.send(second);
        assert_eq!(sleeper.read(), Value::ok());
        boss.read()
    };
    let mut late = s.connect();
    let kill = request(&["CLIENT", "KILL", "ID", &late.run("CLIENT ID").int().to_string()]);
    assert_eq!(meet(&mut boss, &kill, &mut late, b"SET k killed\r\n"), Value::Int(1));
    assert!(late.at_end());

    let mut late = s.connect();
    late.run("HELLO 3");
    late.run("SUBSCRIBE ch");
    let much = request(&["EVAL", "return redis.call('publish', 'ch', string.rep('x', 300000))", "0"]);
    assert_eq!(meet(&mut boss, &much, &mut late, b"SET k over\r\n"), Value::Int(1));
    assert!(late.at_end());

    // Clients that are connected are read in the order of sending; a new one is read when it is accepted.
    let mut late = named(&s, "late");
    let less = b"CONFIG SET proto-max-bulk-len 1mb\r\n";
    assert_eq!(
        meet(&mut boss, less, &mut late, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2000000\r\n"),
        Value::ok()
    );
    assert_eq!(late.read().error(), "ERR Protocol error: invalid bulk length");
    assert_eq!(boss.run("EXISTS k"), Value::Int(0));

    let mut late = named(&s, "late");
    let pause = b"CLIENT PAUSE 100000 WRITE\r\n";
    assert_eq!(meet(&mut boss, pause, &mut late, b"APPEND k a\r\nAPPEND k b\r\n"), Value::ok());
    assert_eq!(boss.run("EXISTS k"), Value::Int(0));
    assert_eq!(boss.run("CLIENT UNPAUSE"), Value::ok());
    assert_eq!((late.read(), late.read()), (Value::Int(1), Value::Int(2)));

    assert_eq!(boss.run("CONFIG SET requirepass secret"), Value::ok());
    let mut late = s.connect();
    assert!(late.run("PING").error().starts_with("NOAUTH"));
    let words = b"*12\r\n$3\r\nDEL\r\n".iter().copied().chain(b"$1\r\nk\r\n".repeat(11));
    let open = request(&["CONFIG", "SET", "requirepass", ""]);
    assert_eq!(meet(&mut boss, &open, &mut late, &words.collect::<Vec<u8>>()), Value::ok());
    assert_eq!(late.read(), Value::Int(1));
}

#[test]
fn requests_that_come_together_with_the_end_are_answered() {
    let s = Server::with(&["--enable-debug-command", "yes"]);
    let (mut sleeper, full) = (s.connect(), vec![b'x'; 16 * 1024 - 24]);
    let mut exact = b"*2\r\n$4\r\nECHO\r\n$16360\r\n".to_vec();
    exact.extend([&full[..], b"\r\n"].concat());
    for (sent, replies) in [
        (&b"PING\r\nPING\r\n"[..], vec![Value::Status("PONG".into()); 2]),
        (b"SET k v\r\nQUIT\r\n", vec![Value::ok(); 2]),
        (&exact, vec![Value::bulk(&full)]),
        (b"CLIENT REPLY OFF\r\nPING\r\n", vec![]),
        (b"BLPOP l 0\r\n", vec![]),
    ] {
        let mut c = s.connect();
        assert_eq!(c.run("PING").text(), "PONG");
        // While the loop sleeps, requests and end gather.
        sleeper.put(&["DEBUG", "SLEEP", "0.05"]);
        c.send(sent);
        c.stream().shutdown(std::net::Shutdown::Write).expect("a TCP socket");
        assert_eq!(sleeper.read(), Value::ok());
        replies.into_iter().for_each(|r| assert_eq!(c.read(), r));
        assert!(c.at_end());
    }
    wait_until("they are gone", || line_count(&mut sleeper) == 1);
}

fn line_count(c: &mut Conn) -> usize {
    c.run("CLIENT LIST").text().lines().count()
}

#[test]
fn a_message_reaches_every_subscriber_whole_in_its_own_protocol() {
    let srv = Server::start();
    let mut c = srv.connect();
    let mut old: Vec<Conn> = (0..3).map(|_| srv.connect()).collect();
    let mut new: Vec<Conn> = (0..3).map(|_| srv.connect()).collect();
    new.iter_mut().for_each(|n| drop(n.run("HELLO 3")));
    for s in old.iter_mut().chain(&mut new) {
        s.run("SUBSCRIBE ch");
        s.run("PSUBSCRIBE c*");
    }
    for len in [0, 1, 8_000, 8_192, 20_000, 100_000] {
        let text = "x".repeat(len);
        // Twice in one write: what is shared and what is copied stay in order.
        let both = [request(&["PUBLISH", "ch", &text]), request(&["PUBLISH", "ch", "end"])].concat();
        c.send(&both);
        assert_eq!((c.read(), c.read()), (Int(12), Int(12)));
        for (subscribers, mark) in [(&mut old, '*'), (&mut new, '>')] {
            let one = |words: &[&str]| {
                let parts: String = words.iter().map(|w| format!("${}\r\n{w}\r\n", w.len())).collect();
                format!("{mark}{}\r\n{parts}", words.len())
            };
            let of = |m: &str| one(&["message", "ch", m]) + &one(&["pmessage", "c*", "ch", m]);
            let want = of(&text) + &of("end");
            for s in subscribers {
                assert!(s.take(want.len()) == want.as_bytes(), "{len} bytes");
            }
        }
    }
}

#[test]
fn a_client_that_kills_itself_in_exec_still_gets_the_messages_from_before() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("HELLO 3");
    c.run("SUBSCRIBE news");
    let id = c.run("CLIENT ID").int();
    c.run("MULTI");
    for line in ["PUBLISH news before", &format!("CLIENT KILL ID {id} SKIPME no"), "PUBLISH news after"]
    {
        c.run(line);
    }
    // The reply of the third command is missing, so that a push stands in its place.
    let reply = c.run("EXEC");
    assert_eq!(reply.items()[..2], [Int(1), Int(1)]);
    assert_eq!(reply.items()[2].items()[2], Value::bulk("before"));
    assert!(c.at_end());
}
