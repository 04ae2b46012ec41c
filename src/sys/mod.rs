//! The boundary to libc and the kernel.

pub mod errno;
pub mod log;
pub mod process;
pub mod signals;
pub mod supervise;

#[cfg(test)]
pub(crate) mod testing;
