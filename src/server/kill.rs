//! The end of a client, in three steps.
//!
//! ```text
//! kill   anywhere, also inside of what it ends: out of every registry, marked dying
//! leave  at the end of the unit, or of the pass: what follows for others (a needless child, the log)
//! reap   before the loop sleeps: slot, socket, buffers
//! ```
//!
//! `kill` calls nothing that could call it: a replica that is killed while the master's side feeds or
//! writes leaves its record in `Replicas`, and `leave` draws the conclusions.

use super::{Server, ServerStates, blocking, link_client, master, policy, settle, tracking};
use crate::clients::{ClientId, flag};
use crate::proto::reply::Reply;

/// Takes a client out of every registry; it is gone for everything but the slot that its id names.
pub fn kill(srv: &mut Server, id: ClientId) {
    if !srv.clients.mark_dying(id) {
        return;
    }
    blocking::delist(srv, id);
    settle::unwatch(srv, id);
    srv.pubsub.forget(id);
    tracking::disable(srv, id);
    srv.repl.replicas.leave(id);
    if srv.master_link.client == Some(id) {
        srv.master_link.cut_at = srv.clock.unix_secs();
    }
    let c = &mut srv.clients[id];
    if c.has(flag::HANDSHAKING) {
        srv.tls.handshakes.ended(id);
    }
    // The buffers are freed at once: eviction kills clients to get their memory.
    if !c.has(flag::EXECUTING) {
        c.conn.out = Reply::new(false);
        c.conn.input.buf = Vec::new();
        c.conn.input.pos = 0;
    }
    let waited = c.has(flag::PAUSED);
    if c.has(flag::MONITOR) {
        srv.monitors.remove(&id);
        srv.states.put(ServerStates::MONITORS, !srv.monitors.is_empty());
    }
    if waited {
        srv.pause.forget(|p| srv.clients.live(p).is_some());
    }
}

/// What follows from the kills since the last call.
#[cold]
pub fn leave_all(srv: &mut Server) {
    while let Some(id) = srv.clients.leaving.pop_front() {
        leave(srv, id);
    }
    // The closed clients may have been the last listeners of an effect: the keyspace then stops queueing it.
    policy::refresh(srv);
}

fn leave(srv: &mut Server, id: ClientId) {
    if let Some(replica) = srv.repl.replicas.take_left(id) {
        master::left(srv, &replica);
    }
}

/// Frees slots, sockets and buffers of dying clients. A client that executes right now stays until the
/// next call.
pub fn reap(srv: &mut Server) {
    if srv.clients.dying.is_empty() {
        return;
    }
    leave_all(srv);
    for id in std::mem::take(&mut srv.clients.dying) {
        if srv.clients.get(id).is_none_or(|c| c.has(flag::EXECUTING)) {
            srv.clients.dying.push(id);
            continue;
        }
        let Some(mut c) = srv.clients.remove(id) else { continue };
        if srv.master_link.client == Some(id) {
            link_client::lost(srv, &c);
        }
        if let Some(s) = &mut c.conn.stream {
            s.farewell();
            s.deregister(srv.reactor.registry());
            // The child has copies of all descriptors: a mere close would leave the peer waiting.
            if srv.jobs.child.is_some() || !srv.scripting.debugged.is_empty() {
                s.shutdown();
            }
        }
    }
}
