//! Streams, consumer groups, and what is pending in them.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("stream", since, summary, complexity)
}

const STRATEGY: Arg =
    Arg::oneof("strategy", &[Arg::word("maxlen", "MAXLEN"), Arg::word("minid", "MINID").since("6.2.0")]);

const OPERATOR: Arg =
    Arg::oneof("operator", &[Arg::word("equal", "="), Arg::word("approximately", "~")]).optional();

const ID_SELECTOR: Arg = Arg::oneof("id-selector", &[Arg::string("id"), Arg::word("new-id", "$")]);

const STREAMS: Arg =
    Arg::block("streams", &[Arg::key("key", 0).multiple(), Arg::string("id").multiple()])
        .token("STREAMS");

pub static XACK: Docs = doc(
    "5.0.0",
    "Confirms that entries handed to a consumer group are dealt with.",
    "O(1) for each id.",
)
.args(&[Arg::key("key", 0), Arg::string("group"), Arg::string("id").multiple()]);

pub static XADD: Docs = doc(
    "5.0.0",
    "Adds an entry to a stream, which is made where there was no key.",
    "O(1), and O(N) when it trims, for the N entries dropped.",
)
.history(&[
    ("6.2.0", "New options: `NOMKSTREAM`, `MINID`, `LIMIT`."),
    ("7.0.0", "Ids of the form `<ms>-*` are accepted."),
])
.tips(&["nondeterministic_output"])
.args(&[
    Arg::key("key", 0),
    Arg::word("nomkstream", "NOMKSTREAM").optional().since("6.2.0"),
    Arg::block(
        "trim",
        &[
            STRATEGY,
            OPERATOR,
            Arg::string("threshold"),
            Arg::integer("count").token("LIMIT").optional().since("6.2.0"),
        ],
    )
    .optional(),
    Arg::oneof("id-selector", &[Arg::word("auto-id", "*"), Arg::string("id")]),
    Arg::block("data", &[Arg::string("field"), Arg::string("value")]).multiple(),
]);

pub static XAUTOCLAIM: Docs = doc(
    "6.2.0",
    "Hands entries that were left pending for too long to another consumer.",
    "O(1) for a small COUNT.",
)
.history(&[("7.0.0", "The reply ends with the ids that were dropped as the stream no longer has them.")])
.tips(&["nondeterministic_output"])
.args(&[
    Arg::key("key", 0),
    Arg::string("group"),
    Arg::string("consumer"),
    Arg::string("min-idle-time"),
    Arg::string("start"),
    Arg::integer("count").token("COUNT").optional(),
    Arg::word("justid", "JUSTID").optional(),
]);

pub static XCLAIM: Docs = doc(
    "5.0.0",
    "Hands the given pending entries to another consumer.",
    "O(log N) for N pending entries of the group.",
)
.tips(&["nondeterministic_output"])
.args(&[
    Arg::key("key", 0),
    Arg::string("group"),
    Arg::string("consumer"),
    Arg::string("min-idle-time"),
    Arg::string("id").multiple(),
    Arg::integer("ms").token("IDLE").optional(),
    Arg::unix_time("unix-time-milliseconds").token("TIME").optional(),
    Arg::integer("count").token("RETRYCOUNT").optional(),
    Arg::word("force", "FORCE").optional(),
    Arg::word("justid", "JUSTID").optional(),
    Arg::string("lastid").token("LASTID").optional(),
]);

pub static XDEL: Docs = doc(
    "5.0.0",
    "Removes entries from a stream by their ids.",
    "O(1) for each entry, however long the stream.",
)
.args(&[Arg::key("key", 0), Arg::string("id").multiple()]);

pub static XGROUP: Docs =
    doc("5.0.0", "Groups the commands that manage consumer groups.", "That of the subcommand.");

pub static XGROUP_CREATE: Docs = doc("5.0.0", "Adds a consumer group to a stream.", "O(1)")
    .history(&[("7.0.0", "New option: `ENTRIESREAD`.")])
    .args(&[
        Arg::key("key", 0),
        Arg::string("group"),
        ID_SELECTOR,
        Arg::word("mkstream", "MKSTREAM").optional(),
        Arg::integer("entries-read").token("ENTRIESREAD").optional(),
    ]);

pub static XGROUP_CREATECONSUMER: Docs = doc("6.2.0", "Adds a consumer to a group.", "O(1)").args(&[
    Arg::key("key", 0),
    Arg::string("group"),
    Arg::string("consumer"),
]);

pub static XGROUP_DELCONSUMER: Docs =
    doc("5.0.0", "Removes a consumer from a group, with what it left pending.", "O(1)").args(&[
        Arg::key("key", 0),
        Arg::string("group"),
        Arg::string("consumer"),
    ]);

pub static XGROUP_DESTROY: Docs =
    doc("5.0.0", "Removes a consumer group from a stream.", "O(N) in the pending entries of the group.")
        .args(&[Arg::key("key", 0), Arg::string("group")]);

pub static XGROUP_HELP: Docs = doc("5.0.0", "Describes each subcommand in a line or two.", "O(1)");

pub static XGROUP_SETID: Docs =
    doc("5.0.0", "Moves the point from which a group is served new entries.", "O(1)")
        .history(&[("7.0.0", "New option: `ENTRIESREAD`.")])
        .args(&[
            Arg::key("key", 0),
            Arg::string("group"),
            ID_SELECTOR,
            Arg::integer("entriesread").token("ENTRIESREAD").shown("entries-read").optional(),
        ]);

