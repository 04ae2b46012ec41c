//! Streams, end to end: shapes of replies, blocked clients and what ends their wait, what groups keep,
//! what is announced and propagated, and that all of it survives a restart.

mod common;

use common::*;

/// `1-1 f v`: an entry.
fn entry(line: &str) -> Value {
    let (id, words) = line.split_once(' ').expect("an ID and more");
    Array(vec![Value::bulk(id), Value::bulks(&words.split(' ').collect::<Vec<_>>())])
}

fn entries(lines: &[&str]) -> Value {
    Array(lines.iter().map(|l| entry(l)).collect())
}

/// What XREAD replies for one stream.
fn from(key: &str, lines: &[&str]) -> Value {
    Array(vec![Array(vec![Value::bulk(key), entries(lines)])])
}

/// The value that follows a name in a flat list.
fn field<'v>(v: &'v Value, name: &str) -> &'v Value {
    let items = v.items();
    let at = items.iter().position(|i| *i == Value::bulk(name)).expect("the field is there");
    &items[at + 1]
}

#[test]
fn ids_are_made_in_every_form() {
    let srv = Server::start();
    let mut c = srv.connect();
    assert_eq!(c.run("XADD s 0-* f v"), Value::bulk("0-1"));
    assert_eq!(c.run("XADD s 5 f v"), Value::bulk("5-0"));
    assert_eq!(c.run("XADD s 5-* f v"), Value::bulk("5-1"));
    assert_eq!(c.run("XADD s 7-3 f v a b"), Value::bulk("7-3"));
    let auto = c.run("XADD s * f v").text();
    assert!(auto.len() > 13 && auto.ends_with("-0"), "{auto}");
    assert_eq!(c.run("XADD nosuch NOMKSTREAM * f v"), Null);
    assert_eq!(c.run("EXISTS nosuch"), Int(0));
    let top = "18446744073709551615-18446744073709551615";
    assert_eq!(c.run(&format!("XADD t {top} f v")), Value::bulk(top));
    for (line, why) in [
        ("XADD s 5 f v", "equal or smaller than the target stream top item"),
        ("XADD s 0-0 f v", "must be greater than 0-0"),
        ("XADD s 1-x f v", "Invalid stream ID"),
        ("XADD s * f", "wrong number of arguments for 'xadd' command"),
        ("XADD s * f v g", "wrong number of arguments for 'xadd' command"),
        ("XADD t * f v", "exhausted the last possible ID"),
        ("XADD s MAXLEN 5 LIMIT 3 * f v", "without the special ~ option"),
    ] {
        let e = c.run(line);
        assert!(e.error().contains(why), "{line}: {e:?}");
    }
}

#[test]
fn ranges_open_and_closed_in_both_directions() {
    let srv = Server::with(&["--stream-node-max-entries", "2"]);
    let mut c = srv.connect();
    for line in ["1-1 a 1", "1-2 b 2 c 3", "2-0 a 4", "3-0 a 5", "3-5 a 6"] {
        c.run(&format!("XADD s {line}"));
    }
    assert_eq!(c.run("XRANGE s (1-1 2"), entries(&["1-2 b 2 c 3", "2-0 a 4"]));
    assert_eq!(c.run("XRANGE s 1 (3-5 COUNT 2"), entries(&["1-1 a 1", "1-2 b 2 c 3"]));
    assert_eq!(c.run("XREVRANGE s + 3"), entries(&["3-5 a 6", "3-0 a 5"]));
    assert_eq!(c.run("XREVRANGE s 2 - COUNT 1"), entries(&["2-0 a 4"]));
    assert_eq!(c.run("XRANGE s - + COUNT 0"), NullArray);
    assert_eq!(c.run("XRANGE nosuch - +"), Array(vec![]));
    assert!(c.run("XRANGE s - (0-0").error().contains("invalid end ID"));
    assert_eq!(c.run("XDEL s 1-2 2-0 9-9"), Int(2));
    assert_eq!(c.run("XRANGE s - +"), entries(&["1-1 a 1", "3-0 a 5", "3-5 a 6"]));
    assert_eq!(c.run("XTRIM s MINID 3-5"), Int(2));
    assert_eq!((c.run("XLEN s"), c.run("TYPE s")), (Int(1), Value::Status("stream".into())));
    assert_eq!(c.run("OBJECT ENCODING s"), Value::bulk("stream"));
    // Empty, it stays.
    assert_eq!(c.run("XTRIM s MAXLEN 0"), Int(1));
    assert_eq!(c.run("EXISTS s"), Int(1));
    assert_eq!(c.run("SET k x"), Value::ok());
    assert!(c.run("XLEN k").error().starts_with("WRONGTYPE"));
}

