//! The one judge: may a command run now, and if not, why? It is asked for a client's request, for what
//! EXEC and scripts run, and for the commands of the log.
//!
//! ```text
//! Client    PROTECTED ─ NOAUTH ─ NO_MULTI ─ permissions ─ slots ─ client eviction ─ OOM ─ MISCONF ─
//!           NOREPLICAS ─ READONLY ─ subscribed ─ MASTERDOWN ─ LOADING ─ BUSY ─ replica or monitor ─ pause ─
//!           MULTI: queue
//! Queued    permissions: of all the rest EXEC was asked for what is queued
//! Script    arity ─ NOSCRIPT ─ permissions ─ read-only script ─ READONLY ─ MISCONF ─ NOREPLICAS ─ OOM ─
//!           slots
//! Log       MULTI: queue
//! Link      pause ─ MISCONF (ends the process) ─ MULTI: queue
//! ```
//!
//! The orders are upstream's, each written once. What a command is comes from its row
//! (`cmd::row::flag`), never from its name. Whether a request may skip all of this is one test of three
//! words and, in a cluster, one of a bit: `needs_no_judge`.

use super::ctx::CommandRow;
use super::{Server, ServerStates, auth, disk, evict, limits, link_client, redirect, script, tracking};
use crate::acl::denials::DeniedIn;
use crate::acl::selector::Denied;
use crate::clients::pause::action;
use crate::clients::{Client, ClientId, flag};
use crate::cmd::row::flag as cf;
use crate::cmd::table::CmdId;
use crate::proto::args::Args;
use crate::proto::error::CmdError;
use crate::scripting::header::{self, Flags};
use crate::scripting::{Running, Scripting, Sha, name_of};

const NOAUTH: CmdError = CmdError::Msg(&"NOAUTH Authentication required.");
const NO_MULTI: CmdError = CmdError::Msg(&"ERR Command not allowed inside a transaction");
const OOM: CmdError = CmdError::Msg(&"OOM command not allowed when used memory > 'maxmemory'.");
const NO_REPLICAS: CmdError = CmdError::Msg(&"NOREPLICAS Not enough good replicas to write.");
const READ_ONLY: CmdError = CmdError::Msg(&"READONLY You can't write against a read only replica.");
const MASTER_DOWN: CmdError =
    CmdError::Msg(&"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
const LOADING: CmdError = CmdError::Msg(&"LOADING Redis is loading the dataset in memory");
const LISTENS: CmdError = CmdError::Msg(&"ERR Replica can't interact with the keyspace");

const SCRIPT_ARITY: CmdError =
    CmdError::Msg(&"ERR Wrong number of args calling Redis command from script");
const SCRIPT_DENIED: CmdError = CmdError::Msg(&"ERR This Redis command is not allowed from script");
const SCRIPT_READS: CmdError =
    CmdError::Msg(&"ERR Write commands are not allowed from read-only scripts.");
const SCRIPT_NO_CLUSTER: CmdError =
    CmdError::Msg(&"ERR Can not run script on cluster, 'no-cluster' flag is set.");
const SCRIPT_ON_REPLICA: CmdError =
    CmdError::Msg(&"READONLY Can not run script with write flag on readonly replica");
const SCRIPT_BY_RO: CmdError =
    CmdError::Msg(&"ERR Can not execute a script with write flag using *_ro command.");
const SCRIPT_MASTER_DOWN: CmdError = CmdError::Msg(
    &"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no' and 'allow-stale' \
      flag is not set on the script.",
);
const SCRIPT_STALE: CmdError = CmdError::Msg(&"ERR Can not execute the command on a stale replica");
const SCRIPT_OOM: CmdError = CmdError::Msg(
    &"OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
);

/// The road on which a command comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A client's request: fresh, or one that was blocked and is tried again.
    Client(ClientId),
    /// EXEC, for what this client has queued.
    Queued(ClientId),
    /// The script that runs.
    Script,
    /// The pseudo-client that replays the log.
    Log(ClientId),
    /// The client that reads the stream of the master.
    Link(ClientId),
}

