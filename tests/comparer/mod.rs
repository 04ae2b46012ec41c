//! The parts of `compare.rs`.

pub mod coverage;
pub mod driver;
pub mod legal;
pub mod rules;
pub mod scenes;
pub mod side;
pub mod tree;
pub mod values;
