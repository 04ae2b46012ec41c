//! CONFIG SET of every directive that both servers have, with values that fit and values that do not: the
//! same refusals in the same words, and the same value afterwards.

use super::side::Side;
use crate::common::{Server, Value, Value::*};
use std::collections::BTreeMap;

/// Directives that are left alone, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("appendonly", "starts and stops the file; forks"),
    ("bind", "would lose the connection"),
    ("dir", "folders"),
    ("jemalloc-bg-thread", "threads of the allocator"),
    ("logfile", "folders"),
    ("maxmemory", "would evict"),
    ("maxclients", "would make room for as many"),
    ("oom-score-adj", "needs rights"),
    ("oom-score-adj-values", "needs rights"),
    ("port", "would lose the connection"),
    ("requirepass", "would lock us out"),
    ("save", "would fork"),
    ("socket-mark-id", "needs rights"),
    ("tls-*", "theirs is built without, and dies of some"),
    ("watchdog-period", "signals"),
];

const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "3",
    "101",
    "512",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "100000000000000000000",
    "-2147483649",
    "1.5",
    "50%",
    "10%",
    "-10%",
    "1kb",
    "2MB",
    "3g",
    "1k",
    "8x",
    " 1",
    "1 ",
    "yes",
    "NO",
    "Yes",
    "maybe",
    "always",
    "everysec",
    "allkeys-lru",
    "noeviction",
    "local",
    "upstream",
    "verbose",
    "KEA",
    "Kx",
    "50 99 99.9",
    "50 101",
    "normal 0 0 0",
    "normal 1 2",
    "pubsub 32mb 8mb 60 replica 0 0 0",
    "pubsub 32mb 8mb -1",
    "nosuch 0 0 0",
    "resetchannels",
    "a b",
    "'quoted \"",
    "-0",
    "+1",
    "007",
    "0x10",
    "1e3",
    "nan",
    "-9223372036854775808",
    "-9223372036854775809",
    "1b",
    "1KB",
    "1mb ",
    "1 mb",
    "-1kb",
    "kb",
    "%",
    "0%",
    "101%",
    "-100%",
    "-101%",
    "5%%",
    "1.5mb",
    "8589934592g",
    "9007199254740993kb",
    "17592186044416mb",
    "18014398509481984k",
    "\u{1}",
    "\n",
    "a\nb",
    "a\0b",
    "\u{e9}",
    "a/b",
    "yes no",
    "no ",
    "nothing",
    "default",
    "volatile-lfu ",
    "always everysec",
    "save now",
    "NOW  force",
    "nosave nosave",
    "save nosave force",
    "\"now\"",
    "100",
    "100.0001",
    "-0.1",
    "50,99",
    "99.99999 0 1e1",
    "g$lshzxeKEtmdnA",
    "AKE ",
    "{title} {nosuch}",
    "{title",
    "normal 3gb 2gb 60 normal 0 0 0",
    "slave 1mb 1mb 1",
    "master 0 0 0",
    "REPLICA 1k 2 3",
    "pubsub 1mb 1mb 1.5",
    "pubsub 1x 0 0",
    "pubsub 0 0",
    "pubsub 0 0 0 ",
    "nosuch_LOCALE",
    "C",
];

/// Values for the directives that are left out: each is refused, or changes nothing.
const REFUSED: &[(&str, &[&str])] = &[
    ("appendonly", &["", "maybe", "yes yes"]),
    ("bind", &["256.0.0.1", "nosuch host"]),
    ("dir", &["", "/nosuch/folder", "/dev/null"]),
    ("logfile", &["", "elsewhere"]),
    ("maxclients", &["", "0", "-1", "abc", "1.5", "4294967296"]),
    ("maxmemory", &["", "-1", "1x", "abc", "50%", "18446744073709551616", "0", "0kb"]),
    ("oom-score-adj", &["", "maybe", "2"]),
    ("oom-score-adj-values", &["", "1", "1 2", "1 2 3 4", "1 2 3000", "2001 2 3", "3 2 1", "a b c"]),
    ("port", &["", "-1", "65536", "abc", "6379 6380"]),
    (
        "save",
        &["", "1", "3600 1 60", "0 1", "-1 1", "1 -1", "900 a", "3600 1  60 10000", "3600 1 ", "a b"],
    ),
    ("socket-mark-id", &["", "-1", "4294967296", "a", "0"]),
    ("watchdog-period", &["", "-1", "a", "0"]),
    ("nosuch", &["", "1"]),
];

