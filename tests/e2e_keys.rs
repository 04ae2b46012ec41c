//! Keys, databases, expiry, scans, DEBUG, MEMORY and lazy freeing, end to end.

mod common;

use common::*;
use std::collections::HashSet;

const DEBUG: &[&str] = &["--enable-debug-command", "yes"];

fn debuggable() -> (Server, Conn) {
    let srv = Server::with(DEBUG);
    let c = srv.connect();
    (srv, c)
}

// ---- databases ---------------------------------------------------------------------------------

#[test]
fn databases_are_selected_swapped_and_emptied() {
    let srv = Server::start();
    let mut c = srv.connect();
    let out_of_range = "ERR DB index is out of range";
    assert_eq!(c.run("SELECT 16").error(), out_of_range);
    assert_eq!(c.run("SELECT -1").error(), out_of_range);
    assert_eq!(c.run("SELECT x").error(), "ERR value is not an integer or out of range");
    assert_eq!(
        c.run("SELECT 3000000000").error(),
        "ERR value is out of range, value must between -2147483648 and 2147483647"
    );
    assert_eq!(c.run("SWAPDB x 1").error(), "ERR invalid first DB index");
    assert_eq!(c.run("SWAPDB 1 3000000000").error(), "ERR invalid second DB index");
    assert_eq!(c.run("SWAPDB 0 16").error(), out_of_range);

    c.pipeline(&["SET a 0", "SELECT 1", "SET a 1", "SET b 1", "PEXPIREAT b 4102444800000"]);
    assert_eq!(c.pipeline(&["SWAPDB 0 1", "GET a", "DBSIZE"]), [Value::ok(), Value::bulk("0"), Int(1)]);
    assert_eq!(c.pipeline(&["SELECT 0", "GET a", "DBSIZE"]), [Value::ok(), Value::bulk("1"), Int(2)]);
    assert_eq!(c.run("PEXPIRETIME b"), Int(4102444800000));
    assert_eq!(c.pipeline(&["FLUSHDB", "DBSIZE"]), [Value::ok(), Int(0)]);
    assert_eq!(
        c.pipeline(&["SELECT 1", "DBSIZE", "FLUSHALL ASYNC", "DBSIZE"])[1..],
        [Int(1), Value::ok(), Int(0)]
    );
    for bad in ["FLUSHALL now", "FLUSHDB SYNC ASYNC", "FLUSHALL SYNC x"] {
        assert_eq!(c.run(bad).error(), "ERR syntax error");
    }
}

#[test]
fn keys_move_and_are_copied_with_their_expiry() {
    let srv = Server::start();
    let mut c = srv.connect();
    let long = "x".repeat(5000);
    for value in ["5", "short", long.as_str()] {
        c.run("FLUSHALL");
        c.pipeline(&["SELECT 0", &format!("SET k {value}"), "PEXPIREAT k 4102444800000"]);
        assert_eq!(
            c.pipeline(&["COPY k c DB 2", "COPY k c DB 2", "COPY k c DB 2 REPLACE"]),
            [Int(1), Int(0), Int(1)]
        );
        assert_eq!(c.pipeline(&["RENAME k r", "MOVE r 1", "EXISTS k r"]), [Value::ok(), Int(1), Int(0)]);
        for (db, key) in [("1", "r"), ("2", "c")] {
            c.run(&format!("SELECT {db}"));
            assert_eq!(c.cmd(&["GET", key]), Value::bulk(value));
            assert_eq!(c.cmd(&["PEXPIRETIME", key]), Int(4102444800000));
        }
    }
    c.run("SELECT 0");
    let same = "ERR source and destination objects are the same";
    assert_eq!(c.run("MOVE k 0").error(), same);
    assert_eq!(c.run("COPY k k").error(), same);
    assert_eq!(c.run("RENAME nosuch k").error(), "ERR no such key");
    assert_eq!(
        c.pipeline(&["COPY nosuch k", "MOVE nosuch 1", "SET k 1", "RENAMENX k k"]),
        [Int(0), Int(0), Value::ok(), Int(0)]
    );
}

#[test]
fn an_overwritten_key_leaves_nothing_of_itself() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.pipeline(&["SET a 1 EX 1000", "SET b 2", "RENAME b a"]);
    assert_eq!(c.pipeline(&["GET a", "TTL a", "DBSIZE"]), [Value::bulk("2"), Int(-1), Int(1)]);
}

