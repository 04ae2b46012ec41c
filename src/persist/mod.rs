//! Formats on disk: snapshots. Formats only; who saves when is decided above.

pub mod rdb;
