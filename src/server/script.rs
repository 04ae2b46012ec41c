//! Running a script from the server's side: what may keep it from running, its commands, its slowness,
//! its end.

use super::admit::{self, Caller, Verdict};
use super::call::{CallSource, call};
use super::ctx::Ctx;
use super::{Server, ServerStates, auth, lend, pass};
use crate::algo::crc16::key_slot;
use crate::clients::{Client, ClientId, flag};
use crate::cmd::row::flag as cf;
use crate::cmd::table::CmdId;
use crate::proto::args::Args;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::replication::ops::to;
use crate::scripting::ffi::{self, Compiled, Invocation};
use crate::scripting::header::Flags;
use crate::scripting::{Job, Running};
use crate::sys::clock::mono_ns;

/// The pseudo-client of scripts.
fn runner(srv: &mut Server) -> ClientId {
    if let Some(id) = srv.scripting.client {
        return id;
    }
    let mut c = Client::new(srv.clock.unix_ms);
    c.set(flag::SCRIPT | flag::DENY_BLOCKING);
    let id = srv.clients.add(c);
    srv.scripting.client = Some(id);
    id
}

/// What a request runs, and how.
pub struct Call<'a> {
    pub job: Job,
    pub compiled: Compiled,
    pub flags: Flags,
    pub keys: &'a [&'a [u8]],
    pub argv: &'a [&'a [u8]],
    /// By a command that only reads.
    pub read_only: bool,
}

/// Runs a script for the caller of `ctx`; its value or its error is the reply.
pub fn run(ctx: &mut Ctx<'_>, call: Call<'_>) -> Result<(), CmdError> {
    let Call { job, flags, keys, argv, read_only, compiled: callee } = call;
    let srv = &mut *ctx.srv;
    if let Some(why) = admit::script(srv, ctx.client, flags, read_only) {
        return Err(why);
    }
    let declared = |bit: u32| !flags.has(Flags::COMPAT) && flags.has(bit);
    let runner = runner(srv);
    srv.clients[runner].db = ctx.db as u32;
    srv.clients[runner].resp = 2;
    let mut vm =
        srv.scripting.interpreter(&job).vm.take().expect("compiled before it runs, and one at a time");
    std::mem::swap(vm.random(), &mut srv.scripting.random);
    srv.scripting.running = Some(Running {
        job,
        caller: ctx.client,
        started_ns: mono_ns(),
        timed_out: None,
        killed: false,
        wrote: false,
        read_only: read_only || declared(Flags::NO_WRITES),
        allow_oom: declared(Flags::ALLOW_OOM),
        slot: keys.first().map(|key| key_slot(key)),
        crosses_slots: flags.has(Flags::COMPAT | Flags::ALLOW_CROSS_SLOT),
        resp: 2,
        repl: to::ALL,
    });
    *vm.debugger() = srv.scripting.debugger.take();
    let watched = srv.config.busy_reply_threshold > 0;
    let invocation = Invocation { callee, keys, argv, request: &ctx.args, watched };
    let out = &mut *ctx.out;
    let resp = || lend::with_lent(|srv| srv.scripting.running.as_ref().map_or(2, |r| r.resp));
    let result = lend::lend(srv, || vm.run(&invocation, out, resp));
    let over = srv.scripting.running.take().expect("set above");
    std::mem::swap(vm.random(), &mut srv.scripting.random);
    srv.scripting.debugger = vm.debugger().take();
    srv.scripting.interpreter(&over.job).vm = Some(vm);
    if over.timed_out.is_some() {
        srv.states.put(ServerStates::BUSY, false);
        // The cron runs now: while the script was busy it did not reap children or expire keys.
        srv.cron.next_ms = 0;
    }
    if let Err(f) = result {
        let text = failed(over.job.name(), &f);
        if f.counted { ctx.out.counted_error(&text) } else { ctx.out.error_bytes(&text) }
    }
    Ok(())
}

/// The error of a script as its caller gets it.
fn failed(name: &[u8], f: &ffi::Failure) -> Vec<u8> {
    if f.raw {
        let shown = &f.message[..f.message.len().min(100)];
        return [b"ERR Error running script ", name, b", ", shown].concat();
    }
    match &f.place {
        None => f.message.clone(),
        Some((source, line)) => {
            [&f.message[..], b" script: ", name, b", on ", source, b":", line, b"."].concat()
        }
    }
}

/// Interpreters do not run inside each other: a script that calls scripts or changes libraries (only DEBUG
/// lets it) is refused.
pub fn none_runs(srv: &Server) -> Result<(), CmdError> {
    match srv.scripting.running {
        Some(_) => Err(CmdError::Msg(&"ERR This Redis command is not allowed from script")),
        None => Ok(()),
    }
}

