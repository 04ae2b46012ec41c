//! One request of a client: what it means, whether it may run (`admit`), and then the call.
//!
//! The budget per command beside the prototype's data path (85 ns): name, flags, arity, states 14;
//! counter and clock 14; stats 6; effects and policy 8. Whatever a feature adds here shows in its line
//! of this list.

use super::admit::{self, Caller, Verdict};
use super::call::{CallSource, call};
use super::{Server, batch, client_info, kill, link_client, monitor, pause, settle, transaction};
use crate::clients::{ClientId, flag};
use crate::cmd::row::{Flow, flag as cf};
use crate::cmd::table::CmdId;
use crate::proto::args::Args;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;

/// Looks at a request of a client and runs it, or says why not.
#[inline]
pub fn process(srv: &mut Server, id: ClientId, cmd: Option<CmdId>, args: Args, out: &mut Reply) -> Flow {
    let flow = match resolve(srv, id, cmd, args, out) {
        Some(cmd) => admitted(srv, id, cmd, args, out),
        None => Flow::Done,
    };
    let c = &srv.clients[id];
    if c.has(AFTER_REQUEST) && !matches!(flow, Flow::Postponed | Flow::Block) {
        after_request(srv, id, out);
    }
    flow
}

/// The command that a request means; None when it has been answered with an error.
#[inline]
fn resolve(
    srv: &mut Server,
    id: ClientId,
    cmd: Option<CmdId>,
    args: Args,
    out: &mut Reply,
) -> Option<CmdId> {
    let Some(mut cmd) = cmd else {
        unknown_command(srv, id, args, out);
        return None;
    };
    match srv.table.resolve_sub(cmd, &args) {
        Ok(meant) => cmd = meant,
        Err(_) => {
            unknown_subcommand(srv, id, args, out);
            return None;
        }
    }
    srv.clients[id].last_cmd = cmd;
    let e = srv.table.get(cmd);
    if !e.accepts(args.len()) {
        let why = CmdError::arity(&e.name);
        reject(srv, id, Some(cmd), args, why.as_str().as_bytes(), out);
        return None;
    }
    Some(cmd)
}

#[inline]
fn admitted(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args, out: &mut Reply) -> Flow {
    if !admit::needs_no_judge(srv, &srv.clients[id], srv.table.get(cmd), args) {
        let caller = match srv.clients[id].has(flag::MASTER) {
            true => Caller::Link(id),
            false => Caller::Client(id),
        };
        let verdict = admit::admit(srv, caller, cmd, args);
        batch::take_pushes(srv, id, out);
        match verdict {
            Verdict::Run if matches!(caller, Caller::Link(_)) => {
                return link_client::apply(srv, id, cmd, args, out);
            }
            Verdict::Run => {}
            Verdict::Refused(why) => {
                return reject(srv, id, Some(cmd), args, why.as_str().as_bytes(), out);
            }
            Verdict::Elsewhere(why) => return send_elsewhere(srv, id, cmd, &why, out),
            Verdict::Queue => return transaction::queue(srv, id, cmd, args, out),
            Verdict::Postpone => {
                pause::postpone(srv, id);
                return Flow::Postponed;
            }
            Verdict::Gone => return Flow::Done,
        }
        let touches = srv.table.get(cmd).flags & cf::TOUCHES != 0;
        srv.ks.no_touch = srv.clients[id].has(flag::NO_TOUCH) && !touches;
    }
    let flow = call(srv, id, cmd, args, out, CallSource::Client);
    srv.ks.no_touch = false;
    settle::serve_ready(srv);
    flow
}

/// A request that was blocked is tried again, past the judge: what refuses it may have come up meanwhile.
/// The attempts before took `spent` ticks; returned are those of all attempts with this one.
pub fn run_again(
    srv: &mut Server,
    id: ClientId,
    cmd: CmdId,
    args: Args,
    spent: u64,
    out: &mut Reply,
) -> (Flow, u64) {
    let verdict = admit::admit(srv, Caller::Client(id), cmd, args);
    batch::take_pushes(srv, id, out);
    let flow = match verdict {
        Verdict::Refused(why) => reject(srv, id, Some(cmd), args, why.as_str().as_bytes(), out),
        Verdict::Elsewhere(why) => send_elsewhere(srv, id, cmd, &why, out),
        Verdict::Postpone => Flow::Postponed,
        Verdict::Gone => Flow::Done,
        Verdict::Run | Verdict::Queue => {
            // The call is measured from an earlier beginning; what the attempts took has been booked before.
            let begun = crate::sys::clock::ticks().saturating_sub(spent);
            srv.execution.ticks = begun;
            srv.stats.command_ticks = srv.stats.command_ticks.saturating_sub(spent);
            let flow = call(srv, id, cmd, args, out, CallSource::Client);
            return (flow, srv.execution.ticks.saturating_sub(begun));
        }
    };
    (flow, 0)
}

/// Flags that say something about one request.
pub(super) const AFTER_REQUEST: u64 =
    flag::SKIP | flag::SKIP_NEXT | flag::CACHING | flag::ASKING | flag::ASKING_NEXT;

