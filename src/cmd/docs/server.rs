//! The server as a whole: configuration, persistence, replication, introspection.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("server", since, summary, complexity)
}

const FLUSH_TYPE: Arg = Arg::oneof(
    "flush-type",
    &[Arg::word("async", "ASYNC").since("4.0.0"), Arg::word("sync", "SYNC").since("6.2.0")],
)
.optional();

const MASTER: Arg = Arg::oneof(
    "args",
    &[
        Arg::block("host-port", &[Arg::string("host"), Arg::integer("port")]),
        Arg::block("no-one", &[Arg::word("no", "NO"), Arg::word("one", "ONE")]),
    ],
);

pub static BGREWRITEAOF: Docs =
    doc("1.0.0", "Starts a child process that writes the append-only file anew.", "O(1)");

pub static BGSAVE: Docs =
    doc("1.0.0", "Starts a child process that writes a snapshot of the dataset.", "O(1)")
        .history(&[("3.2.2", "New option: `SCHEDULE`.")])
        .args(&[Arg::word("schedule", "SCHEDULE").optional().since("3.2.2")]);

pub static COMMAND: Docs =
    doc("2.8.13", "Describes every command.", "O(N) in the commands that the server knows.")
        .tips(&["nondeterministic_output_order"]);

pub static COMMAND_COUNT: Docs = doc("2.8.13", "Counts the commands that the server knows.", "O(1)");

pub static COMMAND_DOCS: Docs =
    doc("7.0.0", "Documents the given commands, or all.", "O(N) in the commands looked up.")
        .tips(&["nondeterministic_output_order"])
        .args(&[Arg::string("command-name").optional().multiple()]);

pub static COMMAND_GETKEYS: Docs = doc(
    "2.8.13",
    "Picks the keys out of a full command line.",
    "O(N) in the arguments of the command line.",
)
.args(&[Arg::string("command"), Arg::string("arg").optional().multiple()]);

pub static COMMAND_GETKEYSANDFLAGS: Docs = doc(
    "7.0.0",
    "Picks the keys out of a full command line and says what is done to each.",
    "O(N) in the arguments of the command line.",
)
.args(&[Arg::string("command"), Arg::string("arg").optional().multiple()]);

pub static COMMAND_HELP: Docs = doc("5.0.0", "Describes each subcommand in a line or two.", "O(1)");

pub static COMMAND_INFO: Docs =
    doc("2.8.13", "Describes the given commands, or all.", "O(N) in the commands looked up.")
        .history(&[("7.0.0", "Without a name, all commands are described.")])
        .tips(&["nondeterministic_output_order"])
        .args(&[Arg::string("command-name").optional().multiple()]);

pub static COMMAND_LIST: Docs = doc(
    "7.0.0",
    "Names the commands, all or those that pass a filter.",
    "O(N) in the commands that the server knows.",
)
.tips(&["nondeterministic_output_order"])
.args(&[Arg::oneof(
    "filterby",
    &[
        Arg::string("module-name").token("MODULE"),
        Arg::string("category").token("ACLCAT"),
        Arg::pattern("pattern").token("PATTERN"),
    ],
)
.token("FILTERBY")
.optional()]);

pub static CONFIG: Docs =
    doc("2.0.0", "Groups the commands about the configuration.", "That of the subcommand.");

pub static CONFIG_GET: Docs = doc(
    "2.0.0",
    "Shows the settings whose names match the patterns.",
    "O(N) in the settings asked for.",
)
.history(&[("7.0.0", "More than one pattern is accepted.")])
.args(&[Arg::string("parameter").multiple()]);

pub static CONFIG_HELP: Docs = doc("5.0.0", "Describes each subcommand in a line or two.", "O(1)");

pub static CONFIG_RESETSTAT: Docs = doc("2.0.0", "Starts the counters of INFO from zero again.", "O(1)")
    .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]);

pub static CONFIG_REWRITE: Docs =
    doc("2.8.0", "Brings the configuration file up to date with the settings in force.", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]);

pub static CONFIG_SET: Docs =
    doc("2.0.0", "Changes settings while the server runs.", "O(N) in the settings given.")
        .history(&[("7.0.0", "More than one setting can change in a single step.")])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .args(&[Arg::block("data", &[Arg::string("parameter"), Arg::string("value")]).multiple()]);

pub static DBSIZE: Docs = doc("1.0.0", "Counts the keys of the selected database.", "O(1)")
    .tips(&["request_policy:all_shards", "response_policy:agg_sum"]);

pub static DEBUG: Docs =
    doc("1.0.0", "Groups the commands for tests and for looking inside.", "That of the subcommand.")
        .syscmd();