#[test]
fn a_copy_goes_its_own_way() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("XADD s 1-1 f v");
    c.run("XGROUP CREATE s g 0");
    c.run("XREADGROUP GROUP g alice STREAMS s >");
    assert_eq!(c.run("COPY s t"), Int(1));
    let (s, t) = (c.run("XINFO STREAM s FULL"), c.run("XINFO STREAM t FULL"));
    assert_eq!(s, t);
    assert_eq!(c.run("XACK s g 1-1"), Int(1));
    c.run("XADD s 2-1 f v");
    assert_eq!(c.run("XINFO STREAM t FULL"), t);
    assert!(c.run("MEMORY USAGE t").int() > 100);
}

#[test]
fn readers_wait_for_what_comes() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("XADD s 1-1 f old");
    assert_eq!(c.run("XREAD STREAMS s $"), NullArray);
    assert_eq!(c.run("XREAD BLOCK 1 STREAMS s $"), NullArray);
    let mut first = waiting(&srv, &mut c, "XREAD BLOCK 0 STREAMS t s 0 $");
    let mut second = waiting(&srv, &mut c, "XREAD COUNT 1 BLOCK 0 STREAMS s $");
    // What went again is no news.
    c.pipeline(&["MULTI", "XADD s 2-1 f v", "DEL s", "EXEC"]);
    c.pipeline(&["MULTI", "DEL s", "RPUSH s x", "DEL s", "EXEC"]);
    wait_blocked(&mut c, 2);
    c.pipeline(&["MULTI", "XADD s 3-1 f v", "XADD s 3-2 f v", "EXEC"]);
    assert_eq!(first.read(), from("s", &["3-1 f v", "3-2 f v"]));
    assert_eq!(second.read(), from("s", &["3-1 f v"]));
    // $ is the ID that it was when the wait began, however often it is tried again.
    let mut w = waiting(&srv, &mut c, "XREAD BLOCK 0 STREAMS s $");
    c.pipeline(&["MULTI", "XADD s 4-1 f v", "XDEL s 4-1", "EXEC"]);
    wait_blocked(&mut c, 1);
    c.run("XADD s 4-2 f v");
    assert_eq!(w.read(), from("s", &["4-2 f v"]));
    // Where a client may not wait.
    let replies = c.pipeline(&["MULTI", "XREAD BLOCK 0 STREAMS s $", "EXEC"]);
    assert_eq!(replies[2], Array(vec![NullArray]));
    let mut w = waiting(&srv, &mut c, "XREAD BLOCK 0 STREAMS s $");
    let id = c.run("CLIENT LIST").text();
    let id = id.lines().find(|l| l.contains(" flags=b ")).expect("it waits");
    let id = id.strip_prefix("id=").and_then(|l| l.split(' ').next()).expect("an id");
    assert_eq!(c.run(&format!("CLIENT UNBLOCK {id} ERROR")), Int(1));
    assert_eq!(w.read().error(), "UNBLOCKED client unblocked via CLIENT UNBLOCK");
}

#[test]
fn readers_of_resp3_get_maps() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("HELLO 3");
    c.run("XADD s 1-1 f v");
    let reply = c.run("XREAD STREAMS s nosuch 0 0");
    assert_eq!(reply, Map(vec![(Value::bulk("s"), entries(&["1-1 f v"]))]));
    assert_eq!(c.run("XREAD STREAMS s 1-1"), Null);
    let Map(info) = c.run("XINFO STREAM s") else { panic!("figures are a map") };
    assert_eq!(info.len(), 10);
}

