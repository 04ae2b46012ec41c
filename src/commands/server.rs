//! Commands about the server: INFO, TIME, SHUTDOWN.

use crate::blocked::Wait;
use crate::clients::flag as client;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, cat};
use crate::config::shutdown as flag;
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};
use crate::server::{ServerStates, script, shutdown};

pub static ROWS: &[Command] = &[
    Command {
        name: "info",
        arity: -1,
        flags: LOADING | STALE | SENTINEL,
        acl: cat::DANGEROUS,
        run: info,
        docs: &docs::INFO,
        ..ROW
    },
    Command {
        name: "shutdown",
        arity: -1,
        flags: ADMIN | NOSCRIPT | LOADING | STALE | SENTINEL | NO_MULTI | ALLOW_BUSY,
        run: shutdown_,
        docs: &docs::SHUTDOWN,
        ..ROW
    },
    Command {
        name: "time",
        arity: 1,
        flags: LOADING | STALE | FAST,
        run: time,
        docs: &docs::TIME,
        ..ROW
    },
];

fn info(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let text = crate::server::info::text(ctx.srv, ctx.args.from(1));
    match ctx.srv.sentinel.is_some() {
        true => ctx.out.bulk(text.as_bytes()),
        false => ctx.out.verbatim(b"txt", text.as_bytes()),
    }
    Ok(Flow::Done)
}

/// The moment at which this command began: inside EXEC and scripts it does not move.
fn time(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let us = ctx.srv.clock.unix_us;
    ctx.out.array(2);
    ctx.out.bulk_int(us / 1_000_000);
    ctx.out.bulk_int(us % 1_000_000);
    Ok(Flow::Done)
}

/// Ends the process, or says why not.
fn shutdown_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let mut flags = 0;
    let mut abort = false;
    for word in ctx.args.from(1) {
        match word.to_ascii_lowercase().as_slice() {
            b"nosave" => flags |= flag::NOSAVE,
            b"save" => flags |= flag::SAVE,
            b"now" => flags |= flag::NOW,
            b"force" => flags |= flag::FORCE,
            b"abort" => abort = true,
            _ => return Err(CmdError::Syntax),
        }
    }
    let both = flag::SAVE | flag::NOSAVE;
    if (abort && flags != 0) || flags & both == both {
        return Err(CmdError::Syntax);
    }
    if abort {
        if !shutdown::abort(ctx.srv) {
            return Err(CmdError::Msg(&"ERR No shutdown in progress."));
        }
        ctx.out.ok();
        return Ok(Flow::Done);
    }
    if flags & flag::NOW == 0 && ctx.srv.clients[ctx.client].has(client::DENY_BLOCKING) {
        let why = &"ERR SHUTDOWN without NOW or ABORT isn't allowed for DENY BLOCKING client";
        return Err(CmdError::Msg(why));
    }
    if flags & flag::NOSAVE == 0 && ctx.srv.states.has(ServerStates::BUSY) {
        return Err(script::busy(ctx.srv));
    }
    if shutdown::begin(ctx.srv, flags) {
        // Without unwinding: a script may stand between here and the loop.
        std::process::exit(0);
    }
    if ctx.srv.shutdown.until_ms.is_some() && ctx.may_block() {
        return Ok(ctx.block(Wait::Shutdown, &[], 0));
    }
    Err(CmdError::Msg(&"ERR Errors trying to SHUTDOWN. Check logs."))
}
