//! What may differ between two servers that are both right.

use super::tree::Call;
use super::values;
use crate::common::{Value, Value::*};
use std::collections::BTreeMap;

/// Commands that are not driven: name, or all that begin so with a star; and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    ("*|help", "sentences are each server's own"),
    ("acl|deluser", "could lock us out"),
    ("acl|load", "needs a file"),
    ("acl|log", "times"),
    ("acl|save", "needs a file"),
    ("acl|setuser", "could lock us out"),
    ("bgrewriteaof", "forks"),
    ("bgsave", "forks"),
    ("client|caching", "connection state"),
    ("client|kill", "closes the connection"),
    ("client|pause", "stops both servers"),
    ("client|reply", "no replies, nothing to compare"),
    ("client|tracking", "pushes come between replies"),
    ("config|get", "ports and folders"),
    ("config|set", "would change the servers"),
    ("debug", "the tool that we compare with"),
    ("failover", "other servers"),
    ("hello", "has a scene of its own"),
    ("latency|doctor", "sentences are each server's own"),
    ("latency|histogram", "times"),
    ("memory|doctor", "sentences are each server's own"),
    ("memory|malloc-stats", "figures"),
    ("memory|stats", "figures"),
    ("migrate", "other servers"),
    ("module|load", "needs a file"),
    ("module|loadex", "needs a file"),
    ("monitor", "has a scene of its own"),
    ("multi", "has a scene of its own"),
    ("pfselftest", "takes seconds"),
    ("psubscribe", "has a scene of its own"),
    ("psync", "other servers"),
    ("punsubscribe", "has a scene of its own"),
    ("quit", "closes the connection"),
    ("replconf", "other servers"),
    ("replicaof", "other servers"),
    ("reset", "has a scene of its own"),
    ("script|debug", "changes what the connection means"),
    ("shutdown", "ends the server"),
    ("slaveof", "other servers"),
    ("ssubscribe", "has a scene of its own"),
    ("subscribe", "has a scene of its own"),
    ("sunsubscribe", "has a scene of its own"),
    ("sync", "other servers"),
    ("unsubscribe", "has a scene of its own"),
];

/// Commands that upset everything that comes after: seldom.
pub const RARE: &[&str] = &["flushall", "flushdb", "move", "select", "swapdb", "function|flush"];

pub fn is_left_out(name: &str) -> bool {
    LEFT_OUT.iter().any(|(rule, _)| match rule.split_once('*') {
        Some((before, after)) => name.starts_with(before) && name.ends_with(after),
        None => *rule == name,
    })
}

/// Commands of which no odd call is made.
pub const FIT_ONLY: &[&str] = &["command|docs", "info"];

/// Commands that may wait.
pub const BLOCKING: &[&str] = &[
    "blmove",
    "blmpop",
    "blpop",
    "brpop",
    "brpoplpush",
    "bzmpop",
    "bzpopmax",
    "bzpopmin",
    "xread",
    "xreadgroup",
    "wait",
    "waitaof",
];

/// How two replies are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Exact,
    /// Elements in any order.
    Unordered,
    /// Elements in any order, two by two in RESP2.
    UnorderedPairs,
    /// The same kinds, as many elements: random picks.
    Shape,
    /// As many elements.
    Count,
    /// Elements in any order, and theirs too: a map that went through a table of Lua's.
    Tables,
    /// The same kind of reply: times and figures.
    Kind,
    /// Integers that are times differ by this much at most.
    Near(i64),
    /// A cursor, and elements in any order when both have come to the end.
    Scan,
    /// A serialized value: exact where the encoding has an order.
    Dump,
    /// Times within a stream's figures.
    Times,
}

pub fn rule(call: &Call) -> Rule {
    let has = |word: &[u8]| call.words.iter().skip(1).any(|w| w.eq_ignore_ascii_case(word));
    match call.name.as_str() {
        "keys" | "smembers" | "sinter" | "sunion" | "sdiff" | "hkeys" | "hvals" | "acl|cat" => {
            Rule::Unordered
        }
        "pubsub|channels" | "pubsub|shardchannels" => Rule::Unordered,
        "hgetall" => Rule::UnorderedPairs,
        "spop" | "srandmember" | "hrandfield" | "zrandmember" | "acl|genpass" | "randomkey" => {
            Rule::Shape
        }
        // A limit makes it a pick.
        "sort" | "sort_ro" if in_order_of_table(call) && has(b"limit") => Rule::Count,
        "sort" | "sort_ro" if in_order_of_table(call) => Rule::Unordered,
        // Small integers may be one shared object or many; a frequency grows by chance.
        "object|idletime" | "object|freq" | "object|refcount" | "time" | "lastsave" | "memory|usage" => {
            Rule::Kind
        }
        "client|id" | "client|info" | "client|list" | "info" | "lolwut" => Rule::Kind,
        // An offset that counts for replicas.
        "role" => Rule::Kind,
        // Theirs has more of them, until ours has all; facts are compared elsewhere.
        "command" | "command|count" | "command|list" | "command|info" | "command|docs" => Rule::Kind,
        "ttl" | "expiretime" => Rule::Near(1),
        "pttl" | "pexpiretime" => Rule::Near(2_000),
        // A cursor is good for its own server only.
        "scan" if call.words.get(1).is_none_or(|c| c != b"0") => Rule::Kind,
        "hscan" | "sscan" | "zscan" if call.words.get(2).is_none_or(|c| c != b"0") => Rule::Kind,
        "scan" | "hscan" | "sscan" | "zscan" => Rule::Scan,
        "dump" => Rule::Dump,
        "xpending" | "xinfo|consumers" | "xinfo|groups" | "xinfo|stream" => Rule::Times,
        "xadd" if has(b"*") => Rule::Kind,
        "eval" | "eval_ro" if is_resp3_script(call) => Rule::Tables,
        "fcall" | "fcall_ro" if call.words.get(1).is_some_and(|f| f == values::CALLER_IN_RESP3) => {
            Rule::Tables
        }
        // Libraries, their functions and the flags of these come in the order of tables.
        "function|list" => Rule::Tables,
        "function|dump" => Rule::Kind,
        _ => Rule::Exact,
    }
}

