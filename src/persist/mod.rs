//! Formats on disk: snapshots, and the append only file with its manifest. Formats only; `server` decides
//! when to save.

pub mod aof;
pub mod check;
pub mod rdb;
