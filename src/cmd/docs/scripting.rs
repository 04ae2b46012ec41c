//! Lua scripts and function libraries.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("scripting", since, summary, complexity)
}

pub static EVAL: Docs = doc("2.6.0", "Runs a Lua script that is sent along.", "Depends on the script.")
    .args(&[
        Arg::string("script"),
        Arg::integer("numkeys"),
        Arg::key("key", 0).optional().multiple(),
        Arg::string("arg").optional().multiple(),
    ]);

pub static EVALSHA: Docs =
    doc("2.6.0", "Runs a cached Lua script, named by its SHA1.", "Depends on the script.").args(&[
        Arg::string("sha1"),
        Arg::integer("numkeys"),
        Arg::key("key", 0).optional().multiple(),
        Arg::string("arg").optional().multiple(),
    ]);

pub static EVALSHA_RO: Docs = doc(
    "7.0.0",
    "Runs a cached Lua script, named by its SHA1, that must not write.",
    "Depends on the script.",
)
.args(&[
    Arg::string("sha1"),
    Arg::integer("numkeys"),
    Arg::key("key", 0).optional().multiple(),
    Arg::string("arg").optional().multiple(),
]);

pub static EVAL_RO: Docs =
    doc("7.0.0", "Runs a Lua script that is sent along and must not write.", "Depends on the script.")
        .args(&[
            Arg::string("script"),
            Arg::integer("numkeys"),
            Arg::key("key", 0).optional().multiple(),
            Arg::string("arg").optional().multiple(),
        ]);

pub static FCALL: Docs =
    doc("7.0.0", "Calls a function of a loaded library.", "Depends on the function.").args(&[
        Arg::string("function"),
        Arg::integer("numkeys"),
        Arg::key("key", 0).optional().multiple(),
        Arg::string("arg").optional().multiple(),
    ]);

pub static FCALL_RO: Docs = doc(
    "7.0.0",
    "Calls a function of a loaded library that must not write.",
    "Depends on the function.",
)
.args(&[
    Arg::string("function"),
    Arg::integer("numkeys"),
    Arg::key("key", 0).optional().multiple(),
    Arg::string("arg").optional().multiple(),
]);

pub static FUNCTION: Docs =
    doc("7.0.0", "Groups the commands about function libraries.", "That of the subcommand.");

pub static FUNCTION_DELETE: Docs = doc("7.0.0", "Removes a library with all its functions.", "O(1)")
    .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
    .args(&[Arg::string("library-name")]);

pub static FUNCTION_DUMP: Docs = doc(
    "7.0.0",
    "Serializes all libraries so that FUNCTION RESTORE can rebuild them.",
    "O(N) in the functions.",
);

pub static FUNCTION_FLUSH: Docs =
    doc("7.0.0", "Removes all libraries.", "O(N) in the functions removed.")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .args(&[Arg::oneof("flush-type", &[Arg::word("async", "ASYNC"), Arg::word("sync", "SYNC")])
            .optional()]);

pub static FUNCTION_HELP: Docs = doc("7.0.0", "Describes each subcommand in a line or two.", "O(1)");

pub static FUNCTION_KILL: Docs =
    doc("7.0.0", "Stops the running function, provided it has not written yet.", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"]);

pub static FUNCTION_LIST: Docs =
    doc("7.0.0", "Describes the libraries and their functions.", "O(N) in the functions.")
        .tips(&["nondeterministic_output_order"])
        .args(&[
            Arg::string("library-name-pattern").token("LIBRARYNAME").optional(),
            Arg::word("withcode", "WITHCODE").optional(),
        ]);

pub static FUNCTION_LOAD: Docs =
    doc("7.0.0", "Compiles a library and registers its functions.", "O(1), compilation not counted.")
        .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
        .args(&[Arg::word("replace", "REPLACE").optional(), Arg::string("function-code")]);

pub static FUNCTION_RESTORE: Docs = doc(
    "7.0.0",
    "Brings back the libraries of a FUNCTION DUMP.",
    "O(N) in the functions of the payload.",
)
.tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
.args(&[
    Arg::string("serialized-value"),
    Arg::oneof(
        "policy",
        &[Arg::word("flush", "FLUSH"), Arg::word("append", "APPEND"), Arg::word("replace", "REPLACE")],
    )
    .optional(),
]);

pub static FUNCTION_STATS: Docs =
    doc("7.0.0", "Describes the function that runs now, and the engines.", "O(1)").tips(&[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ]);

pub static SCRIPT: Docs =
    doc("2.6.0", "Groups the commands about Lua scripts.", "That of the subcommand.");

pub static SCRIPT_DEBUG: Docs =
    doc("3.2.0", "Turns the script debugger on or off for this connection.", "O(1)").args(&[
        Arg::oneof("mode", &[Arg::word("yes", "YES"), Arg::word("sync", "SYNC"), Arg::word("no", "NO")]),
    ]);

pub static SCRIPT_EXISTS: Docs = doc(
    "2.6.0",
    "Tells which of the given scripts are cached.",
    "O(N) in the scripts given, so O(1) for a single one.",
)
.tips(&["request_policy:all_shards", "response_policy:agg_logical_and"])
.args(&[Arg::string("sha1").multiple()]);

pub static SCRIPT_FLUSH: Docs =
    doc("2.6.0", "Empties the cache of scripts.", "O(N) in the cached scripts.")
        .history(&[("6.2.0", "New options: `ASYNC`, `SYNC`.")])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .args(&[Arg::oneof("flush-type", &[Arg::word("async", "ASYNC"), Arg::word("sync", "SYNC")])
            .optional()
            .since("6.2.0")]);

pub static SCRIPT_HELP: Docs = doc("5.0.0", "Describes each subcommand in a line or two.", "O(1)");

pub static SCRIPT_KILL: Docs =
    doc("2.6.0", "Stops the running script, provided it has not written yet.", "O(1)")
        .tips(&["request_policy:all_shards", "response_policy:one_succeeded"]);

pub static SCRIPT_LOAD: Docs =
    doc("2.6.0", "Caches a script for EVALSHA without running it.", "O(N) in the bytes of the script.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .args(&[Arg::string("script")]);
