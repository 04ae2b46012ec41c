//! MEMORY: what keys and the whole server occupy.
//!
//! MEMORY USAGE adds up what the allocator really gave: the entry (header, TTL, key and a short value in one block),
//! its places in the tables, and what the value holds on its own. Elements of big values are sampled.

use super::docs;
use super::help;
use super::numbers::integer;
use super::row::flag::*;
use super::row::{Command, Flow, KeySpec, ROW, container, key};
use crate::ds::entry::Entry;
use crate::object::value::{SAMPLES, Value};
use crate::proto::error::CmdError;
use crate::server::ctx::Ctx;
use crate::sys::alloc;

pub static ROWS: &[Command] = &[Command {
    name: "memory",
    arity: -2,
    run: container,
    docs: &docs::MEMORY,
    subs: &[
        Command {
            name: "help",
            arity: 2,
            flags: LOADING | STALE,
            run: memory_help,
            docs: &docs::MEMORY_HELP,
            ..ROW
        },
        Command {
            name: "malloc-stats",
            arity: 2,
            run: memory_malloc_stats,
            docs: &docs::MEMORY_MALLOC_STATS,
            ..ROW
        },
        Command { name: "purge", arity: 2, run: memory_purge, docs: &docs::MEMORY_PURGE, ..ROW },
        Command {
            name: "usage",
            arity: -3,
            flags: READONLY,
            keys: &[KeySpec::one(key::RO, 2)],
            run: memory_usage,
            docs: &docs::MEMORY_USAGE,
            ..ROW
        },
    ],
    ..ROW
}];

fn memory_help(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    help::reply(
        ctx,
        &[
            "DOCTOR",
            "    Tell what is wrong with the memory, if anything is.",
            "MALLOC-STATS",
            "    Show the allocator's own report.",
            "PURGE",
            "    Ask the allocator to give unused pages back.",
            "STATS",
            "    Show what the memory is used for.",
            "USAGE <key> [SAMPLES <count>]",
            "    Tell how many bytes <key> and its value occupy. Of big values only <count>",
            "    elements are looked at (default: 5, 0 means all).",
        ],
    )
}

/// A place in a bucket of 64 bytes, which holds eight on average when the table is full.
const PLACE: usize = 8;

/// Bytes that a key occupies, with about `samples` elements of its value measured (0: all).
pub fn usage(e: &Entry, samples: usize) -> usize {
    let places = if e.when().is_some() { 2 * PLACE } else { PLACE };
    let value = if e.is_inline() { 0 } else { Value::held_by(e, samples) };
    e.footprint() + places + value
}

fn memory_usage(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let mut samples = SAMPLES;
    let mut options = ctx.args.from(3).iter();
    while let Some(option) = options.next() {
        let n = options.next().filter(|_| option.eq_ignore_ascii_case(b"samples"));
        samples = usize::try_from(integer(n.ok_or(CmdError::Syntax)?)?).map_err(|_| CmdError::Syntax)?;
    }
    match ctx.srv.ks.peek(ctx.db, ctx.key(2)) {
        Some(e) => ctx.out.int(usage(&e, samples) as i64),
        None => ctx.out.null(),
    }
    Ok(Flow::Done)
}

fn memory_malloc_stats(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    ctx.out.verbatim("txt", &alloc::malloc_stats());
    Ok(Flow::Done)
}

fn memory_purge(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if !alloc::purge() {
        return Err(CmdError::Msg(&"ERR Error purging dirty pages"));
    }
    ctx.out.ok();
    Ok(Flow::Done)
}
