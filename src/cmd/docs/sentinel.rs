//! What a sentinel watches, and how it is told to.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("sentinel", since, summary, complexity)
}

const MASTER: Arg = Arg::string("master-name");

pub static SENTINEL: Docs =
    doc("2.8.4", "Groups the commands of a sentinel.", "That of the subcommand.");

pub static SENTINEL_CKQUORUM: Docs =
    doc("2.8.4", "Tells whether enough sentinels are there to agree on a failover.", "").args(&[MASTER]);

pub static SENTINEL_CONFIG: Docs =
    doc("6.2.0", "Reads or changes settings of the sentinel itself.", "O(N) in the settings given.")
        .history(&[("7.2.0", "Several settings can be read or changed at once.")])
        .args(&[Arg::oneof(
            "action",
            &[
                Arg::block("set", &[Arg::string("parameter"), Arg::string("value")])
                    .token("SET")
                    .multiple(),
                Arg::string("parameter").token("GET").multiple(),
            ],
        )]);

pub static SENTINEL_DEBUG: Docs = doc(
    "7.0.0",
    "Reads or changes the periods and timeouts of the sentinel.",
    "O(N) in the periods there are.",
)
.args(&[Arg::block("data", &[Arg::string("parameter"), Arg::string("value")]).optional().multiple()]);

pub static SENTINEL_FAILOVER: Docs =
    doc("2.8.4", "Begins a failover without asking the other sentinels.", "").args(&[MASTER]);

pub static SENTINEL_FLUSHCONFIG: Docs =
    doc("2.8.4", "Writes settings and state into the configuration file.", "O(1)");

pub static SENTINEL_GET_MASTER_ADDR_BY_NAME: Docs =
    doc("2.8.4", "Tells where the master is now.", "O(1)").args(&[MASTER]);

pub static SENTINEL_HELP: Docs = doc("6.2.0", "Describes each subcommand in a line or two.", "O(1)");

pub static SENTINEL_INFO_CACHE: Docs = doc(
    "3.2.0",
    "Shows the last INFO that was seen of masters and their replicas.",
    "O(N) in the servers.",
)
.args(&[Arg::string("nodename").multiple()]);

pub static SENTINEL_IS_MASTER_DOWN_BY_ADDR: Docs =
    doc("2.8.4", "Tells another sentinel whether a master seems down, and votes for it.", "O(1)").args(
        &[Arg::string("ip"), Arg::integer("port"), Arg::integer("current-epoch"), Arg::string("runid")],
    );

pub static SENTINEL_MASTER: Docs =
    doc("2.8.4", "Shows what is known of a master.", "O(1)").args(&[MASTER]);

pub static SENTINEL_MASTERS: Docs =
    doc("2.8.4", "Shows what is known of all masters.", "O(N) in the masters.");

pub static SENTINEL_MONITOR: Docs = doc("2.8.4", "Begins to watch a master.", "O(1)").args(&[
    Arg::string("name"),
    Arg::string("ip"),
    Arg::integer("port"),
    Arg::integer("quorum"),
]);

pub static SENTINEL_MYID: Docs = doc("6.2.0", "Tells the id of this sentinel.", "O(1)");

pub static SENTINEL_PENDING_SCRIPTS: Docs =
    doc("2.8.4", "Lists the scripts that run or wait to run.", "");

pub static SENTINEL_REMOVE: Docs = doc("2.8.4", "Ends the watch over a master.", "O(1)").args(&[MASTER]);

pub static SENTINEL_REPLICAS: Docs =
    doc("5.0.0", "Shows what is known of the replicas of a master.", "O(N) in the replicas.")
        .args(&[MASTER]);

pub static SENTINEL_RESET: Docs = doc(
    "2.8.4",
    "Forgets replicas, sentinels and states of the masters that match a pattern.",
    "O(N) in the masters.",
)
.args(&[Arg::pattern("pattern")]);

pub static SENTINEL_SENTINELS: Docs =
    doc("2.8.4", "Shows the other sentinels that watch a master.", "O(N) in the sentinels.")
        .args(&[MASTER]);

pub static SENTINEL_SET: Docs = doc("2.8.4", "Changes how a master is watched.", "O(1)")
    .args(&[MASTER, Arg::block("data", &[Arg::string("option"), Arg::string("value")]).multiple()]);

pub static SENTINEL_SIMULATE_FAILURE: Docs =
    doc("3.2.0", "Lets the sentinel fail in the middle of a failover.", "").args(&[Arg::oneof(
        "mode",
        &[
            Arg::bare_word("crash-after-election"),
            Arg::bare_word("crash-after-promotion"),
            Arg::bare_word("help"),
        ],
    )
    .optional()
    .multiple()]);

pub static SENTINEL_SLAVES: Docs =
    doc("2.8.0", "Shows what is known of the replicas of a master.", "O(N) in the replicas.")
        .deprecated("5.0.0", "`SENTINEL REPLICAS`")
        .args(&[MASTER]);
