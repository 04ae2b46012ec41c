//! The boundary to libc and the kernel.

pub mod alloc;
pub mod clock;
pub mod map;
pub mod errno;
pub mod glob;
pub mod log;
pub mod process;
pub mod signals;
pub mod supervise;

#[cfg(test)]
pub(crate) mod testing;