/// `redis.acl_check_cmd`: may the caller run it? None for what is no command.
pub fn may_call(srv: &Server, words: &[Vec<u8>]) -> Option<bool> {
    let args: Vec<&[u8]> = words.iter().map(|w| &w[..]).collect();
    let cmd = srv.table.resolve(&args).ok()?;
    let caller = caller(srv)?;
    Some(auth::may_call(srv, caller, cmd, &args))
}

/// A command of the running script: its reply, or the text of an error that has been counted.
pub fn command(srv: &mut Server, args: &[&[u8]]) -> Result<Vec<u8>, Vec<u8>> {
    let Ok(cmd) = srv.table.resolve(args) else {
        return Err(refused(srv, None, "ERR Unknown Redis command called from script"));
    };
    if let Verdict::Refused(why) = admit::admit(srv, Caller::Script, cmd, Args::new(args)) {
        return Err(refused(srv, Some(cmd), why.as_str()));
    }
    let runner = srv.scripting.client.expect("a script runs");
    let r = srv.scripting.running.as_mut().expect("a script runs");
    r.wrote |= srv.table.get(cmd).flags & cf::WRITE != 0;
    let mut out = Reply::new(r.resp == 3);
    let outside = std::mem::replace(&mut srv.ops.denied, to::ALL & !r.repl);
    call(srv, runner, cmd, Args::new(args), &mut out, CallSource::Nested);
    srv.ops.denied = outside;
    Ok(out.take_bytes())
}

/// The error of a command that is not run, counted.
fn refused(srv: &mut Server, cmd: Option<CmdId>, why: &str) -> Vec<u8> {
    srv.stats.count_error(why);
    srv.stats.new_errors();
    if let Some(cmd) = cmd {
        srv.cmdstats[usize::from(cmd)].rejected += 1;
    }
    [b"-", why.as_bytes()].concat()
}

/// `redis.setresp`.
pub fn set_resp(srv: &mut Server, resp: u8) {
    if let Some(r) = &mut srv.scripting.running {
        r.resp = resp;
    }
    if let Some(c) = srv.scripting.client.and_then(|id| srv.clients.get_mut(id)) {
        c.resp = resp;
    }
}

/// `redis.set_repl`.
pub fn set_repl(srv: &mut Server, mask: u8) {
    if let Some(r) = &mut srv.scripting.running {
        r.repl = mask;
    }
}

/// Called every so many instructions: a script that runs too long lets the loop turn. `request` is the
/// caller's. True when it is to end.
pub fn slow(srv: &mut Server, request: &[&[u8]]) -> bool {
    let threshold = srv.config.busy_reply_threshold;
    let Some(r) = &mut srv.scripting.running else { return false };
    if r.killed {
        return true;
    }
    let elapsed = (mono_ns() - r.started_ns) / 1_000_000;
    if threshold == 0 || elapsed < threshold {
        return false;
    }
    if r.timed_out.is_none() {
        r.timed_out = Some(request.iter().map(|w| w.to_vec()).collect());
        crate::warning!(
            "Slow script detected: still in execution after {elapsed} milliseconds. You can try killing \
             the script using the {} command. Script name is: {}.",
            if r.job.is_function() { "FUNCTION KILL" } else { "SCRIPT KILL" },
            String::from_utf8_lossy(r.job.name())
        );
        srv.states.put(ServerStates::BUSY, true);
    }
    pass::nested(srv, pass::Interrupt::Script);
    let killed = srv.scripting.running.as_ref().is_some_and(|r| r.killed);
    if killed {
        crate::notice!("Lua script killed by user with SCRIPT KILL.");
    }
    killed
}

/// SCRIPT KILL, and FUNCTION KILL for a function.
pub fn kill(srv: &mut Server, function: bool) -> Result<(), CmdError> {
    let Some(r) = &mut srv.scripting.running else {
        return Err(CmdError::Msg(&"NOTBUSY No scripts in execution right now."));
    };
    if srv.clients.get(r.caller).is_some_and(|c| c.has(flag::OBEYED)) {
        return Err(CmdError::Msg(
            &"UNKILLABLE The busy script was sent by a master instance in the context of replication \
              and cannot be killed.",
        ));
    }
    if r.wrote {
        return Err(CmdError::Msg(
            &"UNKILLABLE Sorry the script already executed write commands against the dataset. You can \
              either wait the script termination or kill the server in a hard way using the SHUTDOWN \
              NOSAVE command.",
        ));
    }
    if function != r.job.is_function() {
        return Err(busy(srv));
    }
    r.killed = true;
    Ok(())
}

/// Why other commands are refused while a script is busy.
pub fn busy(srv: &Server) -> CmdError {
    if srv.scripting.running.as_ref().is_some_and(|r| r.job.is_function()) {
        return CmdError::Msg(
            &"BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
        );
    }
    CmdError::Msg(
        &"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    )
}

/// The client whose script runs now.
pub fn caller(srv: &Server) -> Option<ClientId> {
    srv.scripting.running.as_ref().map(|r| r.caller)
}
