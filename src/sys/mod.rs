//! The boundary to libc and the kernel.

pub mod alloc;
pub mod clock;
pub mod collate;
pub mod cpu;
pub mod crash;
pub mod defrag;
pub mod errno;
pub mod fault;
pub mod freeze;
pub mod fsx;
pub mod glob;
pub mod hostcheck;
pub mod io;
pub mod limits;
pub mod log;
pub mod map;
pub mod memtest;
pub mod oom;
pub mod process;
pub mod proctitle;
pub mod signals;
pub mod startup;
pub mod supervise;
pub mod symbols;
#[cfg(feature = "tls")]
pub mod tls;
pub mod usage;

#[cfg(test)]
pub(crate) mod testing;
