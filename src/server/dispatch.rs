//! One command: every refusal, in order, and then the call.
//!
//! The budget per command beside the prototype's data path (85 ns): name, flags, arity, gates 14; counter and clock
//! 14; stats 6; effects and policy 8. Whatever a feature adds here shows in its line of this list.

use super::call::{How, call, queue};
use super::{Gate, Server, kill, settle};
use crate::clients::{Client, ClientId, flag};
use crate::commands::row::{Flow, flag as cf};
use crate::commands::table::{CmdId, Entry};
use crate::proto::args::Args;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;

/// Must the client authenticate before anything else?
#[inline]
pub fn auth_required(srv: &Server, c: &Client) -> bool {
    srv.config.requirepass.is_some() && !c.has(flag::AUTHENTICATED)
}

/// Looks at a request of a client and runs it, or says why not.
#[inline]
pub fn process(srv: &mut Server, id: ClientId, cmd: Option<CmdId>, args: Args, out: &mut Reply) -> Flow {
    let Some(mut cmd) = cmd else { return unknown_command(srv, id, args, out) };
    if srv.table.get(cmd).has_subs() && args.len() > 1 {
        match srv.table.find_sub(cmd, args[1]) {
            Some(sub) => cmd = sub,
            None => return unknown_subcommand(srv, id, args, out),
        }
    }
    let e = srv.table.get(cmd);
    if !e.accepts(args.len()) {
        let why = CmdError::arity(&e.name);
        return reject(srv, id, Some(cmd), &why, out);
    }
    let c = &srv.clients[id];
    let guarded = e.flags & cf::PROTECTED != 0;
    if !srv.gate.open() || c.has(flag::SPECIAL) || srv.config.requirepass.is_some() || guarded {
        match refusal(srv, id, cmd) {
            Refusal::None => {}
            Refusal::Error(why) => return reject(srv, id, Some(cmd), &why, out),
            Refusal::Queue => return queue(srv, id, cmd, args, out),
        }
    }
    let flow = call(srv, id, cmd, args, out, How::Client);
    settle::serve_ready(srv);
    let c = &mut srv.clients[id];
    c.last_cmd = cmd;
    if c.has(flag::SKIP | flag::SKIP_NEXT) {
        skip_replies(srv, id, out);
    }
    flow
}

/// A request that was blocked is tried again, through the refusals that may have come up meanwhile.
pub fn run_again(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args, out: &mut Reply) -> Flow {
    match refusal(srv, id, cmd) {
        Refusal::Error(why) => reject(srv, id, Some(cmd), &why, out),
        Refusal::None | Refusal::Queue => {
            srv.run.ticks = crate::sys::clock::ticks();
            call(srv, id, cmd, args, out, How::Client)
        }
    }
}

/// CLIENT REPLY SKIP silences the command after it.
fn skip_replies(srv: &mut Server, id: ClientId, out: &mut Reply) {
    let c = &mut srv.clients[id];
    if c.has(flag::SKIP_NEXT) {
        c.clear(flag::SKIP_NEXT);
        c.set(flag::SKIP);
        out.mute(true);
    } else {
        c.clear(flag::SKIP);
        out.mute(c.has(flag::REPLY_OFF));
    }
}

enum Refusal {
    None,
    Error(CmdError),
    Queue,
}

