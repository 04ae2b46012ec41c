//! Sorted sets, member by member: adding, removing, asking, sampling, scanning.
//!
//! Ranges, pops and set operations have files of their own; what they share stands at the end of this
//! one.
//!
//! A missing key is an empty set everywhere, and an empty set leaves the keyspace (the guard sees to
//! it). Scores are parsed before the key is looked up, so that a command is either carried out whole or
//! not at all.

use super::numbers::integer;
use super::scan::{ScanOptions, cursor};
use crate::algo::num::{F64Text, parse_f64, push_f64_17g};
use crate::cmd::docs;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::listpack::Element;
use crate::keyspace::{
    class,
    store::{New, Ttl},
};
use crate::object::value::Variant;
use crate::object::zset::{Rules, Score, ZaddOutcome, Zset};
use crate::proto::error::CmdError;
use crate::proto::reply::Reply;
use crate::server::ctx::{Command, Ctx, ROW};
use std::collections::HashSet;

pub static ROWS: &[Command] = &[
    Command {
        name: "zadd",
        arity: -4,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RW | key::UPDATE, 1)],
        member_at: 3,
        run: zadd,
        docs: &docs::ZADD,
        ..ROW
    },
    Command {
        name: "zcard",
        arity: 2,
        flags: READONLY | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO, 1)],
        run: zcard,
        docs: &docs::ZCARD,
        ..ROW
    },
    Command {
        name: "zincrby",
        arity: 4,
        flags: WRITE | DENYOOM | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RW | key::ACCESS | key::UPDATE, 1)],
        member_at: 3,
        run: zincrby,
        docs: &docs::ZINCRBY,
        ..ROW
    },
    Command {
        name: "zmscore",
        arity: -3,
        flags: READONLY | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        member_at: 2,
        run: zmscore,
        docs: &docs::ZMSCORE,
        ..ROW
    },
    Command {
        name: "zrandmember",
        arity: -2,
        flags: READONLY,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: zrandmember,
        docs: &docs::ZRANDMEMBER,
        ..ROW
    },
    Command {
        name: "zrank",
        arity: -3,
        flags: READONLY | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        member_at: 2,
        run: zrank,
        docs: &docs::ZRANK,
        ..ROW
    },
    Command {
        name: "zrem",
        arity: -3,
        flags: WRITE | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RW | key::DELETE, 1)],
        member_at: 2,
        run: zrem,
        docs: &docs::ZREM,
        ..ROW
    },
    Command {
        name: "zrevrank",
        arity: -3,
        flags: READONLY | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        member_at: 2,
        run: zrevrank,
        docs: &docs::ZREVRANK,
        ..ROW
    },
    Command {
        name: "zscan",
        arity: -3,
        flags: READONLY,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        run: zscan,
        docs: &docs::ZSCAN,
        ..ROW
    },
    Command {
        name: "zscore",
        arity: 3,
        flags: READONLY | FAST,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::RO | key::ACCESS, 1)],
        member_at: 2,
        run: zscore,
        docs: &docs::ZSCORE,
        ..ROW
    },
];

fn zadd(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    add(ctx, Rules::default())
}

fn zincrby(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    add(ctx, Rules { incr: true, ..Rules::default() })
}

/// The options of ZADD: rules, CH, and where the first score stands.
fn options(args: &[&[u8]], mut rules: Rules) -> Result<(Rules, bool, usize), CmdError> {
    const EXISTENCE: CmdError =
        CmdError::Msg(&"ERR XX and NX options at the same time are not compatible");
    const COMPARISON: CmdError =
        CmdError::Msg(&"ERR GT, LT, and/or NX options at the same time are not compatible");
    const ONE_PAIR: CmdError =
        CmdError::Msg(&"ERR INCR option supports a single increment-element pair");
    let (mut changed, mut at) = (false, 2);
    for word in &args[2..] {
        let is = |w: &[u8]| word.eq_ignore_ascii_case(w);
        match () {
            () if is(b"nx") => rules.nx = true,
            () if is(b"xx") => rules.xx = true,
            () if is(b"ch") => changed = true,
            () if is(b"incr") => rules.incr = true,
            () if is(b"gt") => rules.gt = true,
            () if is(b"lt") => rules.lt = true,
            () => break,
        }
        at += 1;
    }
    let rest = args.len() - at;
    if rest == 0 || !rest.is_multiple_of(2) {
        return Err(CmdError::Syntax);
    }
    if rules.nx && rules.xx {
        return Err(EXISTENCE);
    }
    if (rules.gt && rules.nx) || (rules.lt && rules.nx) || (rules.gt && rules.lt) {
        return Err(COMPARISON);
    }
    if rules.incr && rest > 2 {
        return Err(ONE_PAIR);
    }
    Ok((rules, changed, at))
}

