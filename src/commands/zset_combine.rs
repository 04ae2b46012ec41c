//! Unions, intersections and differences of sorted sets, and of sets, whose members all have the score
//! 1.
//!
//! ```text
//! keys ──► sources ──► Vec of (score, member) ──► sorted ──► replied, or a set to be stored
//! ```
//!
//! All keys are looked up, and their types checked, before the words behind them are read. Sources are
//! combined from the smallest to the biggest (ZDIFF keeps its first one in front): sums of floats
//! depend on the order.

use super::numbers::{integer, positive};
use super::zset::{MembersReply, store_result};
use crate::algo::num::parse_f64;
use crate::cmd::docs;
use crate::cmd::keys;
use crate::cmd::row::flag::*;
use crate::cmd::row::{Flow, KeySpec, cat, key};
use crate::ds::entry::ty;
use crate::ds::hash::hash;
use crate::ds::listpack::Element;
use crate::ds::skiplist::order;
use crate::keyspace::Found;
use crate::object::set::Set;
use crate::object::value::View;
use crate::object::zset::{Score, Zset};
use crate::proto::error::CmdError;
use crate::server::ctx::{Command, Ctx, ROW};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub static ROWS: &[Command] = &[
    Command {
        name: "zdiff",
        arity: -3,
        flags: READONLY,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::keynum(key::RO | key::ACCESS, 1)],
        run: zdiff,
        getkeys: Some(keys::numkeys_first),
        docs: &docs::ZDIFF,
        ..ROW
    },
    Command {
        name: "zdiffstore",
        arity: -4,
        flags: WRITE | DENYOOM,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::OW | key::UPDATE, 1), KeySpec::keynum(key::RO | key::ACCESS, 2)],
        run: zdiffstore,
        getkeys: Some(keys::store_numkeys),
        docs: &docs::ZDIFFSTORE,
        ..ROW
    },
    Command {
        name: "zinter",
        arity: -3,
        flags: READONLY,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::keynum(key::RO | key::ACCESS, 1)],
        run: zinter,
        getkeys: Some(keys::numkeys_first),
        docs: &docs::ZINTER,
        ..ROW
    },
    Command {
        name: "zintercard",
        arity: -3,
        flags: READONLY,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::keynum(key::RO | key::ACCESS, 1)],
        run: zintercard,
        getkeys: Some(keys::numkeys_first),
        docs: &docs::ZINTERCARD,
        ..ROW
    },
    Command {
        name: "zinterstore",
        arity: -4,
        flags: WRITE | DENYOOM,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::OW | key::UPDATE, 1), KeySpec::keynum(key::RO | key::ACCESS, 2)],
        run: zinterstore,
        getkeys: Some(keys::store_numkeys),
        docs: &docs::ZINTERSTORE,
        ..ROW
    },
    Command {
        name: "zunion",
        arity: -3,
        flags: READONLY,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::keynum(key::RO | key::ACCESS, 1)],
        run: zunion,
        getkeys: Some(keys::numkeys_first),
        docs: &docs::ZUNION,
        ..ROW
    },
    Command {
        name: "zunionstore",
        arity: -4,
        flags: WRITE | DENYOOM,
        acl: cat::SORTEDSET,
        keys: &[KeySpec::one(key::OW | key::UPDATE, 1), KeySpec::keynum(key::RO | key::ACCESS, 2)],
        run: zunionstore,
        getkeys: Some(keys::store_numkeys),
        docs: &docs::ZUNIONSTORE,
        ..ROW
    },
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Op {
    Union,
    Inter,
    Diff,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(word: &[u8]) -> Result<Aggregate, CmdError> {
        match () {
            () if word.eq_ignore_ascii_case(b"sum") => Ok(Aggregate::Sum),
            () if word.eq_ignore_ascii_case(b"min") => Ok(Aggregate::Min),
            () if word.eq_ignore_ascii_case(b"max") => Ok(Aggregate::Max),
            () => Err(CmdError::Syntax),
        }
    }

    /// Infinities of both signs make 0; what is not a number loses every comparison.
    fn join(self, a: f64, b: f64) -> f64 {
        match self {
            Aggregate::Sum => number(a + b),
            Aggregate::Min if b < a => b,
            Aggregate::Max if b > a => b,
            Aggregate::Min | Aggregate::Max => a,
        }
    }
}

