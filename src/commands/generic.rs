//! Commands that work on keys of any type.
//!
//! A key that moves (RENAME, MOVE) keeps its value and its expiry; to watchers, trackers and
//! blocked clients it is a deletion here and a new key there.

use super::databases::checked;
use super::numbers::int32;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::keyspace::store::{New, Ttl};
use crate::keyspace::{GROUP, class, mode};
use crate::object::value::{Value, type_name};
use crate::proto::args::Key;
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "copy",
        arity: -3,
        flags: WRITE | DENYOOM,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1), KeySpec::one(key::OW | key::UPDATE, 2)],
        run: copy,
        docs: &docs::COPY,
        ..ROW
    },
    Command {
        name: "del",
        arity: -2,
        flags: WRITE,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::range(key::RM | key::DELETE, 1, -1, 1)],
        run: del,
        docs: &docs::DEL,
        ..ROW
    },
    Command {
        name: "exists",
        arity: -2,
        flags: READONLY | FAST,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::range(key::RO, 1, -1, 1)],
        run: exists,
        docs: &docs::EXISTS,
        ..ROW
    },
    Command {
        name: "move",
        arity: 3,
        flags: WRITE | FAST,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::UPDATE, 1)],
        run: move_,
        docs: &docs::MOVE,
        ..ROW
    },
    Command {
        name: "rename",
        arity: 3,
        flags: WRITE,
        acl: cat::KEYSPACE,
        keys: &[
            KeySpec::one(key::RW | key::ACCESS | key::DELETE, 1),
            KeySpec::one(key::OW | key::UPDATE, 2),
        ],
        run: rename,
        docs: &docs::RENAME,
        ..ROW
    },
    Command {
        name: "renamenx",
        arity: 3,
        flags: WRITE | FAST,
        acl: cat::KEYSPACE,
        keys: &[
            KeySpec::one(key::RW | key::ACCESS | key::DELETE, 1),
            KeySpec::one(key::OW | key::INSERT, 2),
        ],
        run: renamenx,
        docs: &docs::RENAMENX,
        ..ROW
    },
    Command {
        name: "touch",
        arity: -2,
        flags: READONLY | FAST | TOUCHES,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::range(key::RO, 1, -1, 1)],
        run: touch,
        docs: &docs::TOUCH,
        ..ROW
    },
    Command {
        name: "type",
        arity: 2,
        flags: READONLY | FAST,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::one(key::RO, 1)],
        run: type_,
        docs: &docs::TYPE,
        ..ROW
    },
    Command {
        name: "unlink",
        arity: -2,
        flags: WRITE | FAST,
        acl: cat::KEYSPACE,
        keys: &[KeySpec::range(key::RM | key::DELETE, 1, -1, 1)],
        run: unlink,
        docs: &docs::UNLINK,
        ..ROW
    },
];

const SAME_OBJECT: CmdError = CmdError::Msg(&"ERR source and destination objects are the same");

fn del(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let lazy = ctx.srv.config.lazyfree_lazy_user_del;
    delete(ctx, lazy)
}

fn unlink(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    delete(ctx, true)
}

fn delete(ctx: &mut Ctx<'_>, lazy: bool) -> Result<Flow, CmdError> {
    let mut removed = 0;
    for group in ctx.args.from(1).chunks(GROUP) {
        let mut keys = [Key { bytes: b"", hash: 0 }; GROUP];
        let keys = &mut keys[..group.len()];
        keys.iter_mut().zip(group).for_each(|(k, arg)| *k = Key::new(arg));
        if keys.len() > 1 {
            ctx.srv.ks.fetch_ahead(ctx.db, keys);
        }
        for key in keys.iter() {
            let ks = &mut ctx.srv.ks;
            let Some(t) = ks.delete(ctx.db, *key, lazy) else { continue };
            ctx.announce(&t, class::GENERIC, "del");
            ctx.srv.ks.dirty += 1;
            removed += 1;
        }
    }
    ctx.out.int(removed);
    Ok(Flow::Done)
}

fn count(ctx: &mut Ctx<'_>, how: u8) -> Result<Flow, CmdError> {
    let there = (1..ctx.args.len())
        .filter(|i| {
            let key = ctx.key(*i);
            ctx.srv.ks.admit(ctx.db, key, how).is_some()
        })
        .count();
    ctx.out.int(there as i64);
    Ok(Flow::Done)
}

