//! A stream of bytes between the server and a peer: a TCP or a unix socket.
//!
//! Events are edge-triggered, so the caller of a read must know whether another event will come for what it
//! has not read. Only the stream can tell, and it does so with every result:
//!
//! ```text
//! read   Drained(n)   the socket has nothing more; its next event announces what comes
//!        More(n)      there may be more, which no event announces: read again, now or in the next pass
//!        End          the peer sends no more
//! write  Taken(n)     go on
//!        Full         nothing was taken; the next event for room announces that it may be tried again
//! ```
//!
//! For a socket less than was asked for means drained. A kind that keeps decrypted bytes inside answers
//! `More` until it is empty, and a result for "writes before it can read" belongs to `Read` (and the
//! reverse to `Written`) when such a kind is added: all that match on them are then found by the compiler.

use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

#[derive(Debug)]
pub enum Stream {
    Tcp(mio::net::TcpStream),
    Unix(mio::net::UnixStream),
}

/// What a read brought, and what the stream still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    Drained(usize),
    More(usize),
    End,
}

/// What a write came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Taken(usize),
    Full,
}

fn write_with(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<Written> {
    loop {
        return match write() {
            Ok(n) => Ok(Written::Taken(n)),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(Written::Full),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => Err(e),
        };
    }
}

impl Stream {
    /// So many pieces are handed to one call of `write_vectored` at most.
    pub const PIECES: usize = 64;

    pub fn fd(&self) -> RawFd {
        match self {
            Stream::Tcp(s) => s.as_raw_fd(),
            Stream::Unix(s) => s.as_raw_fd(),
        }
    }

    pub fn is_unix(&self) -> bool {
        matches!(self, Stream::Unix(_))
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(s) => s,
            Stream::Unix(s) => s,
        }
    }

    /// TCP asks for both directions once; a unix socket signals room after every reply that its peer
    /// takes, so it asks for room only when a write met a full buffer.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest =
            if self.is_unix() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
        registry.register(self.source(), token, interest)
    }

    pub fn want_write(&mut self, registry: &Registry, token: Token, on: bool) -> io::Result<()> {
        if !self.is_unix() {
            return Ok(());
        }
        let interest = if on { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        registry.reregister(self.source(), token, interest)
    }

    pub fn deregister(&mut self, registry: &Registry) {
        // A descriptor that the kernel has forgotten already is as good as deregistered.
        let _ = registry.deregister(self.source());
    }

    /// The same socket once more, to read and write without the loop.
    pub fn duplicate(&self) -> io::Result<socket2::Socket> {
        match self {
            Stream::Tcp(s) => socket2::SockRef::from(s).try_clone(),
            Stream::Unix(s) => socket2::SockRef::from(s).try_clone(),
        }
    }

    /// Ends the connection, even when a child process holds its descriptor, too.
    pub fn shutdown(&self) {
        // It fails when the peer has ended the connection already.
        let _ = match self {
            Stream::Tcp(s) => s.shutdown(Shutdown::Both),
            Stream::Unix(s) => s.shutdown(Shutdown::Both),
        };
    }

    /// Reads up to `max` bytes to the end of `buf`.
    pub fn read_into(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<Read> {
        debug_assert!(max > 0, "a read of nothing looks like the end");
        loop {
            return match crate::sys::io::receive(self.fd(), buf, max) {
                Ok(0) => Ok(Read::End),
                Ok(n) if n == max => Ok(Read::More(n)),
                Ok(n) => Ok(Read::Drained(n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(Read::Drained(0)),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => Err(e),
            };
        }
    }

    pub fn write(&mut self, b: &[u8]) -> io::Result<Written> {
        match self {
            Stream::Tcp(s) => write_with(|| s.write(b)),
            Stream::Unix(s) => write_with(|| s.write(b)),
        }
    }

    pub fn write_vectored(&mut self, b: &[IoSlice]) -> io::Result<Written> {
        match self {
            Stream::Tcp(s) => write_with(|| s.write_vectored(b)),
            Stream::Unix(s) => write_with(|| s.write_vectored(b)),
        }
    }

    /// `ip:port` as CLIENT LIST shows it; `path:0` for a unix socket.
    pub fn peer(&self, unix_path: &str) -> String {
        match self {
            Stream::Tcp(s) => s.peer_addr().map_or("?:0".into(), |a| show_addr(&a)),
            Stream::Unix(_) => format!("{unix_path}:0"),
        }
    }

    pub fn local(&self, unix_path: &str) -> String {
        match self {
            Stream::Tcp(s) => s.local_addr().map_or("?:0".into(), |a| show_addr(&a)),
            Stream::Unix(_) => format!("{unix_path}:0"),
        }
    }

    /// The two ends as addresses; None for a unix socket, and for one that is not connected.
    pub fn ends(&self) -> (Option<IpAddr>, Option<IpAddr>) {
        match self {
            Stream::Tcp(s) => {
                let ip = |a: io::Result<SocketAddr>| a.ok().map(|a| a.ip().to_canonical());
                (ip(s.local_addr()), ip(s.peer_addr()))
            }
            Stream::Unix(_) => (None, None),
        }
    }

    /// The peer's address alone.
    pub fn peer_ip(&self) -> Option<String> {
        match self {
            Stream::Tcp(s) => s.peer_addr().ok().map(|a| a.ip().to_string()),
            Stream::Unix(_) => Some("/unixsocket".into()),
        }
    }

    pub fn set_nodelay(&self, on: bool) {
        if let Stream::Tcp(s) = self {
            // Without the option the bytes only leave a little later.
            let _ = s.set_nodelay(on);
        }
    }

    /// Does the peer live on this machine, as protected mode understands it?
    pub fn is_local(&self) -> bool {
        match self {
            Stream::Tcp(s) => s.peer_addr().is_ok_and(|a| a.ip().to_canonical().is_loopback()),
            Stream::Unix(_) => true,
        }
    }

    /// No delay, and keep-alive probes every `seconds` (0: none).
    pub fn tune(&self, keepalive: u64) {
        if let Stream::Tcp(s) = self {
            let _ = s.set_nodelay(true);
            if keepalive > 0 {
                let third = std::time::Duration::from_secs((keepalive / 3).max(1));
                let ka = socket2::TcpKeepalive::new()
                    .with_time(std::time::Duration::from_secs(keepalive))
                    .with_interval(third)
                    .with_retries(3);
                let _ = socket2::SockRef::from(s).set_tcp_keepalive(&ka);
            }
        }
    }
}

fn show_addr(a: &std::net::SocketAddr) -> String {
    match a.ip() {
        std::net::IpAddr::V4(ip) => format!("{ip}:{}", a.port()),
        std::net::IpAddr::V6(ip) => format!("[{ip}]:{}", a.port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn pair() -> (Stream, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("two sockets");
        ours.set_nonblocking(true).expect("a socket");
        (Stream::Unix(mio::net::UnixStream::from_std(ours)), theirs)
    }

    #[test]
    fn a_read_tells_whether_the_socket_may_have_more() {
        let (mut s, mut peer) = pair();
        let mut buf = Vec::new();
        assert_eq!(s.read_into(&mut buf, 4).expect("open"), Read::Drained(0));
        peer.write_all(b"abcdefg").expect("room");
        assert_eq!(s.read_into(&mut buf, 4).expect("open"), Read::More(4));
        assert_eq!(s.read_into(&mut buf, 4).expect("open"), Read::Drained(3));
        assert_eq!(s.read_into(&mut buf, 4).expect("open"), Read::Drained(0));
        assert_eq!(buf, b"abcdefg");
        drop(peer);
        assert_eq!(s.read_into(&mut buf, 4).expect("closed in order"), Read::End);
    }

    #[test]
    fn a_write_tells_when_the_socket_is_full() {
        let (mut s, mut peer) = pair();
        let piece = vec![b'x'; 64 * 1024];
        let mut sent = 0;
        while let Written::Taken(n) = s.write(&piece).expect("open") {
            sent += n;
        }
        assert_eq!(s.write_vectored(&[IoSlice::new(&piece)]).expect("open"), Written::Full);
        let mut got = vec![0; sent];
        peer.read_exact(&mut got).expect("all of it");
        assert!(matches!(s.write(b"y").expect("open"), Written::Taken(1)));
        drop(peer);
        assert!(s.write(b"y").is_err());
    }
}