/// 0 for what is not a number.
fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// What the words behind the keys say.
#[derive(Debug)]
struct Words {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// The intersection is counted no further; 0 for without end.
    limit: u64,
}

/// What a command does with its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Goal {
    Reply,
    Store,
    Count,
}

impl Words {
    fn parse(args: &[&[u8]], keys: usize, op: Op, goal: Goal) -> Result<Words, CmdError> {
        const WEIGHT: CmdError = CmdError::Msg(&"ERR weight value is not a float");
        const LIMIT: CmdError = CmdError::Msg(&"ERR LIMIT can't be negative");
        let mut w =
            Words { weights: vec![1.0; keys], aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        let weighs = op != Op::Diff && goal != Goal::Count;
        let mut rest = args;
        while let [word, values @ ..] = rest {
            let is = |w: &[u8]| word.eq_ignore_ascii_case(w);
            if weighs && is(b"weights") && values.len() >= keys {
                let (weights, after) = values.split_at(keys);
                for (to, text) in w.weights.iter_mut().zip(weights) {
                    *to = parse_f64(text).ok_or(WEIGHT)?;
                }
                rest = after;
            } else if weighs && is(b"aggregate") && !values.is_empty() {
                w.aggregate = Aggregate::of(values[0])?;
                rest = &values[1..];
            } else if goal == Goal::Reply && is(b"withscores") {
                w.with_scores = true;
                rest = values;
            } else if goal == Goal::Count && is(b"limit") && !values.is_empty() {
                w.limit = positive(values[0]).map_err(|_| LIMIT)?.unsigned_abs();
                rest = &values[1..];
            } else {
                return Err(CmdError::Syntax);
            }
        }
        Ok(w)
    }
}

// ---- sources ------------------------------------------------------------------------------------

enum Values<'a> {
    None,
    Zset(View<'a, Zset>),
    Set(View<'a, Set>),
}

struct Source<'a> {
    values: Values<'a>,
    /// The number of the key it was read from: a score found in one source of a key holds for the others.
    key: Option<usize>,
    weight: f64,
}

impl Source<'_> {
    fn len(&self) -> usize {
        match &self.values {
            Values::None => 0,
            Values::Zset(z) => z.len(),
            Values::Set(s) => s.len(),
        }
    }

    fn score(&self, member: &[u8]) -> Option<f64> {
        match &self.values {
            Values::None => None,
            Values::Zset(z) => z.score(member),
            Values::Set(s) => s.contains(member).then_some(1.0),
        }
    }

    /// Shows all members, those of a sorted set from its end.
    fn for_each(&self, mut f: impl FnMut(Element<'_>, f64)) {
        match &self.values {
            Values::None => {}
            Values::Zset(z) => z.walk(0..z.len(), true, |m, s| f(m, s.get())),
            Values::Set(s) => s.for_each(|m| f(m, 1.0)),
        }
    }
}

type Pairs = Vec<(f64, Box<[u8]>)>;

/// Hashes members by the one hash that all tables use.
#[derive(Default)]
struct Keyed(u64);

impl Hasher for Keyed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(bytes);
    }
    // The length in front of a slice: there is nothing else in the key.
    fn write_usize(&mut self, _: usize) {}
    fn finish(&self) -> u64 {
        self.0
    }
}

type Scores = HashMap<Box<[u8]>, f64, BuildHasherDefault<Keyed>>;

