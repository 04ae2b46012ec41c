//! The tour of the house, in band order. A file may `use` its own band and lower ones, never a higher
//! one; `tests/tidy/` proves it.
//!
//! Band 1 knows bytes, tokens and values. Band 2 is the state of the subsystems, each a struct of its
//! own that takes other parts as explicit parameters. Band 3 orchestrates with `&mut Server`.
//!
//! Public is what `main` and the programs under `tests/` use: `run`, the configuration, the libraries of
//! values and files, which fuzzing takes apart, and the pure halves that are simulated. All else is
//! `pub(crate)`, so that the compiler finds what nothing uses; for the public folders a rule of
//! `tests/tidy/` does.

// Band 1: libraries.
pub mod algo;
pub mod ds;
pub mod keyspace;
pub(crate) mod net;
pub mod object;
pub mod persist;
pub mod proto;
pub(crate) mod sys;

// Band 2: subsystem state.
pub(crate) mod acl;
pub(crate) mod bio;
pub(crate) mod blocked;
pub mod clients;
pub(crate) mod cluster;
pub(crate) mod cmd;
pub mod config;
pub(crate) mod jobs;
pub(crate) mod latency;
pub(crate) mod lazyfree;
pub(crate) mod multi;
pub(crate) mod pubsub;
pub mod replication;
pub(crate) mod sentinel;
pub(crate) mod slowlog;
pub(crate) mod stats;
pub(crate) mod tracking;

// Band 3: orchestration.
pub(crate) mod commands;
pub(crate) mod scripting;
pub(crate) mod server;

#[global_allocator]
static ALLOC: sys::alloc::Alloc = sys::alloc::Alloc;

/// For tests that open very many connections.
pub use sys::limits;

/// Sessions read records of strangers, which fuzzing makes up.
pub use net::tls;

/// Runs the program that `args` describe, its own name first; returns its exit code.
pub fn run(args: Vec<Vec<u8>>) -> i32 {
    server::boot::main(args, commands::families())
}
