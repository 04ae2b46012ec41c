//! Formats on disk: snapshots, and the manifest of the log. Formats only; who saves when is decided
//! above.

pub mod manifest;
pub mod rdb;
