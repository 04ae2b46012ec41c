//! Hashes: HSET and its kin, counters in fields, random fields, HSCAN.
//!
//! A field's value is an `Element`: a listpack gives small integers as integers, a table gives bytes.
//! Replies are written straight from either.

use super::numbers::integer;
use super::scan;
use crate::algo::longdouble::LongDouble;
use crate::algo::num::parse_i64;
use crate::algo::rng::Rng;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::listpack::Element;
use crate::keyspace::store::{New, Ttl};
use crate::keyspace::{Found, class};
use crate::object::hash::Hash;
use crate::object::value::Variant;
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};

pub static ROWS: &[Command] = &[
    Command {
        name: "hdel",
        arity: -3,
        flags: WRITE | FAST,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RW | key::DELETE, 1)],
        member_at: 2,
        run: hdel,
        docs: &docs::HDEL,
        ..ROW
    },
    Command {
        name: "hexists",
        arity: 3,
        flags: READONLY | FAST,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RO, 1)],
        member_at: 2,
        run: hexists,
        docs: &docs::HEXISTS,
        ..ROW
    },
    Command {
        name: "hget",
        arity: 3,
        flags: READONLY | FAST,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        member_at: 2,
        run: hget,
        docs: &docs::HGET,
        ..ROW
    },
    Command {
        name: "hgetall",
        arity: 2,
        flags: READONLY,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: hgetall,
        docs: &docs::HGETALL,
        ..ROW
    },
    Command {
        name: "hincrby",
        arity: 4,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::UPDATE, 1)],
        member_at: 2,
        run: hincrby,
        docs: &docs::HINCRBY,
        ..ROW
    },
    Command {
        name: "hincrbyfloat",
        arity: 4,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::UPDATE, 1)],
        member_at: 2,
        run: hincrbyfloat,
        docs: &docs::HINCRBYFLOAT,
        ..ROW
    },
    Command {
        name: "hkeys",
        arity: 2,
        flags: READONLY,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: hkeys,
        docs: &docs::HKEYS,
        ..ROW
    },
    Command {
        name: "hlen",
        arity: 2,
        flags: READONLY | FAST,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RO, 1)],
        run: hlen,
        docs: &docs::HLEN,
        ..ROW
    },
    Command {
        name: "hmget",
        arity: -3,
        flags: READONLY | FAST,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        member_at: 2,
        run: hmget,
        docs: &docs::HMGET,
        ..ROW
    },
    Command {
        name: "hmset",
        arity: -4,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        member_at: 2,
        run: hmset,
        docs: &docs::HMSET,
        ..ROW
    },
    Command {
        name: "hrandfield",
        arity: -2,
        flags: READONLY,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: hrandfield,
        docs: &docs::HRANDFIELD,
        ..ROW
    },
    Command {
        name: "hscan",
        arity: -3,
        flags: READONLY,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: hscan,
        docs: &docs::HSCAN,
        ..ROW
    },
    Command {
        name: "hset",
        arity: -4,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        member_at: 2,
        run: hset,
        docs: &docs::HSET,
        ..ROW
    },
    Command {
        name: "hsetnx",
        arity: 4,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RW | key::INSERT, 1)],
        member_at: 2,
        run: hsetnx,
        docs: &docs::HSETNX,
        ..ROW
    },
    Command {
        name: "hstrlen",
        arity: 3,
        flags: READONLY | FAST,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RO, 1)],
        member_at: 2,
        run: hstrlen,
        docs: &docs::HSTRLEN,
        ..ROW
    },
    Command {
        name: "hvals",
        arity: 2,
        flags: READONLY,
        acl: cat::HASH,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: hvals,
        docs: &docs::HVALS,
        ..ROW
    },
];

/// Random numbers for one command: a generator apart from the keyspace, which is borrowed meanwhile.
pub fn chance(ctx: &mut Ctx<'_>) -> Rng {
    Rng::seeded(ctx.srv.ks.rng.next_u64())
}

