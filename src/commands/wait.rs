//! WAIT and WAITAOF: the caller goes on when its last write is safe enough, or after the timeout; the reply
//! says how safe it is (`server::acks` wakes).

use super::numbers::integer;
use super::timeout;
use crate::algo::num::parse_i64;
use crate::blocked::Wait;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, cat};
use crate::proto::error::CmdError;
use crate::replication::acks::AckWait;
use crate::server::acks;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command { name: "wait", arity: 3, acl: cat::CONNECTION, run: wait, docs: &docs::WAIT, ..ROW },
    Command {
        name: "waitaof",
        arity: 4,
        flags: NOSCRIPT,
        acl: cat::CONNECTION,
        run: waitaof,
        docs: &docs::WAITAOF,
        ..ROW
    },
];

fn wait(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.srv.repl.link.is_on() {
        return Err(CmdError::Msg(
            &"ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a \
              replica is configured to be writable (which is not the default) writes to replicas are just \
              local and are not propagated.",
        ));
    }
    let replicas = integer(ctx.args[1])?;
    let deadline = timeout::milliseconds(ctx.args[2], ctx.now_ms())?;
    let offset = ctx.srv.clients[ctx.client].woff;
    Ok(wait_for(ctx, AckWait { offset, replicas, disk: None }, deadline))
}

fn waitaof(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    const RANGE: CmdError = CmdError::Msg(&"ERR value is out of range, value must between 0 and 1");
    const NEGATIVE: CmdError = CmdError::Msg(&"ERR value is out of range, must be positive");
    let local = match integer(ctx.args[1])? {
        n @ 0..=1 => n == 1,
        _ => return Err(RANGE),
    };
    let replicas = parse_i64(ctx.args[2]).filter(|n| *n >= 0).ok_or(NEGATIVE)?;
    let deadline = timeout::milliseconds(ctx.args[3], ctx.now_ms())?;
    if ctx.srv.repl.link.is_on() {
        return Err(CmdError::Msg(
            &"ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas \
              are just local and are not propagated.",
        ));
    }
    if local && !ctx.srv.config.appendonly {
        return Err(CmdError::Msg(&acks::NO_LOG));
    }
    let offset = ctx.srv.clients[ctx.client].woff;
    Ok(wait_for(ctx, AckWait { offset, replicas, disk: Some(local) }, deadline))
}

/// Answers at once what is safe enough already, and a caller that may not wait.
fn wait_for(ctx: &mut Ctx<'_>, w: AckWait, deadline: i64) -> Flow {
    let count = acks::count(ctx.srv, &w);
    if w.is_met(count) || !ctx.may_block() {
        acks::answer(ctx.out, &w, count);
        return Flow::Done;
    }
    ctx.srv.repl.wants_acks = true;
    ctx.block(Wait::Replicas(w), &[], deadline)
}
