//! Sorted sets: a listpack of members and scores in order while small, order and table when big.
//!
//! ```text
//! listpack  [member score member score ...]  ──►  Zindex: order by (score, member), table by member
//!               too many members, one too long; back only when a whole set is built anew (`from_sorted`)
//! ```
//!
//! Ranks are what every question comes down to, in both encodings: `score_ranks` and `lex_ranks` turn the ends of a
//! range into ranks, `walk` shows them, `delete_ranks` takes them out. A score that is an integer is stored as one in
//! a listpack, which therefore forgets the sign of zero.
//!
//! `Rules` says under which conditions ZADD touches a member, for both encodings in one place.

use super::digest::Digest;
use super::tables::{self, Full};
use super::value::Kind;
use crate::algo::num::{F64Text, f64_as_i64, parse_f64};
use crate::ds::entry::{enc, ty};
use crate::ds::listpack::{Element, Listpack, Pos, safe_to_add};
use crate::ds::skiplist::{LexBound, ScoreRange, order};
use crate::ds::zindex::Zindex;
use std::cmp::Ordering;
use std::ops::Range;

pub enum Zset {
    Packed(Listpack),
    Skip(Box<Zindex>),
}

/// `zset-max-listpack-entries` and `zset-max-listpack-value`.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub entries: usize,
    pub value: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { entries: 128, value: 64 }
    }
}

impl Kind for Zset {
    const TYPE: u8 = ty::ZSET;
    fn into_parts(self) -> (u8, u64) {
        match self {
            Zset::Packed(l) => (enc::LISTPACK, l.into_raw().as_ptr() as u64),
            Zset::Skip(z) => (enc::SKIPLIST, Box::into_raw(z) as u64),
        }
    }
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn effort(&self) -> usize {
        match self {
            Zset::Packed(_) => 1,
            Zset::Skip(z) => z.len(),
        }
    }
    fn heap_bytes(&self, _samples: usize) -> usize {
        match self {
            Zset::Packed(l) => l.alloc_size(),
            Zset::Skip(z) => z.footprint(),
        }
    }
    fn digest(&self, d: &mut Digest) {
        let mut add = |member: &[u8], score: f64| {
            let mut pair = Digest::default();
            pair.mix(member);
            pair.mix(&F64Text::plain(score));
            d.xor(&pair.0);
        };
        match self {
            Zset::Packed(l) => {
                l.pairs().for_each(|(m, s)| m.with_text(|m| add(m, packed_score(s))));
            }
            Zset::Skip(z) => z.order().iter(0..z.len()).for_each(|n| add(n.member(), n.score())),
        }
    }
    fn table_figures(&self, full: Full) -> Option<String> {
        match self {
            Zset::Packed(_) => None,
            Zset::Skip(z) => Some(tables::figures(z.table(), full)),
        }
    }
}

/// A score as a listpack holds it.
fn packed_score(e: Element<'_>) -> f64 {
    match e {
        Element::Int(n) => n as f64,
        Element::Str(text) => parse_f64(text).expect("scores are stored as numbers"),
    }
}

impl Clone for Zset {
    fn clone(&self) -> Self {
        match self {
            Zset::Packed(l) => Zset::Packed(l.clone()),
            Zset::Skip(z) => {
                let mut copy = Box::new(Zindex::new());
                copy.reserve(z.len());
                z.order().iter(0..z.len()).for_each(|n| {
                    copy.set(n.member(), n.score());
                });
                Zset::Skip(copy)
            }
        }
    }
}

impl Default for Zset {
    fn default() -> Self {
        Zset::Packed(Listpack::new())
    }
}

/// When ZADD touches a member, and how.
#[derive(Clone, Copy, Default, Debug)]
pub struct Rules {
    /// Only members that are new.
    pub nx: bool,
    /// Only members that are there.
    pub xx: bool,
    /// Members that are there: only to a greater score.
    pub gt: bool,
    /// Members that are there: only to a lower score.
    pub lt: bool,
    /// The score is added to the one there is.
    pub incr: bool,
}

