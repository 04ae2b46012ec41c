//! Connections that this server opens: to its master, to another node, to the target of MIGRATE.
//!
//! ```text
//! start ─► a stream that is connecting ─► an event ─► state ─┬─ Open
//!    └─ refused at once: the error                           ├─ Failed(why)
//!                                                            └─ Pending: a deadline is the caller's
//! ```
//!
//! A stream that is secured (`Stream::secured`) before it is open has its handshake as the second half of
//! this.
//!
//! Nothing here waits for the peer. The addresses of a name are found beforehand (`resolve`, which may take
//! long for anything but an address). Of several the first is taken to which a connection can be begun.

use super::stream::Stream;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// How far a connection has come.
#[derive(Debug)]
pub enum Connecting {
    Pending,
    Open,
    Failed(io::Error),
}

/// Begins to connect to one of these. `from` is the address to come from (`bind-source-addr`); where the
/// system does not let the socket have it, the connection is made without.
pub fn start(all: &[SocketAddr], from: Option<&str>) -> io::Result<Stream> {
    let from = match from {
        None => None,
        Some(text) => {
            Some(text.parse::<IpAddr>().map_err(|e| io::Error::new(ErrorKind::InvalidInput, e))?)
        }
    };
    let mut last = io::Error::from(ErrorKind::AddrNotAvailable);
    for &to in all {
        let fits = from.filter(|ip| ip.is_ipv4() == to.is_ipv4());
        let begun = match fits {
            Some(ip) => begin(to, Some(ip)).or_else(|_| begin(to, None)),
            None => begin(to, None),
        };
        match begun {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// The address that a text is, if it is no name.
pub fn address(host: &str, port: u16) -> Option<SocketAddr> {
    host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port))
}

/// The addresses of a host. Waits for the system to find those of a name.
pub fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Some(address) = address(host, port) {
        return Ok(vec![address]);
    }
    Ok((host, port).to_socket_addrs()?.collect())
}

/// The first address of a host, in its usual form. Waits for the answer.
pub fn address_of(host: &[u8]) -> Option<String> {
    let found = resolve(std::str::from_utf8(host).ok()?, 0).ok()?;
    found.first().map(|to| to.ip().to_string())
}

fn begin(to: SocketAddr, from: Option<IpAddr>) -> io::Result<Stream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if let Some(ip) = from {
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(SocketAddr::new(ip, 0)))?;
    }
    match socket.connect(&SockAddr::from(to)) {
        Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => return Err(e),
        _ => {}
    }
    Ok(Stream::Tcp(mio::net::TcpStream::from_std(socket.into())))
}

/// What has become of a connection that was begun. Goes on with its handshake.
pub fn state(stream: &mut Stream) -> Connecting {
    let Some(s) = stream.tcp() else { return Connecting::Open };
    match s.take_error() {
        Ok(Some(e)) | Err(e) => return Connecting::Failed(e),
        Ok(None) => {}
    }
    match s.peer_addr() {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::NotConnected => return Connecting::Pending,
        Err(e) => return Connecting::Failed(e),
    }
    match stream.handshake() {
        Ok(true) => Connecting::Open,
        Ok(false) => Connecting::Pending,
        Err(why) => Connecting::Failed(io::Error::other(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn start_to(host: &str, port: u16, from: Option<&str>) -> io::Result<Stream> {
        start(&resolve(host, port)?, from)
    }

    fn settled(stream: &mut Stream) -> Connecting {
        loop {
            match state(stream) {
                Connecting::Pending => std::thread::yield_now(),
                done => return done,
            }
        }
    }

    #[test]
    fn a_connection_is_open_when_the_peer_has_taken_it() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        for (host, from) in [("127.0.0.1", None), ("localhost", None), ("127.0.0.1", Some("127.0.0.2"))]
        {
            let mut stream = start_to(host, port, from).expect("a listener is there");
            let (_, peer) = listener.accept().expect("it has connected");
            assert!(matches!(settled(&mut stream), Connecting::Open));
            assert_eq!(peer.ip().to_string(), from.unwrap_or("127.0.0.1"));
        }
    }

    #[test]
    fn a_refused_connection_says_why() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let why = match start_to("127.0.0.1", port, None) {
            Ok(mut stream) => match settled(&mut stream) {
                Connecting::Failed(e) => e,
                other => panic!("{other:?}"),
            },
            Err(e) => e,
        };
        assert_eq!(why.kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn an_address_that_the_socket_cannot_have_is_passed_over() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        assert!(start_to("127.0.0.1", port, Some("192.0.2.1")).is_ok(), "best effort");
        assert!(start_to("127.0.0.1", port, Some("no address")).is_err());
        assert!(start_to("no.such.host.invalid", port, None).is_err());
    }
}