fn is_resp3_script(call: &Call) -> bool {
    let asks = |script: &Vec<u8>| script.windows(10).any(|w| w == b"setresp(3)");
    call.words.get(1).is_some_and(asks)
}

/// After this the keys of the call hold different values on both sides, rightly.
pub fn leaves_chance(call: &Call) -> bool {
    let has = |word: &[u8]| call.words.iter().skip(1).any(|w| w.eq_ignore_ascii_case(word));
    match call.name.as_str() {
        "spop" => true,
        "xadd" => has(b"*"),
        "sort" => has(b"store") && in_order_of_table(call),
        _ => false,
    }
}

/// Elements from a table, of which nothing decides among some or all: BY names no key, or ALPHA finds texts
/// that are the same. (Equal numbers are told apart by the elements.)
fn in_order_of_table(call: &Call) -> bool {
    let has = |word: &[u8]| call.words.iter().skip(2).any(|w| w.eq_ignore_ascii_case(word));
    !call.ordered && has(b"by") && (has(b"alpha") || sorts_nothing(call))
}

/// A SORT whose BY names no key.
pub fn sorts_nothing(call: &Call) -> bool {
    let is_by = |w: &[Vec<u8>]| w[0].eq_ignore_ascii_case(b"by") && !w[1].contains(&b'*');
    call.words.windows(2).skip(2).any(is_by)
}

/// A real server's SORT takes a range error of an earlier command for its own.
pub fn is_stale_errno(call: &Call, theirs: &Value) -> bool {
    let text = "ERR One or more scores can't be converted into double";
    call.words.iter().any(|w| w.to_ascii_lowercase().starts_with(b"sort"))
        && (*theirs == Value::Error(text.into()) || format!("{theirs:?}").contains(text))
}

/// Reads or removes by member, which is meant for sorted sets whose scores are all the same.
pub fn is_lexical(call: &Call) -> bool {
    let bylex = |w: &Vec<u8>| w.eq_ignore_ascii_case(b"BYLEX");
    call.name.starts_with('z') && (call.name.contains("lex") || call.words.iter().any(bylex))
}

/// May give a key a time that is past: it goes when a command looks at it.
pub fn is_dated(call: &Call) -> bool {
    let dated = |w: &Vec<u8>| w.eq_ignore_ascii_case(b"EXAT") || w.eq_ignore_ascii_case(b"PXAT");
    call.words.iter().any(dated)
}

/// How far what a call does may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freedom {
    None,
    /// Events in any order, ops of any kind, any number of lookups.
    Order,
    /// Events of other keys as well.
    Pick,
    /// Ops of any kind.
    Ops,
}

pub fn freedom(call: &Call) -> Freedom {
    let has = |word: &[u8]| call.words.iter().skip(1).any(|w| w.eq_ignore_ascii_case(word));
    match &call.name[..] {
        // Expired keys are met in the order of a table.
        "scan" | "keys" | "randomkey" => Freedom::Order,
        // So are elements whose weights are looked up, or what they lead to.
        "sort" | "sort_ro" if in_order_of_table(call) && has(b"limit") => Freedom::Pick,
        "sort" | "sort_ro" if !call.ordered && has(b"by") => Freedom::Order,
        _ if leaves_chance(call) => Freedom::Ops,
        _ => Freedom::None,
    }
}

/// The figures of INFO that are a function of what was sent, by name.
pub fn figures(info: &str) -> BTreeMap<String, String> {
    const PLAIN: [&str; 2] = ["total_error_replies", "expired_keys"];
    // Asked as often as it takes.
    const POLLED: [&str; 6] = [
        "cmdstat_info",
        "cmdstat_pubsub|numpat",
        "cmdstat_pubsub|channels",
        "cmdstat_client|unblock",
        "cmdstat_client|id",
        "cmdstat_hello",
    ];
    let mut all = BTreeMap::new();
    for (name, value) in info.lines().filter_map(|l| l.split_once(':')) {
        if name.starts_with("cmdstat_") && !POLLED.contains(&name) {
            let counts = value.split(',').filter(|f| !f.starts_with("usec"));
            all.insert(name.to_string(), counts.collect::<Vec<_>>().join(","));
        } else if name.starts_with("errorstat_") || PLAIN.contains(&name) {
            all.insert(name.to_string(), value.trim().to_string());
        }
    }
    all
}

