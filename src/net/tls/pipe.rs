//! Where a session gets its records from, and puts them: a socket, or memory in tests.

use mio::net::TcpStream;
use std::io::{self, ErrorKind, Read, Write};

/// What a session must know of the bytes below it.
pub trait Pipe: Read + Write {
    /// Will a read bring nothing before `refill`?
    fn is_dry(&self) -> bool;

    /// The peer sends no more.
    fn has_ended(&self) -> bool;

    /// There may be more to read. `closed`: up to the end, which no further event announces.
    fn refill(&mut self, closed: bool);
}

/// A non-blocking socket.
#[derive(Debug)]
pub struct SocketPipe {
    pub(super) tcp: TcpStream,
    /// The last recv has emptied the socket.
    drained: bool,
    /// The event of the end has come: the socket is read until it says so.
    hung_up: bool,
    ended: bool,
}

impl SocketPipe {
    pub(super) fn new(tcp: TcpStream) -> SocketPipe {
        SocketPipe { tcp, drained: false, hung_up: false, ended: false }
    }
}

impl Pipe for SocketPipe {
    fn is_dry(&self) -> bool {
        self.drained && !self.hung_up
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn refill(&mut self, closed: bool) {
        self.drained = false;
        self.hung_up |= closed;
    }
}

impl Read for SocketPipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        if self.is_dry() {
            return Err(ErrorKind::WouldBlock.into());
        }
        loop {
            let got = self.tcp.read(buf);
            match &got {
                Ok(0) if !buf.is_empty() => self.ended = true,
                Ok(n) => self.drained = *n < buf.len(),
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.drained = true,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(_) => {}
            }
            return got;
        }
    }
}

impl Write for SocketPipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        loop {
            match self.tcp.write(buf) {
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                sent => return sent,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