/// What became of a member, with its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome {
    Added(f64),
    Updated(f64),
    /// It has that score already.
    Same(f64),
    /// The rules forbid it.
    Nothing,
    /// The sum is not a number.
    Nan,
}

impl Rules {
    pub fn decide(&self, old: Option<f64>, score: f64) -> Outcome {
        debug_assert!(!score.is_nan(), "scores are checked when they are parsed");
        let Some(old) = old else {
            return if self.xx { Outcome::Nothing } else { Outcome::Added(score) };
        };
        if self.nx {
            return Outcome::Nothing;
        }
        let score = if self.incr { old + score } else { score };
        if score.is_nan() {
            return Outcome::Nan;
        }
        if (self.lt && score >= old) || (self.gt && score <= old) {
            return Outcome::Nothing;
        }
        if score == old { Outcome::Same(score) } else { Outcome::Updated(score) }
    }
}

impl Outcome {
    /// The score to be written.
    fn change(self) -> Option<f64> {
        match self {
            Outcome::Added(s) | Outcome::Updated(s) => Some(s),
            Outcome::Same(_) | Outcome::Nothing | Outcome::Nan => None,
        }
    }
}

impl Zset {
    /// An empty set that fits `members` to come, the first of them of `len` bytes.
    pub fn with_hint(members: usize, len: usize, limits: &Limits) -> Zset {
        if members <= limits.entries && len <= limits.value {
            return Zset::default();
        }
        let mut z = Box::new(Zindex::new());
        z.reserve(members);
        Zset::Skip(z)
    }

    /// A set of members in order, none of them twice.
    pub fn from_sorted<M: AsRef<[u8]>>(all: &[(f64, M)], limits: &Limits) -> Zset {
        let lens = || all.iter().map(|(_, m)| m.as_ref().len());
        let packed = all.len() <= limits.entries
            && lens().all(|n| n <= limits.value)
            && safe_to_add(None, lens().sum());
        if packed {
            let mut l = Listpack::new();
            for (score, member) in all {
                insert(&mut l, None, member.as_ref(), *score);
            }
            return Zset::Packed(l);
        }
        let mut z = Box::new(Zindex::new());
        z.reserve(all.len());
        all.iter().for_each(|(score, member)| {
            z.set(member.as_ref(), *score);
        });
        Zset::Skip(z)
    }

    pub fn len(&self) -> usize {
        match self {
            Zset::Packed(l) => l.len() / 2,
            Zset::Skip(z) => z.len(),
        }
    }

    /// So many members are about to be added: changes the encoding ahead of them.
    pub fn expect(&mut self, members: usize, limits: &Limits) {
        if members > limits.entries {
            self.to_skip(members);
        }
    }