pub static FAILOVER: Docs =
    doc("6.2.0", "Has a replica take over from this master in an orderly way.", "O(1)").args(&[
        Arg::block(
            "target",
            &[Arg::string("host"), Arg::integer("port"), Arg::word("force", "FORCE").optional()],
        )
        .token("TO")
        .optional(),
        Arg::word("abort", "ABORT").optional(),
        Arg::integer("milliseconds").token("TIMEOUT").optional(),
    ]);

pub static FLUSHALL: Docs = doc("1.0.0", "Empties all databases.", "O(N) in the keys of all databases.")
    .history(&[("4.0.0", "New option: `ASYNC`."), ("6.2.0", "New option: `SYNC`.")])
    .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
    .args(&[FLUSH_TYPE]);

pub static FLUSHDB: Docs =
    doc("1.0.0", "Empties the selected database.", "O(N) in the keys of the database.")
        .history(&[("4.0.0", "New option: `ASYNC`."), ("6.2.0", "New option: `SYNC`.")])
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .args(&[FLUSH_TYPE]);

pub static INFO: Docs = doc("1.0.0", "Reports on the server, section by section.", "O(1)")
    .history(&[("7.0.0", "More than one section can be asked for.")])
    .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"])
    .args(&[Arg::string("section").optional().multiple()]);

pub static LASTSAVE: Docs =
    doc("1.0.0", "Tells when the dataset was last saved, as a Unix time.", "O(1)")
        .tips(&["nondeterministic_output"]);

pub static LATENCY: Docs =
    doc("2.8.13", "Groups the commands about latency.", "That of the subcommand.");

pub static LATENCY_DOCTOR: Docs =
    doc("2.8.13", "Explains the recorded spikes and gives advice.", "O(1)").tips(&[
        "nondeterministic_output",
        "request_policy:all_nodes",
        "response_policy:special",
    ]);

pub static LATENCY_GRAPH: Docs = doc("2.8.13", "Draws the spikes of an event in ASCII.", "O(1)")
    .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
    .args(&[Arg::string("event")]);

pub static LATENCY_HELP: Docs = doc("2.8.13", "Describes each subcommand in a line or two.", "O(1)");

pub static LATENCY_HISTOGRAM: Docs = doc(
    "7.0.0",
    "Shows how the running times of commands are distributed.",
    "O(N) in the commands reported.",
)
.tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
.args(&[Arg::string("command").optional().multiple()]);

pub static LATENCY_HISTORY: Docs =
    doc("2.8.13", "Lists the spikes of an event with their times.", "O(1)")
        .tips(&["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"])
        .args(&[Arg::string("event")]);

pub static LATENCY_LATEST: Docs = doc("2.8.13", "Shows the last spike of each event.", "O(1)").tips(&[
    "nondeterministic_output",
    "request_policy:all_nodes",
    "response_policy:special",
]);

pub static LATENCY_RESET: Docs =
    doc("2.8.13", "Forgets the spikes of the given events, or of all.", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:agg_sum"])
        .args(&[Arg::string("event").optional().multiple()]);

pub static LOLWUT: Docs = doc("5.0.0", "Draws a picture and tells the version.", "")
    .args(&[Arg::integer("version").token("VERSION").optional()]);

pub static MEMORY: Docs = doc("4.0.0", "Groups the commands about memory.", "That of the subcommand.");

pub static MEMORY_DOCTOR: Docs = doc("4.0.0", "Looks for trouble with memory and explains it.", "O(1)")
    .tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]);

pub static MEMORY_HELP: Docs = doc("4.0.0", "Describes each subcommand in a line or two.", "O(1)");

pub static MEMORY_MALLOC_STATS: Docs = doc(
    "4.0.0",
    "Prints what the allocator says about itself.",
    "Depends on the memory in use; may take long.",
)
.tips(&["nondeterministic_output", "request_policy:all_shards", "response_policy:special"]);

pub static MEMORY_PURGE: Docs = doc(
    "4.0.0",
    "Has the allocator give unused pages back to the system.",
    "Depends on the memory in use; may take long.",
)
.tips(&["request_policy:all_shards", "response_policy:all_succeeded"]);

pub static MEMORY_STATS: Docs = doc("4.0.0", "Breaks down what memory is used for.", "O(1)").tips(&[
    "nondeterministic_output",
    "request_policy:all_shards",
    "response_policy:special",
]);

pub static MEMORY_USAGE: Docs =
    doc("4.0.0", "Estimates the bytes that a key and its value take.", "O(N) in the elements sampled.")
        .args(&[Arg::key("key", 0), Arg::integer("count").token("SAMPLES").optional()]);

pub static MODULE: Docs = doc("4.0.0", "Groups the commands about modules.", "That of the subcommand.");

