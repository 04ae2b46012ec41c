//! Data structures, one a file; nearly all of the unsafe code of the house lives here.

pub mod block;
pub mod intset;
pub mod listpack;
#[cfg(test)]
mod prop;
