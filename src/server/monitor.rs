//! MONITOR: every command, as it was executed, to the clients that monitor.
//!
//! `+1700000000.123456 [db address] "word" "word" ...`; for scripts the address is `lua`, for unix
//! sockets `unix:path`. Administrative commands are not shown, and what a row calls secret never is.

use super::Server;
use super::client_info::addresses;
use crate::algo::quote::push_repr;
use crate::clients::{ClientId, flag};
use crate::cmd::row::flag as cf;
use crate::cmd::table::CmdId;
use crate::proto::args::Args;
use std::io::Write;
use std::sync::Arc;

/// Shows a command that has just run, unless it is one of those that are not shown.
#[cold]
pub fn observe(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args) {
    let hidden = srv.table.get(cmd).flags & (cf::SKIP_MONITOR | cf::ADMIN) != 0;
    let in_exec = srv.execution.in_exec();
    let Some(c) = srv.clients.get_mut(id) else { return };
    let again = c.has(flag::REPROCESSING) || (c.has(flag::WAS_PAUSED) && !in_exec);
    if !in_exec {
        c.clear(flag::WAS_PAUSED);
    }
    if !hidden && !again {
        feed(srv, id, cmd, args);
    }
}

/// Shows a command of `id`.
pub fn feed(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args) {
    if srv.monitors.is_empty() || srv.states.has(super::ServerStates::LOADING) {
        return;
    }
    let Some(c) = srv.clients.get(id) else { return };
    let now = crate::sys::clock::unix_us();
    let mut line = Vec::with_capacity(64);
    let _ = write!(line, "+{}.{:06} [{} ", now / 1_000_000, now % 1_000_000, c.db);
    if c.has(flag::SCRIPT) {
        line.extend_from_slice(b"lua");
    } else if c.has(flag::UNIX) {
        line.extend_from_slice(b"unix:");
        line.extend_from_slice(srv.config.unixsocket.as_deref().unwrap_or(b""));
    } else {
        line.extend_from_slice(addresses(srv, c).peer.as_bytes());
    }
    line.push(b']');
    for a in srv.table.get(cmd).shown(&args) {
        line.push(b' ');
        push_repr(&mut line, a);
    }
    line.extend_from_slice(b"\r\n");
    let line: Arc<[u8]> = line.into();
    let monitors = std::mem::take(&mut srv.monitors);
    for &to in &monitors {
        // The lines are replies to MONITOR: a client that has switched replies off sees none.
        if srv.clients[to].has(flag::REPLY_OFF | flag::SKIP) {
            continue;
        }
        srv.clients.push(to, |out| out.shared(&line));
        super::limits::account_if_limited(srv, to);
    }
    srv.monitors = monitors;
}