pub enum Verdict {
    Run,
    Refused(CmdError),
    /// By the keys: another node of the cluster is to be asked, or none can be.
    Elsewhere(CmdError),
    /// Inside MULTI: EXEC will run it.
    Queue,
    /// A pause: the request is tried again later.
    Postpone,
    /// The client was closed meanwhile.
    Gone,
}

/// Is there nothing that could refuse this request of a client? The fast path: no state is set, the
/// client is no special case, has logged in and may do everything, and the command needs no leave of the
/// configuration. In a cluster its key is of a slot that is served here.
#[inline]
pub fn needs_no_judge(srv: &Server, c: &Client, e: &CommandRow, args: Args) -> bool {
    let states = u64::from(srv.states.0 & !ServerStates::CLUSTER);
    let special = states | c.flags & flag::SPECIAL | e.flags & cf::PROTECTED;
    special == 0 && (!srv.states.has(ServerStates::CLUSTER) || redirect::is_local(srv, c, e, args))
}

/// Judges a command whose arguments are complete.
pub fn admit(srv: &mut Server, caller: Caller, cmd: CmdId, args: Args) -> Verdict {
    let refusal = match caller {
        Caller::Client(id) => return of_client(srv, id, cmd, args),
        Caller::Script => of_script(srv, cmd, args),
        // Rules may have changed since the command was queued.
        Caller::Queued(id) => {
            auth::denied(srv, id, cmd, &args, Some(DeniedIn::Transaction)).map(changed)
        }
        Caller::Log(id) => {
            let inside = srv.clients[id].has(flag::MULTI);
            if inside && srv.table.get(cmd).flags & cf::EXEC == 0 {
                return Verdict::Queue;
            }
            None
        }
        Caller::Link(id) => return of_link(srv, id, cmd, args),
    };
    refusal.map_or(Verdict::Run, Verdict::Refused)
}

// ---- requests of clients ------------------------------------------------------------------------------

fn of_client(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args) -> Verdict {
    let (e, c) = (srv.table.get(cmd), &srv.clients[id]);
    let limited_only = c.flags & flag::SPECIAL == flag::LIMITED;
    if limited_only && srv.states == ServerStates::default() && e.flags & cf::PROTECTED == 0 {
        // Nothing else could refuse it.
        return permission(srv, id, cmd, args).map_or(Verdict::Run, Verdict::Refused);
    }
    let refused = protected(srv, c, e)
        .or_else(|| (auth::required(srv, c) && e.flags & cf::NO_AUTH == 0).then_some(NOAUTH))
        .or_else(|| (c.has(flag::MULTI) && e.flags & cf::NO_MULTI != 0).then_some(NO_MULTI));
    if let Some(why) = refused {
        return Verdict::Refused(why);
    }
    if let Some(why) = permission(srv, id, cmd, args) {
        return Verdict::Refused(why);
    }
    if let Some(why) = elsewhere(srv, id, cmd, args) {
        return Verdict::Elsewhere(why);
    }
    if srv.states.has(ServerStates::CLIENT_EVICTION) {
        limits::evict(srv);
        if srv.clients.live(id).is_none() {
            return Verdict::Gone;
        }
    }
    let acts = Acts::of(srv, srv.table.get(cmd), &srv.clients[id], args);
    if srv.states.has(ServerStates::MAXMEMORY) && !srv.execution.in_nested_pass() {
        let short = evict::perform(srv) == evict::EvictOutcome::Failed;
        let tired = srv.eviction.is_tired(&srv.config);
        let Some(c) = srv.clients.get_mut(id).filter(|c| !c.has(flag::DYING)) else {
            return Verdict::Gone;
        };
        if tired {
            c.set(flag::YIELDS);
        }
        // Queueing takes memory, so it is refused; EXEC and DISCARD free the queue, so they are not.
        let queues = c.has(flag::MULTI) && srv.table.get(cmd).flags & cf::ENDS_MULTI == 0;
        if short && (queues || acts.any(cf::DENYOOM)) {
            return Verdict::Refused(OOM);
        }
        srv.eviction.short = short;
    }
    if srv.states.has(ServerStates::TRACKING) {
        tracking::limit(srv);
        if srv.clients.live(id).is_none() {
            return Verdict::Gone;
        }
    }
    let (e, c) = (srv.table.get(cmd), &srv.clients[id]);
    if let Some(why) = state_refuses(srv, c, e, acts) {
        return Verdict::Refused(why);
    }
    if paused(srv, c, acts) {
        return Verdict::Postpone;
    }
    if c.has(flag::MULTI) && e.flags & cf::INSIDE_MULTI == 0 {
        return Verdict::Queue;
    }
    Verdict::Run
}