fn union(sources: &[Source<'_>], aggregate: Aggregate) -> Pairs {
    let biggest = sources.last().map_or(0, Source::len);
    let mut scores = Scores::with_capacity_and_hasher(biggest, BuildHasherDefault::default());
    for source in sources {
        source.for_each(|member, score| {
            let score = number(source.weight * score);
            member.with_text(|m| match scores.get_mut(m) {
                Some(sum) => *sum = aggregate.join(*sum, score),
                None => {
                    scores.insert(m.into(), score);
                }
            });
        });
    }
    scores.into_iter().map(|(m, s)| (s, m)).collect()
}

/// Shows each member of the intersection; as soon as `f` gives false, no more of them.
fn inter(sources: &[Source<'_>], aggregate: Aggregate, mut f: impl FnMut(f64, &[u8]) -> bool) {
    let Some((first, others)) = sources.split_first() else { return };
    let mut on = true;
    first.for_each(|member, own| {
        if !on {
            return;
        }
        member.with_text(|m| {
            let mut score = number(first.weight * own);
            for other in others {
                let there = if other.key == first.key { Some(own) } else { other.score(m) };
                let Some(there) = there else { return };
                score = aggregate.join(score, there * other.weight);
            }
            on = f(score, m);
        });
    });
}

fn diff(sources: &[Source<'_>]) -> Pairs {
    let mut result = Pairs::new();
    let Some((first, others)) = sources.split_first() else { return result };
    if others.iter().any(|o| o.key.is_some() && o.key == first.key) {
        return result;
    }
    let (asked, walked) = (first.len() * sources.len(), sources.iter().map(Source::len).sum::<usize>());
    // Asking the others for each member counts half: a common member is found before all are asked.
    if asked / 2 <= walked {
        let mut others: Vec<&Source<'_>> = others.iter().collect();
        others.sort_by_key(|o| std::cmp::Reverse(o.len()));
        first.for_each(|member, score| {
            member.with_text(|m| {
                if others.iter().all(|o| o.score(m).is_none()) {
                    result.push((score, m.into()));
                }
            });
        });
        return result;
    }
    let mut scores = Scores::with_capacity_and_hasher(first.len(), BuildHasherDefault::default());
    first.for_each(|m, score| {
        m.with_text(|m| scores.insert(m.into(), score));
    });
    for other in others {
        other.for_each(|m, _| {
            m.with_text(|m| scores.remove(m));
        });
    }
    scores.into_iter().map(|(m, s)| (s, m)).collect()
}

// ---- commands -----------------------------------------------------------------------------------

fn zunion(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    combine(ctx, Op::Union, Goal::Reply)
}

fn zinter(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    combine(ctx, Op::Inter, Goal::Reply)
}

fn zdiff(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    combine(ctx, Op::Diff, Goal::Reply)
}

fn zunionstore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    combine(ctx, Op::Union, Goal::Store)
}

fn zinterstore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    combine(ctx, Op::Inter, Goal::Store)
}

fn zdiffstore(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    combine(ctx, Op::Diff, Goal::Store)
}

fn zintercard(ctx: &mut Ctx<'_>) -> Result<Flow, CmdError> {
    combine(ctx, Op::Inter, Goal::Count)
}

fn combine(ctx: &mut Ctx<'_>, op: Op, goal: Goal) -> Result<Flow, CmdError> {
    let at = if goal == Goal::Store { 2 } else { 1 };
    let keys = integer(ctx.args[at])?;
    if keys < 1 {
        let name = ctx.name();
        return Err(CmdError::text(format!("ERR at least 1 input key is needed for '{name}' command")));
    }
    let behind = ctx.args.len() - at - 1;
    let keys = usize::try_from(keys).ok().filter(|n| *n <= behind).ok_or(CmdError::Syntax)?;
    let found = look_up(ctx, at + 1, keys)?;
    let words = Words::parse(ctx.args.from(at + 1 + keys), keys, op, goal)?;
    let mut sources = sources(ctx, &found, &words.weights);
    if op != Op::Diff {
        sources.sort_by_key(Source::len);
    }
    if goal == Goal::Count {
        let mut n = 0u64;
        inter(&sources, words.aggregate, |_, _| {
            n += 1;
            n != words.limit
        });
        ctx.out.int(n as i64);
        return Ok(Flow::Done);
    }
    let mut result = match op {
        Op::Union => union(&sources, words.aggregate),
        Op::Inter => {
            let mut all = Pairs::new();
            inter(&sources, words.aggregate, |score, m| {
                all.push((score, m.into()));
                true
            });
            all
        }
        Op::Diff => diff(&sources),
    };
    drop(sources);
    result.sort_unstable_by(|(s, m), (t, n)| order((*s, m), (*t, n)));
    if goal == Goal::Store {
        let z = Zset::from_sorted(&result, &ctx.srv.ks.policy.limits.zset);
        let name = match op {
            Op::Union => "zunionstore",
            Op::Inter => "zinterstore",
            Op::Diff => "zdiffstore",
        };
        store_result(ctx, 1, z, name);
        return Ok(Flow::Done);
    }
    let mut shown = MembersReply::new(ctx.out, words.with_scores);
    shown.head(result.len());
    result.iter().for_each(|(s, m)| shown.put(Element::Str(m), Score::Is(*s)));
    Ok(Flow::Done)
}

/// Looks up `n` keys from argument `from` on, which must be sets or sorted sets.
fn look_up<'a>(ctx: &mut Ctx<'a>, from: usize, n: usize) -> Result<Vec<Option<Found<'a>>>, CmdError> {
    let mut found = Vec::with_capacity(n);
    for i in from..from + n {
        let f = ctx.read(i);
        if f.is_some_and(|f| !matches!(ctx.srv.ks.at(&f).ty(), ty::SET | ty::ZSET)) {
            return Err(CmdError::WrongType);
        }
        found.push(f);
    }
    Ok(found)
}

