//! A big sorted set: the order (`skiplist`) and a table from member to node, over the same nodes.
//!
//! ```text
//! table ──► node ◄── order       a node leaves the table before the order frees it
//! ```

use super::hash::hash;
use super::moving::DefragCursor;
use super::skiplist::{NodePtr, Skiplist};
use super::table::{Elem, Figures, Table};
use crate::sys::defrag::Mover;
use std::ops::Range;
use std::ptr::NonNull;

#[derive(Clone, Copy, PartialEq)]
struct Slot(NodePtr);

// SAFETY: `to_ptr` gives the address of the node, which user space keeps below 2^48, and `from_ptr` takes
// it back; the member of a live node never changes.
unsafe impl Elem for Slot {
    #[inline]
    fn to_ptr(self) -> NonNull<u8> {
        NonNull::new(self.0.addr() as *mut u8).expect("no node at zero")
    }
    #[inline]
    unsafe fn from_ptr(p: NonNull<u8>) -> Self {
        // SAFETY: came from `to_ptr` of a node that lives as long as its place in the table.
        Slot(unsafe { NodePtr::from_addr(p.as_ptr() as usize) })
    }
    #[inline]
    unsafe fn key<'a>(self) -> &'a [u8] {
        // SAFETY: by contract.
        unsafe { self.0.as_ref() }.member()
    }
}

// SAFETY: a handle; table and order are sent together.
unsafe impl Send for Slot {}

#[derive(Default)]
pub struct Zindex {
    table: Table<Slot>,
    order: Skiplist,
}

impl Zindex {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn len(&self) -> usize {
        self.order.len()
    }
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
    /// Ranges, ranks and iteration.
    pub fn order(&self) -> &Skiplist {
        &self.order
    }
    pub fn reserve(&mut self, n: usize) {
        self.table.reserve(n);
    }

    #[inline]
    fn step(&mut self) {
        if self.table.is_rehashing() {
            self.table.rehash(1);
        }
    }

    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.score_hashed(hash(member), member)
    }

    #[inline]
    pub fn score_hashed(&self, h: u64, member: &[u8]) -> Option<f64> {
        // SAFETY: nodes in the table live.
        self.table.find(h, member).map(|s| unsafe { s.0.as_ref() }.score())
    }

    pub fn prefetch_bucket(&self, h: u64) {
        self.table.prefetch_bucket(h);
    }
    pub fn prefetch_elem(&self, h: u64) {
        self.table.prefetch_elem(h);
    }

    /// Gives a member its score; returns the old one.
    pub fn set(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let mut before = None;
        self.update(member, |old| {
            before = old;
            Some(score)
        });
        before
    }

    /// Shows `decide` the score of a member, if it has one, and gives it the one that comes back, if
    /// any.
    pub fn update(&mut self, member: &[u8], decide: impl FnOnce(Option<f64>) -> Option<f64>) {
        let h = hash(member);
        self.step();
        let Some(s) = self.table.find(h, member) else {
            if let Some(score) = decide(None) {
                let node = self.order.insert(score, member);
                // SAFETY: a node leaves the table before the order frees it.
                unsafe { self.table.insert(h, Slot(node)) };
            }
            return;
        };
        // SAFETY: nodes in the table live in this order.
        let old = unsafe { s.0.as_ref() }.score();
        if let Some(score) = decide(Some(old))
            && score != old
        {
            // SAFETY: as above, and no reference to the node is left.
            unsafe { self.order.update_score(s.0, score) };
        }
    }

    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        self.step();
        let s = self.table.remove_key(hash(member), member)?;
        // SAFETY: the table has just forgotten a node of this order.
        let node = unsafe { self.order.remove(s.0) };
        self.shrink();
        Some(node.score())
    }

    fn shrink(&mut self) {
        if self.table.wants_shrink() {
            self.table.shrink();
        }
    }

    /// Place in the order, from 0, and score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let s = self.table.find(hash(member), member)?;
        // SAFETY: nodes in the table live in this order.
        let node = unsafe { s.0.as_ref() };
        Some((self.order.rank_of(node), node.score()))
    }

    /// Removes a range of ranks, telling each member and score first.
    pub fn delete_ranks(&mut self, ranks: Range<usize>, mut told: impl FnMut(&[u8], f64)) -> usize {
        let Zindex { table, order } = self;
        let n = order.delete_ranks(ranks, |node| {
            told(node.member(), node.score());
            let gone = table.remove(hash(node.member()), Slot(node.ptr()));
            debug_assert!(gone, "every node is in the table");
        });
        self.shrink();
        n
    }

    pub fn scan(&self, cursor: u64, mut f: impl FnMut(&[u8], f64)) -> u64 {
        self.table.scan(cursor, |s| {
            // SAFETY: nodes in the table live.
            let node = unsafe { s.0.as_ref() };
            f(node.member(), node.score());
        })
    }

    /// A fair sample.
    pub fn random(&self, mut below: impl FnMut(u64) -> u64) -> Option<(&[u8], f64)> {
        let rank = below(self.len() as u64) as usize;
        self.order.get_by_rank(rank).map(|n| (n.member(), n.score()))
    }

    /// One step of a walk that moves blocks out of sparse slabs: first along the order, then over the table.
    /// True at the end.
    pub fn defrag(&mut self, at: &mut DefragCursor, mover: &mut Mover) -> bool {
        let Zindex { table, order } = self;
        if at.stage > 0 {
            // SAFETY: nothing takes the place of anything.
            at.at = unsafe { table.defrag(at.at, mover, |_, _| None) };
            return at.at == 0;
        }
        let next = order.defrag(at.at as usize, mover, |member, old, new| {
            // SAFETY: the node lives in the order; nothing looks at the old address.
            let replaced = unsafe { table.replace(hash(member), Slot(old), Slot(new)) };
            assert!(replaced, "every node is in the table");
        });
        match next {
            Some(rank) => at.at = rank as u64,
            None => at.next_stage(),
        }
        false
    }

    /// Bytes of the structure and of all that it leads to.
    pub fn footprint(&self) -> usize {
        size_of::<Table<Slot>>() + self.table.overhead() + self.order.mem_size()
    }

    pub fn figures(&self, full: bool) -> Figures {
        self.table.figures(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_agrees_with_its_naive_twin() {
        let (mut z, mut twin) = (Zindex::new(), BTreeMap::<Vec<u8>, f64>::new());
        let (mut n, mut at, mut mover) = (3u64, DefragCursor::default(), Mover::always());
        for i in 0..20_000 {
            if i % 7 == 0 && z.defrag(&mut at, &mut mover) {
                at = DefragCursor::default();
            }
            n = n.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let member = format!("m{}", (n >> 40) % 700).into_bytes();
            let score = ((n >> 33) % 50) as f64;
            match (n >> 60) % 4 {
                0 | 1 => assert_eq!(z.set(&member, score), twin.insert(member, score)),
                2 => assert_eq!(z.remove(&member), twin.remove(&member)),
                _ => assert_eq!(z.score(&member), twin.get(&member).copied()),
            }
        }
        let mut sorted: Vec<(f64, Vec<u8>)> = twin.iter().map(|(m, s)| (*s, m.clone())).collect();
        sorted.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
        for (i, (s, m)) in sorted.iter().enumerate() {
            assert_eq!(z.rank(m), Some((i, *s)));
        }
        let mut told = Vec::new();
        z.delete_ranks(10..20, |m, _| told.push(m.to_vec()));
        assert_eq!(told, sorted[10..20].iter().map(|(_, m)| m.clone()).collect::<Vec<_>>());
        assert!(told.iter().all(|m| z.score(m).is_none()));
    }
}
