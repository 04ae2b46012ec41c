//! Sets: an intset while all members are integers, a listpack while small, a table when big.
//!
//! ```text
//! intset ──► listpack ──► table      a member that is no integer, too many, too long; never back
//! ```

use super::digest::Digest;
use super::hash::defrag_table;
use super::tables::{self, Full};
use super::value::ValueKind;
use crate::algo::num::parse_i64;
use crate::algo::rng::Rng;
use crate::ds::entry::{enc, ty};
use crate::ds::intset::Intset;
use crate::ds::listpack::{Element, Listpack, Sink, safe_to_add};
use crate::ds::moving::DefragCursor;
use crate::ds::pairs::Pairs;
use crate::sys::defrag::Mover;

/// Draws with repetition from a listpack, in one walk through it (SRANDFIELD_RANDOM_SAMPLE_LIMIT).
const PICKED_AT_ONCE: u64 = 1000;
/// SPOP that removes more than so many members for each one it keeps draws the kept ones instead
/// (SPOP_MOVE_STRATEGY_MUL).
const POP_MOVE: usize = 5;
/// Bytes that an integer takes in a listpack at most.
const PACKED_INT_MAX: usize = 10;

#[derive(Clone)]
pub enum Set {
    Ints(Intset),
    Packed(Listpack),
    Table(Box<Pairs>),
}

/// `set-max-intset-entries`, `set-max-listpack-entries`, `set-max-listpack-value`.
#[derive(Clone, Copy, Debug)]
pub struct SetLimits {
    pub ints: usize,
    pub entries: usize,
    pub value: usize,
}

impl Default for SetLimits {
    fn default() -> Self {
        SetLimits { ints: 512, entries: 128, value: 64 }
    }
}

impl SetLimits {
    /// Longest intset there may be: 2^30 whatever the directive says.
    pub fn max_ints(&self) -> usize {
        self.ints.min(1 << 30)
    }
}

impl ValueKind for Set {
    const TYPE: u8 = ty::SET;
    fn into_parts(self) -> (u8, u64) {
        match self {
            Set::Ints(s) => (enc::INTSET, s.into_raw().as_ptr() as u64),
            Set::Packed(l) => (enc::LISTPACK, l.into_raw().as_ptr() as u64),
            Set::Table(t) => (enc::HT, Box::into_raw(t) as u64),
        }
    }
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn effort(&self) -> usize {
        match self {
            Set::Table(t) => t.len(),
            _ => 1,
        }
    }
    fn heap_bytes(&self) -> usize {
        match self {
            Set::Ints(s) => s.alloc_size(),
            Set::Packed(l) => l.alloc_size(),
            Set::Table(t) => t.footprint(),
        }
    }
    fn digest(&self, d: &mut Digest) {
        self.for_each(|m| m.with_text(|m| d.xor(m)));
    }
    fn is_rehashing(&self) -> bool {
        matches!(self, Set::Table(t) if t.is_rehashing())
    }
    fn rehash(&mut self, steps: usize) {
        if let Set::Table(t) = self {
            t.rehash(steps);
        }
    }
    fn table_figures(&self, full: Full) -> Option<String> {
        match self {
            Set::Ints(_) | Set::Packed(_) => None,
            Set::Table(t) => Some(tables::figures(&t.figures(full.0))),
        }
    }
    fn defrag(&mut self, at: &mut DefragCursor, mover: &mut Mover) -> bool {
        match self {
            Set::Ints(s) => s.defrag(mover),
            Set::Packed(l) => l.defrag(mover),
            Set::Table(t) => return defrag_table(t, at, mover),
        }
        true
    }
}

impl Set {
    /// The set that fits a first member, with `hint` more to come.
    pub fn for_member(member: &[u8], hint: usize, limits: &SetLimits) -> Set {
        if parse_i64(member).is_some() && hint <= limits.ints {
            return Set::Ints(Intset::new());
        }
        if hint <= limits.entries {
            return Set::Packed(Listpack::new());
        }
        let mut t = Box::new(Pairs::new());
        t.reserve(hint);
        Set::Table(t)
    }

    pub fn len(&self) -> usize {
        match self {
            Set::Ints(s) => s.len(),
            Set::Packed(l) => l.len(),
            Set::Table(t) => t.len(),
        }
    }

    pub fn contains(&self, member: &[u8]) -> bool {
        match self {
            Set::Ints(s) => parse_i64(member).is_some_and(|n| s.contains(n)),
            Set::Packed(l) => l.first().is_some_and(|f| l.find(f, member, 0).is_some()),
            Set::Table(t) => t.contains(member),
        }
    }

    pub fn contains_element(&self, member: Element<'_>) -> bool {
        match (self, member) {
            (Set::Ints(s), Element::Int(n)) => s.contains(n),
            _ => member.with_text(|m| self.contains(m)),
        }
    }

    /// With text and hash of the member computed before: one hash serves all tables.
    #[inline]
    pub fn contains_hashed(&self, member: Element<'_>, text: &[u8], hash: u64) -> bool {
        match (self, member) {
            (Set::Table(t), _) => t.contains_hashed(hash, text),
            (Set::Ints(s), Element::Int(n)) => s.contains(n),
            _ => self.contains(text),
        }
    }

