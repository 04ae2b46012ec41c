//! Keys of any type: life, names, expiry, sorting, moving between servers.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("generic", since, summary, complexity)
}

const CONDITION: Arg = Arg::oneof(
    "condition",
    &[Arg::word("nx", "NX"), Arg::word("xx", "XX"), Arg::word("gt", "GT"), Arg::word("lt", "LT")],
)
.optional()
.since("7.0.0");

const LIMIT: Arg =
    Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")]).token("LIMIT").optional();

const ORDER: Arg = Arg::oneof("order", &[Arg::word("asc", "ASC"), Arg::word("desc", "DESC")]).optional();

pub static COPY: Docs = doc(
    "6.2.0",
    "Duplicates a value under another key.",
    "O(N) at worst, for a collection of N elements; O(1) for a string.",
)
.args(&[
    Arg::key("source", 0),
    Arg::key("destination", 1),
    Arg::integer("destination-db").token("DB").optional(),
    Arg::word("replace", "REPLACE").optional(),
]);

pub static DEL: Docs = doc(
    "1.0.0",
    "Removes keys along with their values.",
    "O(N) in the keys removed. A key with a collection costs O(M) for its M elements, one with a \
     string O(1).",
)
.tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
.args(&[Arg::key("key", 0).multiple()]);

pub static DUMP: Docs = doc(
    "2.6.0",
    "Serializes the value of a key so that RESTORE can rebuild it.",
    "O(1) for the lookup and O(N*M) for the N objects of mean size M that make up the value: in \
     effect O(1) for short strings.",
)
.tips(&["nondeterministic_output"])
.args(&[Arg::key("key", 0)]);

pub static EXISTS: Docs =
    doc("1.0.0", "Counts how many of the given keys are there.", "O(N) in the keys given.")
        .history(&[("3.0.3", "More than one `key` is accepted.")])
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .args(&[Arg::key("key", 0).multiple()]);

pub static EXPIRE: Docs = doc("1.0.0", "Lets a key live for a number of seconds from now.", "O(1)")
    .history(&[("7.0.0", "New options: `NX`, `XX`, `GT`, `LT`.")])
    .args(&[Arg::key("key", 0), Arg::integer("seconds"), CONDITION]);

pub static EXPIREAT: Docs = doc("1.2.0", "Lets a key live until a Unix time in seconds.", "O(1)")
    .history(&[("7.0.0", "New options: `NX`, `XX`, `GT`, `LT`.")])
    .args(&[Arg::key("key", 0), Arg::unix_time("unix-time-seconds"), CONDITION]);

pub static EXPIRETIME: Docs =
    doc("7.0.0", "Tells at which Unix time, in seconds, a key will expire.", "O(1)")
        .args(&[Arg::key("key", 0)]);

pub static KEYS: Docs = doc(
    "1.0.0",
    "Finds the keys whose names match a pattern.",
    "O(N) in the keys of the database, as long as names and pattern are of bounded length.",
)
.tips(&["request_policy:all_shards", "nondeterministic_output_order"])
.args(&[Arg::pattern("pattern")]);

pub static MIGRATE: Docs = doc(
    "2.6.0",
    "Hands keys over to another server: they are there before they are gone here.",
    "That of DUMP and DEL here and of RESTORE there, plus O(N) for the bytes sent.",
)
.history(&[
    ("3.0.0", "New options: `COPY`, `REPLACE`."),
    ("3.0.6", "New option: `KEYS`."),
    ("4.0.7", "New option: `AUTH`."),
    ("6.0.0", "New option: `AUTH2`."),
])
.tips(&["nondeterministic_output"])
.args(&[
    Arg::string("host"),
    Arg::integer("port"),
    Arg::oneof("key-selector", &[Arg::key("key", 0), Arg::word("empty-string", "")]),
    Arg::integer("destination-db"),
    Arg::integer("timeout"),
    Arg::word("copy", "COPY").optional().since("3.0.0"),
    Arg::word("replace", "REPLACE").optional().since("3.0.0"),
    Arg::oneof(
        "authentication",
        &[
            Arg::string("auth").token("AUTH").shown("password").since("4.0.7"),
            Arg::block("auth2", &[Arg::string("username"), Arg::string("password")])
                .token("AUTH2")
                .since("6.0.0"),
        ],
    )
    .optional(),
    Arg::key("keys", 1).token("KEYS").shown("key").optional().multiple().since("3.0.6"),
]);

