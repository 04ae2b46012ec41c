//! Choosing entries by chance. The source of chance is the caller's: `below(n)` gives a number from
//! `0..n`, each as likely as the others.
//!
//! `stride` is 1 where each entry is a member, 2 where entries come in pairs and the first of a pair is
//! chosen: only indexes that are multiples of it count.

use super::{Lp, Pos};

impl Lp {
    /// One entry, or None where there is none.
    pub fn pick_one(&self, stride: usize, mut below: impl FnMut(usize) -> usize) -> Option<Pos> {
        let choices = self.len() / stride;
        if choices == 0 {
            return None;
        }
        let index = below(choices) * stride;
        self.seek(i64::try_from(index).expect("a listpack has fewer entries than 2^32"))
    }

    /// `n` entries in the order they were chosen, the same one more than once if chance will have it.
    pub fn pick(&self, n: usize, stride: usize, mut below: impl FnMut(usize) -> usize) -> Vec<Pos> {
        let choices = self.len() / stride;
        let Some(first) = self.first().filter(|_| choices > 0 && n > 0) else { return Vec::new() };
        let mut wanted: Vec<(usize, usize)> =
            (0..n).map(|order| (below(choices) * stride, order)).collect();
        // One walk in the order of the listpack finds them all.
        wanted.sort_unstable();
        let mut found = vec![first; n];
        let (mut pos, mut index) = (first, 0);
        for (at, order) in wanted {
            while index < at {
                pos = self.next(pos).expect("chosen indexes are below the count");
                index += 1;
            }
            found[order] = pos;
        }
        found
    }

    /// `n` different entries, or all there are, in the order of the listpack.
    pub fn sample(&self, n: usize, stride: usize, mut below: impl FnMut(usize) -> usize) -> Vec<Pos> {
        let mut left = self.len() / stride;
        let mut missing = n.min(left);
        let mut found = Vec::with_capacity(missing);
        let mut next = self.first();
        while let Some(pos) = next.filter(|_| missing > 0) {
            // Each of the `left` entries still ahead is equally likely to be among the `missing`.
            if below(left) < missing {
                found.push(pos);
                missing -= 1;
            }
            left -= 1;
            next = Some(pos);
            for _ in 0..stride {
                next = next.and_then(|pos| self.next(pos));
            }
        }
        found
    }
}
