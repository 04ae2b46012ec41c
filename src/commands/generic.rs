//! Commands that work on keys of any type.

use super::docs;
use super::row::flag::*;
use super::row::{Command, Flow, KeySpec, ROW, cat, key};
use crate::keyspace::class;
use crate::proto::error::CmdError;
use crate::server::ctx::Ctx;

pub static ROWS: &[Command] = &[Command {
    name: "del",
    arity: -2,
    flags: WRITE,
    acl: cat::KEYSPACE,
    keys: &[KeySpec::range(key::RM | key::DELETE, 1, -1, 1)],
    run: del,
    docs: &docs::DEL,
    ..ROW
}];

fn del(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let mut removed = 0;
    for i in 1..ctx.args.len() {
        let Some(f) = ctx.write(i) else { continue };
        let t = ctx.srv.ks.remove(f, false);
        ctx.announce(&t, class::GENERIC, "del");
        removed += 1;
    }
    ctx.srv.ks.dirty += removed;
    ctx.out.int(removed as i64);
    Ok(Flow::Done)
}