pub static XINFO: Docs =
    doc("5.0.0", "Groups the commands that look inside streams.", "That of the subcommand.");

pub static XINFO_CONSUMERS: Docs = doc("5.0.0", "Describes the consumers of a group.", "O(1)")
    .history(&[("7.2.0", "New field: `inactive`.")])
    .tips(&["nondeterministic_output"])
    .args(&[Arg::key("key", 0), Arg::string("group")]);

pub static XINFO_GROUPS: Docs = doc("5.0.0", "Describes the consumer groups of a stream.", "O(1)")
    .history(&[("7.0.0", "New fields: `entries-read`, `lag`.")])
    .args(&[Arg::key("key", 0)]);

pub static XINFO_HELP: Docs = doc("5.0.0", "Describes each subcommand in a line or two.", "O(1)");

pub static XINFO_STREAM: Docs = doc("5.0.0", "Describes a stream, briefly or in full.", "O(1)")
    .history(&[
        ("6.0.0", "New option: `FULL`."),
        (
            "7.0.0",
            "New fields: `max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, \
                 `entries-read`, `lag`.",
        ),
        ("7.2.0", "New field: `active-time`. `seen-time` means something else than before."),
    ])
    .args(&[
        Arg::key("key", 0),
        Arg::block(
            "full-block",
            &[Arg::word("full", "FULL"), Arg::integer("count").token("COUNT").optional()],
        )
        .optional(),
    ]);

pub static XLEN: Docs =
    doc("5.0.0", "Counts the entries of a stream.", "O(1)").args(&[Arg::key("key", 0)]);

pub static XPENDING: Docs = doc(
    "5.0.0",
    "Shows what a group was handed and has not confirmed, in sum or entry by entry.",
    "O(N) in the entries returned, so O(1) for a fixed few; O(M) with IDLE, for M entries looked \
     at. The summary is O(1) for few consumers, else O(N) in the consumers.",
)
.history(&[("6.2.0", "New option: `IDLE`. Ends of the range can be exclusive.")])
.tips(&["nondeterministic_output"])
.args(&[
    Arg::key("key", 0),
    Arg::string("group"),
    Arg::block(
        "filters",
        &[
            Arg::integer("min-idle-time").token("IDLE").optional().since("6.2.0"),
            Arg::string("start"),
            Arg::string("end"),
            Arg::integer("count"),
            Arg::string("consumer").optional(),
        ],
    )
    .optional(),
]);

pub static XRANGE: Docs = doc(
    "5.0.0",
    "Reads the entries of a stream between two ids.",
    "O(N) in the entries returned, so O(1) for a fixed COUNT.",
)
.history(&[("6.2.0", "Ends of the range can be exclusive.")])
.args(&[
    Arg::key("key", 0),
    Arg::string("start"),
    Arg::string("end"),
    Arg::integer("count").token("COUNT").optional(),
]);

pub static XREAD: Docs =
    doc("5.0.0", "Reads the entries of streams after the given ids, and may wait for them.", "").args(
        &[
            Arg::integer("count").token("COUNT").optional(),
            Arg::integer("milliseconds").token("BLOCK").optional(),
            STREAMS,
        ],
    );

pub static XREADGROUP: Docs = doc(
    "5.0.0",
    "Reads entries of streams as a consumer of a group, and may wait for them.",
    "O(M) for the M entries returned from each stream, so O(1) for a fixed COUNT. While N clients \
     wait for a stream, XADD spends O(N) on serving them.",
)
.args(&[
    Arg::block("group-block", &[Arg::string("group"), Arg::string("consumer")]).token("GROUP"),
    Arg::integer("count").token("COUNT").optional(),
    Arg::integer("milliseconds").token("BLOCK").optional(),
    Arg::word("noack", "NOACK").optional(),
    STREAMS,
]);

pub static XREVRANGE: Docs = doc(
    "5.0.0",
    "Reads the entries of a stream between two ids, latest first.",
    "O(N) in the entries returned, so O(1) for a fixed COUNT.",
)
.history(&[("6.2.0", "Ends of the range can be exclusive.")])
.args(&[
    Arg::key("key", 0),
    Arg::string("end"),
    Arg::string("start"),
    Arg::integer("count").token("COUNT").optional(),
]);

pub static XSETID: Docs = doc("5.0.0", "Sets the last id of a stream, for replication.", "O(1)")
    .history(&[("7.0.0", "New options: `ENTRIESADDED`, `MAXDELETEDID`.")])
    .args(&[
        Arg::key("key", 0),
        Arg::string("last-id"),
        Arg::integer("entries-added").token("ENTRIESADDED").optional().since("7.0.0"),
        Arg::string("max-deleted-id").token("MAXDELETEDID").optional().since("7.0.0"),
    ]);

pub static XTRIM: Docs = doc(
    "5.0.0",
    "Drops the oldest entries of a stream.",
    "O(N) in the entries dropped, with a small constant: whole nodes of entries are freed at once.",
)
.history(&[("6.2.0", "New options: `MINID`, `LIMIT`.")])
.tips(&["nondeterministic_output"])
.args(&[
    Arg::key("key", 0),
    Arg::block(
        "trim",
        &[
            STRATEGY,
            OPERATOR,
            Arg::string("threshold"),
            Arg::integer("count").token("LIMIT").optional().since("6.2.0"),
        ],
    ),
]);
