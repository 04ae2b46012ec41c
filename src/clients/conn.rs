//! A connection: the socket, what was read from it and has not run, what has not been written to it.
//!
//! ```text
//! socket ── receive ──► input ── parsed and run (`server/batch`) ──► out ── send ──► socket
//! ```
//!
//! It knows neither commands nor the server, and it is `Send`: the thread that reads and writes need not be
//! the one that runs commands. What both steps need of their surroundings is an `IoCtx`.

use super::pool::{Pool, QUERY};
use crate::net::stream::{Read, Stream, Written};
use crate::proto::parse;
use crate::proto::reply::Reply;
use crate::stats::Traffic;
use crate::sys::alloc;
use std::io;

/// A bulk longer than this is read into a buffer of its exact size (PROTO_MBULK_BIG_ARG).
const BIG_ARG: usize = 32 * 1024;
/// Room behind a big argument that others follow.
const OPTIONS: usize = 256;
/// A connection may write so much per pass while others wait (NET_MAX_WRITES_PER_EVENT).
const MAX_WRITE: usize = 64 * 1024;

/// What the peer has sent and no command has consumed yet.
#[derive(Debug, Default)]
pub struct Input {
    /// Bytes read; the first `pos` are done with. Empty and without room while the client is silent.
    pub buf: Vec<u8>,
    pub pos: usize,
    pub state: parse::ParseState,
    /// Length and room of `buf` while it is lent to the command that runs.
    pub lent: (usize, usize),
    pub query_peak: u32,
}

impl Input {
    pub fn unread(&self) -> usize {
        self.buf.len() - self.pos
    }

    /// Bytes that no argument has been made of: without the arguments of an unfinished request that are
    /// complete.
    pub fn unparsed(&self) -> usize {
        self.unread().saturating_sub(self.state.at())
    }

    /// Drops what is done with; keeps the rest at the front.
    pub fn compact(&mut self) {
        if self.pos == self.buf.len() {
            self.buf.clear();
        } else if self.pos > 0 {
            self.buf.drain(..self.pos);
        }
        self.pos = 0;
    }

    /// A big argument that has begun gets a buffer of its size at once: growing with what arrives would
    /// copy it again and again. How long one may be is for `proto-max-bulk-len` to say; where there is no
    /// such stretch of memory, the buffer grows after all.
    pub fn make_room(&mut self) {
        if let Some(bulk) = self.state.pending_bulk().filter(|b| *b >= BIG_ARG) {
            let end = self.state.at() + bulk + 2;
            // What follows it, options as a rule, must not make the buffer grow: that would copy all.
            let room = if self.state.ends_with_bulk() { end } else { end + OPTIONS };
            let missing = room.saturating_sub(self.buf.len());
            let _no_room = alloc::fallible(|| self.buf.try_reserve_exact(missing));
            self.query_peak = self.query_peak.max(u32::try_from(end).unwrap_or(u32::MAX));
        }
    }

    /// How much to read: what fits, but of a big argument exactly the rest.
    fn room_wanted(&self) -> usize {
        let free = self.buf.capacity() - self.buf.len();
        let free = if free == 0 { QUERY } else { free };
        if let Some(bulk) = self.state.pending_bulk().filter(|b| *b >= BIG_ARG) {
            let end = self.pos + self.state.at() + bulk + 2;
            if end > self.buf.len() {
                return free.min(end - self.buf.len());
            }
        }
        free
    }
}

#[derive(Debug)]
pub struct Conn {
    /// None for scripts, the loader and whatever else runs commands without a peer.
    pub stream: Option<Stream>,
    pub input: Input,
    pub out: Reply,
    /// When something last came, in seconds since 1970.
    pub last_seen: u32,
    /// The last write met a full socket.
    pub write_blocked: bool,
    /// The peer has sent its last: the end follows whatever is still to be read.
    pub hung_up: bool,
}

/// What reading and writing need beside the connection, of the thread that does it.
pub struct IoCtx<'a> {
    pub pool: &'a mut Pool,
    pub traffic: &'a mut Traffic,
    /// Seconds since 1970.
    pub now: u32,
}

/// How far `send` came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    All,
    /// The share of one pass is written.
    Part,
    /// The socket takes no more; `write_blocked` is set.
    Blocked,
}

const _: () = {
    const fn goes_to_a_thread<T: Send>() {}
    goes_to_a_thread::<Conn>();
};

impl Conn {
    pub fn new(now: u32) -> Conn {
        Conn {
            stream: None,
            input: Input::default(),
            out: Reply::new(false),
            last_seen: now,
            write_blocked: false,
            hung_up: false,
        }
    }

