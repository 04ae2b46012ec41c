//! What happens to a transaction outside of the handlers: a command is queued, all is forgotten.

use super::{Server, admit, policy, settle};
use crate::clients::{ClientId, flag};
use crate::cmd::row::Flow;
use crate::cmd::table::CmdId;
use crate::proto::args::Args;
use crate::proto::reply::Reply;

/// Inside MULTI: keeps the command for EXEC.
pub fn queue(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args, out: &mut Reply) -> Flow {
    let flags = admit::flags_of_call(srv, srv.table.get(cmd), args);
    let c = &mut srv.clients[id];
    debug_assert!(c.has(flag::MULTI));
    // A transaction that cannot run any more need not remember what it would have done.
    if !c.has(flag::DIRTY_CAS | flag::DIRTY_EXEC) {
        c.multi.get_or_insert_default().push(cmd, flags, args.to_owned());
    }
    out.status("QUEUED");
    Flow::Done
}

/// Forgets what was queued and watched.
pub fn discard(srv: &mut Server, id: ClientId) {
    let c = &mut srv.clients[id];
    c.clear(flag::MULTI | flag::DIRTY_CAS | flag::DIRTY_EXEC);
    c.multi = None;
    settle::unwatch(srv, id);
    policy::refresh(srv);
}
