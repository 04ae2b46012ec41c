//! Channels, patterns and shard channels.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("pubsub", since, summary, complexity)
}

pub static PSUBSCRIBE: Docs =
    doc("2.0.0", "Subscribes to the channels that match patterns.", "O(N) in the patterns given.")
        .args(&[Arg::pattern("pattern").multiple()]);

pub static PUBLISH: Docs = doc(
    "2.0.0",
    "Sends a message to the subscribers of a channel.",
    "O(N+M): N subscribers of the channel, M patterns subscribed to by anybody.",
)
.args(&[Arg::string("channel"), Arg::string("message")]);

pub static PUBSUB: Docs =
    doc("2.8.0", "Groups the commands that look at subscriptions.", "That of the subcommand.");

pub static PUBSUB_CHANNELS: Docs = doc(
    "2.8.0",
    "Names the channels that have subscribers.",
    "O(N) in the channels with subscribers, as long as names and pattern are short.",
)
.args(&[Arg::pattern("pattern").optional()]);

pub static PUBSUB_HELP: Docs = doc("6.2.0", "Describes each subcommand in a line or two.", "O(1)");

pub static PUBSUB_NUMPAT: Docs = doc("2.8.0", "Counts the different patterns subscribed to.", "O(1)");

pub static PUBSUB_NUMSUB: Docs =
    doc("2.8.0", "Counts the subscribers of each given channel.", "O(N) in the channels given.")
        .args(&[Arg::string("channel").optional().multiple()]);

pub static PUBSUB_SHARDCHANNELS: Docs = doc(
    "7.0.0",
    "Names the shard channels that have subscribers.",
    "O(N) in the shard channels with subscribers, as long as names and pattern are short.",
)
.args(&[Arg::pattern("pattern").optional()]);

pub static PUBSUB_SHARDNUMSUB: Docs = doc(
    "7.0.0",
    "Counts the subscribers of each given shard channel.",
    "O(N) in the shard channels given.",
)
.args(&[Arg::string("shardchannel").optional().multiple()]);

pub static PUNSUBSCRIBE: Docs = doc(
    "2.0.0",
    "Ends subscriptions to patterns, the given ones or all.",
    "O(N) in the patterns given.",
)
.args(&[Arg::pattern("pattern").optional().multiple()]);

pub static SPUBLISH: Docs = doc(
    "7.0.0",
    "Sends a message to the subscribers of a shard channel.",
    "O(N) in the subscribers of the shard channel.",
)
.args(&[Arg::string("shardchannel"), Arg::string("message")]);

pub static SSUBSCRIBE: Docs =
    doc("7.0.0", "Subscribes to shard channels.", "O(N) in the shard channels given.")
        .args(&[Arg::string("shardchannel").multiple()]);

pub static SUBSCRIBE: Docs = doc("2.0.0", "Subscribes to channels.", "O(N) in the channels given.")
    .args(&[Arg::string("channel").multiple()]);

pub static SUNSUBSCRIBE: Docs = doc(
    "7.0.0",
    "Ends subscriptions to shard channels, the given ones or all.",
    "O(N) in the shard channels given.",
)
.args(&[Arg::string("shardchannel").optional().multiple()]);

pub static UNSUBSCRIBE: Docs = doc(
    "2.0.0",
    "Ends subscriptions to channels, the given ones or all.",
    "O(N) in the channels given.",
)
.args(&[Arg::string("channel").optional().multiple()]);