/// What a ZADD did.
#[derive(Default, Debug)]
pub(super) struct Tally {
    pub added: u64,
    pub updated: u64,
    /// The score of the last member, unless the rules spared it.
    last: Option<f64>,
}

impl Tally {
    fn note(&mut self, outcome: ZaddOutcome) -> Result<(), CmdError> {
        self.last = match outcome {
            ZaddOutcome::Added(s) => {
                self.added += 1;
                Some(s)
            }
            ZaddOutcome::Updated(s) => {
                self.updated += 1;
                Some(s)
            }
            ZaddOutcome::Same(s) => Some(s),
            ZaddOutcome::Nothing => None,
            ZaddOutcome::Nan => return Err(CmdError::Msg(&"ERR resulting score is not a number (NaN)")),
        };
        Ok(())
    }
}

fn add(ctx: &mut Ctx<'_>, rules: Rules) -> Result<Flow, CmdError> {
    let (rules, changed, first) = options(&ctx.args, rules)?;
    let pairs = &ctx.args.slice()[first..];
    let tally = match pairs {
        // One member is the common case: its score needs no vector.
        [score, member] => {
            let score = parse_f64(score).ok_or(CmdError::NotFloat)?;
            add_all(ctx, rules, std::iter::once((score, *member)), member.len())?
        }
        _ => {
            let scores: Option<Vec<f64>> = pairs.iter().step_by(2).map(|s| parse_f64(s)).collect();
            let scores = scores.ok_or(CmdError::NotFloat)?;
            let members = pairs.iter().skip(1).step_by(2).copied();
            add_all(ctx, rules, scores.into_iter().zip(members), pairs[1].len())?
        }
    };
    match tally.last {
        _ if !rules.incr => {
            let n = if changed { tally.added + tally.updated } else { tally.added };
            ctx.out.int(n as i64);
        }
        Some(score) => reply_score(ctx.out, score),
        None => ctx.out.null(),
    }
    Ok(Flow::Done)
}

/// Adds scores and members; the first member has `first_len` bytes.
pub(super) fn add_all<'a>(
    ctx: &mut Ctx<'a>,
    rules: Rules,
    mut pairs: impl ExactSizeIterator<Item = (f64, &'a [u8])>,
    first_len: usize,
) -> Result<Tally, CmdError> {
    let (key, n) = (ctx.key(1), pairs.len());
    let name = if rules.incr { "zincr" } else { "zadd" };
    let ks = &mut ctx.srv.ks;
    let limits = ks.policy.limits.zset;
    let mut tally = Tally::default();
    let Some(found) = ks.write(ctx.db, key) else {
        if !rules.xx {
            let mut z = Zset::with_hint(n, first_len, &limits);
            pairs.try_for_each(|(s, m)| tally.note(z.add(m, s, rules, &limits)))?;
            let t = ks.put(ctx.db, key, New::Value(z.wrap()), Ttl::Clear, None);
            ks.dirty += tally.added + tally.updated;
            ks.signal_modified(ctx.db, key.bytes);
            ks.announce(&t, class::ZSET, name);
        }
        return Ok(tally);
    };
    let mut edit = ks.edit(found);
    let z = edit.value::<Zset>()?;
    z.expect(n, &limits);
    let failed = pairs.try_for_each(|(s, m)| tally.note(z.add(m, s, rules, &limits)));
    if tally.added + tally.updated > 0 {
        let t = edit.done(tally.added + tally.updated);
        ks.announce(&t, class::ZSET, name);
    } else {
        edit.unchanged();
    }
    failed.map(|()| tally)
}

fn zrem(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(found) = ctx.write(1) else {
        ctx.out.int(0);
        return Ok(Flow::Done);
    };
    let mut edit = ctx.srv.ks.edit(found);
    let z = edit.value::<Zset>()?;
    let mut removed = 0;
    for member in ctx.args.from(2) {
        removed += u64::from(z.remove(member));
        if z.len() == 0 {
            break;
        }
    }
    if removed > 0 {
        let t = edit.done(removed);
        ctx.announce(&t, class::ZSET, "zrem");
    } else {
        edit.unchanged();
    }
    ctx.out.int(removed as i64);
    Ok(Flow::Done)
}

fn zcard(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let len = match ctx.read(1) {
        Some(f) => ctx.srv.ks.value::<Zset>(&f)?.len(),
        None => 0,
    };
    ctx.out.int(len as i64);
    Ok(Flow::Done)
}

fn zscore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let score = match ctx.read(1) {
        Some(f) => ctx.srv.ks.value::<Zset>(&f)?.score(ctx.args[2]),
        None => None,
    };
    reply_maybe(ctx.out, score);
    Ok(Flow::Done)
}

