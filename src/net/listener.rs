//! Listening sockets.

use super::stream::Stream;
use crate::sys::errno;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::{fmt, io};

#[derive(Debug)]
pub enum Listener {
    Tcp(mio::net::TcpListener),
    Unix(mio::net::UnixListener),
}

/// What could not be done, and why.
#[derive(Debug)]
pub struct Refused {
    step: &'static str,
    error: io::Error,
}

impl Refused {
    pub fn at(step: &'static str, error: io::Error) -> Self {
        Refused { step, error }
    }

    /// The system's number for it, 0 where it has none.
    pub fn code(&self) -> i32 {
        self.error.raw_os_error().unwrap_or(0)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.step.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", self.step, errno::text(&self.error))
    }
}

impl Listener {
    /// Binds one address of `bind` (`*` and `::*` mean all of a family).
    pub fn tcp(addr: &str, port: u16, backlog: i32, mark: u32) -> Result<Listener, Refused> {
        let ip = match addr {
            "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            "::*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => resolve(addr).map_err(|e| Refused::at("", e))?,
        };
        let domain = if ip.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
        let s = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
            .map_err(|e| Refused::at("unable to bind socket", e))?;
        let prepared = if ip.is_ipv6() { s.set_only_v6(true) } else { Ok(()) };
        prepared.and_then(|()| s.set_reuse_address(true)).map_err(|e| Refused::at("setsockopt", e))?;
        if mark > 0 {
            s.set_mark(mark).map_err(|e| Refused::at("setsockopt", e))?;
        }
        s.bind(&SockAddr::from(SocketAddr::new(ip, port))).map_err(|e| Refused::at("bind", e))?;
        s.listen(backlog)
            .and_then(|()| s.set_nonblocking(true))
            .map_err(|e| Refused::at("listen", e))?;
        Ok(Listener::Tcp(mio::net::TcpListener::from_std(s.into())))
    }

    /// Binds a unix socket. Its permission is set before `listen`, so before a client can connect.
    pub fn unix(path: &std::path::Path, perm: u32, backlog: i32) -> Result<Listener, Refused> {
        // A socket file that an earlier process left behind.
        let _ = std::fs::remove_file(path);
        let s = Socket::new(Domain::UNIX, Type::STREAM, None)
            .map_err(|e| Refused::at("creating socket", e))?;
        let addr = SockAddr::unix(path).map_err(|e| Refused::at("bind", e))?;
        s.bind(&addr).map_err(|e| Refused::at("bind", e))?;
        if perm != 0 {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(perm))
                .map_err(|e| Refused::at("chmod", e))?;
        }
        s.listen(backlog)
            .and_then(|()| s.set_nonblocking(true))
            .map_err(|e| Refused::at("listen", e))?;
        Ok(Listener::Unix(mio::net::UnixListener::from_std(s.into())))
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Listener::Tcp(l) => registry.register(l, token, Interest::READABLE),
            Listener::Unix(l) => registry.register(l, token, Interest::READABLE),
        }
    }

    pub fn deregister(&mut self, registry: &Registry) {
        let _ = match self {
            Listener::Tcp(l) => registry.deregister(l),
            Listener::Unix(l) => registry.deregister(l),
        };
    }

    pub fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(l) => l.accept().map(|(s, _)| Stream::Tcp(s)),
            Listener::Unix(l) => l.accept().map(|(s, _)| Stream::Unix(s)),
        }
    }
}

fn resolve(addr: &str) -> io::Result<IpAddr> {
    use std::net::ToSocketAddrs;
    if let Ok(ip) = addr.parse() {
        return Ok(ip);
    }
    let mut all = (addr, 0).to_socket_addrs()?;
    all.next().map(|a| a.ip()).ok_or_else(|| io::Error::from_raw_os_error(libc::EADDRNOTAVAIL))
}
