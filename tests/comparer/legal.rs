//! Which encoding a value may have, by what is in it and the limits that the servers were started with.
//!
//! ```text
//!   string  int: the text of an i64 | embstr: at most 44 bytes | raw
//!   list    listpack: at most 5 elements | quicklist
//!   set     intset: at most 12 integers | listpack: at most 10 of at most 64 bytes | hashtable
//!   hash    listpack: at most 12 fields of at most 60 bytes | hashtable
//!   zset    listpack: at most 10 members of at most 60 bytes | skiplist
//! ```
//!
//! The big encodings are always legal: a value that shrinks keeps them.

use crate::common::{Value, Value::*};

/// Small limits, so that encodings change often; the same on both sides.
pub const OPTIONS: &[&str] = &[
    "--enable-debug-command",
    "yes",
    "--hash-max-listpack-entries",
    "12",
    "--hash-max-listpack-value",
    "60",
    "--list-max-listpack-size",
    "5",
    "--set-max-intset-entries",
    "12",
    "--set-max-listpack-entries",
    "10",
    "--zset-max-listpack-entries",
    "10",
    "--zset-max-listpack-value",
    "60",
    "--stream-node-max-entries",
    "4",
    "--hll-sparse-max-bytes",
    "40",
    "--appendonly",
    "yes",
    "--appendfsync",
    "no",
    "--auto-aof-rewrite-percentage",
    "0",
    // No reply is slow by chance, no script is late.
    "--busy-reply-threshold",
    "0",
    "--slowlog-log-slower-than",
    "-1",
    // Strings stay small whatever the offset.
    "--proto-max-bulk-len",
    "1048576",
];

/// The command that tells all elements of a value of this type; None where the length is enough.
pub fn asks(kind: &str, key: &[u8]) -> Vec<Vec<u8>> {
    let words: &[&[u8]] = match kind {
        "string" => &[b"GETRANGE", key, b"0", b"50"],
        "list" => &[b"LRANGE", key, b"0", b"-1"],
        "set" => &[b"SMEMBERS", key],
        "hash" => &[b"HGETALL", key],
        "zset" => &[b"ZRANGE", key, b"0", b"-1"],
        _ => &[b"TYPE", key],
    };
    words.iter().map(|w| w.to_vec()).collect()
}

/// What is wrong with this encoding of these elements, if anything is.
pub fn complaint(kind: &str, encoding: &str, content: &Value) -> Option<String> {
    let elements = elements(content);
    let n = elements.len();
    let longest = elements.iter().map(|e| e.len()).max().unwrap_or(0);
    let integers = elements.iter().all(|e| is_integer(e));
    let legal = match (kind, encoding) {
        ("string", "int") => integers,
        ("string", "embstr") => longest <= 44,
        ("list", "listpack") => n <= 5,
        ("set", "intset") => n <= 12 && integers,
        ("set", "listpack") => n <= 10 && longest <= 64,
        // Fields and values.
        ("hash", "listpack") => n <= 24 && longest <= 60,
        ("zset", "listpack") => n <= 10 && longest <= 60,
        ("string", "raw") | ("list", "quicklist") | ("set", "hashtable") => true,
        ("hash", "hashtable") | ("zset", "skiplist") | ("stream", "stream") => true,
        _ => false,
    };
    let empty = n == 0 && !matches!(kind, "string" | "stream");
    if legal && !empty {
        return None;
    }
    Some(format!("a {kind} of {n} elements, the longest of {longest} bytes, is encoded as {encoding}"))
}

fn elements(content: &Value) -> Vec<Vec<u8>> {
    match content {
        Bulk(b) => vec![b.clone()],
        Array(items) | Set(items) => items.iter().flat_map(elements).collect(),
        Map(pairs) => pairs.iter().flat_map(|(k, v)| [elements(k), elements(v)].concat()).collect(),
        _ => Vec::new(),
    }
}

fn is_integer(text: &[u8]) -> bool {
    let parsed = std::str::from_utf8(text).ok().and_then(|t| t.parse::<i64>().ok());
    parsed.is_some_and(|n| n.to_string().as_bytes() == text)
}
