//! The boundary to libc and the kernel.

pub mod alloc;
pub mod clock;
pub mod crash;
pub mod errno;
pub mod freeze;
pub mod glob;
pub mod log;
pub mod map;
pub mod memtest;
pub mod process;
pub mod proctitle;
pub mod signals;
pub mod supervise;
pub mod symbols;

#[cfg(test)]
pub(crate) mod testing;