// ---- writing ---------------------------------------------------------------------------------------

/// Changes the hash of a key, which is made if it is not there, and records `dirty` changes under
/// `event`.
fn change<'a>(
    ctx: &mut Ctx<'a>,
    found: Option<Found<'a>>,
    dirty: u64,
    event: &'static str,
    with: impl FnOnce(&mut Hash),
) -> Result<(), CmdError> {
    let ks = &mut ctx.srv.ks;
    let t = match found {
        Some(f) => {
            let mut edit = ks.edit(f);
            with(edit.value::<Hash>()?);
            edit.done(dirty)
        }
        None => {
            let mut h = Hash::default();
            with(&mut h);
            debug_assert!(h.len() > 0, "an empty hash does not stay");
            let key = ctx.args.key(1);
            let t = ks.put(ctx.db, key, New::Value(h.wrap()), Ttl::Clear, None);
            ks.dirty += dirty;
            ks.signal_modified(ctx.db, key.bytes);
            t
        }
    };
    ctx.announce(&t, class::HASH, event);
    Ok(())
}

/// Stores fields and values; returns how many fields are new.
fn store(ctx: &mut Ctx<'_>) -> Result<i64, CmdError> {
    let words = ctx.args.from(2);
    if !words.len().is_multiple_of(2) {
        return Err(CmdError::arity(ctx.name()));
    }
    let found = ctx.write(1);
    let limits = ctx.srv.ks.policy.limits.hash;
    let mut created = 0;
    change(ctx, found, words.len() as u64 / 2, "hset", |h| {
        h.prepare(words, &limits);
        for pair in words.chunks_exact(2) {
            created += i64::from(h.set(pair[0], pair[1], &limits));
        }
    })?;
    Ok(created)
}

fn hset(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let created = store(ctx)?;
    ctx.out.int(created);
    Ok(Flow::Done)
}

fn hmset(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    store(ctx)?;
    ctx.out.ok();
    Ok(Flow::Done)
}

fn hsetnx(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let words = ctx.args.from(2);
    let found = ctx.write(1);
    if let Some(f) = &found
        && ctx.srv.ks.value::<Hash>(f)?.contains(words[0])
    {
        ctx.out.int(0);
        return Ok(Flow::Done);
    }
    let limits = ctx.srv.ks.policy.limits.hash;
    change(ctx, found, 1, "hset", |h| {
        h.prepare(words, &limits);
        h.set(words[0], words[1], &limits);
    })?;
    ctx.out.int(1);
    Ok(Flow::Done)
}

fn hincrby(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (field, by) = (ctx.args[2], integer(ctx.args[3])?);
    let found = ctx.write(1);
    let mut old = 0;
    if let Some(f) = &found {
        old = match ctx.srv.ks.value::<Hash>(f)?.get(field) {
            None => 0,
            Some(Element::Int(n)) => n,
            Some(Element::Str(s)) => {
                parse_i64(s).ok_or(CmdError::Msg(&"ERR hash value is not an integer"))?
            }
        };
    }
    let new = old.checked_add(by).ok_or(CmdError::Msg(&"ERR increment or decrement would overflow"))?;
    let limits = ctx.srv.ks.policy.limits.hash;
    change(ctx, found, 1, "hincrby", |h| {
        h.set(field, itoa::Buffer::new().format(new).as_bytes(), &limits);
    })?;
    ctx.out.int(new);
    Ok(Flow::Done)
}

