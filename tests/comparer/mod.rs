//! The parts of `compare.rs`.

pub mod coverage;
pub mod crowd;
pub mod crowd_words;
pub mod directives;
pub mod driver;
pub mod legal;
pub mod literals;
pub mod lua;
pub mod permissions;
pub mod rules;
pub mod scenes;
pub mod scripts;
pub mod shapes;
pub mod side;
pub mod tree;
pub mod values;
