//! FUNCTION, FCALL and FCALL_RO.

use super::help;
use super::scripting::keys_and_args;
use crate::algo::glob::glob_match;
use crate::cmd::docs;
use crate::cmd::keys;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Docs, Flow, KeySpec, cat, key};
use crate::persist::rdb::save::functions_payload;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::scripting::Job;
use crate::scripting::library::{Function, Library};
use crate::server::ctx::{Command, Ctx, Handler, Propagation, ROW, container};
use crate::server::function::{self, Policy};
use crate::server::{monitor, script};
use crate::sys::clock::mono_ns;
use std::sync::Arc;

const CALLS: u64 = NOSCRIPT | STALE | SKIP_MONITOR | NO_MANDATORY_KEYS | RUNS_SCRIPT | FUNCTION_BY_NAME;

const fn sub(name: &'static str, arity: i32, flags: u64, run: Handler, docs: &'static Docs) -> Command {
    Command { name, arity, flags, acl: cat::SCRIPTING, run, docs, ..ROW }
}

pub static ROWS: &[Command] = &[
    Command {
        name: "fcall",
        arity: -3,
        flags: CALLS | MAY_REPLICATE,
        acl: cat::SCRIPTING,
        keys: &[KeySpec::keynum(key::RW | key::ACCESS | key::UPDATE, 2)
            .note("What the function does with its keys is unknown, so RW and UPDATE are assumed")],
        run: fcall,
        getkeys: Some(keys::numkeys_second),
        docs: &docs::FCALL,
        ..ROW
    },
    Command {
        name: "fcall_ro",
        arity: -3,
        flags: CALLS | READONLY,
        acl: cat::SCRIPTING,
        keys: &[KeySpec::keynum(key::RO | key::ACCESS, 2)
            .note("What the function does with its keys is unknown, so RO and ACCESS are assumed")],
        run: fcall_ro,
        getkeys: Some(keys::numkeys_second),
        docs: &docs::FCALL_RO,
        ..ROW
    },
    Command {
        name: "function",
        arity: -2,
        run: container,
        docs: &docs::FUNCTION,
        subs: &[
            sub("delete", 3, NOSCRIPT | WRITE, delete, &docs::FUNCTION_DELETE),
            sub("dump", 2, NOSCRIPT, dump, &docs::FUNCTION_DUMP),
            sub("flush", -2, NOSCRIPT | WRITE, flush, &docs::FUNCTION_FLUSH),
            sub("help", 2, LOADING | STALE, help_, &docs::FUNCTION_HELP),
            sub("kill", 2, NOSCRIPT | ALLOW_BUSY, kill, &docs::FUNCTION_KILL),
            sub("list", -2, NOSCRIPT, list, &docs::FUNCTION_LIST),
            sub("load", -3, NOSCRIPT | WRITE | DENYOOM, load, &docs::FUNCTION_LOAD),
            sub("restore", -3, NOSCRIPT | WRITE | DENYOOM, restore, &docs::FUNCTION_RESTORE),
            sub("stats", 2, NOSCRIPT | ALLOW_BUSY, stats, &docs::FUNCTION_STATS),
        ],
        ..ROW
    },
];

/// Replies with an error that may hold any bytes.
fn failed(ctx: &mut Ctx<'_>, why: &[u8]) -> CmdError {
    ctx.out.error_bytes(&[b"ERR ", why].concat());
    CmdError::Replied
}

// ---- calls -------------------------------------------------------------------------------------------

fn fcall(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    call(ctx, false)
}

fn fcall_ro(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    call(ctx, true)
}

fn call(ctx: &mut Ctx<'_>, read_only: bool) -> Result<Flow, CmdError> {
    // Before the commands of the function, which are shown as they run.
    monitor::feed(ctx.srv, ctx.client, ctx.cmd, ctx.args);
    let Some(found) = ctx.srv.scripting.libraries.find(ctx.args[1]) else {
        return Err(CmdError::Msg(&"ERR Function not found"));
    };
    let f = Arc::clone(found);
    let (keys, argv) = keys_and_args(ctx, CmdError::Msg(&"ERR Bad number of keys provided"))?;
    script::none_runs(ctx.srv)?;
    // What the function's commands change leaves as their own ops.
    ctx.prop = Propagation::Never;
    let (compiled, flags) = (f.callback, f.flags);
    script::run(ctx, script::Call { job: Job::Function(f), compiled, flags, keys, argv, read_only })?;
    Ok(Flow::Done)
}

// ---- libraries ---------------------------------------------------------------------------------------

fn load(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (code, options) = ctx.args.from(2).split_last().expect("the arity says so");
    let mut replace = false;
    for option in options {
        if !option.eq_ignore_ascii_case(b"replace") {
            let option = help::c_text(option);
            return Err(failed(ctx, &[b"Unknown option given: ", option].concat()));
        }
        replace = true;
    }
    script::none_runs(ctx.srv)?;
    let limit = if ctx.obeys() { None } else { Some(function::LOAD_LIMIT_NS) };
    match function::load(ctx.srv, code, replace, limit) {
        Ok(name) => ctx.out.bulk(&name),
        Err(why) => return Err(failed(ctx, &why)),
    }
    ctx.srv.ks.dirty += 1;
    Ok(Flow::Done)
}

fn delete(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    script::none_runs(ctx.srv)?;
    if !function::delete(ctx.srv, ctx.args[2]) {
        return Err(CmdError::Msg(&"ERR Library not found"));
    }
    ctx.srv.ks.dirty += 1;
    ctx.out.ok();
    Ok(Flow::Done)
}