fn zmscore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let found = ctx.read(1);
    let z = match &found {
        Some(f) => Some(ctx.srv.ks.value::<Zset>(f)?),
        None => None,
    };
    let members = ctx.args.from(2);
    ctx.out.array(members.len());
    for member in members {
        reply_maybe(ctx.out, z.as_ref().and_then(|z| z.score(member)));
    }
    Ok(Flow::Done)
}

fn zrank(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    rank(ctx, false)
}

fn zrevrank(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    rank(ctx, true)
}

fn rank(ctx: &mut Ctx<'_>, reverse: bool) -> Result<Flow, CmdError> {
    let with_score = match ctx.args.from(3) {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withscore") => true,
        [_] => return Err(CmdError::Syntax),
        _ => return Err(CmdError::arity(ctx.name())),
    };
    let at = match ctx.read(1) {
        Some(f) => {
            let z = ctx.srv.ks.value::<Zset>(&f)?;
            z.rank(ctx.args[2]).map(|(r, s)| (if reverse { z.len() - 1 - r } else { r }, s))
        }
        None => None,
    };
    match at {
        Some((rank, score)) if with_score => {
            ctx.out.array(2);
            ctx.out.int(rank as i64);
            reply_score(ctx.out, score);
        }
        Some((rank, _)) => ctx.out.int(rank as i64),
        None if with_score => ctx.out.null_array(),
        None => ctx.out.null(),
    }
    Ok(Flow::Done)
}

// ---- ZRANDMEMBER --------------------------------------------------------------------------------

/// A set this many times bigger than the sample is sampled by trying; a smaller one by shuffling its
/// ranks.
const TRYING_FACTOR: usize = 3;

fn zrandmember(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    const TOO_MANY: CmdError = CmdError::Msg(&"ERR value is out of range");
    let Some(count) = ctx.args.get(2) else { return any_member(ctx) };
    let count = integer(count)?;
    if count == i64::MIN {
        let (min, max) = (-i64::MAX, i64::MAX);
        return Err(CmdError::text(format!(
            "ERR value is out of range, value must between {min} and {max}"
        )));
    }
    let with_scores = match ctx.args.from(3) {
        [] => false,
        [word] if word.eq_ignore_ascii_case(b"withscores") => true,
        _ => return Err(CmdError::Syntax),
    };
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(TOO_MANY);
    }
    let Some(f) = ctx.read(1) else {
        ctx.out.array(0);
        return Ok(Flow::Done);
    };
    let mut rng = ctx.srv.ks.rng.clone();
    let z = ctx.srv.ks.value::<Zset>(&f)?;
    let n = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let mut shown = MembersReply::new(ctx.out, with_scores);
    if count < 0 || n == 1 {
        shown.head(n);
        for _ in 0..n {
            let rank = rng.index(z.len());
            z.walk(rank..rank + 1, false, |m, s| shown.put(m, s));
            if shown.out.over {
                break;
            }
        }
    } else if n >= z.len() {
        shown.head(z.len());
        z.walk(0..z.len(), true, |m, s| shown.put(m, s));
    } else {
        shown.head(n);
        for rank in different(n, z.len(), |len| rng.index(len)) {
            z.walk(rank..rank + 1, false, |m, s| shown.put(m, s));
        }
    }
    ctx.srv.ks.rng = rng;
    Ok(Flow::Done)
}

fn any_member(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let Some(f) = ctx.read(1) else {
        ctx.out.null();
        return Ok(Flow::Done);
    };
    let mut rng = ctx.srv.ks.rng.clone();
    let z = ctx.srv.ks.value::<Zset>(&f)?;
    let rank = rng.index(z.len());
    z.walk(rank..rank + 1, false, |m, _| reply_member(ctx.out, m));
    ctx.srv.ks.rng = rng;
    Ok(Flow::Done)
}

/// `n` different ranks of `len`, every choice equally likely.
fn different(n: usize, len: usize, mut below: impl FnMut(usize) -> usize) -> Vec<usize> {
    debug_assert!(n <= len, "{n} of {len}");
    if n.saturating_mul(TRYING_FACTOR) > len {
        let mut all: Vec<usize> = (0..len).collect();
        (0..n).for_each(|i| all.swap(i, i + below(len - i)));
        all.truncate(n);
        return all;
    }
    let mut chosen = Vec::with_capacity(n);
    let mut seen = HashSet::with_capacity(n);
    while chosen.len() < n {
        let rank = below(len);
        if seen.insert(rank) {
            chosen.push(rank);
        }
    }
    chosen
}

// ---- ZSCAN --------------------------------------------------------------------------------------

