//! CONFIG SET of every directive that both servers have, with values that fit and values that do not: the
//! same refusals in the same words, and the same value afterwards.

use super::side::Side;
use crate::common::{Server, Value, Value::*};
use std::collections::BTreeMap;

/// Directives that are left alone, and why.
const LEFT_OUT: &[(&str, &str)] = &[
    ("activedefrag", "theirs can, in its usual build; ours refuses, in words of its own"),
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
    println!("{} directives, {} of them in both", mine.len(), {
        mine.keys().filter(|n| other.contains_key(*n)).count()
    });
    let missing: Vec<&String> = other.keys().filter(|n| !mine.contains_key(*n)).collect();
    println!("ours lacks {missing:?}");
    told
}

fn all(side: &mut Side) -> BTreeMap<String, String> {
    match side.ask(&[b"CONFIG", b"GET", b"*"]) {
        Map(pairs) => pairs.iter().map(|(k, v): &(Value, Value)| (k.text(), v.text())).collect(),
        other => panic!("CONFIG GET: {other:?}"),
    }
}
