//! A stream that is used without the loop: each step waits, up to a deadline.
//!
//! The stream itself stays non-blocking, so that a session over it works the same as in the loop.

use super::connect::{self, Connecting};
use super::reactor::Ready;
use super::stream::{Read, Stream, Written};
use crate::sys::clock::mono_ns;
use crate::sys::io::wait_for;
use std::io::{self, ErrorKind};
use std::time::Duration;

/// Any step may take so long when none is named: for ever, as good as.
pub const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);

#[derive(Debug)]
pub struct Patient {
    stream: Stream,
    /// How long a write by `io::Write` may wait.
    write_patience: Duration,
}

/// When a step ends that begins now, in nanoseconds of the monotonic clock.
fn end_of(within: Duration) -> u64 {
    mono_ns().saturating_add(u64::try_from(within.as_nanos()).unwrap_or(u64::MAX))
}

impl Patient {
    pub fn new(stream: Stream, write_patience: Duration) -> Patient {
        Patient { stream, write_patience }
    }

    pub fn into_stream(self) -> Stream {
        self.stream
    }

    pub fn farewell(&mut self) {
        self.stream.farewell();
    }

    /// Waits for what the stream needs to go on; `ErrorKind::TimedOut` when it does not come.
    fn wait(&mut self, write: bool, until: u64) -> io::Result<()> {
        let left = until.saturating_sub(mono_ns());
        if left == 0 || !wait_for(self.stream.fd(), write, Duration::from_nanos(left))? {
            return Err(ErrorKind::TimedOut.into());
        }
        // The end is found by reading up to it.
        let all = Ready { token: 0, readable: true, writable: true, closed: true };
        self.stream.signalled(&all);
        Ok(())
    }

    /// Waits until a connection that was begun is open, its handshake done.
    pub fn open(&mut self, within: Duration) -> io::Result<()> {
        let until = end_of(within);
        let mut write = true;
        loop {
            self.wait(write, until)?;
            match connect::state(&mut self.stream) {
                Connecting::Open => return Ok(()),
                Connecting::Failed(e) => return Err(e),
                Connecting::Pending => write = self.stream.waits_to_write(),
            }
        }
    }

    /// Reads what there is, at least one byte, to the end of `buf`. False at the end of the stream.
    pub fn receive(&mut self, buf: &mut Vec<u8>, max: usize, within: Duration) -> io::Result<bool> {
        let until = end_of(within);
        loop {
            match self.stream.read_into(buf, max)? {
                Read::End => return Ok(false),
                Read::More(1..) | Read::Drained(1..) => return Ok(true),
                Read::More(0) => {}
                Read::Drained(0) => self.wait(false, until)?,
            }
        }
    }

    pub fn send_all(&mut self, mut bytes: &[u8], within: Duration) -> io::Result<()> {
        let until = end_of(within);
        while !bytes.is_empty() {
            match self.stream.write(bytes)? {
                Written::Taken(0) => return Err(ErrorKind::WriteZero.into()),
                Written::Taken(n) => bytes = bytes.get(n..).unwrap_or_default(),
                Written::Full => self.wait(self.stream.waits_to_write(), until)?,
            }
        }
        Ok(())
    }
}

impl io::Read for Patient {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let mut bytes = Vec::with_capacity(room.len());
        if room.is_empty() || !self.receive(&mut bytes, room.len(), FOR_EVER)? {
            return Ok(0);
        }
        room[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl io::Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send_all(bytes, self.write_patience).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
