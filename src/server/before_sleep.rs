//! What is done once per pass, before the loop waits: replies leave, the dead are buried.

use super::{Gate, Server, disk, evict, expire_cycle, kill, limits, master, policy, settle};
use crate::clients::{ClientId, flag};
use crate::net::stream::Stream;
use std::io::ErrorKind;

/// A client may write so much per pass while others wait (NET_MAX_WRITES_PER_EVENT).
const MAX_WRITE: usize = 64 * 1024;

pub fn run(srv: &mut Server) {
    if srv.run.pass_depth == 0 {
        policy::refresh(srv);
        expire_cycle::run(srv, expire_cycle::Kind::Fast);
        settle::serve_ready(srv);
    }
    super::aof::flush(srv, false);
    disk::refresh(srv);
    flush_replies(srv);
    if srv.gate.has(Gate::CLIENT_EVICTION) {
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
            if c.out.spilled() || c.out.over {
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
    // What was marked meanwhile waits in the new list; the room of this one is kept.
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
    let Some(stream) = &c.stream else { return };
    let mut written = 0;
    let outcome = loop {
        if c.out.is_empty() {
            break Ok(true);
        }
        let r = match c.out.single() {
            Some(b) => stream.write(b),
            None => stream.write_vectored(&c.out.slices(Stream::PIECES)),
        };
        match r {
            Ok(n) => {
                written += n;
                if c.out.advance(n) {
                    break Ok(true);
                }
                if written >= MAX_WRITE {
                    break Ok(false);
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                c.set(flag::WRITE_BLOCKED);
                break Ok(false);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => break Err(e),
        }
    };
    srv.stats.net_output += written as u64;
    srv.stats.writes_processed += 1;
    match outcome {
        Ok(true) => all_written(srv, id),
        Ok(false) => unfinished(srv, id),
        Err(e) => {
            crate::verbose!("Error writing to client: {}", crate::sys::errno::text(&e));
            kill::kill(srv, id);
        }
    }
}

fn all_written(srv: &mut Server, id: ClientId) {
    let c = &mut srv.clients[id];
    let close = c.has(flag::CLOSE_AFTER_REPLY);
    let buf = std::mem::take(&mut c.out.buf);
    srv.clients.pool.give_reply(buf);
    if close {
        kill::kill(srv, id);
    }
}

pub fn unfinished(srv: &mut Server, id: ClientId) {
    if !srv.clients[id].has(flag::WRITE_BLOCKED) {
        return srv.clients.wants_write(id);
    }
    let registry = srv.reactor.registry();
    let Some(c) = srv.clients.get_mut(id) else { return };
    if let Some(s) = &mut c.stream
        && s.want_write(registry, mio::Token(id.token()), true).is_err()
    {
        kill::kill(srv, id);
    }
}
