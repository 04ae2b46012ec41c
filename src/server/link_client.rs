//! The client that reads the stream of the master: its commands are applied and handed on.
//!
//! ```text
//! socket ─► input ─► parsed ─► admit (Caller::Link) ─► apply ─┬─► the dataset, and the AOF as effects
//!                                                             └─► relay: the bytes, as they came ─► backlog
//!    ◄─ REPLCONF ACK, each second and when asked; nothing else is ever answered
//! ```
//!
//! - The position moves only when the bytes of a whole unit have been applied: from MULTI to EXEC they wait
//!   in `unfinished` and are counted at once. So a link that is cut within a transaction leaves nothing of
//!   it, and goes on before it.
//! - What is handed on is what came. A replica adds no SELECT and no PING, and its own effects go to its AOF
//!   only: a position names the same byte on every server of the tree.
//! - While such a command runs nothing is expired: the master's DEL comes when the master has found the key.
//! - In a nested pass the stream rests, as do its bytes: the command around it relies on the data.
//! - A command that fails here and did not fail on the master means that the two differ. It is logged with
//!   the end of the backlog.

use super::call::{CallSource, call};
use super::{
    Server, ServerStates, client_info, disk, kill, link, main_channel, master, policy, role, settle,
};
use crate::algo::quote::repr;
use crate::clients::{Client, ClientId, flag};
use crate::cmd::row::Flow;
use crate::cmd::table::CmdId;
use crate::config::{PropagationError, Supervised};
use crate::proto::args::Args;
use crate::proto::reply::Reply;
use crate::replication::Position;
use crate::replication::link::Event;
use crate::sys::supervise;
use crate::{notice, warning};
use std::io;

/// Bytes of the stream that are shown when a command of it has failed.
const SHOWN: u64 = 256;
/// Seconds between two lines about a disk that fails (while the stream goes on).
const DISK_WARNING: i64 = 10;

// ---- coming and going --------------------------------------------------------------------------

/// The stream begins: a client gets the connection.
pub fn attach(srv: &mut Server, full: bool, position: Option<Position>, ack: bool) {
    let db = position.as_ref().and_then(|p| p.db).filter(|db| *db < srv.ks.databases());
    match (full, position) {
        (true, Some(p)) => srv.repl.rebase(p.replid, p.offset),
        (true, None) => {
            let offset = srv.repl.offset();
            srv.repl.rebase(crate::replication::random_id(), offset);
        }
        (false, _) if srv.repl.backlog.is_none() => srv.repl.open_backlog(),
        (false, _) => {}
    }
    let Some((stream, rest)) = link::take_connection(srv) else {
        debug_assert!(false, "the stream was just read");
        return;
    };
    let mut c = Client::new(srv.clock.unix_ms);
    c.set(flag::MASTER | flag::OBEYED | flag::REPLY_OFF | flag::DENY_BLOCKING);
    c.db = u32::try_from(db.unwrap_or(0)).unwrap_or(0);
    c.conn.out.mute(true);
    c.conn.input.buf = rest;
    let id = srv.clients.add(c);
    stream.tune(srv.config.tcp_keepalive);
    srv.clients.attach(id, stream);
    let link = &mut srv.master_link;
    (link.client, link.broken) = (Some(id), false);
    link.unfinished.clear();
    let registry = srv.reactor.registry();
    let registered = match &mut srv.clients[id].conn.stream {
        Some(s) => s.register(registry, mio::Token(id.token())),
        None => Err(io::ErrorKind::NotConnected.into()),
    };
    if let Err(e) = registered {
        warning!("Can't read the stream of the master: {e}");
        return kill::kill(srv, id);
    }
    if ack {
        acknowledge(srv);
    }
    if srv.process.supervised == Supervised::Systemd {
        let what = if full { "Finished with success" } else { "Partial Resynchronization accepted" };
        let mode = "Ready to accept connections in read-write mode";
        supervise::notify(&format!("STATUS=MASTER <-> REPLICA sync: {what}. {mode}.\n"));
    }
    // What came with the last answer is no news to the reactor.
    srv.clients.wants_read(id);
}

/// The dataset is that of the master, and the stream has begun.
pub fn online(srv: &mut Server) {
    policy::refresh(srv);
    settle::serve_ready(srv);
}

/// The client goes, and the link does not hear of it: the machine has asked for that.
pub fn detach(srv: &mut Server) {
    if let Some(id) = srv.master_link.client {
        if srv.repl.link.is_online() {
            // A master that is silent: the machine hears of it as of any other loss.
            return kill::kill(srv, id);
        }
        srv.master_link.client = None;
        kill::kill(srv, id);
    }
    main_channel::forget(srv);
    srv.master_link.unfinished.clear();
}

/// The dead client of the link has left its slot: whatever it had run is counted.
pub fn lost(srv: &mut Server, c: &Client) {
    let kept = !std::mem::take(&mut srv.master_link.broken) && !srv.repl.link.is_silent();
    let db = usize::try_from(c.db).ok();
    let position =
        kept.then(|| Position { replid: srv.repl.replid.clone(), offset: srv.repl.offset(), db });
    srv.master_link.client = None;
    main_channel::forget(srv);
    srv.master_link.unfinished.clear();
    link::event(srv, Event::Lost(position));
}