#[test]
fn what_happens_to_a_key_is_announced_in_order() {
    let srv = Server::with(&["--notify-keyspace-events", "KEAn"]);
    let (mut c, mut s) = (srv.connect(), srv.connect());
    s.run("PSUBSCRIBE __keyspace@*__:*");
    let lines =
        ["SET a 1", "SET b 2", "RENAME a b", "COPY b c", "MOVE c 1", "EXPIRE b -1", "DEL b", "SET z 1"];
    c.pipeline(&lines);
    let expected = [
        "0:a new",
        "0:a set",
        "0:b new",
        "0:b set", // SET, twice
        "0:b new",
        "0:a rename_from",
        "0:b rename_to",
        "0:c new",
        "0:c copy_to",
        "1:c new",
        "0:c move_from",
        "1:c move_to",
        "0:b del", // by EXPIRE: DEL finds nothing
        "0:z new",
    ];
    for e in expected {
        let m = s.read();
        let (channel, event) = (m.items()[2].text(), m.items()[3].text());
        let key = channel.replace("__keyspace@", "").replace("__:", ":");
        assert_eq!(format!("{key} {event}"), e);
    }
}

// ---- expiry ------------------------------------------------------------------------------------

#[test]
fn expiry_is_set_under_conditions() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.run("SET k v");
    assert_eq!(
        c.pipeline(&[
            "EXPIRE k 100 XX",
            "EXPIRE k 100 GT",
            "EXPIRE k 100 LT",
            "EXPIRE k 50 NX",
            "EXPIRE k 50 GT",
            "EXPIRE k 200 XX GT",
            "EXPIRE k 300 lt",
            "TTL k",
            "PERSIST k",
            "PERSIST k",
            "TTL k",
            "TTL nosuch",
        ]),
        [0, 0, 1, 0, 0, 1, 0, 200, 1, 0, -1, -2].map(Int)
    );
    assert_eq!(
        c.run("EXPIRE k 1 NX GT").error(),
        "ERR NX and XX, GT or LT options at the same time are not compatible"
    );
    assert_eq!(
        c.run("EXPIRE k 1 GT LT").error(),
        "ERR GT and LT options at the same time are not compatible"
    );
    assert_eq!(c.run("EXPIRE k 1 ab").error(), "ERR Unsupported option ab");
    for (line, name) in [
        ("EXPIRE k 9223372036854775807", "expire"),
        ("PEXPIRE k 9223372036854775807", "pexpire"),
        ("EXPIREAT k -9223372036854775808", "expireat"),
    ] {
        assert_eq!(c.run(line).error(), format!("ERR invalid expire time in '{name}' command"));
    }
    // The greatest time there is, to the second.
    assert_eq!(c.run("PEXPIREAT k 9223372036854775807"), Int(1));
    assert_eq!(c.run("EXPIRETIME k"), Int(9223372036854776));
    assert_eq!(c.run("PEXPIRETIME k"), Int(i64::MAX));
    assert_eq!(c.pipeline(&["EXPIRE k -1", "EXISTS k", "EXPIRE k 10"]), [Int(1), Int(0), Int(0)]);
}

#[test]
fn expired_keys_go_without_being_looked_at() {
    let (_srv, mut c) = debuggable();
    for db in 0..3 {
        c.run(&format!("SELECT {db}"));
        for i in 0..200 {
            c.run(&format!("SET k{i} v PX 1"));
        }
        c.run("SET stays v EX 1000");
    }
    wait_until("the cycle to find them all", || {
        (0..3).all(|db| c.pipeline(&[&format!("SELECT {db}"), "DBSIZE"])[1] == Int(1))
    });
    assert_eq!(c.figure("expired_keys"), 600);

    // Without the cycle they stay until somebody asks.
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    c.pipeline(&["SELECT 0", "SET k v PX 1"]);
    wait_until("its time to be over", || c.run("KEYS *").items().len() == 1);
    assert_eq!(c.run("DBSIZE"), Int(2));
    assert_eq!(c.pipeline(&["GET k", "DBSIZE"]), [Null, Int(1)]);
}

#[test]
fn a_scan_deletes_what_has_expired() {
    let (_srv, mut c) = debuggable();
    c.run("DEBUG SET-ACTIVE-EXPIRE 0");
    c.pipeline(&["SET gone v PX 1", "SET stays v"]);
    wait_until("its time to be over", || c.run("KEYS *").items().len() == 1);
    assert_eq!(c.run("DBSIZE"), Int(2), "KEYS only hides it");
    assert_eq!(c.run("SCAN 0"), Array(vec![Value::bulk("0"), Value::bulks(&["stays"])]));
    assert_eq!(c.run("DBSIZE"), Int(1));
    c.run("DEL stays");
    c.run("SET gone v PX 1");
    wait_until("nothing to be random", || c.run("RANDOMKEY") == Null);
    assert_eq!(c.run("DBSIZE"), Int(0));
}

