//! Commands about the connection itself.

use super::docs;
use super::row::flag::*;
use super::row::{Command, Flow, ROW, cat};
use crate::proto::error::CmdError;
use crate::server::ctx::Ctx;

pub static ROWS: &[Command] = &[Command {
    name: "ping",
    arity: -1,
    flags: FAST,
    acl: cat::CONNECTION,
    run: ping,
    docs: &docs::PING,
    ..ROW
}];

fn ping(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    match ctx.args.len() {
        1 => ctx.out.status("PONG"),
        2 => ctx.out.bulk(ctx.args[1]),
        _ => return Err(CmdError::arity("ping")),
    }
    Ok(Flow::Done)
}
