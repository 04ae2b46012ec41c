//! The connection itself, and the other clients.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("connection", since, summary, complexity)
}

const ENABLED: Arg = Arg::oneof("enabled", &[Arg::word("on", "ON"), Arg::word("off", "OFF")]);

pub static AUTH: Docs = doc(
    "1.0.0",
    "Logs the connection in with a password, or with a user name and password.",
    "O(N) in the passwords of that user.",
)
.history(&[("6.0.0", "The form with a user name was added.")])
.args(&[Arg::string("username").optional().since("6.0.0"), Arg::string("password")]);

pub static CLIENT: Docs =
    doc("2.4.0", "Groups the commands about connections.", "That of the subcommand.");

pub static CLIENT_CACHING: Docs =
    doc("6.0.0", "Says whether keys read by the next command are to be tracked.", "O(1)")
        .args(&[Arg::oneof("mode", &[Arg::word("yes", "YES"), Arg::word("no", "NO")])]);

pub static CLIENT_GETNAME: Docs = doc("2.6.9", "Tells how this connection was labelled.", "O(1)");

pub static CLIENT_GETREDIR: Docs =
    doc("6.0.0", "Tells to which client the invalidations of this connection go.", "O(1)");

pub static CLIENT_HELP: Docs = doc("5.0.0", "Describes each subcommand in a line or two.", "O(1)");

pub static CLIENT_ID: Docs =
    doc("5.0.0", "Tells the id of this connection, which is never used twice.", "O(1)");

pub static CLIENT_INFO: Docs =
    doc("6.2.0", "Describes this connection in one line.", "O(1)").tips(&["nondeterministic_output"]);

pub static CLIENT_KILL: Docs =
    doc("2.4.0", "Disconnects clients by address or by filters.", "O(N) in the connected clients.")
        .history(&[
            ("2.8.12", "The form made of filters was added."),
            ("2.8.12", "New filter: `ID`."),
            ("3.2.0", "The `TYPE` filter knows `master`."),
            ("5.0.0", "The `TYPE` filter calls replicas `replica`; `slave` is understood as before."),
            ("6.2.0", "New filter: `LADDR`."),
        ])
        .args(&[Arg::oneof(
            "filter",
            &[
                Arg::string("old-format").shown("ip:port").deprecated_since("2.8.12"),
                Arg::oneof(
                    "new-format",
                    &[
                        Arg::integer("client-id").token("ID").optional().since("2.8.12"),
                        Arg::oneof(
                            "client-type",
                            &[
                                Arg::word("normal", "NORMAL"),
                                Arg::word("master", "MASTER").since("3.2.0"),
                                Arg::word("slave", "SLAVE"),
                                Arg::word("replica", "REPLICA").since("5.0.0"),
                                Arg::word("pubsub", "PUBSUB"),
                            ],
                        )
                        .token("TYPE")
                        .optional()
                        .since("2.8.12"),
                        Arg::string("username").token("USER").optional(),
                        Arg::string("addr").token("ADDR").shown("ip:port").optional(),
                        Arg::string("laddr").token("LADDR").shown("ip:port").optional().since("6.2.0"),
                        Arg::oneof("skipme", &[Arg::word("yes", "YES"), Arg::word("no", "NO")])
                            .token("SKIPME")
                            .optional(),
                    ],
                )
                .multiple(),
            ],
        )]);

pub static CLIENT_LIST: Docs =
    doc("2.4.0", "Describes the connected clients, one a line.", "O(N) in the connected clients.")
        .history(&[
            ("2.8.12", "Lines begin with the unique `id` of the client."),
            ("5.0.0", "New filter: `TYPE`."),
            ("6.0.0", "New field: `user`."),
            ("6.2.0", "New fields: `argv-mem`, `tot-mem`, `laddr`, `redir`. New filter: `ID`."),
            ("7.0.0", "New fields: `resp`, `multi-mem`, `rbs`, `rbp`."),
            ("7.0.3", "New field: `ssub`."),
        ])
        .tips(&["nondeterministic_output"])
        .args(&[
            Arg::oneof(
                "client-type",
                &[
                    Arg::word("normal", "NORMAL"),
                    Arg::word("master", "MASTER"),
                    Arg::word("replica", "REPLICA"),
                    Arg::word("pubsub", "PUBSUB"),
                ],
            )
            .token("TYPE")
            .optional()
            .since("5.0.0"),
            Arg::integer("client-id").token("ID").optional().multiple().since("6.2.0"),
        ]);

