//! MULTI, EXEC and what they watch.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("transactions", since, summary, complexity)
}

pub static DISCARD: Docs = doc(
    "2.0.0",
    "Gives up the transaction and the commands queued in it.",
    "O(N) in the queued commands.",
);

pub static EXEC: Docs =
    doc("1.2.0", "Runs the queued commands as one unit.", "Depends on the queued commands.");

pub static MULTI: Docs = doc("1.2.0", "Begins a transaction: commands are queued from here on.", "O(1)");

pub static UNWATCH: Docs = doc("2.2.0", "Takes back every WATCH of this connection.", "O(1)");

pub static WATCH: Docs =
    doc("2.2.0", "Has the next EXEC fail if one of the keys changes before it.", "O(1) for each key.")
        .args(&[Arg::key("key", 0).multiple()]);
