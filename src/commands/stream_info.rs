//! XINFO: streams, groups and consumers as figures.

use super::help;
use super::numbers::integer;
use super::stream::{reply_entries, reply_entry};
use super::stream_group::no_such_group;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::object::stream::Stream;
use crate::object::stream::entries::Log;
use crate::object::stream::group::{Consumer, Group, UNKNOWN};
use crate::object::stream::id::Id;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, ROW, container};

pub static ROWS: &[Command] = &[Command {
    name: "xinfo",
    arity: -2,
    run: container,
    docs: &docs::XINFO,
    subs: &[
        Command {
            name: "consumers",
            arity: 4,
            flags: READONLY,
            acl: cat::STREAM,
            keys: &[KeySpec::one(key::RO | key::ACCESS, 2)],
            run: xinfo_consumers,
            docs: &docs::XINFO_CONSUMERS,
            ..ROW
        },
        Command {
            name: "groups",
            arity: 3,
            flags: READONLY,
            acl: cat::STREAM,
            keys: &[KeySpec::one(key::RO | key::ACCESS, 2)],
            run: xinfo_groups,
            docs: &docs::XINFO_GROUPS,
            ..ROW
        },
        Command {
            name: "help",
            arity: 2,
            flags: LOADING | STALE,
            acl: cat::STREAM,
            run: xinfo_help,
            docs: &docs::XINFO_HELP,
            ..ROW
        },
        Command {
            name: "stream",
            arity: -3,
            flags: READONLY,
            acl: cat::STREAM,
            keys: &[KeySpec::one(key::RO | key::ACCESS, 2)],
            run: xinfo_stream,
            docs: &docs::XINFO_STREAM,
            ..ROW
        },
    ],
    ..ROW
}];

/// Entries, and what is pending, that FULL shows without COUNT.
const FULL_COUNT: usize = 10;

fn xinfo_help(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    help::reply(
        ctx,
        &[
            "CONSUMERS <key> <groupname>",
            "    The consumers of a group.",
            "GROUPS <key>",
            "    The groups of a stream.",
            "STREAM <key> [FULL [COUNT <count>]",
            "    The stream itself; with FULL also its entries and groups.",
        ],
    )
}

fn field_int(out: &mut Reply, name: &str, n: i64) {
    out.bulk(name.as_bytes());
    out.int(n);
}

fn field_id(out: &mut Reply, name: &str, id: Id) {
    out.bulk(name.as_bytes());
    out.bulk(&id.text());
}

fn field_or_null(out: &mut Reply, name: &str, n: Option<i64>) {
    out.bulk(name.as_bytes());
    match n {
        Some(n) => out.int(n),
        None => out.null(),
    }
}

fn xinfo_consumers(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let now = ctx.now_ms();
    let found = ctx.read(2).ok_or(CmdError::NoSuchKey)?;
    let s = ctx.srv.ks.value::<Stream>(&found)?;
    let Some(group) = s.groups.get(ctx.args[3]) else {
        return Err(no_such_group(ctx, ctx.args[3], ctx.args[2]));
    };
    let out = &mut *ctx.out;
    out.array(group.consumer_count());
    group.for_each_consumer(|c| {
        let inactive = if c.active_at == -1 { -1 } else { now.wrapping_sub(c.active_at) };
        out.map(4);
        out.bulk(b"name");
        out.bulk(&c.name);
        field_int(out, "pending", c.pending_len() as i64);
        field_int(out, "idle", now.wrapping_sub(c.seen_at).max(0));
        field_int(out, "inactive", inactive);
    });
    Ok(Flow::Done)
}

fn xinfo_groups(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let found = ctx.read(2).ok_or(CmdError::NoSuchKey)?;
    let s = ctx.srv.ks.value::<Stream>(&found)?;
    let out = &mut *ctx.out;
    out.array(s.groups.len());
    s.groups.for_each(|name, g| {
        out.map(6);
        out.bulk(b"name");
        out.bulk(name);
        field_int(out, "consumers", g.consumer_count() as i64);
        field_int(out, "pending", g.pending_len() as i64);
        progress(out, &s.log, g);
    });
    Ok(Flow::Done)
}

