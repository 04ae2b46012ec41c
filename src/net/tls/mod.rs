//! TLS: contexts from settings, and sessions over a TCP stream.
//!
//! ```text
//! Settings ─► Contexts ─┬─ accept(tcp) ──────► Session ── handshake ─► read, write ─► farewell
//!  (plain data) (a pair)└─ connect(tcp, host) ─►  ▲
//!                                                 └─ SocketPipe: recv, and what it says of the socket
//! ```
//!
//! - All of libssl stands behind this folder: `context` and `session`. A build without the feature `tls` has
//!   `absent` in their place, whose types have no values, so that nothing else asks for the feature.
//! - A pair of contexts is built whole or not at all. Sessions keep the pair that they began with.
//! - The socket belongs to the session's pipe, not to libssl. A recv that brings less than was asked for has
//!   emptied the socket: until the next event the pipe answers without a system call, so that "read until
//!   libssl wants more" costs one recv for each event.
//! - Bytes that libssl holds are announced by no event. A read says `More` until there are none (see
//!   `net::stream`).
//! - When a write meets a full socket, libssl has made a record of the bytes already. What is offered next
//!   must begin with them; the session keeps a copy and breaks rather than lose a byte.
//! - The chain of the peer is verified, its name is not: certificates in the field carry none.
//! - A session belongs to one process. A forked child must not use one that its parent goes on with: the two
//!   would encrypt different bytes with the same nonces.

#[cfg(not(feature = "tls"))]
mod absent;
#[cfg(feature = "tls")]
mod context;
#[cfg(feature = "tls")]
mod pipe;
#[cfg(feature = "tls")]
mod session;
#[cfg(feature = "tls")]
pub mod testing;
#[cfg(all(test, feature = "tls"))]
mod tests;

#[cfg(not(feature = "tls"))]
pub use absent::{Contexts, Tls};
#[cfg(feature = "tls")]
pub use context::Contexts;
#[cfg(feature = "tls")]
pub use pipe::{Pipe, SocketPipe};
#[cfg(feature = "tls")]
pub use session::Session;

/// A session over a TCP stream.
#[cfg(feature = "tls")]
pub type Tls = Session<SocketPipe>;

/// Was this server built with TLS?
pub const AVAILABLE: bool = cfg!(feature = "tls");

/// A certificate and its key, as files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    pub cert_file: Option<Vec<u8>>,
    pub key_file: Option<Vec<u8>>,
    pub key_file_pass: Option<Vec<u8>>,
}

/// What contexts are built from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    pub server: Identity,
    /// Used for outgoing connections if both files are named; else `server` is.
    pub client: Identity,
    pub dh_params_file: Option<Vec<u8>>,
    pub ca_cert_file: Option<Vec<u8>>,
    pub ca_cert_dir: Option<Vec<u8>>,
    /// Peers are verified, so one of the two above must be there.
    pub verifies: bool,
    pub protocols: Option<Vec<u8>>,
    /// Up to TLS 1.2, and of TLS 1.3, as OpenSSL writes them.
    pub ciphers: Option<Vec<u8>>,
    pub ciphersuites: Option<Vec<u8>>,
    pub prefer_server_ciphers: bool,
    /// How many sessions may be resumed, and for how many seconds; None for none.
    pub sessions: Option<(u64, u64)>,
}

impl Settings {
    /// All files and folders that are named.
    pub fn files(&self) -> impl Iterator<Item = &[u8]> {
        let (s, c) = (&self.server, &self.client);
        [&s.cert_file, &s.key_file, &c.cert_file, &c.key_file]
            .into_iter()
            .chain([&self.dh_params_file, &self.ca_cert_file, &self.ca_cert_dir])
            .flatten()
            .map(Vec::as_slice)
    }
}

/// Is a certificate asked of clients?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    No,
    Optional,
    Required,
}

/// What a certificate in use is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertRole {
    Server,
    Client,
    Ca,
}

/// A certificate in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertFacts {
    pub role: CertRole,
    /// In hexadecimal digits.
    pub serial: String,
    /// In Unix seconds.
    pub expires: i64,
}
