//! EVAL, EVALSHA and SCRIPT.

use super::help;
use crate::algo::num::parse_i64;
use crate::clients::flag as client;
use crate::cmd::docs;
use crate::cmd::keys;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::proto::error::CmdError;
use crate::scripting::ffi::Dialect;
use crate::scripting::{Job, Script, Sha, header, name_of};
use crate::server::ctx::{Command, Ctx, Handler, Propagation, ROW};
use crate::server::{monitor, script, script_api, script_debug};

const RUNS: u64 = NOSCRIPT | STALE | SKIP_MONITOR | MAY_REPLICATE | NO_MANDATORY_KEYS | RUNS_SCRIPT;
const RUNS_RO: u64 = READONLY | NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | RUNS_SCRIPT;

const fn sub(
    name: &'static str,
    arity: i32,
    flags: u64,
    run: Handler,
    docs: &'static crate::cmd::row::Docs,
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
        flags: RUNS | SCRIPT_BY_NAME,
        acl: cat::SCRIPTING,
        keys: &[KeySpec::keynum(key::RW | key::ACCESS | key::UPDATE, 2)],
        run: evalsha,
        getkeys: Some(keys::numkeys_second),
        docs: &docs::EVALSHA,
        ..ROW
    },
    Command {
        name: "evalsha_ro",
        arity: -3,
        flags: RUNS_RO | SCRIPT_BY_NAME,
        acl: cat::SCRIPTING,
        keys: &[KeySpec::keynum(key::RO | key::ACCESS, 2)],
        run: evalsha_ro,
        getkeys: Some(keys::numkeys_second),
        docs: &docs::EVALSHA_RO,
        ..ROW
    },
    Command {
        name: "eval_ro",
        arity: -3,
        flags: RUNS_RO,
        acl: cat::SCRIPTING,
        keys: &[KeySpec::keynum(key::RO | key::ACCESS, 2)
            .note("What the code does with its keys is unknown, so RO and ACCESS are assumed")],
        run: eval_ro,
        getkeys: Some(keys::numkeys_second),
        docs: &docs::EVAL_RO,
        ..ROW
    },
    Command {
        name: "script",
        arity: -2,
        docs: &docs::SCRIPT,
        subs: &[
            sub("debug", 3, NOSCRIPT, debug, &docs::SCRIPT_DEBUG),
            sub("exists", -3, NOSCRIPT, exists, &docs::SCRIPT_EXISTS),
            sub("flush", -2, NOSCRIPT, flush, &docs::SCRIPT_FLUSH),
            sub("help", 2, LOADING | STALE, help_, &docs::SCRIPT_HELP),
            sub("kill", 2, NOSCRIPT | ALLOW_BUSY, kill, &docs::SCRIPT_KILL),
            sub("load", 3, NOSCRIPT | STALE, load, &docs::SCRIPT_LOAD),
        ],
        ..ROW
    },
];

const NO_SCRIPT: CmdError = CmdError::Msg(&"NOSCRIPT No matching script. Please use EVAL.");

fn eval(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    by_body(ctx, false)
}

fn eval_ro(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    by_body(ctx, true)
}

fn evalsha(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    by_name(ctx, false)
}

fn evalsha_ro(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    by_name(ctx, true)
}

fn by_body(ctx: &mut Ctx<'_>, read_only: bool) -> Result<Flow, CmdError> {
    // Before the commands of the script, which are shown as they run.
    monitor::feed(ctx.srv, ctx.client, ctx.cmd, ctx.args);
    if ctx.srv.clients[ctx.client].has(client::SCRIPT_DEBUG) {
        return script_debug::session(ctx, |ctx| evaluate(ctx, read_only));
    }
    evaluate(ctx, read_only)
}

fn evaluate(ctx: &mut Ctx<'_>, read_only: bool) -> Result<Flow, CmdError> {
    let body = ctx.args[1];
    keys_and_args(ctx, CmdError::NotInteger)?;
    let name = keep(ctx, body)?;
    start(ctx, name, read_only)
}

fn by_name(ctx: &mut Ctx<'_>, read_only: bool) -> Result<Flow, CmdError> {
    monitor::feed(ctx.srv, ctx.client, ctx.cmd, ctx.args);
    let name = Sha::try_from(ctx.args[1].to_ascii_lowercase()).map_err(|_| NO_SCRIPT)?;
    if ctx.srv.clients[ctx.client].has(client::SCRIPT_DEBUG) {
        return Err(CmdError::Msg(&"ERR Please use EVAL instead of EVALSHA for debugging"));
    }
    keys_and_args(ctx, CmdError::NotInteger)?;
    if !ctx.srv.scripting.scripts.contains_key(&name) {
        return Err(NO_SCRIPT);
    }
    start(ctx, name, read_only)
}

