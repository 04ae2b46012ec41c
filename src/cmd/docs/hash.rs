//! Hashes and their fields.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("hash", since, summary, complexity)
}

const DATA: Arg = Arg::block("data", &[Arg::string("field"), Arg::string("value")]).multiple();

pub static HDEL: Docs = doc(
    "2.0.0",
    "Removes fields from a hash, and the hash when it has none left.",
    "O(N) in the fields given.",
)
.history(&[("2.4.0", "More than one `field` is accepted.")])
.args(&[Arg::key("key", 0), Arg::string("field").multiple()]);

pub static HEXISTS: Docs = doc("2.0.0", "Tells whether a hash has a field.", "O(1)")
    .args(&[Arg::key("key", 0), Arg::string("field")]);

pub static HGET: Docs =
    doc("2.0.0", "Reads a field of a hash.", "O(1)").args(&[Arg::key("key", 0), Arg::string("field")]);

pub static HGETALL: Docs =
    doc("2.0.0", "Reads all fields of a hash with their values.", "O(N) in the fields of the hash.")
        .tips(&["nondeterministic_output_order"])
        .args(&[Arg::key("key", 0)]);

pub static HINCRBY: Docs =
    doc("2.0.0", "Adds to an integer in a field, which counts as 0 where it is missing.", "O(1)")
        .args(&[Arg::key("key", 0), Arg::string("field"), Arg::integer("increment")]);

pub static HINCRBYFLOAT: Docs = doc(
    "2.6.0",
    "Adds to a floating-point number in a field, which counts as 0 where it is missing.",
    "O(1)",
)
.args(&[Arg::key("key", 0), Arg::string("field"), Arg::double("increment")]);

pub static HKEYS: Docs =
    doc("2.0.0", "Names the fields of a hash, without their values.", "O(N) in the fields of the hash.")
        .tips(&["nondeterministic_output_order"])
        .args(&[Arg::key("key", 0)]);

pub static HLEN: Docs = doc("2.0.0", "Counts the fields of a hash.", "O(1)").args(&[Arg::key("key", 0)]);

pub static HMGET: Docs = doc("2.0.0", "Reads the given fields of a hash.", "O(N) in the fields given.")
    .args(&[Arg::key("key", 0), Arg::string("field").multiple()]);

pub static HMSET: Docs = doc("2.0.0", "Writes several fields of a hash.", "O(N) in the fields given.")
    .deprecated("4.0.0", "`HSET` with multiple field-value pairs")
    .args(&[Arg::key("key", 0), DATA]);

pub static HRANDFIELD: Docs =
    doc("6.2.0", "Picks fields of a hash at random.", "O(N) in the fields returned.")
        .tips(&["nondeterministic_output"])
        .args(&[
            Arg::key("key", 0),
            Arg::block(
                "options",
                &[Arg::integer("count"), Arg::word("withvalues", "WITHVALUES").optional()],
            )
            .optional(),
        ]);

pub static HSCAN: Docs = doc(
    "2.8.0",
    "Walks through a hash in steps.",
    "O(1) a step, O(N) until the cursor is back at 0, N being the fields of the hash.",
)
.tips(&["nondeterministic_output"])
.args(&[
    Arg::key("key", 0),
    Arg::integer("cursor"),
    Arg::pattern("pattern").token("MATCH").optional(),
    Arg::integer("count").token("COUNT").optional(),
]);

pub static HSET: Docs = doc(
    "2.0.0",
    "Writes fields of a hash, which is made where there was no key.",
    "O(1) for each field, so O(N) for N of them.",
)
.history(&[("4.0.0", "More than one pair of `field` and `value` is accepted.")])
.args(&[Arg::key("key", 0), DATA]);

pub static HSETNX: Docs = doc("2.0.0", "Writes a field of a hash unless it exists.", "O(1)").args(&[
    Arg::key("key", 0),
    Arg::string("field"),
    Arg::string("value"),
]);

pub static HSTRLEN: Docs = doc("3.2.0", "Tells how many bytes the value of a field has.", "O(1)")
    .args(&[Arg::key("key", 0), Arg::string("field")]);

pub static HVALS: Docs =
    doc("2.0.0", "Reads the values of all fields of a hash.", "O(N) in the fields of the hash.")
        .tips(&["nondeterministic_output_order"])
        .args(&[Arg::key("key", 0)]);
