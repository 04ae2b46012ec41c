//! Ranges of sorted sets: by rank, by score, by member; to be shown, stored, counted or removed.
//!
//! ```text
//! words ──► Query { by, reverse, limit, .. } ──► ranks ──► walk | count | delete
//! ```
//!
//! Whatever a range is by, it becomes a range of ranks, and LIMIT a part of that.

use super::numbers::integer;
use super::zset::{MembersReply, store_result};
use crate::algo::num::parse_f64_bound;
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::skiplist::{LexBound, ScoreRange};
use crate::keyspace::class;
use crate::object::zset::{Rules, Zset};
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};
use std::ops::Range;

pub static ROWS: &[Command] = &[
    Command {
        name: "zcount",
        arity: 4,
        flags: READONLY | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: zcount,
        docs: &docs::ZCOUNT,
        ..ROW
    },
    Command {
        name: "zlexcount",
        arity: 4,
        flags: READONLY | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: zlexcount,
        docs: &docs::ZLEXCOUNT,
        ..ROW
    },
    Command {
        name: "zrange",
        arity: -4,
        flags: READONLY,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: zrange,
        docs: &docs::ZRANGE,
        ..ROW
    },
    Command {
        name: "zrangebylex",
        arity: -4,
        flags: READONLY,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: zrangebylex,
        docs: &docs::ZRANGEBYLEX,
        ..ROW
    },
    Command {
        name: "zrangebyscore",
        arity: -4,
        flags: READONLY,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: zrangebyscore,
        docs: &docs::ZRANGEBYSCORE,
        ..ROW
    },
    Command {
        name: "zrangestore",
        arity: -5,
        flags: WRITE | DENYOOM,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::OW | key::UPDATE, 1), KeySpec::one(key::RO | key::ACCESS, 2)],
        run: zrangestore,
        docs: &docs::ZRANGESTORE,
        ..ROW
    },
    Command {
        name: "zremrangebylex",
        arity: 4,
        flags: WRITE,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RW | key::DELETE, 1)],
        run: zremrangebylex,
        docs: &docs::ZREMRANGEBYLEX,
        ..ROW
    },
    Command {
        name: "zremrangebyrank",
        arity: 4,
        flags: WRITE,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RW | key::DELETE, 1)],
        run: zremrangebyrank,
        docs: &docs::ZREMRANGEBYRANK,
        ..ROW
    },
    Command {
        name: "zremrangebyscore",
        arity: 4,
        flags: WRITE,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RW | key::DELETE, 1)],
        run: zremrangebyscore,
        docs: &docs::ZREMRANGEBYSCORE,
        ..ROW
    },
    Command {
        name: "zrevrange",
        arity: -4,
        flags: READONLY,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: zrevrange,
        docs: &docs::ZREVRANGE,
        ..ROW
    },
    Command {
        name: "zrevrangebylex",
        arity: -4,
        flags: READONLY,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: zrevrangebylex,
        docs: &docs::ZREVRANGEBYLEX,
        ..ROW
    },
    Command {
        name: "zrevrangebyscore",
        arity: -4,
        flags: READONLY,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: zrevrangebyscore,
        docs: &docs::ZREVRANGEBYSCORE,
        ..ROW
    },
];

/// A range whose ends have been parsed.
#[derive(Clone, Copy, Debug)]
enum Ends<'a> {
    Rank(i64, i64),
    Score(ScoreRange),
    Lex(LexBound<'a>, LexBound<'a>),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Rank,
    Score,
    Lex,
}

impl<'a> Ends<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Ends<'a>, CmdError> {
        Ok(match by {
            By::Rank => Ends::Rank(integer(min)?, integer(max)?),
            By::Score => Ends::Score(score_range(min, max)?),
            By::Lex => {
                const INVALID: CmdError = CmdError::Msg(&"ERR min or max not valid string range item");
                let (min, max) = (lex_bound(min), lex_bound(max));
                Ends::Lex(min.ok_or(INVALID)?, max.ok_or(INVALID)?)
            }
        })
    }

    /// The ranks, counted from the end that `reverse` says for ranks, and from the start for everything
    /// else.
    fn ranks(&self, z: &Zset, reverse: bool) -> Range<usize> {
        match self {
            Ends::Rank(start, end) => clip(*start, *end, z.len()),
            Ends::Score(range) => z.score_ranks(range),
            Ends::Lex(min, max) => z.lex_ranks(*min, *max, reverse),
        }
    }
}

/// Two indexes, negative ones from the end, as a range within `len`.
fn clip(start: i64, end: i64, len: usize) -> Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_end = |i: i64| if i < 0 { i.saturating_add(len) } else { i };
    let (start, end) = (from_end(start).max(0), from_end(end));
    if start > end || start >= len {
        return 0..0;
    }
    // Both are between 0 and the length.
    start as usize..end.min(len - 1) as usize + 1
}

