//! Sorted sets: by rank, by score, by string.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("sorted-set", since, summary, complexity)
}

const WHERE: Arg = Arg::oneof("where", &[Arg::word("min", "MIN"), Arg::word("max", "MAX")]);

const AGGREGATE: Arg = Arg::oneof(
    "aggregate",
    &[Arg::word("sum", "SUM"), Arg::word("min", "MIN"), Arg::word("max", "MAX")],
)
.token("AGGREGATE")
.optional();

const LIMIT: Arg =
    Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")]).token("LIMIT").optional();

pub static BZMPOP: Docs = doc(
    "7.0.0",
    "Takes the lowest or highest members off the first sorted set that has any, waiting while all \
     are empty.",
    "O(K) + O(M*log(N)): K keys given, N members in the set, M of them taken.",
)
.args(&[
    Arg::double("timeout"),
    Arg::integer("numkeys"),
    Arg::key("key", 0).multiple(),
    WHERE,
    Arg::integer("count").token("COUNT").optional(),
]);

pub static BZPOPMAX: Docs = doc(
    "5.0.0",
    "Takes the member of highest score off the first sorted set that has one, waiting while all \
     are empty.",
    "O(log(N)) for N members in the set.",
)
.history(&[("6.0.0", "Fractions of a second are accepted for `timeout`.")])
.args(&[Arg::key("key", 0).multiple(), Arg::double("timeout")]);

pub static BZPOPMIN: Docs = doc(
    "5.0.0",
    "Takes the member of lowest score off the first sorted set that has one, waiting while all are \
     empty.",
    "O(log(N)) for N members in the set.",
)
.history(&[("6.0.0", "Fractions of a second are accepted for `timeout`.")])
.args(&[Arg::key("key", 0).multiple(), Arg::double("timeout")]);

pub static ZADD: Docs = doc(
    "1.2.0",
    "Puts members into a sorted set or changes their scores.",
    "O(log(N)) for each member, N being those in the set.",
)
.history(&[
    ("2.4.0", "More than one pair of score and member is accepted."),
    ("3.0.2", "New options: `XX`, `NX`, `CH`, `INCR`."),
    ("6.2.0", "New options: `GT`, `LT`."),
])
.args(&[
    Arg::key("key", 0),
    Arg::oneof("condition", &[Arg::word("nx", "NX"), Arg::word("xx", "XX")]).optional().since("3.0.2"),
    Arg::oneof("comparison", &[Arg::word("gt", "GT"), Arg::word("lt", "LT")]).optional().since("6.2.0"),
    Arg::word("change", "CH").optional().since("3.0.2"),
    Arg::word("increment", "INCR").optional().since("3.0.2"),
    Arg::block("data", &[Arg::double("score"), Arg::string("member")]).multiple(),
]);

pub static ZCARD: Docs =
    doc("1.2.0", "Counts the members of a sorted set.", "O(1)").args(&[Arg::key("key", 0)]);

pub static ZCOUNT: Docs =
    doc("2.0.0", "Counts the members whose score is in a range.", "O(log(N)) for N members in the set.")
        .args(&[Arg::key("key", 0), Arg::double("min"), Arg::double("max")]);

pub static ZDIFF: Docs = doc(
    "6.2.0",
    "Computes which members of the first sorted set are in none of the others.",
    "O(L + (N-K)log(N)) at worst: L members in all sets together, N in the first, K in the result.",
)
.args(&[
    Arg::integer("numkeys"),
    Arg::key("key", 0).multiple(),
    Arg::word("withscores", "WITHSCORES").optional(),
]);

pub static ZDIFFSTORE: Docs = doc(
    "6.2.0",
    "Keeps those members of the first sorted set that are in none of the others in a key.",
    "O(L + (N-K)log(N)) at worst: L members in all sets together, N in the first, K in the result.",
)
.args(&[Arg::key("destination", 0), Arg::integer("numkeys"), Arg::key("key", 1).multiple()]);

pub static ZINCRBY: Docs = doc(
    "1.2.0",
    "Adds to the score of a member, which counts as 0 where it is missing.",
    "O(log(N)) for N members in the set.",
)
.args(&[Arg::key("key", 0), Arg::integer("increment"), Arg::string("member")]);

pub static ZINTER: Docs = doc(
    "6.2.0",
    "Computes which members are in all of the sorted sets.",
    "O(N*K)+O(M*log(M)) at worst: N members in the smallest set, K sets, M members in the result.",
)
.args(&[
    Arg::integer("numkeys"),
    Arg::key("key", 0).multiple(),
    Arg::integer("weight").token("WEIGHTS").optional().multiple(),
    AGGREGATE,
    Arg::word("withscores", "WITHSCORES").optional(),
]);

pub static ZINTERCARD: Docs = doc(
    "7.0.0",
    "Counts the members that are in all of the sorted sets.",
    "O(N*K) at worst: N members in the smallest set, K sets.",
)
.args(&[
    Arg::integer("numkeys"),
    Arg::key("key", 0).multiple(),
    Arg::integer("limit").token("LIMIT").optional(),
]);