    /// Makes ready for `hint` more members: one that they alone would burst becomes a table.
    pub fn prepare(&mut self, hint: usize, limits: &SetLimits) {
        let bound = match self {
            Set::Ints(_) => limits.ints,
            Set::Packed(_) => limits.entries,
            Set::Table(_) => return,
        };
        if hint > bound {
            self.to_table(hint);
        }
    }

    /// Adds a member; true when it is new.
    pub fn add(&mut self, member: &[u8], limits: &SetLimits) -> bool {
        match self {
            Set::Table(t) => t.add(member),
            Set::Packed(l) => {
                if l.first().is_some_and(|f| l.find(f, member, 0).is_some()) {
                    return false;
                }
                let fits = l.len() < limits.entries
                    && member.len() <= limits.value
                    && safe_to_add(Some(l), member.len());
                if fits {
                    l.push_back(member);
                    return true;
                }
                self.to_table(self.len() + 1);
                self.add(member, limits)
            }
            Set::Ints(_) => match parse_i64(member) {
                Some(n) => self.add_int(n, limits),
                None => {
                    self.leave_ints(member.len(), limits);
                    self.add(member, limits)
                }
            },
        }
    }

    fn add_int(&mut self, n: i64, limits: &SetLimits) -> bool {
        let Set::Ints(s) = self else {
            return self.add(itoa::Buffer::new().format(n).as_bytes(), limits);
        };
        let is_new = s.add(n);
        if is_new && s.len() > limits.max_ints() {
            self.to_table(self.len());
        }
        is_new
    }

    pub fn add_element(&mut self, member: Element<'_>, limits: &SetLimits) -> bool {
        match member {
            Element::Int(n) => self.add_int(n, limits),
            Element::Str(s) => self.add(s, limits),
        }
    }

    /// An intset that is to get a member of `len` bytes, which is no integer, becomes a listpack, or a
    /// table where the limits say so.
    fn leave_ints(&mut self, len: usize, limits: &SetLimits) {
        let Set::Ints(s) = self else { return };
        let digits = |n: i64| itoa::Buffer::new().format(n).len();
        let longest = [s.min(), s.max()].into_iter().flatten().map(digits).max().unwrap_or(0);
        let fits = s.len() < limits.entries
            && len.max(longest) <= limits.value
            && safe_to_add(None, s.len().saturating_mul(PACKED_INT_MAX).saturating_add(len));
        if fits {
            *self = Set::Packed(Listpack::of(s.iter().map(Element::Int)));
        } else {
            self.to_table(self.len() + 1);
        }
    }

