//! One session: the handshake, then bytes in both directions, then the farewell.
//!
//! ```text
//! handshake ─► Ok(false): again when an event allows it ─► Ok(true) ─► open
//! open       read:  records are taken until there is room for no more, or none is left
//!            write: small pieces are put together, since each call makes a record
//! broken     nothing is read or written any more, and nothing is said to the peer
//! ```
//!
//! Reading may have to write before it goes on, and the reverse (keys are updated). Such a call waits for
//! the other kind of event; `signalled` knows which one answers what.

use super::ClientAuth;
use super::context::reason;
use super::pipe::{Pipe, SocketPipe};
use crate::net::reactor::Ready;
use crate::net::stream::{Allowed, Read, Written};
use crate::sys::{errno, tls};
use mio::net::TcpStream;
use openssl::ssl::{Error, ErrorCode, Ssl, SslContextRef, SslStream, SslVerifyMode};
use std::io::{self, ErrorKind, IoSlice};
use std::net::IpAddr;

/// Bytes of one record at most.
const RECORD: usize = 16 * 1024;
/// Records that one read takes: a peer that sends tiny ones must not hold up the loop.
const RECORDS: usize = 64;

/// As OpenSSL says it where the socket is its own.
const UNEXPECTED_END_CODE: i32 = 0x126;
const UNEXPECTED_END: &str = "error:0A000126:SSL routines::unexpected eof while reading";
const OTHER_BYTES: &str = "what is written is not what was refused before";

#[derive(Debug)]
pub struct Session<P: Pipe> {
    ssl: SslStream<P>,
    state: SessionState,
    /// A read waits until it can write; a write, until it can read.
    read_wants_write: bool,
    write_wants_read: bool,
    /// What the next write must begin with: a record of it is made already.
    refused: Option<Box<[u8]>>,
}

#[derive(Debug, PartialEq, Eq)]
enum SessionState {
    /// The handshake is under way; `writes`: it waits until it can write.
    Opening {
        writes: bool,
    },
    Open,
    /// Why nothing goes any more.
    Broken(String),
}

/// What libssl says instead of a result.
enum Hindrance {
    WantsRead,
    WantsWrite,
    End,
    Broken(io::Error),
}

impl<P: Pipe> Session<P> {
    pub fn server(context: &SslContextRef, pipe: P, asks: ClientAuth) -> io::Result<Session<P>> {
        let mut ssl = Ssl::new(context)?;
        ssl.set_verify(match asks {
            ClientAuth::No => SslVerifyMode::NONE,
            ClientAuth::Optional => SslVerifyMode::PEER,
            ClientAuth::Required => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
        });
        ssl.set_accept_state();
        Session::over(ssl, pipe, false)
    }

    /// `host` is told to the server when it is a name.
    pub fn client(context: &SslContextRef, pipe: P, host: &str) -> io::Result<Session<P>> {
        let mut ssl = Ssl::new(context)?;
        if host.parse::<IpAddr>().is_err() && !host.contains('\0') {
            ssl.set_hostname(host)?;
        }
        ssl.set_connect_state();
        Session::over(ssl, pipe, true)
    }

    fn over(ssl: Ssl, pipe: P, writes: bool) -> io::Result<Session<P>> {
        tls::forget_errors();
        Ok(Session {
            ssl: SslStream::new(ssl, pipe)?,
            state: SessionState::Opening { writes },
            read_wants_write: false,
            write_wants_read: false,
            refused: None,
        })
    }

    /// What the event lets the owner try again.
    pub fn signalled(&mut self, e: &Ready) -> Allowed {
        let readable = e.readable || e.closed;
        if readable {
            self.ssl.get_mut().refill(e.closed);
        }
        if let SessionState::Opening { writes } = self.state {
            let goes_on = if writes { e.writable || e.closed } else { readable };
            return Allowed { read: goes_on, write: false };
        }
        let read = readable || e.writable && std::mem::take(&mut self.read_wants_write);
        let write = match self.write_wants_read {
            true => readable && std::mem::take(&mut self.write_wants_read),
            false => e.writable,
        };
        Allowed { read, write }
    }

    /// Goes on with the handshake; true when the session is open. An error is the reason, in OpenSSL's words.
    pub fn handshake(&mut self) -> Result<bool, String> {
        match &self.state {
            SessionState::Open => return Ok(true),
            SessionState::Broken(why) => return Err(why.clone()),
            SessionState::Opening { .. } => {}
        }
        tls::forget_errors();
        let Err(e) = self.ssl.do_handshake() else {
            self.state = SessionState::Open;
            return Ok(true);
        };
        let why = match self.hindrance(e) {
            Hindrance::WantsRead => {
                self.state = SessionState::Opening { writes: false };
                return Ok(false);
            }
            Hindrance::WantsWrite => {
                self.state = SessionState::Opening { writes: true };
                return Ok(false);
            }
            Hindrance::End => UNEXPECTED_END.to_string(),
            Hindrance::Broken(e) => errno::text(&e),
        };
        self.state = SessionState::Broken(why.clone());
        Err(why)
    }

    /// What is waited for is room in the socket, not bytes of the peer.
    pub fn waits_to_write(&self) -> bool {
        match self.state {
            SessionState::Opening { writes } => writes,
            _ => !self.write_wants_read,
        }
    }

