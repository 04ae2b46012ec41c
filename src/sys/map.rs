//! Anonymous memory for the big arrays of tables: zeroed by the kernel page by page as it is touched,
//! and given back in slices, so that neither growth nor the end of a rehash holds the loop. Counted as
//! used memory.

use super::alloc;
use std::ptr::{self, NonNull};

/// Arrays from this size on are mapped, smaller ones come from the allocator.
pub const MAP_FROM: usize = 256 * 1024;

/// Maps `bytes` of zeroed memory (page-aligned).
///
/// When the kernel refuses, the server ends: there is no way on without memory.
pub fn map(bytes: usize) -> NonNull<u8> {
    let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a fresh anonymous mapping touches nothing that exists.
    let p = unsafe { libc::mmap(ptr::null_mut(), bytes, prot, flags, -1, 0) };
    if p == libc::MAP_FAILED {
        super::crash::out_of_memory(bytes);
    }
    alloc::account(bytes as isize);
    NonNull::new(p.cast()).expect("mmap never gives address 0")
}

/// # Safety
/// `p` came from `map(bytes)` and nothing points into it any more.
pub unsafe fn unmap(p: NonNull<u8>, bytes: usize) {
    alloc::account(-(bytes as isize));
    // SAFETY: by contract.
    unsafe { libc::munmap(p.as_ptr().cast(), bytes) };
}

/// Gives the pages of a slice back to the kernel; they read as zeros afterwards.
///
/// # Safety
/// The slice lies in a live mapping, is page-aligned, and its contents are no longer needed.
pub unsafe fn discard(p: NonNull<u8>, bytes: usize) {
    // SAFETY: by contract.
    unsafe { libc::madvise(p.as_ptr().cast(), bytes, libc::MADV_DONTNEED) };
}