fn exists(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    count(ctx, mode::NOTOUCH)
}

fn touch(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    count(ctx, mode::READ)
}

fn type_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let key = ctx.key(1);
    let found = ctx.srv.ks.admit(ctx.db, key, mode::NOTOUCH);
    ctx.out.status(found.map_or("none", |f| type_name(ctx.srv.ks.at(&f).ty())));
    Ok(Flow::Done)
}

fn rename(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    rename_to(ctx, false)
}

fn renamenx(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    rename_to(ctx, true)
}

fn rename_to(ctx: &mut Ctx<'_>, nx: bool) -> Result<Flow, CmdError> {
    let (from, to) = (ctx.key(1), ctx.key(2));
    if ctx.write(1).is_none() {
        return Err(CmdError::NoSuchKey);
    }
    if from.bytes == to.bytes {
        if nx {
            ctx.out.int(0)
        } else {
            ctx.out.ok()
        }
        return Ok(Flow::Done);
    }
    let ks = &mut ctx.srv.ks;
    if let Some(old) = ks.write(ctx.db, to) {
        if nx {
            ctx.out.int(0);
            return Ok(Flow::Done);
        }
        let lazy = ks.policy.lazy_server_del;
        ks.remove_silently(old, lazy);
    }
    let found = ks.find_as_is(ctx.db, from).expect("the source was looked up above");
    ks.relocate(found, ctx.db, to);
    ks.event(ctx.db, from.bytes, class::GENERIC, "rename_from");
    ks.event(ctx.db, to.bytes, class::GENERIC, "rename_to");
    ks.dirty += 1;
    if nx {
        ctx.out.int(1)
    } else {
        ctx.out.ok()
    }
    Ok(Flow::Done)
}

fn move_(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.srv.config.cluster_enabled {
        return Err(CmdError::Msg(&"ERR MOVE is not allowed in cluster mode"));
    }
    let (from, key) = (ctx.db, ctx.key(1));
    let to = checked(ctx, int32(ctx.args[2])?)?;
    if from == to {
        return Err(SAME_OBJECT);
    }
    let ks = &mut ctx.srv.ks;
    if ks.write(from, key).is_none() || ks.write(to, key).is_some() {
        ctx.out.int(0);
        return Ok(Flow::Done);
    }
    let found = ks.find_as_is(from, key).expect("looked up above");
    ks.relocate(found, to, key);
    ks.event(from, key.bytes, class::GENERIC, "move_from");
    ks.event(to, key.bytes, class::GENERIC, "move_to");
    ks.dirty += 1;
    ctx.out.int(1);
    Ok(Flow::Done)
}

/// The options of COPY: the database it goes to, and whether a key there is replaced.
fn copy_options(ctx: &Ctx<'_>) -> Result<(usize, bool), CmdError> {
    let (mut to, mut replace) = (ctx.db, false);
    let mut options = ctx.args.from(3).iter();
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"replace") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"db") {
            let n = options.next().ok_or(CmdError::Syntax)?;
            to = checked(ctx, int32(n)?)?;
        } else {
            return Err(CmdError::Syntax);
        }
    }
    Ok((to, replace))
}

fn copy(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (to_db, replace) = copy_options(ctx)?;
    if ctx.srv.config.cluster_enabled && (ctx.db != 0 || to_db != 0) {
        let why = "ERR Copying to another database is not allowed in cluster mode";
        return Err(CmdError::text(why));
    }
    let (from, to) = (ctx.key(1), ctx.key(2));
    if ctx.db == to_db && from.bytes == to.bytes {
        return Err(SAME_OBJECT);
    }
    let Some(source) = ctx.read(1) else {
        ctx.out.int(0);
        return Ok(Flow::Done);
    };
    let ks = &mut ctx.srv.ks;
    let old = ks.write(to_db, to);
    if old.is_some() && !replace {
        ctx.out.int(0);
        return Ok(Flow::Done);
    }
    let e = ks.at(&source);
    let (value, when) = (Value::duplicate(e), e.when());
    if let Some(old) = old {
        let lazy = ks.policy.lazy_server_del;
        ks.remove_silently(old, lazy);
    }
    let t = ks.set(to_db, to, New::Value(value), when.map_or(Ttl::Clear, Ttl::At), None);
    ctx.announce(&t, class::GENERIC, "copy_to");
    ctx.out.int(1);
    Ok(Flow::Done)
}
