//! SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF.

use crate::blocked::Wait;
use crate::clients::flag;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, cat};
use crate::jobs::child::ChildKind;
use crate::proto::error::CmdError;
use crate::server::child;
use crate::server::ctx::{Command, Ctx, ROW};
use crate::server::{jobs, rewrite};

pub static ROWS: &[Command] = &[
    Command {
        name: "bgrewriteaof",
        arity: 1,
        flags: ADMIN | NOSCRIPT | NO_ASYNC_LOADING,
        run: bgrewriteaof,
        docs: &docs::BGREWRITEAOF,
        ..ROW
    },
    Command {
        name: "bgsave",
        arity: -1,
        flags: NO_ASYNC_LOADING | ADMIN | NOSCRIPT,
        run: bgsave,
        docs: &docs::BGSAVE,
        ..ROW
    },
    Command {
        name: "lastsave",
        arity: 1,
        flags: LOADING | STALE | FAST,
        acl: cat::ADMIN | cat::DANGEROUS,
        run: lastsave,
        docs: &docs::LASTSAVE,
        ..ROW
    },
    Command {
        name: "save",
        arity: 1,
        flags: NO_ASYNC_LOADING | ADMIN | NOSCRIPT | NO_MULTI,
        run: save,
        docs: &docs::SAVE,
        ..ROW
    },
];

fn save(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if child::runs(ctx.srv, ChildKind::Snapshot) {
        return Err(CmdError::Msg(&"ERR Background save already in progress"));
    }
    jobs::save_now(ctx.srv).map_err(|_| CmdError::Msg(&"ERR"))?;
    ctx.out.ok();
    Ok(Flow::Done)
}

fn bgsave(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let schedule = match ctx.args.from(1) {
        [] => false,
        [w] if w.eq_ignore_ascii_case(b"schedule") => true,
        _ => return Err(CmdError::Syntax),
    };
    let srv = &mut *ctx.srv;
    if child::runs(srv, ChildKind::Snapshot) {
        return Err(CmdError::Msg(&"ERR Background save already in progress"));
    }
    if srv.jobs.child.is_some() || rewrite::is_opening(srv) || srv.execution.in_exec() {
        if !schedule && !srv.execution.in_exec() {
            return Err(CmdError::Msg(
                &"ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE \
                  in order to schedule a BGSAVE whenever possible.",
            ));
        }
        srv.jobs.scheduled = true;
        ctx.out.status("Background saving scheduled");
        return Ok(Flow::Done);
    }
    jobs::save_in_background(srv).map_err(|_| CmdError::Msg(&"ERR"))?;
    ctx.out.status("Background saving started");
    Ok(Flow::Done)
}

fn bgrewriteaof(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.srv.clients[ctx.client].has(flag::REPROCESSING) {
        return rewrite_begun(ctx);
    }
    let srv = &mut *ctx.srv;
    if rewrite::is_under_way(srv) {
        return Err(CmdError::Msg(&"ERR Background append only file rewriting already in progress"));
    }
    if srv.jobs.child.is_some() || srv.execution.in_exec() {
        srv.aof.rewrite.scheduled = true;
        // A rewrite asked for by command does not wait for the end of the delay after failures.
        srv.aof.rewrite.failures = 0;
        ctx.out.status("Background append only file rewriting scheduled");
    } else {
        rewrite::begin(srv);
        return rewrite_begun(ctx);
    }
    Ok(Flow::Done)
}

/// The answer comes when there is a child: the disk has to know of a new increment before.
fn rewrite_begun(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let opening = rewrite::is_opening(ctx.srv);
    if opening && ctx.may_block() {
        ctx.srv.aof.rewrite.awaited = true;
        return Ok(ctx.block(Wait::Rewrite, &[], 0));
    }
    if opening || child::runs(ctx.srv, ChildKind::Rewrite) {
        ctx.out.status("Background append only file rewriting started");
    } else if ctx.srv.aof.rewrite.scheduled {
        ctx.out.status("Background append only file rewriting scheduled");
    } else {
        return Err(CmdError::Msg(
            &"ERR Can't execute an AOF background rewriting. Please check the server logs for more \
              information.",
        ));
    }
    Ok(Flow::Done)
}

fn lastsave(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.int(ctx.srv.jobs.last_save);
    Ok(Flow::Done)
}