pub static MODULE_HELP: Docs = doc("5.0.0", "Describes each subcommand in a line or two.", "O(1)");

pub static MODULE_LIST: Docs =
    doc("4.0.0", "Describes the loaded modules.", "O(N) in the loaded modules.")
        .tips(&["nondeterministic_output_order"]);

pub static MODULE_LOAD: Docs = doc("4.0.0", "Loads a module from a shared library.", "O(1)")
    .args(&[Arg::string("path"), Arg::string("arg").optional().multiple()]);

pub static MODULE_LOADEX: Docs =
    doc("7.0.0", "Loads a module from a shared library, with settings for it.", "O(1)").args(&[
        Arg::string("path"),
        Arg::block("configs", &[Arg::string("name"), Arg::string("value")])
            .token("CONFIG")
            .optional()
            .multiple_token(),
        Arg::string("args").token("ARGS").optional().multiple(),
    ]);

pub static MODULE_UNLOAD: Docs =
    doc("4.0.0", "Takes a module out of the server.", "O(1)").args(&[Arg::string("name")]);

pub static MONITOR: Docs = doc("1.0.0", "Streams every command that the server runs.", "");

pub static PSYNC: Docs = doc("2.8.0", "Begins or resumes replication, sent by replicas.", "")
    .args(&[Arg::string("replicationid"), Arg::integer("offset")]);

pub static REPLCONF: Docs =
    doc("3.0.0", "Settles details of a replication link, sent by replicas and masters.", "O(1)")
        .syscmd();

pub static REPLICAOF: Docs =
    doc("5.0.0", "Makes the server follow another as its replica, or become a master.", "O(1)")
        .args(&[MASTER]);

pub static RESTORE_ASKING: Docs = doc(
    "3.0.0",
    "Takes in a key of a slot that is being imported, sent by MIGRATE.",
    "O(1) to add the key and O(N*M) to rebuild the N objects of mean size M that make up its \
     value: in effect O(1) for short strings, but O(N*M*log(N)) for sorted sets.",
)
.syscmd()
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

pub static ROLE: Docs = doc(
    "2.8.12",
    "Tells whether the server is master, replica or sentinel, and where it stands.",
    "O(1)",
);

pub static SAVE: Docs = doc(
    "1.0.0",
    "Writes a snapshot of the dataset while everybody waits.",
    "O(N) in the keys of all databases.",
);

pub static SHUTDOWN: Docs = doc(
    "1.0.0",
    "Stops the server, saving the dataset first where that is configured or asked for.",
    "O(N) in the keys of all databases when it saves, else O(1).",
)
.history(&[("7.0.0", "New options: `NOW`, `FORCE`, `ABORT`.")])
.args(&[
    Arg::oneof("save-selector", &[Arg::word("nosave", "NOSAVE"), Arg::word("save", "SAVE")]).optional(),
    Arg::word("now", "NOW").optional().since("7.0.0"),
    Arg::word("force", "FORCE").optional().since("7.0.0"),
    Arg::word("abort", "ABORT").optional().since("7.0.0"),
]);

pub static SLAVEOF: Docs =
    doc("1.0.0", "Makes the server follow another as its replica, or become a master.", "O(1)")
        .deprecated("5.0.0", "`REPLICAOF`")
        .args(&[MASTER]);

pub static SLOWLOG: Docs =
    doc("2.2.12", "Groups the commands about the log of slow commands.", "That of the subcommand.");

pub static SLOWLOG_GET: Docs =
    doc("2.2.12", "Shows the latest slow commands.", "O(N) in the entries returned.")
        .history(&[("4.0.0", "Entries carry the address and the name of the client.")])
        .tips(&["request_policy:all_nodes", "nondeterministic_output"])
        .args(&[Arg::integer("count").optional()]);

pub static SLOWLOG_HELP: Docs = doc("6.2.0", "Describes each subcommand in a line or two.", "O(1)");

pub static SLOWLOG_LEN: Docs = doc("2.2.12", "Counts the entries of the log.", "O(1)").tips(&[
    "request_policy:all_nodes",
    "response_policy:agg_sum",
    "nondeterministic_output",
]);

pub static SLOWLOG_RESET: Docs = doc("2.2.12", "Empties the log.", "O(N) in the entries of the log.")
    .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]);

pub static SWAPDB: Docs = doc(
    "4.0.0",
    "Lets two databases trade places.",
    "O(N) in the clients that watch keys of either or wait for one.",
)
.args(&[Arg::integer("index1"), Arg::integer("index2")]);

pub static SYNC: Docs = doc("1.0.0", "Begins replication with a full copy, sent by old replicas.", "");

pub static TIME: Docs =
    doc("2.6.0", "Tells the time of the server's clock.", "O(1)").tips(&["nondeterministic_output"]);
