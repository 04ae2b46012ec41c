//! Sorted sets: a listpack of members and scores in order while small, order and table when big.
//!
//! ```text
//! listpack  [member score member score ...]  ──►  Zindex: order by (score, member), table by member
//!               too many members, one too long; back only when a whole set is built anew (`from_sorted`)
//! ```
//!
//! Ranks are what every question comes down to, in both encodings: `score_ranks` and `lex_ranks` turn
//! the ends of a range into ranks, `walk` shows them, `delete_ranks` takes them out. A score that is an
//! integer is stored as one in a listpack, which therefore forgets the sign of zero.
//!
//! `Rules` says under which conditions ZADD touches a member, for both encodings in one place.

use super::digest::Digest;
use super::tables::{self, Full};
use super::value::ValueKind;
use crate::algo::num::{F64Text, f64_as_i64, parse_f64};
use crate::ds::entry::{enc, ty};
use crate::ds::listpack::{Element, Listpack, Pos, safe_to_add};
use crate::ds::moving::{self, DefragCursor};
use crate::ds::skiplist::{LexBound, ScoreRange, order};
use crate::ds::zindex::Zindex;
use crate::sys::defrag::Mover;
use std::cmp::Ordering;
use std::ops::Range;

pub enum Zset {
    Packed(Listpack),
    Skip(Box<Zindex>),
}

/// `zset-max-listpack-entries` and `zset-max-listpack-value`.
#[derive(Clone, Copy, Debug)]
pub struct ZsetLimits {
    pub entries: usize,
    pub value: usize,
}

impl Default for ZsetLimits {
    fn default() -> Self {
        ZsetLimits { entries: 128, value: 64 }
    }
}

