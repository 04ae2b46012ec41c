//! Databases as a whole: which one a client works on, how many keys it has, emptying and swapping them.

use super::numbers::int32;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, cat};
use crate::proto::error::CmdError;
use crate::replication::ops::to;
use crate::server::ctx::{Command, Ctx, Propagation, ROW};
use crate::server::{jobs, settle};

pub static ROWS: &[Command] = &[
    Command {
        name: "select",
        arity: 2,
        flags: LOADING | STALE | FAST,
        acl: cat::CONNECTION,
        run: select,
        docs: &docs::SELECT,
        ..ROW
    },
    Command {
        name: "dbsize",
        arity: 1,
        flags: READONLY | FAST,
        acl: cat::KEYSPACE,
        run: dbsize,
        docs: &docs::DBSIZE,
        ..ROW
    },
    Command {
        name: "flushall",
        arity: -1,
        flags: WRITE,
        acl: cat::KEYSPACE | cat::DANGEROUS,
        run: flushall,
        docs: &docs::FLUSHALL,
        ..ROW
    },
    Command {
        name: "flushdb",
        arity: -1,
        flags: WRITE,
        acl: cat::KEYSPACE | cat::DANGEROUS,
        run: flushdb,
        docs: &docs::FLUSHDB,
        ..ROW
    },
    Command {
        name: "swapdb",
        arity: 3,
        flags: WRITE | FAST,
        acl: cat::KEYSPACE | cat::DANGEROUS,
        run: swapdb,
        docs: &docs::SWAPDB,
        ..ROW
    },
];

/// The database of that number.
pub fn checked(ctx: &Ctx<'_>, n: i32) -> Result<usize, CmdError> {
    usize::try_from(n)
        .ok()
        .filter(|n| *n < ctx.srv.ks.databases())
        .ok_or(CmdError::Msg(&"ERR DB index is out of range"))
}

fn select(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let n = int32(ctx.args[1])?;
    if ctx.srv.config.cluster_enabled && n != 0 {
        return Err(CmdError::Msg(&"ERR SELECT is not allowed in cluster mode"));
    }
    let db = checked(ctx, n)?;
    ctx.db = db;
    ctx.srv.clients[ctx.client].db = db as u32;
    ctx.out.ok();
    Ok(Flow::Done)
}

fn dbsize(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let n = ctx.srv.ks.db(ctx.db).len();
    ctx.out.int(n as i64);
    Ok(Flow::Done)
}

/// SYNC or ASYNC. Either way a thread frees; ASYNC is counted as lazily freed, SYNC gives memory back
/// to the system.
fn flush_mode(ctx: &Ctx<'_>) -> Result<bool, CmdError> {
    match ctx.args.slice() {
        [_] => Ok(ctx.srv.config.lazyfree_lazy_user_flush),
        [_, how] if how.eq_ignore_ascii_case(b"sync") => Ok(false),
        [_, how] if how.eq_ignore_ascii_case(b"async") => Ok(true),
        _ => Err(CmdError::Syntax),
    }
}

fn flush(ctx: &mut Ctx<'_>, db: Option<usize>) -> Result<Flow, CmdError> {
    let lazy = flush_mode(ctx)?;
    settle::before_flush(ctx.srv, db, lazy);
    let removed = ctx.srv.ks.flush(db, lazy);
    ctx.srv.ks.dirty += removed as u64;
    if !lazy && !ctx.srv.ks.junk.is_empty() {
        ctx.srv.lazyfree.purge_after_next();
    }
    // Replicas and the AOF hear of it even when there was nothing to remove.
    ctx.prop = Propagation::Force(to::ALL);
    ctx.out.ok();
    Ok(Flow::Done)
}

fn flushdb(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    flush(ctx, Some(ctx.db))
}

fn flushall(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let flow = flush(ctx, None)?;
    // No snapshot of what is gone: neither the one that is being written, nor the last one.
    jobs::kill_child(ctx.srv);
    if !ctx.srv.config.save.is_empty() {
        // A failure has been logged and stands in INFO; the data are gone all the same.
        let _ = jobs::save_now(ctx.srv);
    }
    Ok(flow)
}

fn swapdb(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.srv.config.cluster_enabled {
        return Err(CmdError::Msg(&"ERR SWAPDB is not allowed in cluster mode"));
    }
    let a = int32(ctx.args[1]).map_err(|_| CmdError::Msg(&"ERR invalid first DB index"))?;
    let b = int32(ctx.args[2]).map_err(|_| CmdError::Msg(&"ERR invalid second DB index"))?;
    let (a, b) = (checked(ctx, a)?, checked(ctx, b)?);
    if a != b {
        settle::before_swap(ctx.srv, a, b);
        ctx.srv.ks.swap(a, b);
    }
    ctx.srv.ks.dirty += 1;
    ctx.out.ok();
    Ok(Flow::Done)
}