pub static MOVE: Docs =
    doc("1.0.0", "Takes a key out of the selected database and puts it into another.", "O(1)")
        .args(&[Arg::key("key", 0), Arg::integer("db")]);

pub static OBJECT: Docs =
    doc("2.2.3", "Groups the commands that look at how a value is kept.", "That of the subcommand.");

pub static OBJECT_ENCODING: Docs =
    doc("2.2.3", "Names the representation of a value in memory.", "O(1)")
        .tips(&["nondeterministic_output"])
        .args(&[Arg::key("key", 0)]);

pub static OBJECT_FREQ: Docs =
    doc("4.0.0", "Tells the access counter of a key under an LFU policy.", "O(1)")
        .tips(&["nondeterministic_output"])
        .args(&[Arg::key("key", 0)]);

pub static OBJECT_HELP: Docs = doc("6.2.0", "Describes each subcommand in a line or two.", "O(1)");

pub static OBJECT_IDLETIME: Docs =
    doc("2.2.3", "Tells for how many seconds a key has not been used.", "O(1)")
        .tips(&["nondeterministic_output"])
        .args(&[Arg::key("key", 0)]);

pub static OBJECT_REFCOUNT: Docs = doc("2.2.3", "Tells how many references a value has.", "O(1)")
    .tips(&["nondeterministic_output"])
    .args(&[Arg::key("key", 0)]);

pub static PERSIST: Docs =
    doc("2.2.0", "Takes the expiry off a key, so that it stays.", "O(1)").args(&[Arg::key("key", 0)]);

pub static PEXPIRE: Docs =
    doc("2.6.0", "Lets a key live for a number of milliseconds from now.", "O(1)")
        .history(&[("7.0.0", "New options: `NX`, `XX`, `GT`, `LT`.")])
        .args(&[Arg::key("key", 0), Arg::integer("milliseconds"), CONDITION]);

pub static PEXPIREAT: Docs = doc("2.6.0", "Lets a key live until a Unix time in milliseconds.", "O(1)")
    .history(&[("7.0.0", "New options: `NX`, `XX`, `GT`, `LT`.")])
    .args(&[Arg::key("key", 0), Arg::unix_time("unix-time-milliseconds"), CONDITION]);

pub static PEXPIRETIME: Docs =
    doc("7.0.0", "Tells at which Unix time, in milliseconds, a key will expire.", "O(1)")
        .args(&[Arg::key("key", 0)]);

pub static PTTL: Docs = doc("2.6.0", "Tells how many milliseconds a key has left.", "O(1)")
    .history(&[("2.8.0", "The reply is -2 where there is no key.")])
    .tips(&["nondeterministic_output"])
    .args(&[Arg::key("key", 0)]);

pub static RANDOMKEY: Docs = doc("1.0.0", "Picks a key of the selected database at random.", "O(1)")
    .tips(&["request_policy:all_shards", "response_policy:special", "nondeterministic_output"]);

pub static RENAME: Docs =
    doc("1.0.0", "Gives a key another name, replacing what had that name.", "O(1)")
        .args(&[Arg::key("key", 0), Arg::key("newkey", 1)]);

pub static RENAMENX: Docs =
    doc("1.0.0", "Gives a key another name, provided that name is free.", "O(1)")
        .history(&[("3.2.0", "A key may be renamed to itself, which used to be an error.")])
        .args(&[Arg::key("key", 0), Arg::key("newkey", 1)]);