pub static CLIENT_NO_EVICT: Docs =
    doc("7.0.0", "Exempts this connection from being dropped to save memory, or ends that.", "O(1)")
        .args(&[ENABLED]);

pub static CLIENT_NO_TOUCH: Docs = doc(
    "7.2.0",
    "Keeps this connection's reads from counting as use of the keys, or ends that.",
    "O(1)",
)
.args(&[ENABLED]);

pub static CLIENT_PAUSE: Docs = doc("3.0.0", "Holds back the commands of clients for a while.", "O(1)")
    .history(&[("6.2.0", "The `mode` argument, with which `WRITE` holds back writes alone.")])
    .args(&[
        Arg::integer("timeout"),
        Arg::oneof("mode", &[Arg::word("write", "WRITE"), Arg::word("all", "ALL")])
            .optional()
            .since("6.2.0"),
    ]);

pub static CLIENT_REPLY: Docs = doc("3.2.0", "Turns the replies to this connection off and on.", "O(1)")
    .args(&[Arg::oneof(
        "action",
        &[Arg::word("on", "ON"), Arg::word("off", "OFF"), Arg::word("skip", "SKIP")],
    )]);

pub static CLIENT_SETINFO: Docs =
    doc("7.2.0", "Notes the name or version of the library that the client uses.", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .args(&[Arg::oneof(
            "attr",
            &[Arg::string("libname").token("LIB-NAME"), Arg::string("libver").token("LIB-VER")],
        )]);

pub static CLIENT_SETNAME: Docs =
    doc("2.6.9", "Labels this connection for CLIENT LIST and the like.", "O(1)")
        .tips(&["request_policy:all_nodes", "response_policy:all_succeeded"])
        .args(&[Arg::string("connection-name")]);

pub static CLIENT_TRACKING: Docs = doc(
    "6.0.0",
    "Turns invalidation messages for a cache on the client's side on or off.",
    "O(1), more with some of the options.",
)
.args(&[
    Arg::oneof("status", &[Arg::word("on", "ON"), Arg::word("off", "OFF")]),
    Arg::integer("client-id").token("REDIRECT").optional(),
    Arg::string("prefix").token("PREFIX").optional().multiple_token(),
    Arg::word("bcast", "BCAST").optional(),
    Arg::word("optin", "OPTIN").optional(),
    Arg::word("optout", "OPTOUT").optional(),
    Arg::word("noloop", "NOLOOP").optional(),
]);

pub static CLIENT_TRACKINGINFO: Docs =
    doc("6.2.0", "Shows how tracking is set up for this connection.", "O(1)");

pub static CLIENT_UNBLOCK: Docs = doc(
    "5.0.0",
    "Wakes a client that waits in a blocking command.",
    "O(log N) for N connected clients.",
)
.args(&[
    Arg::integer("client-id"),
    Arg::oneof("unblock-type", &[Arg::word("timeout", "TIMEOUT"), Arg::word("error", "ERROR")])
        .optional(),
]);

pub static CLIENT_UNPAUSE: Docs =
    doc("6.2.0", "Ends a pause of the clients before its time.", "O(N) in the paused clients.");

pub static ECHO: Docs = doc("1.0.0", "Sends its argument back.", "O(1)").args(&[Arg::string("message")]);

pub static HELLO: Docs =
    doc("6.0.0", "Chooses the protocol version, and may log in and name the connection.", "O(1)")
        .history(&[("6.2.0", "`protover` can be left out, to be told about the connection as it is.")])
        .args(&[Arg::block(
            "arguments",
            &[
                Arg::integer("protover"),
                Arg::block("auth", &[Arg::string("username"), Arg::string("password")])
                    .token("AUTH")
                    .optional(),
                Arg::string("clientname").token("SETNAME").optional(),
            ],
        )
        .optional()]);

pub static PING: Docs = doc("1.0.0", "Answers, to show that the server is there.", "O(1)")
    .tips(&["request_policy:all_shards", "response_policy:all_succeeded"])
    .args(&[Arg::string("message").optional()]);

pub static QUIT: Docs = doc("1.0.0", "Says goodbye: the server answers and hangs up.", "O(1)")
    .deprecated("7.2.0", "just closing the connection");

pub static RESET: Docs = doc("6.2.0", "Brings the connection back to the state of a new one.", "O(1)");

pub static SELECT: Docs =
    doc("1.0.0", "Switches this connection to another database.", "O(1)").args(&[Arg::integer("index")]);
