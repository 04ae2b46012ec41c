//! A walk along the order that moves pages and nodes out of sparse slabs, a leaf at a time.

use super::page::{Page, Shape};
use super::{NodePtr, Path, Skiplist, Step};
use crate::sys::defrag::Mover;

impl Skiplist {
    /// Moves what belongs to the leaf in which `rank` stands, from there on. `told` hears of each node that
    /// has moved: its member, its address before and its address now. The rank to go on with; None at
    /// the end.
    pub fn defrag(
        &mut self,
        rank: usize,
        mover: &mut Mover,
        mut told: impl FnMut(&[u8], NodePtr, NodePtr),
    ) -> Option<usize> {
        if rank >= self.len {
            return None;
        }
        let mut path = self.seek(rank);
        self.defrag_pages(&mut path, mover);
        let leaf = path.leaf;
        (path.row..leaf.len()).for_each(|row| leaf.node(row).prefetch());
        for row in path.row..leaf.len() {
            let old = leaf.node(row);
            // SAFETY: a node of this list, which `&mut self` keeps from being borrowed.
            let Some(new) = (unsafe { old.relocated(mover) }) else { continue };
            leaf.set(row, leaf.scores()[row], new);
            if row == 0 {
                path.set_first(self.depth, leaf.scores()[0], new);
            }
            told(self.borrow(new).member(), old, new);
        }
        let next = rank + leaf.len() - path.row;
        (next < self.len).then_some(next)
    }

    /// Moves the leaf of a path, and each inner page on it that has no leaf before this one.
    fn defrag_pages(&mut self, path: &mut Path, mover: &mut Mover) {
        for level in 0..self.depth {
            if (level..self.depth).any(|l| path.step(l).row > 0) {
                continue;
            }
            let Step { inner, row } = path.step(level);
            let inner = self.defrag_page(path, level, inner, mover);
            path.steps[level] = Some(Step { inner, row });
        }
        path.leaf = self.defrag_page(path, self.depth, path.leaf, mover);
    }

    fn defrag_page<S: Shape>(
        &mut self,
        path: &Path,
        level: usize,
        page: Page<S>,
        mover: &mut Mover,
    ) -> Page<S> {
        // SAFETY: the only lasting copy of the handle is in the page above, rewritten here.
        let Some(new) = (unsafe { page.relocated(mover) }) else { return page };
        self.put_page(path, level, new);
        new
    }
}
