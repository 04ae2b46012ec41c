//! OBJECT: what lies behind a key.

use super::help;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::entry::{EntryRef, enc, ty};
use crate::keyspace::{Found, mode};
use crate::object::value::encoding_name;
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::Server;
use crate::server::ctx::{Command, Ctx, ROW, container};

pub static ROWS: &[Command] = &[Command {
    name: "object",
    arity: -2,
    run: container,
    docs: &docs::OBJECT,
    subs: &[
        Command {
            name: "encoding",
            arity: 3,
            flags: READONLY,
            acl: cat::KEYSPACE,
            keys: &[KeySpec::one(key::RO, 2)],
            run: object_encoding,
            docs: &docs::OBJECT_ENCODING,
            ..ROW
        },
        Command {
            name: "freq",
            arity: 3,
            flags: READONLY,
            acl: cat::KEYSPACE,
            keys: &[KeySpec::one(key::RO, 2)],
            run: object_freq,
            docs: &docs::OBJECT_FREQ,
            ..ROW
        },
        Command {
            name: "help",
            arity: 2,
            flags: LOADING | STALE,
            acl: cat::KEYSPACE,
            run: object_help,
            docs: &docs::OBJECT_HELP,
            ..ROW
        },
        Command {
            name: "idletime",
            arity: 3,
            flags: READONLY,
            acl: cat::KEYSPACE,
            keys: &[KeySpec::one(key::RO, 2)],
            run: object_idletime,
            docs: &docs::OBJECT_IDLETIME,
            ..ROW
        },
        Command {
            name: "refcount",
            arity: 3,
            flags: READONLY,
            acl: cat::KEYSPACE,
            keys: &[KeySpec::one(key::RO, 2)],
            run: object_refcount,
            docs: &docs::OBJECT_REFCOUNT,
            ..ROW
        },
    ],
    ..ROW
}];

/// Looks the key of a subcommand up without leaving a trace in its LRU.
pub fn lookup<'a>(ctx: &mut Ctx<'a>, at: usize) -> Option<Found<'a>> {
    let key = ctx.key(at);
    ctx.srv.ks.admit(ctx.db, key, mode::NOTOUCH | mode::NONOTIFY)
}

/// Replies what `show` makes of the entry, or null.
fn about(
    ctx: &mut Ctx<'_>,
    show: fn(&Server, &mut Reply, EntryRef<'_>) -> Result<(), CmdError>,
) -> Result<Flow, CmdError> {
    match lookup(ctx, 2) {
        Some(f) => show(ctx.srv, ctx.out, ctx.srv.ks.at(&f))?,
        None => ctx.out.null(),
    }
    Ok(Flow::Done)
}

fn object_encoding(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    about(ctx, |_, out, e| {
        out.bulk(encoding_name(e.ty(), e.enc()).as_bytes());
        Ok(())
    })
}

fn object_refcount(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    about(ctx, |srv, out, e| {
        out.int(refcount(srv, e));
        Ok(())
    })
}

/// How many own the value. Small integers count as shared by all, unless the eviction policy needs an
/// LRU of each key's own (OBJ_SHARED_INTEGERS, OBJ_SHARED_REFCOUNT).
pub fn refcount(srv: &Server, e: EntryRef<'_>) -> i64 {
    const SHARED: std::ops::Range<i64> = 0..10_000;
    let shares = srv.config.maxmemory == 0 || !srv.config.maxmemory_policy.needs_own_lru();
    let small = e.ty() == ty::STRING && e.enc() == enc::INT && SHARED.contains(&(e.word() as i64));
    if small && shares { i64::from(i32::MAX) } else { 1 }
}

fn object_idletime(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    about(ctx, |srv, out, e| {
        if srv.config.maxmemory_policy.is_lfu() {
            return Err(CmdError::Msg(
                &"ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when \
                  switching between policies at runtime LRU and LFU data will take some time to adjust.",
            ));
        }
        out.int((srv.ks.idle_ms(e) / 1000) as i64);
        Ok(())
    })
}

fn object_freq(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    about(ctx, |srv, out, e| {
        if !srv.config.maxmemory_policy.is_lfu() {
            return Err(CmdError::Msg(
                &"ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note \
                  that when switching between policies at runtime LRU and LFU data will take some time \
                  to adjust.",
            ));
        }
        out.int(i64::from(srv.ks.lfu_counter(e)));
        Ok(())
    })
}

fn object_help(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    help::reply(
        ctx,
        &[
            "ENCODING <key>",
            "    Tell how the value of <key> is represented in memory.",
            "FREQ <key>",
            "    Tell the access counter of <key>, which grows with the logarithm of how",
            "    often the key is used.",
            "IDLETIME <key>",
            "    Tell for how many seconds, more or less, <key> has not been used.",
            "REFCOUNT <key>",
            "    Tell how many references there are to the value of <key>.",
        ],
    )
}