#[test]
fn members_are_told_when_there_is_nothing_left_to_wait_for() {
    let srv = Server::start();
    let mut c = srv.connect();
    let nogroup = "NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option";
    for (line, why) in [
        ("DEL s", nogroup),
        ("XGROUP DESTROY s g", nogroup),
        ("RENAME s elsewhere", nogroup),
        ("SET s string", "WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("FLUSHALL", nogroup),
        ("SWAPDB 0 9", nogroup),
        ("PEXPIREAT s 1", nogroup),
    ] {
        c.run("FLUSHALL");
        c.run("XGROUP CREATE s g $ MKSTREAM");
        let mut w = waiting(&srv, &mut c, "XREADGROUP GROUP g alice BLOCK 0 STREAMS s >");
        // Clients that read without a group wait on.
        let mut reader = waiting(&srv, &mut c, "XREAD BLOCK 0 STREAMS s $");
        c.run(line);
        assert_eq!(w.read().error(), why, "{line}");
        wait_blocked(&mut c, 1);
        c.pipeline(&["DEL s", "XADD s 9-9 f v"]);
        assert_eq!(reader.read(), from("s", &["9-9 f v"]), "{line}");
    }
    let e = c.run("XREADGROUP GROUP nosuch alice BLOCK 0 STREAMS s >");
    assert!(e.error().starts_with("NOGROUP"), "{e:?}");
}

#[test]
fn members_share_what_comes() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("XGROUP CREATE s g $ MKSTREAM");
    let mut first = waiting(&srv, &mut c, "XREADGROUP GROUP g alice BLOCK 0 COUNT 1 STREAMS s >");
    let mut second = waiting(&srv, &mut c, "XREADGROUP GROUP g bob BLOCK 0 STREAMS s >");
    c.pipeline(&["MULTI", "XADD s 1-1 f v", "XADD s 1-2 f v", "XADD s 1-3 f v", "EXEC"]);
    assert_eq!(first.read(), from("s", &["1-1 f v"]));
    assert_eq!(second.read(), from("s", &["1-2 f v", "1-3 f v"]));
    assert_eq!(first.run("XREADGROUP GROUP g alice STREAMS s 0"), from("s", &["1-1 f v"]));
    let summary = c.run("XPENDING s g");
    assert_eq!(summary.items()[..3], [Int(3), Value::bulk("1-1"), Value::bulk("1-3")]);
    let pending = c.run("XPENDING s g - + 10 alice");
    let pending = pending.items()[0].items();
    assert_eq!((&pending[0], &pending[3]), (&Value::bulk("1-1"), &Int(2)));
    // Deleted, it is given back without its fields, and claimed no more.
    c.run("XDEL s 1-2");
    let gone = Array(vec![Value::bulk("1-2"), NullArray]);
    let history = c.run("XREADGROUP GROUP g bob STREAMS s 0");
    assert_eq!(history.items()[0].items()[1], Array(vec![gone, entry("1-3 f v")]));
    assert_eq!(c.run("XCLAIM s g alice 0 1-2 1-3 JUSTID"), Value::bulks(&["1-3"]));
    let auto = c.run("XAUTOCLAIM s g carol 0 - COUNT 1");
    let (next, none) = (Value::bulk("1-3"), Array(vec![]));
    assert_eq!(auto, Array(vec![next, entries(&["1-1 f v"]), none]));
    assert_eq!(c.run("XGROUP DELCONSUMER s g carol"), Int(1));
    assert_eq!(c.run("XACK s g 1-1 1-2 1-3"), Int(1));
    let groups = c.run("XINFO GROUPS s");
    assert_eq!(field(&groups.items()[0], "consumers"), &Int(2));
    assert_eq!(field(&groups.items()[0], "pending"), &Int(0));
}

