//! The main channel of a full sync by two connections, performed: what comes by it is kept until the snapshot
//! that comes by the other one is the dataset.
//!
//! ```text
//! master ─► answers ─► machine (`replication::link::dual`)
//!        ─► stream ──► held ─ up to the replicas' hard limit, then the master has to keep the rest
//!                        │
//!           snapshot loaded: a client has the connection (`link_client`)
//!                        └─► block by block into its input, and behind the last one the connection is read
//! ```
//!
//! The order of the stream rests on one rule: while anything is held, nothing is read from the connection
//! into the client.

use super::link::{self, Cut};
use super::{Server, link_client};
use crate::clients::{ClientId, ClientKind, flag};
use crate::net::reactor::Ready;
use crate::net::stream::{Read, Stream, Written};
use crate::notice;
use crate::replication::held::Held;
use crate::replication::link::{Event, Wants};
use crate::sys::errno;

/// Bytes read at once while the master answers.
const LINES: usize = 4 * 1024;
/// Bytes of the stream that one pass takes.
const SHARE: usize = 1024 * 1024;

#[derive(Default)]
pub struct MainChannel {
    stream: Option<Stream>,
    /// Read, and not taken by the machine yet.
    input: Vec<u8>,
    /// The stream may have more, which no event announces.
    pending: bool,
    held: Held,
    /// Nothing more is taken: as much is held as may be.
    full: bool,
}

impl MainChannel {
    pub fn is_open(&self) -> bool {
        self.stream.is_some()
    }

    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Is there work that no event announces?
    pub fn has_work(&self) -> bool {
        self.pending
    }
}

/// The connection that the master has answered on waits beside the one that is made next.
pub fn park(srv: &mut Server, stream: Option<Stream>, input: Vec<u8>) {
    let m = &mut srv.master_link.main;
    (m.stream, m.input, m.pending, m.full) = (stream, input, true, false);
    m.held.start();
}

/// The connection has signalled.
pub fn ready(srv: &mut Server, e: &Ready) {
    let m = &mut srv.master_link.main;
    if let Some(stream) = &mut m.stream {
        stream.signalled(e);
    }
    m.pending = true;
}

pub fn send(srv: &mut Server, bytes: &[u8]) {
    let m = &mut srv.master_link.main;
    m.pending = true;
    let Some(stream) = &mut m.stream else { return };
    let why = match stream.write(bytes) {
        Ok(Written::Taken(n)) if n == bytes.len() => return,
        Ok(_) => "no room".into(),
        Err(e) => errno::text(&e),
    };
    link::event(srv, Event::MainClosed(&why));
}

/// A sign of life. The master may have closed its end meanwhile, which is found when the stream is read.
pub fn newline(srv: &mut Server) {
    drop(srv.master_link.main.stream.as_mut().map(|s| s.write(b"\n")));
}

pub fn close(srv: &mut Server) {
    let m = &mut srv.master_link.main;
    (m.input, m.pending) = (Vec::new(), false);
    m.held.clear();
    if let Some(stream) = m.stream.take() {
        link::end(srv, stream);
    }
}

/// The connection is a client's from now on, and so is what is held.
pub fn take(srv: &mut Server) -> Option<Stream> {
    let m = &mut srv.master_link.main;
    m.pending = false;
    keep_input(m);
    m.stream.take()
}

/// Nothing reads what is held any more: its client has gone.
pub fn forget(srv: &mut Server) {
    srv.master_link.main.held.clear();
}

/// What came with the last answer belongs to the stream.
fn keep_input(m: &mut MainChannel) {
    let input = std::mem::take(&mut m.input);
    m.held.push(&input);
}

/// Once per pass, outside of commands: takes what has come.
pub fn drive(srv: &mut Server) {
    let mut share = SHARE;
    loop {
        match srv.repl.link.wants_main() {
            Wants::Line => match link::cut_line(&mut srv.master_link.main.input) {
                Cut::Line(line) => {
                    link::event(srv, Event::Main(&line));
                    continue;
                }
                Cut::TooLong => return link::event(srv, Event::MainClosed("a line without end")),
                Cut::Partial => {}
            },
            Wants::Stream if may_hold(srv) => {}
            _ => {
                srv.master_link.main.pending = false;
                return;
            }
        }
        if share == 0 {
            return;
        }
        match receive(srv) {
            Some(0) | None => return,
            Some(n) => share = share.saturating_sub(n),
        }
    }
}

/// May more of the stream be held?
fn may_hold(srv: &mut Server) -> bool {
    let limit = srv.config.client_output_buffer_limit[ClientKind::Replica as usize].hard;
    let m = &mut srv.master_link.main;
    keep_input(m);
    if m.held.is_full(limit) && !m.full {
        m.full = true;
        notice!("Replication buffer limit reached, stopping buffering.");
    }
    !m.full
}

/// Reads once; None when the connection has ended.
fn receive(srv: &mut Server) -> Option<usize> {
    let holds = srv.repl.link.wants_main() == Wants::Stream;
    let m = &mut srv.master_link.main;
    let stream = m.stream.as_mut()?;
    let got = match holds {
        true => m.held.fill(|block, room| stream.read_into(block, room)),
        false => stream.read_into(&mut m.input, LINES),
    };
    let why = match got {
        Ok(Read::Drained(n) | Read::More(n)) => {
            m.pending = n > 0;
            return Some(n);
        }
        Ok(Read::End) => "connection lost".to_string(),
        Err(e) => errno::text(&e),
    };
    m.pending = false;
    link::event(srv, Event::MainClosed(&why));
    None
}

/// Gives the client of the link the next block of what is held; false while it takes nothing.
#[cold]
pub fn feed(srv: &mut Server, id: ClientId) -> bool {
    let now = srv.clock.unix_secs() as u32;
    let Some(c) = srv.clients.get_mut(id) else { return false };
    if c.has(flag::PAUSED | flag::BLOCKED) {
        return false;
    }
    let Some(block) = srv.master_link.main.held.pop() else { return false };
    c.conn.input.buf.extend_from_slice(&block);
    c.conn.last_seen = now;
    let traffic = &mut srv.stats.traffic;
    traffic.input += block.len() as u64;
    traffic.reads += 1;
    if srv.master_link.main.held.is_empty() {
        // With the room that the last read found nothing for.
        srv.master_link.main.held.clear();
        notice!("Successfully streamed replication data into memory");
        link_client::acknowledge(srv);
    }
    true
}