pub static ZINTERSTORE: Docs = doc(
    "2.0.0",
    "Keeps the members that are in all of the sorted sets in a key.",
    "O(N*K)+O(M*log(M)) at worst: N members in the smallest set, K sets, M members in the result.",
)
.args(&[
    Arg::key("destination", 0),
    Arg::integer("numkeys"),
    Arg::key("key", 1).multiple(),
    Arg::integer("weight").token("WEIGHTS").optional().multiple(),
    AGGREGATE,
]);

pub static ZLEXCOUNT: Docs = doc(
    "2.8.9",
    "Counts the members between two strings, where all scores are equal.",
    "O(log(N)) for N members in the set.",
)
.args(&[Arg::key("key", 0), Arg::string("min"), Arg::string("max")]);

pub static ZMPOP: Docs = doc(
    "7.0.0",
    "Takes the lowest or highest members off the first sorted set that has any.",
    "O(K) + O(M*log(N)): K keys given, N members in the set, M of them taken.",
)
.args(&[
    Arg::integer("numkeys"),
    Arg::key("key", 0).multiple(),
    WHERE,
    Arg::integer("count").token("COUNT").optional(),
]);

pub static ZMSCORE: Docs =
    doc("6.2.0", "Reads the scores of several members.", "O(N) in the members given.")
        .args(&[Arg::key("key", 0), Arg::string("member").multiple()]);

pub static ZPOPMAX: Docs = doc(
    "5.0.0",
    "Takes the members of highest score off a sorted set.",
    "O(log(N)*M): N members in the set, M of them taken.",
)
.args(&[Arg::key("key", 0), Arg::integer("count").optional()]);

pub static ZPOPMIN: Docs = doc(
    "5.0.0",
    "Takes the members of lowest score off a sorted set.",
    "O(log(N)*M): N members in the set, M of them taken.",
)
.args(&[Arg::key("key", 0), Arg::integer("count").optional()]);

pub static ZRANDMEMBER: Docs =
    doc("6.2.0", "Picks members of a sorted set at random.", "O(N) in the members returned.")
        .tips(&["nondeterministic_output"])
        .args(&[
            Arg::key("key", 0),
            Arg::block(
                "options",
                &[Arg::integer("count"), Arg::word("withscores", "WITHSCORES").optional()],
            )
            .optional(),
        ]);

pub static ZRANGE: Docs = doc(
    "1.2.0",
    "Reads a range of a sorted set, by rank, score or string.",
    "O(log(N)+M): N members in the set, M returned.",
)
.history(&[("6.2.0", "New options: `REV`, `BYSCORE`, `BYLEX`, `LIMIT`.")])
.args(&[
    Arg::key("key", 0),
    Arg::string("start"),
    Arg::string("stop"),
    Arg::oneof("sortby", &[Arg::word("byscore", "BYSCORE"), Arg::word("bylex", "BYLEX")])
        .optional()
        .since("6.2.0"),
    Arg::word("rev", "REV").optional().since("6.2.0"),
    Arg::block("limit", &[Arg::integer("offset"), Arg::integer("count")])
        .token("LIMIT")
        .optional()
        .since("6.2.0"),
    Arg::word("withscores", "WITHSCORES").optional(),
]);

pub static ZRANGEBYLEX: Docs = doc(
    "2.8.9",
    "Reads the members between two strings, where all scores are equal.",
    "O(log(N)+M): N members in the set, M returned, so O(log(N)) for a fixed LIMIT.",
)
.deprecated("6.2.0", "`ZRANGE` with the `BYLEX` argument")
.args(&[Arg::key("key", 0), Arg::string("min"), Arg::string("max"), LIMIT]);

pub static ZRANGEBYSCORE: Docs = doc(
    "1.0.5",
    "Reads the members whose score is in a range.",
    "O(log(N)+M): N members in the set, M returned, so O(log(N)) for a fixed LIMIT.",
)
.deprecated("6.2.0", "`ZRANGE` with the `BYSCORE` argument")
.history(&[("2.0.0", "New option: `WITHSCORES`.")])
.args(&[
    Arg::key("key", 0),
    Arg::double("min"),
    Arg::double("max"),
    Arg::word("withscores", "WITHSCORES").optional().since("2.0.0"),
    LIMIT,
]);

pub static ZRANGESTORE: Docs = doc(
    "6.2.0",
    "Keeps a range of a sorted set, by rank, score or string, in a key.",
    "O(log(N)+M): N members in the set, M stored.",
)
.args(&[
    Arg::key("dst", 0),
    Arg::key("src", 1),
    Arg::string("min"),
    Arg::string("max"),
    Arg::oneof("sortby", &[Arg::word("byscore", "BYSCORE"), Arg::word("bylex", "BYLEX")]).optional(),
    Arg::word("rev", "REV").optional(),
    LIMIT,
]);