#[test]
fn how_far_behind_a_group_is() {
    let srv = Server::start();
    let mut c = srv.connect();
    for i in 1..=5 {
        c.run(&format!("XADD s {i}-0 f v"));
    }
    c.run("XGROUP CREATE s g 0");
    let mut figures = |line: &str| {
        c.run(line);
        let groups = c.run("XINFO GROUPS s");
        let group = groups.items()[0].clone();
        (field(&group, "entries-read").clone(), field(&group, "lag").clone())
    };
    assert_eq!(figures("PING"), (Null, Int(5)));
    assert_eq!(figures("XREADGROUP GROUP g a COUNT 1 STREAMS s >"), (Int(1), Int(4)));
    assert_eq!(figures("XDEL s 4-0"), (Int(1), Null));
    assert_eq!(figures("XREADGROUP GROUP g a COUNT 1 STREAMS s >"), (Null, Null));
    assert_eq!(figures("XREADGROUP GROUP g a STREAMS s >"), (Int(5), Int(0)));
    assert_eq!(figures("XADD s 6-0 f v"), (Int(5), Int(1)));
    assert_eq!(figures("XGROUP SETID s g 2 ENTRIESREAD 2"), (Int(2), Null));
    assert_eq!(figures("XTRIM s MAXLEN 1"), (Int(2), Int(4)));
    assert_eq!(figures("XSETID s 9-0 ENTRIESADDED 10 MAXDELETEDID 7-0"), (Int(2), Null));
}

#[test]
fn changes_are_announced_in_order() {
    let srv = Server::with(&["--notify-keyspace-events", "Etgn"]);
    let (mut c, mut sub) = (srv.connect(), srv.connect());
    sub.run("PSUBSCRIBE __keyevent@0__:*");
    for line in [
        "XADD s MAXLEN 1 1-1 f v",
        "XADD s MAXLEN 1 1-2 f v",
        "XGROUP CREATE s g 0",
        "XREADGROUP GROUP g alice STREAMS s >",
        "XCLAIM s g bob 0 1-2",
        "XACK s g 1-2",
        "XGROUP SETID s g 0",
        "XGROUP DELCONSUMER s g bob",
        "XGROUP DESTROY s g",
        "XDEL s 1-2",
        "XSETID s 5-0",
        "XTRIM s MAXLEN 0",
        "XGROUP CREATE t g $ MKSTREAM",
    ] {
        let e = c.run(line);
        assert!(!matches!(e, Error(_)), "{line}: {e:?}");
    }
    for (event, key) in [
        ("new", "s"),
        ("xadd", "s"),
        ("xadd", "s"),
        ("xtrim", "s"),
        ("xgroup-create", "s"),
        ("xgroup-createconsumer", "s"),
        ("xgroup-createconsumer", "s"),
        ("xgroup-setid", "s"),
        ("xgroup-delconsumer", "s"),
        ("xgroup-destroy", "s"),
        ("xdel", "s"),
        ("xsetid", "s"),
        ("new", "t"),
        ("xgroup-create", "t"),
    ] {
        let heard = sub.read();
        assert_eq!(heard.items()[2].text(), format!("__keyevent@0__:{event}"));
        assert_eq!(heard.items()[3].text(), key);
    }
}

/// Words of the commands in the append only file, without their lengths.
fn written(srv: &Server) -> Vec<String> {
    let text = srv.aof();
    let mut commands: Vec<String> = Vec::new();
    for line in text.split("\r\n").filter(|l| !l.is_empty() && !l.starts_with(['$', '#'])) {
        match line.strip_prefix('*') {
            Some(_) => commands.push(String::new()),
            None => {
                let command = commands.last_mut().expect("a command begins with its length");
                *command += if command.is_empty() { "" } else { " " };
                *command += line;
            }
        }
    }
    commands
}

