//! Popping from sorted sets, at once or when there is something to pop.
//!
//! The first of the keys that exists is popped from. Blocking commands leave as ZPOPMIN or ZPOPMAX of
//! that key, so that a replay never blocks.

use super::numbers::positive;
use super::timeout;
use super::zset::{reply_member, reply_score};
use crate::algo::num::parse_i64;
use crate::blocked::Wait;
use crate::cmd::docs;
use crate::cmd::keys;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::entry::ty;
use crate::keyspace::{Found, class};
use crate::object::zset::Zset;
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};
use std::ops::Range;

pub static ROWS: &[Command] = &[
    Command {
        name: "bzmpop",
        arity: -5,
        flags: WRITE | BLOCKING,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::keynum(key::RW | key::ACCESS | key::DELETE, 2)],
        run: bzmpop,
        getkeys: Some(keys::numkeys_second),
        docs: &docs::BZMPOP,
        ..ROW
    },
    Command {
        name: "bzpopmax",
        arity: -3,
        flags: WRITE | BLOCKING | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::range(key::RW | key::ACCESS | key::DELETE, 1, -2, 1)],
        run: bzpopmax,
        docs: &docs::BZPOPMAX,
        ..ROW
    },
    Command {
        name: "bzpopmin",
        arity: -3,
        flags: WRITE | BLOCKING | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::range(key::RW | key::ACCESS | key::DELETE, 1, -2, 1)],
        run: bzpopmin,
        docs: &docs::BZPOPMIN,
        ..ROW
    },
    Command {
        name: "zmpop",
        arity: -4,
        flags: WRITE,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::keynum(key::RW | key::ACCESS | key::DELETE, 1)],
        run: zmpop,
        getkeys: Some(keys::numkeys_first),
        docs: &docs::ZMPOP,
        ..ROW
    },
    Command {
        name: "zpopmax",
        arity: -2,
        flags: WRITE | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::DELETE, 1)],
        run: zpopmax,
        docs: &docs::ZPOPMAX,
        ..ROW
    },
    Command {
        name: "zpopmin",
        arity: -2,
        flags: WRITE | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::DELETE, 1)],
        run: zpopmin,
        docs: &docs::ZPOPMIN,
        ..ROW
    },
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Min,
    Max,
}

impl End {
    fn of(word: &[u8]) -> Result<End, CmdError> {
        match () {
            () if word.eq_ignore_ascii_case(b"min") => Ok(End::Min),
            () if word.eq_ignore_ascii_case(b"max") => Ok(End::Max),
            () => Err(CmdError::Syntax),
        }
    }
    fn event(self) -> &'static str {
        if self == End::Min { "zpopmin" } else { "zpopmax" }
    }
    fn command(self) -> &'static [u8] {
        if self == End::Min { b"ZPOPMIN" } else { b"ZPOPMAX" }
    }
}

/// What a pop replies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    /// Member, score, member, score.
    Flat,
    /// Each pair an array.
    Pairs,
    /// The key, member, score.
    KeyFlat,
    /// The key, and the array of pairs.
    KeyPairs,
}

/// Pops up to `count` members; returns how many.
fn pop(
    ctx: &mut Ctx<'_>,
    found: Found<'_>,
    end: End,
    count: usize,
    shape: Shape,
) -> Result<usize, CmdError> {
    let mut edit = ctx.srv.ks.edit(found);
    let z = edit.value::<Zset>()?;
    let n = count.min(z.len());
    let out = &mut *ctx.out;
    match shape {
        Shape::Flat => out.array(2 * n),
        Shape::Pairs => out.array(n),
        Shape::KeyFlat => {
            out.array(2 * n + 1);
            out.bulk(found.key.bytes);
        }
        Shape::KeyPairs => {
            out.array(2);
            out.bulk(found.key.bytes);
            out.array(n);
        }
    }
    let nested = matches!(shape, Shape::Pairs | Shape::KeyPairs);
    let ranks = if end == End::Min { 0..n } else { z.len() - n..z.len() };
    z.walk(ranks.clone(), end == End::Max, |member, score| {
        if nested {
            out.array(2);
        }
        reply_member(out, member);
        reply_score(out, score.get());
    });
    z.delete_ranks(ranks);
    let t = edit.done(n as u64);
    ctx.announce(&t, class::ZSET, end.event());
    Ok(n)
}

/// The first of the keys at these arguments that exists; it must be a sorted set.
fn first<'a>(ctx: &mut Ctx<'a>, keys: Range<usize>) -> Result<Option<Found<'a>>, CmdError> {
    for i in keys {
        if let Some(f) = ctx.write(i) {
            ctx.srv.ks.value::<Zset>(&f)?;
            return Ok(Some(f));
        }
    }
    Ok(None)
}

fn zpopmin(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    pop_one_key(ctx, End::Min)
}

fn zpopmax(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    pop_one_key(ctx, End::Max)
}

