//! Data structures, one a file; nearly all of the unsafe code of the house lives here.

pub mod append;
pub mod block;
pub mod dict;
pub mod entry;
pub mod hash;
pub mod intset;
pub mod listpack;
pub mod pairs;
pub mod quicklist;
pub mod rax;
pub mod sds;
pub mod skiplist;
mod slot_tables;
pub mod table;
pub mod zindex;

#[cfg(test)]
pub(crate) mod prop;
