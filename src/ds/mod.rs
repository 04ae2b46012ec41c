//! Data structures, one a file; nearly all of the unsafe code of the house lives here.

pub mod dict;
pub mod entry;
pub mod hash;
pub mod sds;
pub mod table;
#[cfg(test)]
mod prop;
pub mod skiplist;