// ---- scans -------------------------------------------------------------------------------------

/// A whole scan; `between` runs after each step.
fn scan(c: &mut Conn, options: &str, mut between: impl FnMut(&mut Conn, usize)) -> Vec<String> {
    let (mut cursor, mut all) = ("0".to_string(), Vec::new());
    for step in 0.. {
        let r = c.run(&format!("SCAN {cursor}{options}"));
        cursor = r.items()[0].text();
        all.extend(r.items()[1].items().iter().map(Value::text));
        if cursor == "0" {
            break;
        }
        between(c, step);
    }
    all
}

#[test]
fn a_scan_meets_every_key_that_stays() {
    let (_srv, mut c) = debuggable();
    for (grow, shrink) in [(true, false), (false, true), (true, true)] {
        c.run("FLUSHALL");
        c.run("DEBUG POPULATE 3000 stays");
        c.run("DEBUG POPULATE 3000 goes");
        let seen: HashSet<String> = scan(&mut c, " COUNT 50", |c, step| {
            if grow {
                c.run(&format!("DEBUG POPULATE 300 new{step}"));
            }
            if shrink {
                let names: Vec<String> =
                    (step * 60..(step + 1) * 60).map(|i| format!("goes:{i}")).collect();
                c.cmd(&[&["DEL".to_string()][..], &names].concat());
            }
        })
        .into_iter()
        .collect();
        let missing: Vec<_> =
            (0..3000).map(|i| format!("stays:{i}")).filter(|k| !seen.contains(k)).collect();
        assert!(missing.is_empty(), "{} of 3000 not met, e.g. {:?}", missing.len(), missing.first());
    }
}

#[test]
fn a_scan_of_a_table_at_rest_meets_each_key_once() {
    let (_srv, mut c) = debuggable();
    c.run("DEBUG POPULATE 1000");
    c.run("RPUSH l a");
    let all = scan(&mut c, " COUNT 7", |_, _| {});
    assert_eq!((all.len(), all.iter().collect::<HashSet<_>>().len()), (1001, 1001));
    assert_eq!(scan(&mut c, " MATCH key:1?? COUNT 100", |_, _| {}).len(), 100);
    assert_eq!(scan(&mut c, " TYPE list COUNT 100", |_, _| {}), ["l"]);
    assert_eq!(scan(&mut c, " TYPE nosuchtype COUNT 100", |_, _| {}), [""; 0]);
    assert_eq!(c.run("SCAN x").error(), "ERR invalid cursor");
    for bad in ["SCAN 0 COUNT 0", "SCAN 0 COUNT", "SCAN 0 WHAT 1"] {
        assert_eq!(c.run(bad).error(), "ERR syntax error");
    }
    assert_eq!(c.run("SCAN 0 COUNT x").error(), "ERR value is not an integer or out of range");
}

// ---- OBJECT, DEBUG, MEMORY ----------------------------------------------------------------------

