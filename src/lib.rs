//! The tour of the house, in band order. A file may `use` its own band and lower ones, never a higher
//! one; `tests/tidy/` proves it.
//!
//! Band 1 knows bytes, tokens and values. Band 2 is the state of the subsystems, each a struct of its
//! own that takes other parts as explicit parameters. Band 3 orchestrates with `&mut Server`.

// Band 1: libraries.
pub mod algo;
pub mod ds;
pub mod keyspace;
pub mod net;
pub mod object;
pub mod persist;
pub mod proto;
pub mod sys;

// Band 2: subsystem state.
pub mod bio;
pub mod blocked;
pub mod clients;
pub mod cmd;
pub mod config;
pub mod jobs;
pub mod latency;
pub mod lazyfree;
pub mod multi;
pub mod pubsub;
pub mod replication;
pub mod slowlog;
pub mod stats;
pub mod tracking;

// Band 3: orchestration.
pub mod commands;
pub mod scripting;
pub mod server;

#[global_allocator]
static ALLOC: sys::alloc::Alloc = sys::alloc::Alloc;