/// `1.5`, `(1.5`, `-inf`.
pub(super) fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, CmdError> {
    const INVALID: CmdError = CmdError::Msg(&"ERR min or max is not a float");
    let end = |text: &[u8]| match text {
        [b'(', text @ ..] => Some((parse_f64_bound(text)?, true)),
        text => Some((parse_f64_bound(text)?, false)),
    };
    let ((min, min_open), (max, max_open)) = (end(min).ok_or(INVALID)?, end(max).ok_or(INVALID)?);
    Ok(ScoreRange { min, max, min_open, max_open })
}

/// `[member`, `(member`, `-`, `+`.
fn lex_bound(text: &[u8]) -> Option<LexBound<'_>> {
    match text {
        [b'+'] | [b'+', 0, ..] => Some(LexBound::Max),
        [b'-'] | [b'-', 0, ..] => Some(LexBound::Min),
        [b'(', member @ ..] => Some(LexBound::Open(member)),
        [b'[', member @ ..] => Some(LexBound::Closed(member)),
        _ => None,
    }
}

// ---- ZRANGE and its kin -------------------------------------------------------------------------

/// What a command of the family asks for.
#[derive(Debug)]
struct Query<'a> {
    ends: Ends<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    limit: i64,
}

impl<'a> Query<'a> {
    /// `args` begins with the ends of the range; what the command's name says already cannot be said by
    /// a word.
    fn parse(
        args: &[&'a [u8]],
        by: Option<By>,
        reverse: Option<bool>,
        store: bool,
    ) -> Result<Query<'a>, CmdError> {
        const LIMITED: CmdError = CmdError::Msg(
            &"ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        );
        const SCORELESS: CmdError =
            CmdError::Msg(&"ERR syntax error, WITHSCORES not supported in combination with BYLEX");
        let (may_by, may_reverse) = (by.is_none(), reverse.is_none());
        let (mut by, mut reverse) = (by, reverse.unwrap_or(false));
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        let mut words = args[2..].iter();
        while let Some(word) = words.next() {
            let is = |w: &[u8]| word.eq_ignore_ascii_case(w);
            if !store && is(b"withscores") {
                with_scores = true;
            } else if is(b"limit") && words.len() >= 2 {
                let mut number = || integer(words.next().expect("there are two"));
                (offset, limit) = (number()?, number()?);
            } else if may_reverse && !reverse && is(b"rev") {
                reverse = true;
            } else if may_by && by.is_none() && is(b"bylex") {
                by = Some(By::Lex);
            } else if may_by && by.is_none() && is(b"byscore") {
                by = Some(By::Score);
            } else {
                return Err(CmdError::Syntax);
            }
        }
        let by = by.unwrap_or(By::Rank);
        if limit != -1 && by == By::Rank {
            return Err(LIMITED);
        }
        if with_scores && by == By::Lex {
            return Err(SCORELESS);
        }
        let swapped = reverse && by != By::Rank;
        let (min, max) = if swapped { (args[1], args[0]) } else { (args[0], args[1]) };
        Ok(Query { ends: Ends::parse(by, min, max)?, reverse, with_scores, offset, limit })
    }

    fn ranks(&self, z: &Zset) -> Range<usize> {
        let r = self.ends.ranks(z, self.reverse);
        if let Ends::Rank(..) = self.ends {
            return if self.reverse { z.len() - r.end..z.len() - r.start } else { r };
        }
        let Ok(offset) = usize::try_from(self.offset) else { return 0..0 };
        let skipped = offset.min(r.len());
        let taken = usize::try_from(self.limit).map_or(r.len() - skipped, |l| l.min(r.len() - skipped));
        if self.reverse {
            let end = r.end - skipped;
            end - taken..end
        } else {
            let start = r.start + skipped;
            start..start + taken
        }
    }
}

fn zrange(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    show(ctx, None, None)
}

fn zrevrange(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    show(ctx, Some(By::Rank), Some(true))
}

fn zrangebyscore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    show(ctx, Some(By::Score), Some(false))
}

fn zrevrangebyscore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    show(ctx, Some(By::Score), Some(true))
}

fn zrangebylex(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    show(ctx, Some(By::Lex), Some(false))
}

fn zrevrangebylex(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    show(ctx, Some(By::Lex), Some(true))
}

fn show(ctx: &mut Ctx<'_>, by: Option<By>, reverse: Option<bool>) -> Result<Flow, CmdError> {
    let query = Query::parse(ctx.args.from(2), by, reverse, false)?;
    let Some(f) = ctx.read(1) else {
        ctx.out.array(0);
        return Ok(Flow::Done);
    };
    let z = ctx.srv.ks.value::<Zset>(&f)?;
    let ranks = query.ranks(&z);
    let mut shown = MembersReply::new(ctx.out, query.with_scores);
    shown.head(ranks.len());
    z.walk(ranks, query.reverse, |m, s| shown.put(m, s));
    Ok(Flow::Done)
}

