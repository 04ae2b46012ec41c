//! Data structures, one a file; nearly all of the unsafe code of the house lives here.

pub mod dict;
pub mod entry;
pub mod hash;
#[cfg(test)]
mod prop;
pub mod sds;
pub mod skiplist;
pub mod table;
pub mod block;
pub mod intset;
pub mod listpack;
#[cfg(test)]
mod prop;
