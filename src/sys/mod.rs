//! The boundary to libc and the kernel.

pub mod alloc;
pub mod clock;
pub mod map;
