//! Sockets and the reactor: what the kernel tells, turned into tokens.

pub mod listener;
pub mod listeners;
pub mod reactor;
pub mod stream;
