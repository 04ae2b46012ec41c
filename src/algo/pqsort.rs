//! Sorting only a window of a sequence: the quicksort of Bentley and McIlroy ("Engineering a sort
//! function", 1993), which leaves alone every part that does not reach into the window.
//!
//! ```text
//!   equal | less | ... | greater | equal    while partitioning: what equals the pivot gathers at the ends
//!   less  |    equal    | greater               then the ends are swapped into the middle
//! ```
//!
//! It is not stable. Which of several equal elements come first is visible to clients (GEOSEARCH with
//! COUNT, SORT with LIMIT), so the choice of the pivot and every swap are part of the contract: whoever
//! makes this faster has to keep the order of equal elements.

use std::cmp::Ordering;
use std::ops::Range;

/// Shorter sequences are sorted by insertion.
const SHORT: usize = 7;
/// From here on the pivot is the median of three medians.
const LONG: usize = 40;

/// Sorts so that the places `window` hold what they would hold if all were sorted.
pub fn pqsort<T>(all: &mut [T], window: Range<usize>, mut cmp: impl FnMut(&T, &T) -> Ordering) {
    debug_assert!(window.end <= all.len(), "the window lies inside");
    if !window.is_empty() {
        sort(all, 0, &window, &mut cmp);
    }
}

/// `v` begins at place `start` of the whole.
fn sort<T>(
    mut v: &mut [T],
    mut start: usize,
    window: &Range<usize>,
    cmp: &mut impl FnMut(&T, &T) -> Ordering,
) {
    let wanted = |from: usize, n: usize| n > 1 && window.start < from + n && window.end > from;
    loop {
        if v.len() < SHORT {
            return insertion(v, cmp);
        }
        let (less, greater) = partition(v, cmp);
        if wanted(start, less) {
            sort(&mut v[..less], start, window, cmp);
        }
        let skipped = v.len() - greater;
        start += skipped;
        if !wanted(start, greater) {
            return;
        }
        v = &mut v[skipped..];
    }
}

fn insertion<T>(v: &mut [T], cmp: &mut impl FnMut(&T, &T) -> Ordering) {
    for end in 1..v.len() {
        let mut at = end;
        while at > 0 && cmp(&v[at - 1], &v[at]) == Ordering::Greater {
            v.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// How many elements are less than the pivot, and how many greater: they stand at the two ends.
fn partition<T>(v: &mut [T], cmp: &mut impl FnMut(&T, &T) -> Ordering) -> (usize, usize) {
    let n = v.len();
    v.swap(0, pivot(v, cmp));
    // 1..a and d+1..n equal the pivot, a..b are less, c+1..=d are greater, b..=c are unknown.
    let (mut a, mut b, mut c, mut d) = (1, 1, n - 1, n - 1);
    loop {
        while b <= c {
            match cmp(&v[b], &v[0]) {
                Ordering::Greater => break,
                Ordering::Equal => {
                    v.swap(a, b);
                    a += 1;
                }
                Ordering::Less => {}
            }
            b += 1;
        }
        while b <= c {
            match cmp(&v[c], &v[0]) {
                Ordering::Less => break,
                Ordering::Equal => {
                    v.swap(c, d);
                    d -= 1;
                }
                Ordering::Greater => {}
            }
            c -= 1;
        }
        if b > c {
            break;
        }
        v.swap(b, c);
        b += 1;
        c -= 1;
    }
    let (less, greater) = (b - a, d - c);
    let (low, high) = (a.min(less), greater.min(n - d - 1));
    (0..low).for_each(|i| v.swap(i, b - low + i));
    (0..high).for_each(|i| v.swap(b + i, n - high + i));
    (less, greater)
}

fn pivot<T>(v: &[T], cmp: &mut impl FnMut(&T, &T) -> Ordering) -> usize {
    let (n, mut middle) = (v.len(), v.len() / 2);
    if n == SHORT {
        return middle;
    }
    let (mut low, mut high) = (0, n - 1);
    if n > LONG {
        let d = n / 8;
        low = median(v, [low, low + d, low + 2 * d], cmp);
        middle = median(v, [middle - d, middle, middle + d], cmp);
        high = median(v, [high - 2 * d, high - d, high], cmp);
    }
    median(v, [low, middle, high], cmp)
}

fn median<T>(v: &[T], [a, b, c]: [usize; 3], cmp: &mut impl FnMut(&T, &T) -> Ordering) -> usize {
    let mut order = |x: usize, y: usize| cmp(&v[x], &v[y]);
    // Which of equals is taken shows in the result.
    if order(a, b) == Ordering::Less {
        match (order(b, c), order(a, c)) {
            (Ordering::Less, _) => b,
            (_, Ordering::Less) => c,
            _ => a,
        }
    } else {
        match (order(b, c), order(a, c)) {
            (Ordering::Greater, _) => b,
            (_, Ordering::Less) => a,
            _ => c,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    #[test]
    fn the_window_holds_what_sorting_all_would_put_there() {
        let mut rng = Rng::seeded(21);
        for round in 0..3000 {
            let n = rng.index(if round % 10 == 0 { 600 } else { 60 });
            let kinds = 1 + rng.below(if round % 2 == 0 { 1000 } else { 6 });
            let all: Vec<u64> = (0..n).map(|_| rng.below(kinds)).collect();
            let (a, b) = (rng.index(n + 1), rng.index(n + 1));
            let window = a.min(b)..a.max(b);
            let (mut ours, mut naive) = (all.clone(), all);
            pqsort(&mut ours, window.clone(), u64::cmp);
            naive.sort_unstable();
            assert_eq!(ours[window.clone()], naive[window]);
            ours.sort_unstable();
            assert_eq!(ours, naive, "nothing is lost");
        }
    }

    /// Orders of equal elements as the C library function of the paper leaves them.
    #[test]
    fn equal_elements_come_in_the_order_that_clients_know() {
        let order = |keys: &str, window: Range<usize>| {
            let mut v: Vec<(char, usize)> = keys.chars().enumerate().map(|(i, k)| (k, i)).collect();
            pqsort(&mut v, window, |a, b| a.0.cmp(&b.0));
            v.into_iter().map(|(_, i)| i).collect::<Vec<_>>()
        };
        // By insertion: stable.
        assert_eq!(order("bababa", 0..6), [1, 3, 5, 0, 2, 4]);
        // All equal: the pivot comes first, nothing else moves but for it.
        assert_eq!(order("aaaaaaaa", 0..1), [7, 1, 2, 3, 4, 5, 6, 0]);
        assert_eq!(order("aaaaaaa", 0..1), [3, 1, 2, 0, 4, 5, 6]);
    }
}