/// Requests with several directives, or none.
const SEVERAL: &[&[&str]] = &[
    &["CONFIG", "SET"],
    &["CONFIG", "SET", "hz"],
    &["CONFIG", "SET", "hz", "10", "hz"],
    &["CONFIG", "SET", "hz", "11", "hz", "12"],
    &["CONFIG", "SET", "HZ", "11", "hz", "12"],
    &["CONFIG", "SET", "slave-priority", "7", "replica-priority", "8"],
    &["CONFIG", "SET", "slave-priority", "7"],
    &["CONFIG", "SET", "hz", "11", "nosuch", "1"],
    &["CONFIG", "SET", "nosuch", "1", "hz", "11"],
    &["CONFIG", "SET", "hz", "abc", "nosuch", "1"],
    &["CONFIG", "SET", "hz", "11", "slowlog-max-len", "-1"],
    &["CONFIG", "SET", "hz", "11", "databases", "3"],
    &["CONFIG", "SET", "databases", "3", "nosuch", "1"],
    &["CONFIG", "SET", "hz", "11", "dbfilename", "other.rdb"],
    &["CONFIG", "SET", "hz", "11", "enable-debug-command", "no"],
    &["CONFIG", "SET", "timeout", "5", "maxclients", "0"],
    &["CONFIG", "SET", "hash-max-listpack-entries", "9", "hash-max-ziplist-entries", "10"],
    &["CONFIG", "SET", "lfu-log-factor", "1", "lfu-decay-time", "99999999999"],
    &["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1 1 1 nosuch 2 2 2"],
    &["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 1", "hz", "no"],
    &["CONFIG", "SET", "latency-tracking-info-percentiles", "1 2 3", "hz", "no"],
    &["CONFIG", "SET", "save", "1000 1", "hz", "no"],
    &["CONFIG", "SET", "", ""],
    &["CONFIG", "SET", "h?", "10"],
    &["CONFIG", "SET", "hz ", "10"],
    &["CONFIG", "GET"],
    &["CONFIG", "GET", ""],
    &["CONFIG", "GET", "hz", "HZ", "h?"],
    &["CONFIG", "GET", "slave-pr*", "SLAVE-P*"],
    &["CONFIG", "GET", "SLAVE-PRIORITY"],
    &["CONFIG", "GET", "[h]z"],
    &["CONFIG", "GET", "nosuch"],
    &["CONFIG", "REWRITE", "now"],
    &["CONFIG", "REWRITE"],
    &["CONFIG", "RESETSTAT", "all"],
    &["CONFIG", "NOSUCH", "x"],
    &["CONFIG"],
];

/// Every directive's differences, one line each.
pub fn compare(ours: &Server, theirs: &Server) -> Vec<String> {
    let (mut a, mut b) = (Side::new(ours, false), Side::new(theirs, false));
    let (mine, other) = (all(&mut a), all(&mut b));
    let mut told = Vec::new();
    for (name, own) in &mine {
        let Some(originally) = other.get(name) else { continue };
        if LEFT_OUT
            .iter()
            .any(|(n, _)| n == name || n.strip_suffix('*').is_some_and(|n| name.starts_with(n)))
        {
            continue;
        }
        for value in VALUES.iter().copied().chain([&originally[..]]) {
            let words = [&b"CONFIG"[..], b"SET", name.as_bytes(), value.as_bytes()];
            let replies = (a.ask(&words), b.ask(&words));
            if replies.0 != replies.1 {
                told.push(format!("{name} {value:?}: ours {:?}, theirs {:?}", replies.0, replies.1));
                break;
            }
            let ask = [&b"CONFIG"[..], b"GET", name.as_bytes()];
            let now = (a.ask(&ask), b.ask(&ask));
            if now.0 != now.1 && own == originally {
                told.push(format!("{name} after {value:?}: ours {:?}, theirs {:?}", now.0, now.1));
                break;
            }
        }
        a.ask(&[b"CONFIG", b"SET", name.as_bytes(), own.as_bytes()]);
        b.ask(&[b"CONFIG", b"SET", name.as_bytes(), originally.as_bytes()]);
    }
    for &(name, values) in REFUSED {
        for value in values {
            told.extend(unlike(&mut a, &mut b, &["CONFIG", "SET", name, value]));
            if mine.get(name) == other.get(name) {
                told.extend(unlike(&mut a, &mut b, &["CONFIG", "GET", name]));
            }
        }
    }
    for words in SEVERAL {
        told.extend(unlike(&mut a, &mut b, words));
    }
    // Whatever the requests with several have changed.
    for name in mine.keys().filter(|n| mine.get(*n) == other.get(*n)) {
        told.extend(unlike(&mut a, &mut b, &["CONFIG", "GET", name]));
    }
    println!("{} directives, {} of them in both", mine.len(), {
        mine.keys().filter(|n| other.contains_key(*n)).count()
    });
    let missing: Vec<&String> = other.keys().filter(|n| !mine.contains_key(*n)).collect();
    println!("ours lacks {missing:?}");
    told
}

/// How the replies to a request differ.
fn unlike(a: &mut Side, b: &mut Side, words: &[&str]) -> Option<String> {
    let request: Vec<&[u8]> = words.iter().map(|w| w.as_bytes()).collect();
    let (ours, theirs) = (a.ask(&request), b.ask(&request));
    (ours != theirs).then(|| format!("{words:?}: ours {ours:?}, theirs {theirs:?}"))
}

fn all(side: &mut Side) -> BTreeMap<String, String> {
    match side.ask(&[b"CONFIG", b"GET", b"*"]) {
        Map(pairs) => pairs.iter().map(|(k, v): &(Value, Value)| (k.text(), v.text())).collect(),
        other => panic!("CONFIG GET: {other:?}"),
    }
}
