//! EVAL, EVALSHA and SCRIPT.

use super::docs;
use super::keys;
use super::row::flag::*;
use super::row::{Command, Flow, KeySpec, ROW, cat, key};
use crate::algo::num::parse_i64;
use crate::proto::error::CmdError;
use crate::scripting::{Script, Sha, ffi::Vm, name_of, run};
use crate::server::ctx::{Ctx, Propagation};
use crate::server::monitor;

const RUNS: u64 = NOSCRIPT | STALE | SKIP_MONITOR | MAY_REPLICATE | NO_MANDATORY_KEYS;

const fn sub(
    name: &'static str,
    arity: i32,
    flags: u64,
    run: super::row::Handler,
    docs: &'static super::row::Docs,
) -> Command {
    Command { name, arity, flags, acl: cat::SCRIPTING, run, docs, ..ROW }
}

pub static ROWS: &[Command] = &[
    Command {
        name: "eval",
        arity: -3,
        flags: RUNS,
        acl: cat::SCRIPTING,
        keys: &[KeySpec::keynum(key::RW | key::ACCESS | key::UPDATE, 2)
            .note("What the code does with its keys is unknown, so RW and UPDATE are assumed")],
        run: eval,
        getkeys: Some(keys::numkeys_second),
        docs: &docs::EVAL,
        ..ROW
    },
    Command {
        name: "evalsha",
        arity: -3,
        flags: RUNS,
        acl: cat::SCRIPTING,
        keys: &[KeySpec::keynum(key::RW | key::ACCESS | key::UPDATE, 2)],
        run: evalsha,
        getkeys: Some(keys::numkeys_second),
        docs: &docs::EVALSHA,
        ..ROW
    },
    Command {
        name: "script",
        arity: -2,
        docs: &docs::SCRIPT,
        subs: &[
            sub("exists", -3, NOSCRIPT, exists, &docs::SCRIPT_EXISTS),
            sub("flush", -2, NOSCRIPT, flush, &docs::SCRIPT_FLUSH),
            sub("kill", 2, NOSCRIPT | ALLOW_BUSY, kill, &docs::SCRIPT_KILL),
            sub("load", 3, NOSCRIPT | STALE, load, &docs::SCRIPT_LOAD),
        ],
        ..ROW
    },
];

fn eval(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    // Before the commands of the script, which are shown as they run.
    monitor::feed(ctx.srv, ctx.client, ctx.args);
    let body = ctx.args[1];
    keys_and_args(ctx)?;
    let name = keep(ctx, body)?;
    start(ctx, name)
}

fn evalsha(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    monitor::feed(ctx.srv, ctx.client, ctx.args);
    const NO_SCRIPT: CmdError = CmdError::Msg(&"NOSCRIPT No matching script. Please use EVAL.");
    let name = Sha::try_from(ctx.args[1].to_ascii_lowercase()).map_err(|_| NO_SCRIPT)?;
    keys_and_args(ctx)?;
    if !ctx.srv.scripting.scripts.contains_key(&name) {
        return Err(NO_SCRIPT);
    }
    start(ctx, name)
}

/// The keys and the other arguments behind `numkeys`.
fn keys_and_args<'a>(ctx: &Ctx<'a>) -> Result<(&'a [&'a [u8]], &'a [&'a [u8]]), CmdError> {
    let n = parse_i64(ctx.args[2]).ok_or(CmdError::NotInteger)?;
    let rest = ctx.args.from(3);
    match usize::try_from(n) {
        Err(_) => Err(CmdError::Msg(&"ERR Number of keys can't be negative")),
        Ok(n) if n > rest.len() => {
            Err(CmdError::Msg(&"ERR Number of keys can't be greater than number of args"))
        }
        Ok(n) => Ok(rest.split_at(n)),
    }
}

fn start(ctx: &mut Ctx<'_>, name: Sha) -> Result<Flow, CmdError> {
    let (keys, argv) = keys_and_args(ctx)?;
    // What the script's commands change leaves as their own ops.
    ctx.prop = Propagation::Never;
    run::eval(ctx, name, keys, argv)?;
    Ok(Flow::Done)
}

/// Compiles a script and keeps it under its name.
fn keep(ctx: &mut Ctx<'_>, body: &[u8]) -> Result<Sha, CmdError> {
    let name = name_of(body);
    let s = &mut ctx.srv.scripting;
    if s.scripts.contains_key(&name) {
        return Ok(name);
    }
    let vm = s.vm.get_or_insert_with(Vm::new);
    vm.compile(&name, body).map_err(|why| {
        CmdError::text(format!(
            "ERR Error compiling script (new function): {}",
            String::from_utf8_lossy(&why)
        ))
    })?;
    s.scripts.insert(name, Script { body: body.into() });
    Ok(name)
}

fn load(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let name = keep(ctx, ctx.args[2])?;
    ctx.out.bulk(&name);
    Ok(Flow::Done)
}

fn exists(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let names = ctx.args.from(2);
    ctx.out.array(names.len());
    for n in names {
        let known = Sha::try_from(n.to_ascii_lowercase())
            .is_ok_and(|n| ctx.srv.scripting.scripts.contains_key(&n));
        ctx.out.int(known as i64);
    }
    Ok(Flow::Done)
}

fn flush(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let how = ctx.args.get(2).map(|w| w.to_ascii_lowercase());
    if ctx.args.len() > 3 || !matches!(how.as_deref(), None | Some(b"sync") | Some(b"async")) {
        return Err(CmdError::Msg(&"ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    let s = &mut ctx.srv.scripting;
    s.scripts.clear();
    if let Some(vm) = s.vm.take() {
        vm.close();
    }
    ctx.out.ok();
    Ok(Flow::Done)
}

fn kill(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    run::kill(ctx.srv)?;
    ctx.out.ok();
    Ok(Flow::Done)
}
