//! The boundary to libc and the kernel.

pub mod errno;
pub mod log;

#[cfg(test)]
pub(crate) mod testing;