fn hincrbyfloat(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let (field, by) = (ctx.args[2], LongDouble::parse(ctx.args[3]).ok_or(CmdError::NotFloat)?);
    if !by.is_finite() {
        return Err(CmdError::Msg(&"ERR value is NaN or Infinity"));
    }
    let found = ctx.write(1);
    let mut old = LongDouble::ZERO;
    if let Some(f) = &found {
        old = match ctx.srv.ks.value::<Hash>(f)?.get(field) {
            None => LongDouble::ZERO,
            Some(Element::Int(n)) => LongDouble::from_i64(n),
            Some(Element::Str(s)) => {
                LongDouble::parse(s).ok_or(CmdError::Msg(&"ERR hash value is not a float"))?
            }
        };
    }
    let sum = old + by;
    if !sum.is_finite() {
        return Err(CmdError::Msg(&"ERR increment would produce NaN or Infinity"));
    }
    let mut text = Vec::new();
    sum.push_human(&mut text);
    let limits = ctx.srv.ks.policy.limits.hash;
    change(ctx, found, 1, "hincrbyfloat", |h| {
        h.set(field, &text, &limits);
    })?;
    ctx.out.bulk(&text);
    if ctx.srv.ks.policy.ops {
        // The sum is propagated, not the addition: a replay with other arithmetic must not differ.
        ctx.instead(&[b"HSET", ctx.args[1], field, &text]);
    }
    Ok(Flow::Done)
}

fn hdel(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(f) = ctx.write(1) else {
        ctx.out.int(0);
        return Ok(Flow::Done);
    };
    let mut edit = ctx.srv.ks.edit(f);
    let h = edit.value::<Hash>()?;
    let mut deleted = 0;
    for field in ctx.args.from(2) {
        deleted += u64::from(h.remove(field));
        if h.len() == 0 {
            break;
        }
    }
    if deleted == 0 {
        edit.unchanged();
    } else {
        let t = edit.done(deleted);
        ctx.announce(&t, class::HASH, "hdel");
    }
    ctx.out.int(deleted as i64);
    Ok(Flow::Done)
}

// ---- reading ---------------------------------------------------------------------------------------

/// Looks the key up for reading; a table under rehash goes one step on.
fn read<'a>(ctx: &mut Ctx<'a>) -> Result<Option<Found<'a>>, CmdError> {
    let Some(f) = ctx.read(1) else { return Ok(None) };
    ctx.srv.ks.rehash_value::<Hash>(f, 1)?;
    Ok(Some(f))
}

fn hget(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    match read(ctx)? {
        None => ctx.out.null(),
        Some(f) => match ctx.srv.ks.value::<Hash>(&f)?.get(ctx.args[2]) {
            None => ctx.out.null(),
            Some(v) => ctx.out.element(v),
        },
    }
    Ok(Flow::Done)
}

fn hmget(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let found = read(ctx)?;
    let fields = ctx.args.from(2);
    ctx.out.array(fields.len());
    let Some(f) = found else {
        fields.iter().for_each(|_| ctx.out.null());
        return Ok(Flow::Done);
    };
    let h = ctx.srv.ks.value::<Hash>(&f)?;
    for field in fields {
        match h.get(field) {
            None => ctx.out.null(),
            Some(v) => ctx.out.element(v),
        }
    }
    Ok(Flow::Done)
}

fn hlen(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let len = match ctx.read(1) {
        None => 0,
        Some(f) => ctx.srv.ks.value::<Hash>(&f)?.len(),
    };
    ctx.out.int(len as i64);
    Ok(Flow::Done)
}

fn hstrlen(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let len = match read(ctx)? {
        None => 0,
        Some(f) => {
            let h = ctx.srv.ks.value::<Hash>(&f)?;
            h.get(ctx.args[2]).map_or(0, |v| v.with_text(<[u8]>::len))
        }
    };
    ctx.out.int(len as i64);
    Ok(Flow::Done)
}

fn hexists(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let held = match read(ctx)? {
        None => false,
        Some(f) => ctx.srv.ks.value::<Hash>(&f)?.contains(ctx.args[2]),
    };
    ctx.out.int(i64::from(held));
    Ok(Flow::Done)
}

fn hkeys(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(f) = ctx.read(1) else {
        ctx.out.array(0);
        return Ok(Flow::Done);
    };
    let h = ctx.srv.ks.value::<Hash>(&f)?;
    ctx.out.array(h.len());
    h.for_each(|field, _| ctx.out.element(field));
    Ok(Flow::Done)
}

