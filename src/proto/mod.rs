//! The wire: requests in, replies out, and the errors between them.

pub mod args;
pub mod bus;
pub mod error;
pub mod parse;
pub mod reply;
pub mod reply_in;
