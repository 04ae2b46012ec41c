//! The boundary to libc and the kernel.
