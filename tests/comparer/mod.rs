//! The parts of `compare.rs`.

pub mod rules;
pub mod tree;
pub mod values;