#[test]
fn what_was_done_leaves_instead_of_what_was_asked_for() {
    let options = ["--appendonly", "yes", "--appendfsync", "always", "--stream-node-max-entries", "2"];
    let mut srv = Server::with(&options);
    let mut c = srv.connect();
    for line in [
        "XADD s 1-* f v",
        "XADD s 1-2 f v",
        "XADD s MAXLEN ~ 2 LIMIT 9 1-3 f v",
        "XADD s MAXLEN ~ 2 LIMIT 9 1-4 f v",
        "XADD s 1-5 f v",
        "XTRIM s MINID ~ 1-5",
        "XTRIM s MAXLEN = 9",
        "XGROUP CREATE s g 0",
        "XREADGROUP GROUP g alice STREAMS s 0",
        "XREADGROUP GROUP g bob NOACK STREAMS s >",
        "XCLAIM s g alice 0 1-5 TIME 7 FORCE LASTID 9",
        "XCLAIM s g alice 0 3-3 LASTID 8",
        "XREAD STREAMS s 0",
    ] {
        let e = c.run(line);
        assert!(!matches!(e, Error(_)), "{line}: {e:?}");
    }
    let auto = c.run("XADD t * f v").text();
    let want = [
        "SELECT 0",
        "XADD s 1-0 f v",
        "XADD s 1-2 f v",
        "XADD s MAXLEN = 3 LIMIT 9 1-3 f v",
        "XADD s MAXLEN = 2 LIMIT 9 1-4 f v",
        "XADD s 1-5 f v",
        "XTRIM s MINID = 1-5",
        "XGROUP CREATE s g 0",
        "MULTI",
        "XGROUP CREATECONSUMER s g bob",
        "XGROUP SETID s g 1-5 ENTRIESREAD 5",
        "EXEC",
        "XCLAIM s g alice 0 1-5 TIME 7 RETRYCOUNT 2 FORCE JUSTID LASTID 9-0",
        &format!("XADD t {auto} f v"),
    ];
    assert_eq!(written(&srv), want);
    let (digest, groups) = (c.run("DEBUG DIGEST"), c.run("XINFO STREAM s FULL"));
    srv.stop();
    srv.restart();
    let mut c = srv.connect();
    assert_eq!(c.run("DEBUG DIGEST"), digest);
    let again = c.run("XINFO STREAM s FULL");
    let pending = |v: &Value| field(&field(v, "groups").items()[0], "pending").clone();
    assert_eq!(pending(&again), pending(&groups));
    assert_eq!(field(&again, "last-generated-id"), field(&groups, "last-generated-id"));
}

#[test]
fn everything_is_in_the_snapshot() {
    let mut srv = Server::with(&["--stream-node-max-entries", "3", "--enable-debug-command", "yes"]);
    let mut c = srv.connect();
    for i in 1..=20 {
        c.run(&format!("XADD s {i}-{i} number {i} {} v", if i % 4 == 0 { "other" } else { "same" }));
    }
    for line in [
        "XDEL s 2-2 7-7 8-8 20-20",
        "XTRIM s MAXLEN 12",
        "XGROUP CREATE s g 0 ENTRIESREAD 3",
        "XGROUP CREATE s h $",
        "XREADGROUP GROUP g alice COUNT 3 STREAMS s >",
        "XREADGROUP GROUP g bob COUNT 4 STREAMS s >",
        "XGROUP CREATECONSUMER s h idle",
        "XGROUP CREATE empty g $ MKSTREAM",
    ] {
        let e = c.run(line);
        assert!(!matches!(e, Error(_)), "{line}: {e:?}");
    }
    let all = |c: &mut Conn| {
        ["DEBUG DIGEST", "XINFO STREAM s FULL COUNT 0", "XINFO STREAM empty FULL"].map(|l| c.run(l))
    };
    let before = all(&mut c);
    assert_eq!(c.run("DEBUG RELOAD"), Value::ok());
    assert_eq!(all(&mut c), before);
    assert_eq!(c.run("SAVE"), Value::ok());
    srv.kill();
    srv.restart();
    let mut c = srv.connect();
    assert_eq!(all(&mut c), before);
    assert_eq!(c.run("XADD s 21-1 number 21"), Value::bulk("21-1"));
}

#[test]
fn a_client_library_reads_what_it_wrote() {
    let srv = Server::start();
    let mut c = srv.client();
    for i in 0..300 {
        let id: String =
            redis::cmd("XADD").arg("s").arg("*").arg("n").arg(i).query(&mut c).expect("added");
        assert!(id.contains('-'));
    }
    let all: Vec<(String, Vec<(String, u32)>)> =
        redis::cmd("XRANGE").arg("s").arg("-").arg("+").query(&mut c).expect("a range");
    let numbers: Vec<u32> = all.iter().map(|(_, pairs)| pairs[0].1).collect();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    assert!(all.is_sorted_by_key(|(id, _)| {
        let (ms, seq) = id.split_once('-').expect("two parts");
        (ms.parse::<u64>().expect("a number"), seq.parse::<u64>().expect("a number"))
    }));
}
