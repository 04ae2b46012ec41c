//! Running a script from the server's side: its commands, its slowness, its end.

use super::{Running, ffi::Vm};
use crate::clients::{Client, ClientId, flag};
use crate::commands::row::flag as cf;
use crate::commands::table::CmdId;
use crate::proto::args::Args;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::call::{How, call};
use crate::server::ctx::Ctx;
use crate::server::dispatch::OOM;
use crate::server::{Gate, Server, disk, lend, pass};
use crate::sys::clock::mono_ns;
use std::time::Duration;

/// Compiles (once) and runs a script for the caller of `ctx`.
pub fn eval(
    ctx: &mut Ctx<'_>,
    name: super::Sha,
    keys: &[&[u8]],
    argv: &[&[u8]],
) -> Result<(), CmdError> {
    let srv = &mut *ctx.srv;
    let runner = match srv.scripting.client {
        Some(id) => id,
        None => {
            let mut c = Client::new(srv.clock.unix_ms);
            c.set(flag::SCRIPT | flag::DENY_BLOCKING);
            let id = srv.clients.add(c);
            srv.scripting.client = Some(id);
            id
        }
    };
    srv.clients[runner].db = ctx.db as u32;
    srv.scripting.running = Some(Running {
        caller: ctx.client,
        started_ns: mono_ns(),
        timed_out: false,
        killed: false,
        wrote: false,
    });
    let vm: Vm = srv.scripting.vm.as_ref().expect("compiled before it runs").alias();
    let out = &mut *ctx.out;
    let result = lend::lend(srv, || vm.run(&name, keys, argv, out));
    let over = srv.scripting.running.take().expect("set above");
    if over.timed_out {
        srv.gate.put(Gate::BUSY, false);
    }
    // A script may have selected another database for its caller to go on with.
    let Err(f) = result else { return Ok(()) };
    let mut text = String::from_utf8_lossy(&f.message).into_owned();
    if let Some((source, line)) = f.place {
        let name = String::from_utf8_lossy(&name).into_owned();
        text = format!("{text} script: {name}, on {}:{line}.", String::from_utf8_lossy(&source));
    }
    if f.counted {
        ctx.out.counted_error(text.as_bytes());
    } else {
        ctx.out.error_bytes(text.as_bytes());
    }
    Ok(())
}

/// A command of the running script: its reply, or an error text and whether it has been counted.
pub fn command(srv: &mut Server, args: &[&[u8]]) -> Result<Vec<u8>, (Vec<u8>, bool)> {
    let runner = srv.scripting.client.expect("a script runs");
    let Some(mut cmd) = srv.table.find(args[0]) else {
        return refuse(srv, None, "ERR Unknown Redis command called from script");
    };
    if srv.table.get(cmd).has_subs()
        && let Some(name) = args.get(1)
    {
        match srv.table.find_sub(cmd, name) {
            Some(sub) => cmd = sub,
            None => return refuse(srv, None, "ERR Unknown Redis command called from script"),
        }
    }
    let e = srv.table.get(cmd);
    if !e.accepts(args.len()) {
        return refuse(srv, Some(cmd), "ERR Wrong number of args calling Redis command from script");
    }
    if e.flags & cf::NOSCRIPT != 0 {
        return refuse(srv, Some(cmd), "ERR This Redis command is not allowed from script");
    }
    let wrote = srv.scripting.running.as_ref().is_some_and(|r| r.wrote);
    // What has begun to change the data is not stopped halfway.
    if e.flags & cf::WRITE != 0
        && !wrote
        && let Some(why) = disk::trouble(srv)
    {
        return refuse(srv, Some(cmd), why.as_str());
    }
    if e.flags & cf::DENYOOM != 0 && !wrote && srv.eviction.short && srv.config.maxmemory > 0 {
        return refuse(srv, Some(cmd), OOM);
    }
    if e.flags & cf::WRITE != 0
        && let Some(r) = &mut srv.scripting.running
    {
        r.wrote = true;
    }
    let mut out = Reply::new(false);
    call(srv, runner, cmd, Args::new(args), &mut out, How::Nested);
    Ok(out.take_bytes())
}

/// Counts the refusal, be it that the script never tells of it.
fn refuse(srv: &mut Server, cmd: Option<CmdId>, text: &str) -> Result<Vec<u8>, (Vec<u8>, bool)> {
    srv.stats.count_error(text);
    srv.stats.new_errors();
    if let Some(cmd) = cmd {
        srv.cmdstats[usize::from(cmd)].rejected += 1;
    }
    Err((text.as_bytes().to_vec(), true))
}

/// Called every so many instructions: a script that runs too long lets the loop turn. True when it is
/// to end.
pub fn slow(srv: &mut Server) -> bool {
    let threshold = srv.config.busy_reply_threshold;
    let Some(r) = &mut srv.scripting.running else { return false };
    if r.killed {
        return true;
    }
    let elapsed = (mono_ns() - r.started_ns) / 1_000_000;
    if threshold == 0 || elapsed < threshold {
        return false;
    }
    if !r.timed_out {
        r.timed_out = true;
        crate::warning!(
            "Slow script detected: still in execution after {elapsed} milliseconds. You can try killing \
             the script using the SCRIPT KILL command."
        );
        srv.gate.put(Gate::BUSY, true);
    }
    nested_pass(srv);
    srv.scripting.running.as_ref().is_some_and(|r| r.killed)
}

/// Serves those who may interrupt, with a clock of its own.
fn nested_pass(srv: &mut Server) {
    let (clock, now, ticks) = (srv.clock.clone(), srv.ks.now_ms, srv.run.ticks);
    debug_assert!(srv.ks.fx.is_empty(), "effects are settled before the loop turns");
    pass::turn(srv, Some(Duration::ZERO));
    debug_assert!(srv.ks.fx.is_empty(), "a nested pass changes nothing");
    (srv.clock, srv.ks.now_ms, srv.run.ticks) = (clock, now, ticks);
}

/// SCRIPT KILL.
pub fn kill(srv: &mut Server) -> Result<(), CmdError> {
    match &mut srv.scripting.running {
        None => Err(CmdError::Msg(&"NOTBUSY No scripts in execution right now.")),
        Some(r) if r.wrote => Err(CmdError::Msg(
            &"UNKILLABLE Sorry the script already executed write commands against the dataset. You can \
              either wait the script termination or kill the server in a hard way using the SHUTDOWN \
              NOSAVE command.",
        )),
        Some(r) => {
            r.killed = true;
            Ok(())
        }
    }
}

/// The client whose script runs now.
pub fn caller(srv: &Server) -> Option<ClientId> {
    srv.scripting.running.as_ref().map(|r| r.caller)
}