#[test]
fn lists_show_their_layout() {
    let (_srv, mut c) = debuggable();
    c.run("CONFIG SET list-max-listpack-size 4");
    c.run("RPUSH l a b c d e f");
    let text = c.run("DEBUG OBJECT l").text();
    for part in
        ["encoding:quicklist", "ql_nodes:2", "ql_avg_node:3.00", "ql_listpack_max:4", "ql_compressed:0"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(c.run("DEBUG QUICKLIST l 1").text(), "Quicklist structure printed on stdout");
    assert_eq!(c.run("DEBUG LISTPACK l").error(), "ERR Not a listpack encoded object.");
    c.run("RPUSH small a b");
    assert_eq!(c.run("DEBUG LISTPACK small").text(), "Listpack structure printed on stdout");
    assert_eq!(c.run("DEBUG QUICKLIST small").error(), "ERR Not a quicklist encoded object.");
}

#[test]
fn a_server_starts_again_when_it_is_told_to() {
    let (srv, mut c) = debuggable();
    let id = |c: &mut Conn| {
        c.run("INFO server").text().lines().find_map(|l| l.strip_prefix("run_id:").map(String::from))
    };
    let before = id(&mut c);
    c.run("SET k v");
    c.put(&["DEBUG", "CRASH-AND-RECOVER", "1"]);
    assert!(c.at_end());
    // The old socket may still take a connection and drop it.
    let address = redis::Client::open(format!("redis://127.0.0.1:{}/", srv.port)).expect("an address");
    wait_until("the server to be back", || {
        let ping = |mut c: redis::Connection| redis::cmd("PING").query::<String>(&mut c);
        address.get_connection().and_then(ping).is_ok()
    });
    let mut c = srv.connect();
    let after = id(&mut c);
    assert!(after.is_some() && after != before);
    assert_eq!(c.run("EXISTS k"), Int(0));
}

#[test]
fn objects_tell_what_they_are() {
    let srv = Server::with(&["--lfu-decay-time", "0"]);
    let mut c = srv.connect();
    c.pipeline(&["SET n 9999", "SET big 10000", "SET s text", &format!("SET r {}", "x".repeat(45))]);
    let encodings = ["n", "big", "s", "r"].map(|k| c.cmd(&["OBJECT", "ENCODING", k]).text());
    assert_eq!(encodings, ["int", "int", "embstr", "raw"]);
    let counts = ["n", "big", "s"].map(|k| c.cmd(&["OBJECT", "REFCOUNT", k]).int());
    assert_eq!(counts, [2147483647, 1, 1]);
    assert_eq!(c.run("OBJECT ENCODING nosuch"), Null);
    assert!((0..100).contains(&c.run("OBJECT IDLETIME s").int()), "seconds since it was set");
    assert!(c.run("OBJECT FREQ s").error().starts_with("ERR An LFU maxmemory policy is not selected"));
    c.run("CONFIG SET maxmemory-policy allkeys-lfu");
    assert!(c.run("OBJECT IDLETIME s").error().starts_with("ERR An LFU maxmemory policy is selected"));
    c.run("SET f 1");
    assert_eq!(c.run("OBJECT FREQ f"), Int(5));
    // Each key has an age of its own, so integers are shared no longer.
    c.run("CONFIG SET maxmemory 1gb");
    assert_eq!(c.run("OBJECT REFCOUNT n"), Int(1));
}

#[test]
fn debug_is_refused_unless_allowed() {
    let srv = Server::start();
    let mut c = srv.connect();
    let why = c.run("DEBUG SLEEP 0");
    assert!(
        why.error()
            .starts_with("ERR DEBUG command not allowed. If the enable-debug-command option is set to")
    );
    let srv = Server::with(&["--enable-debug-command", "local"]);
    let mut c = srv.connect();
    assert_eq!(c.run("DEBUG SLEEP 0"), Value::ok());
    assert_eq!(
        c.run("DEBUG nosuch").error(),
        "ERR unknown subcommand or wrong number of arguments for 'nosuch'. Try DEBUG HELP."
    );
    assert_eq!(c.run("DEBUG ERROR CODE").error(), "CODE");
    assert!(c.run("DEBUG HELP").items().len() > 50);
}

#[test]
fn digests_are_those_of_upstream() {
    let (_srv, mut c) = debuggable();
    assert_eq!(c.run("DEBUG DIGEST").text(), "0".repeat(40));
    c.run("DEBUG POPULATE 1000");
    assert_eq!(c.run("DEBUG DIGEST").text(), "de87cf36afa8c921f610de73147c3c9363f314a3");
    let one = c.run("DEBUG DIGEST-VALUE key:1 nosuch");
    assert_eq!(one.items()[1].text(), "0".repeat(40));
    c.run("EXPIRE key:1 1000");
    assert_ne!(c.run("DEBUG DIGEST-VALUE key:1").items()[0], one.items()[0], "the TTL counts");
}

#[test]
fn tables_grow_and_shrink_where_upstreams_do() {
    let (_srv, mut c) = debuggable();
    let sizes = |c: &mut Conn| -> Vec<String> {
        let text = c.run("DEBUG HTSTATS 0").text();
        text.lines().filter_map(|l| l.strip_prefix(" table size: ")).map(String::from).collect()
    };
    for (keys, size) in [(4, "4"), (5, "8"), (8, "8"), (9, "16"), (1000, "1024")] {
        c.run("FLUSHALL");
        for i in 0..keys {
            c.run(&format!("SET k{i} v"));
        }
        assert_eq!(sizes(&mut c).last().map(String::as_str), Some(size), "{keys} keys");
    }
    // At once: a table that is looked at in between shrinks sooner, and to a larger size.
    let names: Vec<String> = (0..950).map(|i| format!("k{i}")).collect();
    assert_eq!(c.cmd(&[&["DEL".to_string()][..], &names].concat()), Int(950));
    wait_until("the table to shrink", || sizes(&mut c) == ["64"]);
    let text = c.run("DEBUG HTSTATS 0 full").text();
    assert!(
        text.starts_with("[Dictionary HT]\nHash table 0 stats (main hash table):\n table size: 64\n")
    );
    let expires = "[Expires HT]\nHash table 0 stats (main hash table):\nNo stats available for empty \
                   dictionaries\n";
    assert!(text.ends_with(expires), "{text}");
    assert_eq!(c.run("DEBUG HTSTATS 16").error(), "ERR Out of range database");
    assert_eq!(
        c.run("DEBUG HTSTATS-KEY k999").error(),
        "ERR The value stored at the specified key is not represented using an hash table"
    );
}

#[test]
fn memory_usage_follows_what_is_stored() {
    let srv = Server::start();
    let mut c = srv.connect();
    assert_eq!(c.run("MEMORY USAGE nosuch"), Null);
    let mut last = 0;
    for len in [1, 100, 1000, 100_000] {
        c.run(&format!("SET k {}", "x".repeat(len)));
        let n = c.run("MEMORY USAGE k").int();
        assert!(n > last && n >= len as i64 && n < len as i64 * 5 / 4 + 100, "{n} for {len}");
        last = n;
    }
    assert_eq!(c.run("MEMORY USAGE k SAMPLES -1").error(), "ERR syntax error");
    assert_eq!(c.run("MEMORY USAGE k WHAT").error(), "ERR syntax error");
    let stats = c.run("MEMORY STATS");
    let names: Vec<String> = stats.items().iter().step_by(2).map(Value::text).collect();
    assert_eq!((names.len(), names[0].as_str(), names[10].as_str()), (28, "peak.allocated", "db.0"));
    assert_eq!(c.run("MEMORY PURGE"), Value::ok());
    assert!(c.run("MEMORY DOCTOR").text().starts_with("There is hardly any data here"));
}

// ---- lazy freeing ------------------------------------------------------------------------------

#[test]
fn memory_is_free_as_soon_as_it_is_dropped() {
    let (_srv, mut c) = debuggable();
    let empty = c.figure("used_memory");
    for (line, counted) in [("FLUSHALL SYNC", 0), ("FLUSHDB ASYNC", 20_000)] {
        c.run("CONFIG RESETSTAT");
        c.run("DEBUG POPULATE 20000 key 600");
        assert!(c.figure("used_memory") > empty + 12_000_000);
        c.run(line);
        let now = c.figure("used_memory");
        assert!(now < empty + 200_000, "{line}: {now} in use, {empty} when it was empty");
        wait_until("the thread to be done", || c.figure("lazyfree_pending_objects") == 0);
        assert_eq!(c.figure("lazyfreed_objects"), counted, "{line}");
    }
    // A big list counts as one object where upstream frees it lazily, a small one never does.
    let cases = [("DEL l", 100_000, 0), ("UNLINK l", 100_000, 1), ("UNLINK l", 10, 0)];
    for (line, elements, counted) in cases {
        c.run("CONFIG RESETSTAT");
        for chunk in 0..elements / 10 {
            let words: Vec<String> = (0..10).map(|i| format!("element-{chunk}-{i}")).collect();
            c.cmd(&[&["RPUSH".to_string(), "l".to_string()][..], &words].concat());
        }
        assert_eq!(c.run(line), Int(1));
        wait_until("the thread to be done", || c.figure("lazyfree_pending_objects") == 0);
        assert_eq!(c.figure("lazyfreed_objects"), counted, "{line} of {elements}");
    }
}

#[test]
fn a_time_in_the_past_deletes_while_writes_rest() {
    let srv = Server::start();
    let mut c = srv.connect();
    c.pipeline(&["SET a 1", "SET b 1", "SET c 1", "MULTI", "CLIENT PAUSE 100000 WRITE"]);
    c.pipeline(&["EXPIRE a -1", "PEXPIREAT b 1", "GETEX c PXAT 1"]);
    let all = vec![Value::ok(), Int(1), Int(1), Value::bulk("1")];
    assert_eq!(c.run("EXEC"), Array(all));
    assert_eq!(c.run("DBSIZE"), Int(0), "not even for the end of the pause");
    assert_eq!(c.run("CLIENT UNPAUSE"), Value::ok());
}
