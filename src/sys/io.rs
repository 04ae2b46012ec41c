//! Sockets: receives into memory that need not be cleared first, and waits for one of them.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

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

/// Waits until a descriptor can be read from or, with `write`, written to; false when the time is over first.
/// An error of the descriptor is left for what is done with it next.
pub fn wait_for(fd: RawFd, write: bool, within: Duration) -> io::Result<bool> {
    let events = if write { libc::POLLOUT } else { libc::POLLIN | libc::POLLRDHUP };
    let mut asked = libc::pollfd { fd, events, revents: 0 };
    // Not rounded down: a wait that ends too soon is repeated, and would spin.
    let ms = within.as_micros().div_ceil(1000);
    // SAFETY: one structure is handed over, and its number.
    let n = unsafe { libc::poll(&mut asked, 1, i32::try_from(ms).unwrap_or(i32::MAX)) };
    match n {
        0 => Ok(false),
        1.. => Ok(true),
        _ => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok(true),
            e => Err(e),
        },
    }
}
