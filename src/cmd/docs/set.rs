//! Sets and their algebra.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("set", since, summary, complexity)
}

pub static SADD: Docs = doc(
    "1.0.0",
    "Puts members into a set, which is made where there was no key.",
    "O(1) for each member, so O(N) for N of them.",
)
.history(&[("2.4.0", "More than one `member` is accepted.")])
.args(&[Arg::key("key", 0), Arg::string("member").multiple()]);

pub static SCARD: Docs =
    doc("1.0.0", "Counts the members of a set.", "O(1)").args(&[Arg::key("key", 0)]);

pub static SDIFF: Docs = doc(
    "1.0.0",
    "Computes which members of the first set are in none of the others.",
    "O(N) in the members of all sets together.",
)
.tips(&["nondeterministic_output_order"])
.args(&[Arg::key("key", 0).multiple()]);

pub static SDIFFSTORE: Docs = doc(
    "1.0.0",
    "Keeps those members of the first set that are in none of the others in a key.",
    "O(N) in the members of all sets together.",
)
.args(&[Arg::key("destination", 0), Arg::key("key", 1).multiple()]);

pub static SINTER: Docs = doc(
    "1.0.0",
    "Computes which members are in all of the sets.",
    "O(N*M) at worst: N members in the smallest set, M sets.",
)
.tips(&["nondeterministic_output_order"])
.args(&[Arg::key("key", 0).multiple()]);

pub static SINTERCARD: Docs = doc(
    "7.0.0",
    "Counts the members that are in all of the sets.",
    "O(N*M) at worst: N members in the smallest set, M sets.",
)
.args(&[
    Arg::integer("numkeys"),
    Arg::key("key", 0).multiple(),
    Arg::integer("limit").token("LIMIT").optional(),
]);

pub static SINTERSTORE: Docs = doc(
    "1.0.0",
    "Keeps the members that are in all of the sets in a key.",
    "O(N*M) at worst: N members in the smallest set, M sets.",
)
.args(&[Arg::key("destination", 0), Arg::key("key", 1).multiple()]);

pub static SISMEMBER: Docs = doc("1.0.0", "Tells whether a set has a member.", "O(1)")
    .args(&[Arg::key("key", 0), Arg::string("member")]);

pub static SMEMBERS: Docs =
    doc("1.0.0", "Reads a set with all that is in it.", "O(N) in the members of the set.")
        .tips(&["nondeterministic_output_order"])
        .args(&[Arg::key("key", 0)]);

pub static SMISMEMBER: Docs =
    doc("6.2.0", "Tells which of the given members a set has.", "O(N) in the members asked about.")
        .args(&[Arg::key("key", 0), Arg::string("member").multiple()]);

pub static SMOVE: Docs = doc("1.0.0", "Takes a member out of one set and puts it into another.", "O(1)")
    .args(&[Arg::key("source", 0), Arg::key("destination", 1), Arg::string("member")]);

pub static SPOP: Docs =
    doc("1.0.0", "Takes random members out of a set.", "O(1) for one, O(N) for a count of N.")
        .history(&[("3.2.0", "New optional argument: `count`.")])
        .tips(&["nondeterministic_output"])
        .args(&[Arg::key("key", 0), Arg::integer("count").optional().since("3.2.0")]);

pub static SRANDMEMBER: Docs =
    doc("1.0.0", "Picks members of a set at random.", "O(1) for one, O(N) for a count of N or -N.")
        .history(&[("2.6.0", "New optional argument: `count`.")])
        .tips(&["nondeterministic_output"])
        .args(&[Arg::key("key", 0), Arg::integer("count").optional().since("2.6.0")]);

pub static SREM: Docs = doc(
    "1.0.0",
    "Removes members from a set, and the set when it has none left.",
    "O(N) in the members given.",
)
.history(&[("2.4.0", "More than one `member` is accepted.")])
.args(&[Arg::key("key", 0), Arg::string("member").multiple()]);

pub static SSCAN: Docs = doc(
    "2.8.0",
    "Walks through a set in steps.",
    "O(1) a step, O(N) until the cursor is back at 0, N being the members of the set.",
)
.tips(&["nondeterministic_output"])
.args(&[
    Arg::key("key", 0),
    Arg::integer("cursor"),
    Arg::pattern("pattern").token("MATCH").optional(),
    Arg::integer("count").token("COUNT").optional(),
]);

pub static SUNION: Docs = doc(
    "1.0.0",
    "Computes which members are in any of the sets.",
    "O(N) in the members of all sets together.",
)
.tips(&["nondeterministic_output_order"])
.args(&[Arg::key("key", 0).multiple()]);

pub static SUNIONSTORE: Docs = doc(
    "1.0.0",
    "Keeps the members that are in any of the sets in a key.",
    "O(N) in the members of all sets together.",
)
.args(&[Arg::key("destination", 0), Arg::key("key", 1).multiple()]);
