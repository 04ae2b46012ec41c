//! Commands about the server: INFO, TIME, ROLE.

use super::docs;
use super::row::flag::*;
use super::row::{Command, Flow, ROW, cat};
use crate::proto::error::CmdError;
use crate::server::ctx::Ctx;

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
        name: "role",
        arity: 1,
        flags: NOSCRIPT | LOADING | STALE | FAST | SENTINEL,
        acl: cat::ADMIN | cat::DANGEROUS,
        run: role,
        docs: &docs::ROLE,
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
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}

/// Of a master: its offset in the stream, and its replicas.
fn role(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.array(3);
    ctx.out.bulk(b"master");
    ctx.out.int(0);
    ctx.out.array(0);
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
