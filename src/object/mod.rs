//! Values and their encodings: every choice of an encoding and every conversion lives here.

pub mod digest;
pub mod hash;
pub mod list;
pub mod set;
pub mod tables;
pub mod value;
pub mod zset;