pub static ZRANK: Docs =
    doc("2.0.0", "Tells at which place a member stands, counting from the lowest score.", "O(log(N))")
        .history(&[("7.2.0", "New option: `WITHSCORE`.")])
        .args(&[
            Arg::key("key", 0),
            Arg::string("member"),
            Arg::word("withscore", "WITHSCORE").optional(),
        ]);

pub static ZREM: Docs = doc(
    "1.2.0",
    "Removes members from a sorted set, and the set when it has none left.",
    "O(M*log(N)): N members in the set, M removed.",
)
.history(&[("2.4.0", "More than one member is accepted.")])
.args(&[Arg::key("key", 0), Arg::string("member").multiple()]);

pub static ZREMRANGEBYLEX: Docs = doc(
    "2.8.9",
    "Removes the members between two strings, where all scores are equal.",
    "O(log(N)+M): N members in the set, M removed.",
)
.args(&[Arg::key("key", 0), Arg::string("min"), Arg::string("max")]);

pub static ZREMRANGEBYRANK: Docs = doc(
    "2.0.0",
    "Removes the members whose place is in a range.",
    "O(log(N)+M): N members in the set, M removed.",
)
.args(&[Arg::key("key", 0), Arg::integer("start"), Arg::integer("stop")]);

pub static ZREMRANGEBYSCORE: Docs = doc(
    "1.2.0",
    "Removes the members whose score is in a range.",
    "O(log(N)+M): N members in the set, M removed.",
)
.args(&[Arg::key("key", 0), Arg::double("min"), Arg::double("max")]);

pub static ZREVRANGE: Docs = doc(
    "1.2.0",
    "Reads a range of a sorted set by place, highest score first.",
    "O(log(N)+M): N members in the set, M returned.",
)
.deprecated("6.2.0", "`ZRANGE` with the `REV` argument")
.args(&[
    Arg::key("key", 0),
    Arg::integer("start"),
    Arg::integer("stop"),
    Arg::word("withscores", "WITHSCORES").optional(),
]);

pub static ZREVRANGEBYLEX: Docs = doc(
    "2.8.9",
    "Reads the members between two strings in descending order, where all scores are equal.",
    "O(log(N)+M): N members in the set, M returned, so O(log(N)) for a fixed LIMIT.",
)
.deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments")
.args(&[Arg::key("key", 0), Arg::string("max"), Arg::string("min"), LIMIT]);

pub static ZREVRANGEBYSCORE: Docs = doc(
    "2.2.0",
    "Reads the members whose score is in a range, highest first.",
    "O(log(N)+M): N members in the set, M returned, so O(log(N)) for a fixed LIMIT.",
)
.deprecated("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments")
.history(&[("2.1.6", "`min` and `max` may be exclusive bounds.")])
.args(&[
    Arg::key("key", 0),
    Arg::double("max"),
    Arg::double("min"),
    Arg::word("withscores", "WITHSCORES").optional(),
    LIMIT,
]);

pub static ZREVRANK: Docs =
    doc("2.0.0", "Tells at which place a member stands, counting from the highest score.", "O(log(N))")
        .history(&[("7.2.0", "New option: `WITHSCORE`.")])
        .args(&[
            Arg::key("key", 0),
            Arg::string("member"),
            Arg::word("withscore", "WITHSCORE").optional(),
        ]);

pub static ZSCAN: Docs = doc(
    "2.8.0",
    "Walks through a sorted set in steps.",
    "O(1) a step, O(N) until the cursor is back at 0, N being the members of the set.",
)
.tips(&["nondeterministic_output"])
.args(&[
    Arg::key("key", 0),
    Arg::integer("cursor"),
    Arg::pattern("pattern").token("MATCH").optional(),
    Arg::integer("count").token("COUNT").optional(),
]);

pub static ZSCORE: Docs = doc("1.2.0", "Reads the score of a member.", "O(1)")
    .args(&[Arg::key("key", 0), Arg::string("member")]);

pub static ZUNION: Docs = doc(
    "6.2.0",
    "Computes which members are in any of the sorted sets, with their scores combined.",
    "O(N)+O(M*log(M)): N members in all sets together, M in the result.",
)
.args(&[
    Arg::integer("numkeys"),
    Arg::key("key", 0).multiple(),
    Arg::integer("weight").token("WEIGHTS").optional().multiple(),
    AGGREGATE,
    Arg::word("withscores", "WITHSCORES").optional(),
]);

pub static ZUNIONSTORE: Docs = doc(
    "2.0.0",
    "Keeps the members that are in any of the sorted sets, with their scores combined, in a key.",
    "O(N)+O(M log(M)): N members in all sets together, M in the result.",
)
.args(&[
    Arg::key("destination", 0),
    Arg::integer("numkeys"),
    Arg::key("key", 1).multiple(),
    Arg::integer("weight").token("WEIGHTS").optional().multiple(),
    AGGREGATE,
]);
