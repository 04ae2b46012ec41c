//! What is done once per pass, before the loop waits: the log and replies are written, closed clients are
//! freed.

use super::{
    Server, ServerStates, acks, bus, disk, evict, expire_cycle, failover, kill, limits, master, policy,
    settle, tracking,
};
use crate::clients::conn::{IoCtx, Sent};
use crate::clients::{ClientId, flag};

pub fn run(srv: &mut Server) {
    if srv.execution.between_passes() {
        policy::refresh(srv);
        // A state of the cluster that changes comes before what follows from it for clients.
        if srv.bus.is_some() {
            bus::settle(srv);
        }
        expire_cycle::fast(srv);
        settle::serve_ready(srv);
        if srv.tracking.prefixes() > 0 {
            tracking::broadcast(srv);
        }
    }
    super::aof::flush(srv, false);
    if srv.execution.between_passes() {
        acks::serve(srv);
        if srv.repl.failover.is_on() {
            failover::look(srv);
        }
    }
    disk::refresh(srv);
    flush_replies(srv);
    if srv.bus.is_some() {
        bus::flush(srv);
    }
    if srv.states.has(ServerStates::CLIENT_EVICTION) {
        limits::evict(srv);
    }
    kill::reap(srv);
    evict::look_at_others(srv);
    srv.stats.peak_memory = srv.stats.peak_memory.max(crate::sys::alloc::used());
}

fn flush_replies(srv: &mut Server) {
    let mut list = std::mem::take(&mut srv.clients.to_write);
    for id in list.drain(..) {
        if let Some(c) = srv.clients.get_mut(id) {
            c.clear(flag::TO_WRITE);
            if c.conn.out.spilled() || c.conn.out.over {
                if limits::check_output(srv, id, false) {
                    continue;
                }
                write(srv, id);
                limits::check_output(srv, id, false);
            } else {
                write(srv, id);
            }
            limits::account_if_limited(srv, id);
        }
    }
    // Clients marked meanwhile stand in the new list: they move to this one, whose allocation is kept.
    list.append(&mut srv.clients.to_write);
    srv.clients.to_write = list;
}

/// Writes as much as the socket takes.
pub fn write(srv: &mut Server, id: ClientId) {
    let Some(c) = srv.clients.get_mut(id) else { return };
    if c.has(flag::DYING | flag::EXECUTING) {
        return;
    }
    if c.has(flag::REPLICA) {
        return master::write(srv, id);
    }
    let (close, now) = (c.has(flag::CLOSE_AFTER_REPLY), srv.clock.unix_secs() as u32);
    let Some((conn, pool)) = srv.clients.conn_and_pool(id).filter(|(c, _)| c.stream.is_some()) else {
        return;
    };
    match conn.send(&mut IoCtx { pool, traffic: &mut srv.stats.traffic, now }) {
        Ok(Sent::All) if close => kill::kill(srv, id),
        Ok(Sent::All) => {}
        Ok(Sent::Part) => srv.clients.wants_write(id),
        Ok(Sent::Blocked) => blocked(srv, id),
        Err(e) => {
            crate::verbose!("Error writing to client: {}", crate::sys::errno::text(&e));
            kill::kill(srv, id);
        }
    }
}

/// The socket is full: an event must tell when it has room again.
pub fn blocked(srv: &mut Server, id: ClientId) {
    let registry = srv.reactor.registry();
    let Some(c) = srv.clients.get_mut(id) else { return };
    if let Some(s) = &mut c.conn.stream
        && s.want_write(registry, mio::Token(id.token()), true).is_err()
    {
        kill::kill(srv, id);
    }
}
