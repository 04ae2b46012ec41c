//! Strings that are numbers: INCR and its kin.
//!
//! Integers have 64 bits and never wrap: what would overflow is refused. Floats are added as 80-bit long
//! doubles (`algo::longdouble`), and what leaves to the AOF and the replicas is the sum, so that a
//! replay with other arithmetic cannot differ.

use super::numbers::integer;
use crate::algo::longdouble::LongDouble;
use crate::algo::num::parse_i64;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::entry::enc;
use crate::keyspace::class;
use crate::keyspace::store::{New, Ttl};
use crate::object::value::{EMBSTR_MAX, StrRef};
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "decr",
        arity: 2,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::UPDATE, 1)],
        run: decr,
        docs: &docs::DECR,
        ..ROW
    },
    Command {
        name: "decrby",
        arity: 3,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::UPDATE, 1)],
        run: decrby,
        docs: &docs::DECRBY,
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
        name: "incrby",
        arity: 3,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::UPDATE, 1)],
        run: incrby,
        docs: &docs::INCRBY,
        ..ROW
    },
    Command {
        name: "incrbyfloat",
        arity: 3,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::STRING,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::UPDATE, 1)],
        run: incrbyfloat,
        docs: &docs::INCRBYFLOAT,
        ..ROW
    },
];

fn incr(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    add(ctx, 1)
}

fn decr(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    add(ctx, -1)
}

fn incrby(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let by = integer(ctx.args[2])?;
    add(ctx, by)
}

fn decrby(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let by = integer(ctx.args[2])?.checked_neg();
    add(ctx, by.ok_or(CmdError::Msg(&"ERR decrement would overflow"))?)
}

fn add(ctx: &mut Ctx<'_>, by: i64) -> Result<Flow, CmdError> {
    let key = ctx.key(1);
    let found = ctx.srv.ks.write(ctx.db, key);
    let old = match &found {
        None => 0,
        Some(f) => match ctx.srv.ks.string(f)? {
            StrRef::Int(n) => n,
            StrRef::Bytes(b) => parse_i64(b).ok_or(CmdError::NotInteger)?,
        },
    };
    let new = old.checked_add(by).ok_or(CmdError::Msg(&"ERR increment or decrement would overflow"))?;
    let t = ctx.srv.ks.set(ctx.db, key, New::Int(new), Ttl::Keep, found);
    ctx.announce(&t, class::STRING, "incrby");
    ctx.out.int(new);
    Ok(Flow::Done)
}

fn incrbyfloat(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let key = ctx.key(1);
    let found = ctx.srv.ks.write(ctx.db, key);
    let old = match &found {
        None => LongDouble::ZERO,
        Some(f) => match ctx.srv.ks.string(f)? {
            StrRef::Int(n) => LongDouble::from_i64(n),
            StrRef::Bytes(b) => LongDouble::parse(b).ok_or(CmdError::NotFloat)?,
        },
    };
    let by = LongDouble::parse(ctx.args[2]).ok_or(CmdError::NotFloat)?;
    let sum = old + by;
    if !sum.is_finite() {
        return Err(CmdError::Msg(&"ERR increment would produce NaN or Infinity"));
    }
    let mut text = Vec::new();
    sum.push_human(&mut text);
    let encoding = if text.len() <= EMBSTR_MAX { enc::EMBSTR } else { enc::RAW };
    let t = ctx.srv.ks.set(ctx.db, key, New::Named(encoding, &text), Ttl::Keep, found);
    ctx.announce(&t, class::STRING, "incrbyfloat");
    ctx.out.bulk(&text);
    if ctx.srv.ks.policy.ops {
        ctx.instead(&[b"SET", key.bytes, &text, b"KEEPTTL"]);
    }
    Ok(Flow::Done)
}
