//! A full sync without a file: the child writes the snapshot to a pipe, and what comes out of it goes to
//! every replica of the transfer.
//!
//! ```text
//! child ─► pipe ─► piece ─┬─► replica      the next piece is read when each of them has taken this one,
//!                         └─► replica      so the slowest sets the pace, until it is cut as stalled
//! end of the pipe ─► the child may go ─► it has ended well ─► WaitAck ─ ACK ─► Online
//! ```
//!
//! The child waits at its end until the parent has read all: what it has ended with then says whether the
//! snapshot is whole. The snapshot has no length but a mark at its end, and nothing may stand behind the
//! mark before the replica has said that it has found it.
//!
//! While a replica takes nothing the pipe is not read, and no event of the pipe makes the loop turn.

use super::{Server, child, function, jobs, kill, master};
use crate::algo::rng::random_hex;
use crate::clients::ClientId;
use crate::jobs::child::{ChildKind, Exit, Report};
use crate::net::reactor::{EXTRA, TRANSFER};
use crate::persist::rdb::save::save;
use crate::replication::link::MARK;
use crate::replication::replicas::{Next, Stage};
use crate::sys::{errno, process};
use crate::{notice, warning};
use mio::unix::pipe;
use std::io::{self, BufWriter, ErrorKind, Read, Write};

/// Bytes read from the pipe at once (PROTO_IOBUF_LEN), and pieces that one pass takes.
const PIECE: usize = 16 * 1024;
const SHARE: usize = 64;

pub struct Transfer {
    pipe: pipe::Receiver,
    /// The child ends when this is closed.
    hold: Option<io::PipeWriter>,
    /// What the replicas are sent now.
    piece: Vec<u8>,
    /// The pipe may have more, and each replica may have taken its piece.
    pending: bool,
}

impl Transfer {
    pub fn has_work(&self) -> bool {
        self.pending
    }

    /// What a replica that has taken `at` bytes of the piece is sent next.
    pub fn piece(&self, at: usize) -> &[u8] {
        self.piece.get(at..).unwrap_or_default()
    }
}

/// The pipe has signalled, or a replica has gone.
pub fn ready(srv: &mut Server) {
    if let Some(t) = &mut srv.transfer {
        t.pending = t.hold.is_some();
    }
}

/// Forks the child for these replicas.
pub fn begin(srv: &mut Server, replicas: &[ClientId]) -> io::Result<()> {
    debug_assert!(srv.transfer.is_none() && srv.jobs.child.is_none(), "one child at a time");
    let (sender, mut pipe) = pipe::new()?;
    sender.set_nonblocking(false)?;
    let (gate, hold) = io::pipe()?;
    srv.reactor.registry().register(&mut pipe, mio::Token(EXTRA + TRANSFER), mio::Interest::READABLE)?;
    srv.transfer = Some(Transfer { pipe, hold: Some(hold), piece: Vec::new(), pending: false });
    match child::fork(srv, ChildKind::Snapshot) {
        Ok(Some(report)) => write_all(srv, report, sender, gate),
        Ok(None) => {
            master::begin(srv, replicas, Stage::Transfer);
            Ok(())
        }
        Err(e) => {
            srv.transfer = None;
            warning!("Can't save in background: fork: {}", errno::text(&e));
            Err(e)
        }
    }
}

/// The child.
fn write_all(srv: &mut Server, mut report: Report, to: pipe::Sender, mut gate: io::PipeReader) -> ! {
    // Its copies of the parent's ends: with the parent the pipe shall end.
    srv.transfer = None;
    let written = write_snapshot(srv, &mut report, to);
    if written.is_ok() {
        report.done();
    }
    // Nothing is ever sent: the parent closes it, or has gone.
    let parted = gate.read(&mut [0]);
    process::exit_child(i32::from(written.is_err() || parted.is_err()));
}

fn write_snapshot(srv: &Server, report: &mut Report, to: pipe::Sender) -> io::Result<()> {
    let mark = random_hex::<MARK>();
    let mut out = BufWriter::with_capacity(PIECE, to);
    out.write_all(b"$EOF:")?;
    out.write_all(&mark)?;
    out.write_all(b"\r\n")?;
    let saved = |_: crate::ds::entry::EntryRef<'_>| {
        report.key();
        Ok(())
    };
    save(&srv.ks, &function::codes(srv), &jobs::options(srv, false), &mut out, saved)?;
    out.write_all(&mark)?;
    out.flush()
}

/// Once per pass, when there is work: the next pieces.
pub fn drive(srv: &mut Server) {
    for _ in 0..SHARE {
        let all = srv.repl.replicas.at_stage(Stage::Transfer);
        let Some(t) = srv.transfer.as_mut().filter(|t| t.hold.is_some()) else { return };
        t.pending = false;
        if all.is_empty() {
            warning!("Diskless rdb transfer, last replica dropped, killing fork child.");
            return jobs::kill_child(srv);
        }
        let end = srv.repl.offset();
        if srv.repl.replicas.iter().any(|r| r.stage == Stage::Transfer && r.next(end) != Next::Nothing) {
            return;
        }
        t.piece.resize(PIECE, 0);
        match t.pipe.read(&mut t.piece) {
            Ok(0) => return read_all(srv, all.len()),
            Ok(n) => {
                t.piece.truncate(n);
                for id in all {
                    if let Some(r) = srv.repl.replicas.get_mut(id) {
                        r.offer(n);
                    }
                    master::write(srv, id);
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Err(e) => {
                let why = errno::text(&e);
                warning!("Diskless rdb transfer, read error sending DB to replicas: {why}");
                all.into_iter().for_each(|id| kill::kill(srv, id));
                return jobs::kill_child(srv);
            }
        }
    }
    ready(srv);
}

/// The pipe has ended: the child may, too.
fn read_all(srv: &mut Server, up: usize) {
    notice!("Diskless rdb transfer, done reading from pipe, {up} replicas still up.");
    if let Some(t) = &mut srv.transfer {
        t.hold = None;
        t.piece = Vec::new();
    }
}

/// The child has ended.
pub fn done(srv: &mut Server, end: Exit) {
    match end {
        Exit::Good => notice!("Background RDB transfer terminated with success"),
        Exit::Bad => warning!("Background transfer error"),
        Exit::Signal(n) => warning!("Background transfer terminated by signal {n}"),
    }
    let whole = srv.transfer.take().is_some_and(|mut t| {
        // The kernel forgets a descriptor that is closed.
        let forgotten = srv.reactor.registry().deregister(&mut t.pipe);
        debug_assert!(forgotten.is_ok());
        t.hold.is_none()
    });
    for id in srv.repl.replicas.at_stage(Stage::Transfer) {
        if end != Exit::Good || !whole {
            warning!("SYNC failed. BGSAVE child returned an error");
            kill::kill(srv, id);
            continue;
        }
        master::streamed(srv, id);
    }
}