/// The keys and the other arguments behind `numkeys`; `not_a_number` is the error for one that is none.
pub(super) fn keys_and_args<'a>(
    ctx: &Ctx<'a>,
    not_a_number: CmdError,
) -> Result<(&'a [&'a [u8]], &'a [&'a [u8]]), CmdError> {
    let n = parse_i64(ctx.args[2]).ok_or(not_a_number)?;
    let rest = ctx.args.from(3);
    match usize::try_from(n) {
        Err(_) => Err(CmdError::Msg(&"ERR Number of keys can't be negative")),
        Ok(n) if n > rest.len() => {
            Err(CmdError::Msg(&"ERR Number of keys can't be greater than number of args"))
        }
        Ok(n) => Ok(rest.split_at(n)),
    }
}

fn start(ctx: &mut Ctx<'_>, name: Sha, read_only: bool) -> Result<Flow, CmdError> {
    let (keys, argv) = keys_and_args(ctx, CmdError::NotInteger)?;
    script::none_runs(ctx.srv)?;
    let found = ctx.srv.scripting.scripts.get(&name).expect("kept before it runs");
    let (flags, compiled) = (found.flags, found.compiled);
    // What the script's commands change leaves as their own ops.
    ctx.prop = Propagation::Never;
    let call = script::Call { job: Job::Script(name), compiled, flags, keys, argv, read_only };
    script::run(ctx, call)?;
    Ok(Flow::Done)
}

/// Compiles a script and keeps it under its name.
fn keep(ctx: &mut Ctx<'_>, body: &[u8]) -> Result<Sha, CmdError> {
    script::none_runs(ctx.srv)?;
    let name = name_of(body);
    let s = &mut ctx.srv.scripting;
    if s.scripts.contains_key(&name) {
        return Ok(name);
    }
    let (flags, skipped) = match header::parse(body) {
        Ok(found) => found,
        Err(why) => {
            ctx.out.error_bytes(&why);
            return Err(CmdError::Replied);
        }
    };
    // The header is left out but its line end is kept, so that errors name the right lines.
    let vm = s.eval.vm(Dialect::Scripts, script_api::CALLS);
    match vm.compile(&body[skipped..]) {
        Err(why) => {
            ctx.out.error_bytes(&[b"ERR Error compiling script (new function): ", &why[..]].concat());
            return Err(CmdError::Replied);
        }
        Ok(compiled) => s.scripts.insert(name, Script { body: body.into(), flags, compiled }),
    };
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
    script::none_runs(ctx.srv)?;
    let s = &mut ctx.srv.scripting;
    s.scripts = Default::default();
    s.eval.vm = None;
    ctx.out.ok();
    Ok(Flow::Done)
}

fn debug(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let c = &mut ctx.srv.clients[ctx.client];
    if !ctx.out.is_empty() || !c.conn.out.is_empty() {
        return Err(CmdError::Msg(&"ERR SCRIPT DEBUG must be called outside a pipeline"));
    }
    let on = match &ctx.args[2].to_ascii_lowercase()[..] {
        b"no" => 0,
        b"yes" => client::SCRIPT_DEBUG,
        b"sync" => client::SCRIPT_DEBUG | client::SCRIPT_DEBUG_SYNC,
        _ => return Err(CmdError::Msg(&"ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    };
    c.clear(client::SCRIPT_DEBUG | client::SCRIPT_DEBUG_SYNC);
    c.set(on);
    ctx.out.ok();
    Ok(Flow::Done)
}

fn kill(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    script::kill(ctx.srv, false)?;
    ctx.out.ok();
    Ok(Flow::Done)
}

fn help_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let lines = [
        "DEBUG (YES|SYNC|NO)",
        "    Debug the next script of EVAL on this connection: in a process of its own, whose changes are",
        "    lost, or in the server, which serves no other client meanwhile.",
        "EXISTS <sha1> [<sha1> ...]",
        "    Return for each name whether its script is cached.",
        "FLUSH [ASYNC|SYNC]",
        "    Empty the cache of scripts.",
        "KILL",
        "    End the script that runs, unless it has changed something.",
        "LOAD <script>",
        "    Cache a script without running it, and return its name.",
    ];
    help::reply(ctx, &lines)
}