    /// Reads once, as much as there is room for.
    pub fn receive(&mut self, io: &mut IoCtx) -> io::Result<Read> {
        let Some(stream) = &mut self.stream else { return Ok(Read::End) };
        if self.input.buf.capacity() == 0 {
            self.input.buf = io.pool.query();
        }
        let want = self.input.room_wanted();
        let read = stream.read_into(&mut self.input.buf, want)?;
        if let Read::More(n @ 1..) | Read::Drained(n @ 1..) = read {
            self.last_seen = io.now;
            let peak = u32::try_from(self.input.buf.len()).unwrap_or(u32::MAX);
            self.input.query_peak = self.input.query_peak.max(peak);
            io.traffic.input += n as u64;
            io.traffic.reads += 1;
        }
        Ok(read)
    }

    /// Writes as much as the socket takes, up to the share of one pass. An emptied first buffer goes back
    /// to the pool.
    pub fn send(&mut self, io: &mut IoCtx) -> io::Result<Sent> {
        let Some(stream) = &mut self.stream else { return Ok(Sent::All) };
        let out = &mut self.out;
        let mut written = 0;
        let sent = loop {
            if out.is_empty() {
                break Ok(Sent::All);
            }
            let r = match out.single() {
                Some(b) => stream.write(b),
                None => stream.write_vectored(&out.slices(Stream::PIECES)),
            };
            match r {
                Ok(Written::Taken(n)) => {
                    written += n;
                    if out.advance(n) {
                        break Ok(Sent::All);
                    }
                    if written >= MAX_WRITE {
                        break Ok(Sent::Part);
                    }
                }
                Ok(Written::Full) => {
                    self.write_blocked = true;
                    break Ok(Sent::Blocked);
                }
                Err(e) => break Err(e),
            }
        };
        io.traffic.output += written as u64;
        io.traffic.writes += 1;
        if matches!(sent, Ok(Sent::All)) {
            io.pool.give_reply(std::mem::take(&mut out.buf));
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn pair() -> (Conn, std::os::unix::net::UnixStream) {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("two sockets");
        ours.set_nonblocking(true).expect("a socket");
        let mut c = Conn::new(0);
        c.stream = Some(Stream::Unix(mio::net::UnixStream::from_std(ours)));
        (c, theirs)
    }

    #[test]
    fn a_share_at_a_time_is_written_until_the_socket_is_full() {
        let (mut pool, mut traffic) = (Pool::default(), Traffic::default());
        let mut io = IoCtx { pool: &mut pool, traffic: &mut traffic, now: 7 };
        let (mut c, peer) = pair();
        c.out.buf = io.pool.reply(crate::proto::reply::CHUNK);
        c.out.bulk(&vec![b'x'; 8 << 20]);
        let total = c.out.pending();
        let mut shares = 0;
        let blocked = loop {
            match c.send(&mut io).expect("open") {
                Sent::Part => shares += 1,
                sent => break sent,
            }
        };
        assert_eq!((blocked, c.write_blocked), (Sent::Blocked, true));
        assert!(shares > 0 || io.traffic.output < MAX_WRITE as u64);
        assert_eq!(io.traffic.output as usize + c.out.pending(), total);
        drop(peer);
        assert!(c.send(&mut io).is_err());
    }

    #[test]
    fn options_behind_a_big_argument_do_not_move_it() {
        let mut input = Input::default();
        input.buf.extend_from_slice(b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$2000000\r\n");
        let limits = parse::ParseLimits { max_bulk: i64::MAX, authenticated: true };
        let mut spans = Vec::new();
        assert_eq!(input.state.next(&input.buf, &limits, &mut spans), parse::Parsed::Partial);
        input.make_room();
        let at = input.buf.as_ptr();
        input.buf.resize(input.buf.len() + 2_000_000, b'x');
        input.buf.extend_from_slice(b"\r\n$2\r\nEX\r\n$8\r\n10000000\r\n");
        let parsed = input.state.next(&input.buf, &limits, &mut spans);
        assert_eq!(parsed, parse::Parsed::Multibulk { len: input.buf.len() });
        assert_eq!((input.buf.as_ptr(), spans.len()), (at, 5));
    }

    #[test]
    fn what_comes_is_counted_and_a_big_argument_is_read_to_its_end() {
        let (mut pool, mut traffic) = (Pool::default(), Traffic::default());
        let mut io = IoCtx { pool: &mut pool, traffic: &mut traffic, now: 7 };
        let (mut c, mut peer) = pair();
        assert_eq!(c.receive(&mut io).expect("open"), Read::Drained(0));
        assert_eq!((c.last_seen, c.input.buf.capacity()), (0, QUERY));
        peer.write_all(b"PING\r\n").expect("room");
        assert_eq!(c.receive(&mut io).expect("open"), Read::Drained(6));
        assert_eq!((c.last_seen, c.input.query_peak), (7, 6));
        drop(peer);
        assert_eq!(c.receive(&mut io).expect("closed in order"), Read::End);
        assert_eq!((io.traffic.input, io.traffic.reads), (6, 1));
    }
}
