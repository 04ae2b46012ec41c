//! Sockets and the reactor: what the kernel tells, turned into tokens.

pub mod busy_poll;
pub mod connect;
pub mod dialogue;
pub mod frames;
pub mod listener;
pub mod listeners;
pub mod reactor;
pub mod stream;
