//! One element of a table by chance.
//!
//! ```text
//!   during a rehash: the main array or the new one, as likely as each holds elements
//!   a random number ─► bucket i, and k below the length of the longest chain
//!                        └─ the chain of i has more than k elements?  yes: its k-th   no: again
//! ```
//!
//! Every element of an array is found by exactly one pair (i, k), so all are as likely. A pair costs one
//! access to memory; in an array that is nearly empty it takes many pairs, so several buckets are fetched at
//! once, and where even those would find nothing the buckets are walked instead. The longest chain is
//! `depth`, which falls back to one bucket when no bucket has a child: an array that has lost most of its
//! elements is sampled as if it had never been full. What a rehash has emptied of the main one is left out.

use super::{Array, Elem, Table, chain_len, prefetch, slots};

/// Pairs that are tried one by one: in a table as full as most are, the first is often good.
const SINGLE: usize = 3;
/// Buckets that are fetched at once after those, and how often: an array in which so many pairs find
/// nothing is nearly empty, and more of them cost more than to walk to the next taken bucket.
const GROUP: usize = 16;
const GROUPS: usize = 12;
/// With more pairs than this for each element the groups would most likely find nothing.
const SPARSE: usize = 2 * GROUPS * GROUP;

/// An array and its first bucket that may hold an element.
struct Part<'a> {
    array: &'a Array,
    from: usize,
}

impl<E: Elem> Table<E> {
    /// A fair sample: every element is as likely as every other. `random` gives uniform numbers.
    pub fn random(&self, mut random: impl FnMut() -> u64) -> Option<E> {
        if self.is_empty() {
            return None;
        }
        let part = self.part_by_chance(&mut random);
        for _ in 0..SINGLE {
            let (i, k) = part.pair(random());
            if let Some(e) = nth_of_chain(part.array, i, k) {
                return Some(e);
            }
        }
        for _ in 0..if part.pairs_each() > SPARSE { 0 } else { GROUPS } {
            let pairs: [_; GROUP] = std::array::from_fn(|_| part.pair(random()));
            pairs.iter().for_each(|(i, _)| prefetch(part.array.at(*i).as_ptr()));
            if let Some(e) = pairs.iter().find_map(|(i, k)| nth_of_chain(part.array, *i, *k)) {
                return Some(e);
            }
        }
        part.walk(random())
    }

    fn part_by_chance(&self, random: &mut impl FnMut() -> u64) -> Part<'_> {
        let main = Part { array: &self.main, from: self.rehashed() };
        match self.to() {
            Some(to) if below(random(), self.main.used + to.used) >= self.main.used => {
                Part { array: to, from: 0 }
            }
            _ => main,
        }
    }
}

/// A number below `n` by the high half of a random one.
#[inline]
pub(in crate::ds) fn below(r: u64, n: usize) -> usize {
    ((u128::from(r) * n as u128) >> 64) as usize
}

impl Part<'_> {
    /// A bucket by the high half of a random number, and a place in its chain by the low half.
    #[inline]
    fn pair(&self, r: u64) -> (usize, usize) {
        let k = ((r & 0xffff_ffff) * u64::from(self.array.depth)) >> 32;
        (self.from + below(r, self.array.count() - self.from), k as usize)
    }

    /// How many pairs there are for each element.
    fn pairs_each(&self) -> usize {
        (self.array.count() - self.from).saturating_mul(self.array.depth as usize)
            / self.array.used.max(1)
    }

    /// For arrays so empty that pairs do not end soon: the next taken bucket after a random one.
    #[cold]
    fn walk<E: Elem>(&self, r: u64) -> Option<E> {
        let (a, start) = (self.array, self.pair(r).0);
        (start..a.count()).chain(self.from..start).find_map(|i| {
            let len = chain_len(a, i);
            if len == 0 { None } else { nth_of_chain(a, i, (r & 0xffff) as usize % len) }
        })
    }
}

/// Element `k` of the chain that begins at bucket `i`, if it has so many.
#[inline]
fn nth_of_chain<E: Elem>(a: &Array, i: usize, mut k: usize) -> Option<E> {
    for b in a.chain(i) {
        let taken = b.taken();
        let n = taken.count_ones() as usize;
        if k < n {
            return slots(taken).nth(k).map(|j| b.get(j));
        }
        k -= n;
    }
    None
}
