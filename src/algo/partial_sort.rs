//! The quicksort of Bentley and McIlroy ("Engineering a Sort Function", 1993), for a part of the order
//! only: sides that reach into none of the wanted places are left as they are.
//!
//! ```text
//!   equal to the pivot │ less │ ...not seen... │ greater │ equal      equal ones gather at both ends
//!                      less │ equal │ greater                         and move to the middle
//! ```
//!
//! It is not stable, and that is its point: where SORT and GEOSEARCH cannot tell elements apart, their
//! order is what exactly these choices of pivots and swaps make of it, and clients of Redis see that
//! order. Where a total order is sorted, the standard library is faster.

use std::cmp::Ordering;
use std::ops::Range;

/// Below this, insertion.
const SMALL: usize = 7;
/// Above this, the pivot is a median of three medians.
const LARGE: usize = 40;

/// Sorts so that the places in `wanted` hold what they hold when all is sorted.
pub fn sort_part<T>(all: &mut [T], wanted: Range<usize>, cmp: impl Fn(&T, &T) -> Ordering) {
    assert!(wanted.end <= all.len());
    let mut todo = vec![0..all.len()];
    while let Some(part) = todo.pop() {
        let (less, greater) = split(&mut all[part.clone()], &cmp);
        for side in [part.start..part.start + less, part.end - greater..part.end] {
            if side.len() > 1 && side.start < wanted.end && wanted.start < side.end {
                todo.push(side);
            }
        }
    }
}

/// Parts `v` by a pivot; gives how many are less and how many are greater. Short ones are sorted at
/// once.
fn split<T>(v: &mut [T], cmp: &impl Fn(&T, &T) -> Ordering) -> (usize, usize) {
    let n = v.len();
    if n < SMALL {
        for end in 1..n {
            let mut at = end;
            while at > 0 && cmp(&v[at - 1], &v[at]).is_gt() {
                v.swap(at - 1, at);
                at -= 1;
            }
        }
        return (0, 0);
    }
    let pivot = pivot(v, cmp);
    v.swap(0, pivot);
    // [1, low) equal, [low, a) less, (b, high] greater, (high, n) equal.
    let (mut low, mut a, mut b, mut high) = (1, 1, n - 1, n - 1);
    loop {
        while a <= b {
            match cmp(&v[a], &v[0]) {
                Ordering::Greater => break,
                Ordering::Equal => {
                    v.swap(low, a);
                    low += 1;
                }
                Ordering::Less => {}
            }
            a += 1;
        }
        while a <= b {
            match cmp(&v[b], &v[0]) {
                Ordering::Less => break,
                Ordering::Equal => {
                    v.swap(b, high);
                    high -= 1;
                }
                Ordering::Greater => {}
            }
            b -= 1;
        }
        if a > b {
            break;
        }
        v.swap(a, b);
        a += 1;
        b -= 1;
    }
    let (less, greater) = (a - low, high - b);
    exchange(v, 0, a - low.min(less), low.min(less));
    let right = greater.min(n - 1 - high);
    exchange(v, a, n - right, right);
    (less, greater)
}

fn exchange<T>(v: &mut [T], from: usize, to: usize, n: usize) {
    for i in 0..n {
        v.swap(from + i, to + i);
    }
}

fn pivot<T>(v: &[T], cmp: &impl Fn(&T, &T) -> Ordering) -> usize {
    let n = v.len();
    let middle = n / 2;
    if n == SMALL {
        return middle;
    }
    if n <= LARGE {
        return median(v, [0, middle, n - 1], cmp);
    }
    let step = n / 8;
    let left = median(v, [0, step, 2 * step], cmp);
    let centre = median(v, [middle - step, middle, middle + step], cmp);
    let right = median(v, [n - 1 - 2 * step, n - 1 - step, n - 1], cmp);
    median(v, [left, centre, right], cmp)
}

/// Which of three equal ones it is matters, too.
fn median<T>(v: &[T], [a, b, c]: [usize; 3], cmp: &impl Fn(&T, &T) -> Ordering) -> usize {
    let less = |x: usize, y: usize| cmp(&v[x], &v[y]).is_lt();
    if less(a, b) {
        if less(b, c) {
            b
        } else if less(a, c) {
            c
        } else {
            a
        }
    } else if cmp(&v[b], &v[c]).is_gt() {
        b
    } else if less(a, c) {
        a
    } else {
        c
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    #[test]
    fn wanted_places_hold_what_a_whole_sort_puts_there() {
        for seed in 0..400 {
            let rng = &mut Rng::seeded(seed);
            let n = rng.index(120);
            let kinds = 1 + rng.below(40);
            let mut v: Vec<u64> = (0..n).map(|_| rng.below(kinds)).collect();
            let mut sorted = v.clone();
            sorted.sort_unstable();
            let start = rng.index(n + 1);
            let wanted = start..start + rng.index(n - start + 1);
            sort_part(&mut v, wanted.clone(), u64::cmp);
            assert_eq!(v[wanted.clone()], sorted[wanted], "seed {seed}");
            v.sort_unstable();
            assert_eq!(v, sorted, "nothing is lost");
        }
    }

    #[test]
    fn equal_ones_come_in_the_order_that_clients_know() {
        // As replied by Redis 7.2 to SORT list BY none_* ALPHA LIMIT 0 9.
        let mut v: Vec<u32> = (0..10).collect();
        sort_part(&mut v, 0..9, |_, _| Ordering::Equal);
        assert_eq!(v, [9, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
    }
}
