//! A walk over a table that moves its blocks and those of its elements out of sparse slabs.

use super::{Array, BUCKET_LAYOUT, Elem, LAST, LINE, Table, prefetch};
use crate::ds::hash::hash;
use crate::sys::defrag::Mover;
use crate::sys::map;

impl<E: Elem> Table<E> {
    /// One step, in the order of `scan`: `f` moves an element, and gives the handle that is to take its
    /// place. Returns the next cursor, 0 at the end.
    ///
    /// # Safety
    /// What `f` gives is live, and has the key of the element that it was given, which may be gone.
    pub unsafe fn defrag(
        &mut self,
        cursor: u64,
        mover: &mut Mover,
        mut f: impl FnMut(&mut Mover, E) -> Option<E>,
    ) -> u64 {
        if cursor == 0 {
            self.arrays_mut().for_each(|a| a.defrag(mover));
        }
        for a in self.arrays_mut() {
            let i = cursor as usize & a.mask();
            a.defrag_children(i, mover);
        }
        let mut met = Vec::new();
        let next = self.scan(cursor, |e| {
            prefetch(e.to_ptr().as_ptr());
            met.push(e);
        });
        for e in met {
            if let Some(new) = f(mover, e) {
                // SAFETY: by contract the new one is live; nothing looks at the old one.
                let replaced = unsafe { self.replace(hash(new.key()), e, new) };
                debug_assert!(replaced, "a scan gives what is in the table");
            }
        }
        next
    }

    fn arrays_mut(&mut self) -> impl Iterator<Item = &mut Array> {
        let to = self.rehash.as_mut().map(|r| &mut r.to);
        Some(&mut self.main).filter(|a| a.exists()).into_iter().chain(to)
    }
}

impl Array {
    fn defrag(&mut self, mover: &mut Mover) {
        let count = self.count();
        if count * LINE >= map::MAP_FROM {
            return;
        }
        // SAFETY: made by `new` with this layout; nothing else leads to it.
        let new = unsafe { mover.try_relocate(self.buckets().cast(), Self::layout(count)) };
        if let Some(new) = new {
            self.moved_to(new.cast());
        }
    }

    /// Moves the buckets behind the one at `i`.
    fn defrag_children(&mut self, i: usize, mover: &mut Mover) {
        let mut at = self.at(i);
        loop {
            // SAFETY: `&mut self`; one bucket at a time is borrowed.
            let b = unsafe { at.as_mut() };
            let Some(child) = b.child() else { return };
            at = child;
            // SAFETY: a child has this layout, and its parent alone leads to it.
            if let Some(new) = unsafe { mover.try_relocate(child.cast(), BUCKET_LAYOUT) } {
                b.set_raw(LAST, new.as_ptr() as u64);
                at = new.cast();
            }
        }
    }
}
