//! Values and their encodings: every choice of an encoding and every conversion lives here.

pub mod digest;
pub mod value;