/// Where the dataset of this server stands in a history, for a snapshot of it; None where it has none.
pub fn position(srv: &Server) -> Option<Position> {
    let db = if srv.repl.link.is_on() {
        match srv.master_link.client.and_then(|id| srv.clients.get(id)) {
            Some(c) => usize::try_from(c.db).unwrap_or(0),
            None => srv.repl.link.cached()?.db.unwrap_or(0),
        }
    } else {
        // Without a database selected the next command brings its SELECT along.
        srv.ops.replicas.as_ref()?.db().unwrap_or(0)
    };
    Some(Position { replid: srv.repl.replid.clone(), offset: srv.repl.offset(), db: Some(db) })
}

/// Bytes of the stream that were read.
pub fn read_offset(srv: &Server) -> u64 {
    let waiting = srv.master_link.client.and_then(|id| srv.clients.get(id));
    let unread = waiting.map_or(0, |c| c.conn.input.unread());
    let held = if waiting.is_some() { srv.master_link.held().len() } else { 0 };
    srv.repl.offset() + (srv.master_link.unfinished.len() + unread + held) as u64
}

// ---- commands ----------------------------------------------------------------------------------

/// Runs a command of the stream.
#[cold]
pub fn apply(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args, out: &mut Reply) -> Flow {
    let now = srv.clock.unix_secs();
    srv.repl.link.heard(now);
    if srv.states.has(ServerStates::STALE) {
        role::refresh(srv);
    }
    role::applying(srv, true);
    let flow = call(srv, id, cmd, args, out, CallSource::Client);
    role::applying(srv, false);
    settle::serve_ready(srv);
    flow
}

/// The client is done with these bytes of the stream.
#[cold]
pub fn done(srv: &mut Server, id: ClientId, bytes: &[u8]) {
    if srv.master_link.client != Some(id) || bytes.is_empty() {
        return;
    }
    if srv.clients.get(id).is_some_and(|c| c.has(flag::MULTI)) {
        srv.master_link.unfinished.extend_from_slice(bytes);
        return;
    }
    let unfinished = std::mem::take(&mut srv.master_link.unfinished);
    if let Some(b) = &mut srv.repl.backlog {
        if !unfinished.is_empty() {
            b.push(&unfinished);
        }
        b.push(bytes);
    }
    let n = (unfinished.len() + bytes.len()) as u64;
    let s = &mut srv.stats;
    s.net_repl_input += n;
    s.traffic.input = s.traffic.input.saturating_sub(n);
    master::feed(srv);
}

/// May a command of the stream be applied although the disk fails? It ends the process where the data of this
/// server must not get ahead of what is on its disk.
pub fn disk_fails(srv: &mut Server) {
    if disk::disk_error(srv).is_none() {
        return;
    }
    assert!(srv.config.replica_ignore_disk_write_errors, "Replica was unable to write command to disk.");
    let now = srv.clock.unix_secs();
    if now - srv.master_link.disk_warning > DISK_WARNING {
        srv.master_link.disk_warning = now;
        warning!("Replica is applying a command even though it is unable to write to disk.");
    }
}

/// Tells the master how far the stream is applied.
pub fn acknowledge(srv: &mut Server) {
    let Some(id) = srv.master_link.client else { return };
    let (offset, fsynced) = (srv.repl.offset().cast_signed(), srv.aof.fsynced);
    srv.clients.push(id, |out| {
        out.array(if fsynced.is_some() { 5 } else { 3 });
        out.bulk(b"REPLCONF");
        out.bulk(b"ACK");
        out.bulk_int(offset);
        if let Some(at) = fsynced {
            out.bulk(b"FACK");
            out.bulk_int(at.cast_signed());
        }
    });
}

// ---- trouble -----------------------------------------------------------------------------------

/// The master does not speak the protocol any more: the stream cannot be followed from here.
pub fn broken(srv: &mut Server, id: ClientId, why: &str) {
    srv.master_link.broken = true;
    warning!("Protocol error ({why}) from client: {}.", client_info::line(srv, id, &[]));
    srv.clients[id].set(flag::CLOSE_AFTER_REPLY);
}

/// The stream holds a line that is no command of it.
pub fn inline(srv: &mut Server, id: ClientId) {
    warning!(
        "WARNING: Receiving inline protocol from master, master stream corruption? Closing the master \
         connection and discarding the cached master."
    );
    broken(srv, id, "Master using the inline protocol. Desync?");
}

/// A command of the stream has failed, or one that a replica has no business to send.
#[cold]
pub fn complain(srv: &mut Server, id: ClientId, why: &str) {
    srv.stats.unexpected_errors += 1;
    let cmd = match srv.clients[id].last_cmd {
        CmdId::MAX => "<unknown>".to_string(),
        cmd => srv.table.get(cmd).name.to_string(),
    };
    let why = super::aof_load::as_logged(why.trim_ascii_end().as_bytes());
    let (from, to) = match srv.clients[id].has(flag::MASTER) {
        true => ("replica", "master"),
        false => ("master", "replica"),
    };
    warning!(
        "== CRITICAL == This {from} is sending an error to its {to}: '{why}' after processing the command \
         '{cmd}'"
    );
    if to == "replica" {
        return;
    }
    show_backlog(srv);
    let panics = srv.config.propagation_error_behavior != PropagationError::Ignore;
    assert!(
        !(panics && srv.config.replica_read_only),
        "This replica panicked sending an error to its master after processing the command '{cmd}'"
    );
}

/// The end of the stream goes to the log.
fn show_backlog(srv: &Server) {
    let Some(b) = srv.repl.backlog.as_ref().filter(|b| b.len() > 0) else { return };
    let from = b.end() - b.len().min(SHOWN);
    let bytes: Vec<u8> = b.slices(from, usize::MAX).iter().flat_map(|s| s.to_vec()).collect();
    notice!("Latest backlog is: '{}'", repr(&bytes));
}
