//! Faults on request: DEBUG SEGFAULT, to see that a crash is reported as it should be.

use std::ptr;

/// Writes where nothing may be written.
pub fn segfault() {
    // SAFETY: a mapping of its own that nothing else uses; writing to it raises SIGSEGV, which is the
    // purpose.
    unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let page = libc::mmap(ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0);
        page.cast::<u8>().write_volatile(b'x');
    }
}
