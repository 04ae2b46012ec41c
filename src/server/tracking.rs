//! Client-side caching, as far as the server takes part: what reads are remembered, and how news of changed
//! keys reaches clients.
//!
//! ```text
//! call ─► after_call: keys of a reading command ─► the table            (of the client that asked)
//! Modified ─► invalidate ─┬─► other clients: at once
//!                         └─► the client being served: `pending` ─► behind its reply, never inside EXEC
//! before the loop sleeps ─► broadcast, prefix by prefix
//! ```
//!
//! Two identities: what is remembered, and what NOLOOP spares in the table, goes by the client that asked,
//! also for what its script does. What NOLOOP spares of a broadcast goes by the client that executed, which
//! for a script is not the one that asked; so it is in upstream.
//!
//! Keys that are evicted before a command, and keys dropped because the table is full, are news that precede
//! the reply: no command is running yet.

use super::{Server, ServerStates, limits, policy};
use crate::clients::{ClientId, flag};
use crate::cmd::keys::{self, Search};
use crate::cmd::row::flag as cf;
use crate::cmd::table::CmdId;
use crate::proto::args::Args;
use std::sync::Arc;

/// The channel in which a subscribed RESP2 client hears of invalidations.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// What is not valid any more, as the message names it.
enum Invalid<'a> {
    Key(&'a [u8]),
    /// An array of keys, or the null that stands for all.
    Encoded(&'a Arc<[u8]>),
}

/// CLIENT TRACKING ON. `modes` are flags of the client.
pub fn enable(srv: &mut Server, id: ClientId, modes: u64, redirect: u64, prefixes: &[&[u8]]) {
    let c = &mut srv.clients[id];
    c.clear(flag::TRACKING_MODES | flag::BROKEN_REDIRECT);
    c.set(flag::TRACKING | modes);
    srv.tracking.enable(id, redirect);
    if modes & flag::BROADCAST != 0 {
        let all: &[&[u8]] = if prefixes.is_empty() { &[b""] } else { prefixes };
        all.iter().for_each(|p| srv.tracking.add_prefix(id, p));
    }
    srv.states.put(ServerStates::TRACKING, true);
    policy::refresh(srv);
}

/// The client tracks nothing any more; what it has read stays in the table until it changes.
pub fn disable(srv: &mut Server, id: ClientId) {
    let Some(c) = srv.clients.get_mut(id).filter(|c| c.has(flag::TRACKING)) else { return };
    c.clear(flag::TRACKING | flag::TRACKING_MODES | flag::BROKEN_REDIRECT | flag::CACHING);
    srv.tracking.disable(id);
    refresh_gate(srv);
}

/// While news waits for the end of the unit, the gate stays shut although its client tracks no more.
fn refresh_gate(srv: &mut Server) {
    let open = srv.tracking.clients() == 0 && srv.tracking.pending.is_empty();
    srv.states.put(ServerStates::TRACKING, !open);
}

// ---- reads ------------------------------------------------------------------------------------------

/// A command has run: what it has read is remembered, and at the end of the unit what it has changed is
/// told.
#[cold]
pub fn after_call(srv: &mut Server, cmd: CmdId, args: Args) {
    remember(srv, cmd, args);
    if srv.execution.between_units() && !srv.tracking.pending.is_empty() {
        send_pending(srv);
    }
}

fn remember(srv: &mut Server, cmd: CmdId, args: Args) {
    let e = srv.table.get(cmd);
    // Of a script only the commands count that it runs. What names shard channels names no keys.
    if e.flags & cf::READONLY == 0 || e.flags & (cf::RUNS_SCRIPT | cf::PUBSUB) != 0 {
        return;
    }
    let Some(id) = srv.execution.current() else { return };
    let Some(c) = srv.clients.live(id) else { return };
    if !c.has(flag::TRACKING) || c.has(flag::BROADCAST) {
        return;
    }
    let chosen = c.has(flag::CACHING);
    if c.has(flag::OPT_IN) && !chosen || c.has(flag::OPT_OUT) && chosen {
        return;
    }
    let (clients, tracking) = (&srv.clients, &mut srv.tracking);
    for (at, _) in keys::find(e.cmd, &args, Search::default()) {
        tracking.remember(id, args[at], |id| clients.live(id).is_some_and(|c| c.has(flag::TRACKING)));
    }
}

/// Drops keys while the table holds more than `tracking-table-max-keys`: before each command, and by the
/// clock.
pub fn limit(srv: &mut Server) {
    if srv.tracking.clients() == 0 {
        return;
    }
    for _ in 0..srv.tracking.surplus(srv.config.tracking_table_max_keys) {
        let Some(key) = srv.tracking.any_key(&mut srv.ks.rng) else { break };
        forget(srv, &key);
    }
}

// ---- news -------------------------------------------------------------------------------------------

/// A key has changed; `by_itself`: it has expired or was evicted.
pub fn invalidate(srv: &mut Server, key: &[u8], by_itself: bool) {
    if srv.tracking.prefixes() > 0 {
        let by_script = srv.scripting.running.is_some();
        let author = srv.execution.current().filter(|_| !by_itself && !by_script);
        srv.tracking.changed(key, author);
    }
    forget(srv, key);
}

/// Sends the key to its listeners.
fn forget(srv: &mut Server, key: &[u8]) {
    let served = srv.execution.current();
    for id in srv.tracking.forget(key) {
        let Some(c) = srv.clients.live(id) else { continue };
        // A client that has changed to broadcasts hears nothing of what it read before.
        let deaf = !c.has(flag::TRACKING) || c.has(flag::BROADCAST);
        let own = served == Some(id);
        if deaf || own && c.has(flag::NO_LOOP) {
            continue;
        }
        if own && !srv.execution.between_units() {
            srv.tracking.pending.push(Some(key.into()));
        } else {
            send(srv, id, &Invalid::Key(key));
        }
    }
}

/// A database, or all of them, is about to be emptied: to clients that track this means all keys.
/// `lazy`: upstream would free the table on a thread.
pub fn flushed(srv: &mut Server, lazy: bool) {
    for id in srv.tracking.all() {
        if srv.execution.current() == Some(id) {
            srv.tracking.pending.push(None);
        } else {
            send_all(srv, id);
        }
    }
    let table = srv.tracking.forget_all();
    if table.len() > LAZY_KEYS {
        let (keys, bytes) = (table.len(), table.footprint());
        srv.lazyfree.free_other(Box::new(table), if lazy { keys } else { 0 }, bytes);
    }
}

/// A table with more keys is freed by a thread (LAZYFREE_THRESHOLD, of nodes).
const LAZY_KEYS: usize = 64;

/// What the client being served has changed of what it tracks, behind its reply.
fn send_pending(srv: &mut Server) {
    let pending = std::mem::take(&mut srv.tracking.pending);
    // It may have been closed meanwhile.
    if let Some(id) = srv.execution.current().filter(|id| srv.clients.live(*id).is_some()) {
        for key in &pending {
            match key {
                Some(key) => send(srv, id, &Invalid::Key(key)),
                None => send_all(srv, id),
            }
        }
    }
    refresh_gate(srv);
}

/// Before the loop sleeps: what has changed under the prefixes that clients asked for.
pub fn broadcast(srv: &mut Server) {
    for b in srv.tracking.broadcasts() {
        let all: Arc<[u8]> = b.message(None).expect("there are keys").into();
        for &id in &b.clients {
            if !srv.clients.live(id).is_some_and(|c| c.has(flag::NO_LOOP)) {
                send(srv, id, &Invalid::Encoded(&all));
            } else if let Some(others) = b.message(Some(id)) {
                send(srv, id, &Invalid::Encoded(&others.into()));
            }
        }
    }
}

/// All keys are invalid: a null, in the protocol of the client that tracks, whichever client is sent it.
fn send_all(srv: &mut Server, id: ClientId) {
    let Some(c) = srv.clients.live(id) else { return };
    let null: &[u8] = if c.resp == 2 { b"$-1\r\n" } else { b"_\r\n" };
    send(srv, id, &Invalid::Encoded(&null.into()));
}

/// Sends an invalidation to a client that tracks, or to the one that it chose. RESP2 has no pushes: there
/// only a subscribed client that another one has chosen can be sent anything.
fn send(srv: &mut Server, id: ClientId, what: &Invalid) {
    let redirect = srv.tracking.of(id).map_or(0, |s| s.redirect);
    let (mut to, chosen) = (id, redirect != 0);
    if chosen {
        let found = srv.clients.by_number(redirect).filter(|id| srv.clients.live(*id).is_some());
        let Some(found) = found else { return redirect_broken(srv, id, redirect) };
        to = found;
    }
    let Some(c) = srv.clients.live(to) else { return };
    let resp3 = c.resp > 2;
    if !resp3 && !(chosen && c.has(flag::PUBSUB)) {
        return;
    }
    srv.clients.push(to, |out| {
        if resp3 {
            out.push(2);
            out.bulk(b"invalidate");
        } else {
            out.array(3);
            out.bulk(b"message");
            out.bulk(CHANNEL);
        }
        match what {
            Invalid::Key(key) => {
                out.array(1);
                out.bulk(key);
            }
            Invalid::Encoded(bytes) => out.shared(bytes),
        }
    });
    limits::account_if_limited(srv, to);
}

/// The client that was chosen to get the news is gone.
fn redirect_broken(srv: &mut Server, id: ClientId, number: u64) {
    let Some(c) = srv.clients.get_mut(id) else { return };
    c.set(flag::BROKEN_REDIRECT);
    if c.resp > 2 {
        srv.clients.push(id, |out| {
            out.push(2);
            out.bulk(b"tracking-redir-broken");
            out.int(number.cast_signed());
        });
    }
}
