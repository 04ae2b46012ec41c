//! SAVE, BGSAVE, LASTSAVE.

use super::docs;
use super::row::flag::*;
use super::row::{Command, Flow, ROW, cat};
use crate::proto::error::CmdError;
use crate::server::ctx::Ctx;
use crate::server::jobs;

pub static ROWS: &[Command] = &[
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
    if ctx.srv.jobs.child.is_some() {
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
    if ctx.srv.jobs.child.is_some() {
        return Err(CmdError::Msg(&"ERR Background save already in progress"));
    }
    // With no other kind of child there is nothing that a scheduled save would have to wait for.
    let _ = schedule;
    jobs::save_in_background(ctx.srv).map_err(|_| CmdError::Msg(&"ERR"))?;
    ctx.out.status("Background saving started");
    Ok(Flow::Done)
}

fn lastsave(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.int(ctx.srv.jobs.last_save);
    Ok(Flow::Done)
}