/// The long way: reasons to refuse, in upstream's order.
fn refusal(srv: &mut Server, id: ClientId, cmd: CmdId) -> Refusal {
    let e = srv.table.get(cmd);
    let c = &srv.clients[id];
    if auth_required(srv, c) && e.flags & cf::NO_AUTH == 0 {
        return Refusal::Error(CmdError::Msg(&"NOAUTH Authentication required."));
    }
    if e.flags & cf::PROTECTED != 0
        && let Some(why) = protected(srv, c, e)
    {
        return Refusal::Error(why);
    }
    if c.has(flag::MULTI) && e.flags & cf::NO_MULTI != 0 {
        return Refusal::Error(CmdError::Msg(&"ERR Command not allowed inside a transaction"));
    }
    if c.has(flag::PUBSUB) && c.resp == 2 && !allowed_while_subscribed(e) {
        return Refusal::Error(CmdError::text(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
             this context",
            e.name
        )));
    }
    if srv.gate.has(Gate::BUSY) && e.flags & cf::ALLOW_BUSY == 0 {
        return Refusal::Error(CmdError::Msg(
            &"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        ));
    }
    if c.has(flag::MULTI) && !runs_inside_multi(e) {
        return Refusal::Queue;
    }
    Refusal::None
}

/// DEBUG and MODULE run only where the configuration lets them.
fn protected(srv: &Server, c: &Client, e: &Entry) -> Option<CmdError> {
    let top = e.parent.map_or(e, |p| srv.table.get(p));
    let (name, directive, who) = match top.cmd.name {
        "debug" => ("DEBUG", "enable-debug-command", srv.config.enable_debug_command),
        _ => ("MODULE", "enable-module-command", srv.config.enable_module_command),
    };
    if who.allows(c.stream.as_ref().is_none_or(|s| s.is_local())) {
        return None;
    }
    Some(CmdError::text(format!(
        "ERR {name} command not allowed. If the {directive} option is set to \"local\", you can run it from a local \
         connection, otherwise you need to set this option in the configuration file, and then restart the server."
    )))
}

fn allowed_while_subscribed(e: &Entry) -> bool {
    let names = [
        "ping",
        "subscribe",
        "ssubscribe",
        "sunsubscribe",
        "unsubscribe",
        "psubscribe",
        "punsubscribe",
        "quit",
        "reset",
    ];
    e.parent.is_none() && names.contains(&e.cmd.name)
}

fn runs_inside_multi(e: &Entry) -> bool {
    e.parent.is_none() && ["exec", "discard", "multi", "watch", "quit", "reset"].contains(&e.cmd.name)
}

/// Refuses: counts, and spoils a transaction that is being queued.
pub fn reject(
    srv: &mut Server,
    id: ClientId,
    cmd: Option<CmdId>,
    why: &CmdError,
    out: &mut Reply,
) -> Flow {
    if let Some(cmd) = cmd {
        srv.cmdstats[cmd as usize].rejected += 1;
    }
    let c = &mut srv.clients[id];
    if c.has(flag::MULTI) {
        c.set(flag::DIRTY_EXEC);
    }
    out.error(why.as_str());
    for e in out.take_errors() {
        srv.stats.count_error(&e);
    }
    Flow::Done
}

/// At most `max` bytes of an argument, as errors quote it.
fn quoted(b: &[u8], max: usize) -> String {
    String::from_utf8_lossy(&b[..b.len().min(max)]).into_owned()
}

fn unknown_command(srv: &mut Server, id: ClientId, args: Args, out: &mut Reply) -> Flow {
    if args[0].eq_ignore_ascii_case(b"host:") || args[0].eq_ignore_ascii_case(b"post") {
        return security_warning(srv, id);
    }
    let mut shown = String::new();
    for a in args.from(1) {
        if shown.len() >= 128 {
            break;
        }
        let room = 128 - shown.len();
        shown.push_str(&format!("'{}' ", quoted(a, room)));
    }
    let name = quoted(args[0], 128);
    let why = format!("ERR unknown command '{name}', with args beginning with: {shown}");
    reject(srv, id, None, &CmdError::text(why), out)
}

fn unknown_subcommand(srv: &mut Server, id: ClientId, args: Args, out: &mut Reply) -> Flow {
    let container = String::from_utf8_lossy(args[0]).to_uppercase();
    let why = format!("ERR unknown subcommand '{}'. Try {container} HELP.", quoted(args[1], 128));
    reject(srv, id, None, &CmdError::text(why), out)
}

/// Somebody speaks HTTP to us, perhaps a browser that was tricked into it.
fn security_warning(srv: &mut Server, id: ClientId) -> Flow {
    crate::warning!(
        "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. \
         This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis \
         instance. Connection from client #{} aborted.",
        srv.clients[id].id
    );
    kill::kill(srv, id);
    Flow::Close
}
