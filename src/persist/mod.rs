//! Formats on disk: snapshots, and the append only file with its manifest. Formats only; who saves when
//! is decided above.

pub mod aof;
pub mod check;
pub mod rdb;
