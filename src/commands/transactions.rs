//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use crate::clients::flag;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::proto::args::{Args, Key};
use crate::proto::error::CmdError;
use crate::server::admit::{self, Caller, Verdict};
use crate::server::call::{CallSource, call};
use crate::server::ctx::{Command, Ctx, Propagation, ROW};
use crate::server::{policy, settle, transaction};

pub static ROWS: &[Command] = &[
    Command {
        name: "discard",
        arity: 1,
        flags: NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | ENDS_MULTI | INSIDE_MULTI,
        acl: cat::TRANSACTION,
        run: discard,
        docs: &docs::DISCARD,
        ..ROW
    },
    Command {
        name: "exec",
        arity: 1,
        flags: NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG | EXEC | ENDS_MULTI | INSIDE_MULTI,
        acl: cat::TRANSACTION,
        run: exec,
        docs: &docs::EXEC,
        ..ROW
    },
    Command {
        name: "multi",
        arity: 1,
        flags: NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | MULTI | INSIDE_MULTI,
        acl: cat::TRANSACTION,
        run: multi,
        docs: &docs::MULTI,
        ..ROW
    },
    Command {
        name: "unwatch",
        arity: 1,
        flags: NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY,
        acl: cat::TRANSACTION,
        run: unwatch,
        docs: &docs::UNWATCH,
        ..ROW
    },
    Command {
        name: "watch",
        arity: -2,
        flags: NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | INSIDE_MULTI,
        acl: cat::TRANSACTION,
        keys: &[KeySpec::range(key::RO, 1, -1, 1)],
        run: watch,
        docs: &docs::WATCH,
        ..ROW
    },
];

fn multi(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let c = &mut ctx.srv.clients[ctx.client];
    if c.has(flag::MULTI) {
        return Err(CmdError::Msg(&"ERR MULTI calls can not be nested"));
    }
    c.set(flag::MULTI);
    c.multi = Some(Box::default());
    ctx.out.ok();
    Ok(Flow::Done)
}

fn discard(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let c = &ctx.srv.clients[ctx.client];
    if !c.has(flag::MULTI) {
        return Err(CmdError::Msg(&"ERR DISCARD without MULTI"));
    }
    // Only a log can have queued a DISCARD. It must not cost the other commands of that transaction.
    if c.multi.as_ref().is_some_and(|m| m.runs) {
        return Err(CmdError::Msg(&"ERR DISCARD inside MULTI is not allowed"));
    }
    transaction::discard(ctx.srv, ctx.client);
    ctx.out.ok();
    Ok(Flow::Done)
}

fn watch(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let c = &ctx.srv.clients[ctx.client];
    if c.has(flag::MULTI) {
        return Err(CmdError::Msg(&"ERR WATCH inside MULTI is not allowed"));
    }
    if !c.has(flag::DIRTY_CAS) {
        // A transaction that is spoilt already needs no further watch.
        for k in ctx.args.from(1) {
            let ks = &ctx.srv.ks;
            let expired = ks.peek(ctx.db, Key::new(k)).is_some_and(|e| ks.is_expired(e));
            settle::watch(ctx.srv, ctx.client, ctx.db, k, expired);
        }
        policy::refresh(ctx.srv);
    }
    ctx.out.ok();
    Ok(Flow::Done)
}

fn unwatch(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    settle::unwatch(ctx.srv, ctx.client);
    ctx.srv.clients[ctx.client].clear(flag::DIRTY_CAS);
    policy::refresh(ctx.srv);
    ctx.out.ok();
    Ok(Flow::Done)
}

/// Has a key expired that had not when its watch was set?
fn watched_key_expired(ctx: &Ctx<'_>) -> bool {
    let (ks, watches) = (&ctx.srv.ks, &ctx.srv.watches);
    watches.of(ctx.client).iter().any(|(db, key)| {
        !watches.was_expired(ctx.client, *db, key)
            && ks.peek(*db, Key::new(key)).is_some_and(|e| ks.is_expired(e))
    })
}

fn exec(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let c = &ctx.srv.clients[ctx.client];
    if !c.has(flag::MULTI) {
        return Err(CmdError::Msg(&"ERR EXEC without MULTI"));
    }
    let (spoilt, failed) = (c.has(flag::DIRTY_CAS) || watched_key_expired(ctx), c.has(flag::DIRTY_EXEC));
    if spoilt || failed {
        transaction::discard(ctx.srv, ctx.client);
        if failed {
            return Err(CmdError::Msg(&"EXECABORT Transaction discarded because of previous errors."));
        }
        ctx.out.null_array();
        return Ok(Flow::Done);
    }
    ctx.prop = Propagation::Never;
    settle::unwatch(ctx.srv, ctx.client);
    policy::refresh(ctx.srv);
    run_queue(ctx);
    transaction::discard(ctx.srv, ctx.client);
    Ok(Flow::Done)
}

/// Runs what the client has queued. The client stays inside its transaction meanwhile: CLIENT INFO shows
/// it so, and a MULTI that a log has queued does not begin another one.
fn run_queue(ctx: &mut Ctx<'_>) {
    let c = &mut ctx.srv.clients[ctx.client];
    let denied = c.has(flag::DENY_BLOCKING);
    c.set(flag::DENY_BLOCKING);
    let m = c.multi.get_or_insert_default();
    m.runs = true;
    // The client keeps the queue, which CLIENT INFO counts, but its arguments are out of reach of what runs.
    let queue: Vec<_> = m.queue.iter_mut().map(|q| (q.cmd, std::mem::take(&mut q.args))).collect();
    // A load may serve another EXEC inside this one.
    let outer = ctx.srv.execution.set_in_exec(true);
    ctx.out.array(queue.len());
    let mut argv: Vec<&[u8]> = Vec::new();
    for (cmd, args) in &queue {
        argv.clear();
        argv.extend(args.iter().map(|a| &a[..]));
        match admit::admit(ctx.srv, Caller::Queued(ctx.client), *cmd, Args::new(&argv)) {
            Verdict::Refused(why) => ctx.out.error(why.as_str()),
            _ => {
                call(ctx.srv, ctx.client, *cmd, Args::new(&argv), ctx.out, CallSource::Nested);
            }
        }
        // A client that has killed itself gets no reply to the commands behind it, which run all the same.
        if ctx.srv.clients[ctx.client].has(flag::CLOSE_AFTER_REPLY) {
            ctx.out.end();
        }
    }
    ctx.srv.execution.set_in_exec(outer);
    let c = &mut ctx.srv.clients[ctx.client];
    if !denied {
        c.clear(flag::DENY_BLOCKING);
    }
}