/// Is the request for another node of the cluster?
#[inline]
fn elsewhere(srv: &Server, id: ClientId, cmd: CmdId, args: Args) -> Option<CmdError> {
    let (e, c) = (srv.table.get(cmd), &srv.clients[id]);
    if !srv.states.has(ServerStates::CLUSTER) || redirect::is_local(srv, c, e, args) {
        return None;
    }
    redirect::of_client(srv, c, e, args, Acts::of(srv, e, c, args).any(cf::WRITE))
}

/// What the user of a client does not let it do.
#[inline]
fn permission(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args) -> Option<CmdError> {
    auth::denied(srv, id, cmd, &args, None).map(|denied| in_words(srv, id, cmd, denied, "NOPERM "))
}

#[cold]
fn in_words(srv: &Server, id: ClientId, cmd: CmdId, denied: Denied, before: &str) -> CmdError {
    let text = auth::text(srv.acl.get(srv.clients[id].user), denied, &srv.table.get(cmd).name, None);
    CmdError::text(format!("{before}{}", String::from_utf8_lossy(&text)))
}

/// The refusal of a command that was allowed when it was queued.
#[cold]
fn changed(denied: Denied) -> CmdError {
    let why = match denied {
        Denied::Command => "no permission to execute the command or subcommand",
        Denied::Key(_) => "no permission to touch the specified keys",
        Denied::Channel(_) => "no permission to access one of the channels used as arguments",
    };
    CmdError::text(format!(
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. \
         This command is no longer allowed for the following reason: {why}"
    ))
}

/// What a request does, as far as refusals ask; EXEC does what it has queued.
#[derive(Clone, Copy)]
struct Acts {
    /// Flags that it, or one of the queued, has.
    has: u64,
    /// Flags that it, or one of the queued, has not.
    lacks: u64,
}

