//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use super::docs;
use super::row::flag::*;
use super::row::{Command, Flow, KeySpec, ROW, cat, key};
use crate::clients::{ClientId, flag};
use crate::multi::Multi;
use crate::proto::args::{Args, Key};
use crate::proto::error::CmdError;
use crate::server::call::{How, call};
use crate::server::ctx::{Ctx, Propagation};
use crate::server::{Server, policy, settle};

pub static ROWS: &[Command] = &[
    Command {
        name: "discard",
        arity: 1,
        flags: NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY,
        acl: cat::TRANSACTION,
        run: discard,
        docs: &docs::DISCARD,
        ..ROW
    },
    Command {
        name: "exec",
        arity: 1,
        flags: NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG,
        acl: cat::TRANSACTION,
        run: exec,
        docs: &docs::EXEC,
        ..ROW
    },
    Command {
        name: "multi",
        arity: 1,
        flags: NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY,
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
        flags: NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY,
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
    if !ctx.srv.clients[ctx.client].has(flag::MULTI) {
        return Err(CmdError::Msg(&"ERR DISCARD without MULTI"));
    }
    discard_of(ctx.srv, ctx.client);
    ctx.out.ok();
    Ok(Flow::Done)
}

/// Forgets what was queued and watched.
pub fn discard_of(srv: &mut Server, id: ClientId) -> Option<Box<Multi>> {
    let c = &mut srv.clients[id];
    c.clear(flag::MULTI | flag::DIRTY_CAS | flag::DIRTY_EXEC);
    let m = c.multi.take();
    settle::unwatch(srv, id);
    policy::refresh(srv);
    m
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
    let m = discard_of(ctx.srv, ctx.client).unwrap_or_default();
    if failed {
        return Err(CmdError::Msg(&"EXECABORT Transaction discarded because of previous errors."));
    }
    if spoilt {
        ctx.out.null_array();
        return Ok(Flow::Done);
    }
    ctx.prop = Propagation::Never;
    let c = &mut ctx.srv.clients[ctx.client];
    let denied = c.has(flag::DENY_BLOCKING);
    c.set(flag::DENY_BLOCKING);
    // A load may serve another EXEC inside this one.
    let outer = std::mem::replace(&mut ctx.srv.run.in_exec, true);
    ctx.out.array(m.queue.len());
    let mut argv: Vec<&[u8]> = Vec::new();
    for q in &m.queue {
        argv.clear();
        argv.extend(q.args.iter().map(|a| &a[..]));
        call(ctx.srv, ctx.client, q.cmd, Args::new(&argv), ctx.out, How::Nested);
        // Who has killed himself runs the rest, and hears nothing of it.
        if ctx.srv.clients[ctx.client].has(flag::CLOSE_AFTER_REPLY) {
            ctx.out.end();
        }
    }
    ctx.srv.run.in_exec = outer;
    let c = &mut ctx.srv.clients[ctx.client];
    if !denied {
        c.clear(flag::DENY_BLOCKING);
    }
    Ok(Flow::Done)
}
