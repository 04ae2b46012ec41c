//! What leaves the server: the stream of propagated commands, for the AOF and for replicas.

pub mod ops;
