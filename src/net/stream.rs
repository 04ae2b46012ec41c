//! A connection: TCP or a unix socket (TLS will be a third kind).

use mio::event::Source;
use mio::{Interest, Registry, Token};
use std::io::{self, IoSlice, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};

#[derive(Debug)]
pub enum Stream {
    Tcp(mio::net::TcpStream),
    Unix(mio::net::UnixStream),
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

    /// Ends the connection, even when a child process holds its descriptor, too.
    pub fn shutdown(&self) {
        // It fails when the peer has ended the connection already.
        let _ = match self {
            Stream::Tcp(s) => s.shutdown(Shutdown::Both),
            Stream::Unix(s) => s.shutdown(Shutdown::Both),
        };
    }

    /// Reads up to `max` bytes to the end of `buf`.
    pub fn read_into(&self, buf: &mut Vec<u8>, max: usize) -> io::Result<usize> {
        crate::sys::io::read_into(self.fd(), buf, max)
    }

    pub fn write(&self, b: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => (&*s).write(b),
            Stream::Unix(s) => (&*s).write(b),
        }
    }

    pub fn write_vectored(&self, b: &[IoSlice]) -> io::Result<usize> {
        match self {
            Stream::Tcp(s) => (&*s).write_vectored(b),
            Stream::Unix(s) => (&*s).write_vectored(b),
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
