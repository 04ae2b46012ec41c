//! Strings.

use super::docs;
use super::row::flag::*;
use super::row::{Command, Flow, KeySpec, ROW, cat, key};
use crate::algo::num::parse_i64;
use crate::keyspace::class;
use crate::keyspace::store::{New, Ttl};
use crate::object::value::StrRef;
use crate::proto::args::Key;
use crate::proto::error::CmdError;
use crate::server::ctx::Ctx;

pub static ROWS: &[Command] = &[
    Command {
        name: "get",
        arity: 2,
        flags: READONLY | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: get,
        docs: &docs::GET,
        ..ROW
    },
    Command {
        name: "set",
        arity: -3,
        flags: WRITE | DENYOOM,
        acl: cat::STRING,
        keys: &[KeySpec::one(
            key::RW | key::ACCESS | key::UPDATE | key::INSERT | key::VARIABLE_FLAGS,
            1,
        )],
        run: set,
        docs: &docs::SET,
        ..ROW
    },
    Command {
        name: "incr",
        arity: 2,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::UPDATE, 1)],
        run: incr,
        docs: &docs::INCR,
        ..ROW
    },
    Command {
        name: "mset",
        arity: -3,
        flags: WRITE | DENYOOM,
        acl: cat::STRING,
        keys: &[KeySpec::range(key::OW | key::UPDATE, 1, -1, 2)],
        run: mset,
        docs: &docs::MSET,
        ..ROW
    },
];

fn get(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    match ctx.read(1) {
        None => ctx.out.null(),
        Some(f) => match ctx.srv.ks.string(&f)? {
            StrRef::Bytes(b) => ctx.out.bulk(b),
            StrRef::Int(n) => ctx.out.bulk_int(n),
        },
    }
    Ok(Flow::Done)
}

fn set(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.args.len() == 3 {
        let (key, value) = (ctx.key(1), ctx.args[2]);
        let found = ctx.srv.ks.write(ctx.db, key);
        let t = ctx.srv.ks.set(ctx.db, key, New::Bytes(value), Ttl::Clear, found);
        ctx.announce(&t, class::STRING, "set");
        ctx.out.ok();
        return Ok(Flow::Done);
    }
    Err(CmdError::Syntax)
}

fn incr(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let key = ctx.key(1);
    let found = ctx.srv.ks.write(ctx.db, key);
    let old = match &found {
        None => 0,
        Some(f) => match ctx.srv.ks.string(f)? {
            StrRef::Int(n) => n,
            StrRef::Bytes(b) => parse_i64(b).ok_or(CmdError::NotInteger)?,
        },
    };
    let new = old.checked_add(1).ok_or(CmdError::Msg(&"ERR increment or decrement would overflow"))?;
    let t = ctx.srv.ks.set(ctx.db, key, New::Int(new), Ttl::Keep, found);
    ctx.announce(&t, class::STRING, "incrby");
    ctx.out.int(new);
    Ok(Flow::Done)
}

/// Keys whose buckets and entries are fetched together.
const GROUP: usize = 16;

fn mset(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let pairs = ctx.args.from(1);
    if !pairs.len().is_multiple_of(2) {
        return Err(CmdError::arity("mset"));
    }
    for group in pairs.chunks(2 * GROUP) {
        let keys: [Option<Key>; GROUP] = std::array::from_fn(|i| group.get(2 * i).map(|k| Key::new(k)));
        let table = ctx.srv.ks.db(ctx.db).dict.keys();
        keys.iter().flatten().for_each(|k| table.prefetch_bucket(k.hash));
        keys.iter().flatten().for_each(|k| table.prefetch_elem(k.hash));
        for (key, pair) in keys.iter().flatten().zip(group.chunks(2)) {
            let found = ctx.srv.ks.write(ctx.db, *key);
            let t = ctx.srv.ks.set(ctx.db, *key, New::Bytes(pair[1]), Ttl::Clear, found);
            ctx.announce(&t, class::STRING, "set");
        }
    }
    ctx.out.ok();
    Ok(Flow::Done)
}
