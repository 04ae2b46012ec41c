//! HyperLogLogs: counting without remembering.

use crate::cmd::row::{ArgDoc as Arg, Docs};

const fn doc(since: &'static str, summary: &'static str, complexity: &'static str) -> Docs {
    Docs::new("hyperloglog", since, summary, complexity)
}

pub static PFADD: Docs = doc(
    "2.8.9",
    "Shows elements to a HyperLogLog, which is made where there was no key.",
    "O(1) for each element.",
)
.args(&[Arg::key("key", 0), Arg::string("element").optional().multiple()]);

pub static PFCOUNT: Docs = doc(
    "2.8.9",
    "Estimates how many different elements one or more HyperLogLogs have seen.",
    "O(1) and very fast for a single key; O(N), with a far larger constant, for N keys.",
)
.args(&[Arg::key("key", 0).multiple()]);

pub static PFDEBUG: Docs = doc("2.8.9", "Looks inside a HyperLogLog, for tests.", "N/A")
    .syscmd()
    .args(&[Arg::string("subcommand"), Arg::key("key", 0)]);

pub static PFMERGE: Docs =
    doc("2.8.9", "Unites HyperLogLogs in one key.", "O(N) in the values merged, with a large constant.")
        .args(&[Arg::key("destkey", 0), Arg::key("sourcekey", 1).optional().multiple()]);

pub static PFSELFTEST: Docs = doc("2.8.9", "Checks the HyperLogLog code, for tests.", "N/A").syscmd();
