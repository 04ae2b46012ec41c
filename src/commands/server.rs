//! Commands about the server.

use super::docs;
use super::row::flag::*;
use super::row::{Command, Flow, ROW, cat};
use crate::proto::error::CmdError;
use crate::server::ctx::Ctx;

pub static ROWS: &[Command] = &[Command {
    name: "info",
    arity: -1,
    flags: LOADING | STALE,
    acl: cat::DANGEROUS,
    run: info,
    docs: &docs::INFO,
    ..ROW
}];

fn info(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let text = crate::server::info::text(ctx.srv);
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(Flow::Done)
}