impl Acts {
    fn of(srv: &Server, e: &CommandRow, c: &Client, args: Args) -> Acts {
        let flags = flags_of_call(srv, e, args);
        let mut a = Acts { has: flags, lacks: !flags };
        if let (true, Some(m)) = (flags & cf::EXEC != 0, &c.multi) {
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
pub fn flags_of_call(srv: &Server, e: &CommandRow, args: Args) -> u64 {
    if e.flags & cf::RUNS_SCRIPT == 0 { e.flags } else { flags_of_script(&srv.scripting, e, &args) }
}

/// What a call of EVAL, FCALL and the like does, as far as it can be told before: the row's flags, unless
/// the script says more in its header, or the function by its flags.
fn flags_of_script(scripting: &Scripting, e: &CommandRow, args: &[&[u8]]) -> u64 {
    let Some(what) = args.get(1) else { return e.flags };
    if e.flags & cf::FUNCTION_BY_NAME != 0 {
        return scripting.libraries.find(what).map_or(e.flags, |f| f.flags.of_command(e.flags));
    }
    let by_name = e.flags & cf::SCRIPT_BY_NAME != 0;
    let name = match by_name {
        true => Sha::try_from(what.to_ascii_lowercase()).ok(),
        false => Some(name_of(what)),
    };
    let flags = match name.and_then(|n| scripting.scripts.get(&n)) {
        Some(known) => known.flags,
        None if by_name => return e.flags,
        None => match header::parse(what) {
            Ok((flags, _)) => flags,
            Err(_) => return e.flags,
        },
    };
    flags.of_command(e.flags)
}

/// Clients that are sent what others do: no pause holds them up, and the data is not theirs to touch.
const LISTENER: u64 = flag::REPLICA | flag::MONITOR;

/// Refusals that follow from what the server is doing and what the client is.
fn state_refuses(srv: &Server, c: &Client, e: &CommandRow, acts: Acts) -> Option<CmdError> {
    let states = srv.states;
    let (writes, obeyed) = (acts.any(cf::WRITE), c.has(flag::OBEYED));
    if states.has(ServerStates::DISK_ERROR)
        && (writes || e.flags & cf::REPORTS_DISK != 0)
        && !obeyed
        && let Some(error) = disk::disk_error(srv)
    {
        return Some(error.refusal());
    }
    if writes && states.has(ServerStates::MIN_REPLICAS) {
        return Some(NO_REPLICAS);
    }
    if writes && read_only(srv, obeyed) {
        return Some(READ_ONLY);
    }
    if c.has(flag::PUBSUB) && c.resp == 2 && e.flags & cf::WHILE_SUBSCRIBED == 0 {
        return Some(CmdError::text(format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
             allowed in this context",
            e.name
        )));
    }
    if states.has(ServerStates::STALE) && acts.lacks & cf::STALE != 0 {
        return Some(MASTER_DOWN);
    }
    if states.has(ServerStates::LOADING) && acts.lacks & cf::LOADING != 0 {
        return Some(LOADING);
    }
    if states.has(ServerStates::ASYNC_LOADING) && acts.any(cf::NO_ASYNC_LOADING) {
        return Some(LOADING);
    }
    if states.has(ServerStates::BUSY) && e.flags & cf::ALLOW_BUSY == 0 {
        return Some(script::busy(srv));
    }
    let touches = acts.any(cf::WRITE | cf::MAY_REPLICATE | cf::READONLY);
    (c.has(LISTENER) && touches).then_some(LISTENS)
}

/// Are writes refused because this server is a read-only replica? `obeyed`: the command comes from the
/// master or from the log.
fn read_only(srv: &Server, obeyed: bool) -> bool {
    srv.states.has(ServerStates::REPLICA) && srv.config.replica_read_only && !obeyed
}

/// Must the command wait for the end of a pause? Unlike upstream not while a script is busy: SCRIPT KILL
/// must run, or an endless script that started a pause could never be ended.
fn paused(srv: &Server, c: &Client, acts: Acts) -> bool {
    let writes = acts.any(cf::WRITE | cf::MAY_REPLICATE);
    !c.has(LISTENER)
        && !srv.states.has(ServerStates::BUSY)
        && (srv.pause.has(action::ALL) || srv.pause.has(action::WRITE) && writes)
}

/// DEBUG and MODULE run only where the configuration lets them.
fn protected(srv: &Server, c: &Client, e: &CommandRow) -> Option<CmdError> {
    let (name, directive, allowed) = match e.flags & cf::PROTECTED {
        0 => return None,
        cf::PROTECTED_DEBUG => ("DEBUG", "enable-debug-command", srv.config.enable_debug_command),
        _ => ("MODULE", "enable-module-command", srv.config.enable_module_command),
    };
    if allowed.allows(c.conn.stream.as_ref().is_none_or(|s| s.is_local())) {
        return None;
    }
    Some(CmdError::text(format!(
        "ERR {name} command not allowed. If the {directive} option is set to \"local\", you can run it \
         from a local connection, otherwise you need to set this option in the configuration file, and \
         then restart the server."
    )))
}

/// What the master has run is run here, too: nothing refuses it, and only a pause holds it up.
fn of_link(srv: &mut Server, id: ClientId, cmd: CmdId, args: Args) -> Verdict {
    let (e, c) = (srv.table.get(cmd), &srv.clients[id]);
    let acts = Acts::of(srv, e, c, args);
    if paused(srv, c, acts) {
        return Verdict::Postpone;
    }
    let queues = c.has(flag::MULTI) && e.flags & cf::INSIDE_MULTI == 0;
    if acts.any(cf::WRITE) && srv.states.has(ServerStates::DISK_ERROR) {
        link_client::disk_fails(srv);
    }
    if queues { Verdict::Queue } else { Verdict::Run }
}

// ---- scripts ----------------------------------------------------------------------------------------

/// May a script begin that says by `flags` what it does? `caller` asked for it, by a command that only
/// reads when `by_ro`.
pub fn script(srv: &Server, caller: ClientId, flags: Flags, by_ro: bool) -> Option<CmdError> {
    let stale = srv.states.has(ServerStates::STALE);
    if flags.has(Flags::COMPAT) {
        return stale.then_some(MASTER_DOWN);
    }
    if stale && !flags.has(Flags::ALLOW_STALE) {
        return Some(SCRIPT_MASTER_DOWN);
    }
    let obeyed = srv.clients[caller].has(flag::OBEYED);
    if flags.has(Flags::NO_CLUSTER) && srv.config.cluster_enabled {
        return Some(SCRIPT_NO_CLUSTER);
    }
    if !flags.has(Flags::NO_WRITES) {
        if read_only(srv, obeyed) {
            return Some(SCRIPT_ON_REPLICA);
        }
        if let Some(error) = disk::disk_error(srv).filter(|_| !obeyed) {
            return Some(error.refusal_of_script());
        }
        if by_ro {
            return Some(SCRIPT_BY_RO);
        }
        if srv.states.has(ServerStates::MIN_REPLICAS) {
            return Some(NO_REPLICAS);
        }
    }
    (short(srv) && !flags.has(Flags::ALLOW_OOM | Flags::NO_WRITES)).then_some(SCRIPT_OOM)
}

/// Was memory short when the outermost command began?
fn short(srv: &Server) -> bool {
    srv.eviction.short && srv.config.maxmemory > 0
}

fn of_script(srv: &mut Server, cmd: CmdId, args: Args) -> Option<CmdError> {
    let caller = srv.scripting.running.as_ref()?.caller;
    let e = srv.table.get(cmd);
    if !e.accepts(args.len()) {
        return Some(SCRIPT_ARITY);
    }
    if e.flags & cf::NOSCRIPT != 0 && !srv.switches.allow_denied_in_scripts {
        return Some(SCRIPT_DENIED);
    }
    if let Some(denied) = auth::denied(srv, caller, cmd, &args, Some(DeniedIn::Script)) {
        return Some(in_words(srv, caller, cmd, denied, "ERR ACL failure in script: "));
    }
    let (e, r) = (srv.table.get(cmd), srv.scripting.running.as_ref()?);
    if srv.states.has(ServerStates::STALE) && e.flags & cf::STALE == 0 {
        return Some(SCRIPT_STALE);
    }
    if r.read_only && e.flags & (cf::WRITE | cf::MAY_REPLICATE) != 0 {
        return Some(SCRIPT_READS);
    }
    // A script that has written is not stopped halfway: its writes cannot be taken back.
    if !r.wrote
        && let Some(why) = state_refuses_script(srv, e, r)
    {
        return Some(why);
    }
    script_elsewhere(srv, cmd, args)
}

fn state_refuses_script(srv: &Server, e: &CommandRow, r: &Running) -> Option<CmdError> {
    let obeyed = srv.clients.get(r.caller).is_some_and(|c| c.has(flag::OBEYED));
    if e.flags & cf::WRITE != 0 {
        if read_only(srv, obeyed) {
            return Some(READ_ONLY);
        }
        if let Some(error) = disk::disk_error(srv) {
            return Some(error.refusal());
        }
        if srv.states.has(ServerStates::MIN_REPLICAS) {
            return Some(NO_REPLICAS);
        }
    }
    (e.flags & cf::DENYOOM != 0 && short(srv) && !r.allow_oom && !obeyed).then_some(OOM)
}

/// In a cluster a script uses keys of this node, and unless it has said otherwise of one slot.
fn script_elsewhere(srv: &mut Server, cmd: CmdId, args: Args) -> Option<CmdError> {
    let r = srv.scripting.running.as_ref()?;
    let caller = srv.clients.get(r.caller)?;
    if !srv.states.has(ServerStates::CLUSTER) || caller.has(flag::OBEYED) {
        return None;
    }
    let slot = match redirect::of_script(srv, caller, srv.table.get(cmd), args) {
        Ok(slot) => slot?,
        Err(why) => return Some(why),
    };
    let r = srv.scripting.running.as_mut()?;
    let first = *r.slot.get_or_insert(slot);
    (first != slot && !r.crosses_slots).then(redirect::other_slot)
}
