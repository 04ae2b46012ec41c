//! The longest common subsequence of two byte strings, and where its pieces lie.
//!
//! The textbook way is a table of lengths, `L[i][j]` for the first `i` bytes of `a` and the first `j`
//! of `b`. Along a row the lengths grow by 0 or 1 from one column to the next, so a row is as well a
//! string of bits: here a bit is *clear* where the length grows. Such rows follow from one another 64
//! columns at a time (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004):
//!
//! ```text
//!   row 0   = 1111...            the empty prefix of `a` has nothing in common with anything
//!   matches = columns of `b` that hold the next byte of `a`
//!   row     = (row + (row & matches)) | (row & !matches)
//! ```
//!
//! For the length alone one row is enough. For the pieces all rows are kept, one bit a cell where a
//! table of lengths takes 32, and walked from the last corner to the first:
//!
//! ```text
//!   a[i] == b[j]            both belong to the subsequence: step back diagonally
//!   else bit (i, j) clear   L[i][j-1] < L[i][j], so L[i-1][j] is the greater of the two: step up
//!   else                    step left (also when both are equal: that is the piece upstream finds)
//! ```

use crate::sys::alloc;

/// Bytes that match one by one: `a[a..a + len]` and `b[b..b + len]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub a: usize,
    pub b: usize,
    pub len: usize,
}

/// Where each byte value occurs in a string, as bits; only for values that are asked for.
struct Places {
    /// Index of a value's bits in units of `words`; `NOWHERE` where it does not occur.
    at: [u16; 256],
    bits: Vec<u64>,
    words: usize,
}

const NOWHERE: u16 = u16::MAX;

impl Places {
    /// Of the values in `wanted`, in `within`.
    fn new(wanted: &[u8], within: &[u8]) -> Places {
        let words = within.len().div_ceil(64);
        let mut is_wanted = [false; 256];
        wanted.iter().for_each(|&c| is_wanted[usize::from(c)] = true);
        let mut places = Places { at: [NOWHERE; 256], bits: Vec::new(), words };
        let mut used = 0;
        for (j, &c) in within.iter().enumerate().filter(|(_, c)| is_wanted[usize::from(**c)]) {
            let at = &mut places.at[usize::from(c)];
            if *at == NOWHERE {
                *at = used;
                used += 1;
                places.bits.resize(usize::from(used) * words, 0);
            }
            places.bits[usize::from(*at) * words + j / 64] |= 1 << (j % 64);
        }
        places
    }

    fn of(&self, c: u8) -> Option<&[u64]> {
        let at = self.at[usize::from(c)];
        (at != NOWHERE).then(|| &self.bits[usize::from(at) * self.words..][..self.words])
    }
}

/// One row from the one before, in place. Bits past the end of `b` match nothing and stay set.
fn advance(row: &mut [u64], matches: &[u64]) {
    debug_assert_eq!(row.len(), matches.len());
    let mut carry = false;
    for (word, m) in row.iter_mut().zip(matches) {
        let (sum, over) = word.overflowing_add(*word & m);
        let (sum, again) = sum.overflowing_add(u64::from(carry));
        carry = over | again;
        *word = sum | (*word & !m);
    }
}

/// The length of the longest common subsequence.
pub fn length(a: &[u8], b: &[u8]) -> usize {
    // Fewer words in a row where the shorter one is `b`.
    let (a, b) = if a.len() < b.len() { (b, a) } else { (a, b) };
    let places = Places::new(a, b);
    let mut row = vec![u64::MAX; places.words];
    for matches in a.iter().filter_map(|&c| places.of(c)) {
        advance(&mut row, matches);
    }
    row.iter().map(|w| w.count_zeros() as usize).sum()
}

/// The pieces of the longest common subsequence that the walk above meets, the last one first; `None`
/// when there is no memory for the rows.
pub fn runs(a: &[u8], b: &[u8]) -> Option<Vec<Run>> {
    let places = Places::new(a, b);
    let words = places.words;
    let mut rows: Vec<u64> = Vec::new();
    let wanted = a.len().checked_mul(words)?.checked_add(words)?;
    alloc::fallible(|| rows.try_reserve_exact(wanted)).ok()?;
    let mut row = vec![u64::MAX; words];
    for &c in a {
        if let Some(matches) = places.of(c) {
            advance(&mut row, matches);
        }
        rows.extend_from_slice(&row);
    }
    let grows = |i: usize, j: usize| rows[i * words + j / 64] >> (j % 64) & 1 == 0;
    let mut found: Vec<Run> = Vec::new();
    // The cell looked at is (i - 1, j - 1).
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            (i, j) = (i - 1, j - 1);
            match found.last_mut() {
                Some(run) if run.a == i + 1 && run.b == j + 1 => {
                    *run = Run { a: i, b: j, len: run.len + 1 };
                }
                _ => found.push(Run { a: i, b: j, len: 1 }),
            }
        } else if grows(i - 1, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    /// The table of lengths, walked back byte by byte: the matching pairs, last first.
    fn naive(a: &[u8], b: &[u8]) -> (usize, Vec<(usize, usize)>) {
        let mut l = vec![vec![0usize; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                l[i][j] = match a[i - 1] == b[j - 1] {
                    true => l[i - 1][j - 1] + 1,
                    false => l[i - 1][j].max(l[i][j - 1]),
                };
            }
        }
        let (mut i, mut j, mut pairs) = (a.len(), b.len(), Vec::new());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                pairs.push((i, j));
            } else if l[i - 1][j] > l[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        (l[a.len()][b.len()], pairs)
    }

    #[test]
    fn it_agrees_with_the_table_of_lengths() {
        let mut rng = Rng::seeded(7);
        for round in 0..3_000 {
            let letters = [1, 2, 4, 26, 256][rng.index(5)];
            let max = if round % 20 == 0 { 300 } else { 70 };
            let mut draw =
                || -> Vec<u8> { (0..rng.index(max)).map(|_| rng.below(letters) as u8).collect() };
            let (a, b) = (draw(), draw());
            let (len, pairs) = naive(&a, &b);
            assert_eq!(length(&a, &b), len);
            let runs = runs(&a, &b).expect("little memory is needed");
            let mut flat = Vec::new();
            for run in &runs {
                flat.extend((0..run.len).rev().map(|k| (run.a + k, run.b + k)));
            }
            assert_eq!(flat, pairs, "{a:?} {b:?}");
            let apart = |w: &[Run]| w[1].a + w[1].len != w[0].a || w[1].b + w[1].len != w[0].b;
            assert!(runs.windows(2).all(apart), "runs are as long as can be");
        }
    }

    #[test]
    fn nothing_in_common() {
        assert_eq!((length(b"", b"abc"), length(b"abc", b""), length(b"abc", b"xyz")), (0, 0, 0));
        assert_eq!(runs(b"abc", b""), Some(vec![]));
        assert_eq!(runs(b"", b""), Some(vec![]));
    }
}