/// How far a group has come.
fn progress(out: &mut Reply, log: &Log, g: &Group) {
    field_id(out, "last-delivered-id", g.last_id);
    field_or_null(out, "entries-read", Some(g.entries_read).filter(|n| *n != UNKNOWN));
    field_or_null(out, "lag", log.lag(g));
}

fn xinfo_stream(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let found = ctx.read(2).ok_or(CmdError::NoSuchKey)?;
    ctx.srv.ks.value::<Stream>(&found)?;
    let full = match ctx.args.from(3) {
        [] => None,
        [word] if word.eq_ignore_ascii_case(b"full") => Some(FULL_COUNT),
        [word, count, n]
            if word.eq_ignore_ascii_case(b"full") && count.eq_ignore_ascii_case(b"count") =>
        {
            Some(usize::try_from(integer(n)?).unwrap_or(FULL_COUNT))
        }
        _ => return Err(help::unknown_subcommand(ctx)),
    };
    let s = ctx.srv.ks.value::<Stream>(&found)?;
    let (out, log) = (&mut *ctx.out, &s.log);
    out.map(if full.is_some() { 9 } else { 10 });
    let (blocks, nodes) = log.tree_figures();
    field_int(out, "length", log.length.cast_signed());
    field_int(out, "radix-tree-keys", blocks as i64);
    field_int(out, "radix-tree-nodes", nodes as i64);
    field_id(out, "last-generated-id", log.last_id);
    field_id(out, "max-deleted-entry-id", log.max_deleted);
    field_int(out, "entries-added", log.entries_added.cast_signed());
    field_id(out, "recorded-first-entry-id", log.first_id);
    match full {
        None => {
            field_int(out, "groups", s.groups.len() as i64);
            for (name, entry) in [
                ("first-entry", log.range(Id::MIN, Id::MAX).next()),
                ("last-entry", log.range_back(Id::MIN, Id::MAX).next()),
            ] {
                out.bulk(name.as_bytes());
                match entry {
                    Some(entry) => reply_entry(out, &entry),
                    None => out.null(),
                }
            }
        }
        Some(count) => {
            out.bulk(b"entries");
            reply_entries(out, log.range(Id::MIN, Id::MAX), count);
            out.bulk(b"groups");
            out.array(s.groups.len());
            s.groups.for_each(|name, g| full_group(out, log, name, g, count));
        }
    }
    Ok(Flow::Done)
}

fn full_group(out: &mut Reply, log: &Log, name: &[u8], g: &Group, count: usize) {
    out.map(7);
    out.bulk(b"name");
    out.bulk(name);
    progress(out, log, g);
    field_int(out, "pel-count", g.pending_len() as i64);
    out.bulk(b"pending");
    let shown = |len: usize| if count == 0 { len } else { len.min(count) };
    let mut left = shown(g.pending_len());
    out.array(left);
    g.for_each_pending(Id::MIN, |id, p| {
        if left == 0 {
            return false;
        }
        left -= 1;
        out.array(4);
        out.bulk(&id.text());
        out.bulk(&g.consumer(p.owner).name);
        out.int(p.delivered_at);
        out.int(p.deliveries.cast_signed());
        true
    });
    out.bulk(b"consumers");
    out.array(g.consumer_count());
    g.for_each_consumer(|c| full_consumer(out, g, c, shown(c.pending_len())));
}

/// A consumer with the first `left` of what is pending with it.
fn full_consumer(out: &mut Reply, g: &Group, c: &Consumer, mut left: usize) {
    out.map(5);
    out.bulk(b"name");
    out.bulk(&c.name);
    field_int(out, "seen-time", c.seen_at);
    field_int(out, "active-time", c.active_at);
    field_int(out, "pel-count", c.pending_len() as i64);
    out.bulk(b"pending");
    out.array(left);
    c.for_each_pending(|id| {
        if left == 0 {
            return false;
        }
        left -= 1;
        let p = g.pending(id).expect("its consumer has it");
        out.array(3);
        out.bulk(&id.text());
        out.int(p.delivered_at);
        out.int(p.deliveries.cast_signed());
        true
    });
}
