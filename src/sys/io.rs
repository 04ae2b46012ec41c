//! Receives into memory that need not be cleared first.

use std::io;
use std::os::fd::RawFd;

/// Receives up to `max` bytes of a socket to the end of `buf`, which grows by what arrived. 0 is the end
/// of the stream. (`recv` skips what `read` does for files.)
pub fn receive(fd: RawFd, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
    buf.reserve(max);
    let room = (buf.capacity() - buf.len()).min(max);
    // SAFETY: the spare capacity has at least `room` bytes.
    let n = unsafe { libc::recv(fd, buf.as_mut_ptr().add(buf.len()).cast(), room, 0) };
    let n = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has written `n <= room` bytes.
    unsafe { buf.set_len(buf.len() + n) };
    Ok(n)
}
