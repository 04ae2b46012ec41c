//! The end of a client: out of every registry at once, out of its slot between passes.

use super::{Gate, Server, settle};
use crate::clients::{ClientId, flag};
use crate::proto::reply::Reply;

/// Takes the client out of every registry and marks it dying.
pub fn kill(srv: &mut Server, id: ClientId) {
    if !srv.clients.mark_dying(id) {
        return;
    }
    srv.blocked.remove(id);
    settle::unwatch(srv, id);
    srv.pubsub.forget(id);
    srv.pause.forget(&srv.clients, id);
    crate::replication::master::forget(srv, id);
    super::policy::refresh(srv);
    srv.monitors.remove(&id);
    srv.gate.put(Gate::MONITORS, !srv.monitors.is_empty());
    // Whoever closes clients to get their memory has it at once.
    let c = &mut srv.clients[id];
    if !c.has(flag::EXECUTING) {
        c.out = Reply::new(false);
        c.input.buf = Vec::new();
        c.input.pos = 0;
    }
}

/// Frees slots, sockets and buffers of the dying. Those that execute right now come next time.
pub fn reap(srv: &mut Server) {
    if srv.clients.dying.is_empty() {
        return;
    }
    for id in std::mem::take(&mut srv.clients.dying) {
        if srv.clients.get(id).is_none_or(|c| c.has(flag::EXECUTING)) {
            srv.clients.dying.push(id);
            continue;
        }
        let Some(mut c) = srv.clients.remove(id) else { continue };
        if let Some(s) = &mut c.stream {
            s.deregister(srv.reactor.registry());
        }
    }
}