fn sources<'k>(ctx: &'k Ctx<'_>, found: &'k [Option<Found<'_>>], weights: &[f64]) -> Vec<Source<'k>> {
    let ks = &ctx.srv.ks;
    let values = |f: &'k Option<Found<'_>>| match f {
        None => Values::None,
        Some(f) => match (ks.value(f), ks.value(f)) {
            (Ok(z), _) => Values::Zset(z),
            (_, Ok(s)) => Values::Set(s),
            _ => unreachable!("the type was looked at"),
        },
    };
    let of = |(f, weight): (&'k Option<Found<'_>>, &f64)| Source {
        values: values(f),
        key: f.map(|f| ks.at(&f).address()),
        weight: *weight,
    };
    found.iter().zip(weights).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinities_and_what_is_not_a_number() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        assert_eq!(Aggregate::Sum.join(inf, -inf), 0.0);
        assert_eq!(Aggregate::Sum.join(1.0, nan), 0.0);
        assert_eq!(Aggregate::Min.join(1.0, nan), 1.0);
        assert_eq!(Aggregate::Max.join(1.0, inf), inf);
        assert_eq!(number(0.0 * inf), 0.0);
    }

    #[test]
    fn words_fit_the_command() {
        let parse = |line: &str, op, goal| {
            let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            Words::parse(&args, 2, op, goal)
                .map(|w| (w.weights, w.aggregate, w.with_scores, w.limit))
                .map_err(|e| e.as_str().split(' ').nth(1).unwrap_or("").to_string())
        };
        let all = parse("WEIGHTS 1 -2.5 aggregate MAX withscores", Op::Union, Goal::Reply);
        assert_eq!(all, Ok((vec![1.0, -2.5], Aggregate::Max, true, 0)));
        assert_eq!(parse("limit 7", Op::Inter, Goal::Count).map(|w| w.3), Ok(7));
        let syntax = Err("syntax".to_string());
        assert_eq!(parse("weights 1 2", Op::Diff, Goal::Reply), syntax);
        assert_eq!(parse("weights 1", Op::Union, Goal::Reply), syntax);
        assert_eq!(parse("withscores", Op::Union, Goal::Store), syntax);
        assert_eq!(parse("aggregate avg", Op::Inter, Goal::Store), syntax);
        assert_eq!(parse("weights 1 x", Op::Union, Goal::Reply), Err("weight".into()));
        assert_eq!(parse("limit -1", Op::Inter, Goal::Count), Err("LIMIT".into()));
    }
}