fn pop_one_key(ctx: &mut Ctx<'_>, end: End) -> Result<Flow, CmdError> {
    let count = match ctx.args.from(2) {
        [] => None,
        [count] => Some(usize::try_from(positive(count)?).unwrap_or(usize::MAX)),
        _ => return Err(CmdError::Syntax),
    };
    match first(ctx, 1..2)? {
        Some(f) if count != Some(0) => {
            let shape = if count.is_some() && ctx.out.resp3 { Shape::Pairs } else { Shape::Flat };
            pop(ctx, f, end, count.unwrap_or(1), shape)?;
        }
        _ => ctx.out.array(0),
    }
    Ok(Flow::Done)
}

fn bzpopmin(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    pop_or_wait(ctx, End::Min)
}

fn bzpopmax(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    pop_or_wait(ctx, End::Max)
}

fn pop_or_wait(ctx: &mut Ctx<'_>, end: End) -> Result<Flow, CmdError> {
    let last = ctx.args.len() - 1;
    let until = timeout::seconds(ctx.args[last], ctx.now_ms())?;
    let Some(f) = first(ctx, 1..last)? else { return wait(ctx, 1..last, until) };
    pop(ctx, f, end, 1, Shape::KeyFlat)?;
    ctx.instead(&[end.command(), f.key.bytes]);
    Ok(Flow::Done)
}

/// Waits for one of the keys at these arguments, where that is allowed.
fn wait(ctx: &mut Ctx<'_>, keys: Range<usize>, until: i64) -> Result<Flow, CmdError> {
    if !ctx.may_block() {
        ctx.out.null_array();
        return Ok(Flow::Done);
    }
    let keys = &ctx.args.slice()[keys];
    Ok(ctx.block(Wait::Key { ty: ty::ZSET, any_change: false }, keys, until))
}

/// The arguments of ZMPOP from the count of keys on.
#[derive(Debug)]
struct Many {
    keys: Range<usize>,
    end: End,
    count: usize,
}

impl Many {
    fn parse(args: &[&[u8]], at: usize) -> Result<Many, CmdError> {
        const KEYS: CmdError = CmdError::Msg(&"ERR numkeys should be greater than 0");
        const COUNT: CmdError = CmdError::Msg(&"ERR count should be greater than 0");
        let some = |arg: &[u8]| parse_i64(arg).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        let keys = some(args[at]).ok_or(KEYS)?;
        let which = keys.saturating_add(at + 1);
        let end = End::of(args.get(which).ok_or(CmdError::Syntax)?)?;
        let count = match &args[which + 1..] {
            [] => 1,
            [word, rest @ ..] if word.eq_ignore_ascii_case(b"count") && !rest.is_empty() => {
                let count = some(rest[0]).ok_or(COUNT)?;
                if rest.len() > 1 {
                    return Err(CmdError::Syntax);
                }
                count
            }
            _ => return Err(CmdError::Syntax),
        };
        Ok(Many { keys: at + 1..which, end, count })
    }

    fn pop(&self, ctx: &mut Ctx<'_>, f: Found<'_>) -> Result<(), CmdError> {
        let n = pop(ctx, f, self.end, self.count, Shape::KeyPairs)?;
        let mut room = itoa::Buffer::new();
        ctx.instead(&[self.end.command(), f.key.bytes, room.format(n).as_bytes()]);
        Ok(())
    }
}

fn zmpop(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let many = Many::parse(&ctx.args, 1)?;
    match first(ctx, many.keys.clone())? {
        Some(f) => many.pop(ctx, f)?,
        None => ctx.out.null_array(),
    }
    Ok(Flow::Done)
}

fn bzmpop(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let many = Many::parse(&ctx.args, 2)?;
    let until = timeout::seconds(ctx.args[1], ctx.now_ms())?;
    match first(ctx, many.keys.clone())? {
        Some(f) => many.pop(ctx, f)?,
        None => return wait(ctx, many.keys, until),
    }
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_of_zmpop_are_checked_in_their_order() {
        let parse = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            Many::parse(&args, 1)
                .map(|m| (m.keys, m.end, m.count))
                .map_err(|e| e.as_str().split(' ').nth(1).unwrap_or("").to_string())
        };
        assert_eq!(parse("zmpop 2 a b MAX count 3"), Ok((2..4, End::Max, 3)));
        assert_eq!(parse("zmpop 1 a min"), Ok((2..3, End::Min, 1)));
        for (line, why) in [
            ("zmpop 0 a min", "numkeys"),
            ("zmpop x a min", "numkeys"),
            ("zmpop 9223372036854775807 a min", "syntax"),
            ("zmpop 2 a min", "syntax"),
            ("zmpop 1 a mid", "syntax"),
            ("zmpop 1 a min count", "syntax"),
            ("zmpop 1 a min count 0", "count"),
            ("zmpop 1 a min count 1 count 2", "syntax"),
        ] {
            assert_eq!(parse(line), Err(why.into()), "{line}");
        }
    }
}
