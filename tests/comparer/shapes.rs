//! What the servers tell of themselves: not the figures, but what they are called, in which order they
//! come, and what kind of value each is.
//!
//! ```text
//!   question ─► reply ─► (path, shape) of every leaf ─► differs ─► may it? (`MAY_DIFFER`) ─► told
//!   INFO       memory|used_memory   a number
//!   CONFIG     maxmemory-policy     its value, "noeviction"
//!   COMMAND    get|keyspecs|0|flags the words themselves
//! ```
//!
//! To compare one more thing, add its lines to `facts`.

use crate::common::{Conn, Server, Value, Value::*};
use std::collections::BTreeMap;

/// Facts that differ by nature or by plan: what they begin with, and why.
const MAY_DIFFER: &[(&str, &str)] = &[
    ("config|dir ", "folders"),
    ("config|port ", "two servers"),
    ("info|memory|mem_allocator ", "another version"),
    ("info|server|atomicvar_api ", "another language"),
    ("info|server|executable ", "two servers"),
    ("info|server|gcc_version ", "another language"),
    ("info|server|monotonic_clock ", "theirs reads the processor's only in some builds"),
    ("info|server|redis_build_id ", "two servers"),
    ("memory doctor ", "prose"),
    ("command|acl", "users are to come"),
    ("command|asking ", "clusters are to come"),
    ("command|client|tracking ", "tracking is to come"),
    ("command|cluster", "clusters are to come"),
    ("command|failover ", "replication is to come"),
    ("command|migrate ", "clusters are to come"),
    ("command|module", "modules are to come"),
    ("command|read", "clusters are to come"),
    ("command|wait", "replication is to come"),
];

type Facts = BTreeMap<String, String>;

/// What differs and may not, one line each.
pub fn compare(ours: &Server, theirs: &Server) -> Vec<String> {
    let (mut a, mut b) = (ours.connect(), theirs.connect());
    let (ours, theirs) = (facts(&mut a), facts(&mut b));
    let mut told = Vec::new();
    let names: Vec<&String> =
        ours.keys().chain(theirs.keys().filter(|n| !ours.contains_key(*n))).collect();
    let mut used = vec![0; MAY_DIFFER.len()];
    for name in &names {
        let (mine, other) = (ours.get(*name), theirs.get(*name));
        let line = format!("{name} ");
        // Of a command that only one of them has, that is all there is to tell.
        let of_one = name.strip_prefix("command ").and_then(|n| n.rsplit_once('|')?.0.split_once('|'));
        let of_one = of_one.is_some_and(|(_, command)| {
            let there = format!("command|{command}");
            !ours.contains_key(&there) || !theirs.contains_key(&there)
        });
        if mine == other || of_one {
            continue;
        }
        match MAY_DIFFER.iter().position(|(n, _)| line.starts_with(n)) {
            Some(at) => used[at] += 1,
            None => told.push(format!("{name}: ours {mine:?}, theirs {other:?}")),
        }
    }
    println!("{} facts, {} of them may differ and do", names.len(), used.iter().sum::<usize>());
    for ((name, _), _) in MAY_DIFFER.iter().zip(&used).filter(|(_, n)| **n == 0) {
        println!("{name}does not differ");
    }
    told
}

fn facts(c: &mut Conn) -> Facts {
    let mut f = Facts::new();
    // Something to count, and to be slow.
    c.pipeline(&["CONFIG SET slowlog-log-slower-than 0", "CONFIG SET latency-monitor-threshold 200"]);
    c.pipeline(&["SET k v", "SET t v EX 1000", "NOSUCH", "GET k", "GET k v", "DEBUG SLEEP 0.25"]);
    info(c, &mut f);
    config(c, &mut f);
    for question in ["CLIENT INFO", "CLIENT LIST"] {
        let text = c.run(question).text();
        let names: Vec<&str> =
            text.split_whitespace().filter_map(|w| Some(w.split_once('=')?.0)).collect();
        f.insert(question.to_lowercase(), names.join(" "));
    }
    for question in SHAPED {
        let reply = c.run(question);
        shape(&question.to_lowercase(), &reply, &mut f);
    }
    commands(c, &mut f);
    f
}

const SHAPED: &[&str] = &[
    "SLOWLOG GET 3",
    "SLOWLOG LEN",
    "LATENCY LATEST",
    "LATENCY HISTORY command",
    "LATENCY HISTORY nosuch",
    "MEMORY STATS",
    "MEMORY DOCTOR",
    "ROLE",
    "HELLO",
    "TIME",
    "LASTSAVE",
    "HELLO 3",
    "MEMORY STATS",
    "LATENCY HISTOGRAM set debug nosuch",
    "HELLO 2",
];

/// Fields of INFO and directives that only ours has.
const OWN: &[&str] = &[
    "server_name",
    "oxidis_version",
    "busy_polls",
    "busy_poll_hits",
    "busy_poll_usec",
    "busy-poll-us",
    "replica-max-lag",
    "replica_lag_bytes",
    "replica_lag_seconds",
    "dual-channel-replication-enabled",
];