impl ValueKind for Zset {
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
    fn heap_bytes(&self) -> usize {
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
            Zset::Skip(z) => Some(tables::figures(&z.figures(full.0))),
        }
    }
    fn defrag(&mut self, at: &mut DefragCursor, mover: &mut Mover) -> bool {
        match self {
            Zset::Packed(l) => {
                l.defrag(mover);
                true
            }
            Zset::Skip(z) => {
                if at.begins() {
                    moving::boxed(z, mover);
                }
                z.defrag(at, mover)
            }
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
pub enum ZaddOutcome {
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
    pub fn decide(&self, old: Option<f64>, score: f64) -> ZaddOutcome {
        debug_assert!(!score.is_nan(), "scores are checked when they are parsed");
        let Some(old) = old else {
            return if self.xx { ZaddOutcome::Nothing } else { ZaddOutcome::Added(score) };
        };
        if self.nx {
            return ZaddOutcome::Nothing;
        }
        let score = if self.incr { old + score } else { score };
        if score.is_nan() {
            return ZaddOutcome::Nan;
        }
        if (self.lt && score >= old) || (self.gt && score <= old) {
            return ZaddOutcome::Nothing;
        }
        if score == old { ZaddOutcome::Same(score) } else { ZaddOutcome::Updated(score) }
    }
}

impl ZaddOutcome {
    /// The score to be written.
    fn change(self) -> Option<f64> {
        match self {
            ZaddOutcome::Added(s) | ZaddOutcome::Updated(s) => Some(s),
            ZaddOutcome::Same(_) | ZaddOutcome::Nothing | ZaddOutcome::Nan => None,
        }
    }
}

impl Zset {
    /// An empty set that fits `members` to come, the first of them of `len` bytes.
    pub fn with_hint(members: usize, len: usize, limits: &ZsetLimits) -> Zset {
        if members <= limits.entries && len <= limits.value {
            return Zset::default();
        }
        let mut z = Box::new(Zindex::new());
        z.reserve(members);
        Zset::Skip(z)
    }

    /// A set of members in order, none of them twice.
    pub fn from_sorted<M: AsRef<[u8]>>(all: &[(f64, M)], limits: &ZsetLimits) -> Zset {
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

    /// The same set as a listpack, where it fits one.
    pub fn compact(self, limits: &ZsetLimits) -> Zset {
        if let Zset::Skip(z) = &self
            && z.len() <= limits.entries
        {
            let all: Vec<_> = z.order().iter(0..z.len()).map(|n| (n.score(), n.member())).collect();
            if let packed @ Zset::Packed(_) = Zset::from_sorted(&all, limits) {
                return packed;
            }
        }
        self
    }

    pub fn len(&self) -> usize {
        match self {
            Zset::Packed(l) => l.len() / 2,
            Zset::Skip(z) => z.len(),
        }
    }

    /// So many members are about to be added: changes the encoding ahead of them.
    pub fn expect(&mut self, members: usize, limits: &ZsetLimits) {
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
    pub fn add(&mut self, member: &[u8], score: f64, rules: Rules, limits: &ZsetLimits) -> ZaddOutcome {
        if let Zset::Packed(l) = self {
            let at = find(l, member);
            let outcome = rules.decide(at.map(|at| score_at(l, at)), score);
            match (outcome, at) {
                (ZaddOutcome::Updated(score), Some(at)) => {
                    l.delete_range_at(at, 2);
                    insert(l, place(l, member, score), member, score);
                }
                (ZaddOutcome::Added(score), _) => {
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
        let mut outcome = ZaddOutcome::Nothing;
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

    /// The ranks of the members in a range, given that all scores are equal. Where they are not, a
    /// listpack is walked from the end that `reverse` says until the range is left.
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

    /// Shows the members of a range of ranks until `more` says no. They may be kept for as long as the
    /// set stays as it is.
    pub fn walk_while<'z>(
        &'z self,
        ranks: Range<usize>,
        mut more: impl FnMut(Element<'z>, f64) -> bool,
    ) {
        debug_assert!(ranks.end <= self.len(), "ranks {ranks:?} of {}", self.len());
        if ranks.is_empty() {
            return;
        }
        match self {
            Zset::Packed(l) => {
                let mut entries = l.iter_from(pair_at(l, ranks.start));
                for _ in ranks {
                    let (m, s) = (entries.next(), entries.next());
                    if !more(m.expect(IN_RANGE), packed_score(s.expect(IN_RANGE))) {
                        break;
                    }
                }
            }
            Zset::Skip(z) => {
                for n in z.order().iter(ranks) {
                    if !more(Element::Str(n.member()), n.score()) {
                        break;
                    }
                }
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
    // Members are compared only where the scores are the same.
    let follows = |at: Pos, scored: Pos| match packed_score(l.get(scored)) {
        other if other < score => false,
        other if other > score => true,
        other => l.get(at).with_text(|m| order((other, m), (score, member))) == Ordering::Greater,
    };
    let scored = |at: Pos| l.next(at).expect("a score follows its member");
    // Scores that rise all the time are common, and belong at the end.
    let last = l.seek(-2)?;
    if !follows(last, scored(last)) {
        return None;
    }
    let mut at = l.first()?;
    loop {
        let score = scored(at);
        if follows(at, score) {
            return Some(at);
        }
        at = l.next(score).expect("the last one follows");
    }
}

fn insert(l: &mut Listpack, before: Option<Pos>, member: &[u8], score: f64) {
    match f64_as_i64(score) {
        Some(n) => l.splice(before, 0, &[Element::Str(member), Element::Int(n)]),
        None => l.splice(before, 0, &[Element::Str(member), Element::Str(&F64Text::new(score))]),
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;
    use std::collections::BTreeMap;

    type Twin = BTreeMap<Vec<u8>, f64>;

    fn sorted(twin: &Twin) -> Vec<(f64, Vec<u8>)> {
        let mut all: Vec<_> = twin.iter().map(|(m, s)| (*s, m.clone())).collect();
        all.sort_by(|(s, m), (t, n)| order((*s, m), (*t, n)));
        all
    }

    fn walked(z: &Zset, ranks: Range<usize>, reverse: bool) -> Vec<(f64, Vec<u8>)> {
        let mut all = Vec::new();
        z.walk(ranks, reverse, |m, s| all.push((s.get(), m.to_vec())));
        all
    }

    /// Every question about ranges, against the sorted twin.
    fn compare(z: &Zset, twin: &Twin, rng: &mut Rng, lex: bool) {
        let all = sorted(twin);
        assert_eq!(z.len(), all.len());
        assert_eq!(walked(z, 0..all.len(), false), all);
        let (a, b) = (rng.index(all.len() + 1), rng.index(all.len() + 1));
        let ranks = a.min(b)..a.max(b);
        let mut back = walked(z, ranks.clone(), true);
        back.reverse();
        assert_eq!(back, all[ranks]);
        let (min_open, max_open) = (rng.below(2) == 0, rng.below(2) == 0);
        let (min, max) = (rng.below(6) as f64 / 2.0, rng.below(6) as f64 / 2.0);
        let range = ScoreRange { min, max, min_open, max_open };
        let inside: Vec<_> = all.iter().filter(|(s, _)| range.contains(*s)).cloned().collect();
        assert_eq!(walked(z, z.score_ranks(&range), false), inside, "{range:?}");
        if lex {
            let (low, high) = (member(rng), member(rng));
            let min = if min_open { LexBound::Open(&low) } else { LexBound::Closed(&low) };
            let max = if max_open { LexBound::Max } else { LexBound::Closed(&high) };
            let fits = |m: &[u8]| min.starts_at_or_before(m) && max.ends_at_or_after(m);
            let inside: Vec<_> = all.iter().filter(|(_, m)| fits(m)).cloned().collect();
            for reverse in [false, true] {
                assert_eq!(walked(z, z.lex_ranks(min, max, reverse), false), inside, "{min:?} {max:?}");
            }
        }
    }

    fn member(rng: &mut Rng) -> Vec<u8> {
        match rng.below(3) {
            0 => rng.below(30).to_string().into_bytes(),
            _ => format!("m{}", rng.below(30)).into_bytes(),
        }
    }

    #[test]
    fn both_encodings_agree_with_their_naive_twin() {
        let mut rng = Rng::seeded(11);
        for (entries, lex) in [(1000, false), (1000, true), (20, false), (0, true)] {
            let limits = ZsetLimits { entries, value: 64 };
            let (mut z, mut twin) = (Zset::default(), Twin::new());
            for _ in 0..3000 {
                let m = member(&mut rng);
                let score = if lex { 0.0 } else { rng.below(6) as f64 / 2.0 };
                match rng.below(8) {
                    0 | 1 => assert_eq!(z.remove(&m), twin.remove(&m).is_some()),
                    2 if rng.below(20) == 0 => {
                        let (start, n) = (rng.index(z.len() + 1), rng.index(5));
                        let ranks = start..(start + n).min(z.len());
                        sorted(&twin)[ranks.clone()].iter().for_each(|(_, m)| {
                            twin.remove(m);
                        });
                        z.delete_ranks(ranks);
                    }
                    3 => {
                        let rank = sorted(&twin).iter().position(|(_, n)| *n == m);
                        assert_eq!(z.rank(&m), rank.map(|r| (r, twin[&m])));
                        assert_eq!(z.score(&m), twin.get(&m).copied());
                    }
                    _ => {
                        let old = twin.get(&m).copied();
                        let outcome = z.add(&m, score, Rules::default(), &limits);
                        assert_eq!(outcome, Rules::default().decide(old, score));
                        twin.insert(m, score);
                    }
                }
                compare(&z, &twin, &mut rng, lex);
            }
            assert_eq!(matches!(z, Zset::Packed(_)), entries == 1000);
            let again = Zset::from_sorted(&sorted(&twin), &limits);
            assert_eq!(matches!(again, Zset::Packed(_)), twin.len() <= entries);
            compare(&again, &twin, &mut rng, lex);
            compare(&z.clone(), &twin, &mut rng, lex);
        }
    }

    #[test]
    fn encodings_change_at_their_bounds() {
        let limits = ZsetLimits { entries: 2, value: 3 };
        let packed = |z: &Zset| matches!(z, Zset::Packed(_));
        let of = |members: &[&str]| {
            let mut z = Zset::with_hint(members.len(), members[0].len(), &limits);
            for m in members {
                z.add(m.as_bytes(), 1.0, Rules::default(), &limits);
            }
            z
        };
        assert!(packed(&of(&["a", "b"])) && !packed(&of(&["a", "b", "c"])));
        assert!(packed(&of(&["abc"])) && !packed(&of(&["abcd"])) && !packed(&of(&["a", "abcd"])));
        for (members, fits) in
            [(&["a", "b"][..], true), (&["a", "abcd"], false), (&["a", "b", "c"], false)]
        {
            let mut z = Zset::default();
            z.to_skip(members.len());
            for m in members {
                z.add(m.as_bytes(), -0.0, Rules::default(), &limits);
            }
            let z = z.compact(&limits);
            assert_eq!((packed(&z), z.len()), (fits, members.len()));
            assert_eq!(z.score(b"a").map(f64::is_sign_negative), Some(!fits));
        }
        let mut z = of(&["a"]);
        z.expect(2, &limits);
        assert!(packed(&z));
        z.expect(3, &limits);
        assert!(!packed(&z));
        // A member that the rules spare changes nothing.
        let mut z = of(&["a"]);
        let only_there = Rules { xx: true, ..Rules::default() };
        assert_eq!(z.add(b"abcd", 1.0, only_there, &limits), ZaddOutcome::Nothing);
        assert!(packed(&z));
    }

    #[test]
    fn rules_decide() {
        let (gt, lt) = (Rules { gt: true, ..Rules::default() }, Rules { lt: true, ..Rules::default() });
        assert_eq!(gt.decide(Some(1.0), 1.0), ZaddOutcome::Nothing);
        assert_eq!(gt.decide(Some(1.0), 2.0), ZaddOutcome::Updated(2.0));
        assert_eq!(lt.decide(Some(1.0), 2.0), ZaddOutcome::Nothing);
        assert_eq!(lt.decide(None, 2.0), ZaddOutcome::Added(2.0));
        let incr = Rules { incr: true, ..Rules::default() };
        assert_eq!(incr.decide(Some(1.5), 2.0), ZaddOutcome::Updated(3.5));
        assert_eq!(incr.decide(Some(f64::INFINITY), f64::NEG_INFINITY), ZaddOutcome::Nan);
        assert_eq!(incr.decide(Some(1.5), 0.0), ZaddOutcome::Same(1.5));
        let nx = Rules { nx: true, incr: true, ..Rules::default() };
        assert_eq!(nx.decide(Some(f64::INFINITY), f64::NEG_INFINITY), ZaddOutcome::Nothing);
    }
}
