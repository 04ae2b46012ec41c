//! Clients in WAIT and WAITAOF: what they are answered, and when they are woken.
//!
//! ```text
//! WAIT ─► parked ─ before_sleep ─► one GETACK for all of the pass ─► replicas
//! ACK, fsync ──────── before_sleep ─► those whose write is safe enough are answered
//! timeout, UNBLOCK ─► answered how safe it is (`blocking::release`)
//! ```

use super::{Server, blocking, master};
use crate::blocked::Wait;
use crate::clients::pause::action;
use crate::proto::reply::Reply;
use crate::replication::acks::{AckCount, AckWait};

/// WAITAOF cannot be kept without a log.
pub const NO_LOG: &str = "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.";

pub fn count(srv: &Server, w: &AckWait) -> AckCount {
    w.count(&srv.repl.replicas, srv.aof.fsynced)
}

pub fn answer(out: &mut Reply, w: &AckWait, count: AckCount) {
    if w.disk.is_some() {
        out.array(2);
        out.int(i64::from(count.local));
    }
    out.int(count.replicas);
}

/// Once a pass: clients whose write is safe enough go on, and replicas are asked for those that begin to
/// wait.
pub fn serve(srv: &mut Server) {
    if srv.blocked.waits_for_acks() {
        wake(srv);
    }
    if srv.repl.wants_acks && !srv.pause.has(action::REPLICA) {
        srv.repl.wants_acks = false;
        master::ask_for_acks(srv);
    }
}

#[cold]
fn wake(srv: &mut Server) {
    for id in srv.blocked.acks_waiting() {
        let Some(Wait::Replicas(w)) = srv.blocked.get(id).map(|b| b.wait) else { continue };
        if w.disk == Some(true) && !srv.config.appendonly {
            blocking::release(srv, id, Some(NO_LOG));
        } else if w.is_met(count(srv, &w)) {
            blocking::release(srv, id, None);
        }
    }
}