pub static RESTORE: Docs = doc(
    "2.6.0",
    "Makes a key from what DUMP returned.",
    "O(1) to add the key and O(N*M) to rebuild the N objects of mean size M that make up its \
     value: in effect O(1) for short strings, but O(N*M*log(N)) for sorted sets.",
)
.history(&[
    ("3.0.0", "New option: `REPLACE`."),
    ("5.0.0", "New option: `ABSTTL`."),
    ("5.0.0", "New options: `IDLETIME`, `FREQ`."),
])
.args(&[
    Arg::key("key", 0),
    Arg::integer("ttl"),
    Arg::string("serialized-value"),
    Arg::word("replace", "REPLACE").optional().since("3.0.0"),
    Arg::word("absttl", "ABSTTL").optional().since("5.0.0"),
    Arg::integer("seconds").token("IDLETIME").optional().since("5.0.0"),
    Arg::integer("frequency").token("FREQ").optional().since("5.0.0"),
]);

pub static SCAN: Docs = doc(
    "2.8.0",
    "Walks through the keys of the selected database in steps.",
    "O(1) a step, O(N) until the cursor is back at 0, N being the keys of the database.",
)
.history(&[("6.0.0", "New option: `TYPE`.")])
.tips(&["nondeterministic_output", "request_policy:special", "response_policy:special"])
.args(&[
    Arg::integer("cursor"),
    Arg::pattern("pattern").token("MATCH").optional(),
    Arg::integer("count").token("COUNT").optional(),
    Arg::string("type").token("TYPE").optional().since("6.0.0"),
]);

pub static SORT: Docs = doc(
    "1.0.0",
    "Sorts a list, a set or a sorted set, and may keep the outcome in a key.",
    "O(N+M*log(M)): N elements to sort, M returned. O(N) where nothing is sorted.",
)
.args(&[
    Arg::key("key", 0),
    Arg::pattern("by-pattern").token("BY").shown("pattern").spec(1).optional(),
    LIMIT,
    Arg::pattern("get-pattern").token("GET").shown("pattern").spec(1).optional().multiple_token(),
    ORDER,
    Arg::word("sorting", "ALPHA").optional(),
    Arg::key("destination", 2).token("STORE").optional(),
]);

pub static SORT_RO: Docs = doc(
    "7.0.0",
    "Sorts a list, a set or a sorted set for reading.",
    "O(N+M*log(M)): N elements to sort, M returned. O(N) where nothing is sorted.",
)
.args(&[
    Arg::key("key", 0),
    Arg::pattern("by-pattern").token("BY").shown("pattern").spec(1).optional(),
    LIMIT,
    Arg::pattern("get-pattern").token("GET").shown("pattern").spec(1).optional().multiple_token(),
    ORDER,
    Arg::word("sorting", "ALPHA").optional(),
]);

pub static TOUCH: Docs =
    doc("3.2.1", "Marks keys as just used and counts those that exist.", "O(N) in the keys given.")
        .tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
        .args(&[Arg::key("key", 0).multiple()]);

pub static TTL: Docs = doc("1.0.0", "Tells how many seconds a key has left.", "O(1)")
    .history(&[("2.8.0", "The reply is -2 where there is no key.")])
    .tips(&["nondeterministic_output"])
    .args(&[Arg::key("key", 0)]);

pub static TYPE: Docs =
    doc("1.0.0", "Names the type of the value of a key.", "O(1)").args(&[Arg::key("key", 0)]);

pub static UNLINK: Docs = doc(
    "4.0.0",
    "Removes keys now and frees their values in the background.",
    "O(1) for each key here, whatever its size; a thread of its own then spends O(N) on the N \
     allocations to free.",
)
.tips(&["request_policy:multi_shard", "response_policy:agg_sum"])
.args(&[Arg::key("key", 0).multiple()]);

pub static WAIT: Docs =
    doc("3.0.0", "Waits until enough replicas have received what this connection wrote.", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:agg_min"])
        .args(&[Arg::integer("numreplicas"), Arg::integer("timeout")]);

pub static WAITAOF: Docs = doc(
    "7.2.0",
    "Waits until what this connection wrote is on disk here, on enough replicas, or both.",
    "O(1)",
)
.tips(&["request_policy:all_shards", "response_policy:agg_min"])
.args(&[Arg::integer("numlocal"), Arg::integer("numreplicas"), Arg::integer("timeout")]);
