//! The core that everything runs through: a client's command, EXEC's, a script's, a module's.
//! Re-entrant.
//!
//! ```text
//! handler ─► errors counted ─► settle (events, and what they cause) ─► the command's own op ─► stats
//!    at nesting 0: ops leave as one unit, then tracking, then pushes, then ready keys are served
//! ```

use super::ctx::{Ctx, Propagation};
use super::{Server, ServerStates, aof_load, link_client, settle};
use crate::clients::{ClientId, flag};
use crate::cmd::row::Flow;
use crate::cmd::table::CmdId;
use crate::proto::args::Args;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::sys::clock::ticks;

/// Where a call comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallSource {
    Client,
    /// Inside EXEC, a script or a module.
    Nested,
}

#[inline]
pub fn call(
    srv: &mut Server,
    id: ClientId,
    cmd: CmdId,
    args: Args,
    out: &mut Reply,
    how: CallSource,
) -> Flow {
    let db = srv.clients[id].db as usize;
    let dirty = srv.ks.dirty;
    let begun = if how == CallSource::Client { srv.execution.ticks } else { ticks() };
    srv.execution.enter_command();
    srv.stats.new_errors();
    let run = srv.table.get(cmd).cmd.run;
    let origin = if how == CallSource::Client { id } else { srv.scripting.origin(id) };
    let mut ctx = Ctx { srv, client: id, origin, db, cmd, args, out, prop: Propagation::AsIs };
    let result = run(&mut ctx);
    let Ctx { srv, prop, out, .. } = ctx;
    let flow = match result {
        Ok(flow) => flow,
        Err(e) => failed(out, e),
    };
    if out.has_errors() {
        count_errors(srv, id, cmd, out);
    }
    if srv.stats.new_errors() {
        srv.cmdstats[cmd as usize].failed += 1;
    }
    if !srv.ks.fx.is_empty() {
        settle::drain(srv);
    }
    if srv.ks.policy.ops && (srv.ks.dirty != dirty || matches!(prop, Propagation::Force(_))) {
        settle::own_op(srv, cmd, db, args, prop);
    }
    srv.execution.leave_command();
    let end = ticks();
    let spent = end.saturating_sub(begun);
    if flow == Flow::Block {
        // The attempt that serves the request counts as the call, with the time of this one.
        srv.blocked.spent(id, spent);
    } else {
        count_call(srv, cmd, spent);
    }
    if how == CallSource::Client {
        srv.execution.ticks = end;
        srv.stats.command_ticks += spent;
    }
    if spent > srv.slowlog.threshold_ticks
        || srv.states.has(ServerStates::MONITORS | ServerStates::TRACKING)
    {
        settle::observed(srv, id, cmd, args, spent, flow == Flow::Block);
    }
    if srv.execution.between_units() {
        settle::unit_end(srv, id, cmd, end);
    }
    flow
}

/// Books a call that is over. The commands of EXEC and of scripts count as much as the command around them.
#[inline]
pub(super) fn count_call(srv: &mut Server, cmd: CmdId, ticks: u64) {
    srv.stats.commands += 1;
    let s = &mut srv.cmdstats[cmd as usize];
    s.calls += 1;
    s.ticks += ticks;
    if srv.config.latency_tracking {
        s.latency.get_or_insert_default().record(srv.clock.ns(ticks));
    }
}

#[cold]
fn failed(out: &mut Reply, e: CmdError) -> Flow {
    if !matches!(e, CmdError::Replied) {
        out.error(e.as_str());
    }
    Flow::Done
}

#[cold]
fn count_errors(srv: &mut Server, id: ClientId, cmd: CmdId, out: &mut Reply) {
    srv.cmdstats[cmd as usize].failed += out.take_counted();
    let reads_log = srv.loading.reader == Some(id);
    for e in out.take_errors() {
        srv.stats.count_error(&e);
        if reads_log {
            aof_load::complain(srv, id, &e);
        } else if srv.clients[id].has(flag::MASTER | flag::REPLICA) {
            link_client::complain(srv, id, &e);
        }
    }
}