fn zscan(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    let mut at = cursor(ctx.args[2])?;
    let Some(f) = ctx.read(1) else {
        ctx.out.array(2);
        ctx.out.bulk(b"0");
        ctx.out.array(0);
        return Ok(Flow::Done);
    };
    let z = ctx.srv.ks.value::<Zset>(&f)?;
    let options = ScanOptions::parse(ctx.args.from(3), false)?;
    let mut names = Reply::new(ctx.out.resp3);
    let mut n = 0;
    match &*z {
        Zset::Packed(l) => {
            at = 0;
            for (member, score) in l.pairs().filter(|(m, _)| m.with_text(|m| options.matches(m))) {
                reply_member(&mut names, member);
                reply_member(&mut names, score);
                n += 2;
            }
        }
        Zset::Skip(z) => {
            let (mut sampled, mut steps) = (0, options.count.saturating_mul(10));
            let mut text = Vec::new();
            loop {
                at = z.scan(at, |member, score| {
                    sampled += 1;
                    if options.matches(member) {
                        names.bulk(member);
                        text.clear();
                        push_f64_17g(&mut text, score);
                        names.bulk(&text);
                        n += 2;
                    }
                });
                if at == 0 || steps == 0 || sampled >= options.count {
                    break;
                }
                steps -= 1;
            }
        }
    }
    ctx.out.array(2);
    ctx.out.bulk(itoa::Buffer::new().format(at).as_bytes());
    ctx.out.array(n);
    ctx.out.append(names);
    Ok(Flow::Done)
}

// ---- what the other files share -----------------------------------------------------------------

/// Members, with their scores or without, as replies show them: flat in RESP2, in RESP3 each pair an
/// array.
pub(super) struct MembersReply<'o> {
    pub out: &'o mut Reply,
    with_scores: bool,
    nested: bool,
}

impl<'o> MembersReply<'o> {
    pub fn new(out: &'o mut Reply, with_scores: bool) -> Self {
        let nested = with_scores && out.resp3;
        MembersReply { out, with_scores, nested }
    }

    /// Announces `n` members.
    pub fn head(&mut self, n: usize) {
        let flat = self.with_scores && !self.nested;
        self.out.array(if flat { n.saturating_mul(2) } else { n });
    }

    #[inline]
    pub fn put(&mut self, member: Element<'_>, score: Score<'_>) {
        if self.nested {
            self.out.array(2);
        }
        reply_member(self.out, member);
        if self.with_scores {
            reply_score(self.out, score.get());
        }
    }
}

#[inline]
pub(super) fn reply_member(out: &mut Reply, member: Element<'_>) {
    match member {
        Element::Str(m) => out.bulk(m),
        Element::Int(n) => out.bulk_int(n),
    }
}

#[inline]
pub(super) fn reply_score(out: &mut Reply, score: f64) {
    out.double_text(&F64Text::new(score));
}

fn reply_maybe(out: &mut Reply, score: Option<f64>) {
    match score {
        Some(score) => reply_score(out, score),
        None => out.null(),
    }
}

/// Puts a set in place of whatever stands under the key at argument `i`; an empty one only removes
/// that. Replies the length.
pub(super) fn store_result(ctx: &mut Ctx<'_>, i: usize, z: Zset, name: &'static str) {
    let key = ctx.key(i);
    let len = z.len();
    let result = (len > 0).then(|| (New::Value(z.wrap()), 1));
    ctx.srv.ks.replace(ctx.db, key, result, class::ZSET, name);
    ctx.out.int(len as i64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    #[test]
    fn options_are_checked_in_their_order() {
        let parse = |line: &str| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            options(&args, Rules::default())
                .map(|(r, ch, at)| (r.nx, r.xx, r.incr, ch, at))
                .map_err(|e| e.as_str().split(' ').nth(1).unwrap_or("").to_string())
        };
        assert_eq!(parse("zadd k NX ch 1 a 2 b"), Ok((true, false, false, true, 4)));
        assert_eq!(parse("zadd k 1 nx"), Ok((false, false, false, false, 2)));
        assert_eq!(parse("zadd k nx xx 1"), Err("syntax".into()));
        assert_eq!(parse("zadd k nx xx 1 a"), Err("XX".into()));
        assert_eq!(parse("zadd k gt lt 1 a"), Err("GT,".into()));
        assert_eq!(parse("zadd k incr 1 a 2 b"), Err("INCR".into()));
    }

    #[test]
    fn samples_are_different_and_fair() {
        let mut rng = Rng::seeded(5);
        for (n, len) in [(3, 40), (30, 40), (40, 40), (1, 2)] {
            let mut hits = vec![0usize; len];
            let rounds = 4000;
            for _ in 0..rounds {
                let chosen = different(n, len, |l| rng.index(l));
                assert_eq!(chosen.iter().collect::<HashSet<_>>().len(), n);
                chosen.iter().for_each(|r| hits[*r] += 1);
            }
            let want = rounds * n / len;
            assert!(hits.iter().all(|h| h.abs_diff(want) < want / 3 + 1), "{n} of {len}: {hits:?}");
        }
    }
}
