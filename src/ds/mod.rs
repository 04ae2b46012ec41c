//! Data structures, one a file; nearly all of the unsafe code of the house lives here.

#[cfg(test)]
mod prop;
pub mod skiplist;
