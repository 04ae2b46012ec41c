//! Strings, and the bytes and numbers in them.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("string", since, summary, complexity)
}

const DATA: Arg = Arg::block("data", &[Arg::key("key", 0), Arg::string("value")]).multiple();

pub static APPEND: Docs = doc(
    "2.0.0",
    "Adds bytes at the end of a string, which starts empty where there was no key.",
    "O(1) amortized for a short tail: room for growth is set aside with each reallocation.",
)
.args(&[Arg::key("key", 0), Arg::string("value")]);

pub static DECR: Docs =
    doc("1.0.0", "Subtracts one from an integer, which counts as 0 where there is no key.", "O(1)")
        .args(&[Arg::key("key", 0)]);

pub static DECRBY: Docs =
    doc("1.0.0", "Subtracts from an integer, which counts as 0 where there is no key.", "O(1)")
        .args(&[Arg::key("key", 0), Arg::integer("decrement")]);

pub static GET: Docs = doc("1.0.0", "Reads a string.", "O(1)").args(&[Arg::key("key", 0)]);

pub static GETDEL: Docs =
    doc("6.2.0", "Reads a string and removes its key.", "O(1)").args(&[Arg::key("key", 0)]);

pub static GETEX: Docs =
    doc("6.2.0", "Reads a string and changes when its key expires.", "O(1)").args(&[
        Arg::key("key", 0),
        Arg::oneof(
            "expiration",
            &[
                Arg::integer("seconds").token("EX"),
                Arg::integer("milliseconds").token("PX"),
                Arg::unix_time("unix-time-seconds").token("EXAT"),
                Arg::unix_time("unix-time-milliseconds").token("PXAT"),
                Arg::word("persist", "PERSIST"),
            ],
        )
        .optional(),
    ]);

pub static GETRANGE: Docs = doc(
    "2.4.0",
    "Reads a part of a string.",
    "O(N) in the bytes returned: in effect O(1) for short strings.",
)
.args(&[Arg::key("key", 0), Arg::integer("start"), Arg::integer("end")]);

pub static GETSET: Docs = doc("1.0.0", "Replaces a string and returns what was there before.", "O(1)")
    .deprecated("6.2.0", "`SET` with the `!GET` argument")
    .args(&[Arg::key("key", 0), Arg::string("value")]);

pub static INCR: Docs =
    doc("1.0.0", "Adds one to an integer, which counts as 0 where there is no key.", "O(1)")
        .args(&[Arg::key("key", 0)]);

pub static INCRBY: Docs =
    doc("1.0.0", "Adds to an integer, which counts as 0 where there is no key.", "O(1)")
        .args(&[Arg::key("key", 0), Arg::integer("increment")]);

pub static INCRBYFLOAT: Docs =
    doc("2.6.0", "Adds to a floating-point number, which counts as 0 where there is no key.", "O(1)")
        .args(&[Arg::key("key", 0), Arg::double("increment")]);

pub static LCS: Docs = doc(
    "7.0.0",
    "Finds the longest subsequence that two strings have in common.",
    "O(N*M) for strings of N and M bytes.",
)
.args(&[
    Arg::key("key1", 0),
    Arg::key("key2", 0),
    Arg::word("len", "LEN").optional(),
    Arg::word("idx", "IDX").optional(),
    Arg::integer("min-match-len").token("MINMATCHLEN").optional(),
    Arg::word("withmatchlen", "WITHMATCHLEN").optional(),
]);

pub static MGET: Docs = doc("1.0.0", "Reads several strings at once.", "O(N) in the keys given.")
    .tips(&["request_policy:multi_shard"])
    .args(&[Arg::key("key", 0).multiple()]);

pub static MSET: Docs = doc("1.0.1", "Writes several strings at once.", "O(N) in the keys given.")
    .tips(&["request_policy:multi_shard", "response_policy:all_succeeded"])
    .args(&[DATA]);

pub static MSETNX: Docs = doc(
    "1.0.1",
    "Writes several strings at once, provided none of the keys exists.",
    "O(N) in the keys given.",
)
.args(&[DATA]);

pub static PSETEX: Docs =
    doc("2.6.0", "Writes a string that lives for a number of milliseconds.", "O(1)")
        .deprecated("2.6.12", "`SET` with the `PX` argument")
        .args(&[Arg::key("key", 0), Arg::integer("milliseconds"), Arg::string("value")]);

pub static SET: Docs = doc("1.0.0", "Writes a string, whatever the key held before.", "O(1)")
    .history(&[
        ("2.6.12", "New options: `EX`, `PX`, `NX`, `XX`."),
        ("6.0.0", "New option: `KEEPTTL`."),
        ("6.2.0", "New options: `GET`, `EXAT`, `PXAT`."),
        ("7.0.0", "`NX` and `GET` go together."),
    ])
    .args(&[
        Arg::key("key", 0),
        Arg::string("value"),
        Arg::oneof("condition", &[Arg::word("nx", "NX"), Arg::word("xx", "XX")])
            .optional()
            .since("2.6.12"),
        Arg::word("get", "GET").optional().since("6.2.0"),
        Arg::oneof(
            "expiration",
            &[
                Arg::integer("seconds").token("EX").since("2.6.12"),
                Arg::integer("milliseconds").token("PX").since("2.6.12"),
                Arg::unix_time("unix-time-seconds").token("EXAT").since("6.2.0"),
                Arg::unix_time("unix-time-milliseconds").token("PXAT").since("6.2.0"),
                Arg::word("keepttl", "KEEPTTL").since("6.0.0"),
            ],
        )
        .optional(),
    ]);

pub static SETEX: Docs = doc("2.0.0", "Writes a string that lives for a number of seconds.", "O(1)")
    .deprecated("2.6.12", "`SET` with the `EX` argument")
    .args(&[Arg::key("key", 0), Arg::integer("seconds"), Arg::string("value")]);

pub static SETNX: Docs = doc("1.0.0", "Writes a string, provided the key does not exist.", "O(1)")
    .deprecated("2.6.12", "`SET` with the `NX` argument")
    .args(&[Arg::key("key", 0), Arg::string("value")]);

pub static SETRANGE: Docs = doc(
    "2.2.0",
    "Overwrites a part of a string from an offset on, making it longer where needed.",
    "O(1), apart from copying the M bytes written, which makes it O(M) when they are many.",
)
.args(&[Arg::key("key", 0), Arg::integer("offset"), Arg::string("value")]);

pub static STRLEN: Docs =
    doc("2.2.0", "Counts the bytes of a string.", "O(1)").args(&[Arg::key("key", 0)]);

pub static SUBSTR: Docs = doc(
    "1.0.0",
    "Reads a part of a string.",
    "O(N) in the bytes returned: in effect O(1) for short strings.",
)
.deprecated("2.0.0", "`GETRANGE`")
.args(&[Arg::key("key", 0), Arg::integer("start"), Arg::integer("end")]);
