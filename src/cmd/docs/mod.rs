//! What COMMAND DOCS says about each command: one static a command, named like it (`GET`,
//! `CONFIG_GET`), one file a group. Rows point here (`docs: &docs::GET`).
//!
//! ```text
//! doc(since, summary, complexity)     the group is that of the file
//!     .syscmd() .deprecated(since, replaced_by)
//!     .history(&[(version, change)])
//!     .tips(&["request_policy:all_shards"])        printed by COMMAND INFO
//!     .args(&[Arg::key("key", 0),                  found by key spec 0 of the row
//!             Arg::word("get", "GET").optional(),
//!             Arg::oneof("expiration", &[Arg::integer("seconds").token("EX"), ...]).optional()])
//! ```
//!
//! Names, tokens, shapes, versions, tips, groups, formulas and `replaced_by` are facts of Redis 7.2 that
//! clients and tools read, so they are exactly those: `tests/command_facts.rs` compares them with a
//! checkout of it. The sentences are ours: short, in the third person, ended by a full stop.
//!
//! A new command gets its static in the file of its group, in alphabetical order, subcommands after
//! their container. An argument that several commands of a file share is a `const` at its top. A choice
//! or a block of fewer than two arguments does not compile.

#![allow(dead_code, unused_imports, reason = "facts of 7.2 about commands whose rows are still to come")]

mod bitmap;
mod cluster;
mod connection;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod list;
mod pubsub;
mod scripting;
mod sentinel;
mod server;
mod server_acl;
mod set;
mod sorted_set;
mod stream;
mod string;
mod transactions;

pub use bitmap::*;
pub use cluster::*;
pub use connection::*;
pub use generic::*;
pub use geo::*;
pub use hash::*;
pub use hyperloglog::*;
pub use list::*;
pub use pubsub::*;
pub use scripting::*;
pub use sentinel::*;
pub use server::*;
pub use server_acl::*;
pub use set::*;
pub use sorted_set::*;
pub use stream::*;
pub use string::*;
pub use transactions::*;
