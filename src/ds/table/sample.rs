//! One element of a table by chance.
//!
//! ```text
//!   a random number ─► bucket i, and k below the length of the longest chain
//!                        └─ the chain of i has more than k elements?  yes: its k-th   no: again
//! ```
//!
//! Every element is found by exactly one pair (i, k), so all are as likely. A pair costs one access to
//! memory; in a table that is nearly empty it takes many pairs, so several buckets are fetched at once.
//! The longest chain is `depth`, which falls back to one bucket when no bucket has a child: a table that
//! has lost most of its elements is sampled as if it had never been full.

use super::{Array, Elem, Table, chain_len, prefetch, slots};

/// Pairs that are tried one by one: in a table as full as most are, the first is often good.
const SINGLE: usize = 3;
/// Buckets that are fetched at once after those, and how often: a table in which so many pairs find
/// nothing is nearly empty, and more of them cost more than to walk to the next taken bucket.
const GROUP: usize = 16;
const GROUPS: usize = 12;

impl<E: Elem> Table<E> {
    /// A fair sample: every element is as likely as every other. `random` gives uniform numbers.
    pub fn random(&self, mut random: impl FnMut() -> u64) -> Option<E> {
        if self.is_empty() {
            return None;
        }
        for _ in 0..SINGLE {
            let (a, i, k) = self.pair(random());
            if let Some(e) = nth_of_chain(a, i, k) {
                return Some(e);
            }
        }
        for _ in 0..self.groups() {
            let pairs: [_; GROUP] = std::array::from_fn(|_| self.pair(random()));
            pairs.iter().for_each(|(a, i, _)| prefetch(a.at(*i).as_ptr()));
            if let Some(e) = pairs.iter().find_map(|(a, i, k)| nth_of_chain(a, *i, *k)) {
                return Some(e);
            }
        }
        self.random_sparse(random())
    }

    /// How many groups are worth trying: none where all of them would most likely find nothing.
    fn groups(&self) -> usize {
        let (count, depth) = (self.old.count() + self.new.count(), self.old.depth.max(self.new.depth));
        let pairs_each = count.saturating_mul(depth as usize) / (self.old.used + self.new.used).max(1);
        if pairs_each > 2 * GROUPS * GROUP { 0 } else { GROUPS }
    }

    /// A bucket by the high half of a random number, and a place in its chain by the low half.
    #[inline]
    fn pair(&self, r: u64) -> (&Array, usize, usize) {
        let (old, new) = (self.old.count() - self.rehashed(), self.new.count());
        let depth = u64::from(self.old.depth.max(self.new.depth));
        let n = ((u128::from(r) * (old + new) as u128) >> 64) as usize;
        let k = (((r & 0xffff_ffff) * depth) >> 32) as usize;
        if n < old { (&self.old, self.rehashed() + n, k) } else { (&self.new, n - old, k) }
    }

    /// For tables so empty that pairs do not end soon: the next taken bucket after a random one.
    #[cold]
    fn random_sparse(&self, r: u64) -> Option<E> {
        let (old, total) = (self.old.count(), self.old.count() + self.new.count());
        let start = (r >> 16) as usize % total;
        (start..total).chain(0..start).find_map(|n| {
            let (a, i) = if n < old { (&self.old, n) } else { (&self.new, n - old) };
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
