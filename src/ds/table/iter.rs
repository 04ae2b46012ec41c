//! Walks over all elements of a table.

use super::{Bucket, Elem, Table, prefetch};

/// Every element, bucket by bucket. It looks at none of them: what it has given may be freed meanwhile.
pub(in crate::ds) struct Iter<'a, E> {
    table: &'a Table<E>,
    in_new: bool,
    bucket: usize,
    chain: Option<&'a Bucket>,
    mask: u32,
}

impl<'a, E> Iter<'a, E> {
    pub(super) fn of(table: &'a Table<E>) -> Self {
        Iter { table, in_new: false, bucket: 0, chain: None, mask: 0 }
    }
}

impl<E: Elem> Iterator for Iter<'_, E> {
    type Item = E;
    fn next(&mut self) -> Option<E> {
        loop {
            if self.mask != 0 {
                let i = self.mask.trailing_zeros() as usize;
                self.mask &= self.mask - 1;
                return Some(self.chain.expect("a mask belongs to a bucket").get(i));
            }
            // SAFETY: the table is borrowed; children live as long as their array.
            self.chain = match self.chain.and_then(|b| b.child()).map(|c| unsafe { c.as_ref() }) {
                Some(b) => Some(b),
                None => {
                    let a = if self.in_new { self.table.to()? } else { &self.table.main };
                    if self.bucket < a.count() {
                        self.bucket += 1;
                        // SAFETY: as above.
                        Some(unsafe { a.at(self.bucket - 1).as_ref() })
                    } else if !self.in_new {
                        (self.in_new, self.bucket) = (true, 0);
                        None
                    } else {
                        return None;
                    }
                }
            };
            self.mask = self.chain.map_or(0, |b| b.taken());
        }
    }
}

/// Elements in the table's order, the memory of each fetched before its turn.
pub(in crate::ds) struct Ahead<'a, E> {
    elements: Iter<'a, E>,
    ring: [Option<E>; AHEAD],
    at: usize,
    begun: bool,
}

/// How many elements are fetched ahead of the one that is given.
const AHEAD: usize = 8;

impl<'a, E: Elem> Ahead<'a, E> {
    pub(super) fn of(elements: Iter<'a, E>) -> Self {
        Ahead { elements, ring: [None; AHEAD], at: 0, begun: false }
    }

    #[inline]
    fn fetch(&mut self) -> Option<E> {
        let e = self.elements.next()?;
        prefetch(e.to_ptr().as_ptr());
        Some(e)
    }
}

impl<E: Elem> Iterator for Ahead<'_, E> {
    type Item = E;

    fn next(&mut self) -> Option<E> {
        if !self.begun {
            self.begun = true;
            for i in 0..AHEAD {
                self.ring[i] = self.fetch();
            }
        }
        let new = self.fetch();
        let old = std::mem::replace(&mut self.ring[self.at], new);
        self.at = (self.at + 1) % AHEAD;
        old
    }
}