    /// Makes it order and table, with room for `members` in all.
    pub fn to_skip(&mut self, members: usize) {
        let Zset::Packed(l) = self else { return };
        let mut z = Box::new(Zindex::new());
        z.reserve(members.max(l.len() / 2));
        l.pairs().for_each(|(m, s)| {
            m.with_text(|m| z.set(m, packed_score(s)));
        });
        *self = Zset::Skip(z);
    }

    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Zset::Packed(l) => Some(score_at(l, find(l, member)?)),
            Zset::Skip(z) => z.score(member),
        }
    }

    /// Gives a member a score, as far as the rules allow.
    pub fn add(&mut self, member: &[u8], score: f64, rules: Rules, limits: &Limits) -> Outcome {
        if let Zset::Packed(l) = self {
            let at = find(l, member);
            let outcome = rules.decide(at.map(|at| score_at(l, at)), score);
            match (outcome, at) {
                (Outcome::Updated(score), Some(at)) => {
                    l.delete_range_at(at, 2);
                    insert(l, place(l, member, score), member, score);
                }
                (Outcome::Added(score), _) => {
                    let fits = l.len() / 2 < limits.entries
                        && member.len() <= limits.value
                        && safe_to_add(Some(l), member.len());
                    if fits {
                        insert(l, place(l, member, score), member, score);
                    } else {
                        let members = self.len() + 1;
                        self.to_skip(members);
                        return self.add(member, score, Rules::default(), limits);
                    }
                }
                _ => {}
            }
            return outcome;
        }
        let Zset::Skip(z) = self else { unreachable!("the other encoding") };
        let mut outcome = Outcome::Nothing;
        z.update(member, |old| {
            outcome = rules.decide(old, score);
            outcome.change()
        });
        outcome
    }

    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Zset::Packed(l) => {
                let Some(at) = find(l, member) else { return false };
                l.delete_range_at(at, 2);
                true
            }
            Zset::Skip(z) => z.remove(member).is_some(),
        }
    }

    /// Place in the order, from 0, and score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            Zset::Packed(l) => {
                let mut pairs = l.pairs().enumerate();
                let (rank, (_, score)) = pairs.find(|(_, (m, _))| m.is_text(member))?;
                Some((rank, packed_score(score)))
            }
            Zset::Skip(z) => z.rank(member),
        }
    }

    /// The ranks of the scores in a range.
    pub fn score_ranks(&self, range: &ScoreRange) -> Range<usize> {
        let Zset::Packed(l) = self else { return self.order_ranks(|o| o.score_ranks(range)) };
        let below = |s: f64| if range.min_open { s <= range.min } else { s < range.min };
        let inside = |s: f64| if range.max_open { s < range.max } else { s <= range.max };
        let (mut start, mut end) = (0, 0);
        for (_, score) in l.pairs() {
            let score = packed_score(score);
            start += usize::from(below(score));
            if !inside(score) {
                break;
            }
            end += 1;
        }
        start..end.max(start)
    }

    /// The ranks of the members in a range, given that all scores are equal. Where they are not, a listpack is walked
    /// from the end that `reverse` says until the range is left.
    pub fn lex_ranks(&self, min: LexBound<'_>, max: LexBound<'_>, reverse: bool) -> Range<usize> {
        let Zset::Packed(l) = self else { return self.order_ranks(|o| o.lex_ranks(min, max)) };
        let after = |m: &Element<'_>| m.with_text(|m| min.starts_at_or_before(m));
        let before = |m: &Element<'_>| m.with_text(|m| max.ends_at_or_after(m));
        let len = l.len() / 2;
        let (Some(first), Some(last)) = (l.first(), l.seek(-2)) else { return 0..0 };
        if never(min, max) || !after(&l.get(last)) || !before(&l.get(first)) {
            return 0..0;
        }
        if reverse {
            let mut back = l.iter_to(last).rev().step_by(2);
            let Some(skipped) = back.position(|m| before(&m)) else { return 0..0 };
            let end = len - skipped;
            let mut back = l.iter_to(last).rev().step_by(2).skip(skipped);
            let n = back.position(|m| !after(&m)).unwrap_or(end);
            return end - n..end;
        }
        let Some(start) = l.pairs().position(|(m, _)| after(&m)) else { return 0..0 };
        let n = l.pairs().skip(start).position(|(m, _)| !before(&m)).unwrap_or(len - start);
        start..start + n
    }

    fn order_ranks(
        &self,
        ranks: impl FnOnce(&crate::ds::skiplist::Skiplist) -> Range<usize>,
    ) -> Range<usize> {
        let Zset::Skip(z) = self else { unreachable!("the other encoding") };
        ranks(z.order())
    }

    /// Shows the members of a range of ranks, from its end when `reverse`.
    pub fn walk(&self, ranks: Range<usize>, reverse: bool, mut f: impl FnMut(Element<'_>, Score<'_>)) {
        debug_assert!(ranks.end <= self.len(), "ranks {ranks:?} of {}", self.len());
        if ranks.is_empty() {
            return;
        }
        match (self, reverse) {
            (Zset::Packed(l), false) => {
                let mut entries = l.iter_from(pair_at(l, ranks.start));
                for _ in ranks {
                    let (m, s) = (entries.next(), entries.next());
                    f(m.expect(IN_RANGE), Score::Packed(s.expect(IN_RANGE)));
                }
            }
            (Zset::Packed(l), true) => {
                let last = pair_at(l, ranks.end - 1);
                let mut entries = l.iter_to(l.next(last).expect(IN_RANGE)).rev();
                for _ in ranks {
                    let (s, m) = (entries.next(), entries.next());
                    f(m.expect(IN_RANGE), Score::Packed(s.expect(IN_RANGE)));
                }
            }
            (Zset::Skip(z), false) => {
                z.order().iter(ranks).for_each(|n| f(Element::Str(n.member()), Score::Is(n.score())));
            }
            (Zset::Skip(z), true) => {
                let nodes = z.order().iter(ranks).rev();
                nodes.for_each(|n| f(Element::Str(n.member()), Score::Is(n.score())));
            }
        }
    }

    /// Takes a range of ranks out; returns how many that were.
    pub fn delete_ranks(&mut self, ranks: Range<usize>) -> usize {
        let n = ranks.len();
        match self {
            Zset::Packed(l) if n > 0 => {
                l.delete_range_at(pair_at(l, ranks.start), 2 * n);
            }
            Zset::Packed(_) => {}
            Zset::Skip(z) => {
                z.delete_ranks(ranks, |_, _| {});
            }
        }
        n
    }
}