fn hvals(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(f) = ctx.read(1) else {
        ctx.out.array(0);
        return Ok(Flow::Done);
    };
    let h = ctx.srv.ks.value::<Hash>(&f)?;
    ctx.out.array(h.len());
    h.for_each(|_, value| ctx.out.element(value));
    Ok(Flow::Done)
}

fn hgetall(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(f) = ctx.read(1) else {
        ctx.out.map(0);
        return Ok(Flow::Done);
    };
    let h = ctx.srv.ks.value::<Hash>(&f)?;
    ctx.out.map(h.len());
    h.show(ctx.out);
    Ok(Flow::Done)
}

// ---- by chance -------------------------------------------------------------------------------------

/// A count of random elements; below zero they may repeat.
pub fn random_count(arg: &[u8]) -> Result<i64, CmdError> {
    match integer(arg)? {
        i64::MIN => Err(CmdError::text(format!(
            "ERR value is out of range, value must between {} and {}",
            -i64::MAX,
            i64::MAX
        ))),
        n => Ok(n),
    }
}

fn hrandfield(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    if ctx.args.len() > 2 {
        return random_fields(ctx);
    }
    let Some(f) = read(ctx)? else {
        ctx.out.null();
        return Ok(Flow::Done);
    };
    let mut rng = chance(ctx);
    let h = ctx.srv.ks.value::<Hash>(&f)?;
    let (field, _) = h.random(&mut rng).expect("an empty hash does not stay");
    ctx.out.element(field);
    Ok(Flow::Done)
}

fn random_fields(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let count = random_count(ctx.args[2])?;
    let values = match ctx.args.from(3) {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withvalues") => true,
        _ => return Err(CmdError::Syntax),
    };
    if values && !(-i64::MAX / 2..=i64::MAX / 2).contains(&count) {
        return Err(CmdError::Msg(&"ERR value is out of range"));
    }
    let found = read(ctx)?;
    let Some(f) = found.filter(|_| count != 0) else {
        ctx.out.array(0);
        return Ok(Flow::Done);
    };
    let mut rng = chance(ctx);
    let h = ctx.srv.ks.value::<Hash>(&f)?;
    let out = &mut *ctx.out;
    let pairs = values && out.resp3;
    let n = if count < 0 { count.unsigned_abs() } else { (count as u64).min(h.len() as u64) };
    out.array(if values && !pairs { n as usize * 2 } else { n as usize });
    let mut reply = |field: Element<'_>, value: Element<'_>| {
        if pairs {
            out.array(2);
        }
        out.element(field);
        if values {
            out.element(value);
        }
        !out.over
    };
    if count < 0 || count == 1 {
        h.pick(n, &mut rng, reply);
    } else {
        h.sample(n as usize, &mut rng, |field, value| {
            reply(field, value);
        });
    }
    Ok(Flow::Done)
}

// ---- scanning --------------------------------------------------------------------------------------

fn hscan(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let cursor = scan::cursor(ctx.args[2])?;
    let Some(f) = ctx.read(1) else {
        scan::empty(ctx.out);
        return Ok(Flow::Done);
    };
    let h = ctx.srv.ks.value::<Hash>(&f)?;
    let options = scan::ScanOptions::parse(ctx.args.from(3), false)?;
    match &*h {
        Hash::Table(t) => scan::table(ctx.out, cursor, &options, t, true),
        Hash::Packed(l) => {
            let wanted = |field: &Element<'_>| field.with_text(|f| options.matches(f));
            ctx.out.array(2);
            ctx.out.bulk(b"0");
            ctx.out.array(2 * l.pairs().filter(|(f, _)| wanted(f)).count());
            for (field, value) in l.pairs().filter(|(f, _)| wanted(f)) {
                ctx.out.element(field);
                ctx.out.element(value);
            }
        }
    }
    Ok(Flow::Done)
}