fn flush(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.args.len() > 3 {
        return Err(help::unknown_subcommand(ctx));
    }
    // The libraries go at once either way: only the thread that runs an interpreter may change it, and it
    // collects step by step.
    let how = ctx.args.get(2).map(|w| w.to_ascii_lowercase());
    if !matches!(how.as_deref(), None | Some(b"sync") | Some(b"async")) {
        return Err(CmdError::Msg(&"ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
    }
    script::none_runs(ctx.srv)?;
    function::flush(ctx.srv);
    ctx.srv.ks.dirty += 1;
    ctx.out.ok();
    Ok(Flow::Done)
}

fn dump(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let compress = ctx.srv.config.rdbcompression;
    let payload = functions_payload(&function::codes(ctx.srv), compress)
        .map_err(|e| CmdError::text(format!("ERR {e}")))?;
    ctx.out.bulk(&payload);
    Ok(Flow::Done)
}

fn restore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.args.len() > 4 {
        return Err(help::unknown_subcommand(ctx));
    }
    let policy = match ctx.args.get(3).map(|w| w.to_ascii_lowercase()).as_deref() {
        None | Some(b"append") => Policy::Append,
        Some(b"replace") => Policy::Replace,
        Some(b"flush") => Policy::Flush,
        Some(_) => {
            return Err(CmdError::Msg(
                &"ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    script::none_runs(ctx.srv)?;
    if let Err(why) = function::restore(ctx.srv, ctx.args[2], policy) {
        return Err(failed(ctx, &why));
    }
    ctx.srv.ks.dirty += 1;
    ctx.out.ok();
    Ok(Flow::Done)
}

// ---- what is known of them ---------------------------------------------------------------------------

fn list(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (mut with_code, mut pattern) = (false, None);
    let mut words = ctx.args.from(2).iter();
    while let Some(word) = words.next() {
        if !with_code && word.eq_ignore_ascii_case(b"withcode") {
            with_code = true;
        } else if pattern.is_none() && word.eq_ignore_ascii_case(b"libraryname") {
            const NONE: CmdError = CmdError::Msg(&"ERR library name argument was not given");
            pattern = Some(*words.next().ok_or(NONE)?);
        } else {
            let word = help::c_text(word);
            return Err(failed(ctx, &[b"Unknown argument ", word].concat()));
        }
    }
    let wanted = |l: &&Library| pattern.is_none_or(|p| glob_match(p, &l.name, true));
    let libraries = ctx.srv.scripting.libraries.iter().filter(wanted);
    let out = &mut *ctx.out;
    out.array(libraries.clone().count());
    for l in libraries {
        out.map(if with_code { 4 } else { 3 });
        out.bulk(b"library_name");
        out.bulk(&l.name);
        out.bulk(b"engine");
        out.bulk(b"LUA");
        out.bulk(b"functions");
        out.array(l.functions.len());
        l.functions.iter().for_each(|f| put(f, out));
        if with_code {
            out.bulk(b"library_code");
            out.bulk(&l.code);
        }
    }
    Ok(Flow::Done)
}

fn put(f: &Function, out: &mut Reply) {
    out.map(3);
    out.bulk(b"name");
    out.bulk(&f.name);
    out.bulk(b"description");
    match &f.description {
        Some(text) => out.bulk(text),
        None => out.null(),
    }
    out.bulk(b"flags");
    out.set(f.flags.names().count());
    f.flags.names().for_each(|name| out.status(name));
}

fn stats(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let s = &ctx.srv.scripting;
    if s.running.as_ref().is_some_and(|r| !r.job.is_function()) {
        return Err(script::busy(ctx.srv));
    }
    let out = &mut *ctx.out;
    out.map(2);
    out.bulk(b"running_script");
    match &s.running {
        None => out.null(),
        Some(r) => {
            out.map(3);
            out.bulk(b"name");
            out.bulk(r.job.name());
            out.bulk(b"command");
            let words = r.timed_out.as_deref().unwrap_or_default();
            out.array(words.len());
            words.iter().for_each(|w| out.bulk(w));
            out.bulk(b"duration_ms");
            out.int((mono_ns().saturating_sub(r.started_ns) / 1_000_000) as i64);
        }
    }
    out.bulk(b"engines");
    out.map(1);
    out.bulk(b"LUA");
    out.map(2);
    out.bulk(b"libraries_count");
    out.int(s.libraries.len() as i64);
    out.bulk(b"functions_count");
    out.int(s.libraries.iter().map(|l| l.functions.len()).sum::<usize>() as i64);
    Ok(Flow::Done)
}

fn kill(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    script::kill(ctx.srv, true)?;
    ctx.out.ok();
    Ok(Flow::Done)
}

fn help_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let lines = [
        "DELETE <library-name>",
        "    Remove a library with all its functions.",
        "DUMP",
        "    Return all libraries as a payload for FUNCTION RESTORE.",
        "FLUSH [ASYNC|SYNC]",
        "    Remove all libraries.",
        "KILL",
        "    End the function that runs, unless it has changed something.",
        "LIST [LIBRARYNAME <pattern>] [WITHCODE]",
        "    Return the libraries, or those whose name matches, each with its functions, and on demand",
        "    with its code.",
        "LOAD [REPLACE] <code>",
        "    Compile a library and register its functions. The first line of its code names it.",
        "RESTORE <payload> [FLUSH|APPEND|REPLACE]",
        "    Bring back the libraries of a payload. FLUSH removes all others before; APPEND, which is",
        "    the default, refuses names that are taken; REPLACE replaces libraries of the same name.",
        "STATS",
        "    Return the function that runs now, with its request and its time, and for each engine how",
        "    many libraries and functions it has.",
    ];
    help::reply(ctx, &lines)
}