const IN_RANGE: &str = "the rank is below the length, and entries come in pairs";

/// A score that has not been read yet.
#[derive(Clone, Copy, Debug)]
pub enum Score<'a> {
    Is(f64),
    Packed(Element<'a>),
}

impl Score<'_> {
    #[inline]
    pub fn get(self) -> f64 {
        match self {
            Score::Is(s) => s,
            Score::Packed(e) => packed_score(e),
        }
    }
}

/// No member can lie between these.
fn never(min: LexBound<'_>, max: LexBound<'_>) -> bool {
    use LexBound::{Closed, Max, Min, Open};
    match (min, max) {
        (Max, _) | (_, Min) => true,
        (Min, _) | (_, Max) => false,
        (Closed(a), Closed(b)) => a > b,
        (Closed(a) | Open(a), Closed(b) | Open(b)) => a >= b,
    }
}

fn find(l: &Listpack, member: &[u8]) -> Option<Pos> {
    l.find(l.first()?, member, 1)
}

/// The score of the member at `at`.
fn score_at(l: &Listpack, at: Pos) -> f64 {
    packed_score(l.get(l.next(at).expect("a score follows its member")))
}

/// The member of a rank.
fn pair_at(l: &Listpack, rank: usize) -> Pos {
    let index = i64::try_from(2 * rank).expect("a listpack has fewer entries than 2^32");
    l.seek(index).expect(IN_RANGE)
}

/// Before which member a new one belongs; None for the end.
fn place(l: &Listpack, member: &[u8], score: f64) -> Option<Pos> {
    let follows = |at: Pos| {
        let other = score_at(l, at);
        l.get(at).with_text(|m| order((other, m), (score, member))) == Ordering::Greater
    };
    // Scores that rise all the time are common, and belong at the end.
    if !follows(l.seek(-2)?) {
        return None;
    }
    let mut at = l.first()?;
    while !follows(at) {
        at = l.next(at).and_then(|s| l.next(s)).expect("the last one follows");
    }
    Some(at)
}

fn insert(l: &mut Listpack, before: Option<Pos>, member: &[u8], score: f64) {
    match f64_as_i64(score) {
        Some(n) => l.splice(before, 0, &[Element::Str(member), Element::Int(n)]),
        None => l.splice(before, 0, &[Element::Str(member), Element::Str(&F64Text::new(score))]),
    };
}