/// The request is over, and what was said about it: CLIENT REPLY SKIP silences the command after it, CLIENT
/// CACHING and ASKING are about the next command or transaction.
#[cold]
pub(super) fn after_request(srv: &mut Server, id: ClientId, out: &mut Reply) {
    let c = &mut srv.clients[id];
    let last = c.last_cmd;
    let keeps = last != CmdId::MAX && srv.table.get(last).flags & cf::KEEPS_CACHING != 0;
    if !keeps && !c.has(flag::MULTI) {
        c.clear(flag::CACHING);
    }
    let asks = c.has(flag::ASKING_NEXT);
    c.clear(flag::ASKING_NEXT);
    if asks {
        c.set(flag::ASKING);
    } else if !c.has(flag::MULTI) {
        c.clear(flag::ASKING);
    }
    if c.has(flag::SKIP_NEXT) {
        c.clear(flag::SKIP_NEXT);
        c.set(flag::SKIP);
        out.mute(true);
    } else if c.has(flag::SKIP) {
        c.clear(flag::SKIP);
        out.mute(c.has(flag::REPLY_OFF));
    }
}

/// Refuses: counts, and spoils a transaction that is being queued. `why` begins with its code. A
/// refused EXEC ends the transaction.
pub fn reject(
    srv: &mut Server,
    id: ClientId,
    cmd: Option<CmdId>,
    args: Args,
    why: &[u8],
    out: &mut Reply,
) -> Flow {
    if let Some(cmd) = cmd {
        srv.cmdstats[cmd as usize].rejected += 1;
    }
    let c = &mut srv.clients[id];
    if c.has(flag::MULTI) {
        c.set(flag::DIRTY_EXEC);
    }
    if let Some(exec) = cmd.filter(|cmd| srv.table.get(*cmd).flags & cf::EXEC != 0) {
        transaction::discard(srv, id);
        // A general code says nothing behind EXECABORT.
        let why = why.strip_prefix(b"ERR ").unwrap_or(why);
        out.error_bytes(&[b"EXECABORT Transaction discarded because of: ", why].concat());
        monitor::feed(srv, id, exec, args);
    } else {
        out.error_bytes(why);
    }
    for e in out.take_errors() {
        srv.stats.count_error(&e);
        if srv.clients[id].has(flag::MASTER | flag::REPLICA) {
            link_client::complain(srv, id, &e);
        }
    }
    Flow::Done
}

/// The request is for another node: counts, and spoils a transaction that is being queued. An EXEC ends it,
/// and is answered as any other command.
#[cold]
fn send_elsewhere(srv: &mut Server, id: ClientId, cmd: CmdId, why: &CmdError, out: &mut Reply) -> Flow {
    srv.cmdstats[usize::from(cmd)].rejected += 1;
    if srv.table.get(cmd).flags & cf::EXEC != 0 {
        transaction::discard(srv, id);
    } else if srv.clients[id].has(flag::MULTI) {
        srv.clients[id].set(flag::DIRTY_EXEC);
    }
    out.error(why.as_str());
    for e in out.take_errors() {
        srv.stats.count_error(&e);
    }
    Flow::Done
}

/// At most `max` bytes of an argument, as errors quote it; like a C string it ends at a NUL.
fn quoted(b: &[u8], max: usize) -> &[u8] {
    let text = b.split(|b| *b == 0).next().unwrap_or(b"");
    &text[..text.len().min(max)]
}

fn unknown_command(srv: &mut Server, id: ClientId, args: Args, out: &mut Reply) {
    srv.clients[id].last_cmd = CmdId::MAX;
    if args[0].eq_ignore_ascii_case(b"host:") || args[0].eq_ignore_ascii_case(b"post") {
        return security_warning(srv, id);
    }
    let mut shown: Vec<u8> = Vec::new();
    for a in args.from(1) {
        if shown.len() >= 128 {
            break;
        }
        let room = 128 - shown.len();
        shown.extend_from_slice(&[b"'", quoted(a, room), b"' "].concat());
    }
    let name = quoted(args[0], 128);
    let why = [b"ERR unknown command '", name, b"', with args beginning with: ", &shown].concat();
    reject(srv, id, None, args, &why, out);
}

fn unknown_subcommand(srv: &mut Server, id: ClientId, args: Args, out: &mut Reply) {
    srv.clients[id].last_cmd = CmdId::MAX;
    let container = args[0].to_ascii_uppercase();
    let sub = quoted(args[1], 128);
    let why = [b"ERR unknown subcommand '", sub, b"'. Try ", &container, b" HELP."].concat();
    reject(srv, id, None, args, &why, out);
}

/// Closes a client that speaks HTTP: it may be a browser that a web page has tricked into this. The
/// warning is logged once a minute at most.
fn security_warning(srv: &mut Server, id: ClientId) {
    let now = srv.clock.unix_secs();
    if (now - srv.net.http_warning).abs() > 60 {
        srv.net.http_warning = now;
        let from = &client_info::addresses(srv, &srv.clients[id]).peer;
        crate::warning!(
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands \
             to Redis. This is likely due to an attacker attempting to use Cross Protocol Scripting to \
             compromise your Redis instance. Connection from {from} aborted."
        );
    }
    kill::kill(srv, id);
}