    /// A set that holds nothing but integers becomes an intset, if it is not too big for one.
    pub fn back_to_ints(&mut self, limits: &SetLimits) {
        if matches!(self, Set::Ints(_)) || self.len() > limits.max_ints() {
            return;
        }
        let mut ints = Intset::new();
        self.for_each(|m| {
            let n = match m {
                Element::Int(n) => Some(n),
                Element::Str(s) => parse_i64(s),
            };
            ints.add(n.expect("the caller has seen integers only"));
        });
        *self = Set::Ints(ints);
    }

    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Set::Table(t) => t.remove(member),
            Set::Packed(l) => {
                let Some(at) = l.first().and_then(|f| l.find(f, member, 0)) else { return false };
                l.delete(at);
                true
            }
            Set::Ints(s) => parse_i64(member).is_some_and(|n| s.remove(n)),
        }
    }

    pub fn remove_element(&mut self, member: Element<'_>) -> bool {
        match (self, member) {
            (Set::Ints(s), Element::Int(n)) => s.remove(n),
            (set, _) => member.with_text(|m| set.remove(m)),
        }
    }

    /// Adds a member of a set that is read from a file and has `len` of them, `longest` the length of the
    /// longest so far; false when it was there. Other than `add`, it reckons with all that will come.
    pub fn add_loaded(&mut self, member: &[u8], len: usize, longest: usize, limits: &SetLimits) -> bool {
        match self {
            Set::Ints(s) if parse_i64(member).is_none() => {
                let bytes = s.len().saturating_mul(PACKED_INT_MAX).saturating_add(member.len());
                if s.len() < limits.entries && longest <= limits.value && safe_to_add(None, bytes) {
                    *self = Set::Packed(Listpack::of(s.iter().map(Element::Int)));
                } else {
                    self.to_table(len);
                }
            }
            Set::Packed(l) => {
                let fits = l.len() < limits.entries && member.len() <= limits.value;
                if !fits || !safe_to_add(Some(l), member.len()) {
                    self.to_table(len);
                }
            }
            _ => {}
        }
        match self {
            Set::Ints(s) => parse_i64(member).is_some_and(|n| s.add(n)),
            Set::Packed(l) => {
                let is_new = l.first().is_none_or(|f| l.find(f, member, 0).is_none());
                if is_new {
                    l.push_back(member);
                }
                is_new
            }
            Set::Table(t) => t.add(member),
        }
    }

    /// Makes it a table that need not grow before it has `len` members.
    pub fn to_table(&mut self, len: usize) {
        let mut t = Box::new(Pairs::new());
        t.reserve(len);
        self.for_each(|m| {
            m.with_text(|m| t.add(m));
        });
        *self = Set::Table(t);
    }

    /// Any member, each as likely as every other. None of an empty set.
    pub fn random(&self, rng: &mut Rng) -> Option<Element<'_>> {
        match self {
            Set::Ints(s) => s.random(|n| rng.index(n)).map(Element::Int),
            Set::Packed(l) => l.pick_one(1, |n| rng.index(n)).map(|at| l.get(at)),
            Set::Table(t) => t.random(|| rng.next_u64()).map(|(m, _)| Element::Str(m)),
        }
    }

    /// `n` members, every one drawn anew, for as long as `f` wants more.
    pub fn pick(&self, n: u64, rng: &mut Rng, mut f: impl FnMut(Element<'_>) -> bool) {
        let Set::Packed(l) = self else {
            for _ in 0..n {
                let Some(member) = self.random(rng) else { return };
                if !f(member) {
                    return;
                }
            }
            return;
        };
        let mut left = n;
        while left > 0 {
            let now = left.min(PICKED_AT_ONCE);
            left -= now;
            for at in l.pick(now as usize, 1, |n| rng.index(n)) {
                if !f(l.get(at)) {
                    return;
                }
            }
        }
    }

    /// `n` different members, or all there are.
    pub fn sample(&self, n: usize, rng: &mut Rng, mut f: impl FnMut(Element<'_>)) {
        match self {
            _ if n >= self.len() => self.for_each(f),
            Set::Packed(l) => l.sample(n, 1, |n| rng.index(n)).into_iter().for_each(|at| f(l.get(at))),
            Set::Table(t) => t.sample(n, rng, |m, _| {
                f(Element::Str(m));
                true
            }),
            Set::Ints(s) => {
                let mut left = s.len();
                let mut missing = n;
                for m in s.iter() {
                    // Each of the `left` members still ahead is equally likely to be among the
                    // `missing`.
                    if rng.index(left) < missing {
                        f(Element::Int(m));
                        missing -= 1;
                    }
                    left -= 1;
                }
            }
        }
    }

    /// Takes any member out, each as likely as every other, after `f` has seen it.
    pub fn pop<R>(&mut self, rng: &mut Rng, f: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        match self {
            Set::Table(t) => t.pop_random(rng, |m| f(Element::Str(m))),
            Set::Packed(l) => {
                let at = l.pick_one(1, |n| rng.index(n))?;
                let seen = f(l.get(at));
                l.delete(at);
                Some(seen)
            }
            Set::Ints(s) => {
                let n = s.random(|n| rng.index(n))?;
                s.remove(n);
                Some(f(Element::Int(n)))
            }
        }
    }

    /// Takes `n` members out, fewer than there are. When nearly all go, the few that stay are drawn
    /// instead, and make a set anew, in the encoding that fits them.
    pub fn pop_many(
        &mut self,
        n: usize,
        rng: &mut Rng,
        limits: &SetLimits,
        mut f: impl FnMut(Element<'_>),
    ) {
        let stay = self.len().checked_sub(n).expect("fewer go than there are");
        if stay.saturating_mul(POP_MOVE) > n {
            if let Set::Packed(l) = self {
                let places = l.sample(n, 1, |n| rng.index(n));
                places.iter().for_each(|at| f(l.get(*at)));
                return l.delete_all(&places);
            }
            for _ in 0..n {
                self.pop(rng, &mut f);
            }
            return;
        }
        let mut new = if matches!(self, Set::Ints(_)) {
            Set::Ints(Intset::new())
        } else {
            Set::Packed(Listpack::new())
        };
        if let Set::Packed(l) = self {
            let places = l.sample(stay, 1, |n| rng.index(n));
            places.iter().for_each(|at| {
                new.add_element(l.get(*at), limits);
            });
            l.delete_all(&places);
        } else {
            for _ in 0..stay {
                self.pop(rng, |m| new.add_element(m, limits));
            }
        }
        self.for_each(f);
        *self = new;
    }

    /// Members in their order, for as long as `f` wants more.
    pub fn all(&self, mut f: impl FnMut(Element<'_>) -> bool) -> bool {
        match self {
            Set::Ints(s) => s.iter().all(|n| f(Element::Int(n))),
            Set::Packed(l) => l.iter().all(f),
            Set::Table(t) => t.keys().all(|k| f(Element::Str(k))),
        }
    }

    pub fn for_each(&self, mut f: impl FnMut(Element<'_>)) {
        match self {
            Set::Ints(s) => s.iter().for_each(|n| f(Element::Int(n))),
            Set::Packed(l) => l.iter().for_each(f),
            Set::Table(t) => t.keys().for_each(|k| f(Element::Str(k))),
        }
    }

    /// Hands out every member.
    pub fn show(&self, sink: &mut impl Sink) {
        match self {
            Set::Packed(l) => _ = sink.run(&mut l.iter(), l.len()),
            s => s.for_each(|m| sink.one(m)),
        }
    }
}