/// Sections in their order, fields in theirs.
fn info(c: &mut Conn, f: &mut Facts) {
    for all in ["", " everything", " all", " default", " modules", " nosuch", " server cpu"] {
        let text = c.run(&format!("INFO{all}")).text();
        let heads: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# ")).collect();
        f.insert(format!("info{all}"), heads.join(" "));
    }
    let text = c.run("INFO everything").text();
    let (mut section, mut names) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# ") {
            f.insert(format!("info|{section}"), names.join(" "));
            (section, names) = (head.to_lowercase(), Vec::new());
        } else if let Some((name, value)) = line.split_once(':').filter(|(n, _)| !OWN.contains(n)) {
            // What was called depends on the requests before.
            if section != "commandstats" && section != "latencystats" || name.ends_with("_get") {
                names.push(name);
                f.insert(format!("info|{section}|{name}"), kind(value));
            }
        }
    }
    f.insert(format!("info|{section}"), names.join(" "));
}

/// Every directive, with what it is when it has not been set.
fn config(c: &mut Conn, f: &mut Facts) {
    let Array(words) = c.run("CONFIG GET *") else { panic!("CONFIG GET in RESP2") };
    for pair in words.chunks(2) {
        let name = pair[0].text();
        if !OWN.contains(&name.as_str()) {
            f.insert(format!("config|{name}"), pair[1].text());
        }
    }
}

/// COMMAND INFO and COMMAND DOCS of each command and subcommand, but for the prose, which is each server's
/// own; a container's list of its subcommands has no order.
fn commands(c: &mut Conn, f: &mut Facts) {
    let list = c.run("COMMAND LIST");
    for name in list.items().iter().map(Value::text) {
        f.insert(format!("command|{name}"), "there".into());
        for question in ["INFO", "DOCS"] {
            let reply = c.cmd(&["COMMAND", question, &name]);
            let reply = Array(reply.items().iter().map(without_prose).collect());
            let of = reply.items().last().map_or(&[][..], |of| match of {
                Array(items) => items,
                _ => &[],
            });
            let path = format!("{}|{name}", question.to_lowercase());
            let end = match question {
                "INFO" => of.len().saturating_sub(1),
                _ => of.iter().position(|w| *w == Value::bulk("subcommands")).unwrap_or(of.len()),
            };
            for (i, v) in of[..end].iter().enumerate() {
                f.insert(format!("command {path}|{i}"), format!("{v:?}"));
            }
        }
    }
}

/// The same without what is written for people to read.
fn without_prose(v: &Value) -> Value {
    const PROSE: &[&[u8]] = &[b"notes", b"summary", b"complexity"];
    let Array(items) = v else { return v.clone() };
    let mut all: Vec<Value> = Vec::new();
    for item in items {
        let read = match all.last() {
            Some(Bulk(name)) if PROSE.contains(&&name[..]) => Value::bulk("..."),
            Some(Bulk(name)) if name == b"history" => {
                Array(item.items().iter().map(|change| change.items()[0].clone()).collect())
            }
            _ => without_prose(item),
        };
        all.push(read);
    }
    Array(all)
}

/// Kinds of the leaves, names of maps.
fn shape(path: &str, v: &Value, f: &mut Facts) {
    let number = matches!(v, Int(_));
    match v {
        Array(items) | Set(items) => {
            f.insert(path.into(), format!("{} of {}", v.kind(), items.len()));
            items.iter().enumerate().for_each(|(i, v)| shape(&format!("{path}|{i}"), v, f));
        }
        // Buckets.
        Map(pairs) if pairs.iter().any(|(k, _)| matches!(k, Int(_))) => {
            f.insert(path.into(), "numbers by number".into());
        }
        Map(pairs) => {
            let names: Vec<String> = pairs.iter().map(|(k, _)| k.text()).collect();
            f.insert(path.into(), names.join(" "));
            pairs.iter().for_each(|(k, v)| shape(&format!("{path}|{}", k.text()), v, f));
        }
        _ if number => drop(f.insert(path.into(), "a number".into())),
        Double(_) => drop(f.insert(path.into(), "a double".into())),
        // RESP2 knows no doubles, and a round one looks like an integer.
        Bulk(_) | Status(_) => {
            drop(f.insert(path.into(), kind(&v.text()).replace("a fraction", "a number")));
        }
        _ => drop(f.insert(path.into(), format!("{} {v:?}", v.kind()))),
    }
}

/// Of a text: a number, names of figures within it, or the text itself.
fn kind(text: &str) -> String {
    if text.parse::<i64>().is_ok() {
        return "a number".into();
    }
    if text.parse::<f64>().is_ok() {
        return "a fraction".into();
    }
    let size = text.strip_suffix(['B', 'K', 'M', 'G', '%']);
    if size.is_some_and(|t| t.parse::<f64>().is_ok()) {
        return "a size".into();
    }
    if text.parse::<std::net::SocketAddr>().is_ok() {
        return "an address".into();
    }
    if text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return "an id".into();
    }
    if text.contains('=') {
        let parts = text.split(',').map(|p| p.split_once('=').map_or(p, |(name, _)| name));
        return parts.collect::<Vec<_>>().join(" ");
    }
    text.to_string()
}
