//! Nodes, slots and shards of a cluster.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("cluster", since, summary, complexity)
}

const RANGE: Arg =
    Arg::block("range", &[Arg::integer("start-slot"), Arg::integer("end-slot")]).multiple();

pub static ASKING: Docs = doc(
    "3.0.0",
    "Lets the next command touch a slot that is being imported, as an -ASK redirection asks for.",
    "O(1)",
);

pub static CLUSTER: Docs =
    doc("3.0.0", "Groups the commands about the cluster.", "That of the subcommand.");

pub static CLUSTER_ADDSLOTS: Docs =
    doc("3.0.0", "Makes this node serve more hash slots.", "O(N) in the slots given.")
        .args(&[Arg::integer("slot").multiple()]);

pub static CLUSTER_ADDSLOTSRANGE: Docs = doc(
    "7.0.0",
    "Makes this node serve more ranges of hash slots.",
    "O(N) in the slots that the ranges cover.",
)
.args(&[RANGE]);

pub static CLUSTER_BUMPEPOCH: Docs =
    doc("3.0.0", "Raises the configuration epoch of this node above all others.", "O(1)")
        .tips(&["nondeterministic_output"]);

pub static CLUSTER_COUNT_FAILURE_REPORTS: Docs =
    doc("3.0.0", "Counts the nodes that currently report a node as failing.", "O(N) in the reports.")
        .tips(&["nondeterministic_output"])
        .args(&[Arg::string("node-id")]);

pub static CLUSTER_COUNTKEYSINSLOT: Docs =
    doc("3.0.0", "Counts the keys of a hash slot on this node.", "O(1)").args(&[Arg::integer("slot")]);

pub static CLUSTER_DELSLOTS: Docs =
    doc("3.0.0", "Makes this node forget who serves some hash slots.", "O(N) in the slots given.")
        .args(&[Arg::integer("slot").multiple()]);

pub static CLUSTER_DELSLOTSRANGE: Docs = doc(
    "7.0.0",
    "Makes this node forget who serves some ranges of hash slots.",
    "O(N) in the slots that the ranges cover.",
)
.args(&[RANGE]);

pub static CLUSTER_FAILOVER: Docs =
    doc("3.0.0", "Has this replica take the place of its master.", "O(1)").args(&[Arg::oneof(
        "options",
        &[Arg::word("force", "FORCE"), Arg::word("takeover", "TAKEOVER")],
    )
    .optional()]);

pub static CLUSTER_FLUSHSLOTS: Docs =
    doc("3.0.0", "Makes this node forget who serves each of the slots.", "O(1)");

pub static CLUSTER_FORGET: Docs =
    doc("3.0.0", "Strikes a node off the list of known nodes.", "O(1)").args(&[Arg::string("node-id")]);

pub static CLUSTER_GETKEYSINSLOT: Docs =
    doc("3.0.0", "Names some keys of a hash slot on this node.", "O(N) in the keys asked for.")
        .tips(&["nondeterministic_output"])
        .args(&[Arg::integer("slot"), Arg::integer("count")]);

pub static CLUSTER_HELP: Docs = doc("5.0.0", "Describes each subcommand in a line or two.", "O(1)");

pub static CLUSTER_INFO: Docs =
    doc("3.0.0", "Shows the state of the cluster as this node sees it.", "O(1)")
        .tips(&["nondeterministic_output"]);

pub static CLUSTER_KEYSLOT: Docs =
    doc("3.0.0", "Computes to which hash slot a key belongs.", "O(N) in the bytes of the key.")
        .args(&[Arg::string("key")]);

pub static CLUSTER_LINKS: Docs = doc(
    "7.0.0",
    "Describes the bus connections with the other nodes, in both directions.",
    "O(N) in the nodes of the cluster.",
)
.tips(&["nondeterministic_output"]);

pub static CLUSTER_MEET: Docs = doc("3.0.0", "Introduces another node to this one.", "O(1)")
    .history(&[("4.0.0", "New optional argument: `cluster_bus_port`.")])
    .args(&[
        Arg::string("ip"),
        Arg::integer("port"),
        Arg::integer("cluster-bus-port").optional().since("4.0.0"),
    ]);

pub static CLUSTER_MYID: Docs = doc("3.0.0", "Tells the id of this node.", "O(1)");

pub static CLUSTER_MYSHARDID: Docs =
    doc("7.2.0", "Tells the id of the shard that this node is part of.", "O(1)")
        .tips(&["nondeterministic_output"]);

pub static CLUSTER_NODES: Docs =
    doc("3.0.0", "Describes the known nodes, one a line.", "O(N) in the nodes of the cluster.")
        .tips(&["nondeterministic_output"]);

pub static CLUSTER_REPLICAS: Docs =
    doc("5.0.0", "Describes the replicas of a master, one a line.", "O(N) in the replicas.")
        .tips(&["nondeterministic_output"])
        .args(&[Arg::string("node-id")]);

pub static CLUSTER_REPLICATE: Docs =
    doc("3.0.0", "Makes this node a replica of another.", "O(1)").args(&[Arg::string("node-id")]);

pub static CLUSTER_RESET: Docs = doc(
    "3.0.0",
    "Makes this node leave its cluster, softly or with a new identity.",
    "O(N) in the known nodes, and a FLUSHALL on top where one is done.",
)
.args(&[Arg::oneof("reset-type", &[Arg::word("hard", "HARD"), Arg::word("soft", "SOFT")]).optional()]);

pub static CLUSTER_SAVECONFIG: Docs =
    doc("3.0.0", "Writes the node's view of the cluster to its file.", "O(1)");

pub static CLUSTER_SET_CONFIG_EPOCH: Docs =
    doc("3.0.0", "Gives a fresh node its configuration epoch.", "O(1)")
        .args(&[Arg::integer("config-epoch")]);

pub static CLUSTER_SETSLOT: Docs =
    doc("3.0.0", "Sets the owner of a hash slot, or marks it as moving.", "O(1)").args(&[
        Arg::integer("slot"),
        Arg::oneof(
            "subcommand",
            &[
                Arg::string("importing").token("IMPORTING").shown("node-id"),
                Arg::string("migrating").token("MIGRATING").shown("node-id"),
                Arg::string("node").token("NODE").shown("node-id"),
                Arg::word("stable", "STABLE"),
            ],
        ),
    ]);

pub static CLUSTER_SHARDS: Docs =
    doc("7.0.0", "Shows the shards with their slots and nodes.", "O(N) in the nodes of the cluster.")
        .tips(&["nondeterministic_output"]);

pub static CLUSTER_SLAVES: Docs =
    doc("3.0.0", "Describes the replicas of a master, one a line.", "O(N) in the replicas.")
        .deprecated("5.0.0", "`CLUSTER REPLICAS`")
        .tips(&["nondeterministic_output"])
        .args(&[Arg::string("node-id")]);

pub static CLUSTER_SLOTS: Docs =
    doc("3.0.0", "Shows which nodes serve which ranges of slots.", "O(N) in the nodes of the cluster.")
        .deprecated("7.0.0", "`CLUSTER SHARDS`")
        .history(&[
            ("4.0.0", "Node ids are part of the reply."),
            ("7.0.0", "Nodes carry a list of further facts on how to reach them."),
        ])
        .tips(&["nondeterministic_output"]);

pub static READONLY: Docs =
    doc("3.0.0", "Allows this connection to read from a replica of the cluster.", "O(1)");

pub static READWRITE: Docs =
    doc("3.0.0", "Takes back READONLY, so that a replica redirects reads again.", "O(1)");
