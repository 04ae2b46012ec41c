//! Walking through a listpack.

use super::{Element, Lp, broken, codec};
use std::marker::PhantomData;

/// Values from either end.
#[derive(Clone)]
pub struct Iter<'a> {
    /// `front <= back`, both in one listpack behind its header; `back` is at most the end byte.
    pub(super) front: *const u8,
    pub(super) back: *const u8,
    pub(super) lp: PhantomData<&'a Lp>,
}

impl Iter<'_> {
    /// Whether nothing is left.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.front == self.back
    }

    /// Goes over up to `n` entries without looking at them.
    #[inline]
    pub fn pass(&mut self, n: usize) {
        for _ in 0..n {
            if self.front == self.back {
                return;
            }
            // SAFETY: front < back, in one listpack.
            let size = unsafe { codec::entry_size(self.front, self.back) };
            if size == 0 {
                broken();
            }
            // SAFETY: the entry ends at or before `back`.
            self.front = unsafe { self.front.add(size) };
        }
    }
}

/// Where the values of a walk go: any closure, or something that knows a shorter way for many.
pub trait Sink {
    fn one(&mut self, value: Element<'_>);

    /// Takes the next `n` values, as far as there are so many. Returns how many are missing.
    #[inline]
    fn run(&mut self, entries: &mut Iter<'_>, mut n: usize) -> usize {
        while n > 0
            && let Some(value) = entries.next()
        {
            self.one(value);
            n -= 1;
        }
        n
    }
}

impl<F: FnMut(Element<'_>)> Sink for F {
    #[inline(always)]
    fn one(&mut self, value: Element<'_>) {
        self(value);
    }
}

// SAFETY: it is a shared borrow of an `Lp`, which is Sync.
unsafe impl Send for Iter<'_> {}
// SAFETY: as above.
unsafe impl Sync for Iter<'_> {}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<Element<'a>> {
        if self.front == self.back {
            return None;
        }
        // SAFETY: front < back, in a listpack borrowed for 'a.
        let Some((value, size)) = (unsafe { codec::decode(self.front, self.back) }) else { broken() };
        // SAFETY: the entry ends at or before `back`.
        self.front = unsafe { self.front.add(size) };
        Some(value)
    }

    fn count(self) -> usize {
        let mut n = 0;
        let mut p = self.front;
        while p != self.back {
            // SAFETY: front <= p < back.
            let size = unsafe { codec::entry_size(p, self.back) };
            if size == 0 {
                broken();
            }
            // SAFETY: the entry ends at or before `back`.
            p = unsafe { p.add(size) };
            n += 1;
        }
        n
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.front == self.back {
            return None;
        }
        // SAFETY: front < back, with a listpack's header before the front.
        let Some(p) = (unsafe { codec::entry_before(self.back, self.front) }) else { broken() };
        // SAFETY: front <= p < back, as an entry has at least two bytes.
        let Some((value, _)) = (unsafe { codec::decode(p, self.back) }) else { broken() };
        self.back = p;
        Some(value)
    }
}
