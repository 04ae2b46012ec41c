//! One command: every refusal, in order, and then the call.
//!
//! The budget per command beside the prototype's data path (85 ns): name, flags, arity, gates 14;
//! counter and clock 14; stats 6; effects and policy 8. Whatever a feature adds here shows in its line
//! of this list.

use super::call::{How, call, queue};
use super::pause::{self, action};
use super::{Gate, Server, client_info, disk, evict, kill, limits, monitor, settle};
use crate::clients::{Client, ClientId, flag};
use crate::commands::row::{Flow, flag as cf};
use crate::commands::table::{CmdId, Entry};
use crate::commands::{scripting, transactions};
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
    let flow = match resolve(srv, id, cmd, args, out) {
        Some(cmd) => admitted(srv, id, cmd, args, out),
        None => Flow::Done,
    };
    let c = &srv.clients[id];
    if c.has(flag::SKIP | flag::SKIP_NEXT) && !matches!(flow, Flow::Postponed | Flow::Block) {
        skip_replies(srv, id, out);
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
    if srv.table.get(cmd).has_subs() && args.len() > 1 {
        match srv.table.find_sub(cmd, args[1]) {
            Some(sub) => cmd = sub,
            None => {
                unknown_subcommand(srv, id, args, out);
                return None;
            }
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
    let e = srv.table.get(cmd);
    let c = &srv.clients[id];
    let guarded = e.flags & cf::PROTECTED != 0;
    if !srv.gate.open() || c.has(flag::SPECIAL) || srv.config.requirepass.is_some() || guarded {
        match refusal(srv, id, cmd, args) {
            Refusal::None => {}
            Refusal::Error(why) => {
                return reject(srv, id, Some(cmd), args, why.as_str().as_bytes(), out);
            }
            Refusal::Queue => return queue(srv, id, cmd, args, out),
            Refusal::Postpone => {
                pause::postpone(srv, id);
                return Flow::Postponed;
            }
            Refusal::Gone => return Flow::Done,
        }
        let e = srv.table.get(cmd);
        srv.ks.no_touch = srv.clients[id].has(flag::NO_TOUCH) && !is(e, "touch");
    }
    let flow = call(srv, id, cmd, args, out, How::Client);
    srv.ks.no_touch = false;
    settle::serve_ready(srv);
    flow
}

/// A request that was blocked is tried again, through the refusals that may have come up meanwhile.
pub fn run_again(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args, out: &mut Reply) -> Flow {
    match refusal(srv, id, cmd, args) {
        Refusal::Error(why) => reject(srv, id, Some(cmd), args, why.as_str().as_bytes(), out),
        Refusal::Postpone => Flow::Postponed,
        Refusal::Gone => Flow::Done,
        Refusal::None | Refusal::Queue => {
            srv.run.ticks = crate::sys::clock::ticks();
            call(srv, id, cmd, args, out, How::Client)
        }
    }
}

/// CLIENT REPLY SKIP silences the command after it.
pub(super) fn skip_replies(srv: &mut Server, id: ClientId, out: &mut Reply) {
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
    /// The server rests: later.
    Postpone,
    /// The client was closed meanwhile.
    Gone,
}

/// What a command does, as far as refusals ask; EXEC does what it has queued.
#[derive(Clone, Copy)]
struct Acts {
    /// Flags that it, or one of the queued, has.
    has: u64,
    /// Flags that it, or one of the queued, has not.
    lacks: u64,
}

impl Acts {
    fn of(srv: &Server, e: &Entry, c: &Client, args: Args) -> Acts {
        let flags = flags_of_call(srv, e, args);
        let mut a = Acts { has: flags, lacks: !flags };
        if let (true, Some(m)) = (is(e, "exec"), &c.multi) {
            a.has |= m.flags;
            a.lacks |= m.missing_flags;
        }
        a
    }

    fn any(self, f: u64) -> bool {
        self.has & f != 0
    }
}

/// What a call does: a script may say more about it than the row does.
pub(super) fn flags_of_call(srv: &Server, e: &Entry, args: Args) -> u64 {
    let runs_script = e.cmd.name.starts_with("eval") && e.parent.is_none();
    if runs_script { scripting::flags_of_call(&srv.scripting, e, &args) } else { e.flags }
}

/// Memory is short, and the command might need some.
pub const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// Those who are sent what others do: no pause holds them up, and the data is not theirs to touch.
const LISTENER: u64 = flag::REPLICA | flag::MONITOR;

fn is(e: &Entry, name: &str) -> bool {
    e.parent.is_none() && e.cmd.name == name
}

/// The long way: reasons to refuse, in upstream's order. Between NO_MULTI and client eviction stand the
/// permissions of the user and the slots of a cluster.
fn refusal(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args) -> Refusal {
    let e = srv.table.get(cmd);
    let c = &srv.clients[id];
    if e.flags & cf::PROTECTED != 0
        && let Some(why) = protected(srv, c, e)
    {
        return Refusal::Error(why);
    }
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
    if srv.gate.has(Gate::CLIENT_EVICTION) {
        limits::evict(srv);
        if srv.clients.live(id).is_none() {
            return Refusal::Gone;
        }
    }
    let acts = Acts::of(srv, srv.table.get(cmd), &srv.clients[id], args);
    if srv.gate.has(Gate::MAXMEMORY) && srv.run.pass_depth <= 1 {
        let short = evict::perform(srv) == evict::Outcome::Failed;
        let Some(c) = srv.clients.live(id) else { return Refusal::Gone };
        let queues = c.has(flag::MULTI) && !runs_inside_multi(srv.table.get(cmd));
        if short && (queues || acts.any(cf::DENYOOM)) {
            return Refusal::Error(CmdError::Msg(&OOM));
        }
        srv.eviction.short = short;
    }
    if srv.gate.has(Gate::DISK_ERROR)
        && let Some(why) = disk::trouble(srv)
    {
        let (e, c) = (srv.table.get(cmd), &srv.clients[id]);
        let writes = acts.any(cf::WRITE);
        if (writes || is(e, "ping")) && !c.has(flag::MASTER) {
            return Refusal::Error(why);
        }
    }
    let (e, c) = (srv.table.get(cmd), &srv.clients[id]);
    if let Some(why) = state_refuses(srv, c, e, acts) {
        return Refusal::Error(why);
    }
    let paused = &srv.pause;
    // Upstream holds up SCRIPT KILL as well; then a script without end that began in the EXEC of a pause
    // could never be ended.
    if !c.has(LISTENER)
        && !srv.gate.has(Gate::BUSY)
        && (paused.has(action::ALL)
            || paused.has(action::WRITE) && acts.any(cf::WRITE | cf::MAY_REPLICATE))
    {
        return Refusal::Postpone;
    }
    if c.has(flag::MULTI) && !runs_inside_multi(e) {
        return Refusal::Queue;
    }
    Refusal::None
}

/// Refusals that follow from what the server is doing and what the client is.
fn state_refuses(srv: &Server, c: &Client, e: &Entry, acts: Acts) -> Option<CmdError> {
    let gate = srv.gate;
    let writes = acts.any(cf::WRITE);
    if gate.has(Gate::MIN_REPLICAS) && writes {
        return Some(CmdError::Msg(&"NOREPLICAS Not enough good replicas to write."));
    }
    if gate.has(Gate::REPLICA) && srv.config.replica_read_only && !c.has(flag::MASTER) && writes {
        return Some(CmdError::Msg(&"READONLY You can't write against a read only replica."));
    }
    if c.has(flag::PUBSUB) && c.resp == 2 && !allowed_while_subscribed(e) {
        return Some(CmdError::text(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
             allowed in this context",
            e.name
        )));
    }
    if gate.has(Gate::LOADING) && acts.lacks & cf::LOADING != 0 {
        return Some(CmdError::Msg(&"LOADING Redis is loading the dataset in memory"));
    }
    if gate.has(Gate::BUSY) && e.flags & cf::ALLOW_BUSY == 0 {
        return Some(CmdError::Msg(
            &"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        ));
    }
    if c.has(LISTENER) && acts.any(cf::WRITE | cf::MAY_REPLICATE | cf::READONLY) {
        return Some(CmdError::Msg(&"ERR Replica can't interact with the keyspace"));
    }
    None
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
        "ERR {name} command not allowed. If the {directive} option is set to \"local\", you can run it \
         from a local connection, otherwise you need to set this option in the configuration file, and \
         then restart the server."
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
    let mut ends = false;
    if let Some(cmd) = cmd {
        srv.cmdstats[cmd as usize].rejected += 1;
        ends = is(srv.table.get(cmd), "exec");
    }
    let c = &mut srv.clients[id];
    if c.has(flag::MULTI) {
        c.set(flag::DIRTY_EXEC);
    }
    if ends {
        transactions::discard_of(srv, id);
        // A general code says nothing behind EXECABORT.
        let why = why.strip_prefix(b"ERR ").unwrap_or(why);
        out.error_bytes(&[b"EXECABORT Transaction discarded because of: ", why].concat());
        monitor::feed(srv, id, args);
    } else {
        out.error_bytes(why);
    }
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

/// Somebody speaks HTTP to us, perhaps a browser that was tricked into it. Said once a minute.
fn security_warning(srv: &mut Server, id: ClientId) {
    let now = srv.clock.unix_secs();
    if (now - srv.run.http_warning).abs() > 60 {
        srv.run.http_warning = now;
        let from = &client_info::addresses(srv, &srv.clients[id]).peer;
        crate::warning!(
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands \
             to Redis. This is likely due to an attacker attempting to use Cross Protocol Scripting to \
             compromise your Redis instance. Connection from {from} aborted."
        );
    }
    kill::kill(srv, id);
}
