//! The server group, continued: ACL and its subcommands.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("server", since, summary, complexity)
}

pub static ACL: Docs = doc(
    "6.0.0",
    "Groups the commands that manage users and what they may do.",
    "That of the subcommand.",
);

pub static ACL_CAT: Docs = doc(
    "6.0.0",
    "Names the command categories, or the commands that belong to one.",
    "O(1): the number of commands and categories is bounded.",
)
.args(&[Arg::string("category").optional()]);

pub static ACL_DELUSER: Docs = doc(
    "6.0.0",
    "Drops users and disconnects whoever is logged in as one of them.",
    "O(1) amortized, for users of ordinary size.",
)
.tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
.args(&[Arg::string("username").multiple()]);

pub static ACL_DRYRUN: Docs =
    doc("7.0.0", "Checks whether a user would be allowed to run a command, without running it.", "O(1)")
        .args(&[
            Arg::string("username"),
            Arg::string("command"),
            Arg::string("arg").optional().multiple(),
        ]);

pub static ACL_GENPASS: Docs = doc("6.0.0", "Makes up a random password that is hard to guess.", "O(1)")
    .args(&[Arg::integer("bits").optional()]);

pub static ACL_GETUSER: Docs = doc(
    "6.0.0",
    "Shows everything that is set for one user.",
    "O(N) in the user's passwords, command rules and patterns.",
)
.history(&[
    ("6.2.0", "Channel patterns are reported too."),
    (
        "7.0.0",
        "Selectors are reported, and patterns of keys and channels come as a rule string \
                 rather than a list.",
    ),
])
.args(&[Arg::string("username")]);

pub static ACL_HELP: Docs = doc("6.0.0", "Describes each subcommand in a line or two.", "O(1)");

pub static ACL_LIST: Docs =
    doc("6.0.0", "Prints all users as lines of an ACL file.", "O(N) in the number of users.");

pub static ACL_LOAD: Docs =
    doc("6.0.0", "Replaces the users by those of the ACL file.", "O(N) in the number of users.");

pub static ACL_LOG: Docs = doc(
    "6.0.0",
    "Shows the latest refusals for want of permission, or forgets them.",
    "O(N) in the entries returned.",
)
.history(&[("7.2.0", "Entries carry their id and the times when they were made and last changed.")])
.args(&[Arg::oneof("operation", &[Arg::integer("count"), Arg::word("reset", "RESET")]).optional()]);

pub static ACL_SAVE: Docs =
    doc("6.0.0", "Writes the users to the ACL file.", "O(N) in the number of users.")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"]);

pub static ACL_SETUSER: Docs =
    doc("6.0.0", "Creates a user, or changes the rules of an existing one.", "O(N) in the rules given.")
        .history(&[
            ("6.2.0", "Rules for channel patterns are understood."),
            ("7.0.0", "Selectors, and separate permissions to read and to write keys."),
        ])
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .args(&[Arg::string("username"), Arg::string("rule").optional().multiple()]);

pub static ACL_USERS: Docs = doc("6.0.0", "Names all users.", "O(N) in the number of users.");

pub static ACL_WHOAMI: Docs = doc("6.0.0", "Tells as which user this connection is logged in.", "O(1)");