fn zrangestore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let query = Query::parse(ctx.args.from(3), None, None, true)?;
    let mut result = Zset::default();
    if let Some(f) = ctx.read(2) {
        let limits = ctx.srv.ks.policy.limits.zset;
        let z = ctx.srv.ks.value::<Zset>(&f)?;
        let ranks = query.ranks(&z);
        // Only a range by rank knows its length ahead. That can be seen: a result that begins as a listpack
        // and becomes big has lost the signs of its zeros.
        let hint = if let Ends::Rank(..) = query.ends { ranks.len() } else { 0 };
        result = Zset::with_hint(hint, 0, &limits);
        z.walk(ranks, query.reverse, |m, s| {
            m.with_text(|m| result.add(m, s.get(), Rules::default(), &limits));
        });
    }
    store_result(ctx, 1, result, "zrangestore");
    Ok(Flow::Done)
}

// ---- counting and removing ----------------------------------------------------------------------

fn zcount(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    count(ctx, By::Score)
}

fn zlexcount(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    count(ctx, By::Lex)
}

fn count(ctx: &mut Ctx<'_>, by: By) -> Result<Flow, CmdError> {
    let ends = Ends::parse(by, ctx.args[2], ctx.args[3])?;
    let n = match ctx.read(1) {
        Some(f) => ends.ranks(&*ctx.srv.ks.value::<Zset>(&f)?, false).len(),
        None => 0,
    };
    ctx.out.int(n as i64);
    Ok(Flow::Done)
}

fn zremrangebyrank(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    remove(ctx, By::Rank, "zremrangebyrank")
}

fn zremrangebyscore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    remove(ctx, By::Score, "zremrangebyscore")
}

fn zremrangebylex(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    remove(ctx, By::Lex, "zremrangebylex")
}

fn remove(ctx: &mut Ctx<'_>, by: By, name: &'static str) -> Result<Flow, CmdError> {
    let ends = Ends::parse(by, ctx.args[2], ctx.args[3])?;
    let mut removed = 0;
    if let Some(f) = ctx.write(1) {
        let ks = &mut ctx.srv.ks;
        let ranks = ends.ranks(&*ks.value::<Zset>(&f)?, false);
        if !ranks.is_empty() {
            let mut edit = ks.edit(f);
            removed = edit.value::<Zset>()?.delete_ranks(ranks);
            let t = edit.done(removed as u64);
            ks.announce(&t, class::ZSET, name);
        }
    }
    ctx.out.int(removed as i64);
    Ok(Flow::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_clipped() {
        for (start, end, range) in [
            (0, -1, 0..5),
            (-2, -1, 3..5),
            (-100, 1, 0..2),
            (1, 100, 1..5),
            (3, 2, 0..0),
            (5, 9, 0..0),
            (i64::MIN, i64::MAX, 0..5),
            (i64::MIN, i64::MIN, 0..0),
            (0, -6, 0..0),
        ] {
            assert_eq!(clip(start, end, 5), range, "{start} {end}");
        }
        assert_eq!(clip(0, -1, 0), 0..0);
    }

    #[test]
    fn ends_of_ranges_are_parsed() {
        let r = score_range(b"(1.5", b"+inf").map_err(|_| ());
        let want = ScoreRange { min: 1.5, max: f64::INFINITY, min_open: true, max_open: false };
        assert_eq!(r, Ok(want));
        assert!(score_range(b"((1", b"2").is_err() && score_range(b"1", b"nan").is_err());
        assert_eq!(lex_bound(b"[a"), Some(LexBound::Closed(b"a")));
        assert_eq!(lex_bound(b"("), Some(LexBound::Open(b"")));
        assert_eq!(lex_bound(b"+"), Some(LexBound::Max));
        for bad in [&b""[..], b"+x", b"a", b"-inf"] {
            assert_eq!(lex_bound(bad), None);
        }
    }

    #[test]
    fn words_must_fit_the_command() {
        let parse = |line: &str, by, reverse, store| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            Query::parse(&args, by, reverse, store)
                .map(|q| (q.reverse, q.with_scores, q.offset, q.limit))
                .map_err(|e| e.as_str().to_string())
        };
        let ok = parse("1 (2 byscore REV limit 1 2 withscores", None, None, false);
        assert_eq!(ok, Ok((true, true, 1, 2)));
        assert_eq!(parse("0 1 limit 5 -1", None, None, false), Ok((false, false, 5, -1)));
        let syntax = Err("ERR syntax error".to_string());
        for bad in ["0 1 rev rev", "0 1 byscore bylex", "0 1 limit 1", "0 1 x"] {
            assert_eq!(parse(bad, None, None, false), syntax, "{bad}");
        }
        assert_eq!(parse("0 1 withscores", None, None, true), syntax);
        assert_eq!(parse("0 1 byscore", Some(By::Score), Some(false), false), syntax);
        let limited = parse("0 1 limit 0 1", None, None, false);
        assert!(limited.is_err_and(|e| e.contains("LIMIT is only supported")));
    }
}
