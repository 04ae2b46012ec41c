//! SLOWLOG.

use super::help;
use crate::algo::num::parse_i64;
use crate::cmd::docs;
use crate::cmd::row::Flow;
use crate::cmd::row::flag::*;
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[Command {
    name: "slowlog",
    arity: -2,
    docs: &docs::SLOWLOG,
    subs: &[
        Command {
            name: "get",
            arity: -2,
            flags: ADMIN | LOADING | STALE,
            run: get,
            docs: &docs::SLOWLOG_GET,
            ..ROW
        },
        Command {
            name: "help",
            arity: 2,
            flags: LOADING | STALE,
            run: help_,
            docs: &docs::SLOWLOG_HELP,
            ..ROW
        },
        Command {
            name: "len",
            arity: 2,
            flags: ADMIN | LOADING | STALE,
            run: len,
            docs: &docs::SLOWLOG_LEN,
            ..ROW
        },
        Command {
            name: "reset",
            arity: 2,
            flags: ADMIN | LOADING | STALE,
            run: reset,
            docs: &docs::SLOWLOG_RESET,
            ..ROW
        },
    ],
    ..ROW
}];

/// Entries of a GET that does not say how many.
const DEFAULT_COUNT: usize = 10;

fn get(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let count = match ctx.args.from(2) {
        [] => DEFAULT_COUNT,
        [text] => match parse_i64(text).filter(|n| *n >= -1) {
            Some(-1) => usize::MAX,
            Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
            None => return Err(CmdError::Msg(&"ERR count should be greater than or equal to -1")),
        },
        _ => return Err(help::unknown_subcommand(ctx)),
    };
    let log = &ctx.srv.slowlog;
    ctx.out.array(count.min(log.len()));
    for e in log.iter().take(count) {
        ctx.out.array(6);
        ctx.out.int(e.id as i64);
        ctx.out.int(e.time);
        ctx.out.int(e.micros as i64);
        ctx.out.array(e.args.len());
        e.args.iter().for_each(|a| ctx.out.bulk(a));
        ctx.out.bulk(e.peer.as_bytes());
        ctx.out.bulk(&e.client_name);
    }
    Ok(Flow::Done)
}

fn len(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.int(ctx.srv.slowlog.len() as i64);
    Ok(Flow::Done)
}

fn reset(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.srv.slowlog.clear();
    ctx.out.ok();
    Ok(Flow::Done)
}

fn help_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let lines = [
        "GET [<count>]",
        "    Return the newest <count> entries (10 by default, -1 for all). An entry holds its id, unix \
         time,",
        "    microseconds, the arguments, and the client's address and name.",
        "LEN",
        "    Return how many entries there are.",
        "RESET",
        "    Forget all entries.",
    ];
    help::reply(ctx, &lines)
}