    fn hindrance(&mut self, e: Error) -> Hindrance {
        match e.code() {
            ErrorCode::WANT_READ => return Hindrance::WantsRead,
            ErrorCode::WANT_WRITE => return Hindrance::WantsWrite,
            ErrorCode::ZERO_RETURN => return Hindrance::End,
            _ => {}
        }
        let first = e.ssl_error().and_then(|errors| errors.errors().first());
        // An end without farewell is an end all the same.
        let is_end = first.is_none_or(|first| first.reason_code() == UNEXPECTED_END_CODE);
        if is_end && self.ssl.get_ref().has_ended() {
            return Hindrance::End;
        }
        if let Some(first) = first {
            return Hindrance::Broken(io::Error::other(reason(first)));
        }
        Hindrance::Broken(match e.into_io_error() {
            Ok(e) => e,
            Err(e) => io::Error::other(e.to_string()),
        })
    }

    fn broken(&mut self, e: io::Error) -> io::Error {
        self.state = SessionState::Broken(errno::text(&e));
        e
    }

    /// Could a read bring more at once?
    fn has_more(&self) -> bool {
        !self.ssl.get_ref().is_dry() || tls::has_pending(self.ssl.ssl())
    }

    /// Reads up to `max` bytes to the end of `buf`.
    pub fn read_into(&mut self, buf: &mut Vec<u8>, max: usize) -> io::Result<Read> {
        match &self.state {
            SessionState::Open => {}
            SessionState::Opening { .. } => return Ok(Read::Drained(0)),
            SessionState::Broken(why) => return Err(io::Error::other(why.clone())),
        }
        let before = buf.len();
        for _ in 0..RECORDS {
            let got = buf.len() - before;
            if got == max {
                return Ok(Read::More(got));
            }
            tls::forget_errors();
            let Err(e) = tls::read(&mut self.ssl, buf, max - got) else {
                if !self.has_more() {
                    return Ok(Read::Drained(buf.len() - before));
                }
                continue;
            };
            match self.hindrance(e) {
                Hindrance::WantsRead => return Ok(Read::Drained(got)),
                Hindrance::WantsWrite => {
                    self.read_wants_write = true;
                    return Ok(Read::Drained(got));
                }
                // The next read finds it again.
                Hindrance::End if got > 0 => return Ok(Read::More(got)),
                Hindrance::End => return Ok(Read::End),
                Hindrance::Broken(e) => {
                    let e = self.broken(e);
                    return if got > 0 { Ok(Read::More(got)) } else { Err(e) };
                }
            }
        }
        Ok(Read::More(buf.len() - before))
    }

    /// Writes one record. After `Full` the next write must begin with the same bytes; they alone are then
    /// written, since libssl goes on to a next record within a call and counts on all of them when that is
    /// refused.
    pub fn write(&mut self, b: &[u8]) -> io::Result<Written> {
        match &self.state {
            SessionState::Open => {}
            SessionState::Opening { .. } => return Ok(Written::Full),
            SessionState::Broken(why) => return Err(io::Error::other(why.clone())),
        }
        let most = self.refused.as_ref().map_or(RECORD, |r| r.len());
        let b = &b[..b.len().min(most)];
        if self.refused.as_deref().is_some_and(|r| r != b) {
            return Err(self.broken(io::Error::other(OTHER_BYTES)));
        }
        tls::forget_errors();
        let e = match self.ssl.ssl_write(b) {
            Ok(n) => {
                self.refused = None;
                return Ok(Written::Taken(n));
            }
            Err(e) => e,
        };
        match self.hindrance(e) {
            Hindrance::WantsRead => self.write_wants_read = true,
            Hindrance::WantsWrite => {}
            Hindrance::End => return Err(self.broken(ErrorKind::BrokenPipe.into())),
            Hindrance::Broken(e) => return Err(self.broken(e)),
        }
        self.refused.get_or_insert_with(|| b.into());
        Ok(Written::Full)
    }

    /// Writes the first pieces as one record.
    pub fn write_vectored(&mut self, pieces: &[IoSlice]) -> io::Result<Written> {
        let Some(first) = pieces.first() else { return Ok(Written::Taken(0)) };
        if pieces.len() == 1 || first.len() >= RECORD {
            return self.write(first);
        }
        let mut record = Vec::with_capacity(RECORD);
        for piece in pieces {
            let room = RECORD - record.len();
            record.extend_from_slice(&piece[..piece.len().min(room)]);
            if record.len() == RECORD {
                break;
            }
        }
        self.write(&record)
    }

    /// Tells the peer that no more comes; does not wait for its answer.
    pub fn farewell(&mut self) {
        if self.state == SessionState::Open && self.refused.is_none() {
            tls::forget_errors();
            // The connection is closed in either case.
            let _ = self.ssl.shutdown();
            self.state = SessionState::Broken("closed".into());
        }
    }
}

#[cfg(test)]
impl<P: Pipe> Session<P> {
    pub(super) fn update_keys(&mut self, asks: bool) -> bool {
        tls::update_keys(self.ssl.ssl(), asks)
    }

    pub(super) fn cipher(&self) -> String {
        self.ssl.ssl().current_cipher().map_or("none", |c| c.name()).to_owned()
    }
}

impl Session<SocketPipe> {
    pub fn tcp(&self) -> &TcpStream {
        &self.ssl.get_ref().tcp
    }

    pub fn tcp_mut(&mut self) -> &mut TcpStream {
        &mut self.ssl.get_mut().tcp
    }
}