/// Are the replies the same, as far as the rule goes?
pub fn same(rule: Rule, ours: &Value, theirs: &Value) -> bool {
    if matches!(ours, Error(_)) || matches!(theirs, Error(_)) {
        return ours == theirs;
    }
    match rule {
        Rule::Exact => ours == theirs,
        Rule::Dump => ours == theirs || were_tables(ours, theirs),
        Rule::Unordered => sorted(ours, 1) == sorted(theirs, 1),
        Rule::UnorderedPairs => sorted(ours, 2) == sorted(theirs, 2),
        Rule::Shape => shape(ours) == shape(theirs),
        Rule::Count => match (ours, theirs) {
            (Array(a), Array(b)) => a.len() == b.len(),
            _ => ours == theirs,
        },
        Rule::Tables => in_order(ours) == in_order(theirs),
        Rule::Kind => ours.kind() == theirs.kind(),
        Rule::Near(by) => match (ours, theirs) {
            (Int(a), Int(b)) => a.abs_diff(*b) <= by.unsigned_abs() && (*a < 0) == (*b < 0),
            _ => ours == theirs,
        },
        Rule::Scan => match (ours, theirs) {
            (Array(a), Array(b)) if a.len() == 2 && b.len() == 2 => {
                let ended = |v: &[Value]| v[0] == Value::bulk("0");
                !ended(a) || !ended(b) || sorted(&a[1], 1) == sorted(&b[1], 1)
            }
            _ => ours == theirs,
        },
        Rule::Times => without_times(ours) == without_times(theirs),
    }
}

/// The elements of an aggregate, `by` at a time, in one certain order.
fn sorted(v: &Value, by: usize) -> Value {
    let order = |items: &[Value]| -> Vec<Value> {
        let mut chunks: Vec<&[Value]> = items.chunks(by).collect();
        chunks.sort_by_key(|c| format!("{c:?}"));
        chunks.concat()
    };
    match v {
        Array(items) => Array(order(items)),
        Set(items) => Set(order(items)),
        Map(pairs) => {
            let mut pairs = pairs.clone();
            pairs.sort_by_key(|p| format!("{p:?}"));
            Map(pairs)
        }
        other => other.clone(),
    }
}

/// Two payloads of hashes or sets in listpacks: what was a table before has that one's order. (That the
/// values are the same is told by their digests.)
fn were_tables(ours: &Value, theirs: &Value) -> bool {
    const HASH_LISTPACK: u8 = 16;
    const SET_LISTPACK: u8 = 20;
    let kind = |v: &Value| match v {
        Bulk(b) => b.first().copied().filter(|k| [HASH_LISTPACK, SET_LISTPACK].contains(k)),
        _ => None,
    };
    kind(ours).is_some() && kind(ours) == kind(theirs)
}

/// All that is within in one certain order, by its text.
fn in_order(v: &Value) -> String {
    let within: Vec<&Value> = match v {
        Array(items) | Set(items) => items.iter().collect(),
        Map(pairs) => pairs.iter().flat_map(|(k, v)| [k, v]).collect(),
        other => return format!("{other:?}"),
    };
    let mut texts: Vec<String> = within.into_iter().map(in_order).collect();
    texts.sort();
    format!("{} of {texts:?}", v.kind())
}

fn shape(v: &Value) -> String {
    match v {
        Array(items) | Set(items) => {
            format!("{}{:?}", v.kind(), items.iter().map(shape).collect::<Vec<_>>())
        }
        other => other.kind(),
    }
}

/// Times are told by their size, or by the name before them.
fn without_times(v: &Value) -> Value {
    const NAMES: [&str; 4] = ["idle", "inactive", "seen-time", "active-time"];
    const YEAR_2001_MS: i64 = 1_000_000_000_000;
    let named = |v: &Value| matches!(v, Bulk(b) if NAMES.iter().any(|n| n.as_bytes() == b));
    let list = |items: &[Value]| -> Vec<Value> {
        let mut out: Vec<Value> = Vec::new();
        for (i, item) in items.iter().enumerate() {
            // XPENDING's entries: id, consumer, idle, deliveries.
            let idle = items.len() == 4 && i == 2 && matches!(items[..2], [Bulk(_), Bulk(_)]);
            out.push(if idle || (i > 0 && named(&items[i - 1])) { Null } else { without_times(item) });
        }
        out
    };
    match v {
        Int(n) if (YEAR_2001_MS..4 * YEAR_2001_MS).contains(n) => Null,
        Array(items) => Array(list(items)),
        Map(pairs) => {
            let one =
                |(k, v): &(Value, Value)| (k.clone(), if named(k) { Null } else { without_times(v) });
            Map(pairs.iter().map(one).collect())
        }
        other => other.clone(),
    }
}
