//! When the stream was where: at most a mark a second, from which the age of a position and the rate of the
//! stream are told.
//!
//! ```text
//! marks   100 s: 5 MB    101 s: 6 MB          104 s: 9 MB      a second without a change leaves none
//!                              ▲ a replica at 6.5 MB lacks what was written up to the mark of 104 s
//! ```
//!
//! Their number is bounded: when it is reached, the one goes that is missed least, which is where the gap it
//! leaves is the smallest share of its age. So what lies far back is told less exactly, but as a share of its
//! age nearly as well.

use std::collections::VecDeque;

const MOST: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// In Unix seconds.
    secs: i64,
    /// Where the stream ended.
    end: u64,
}

#[derive(Debug, Default)]
pub struct Marks(VecDeque<Mark>);

impl Marks {
    /// The stream ends here now.
    pub fn note(&mut self, secs: i64, end: u64) {
        if self.0.back().is_some_and(|m| m.end >= end || m.secs >= secs) {
            return;
        }
        if self.0.len() == MOST {
            self.thin_out(secs);
        }
        self.0.push_back(Mark { secs, end });
    }

    /// Neither the first nor the last mark goes.
    fn thin_out(&mut self, now: i64) {
        let gap = |i: usize| {
            let [before, m, after] = [i - 1, i, i + 1].map(|i| self.0[i].secs);
            (after - before) as f64 / (now - m).max(1) as f64
        };
        let least = (1..self.0.len() - 1).min_by(|a, b| gap(*a).total_cmp(&gap(*b)));
        self.0.remove(least.unwrap_or(0));
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// For how many seconds a replica that has the stream up to `at` has lacked what follows.
    pub fn age(&self, at: u64, end: u64, now: i64) -> u64 {
        if at >= end {
            return 0;
        }
        let next = self.0.partition_point(|m| m.end <= at);
        self.0.get(next).map_or(0, |m| now.saturating_sub(m.secs).max(0).unsigned_abs())
    }

    /// Bytes a second in the last `seconds`, or as far back as there are marks.
    pub fn rate(&self, end: u64, now: i64, seconds: i64) -> u64 {
        let before = self.0.partition_point(|m| m.secs <= now - seconds);
        let Some(from) = self.0.get(before.saturating_sub(1)) else { return 0 };
        let passed = now.saturating_sub(from.secs.max(now - seconds)).max(1).unsigned_abs();
        end.saturating_sub(from.end) / passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_as_old_as_what_follows_it() {
        let mut m = Marks::default();
        assert_eq!((m.age(0, 10, 100), m.rate(10, 100, 10)), (0, 0));
        for (secs, end) in [(100, 50), (101, 60), (102, 60), (104, 90), (104, 95)] {
            m.note(secs, end);
        }
        let age = |at| m.age(at, 100, 110);
        assert_eq!([age(0), age(49), age(50), age(60), age(90), age(100)], [10, 10, 9, 6, 0, 0]);
        assert_eq!(m.rate(100, 110, 9), 40 / 9);
        assert_eq!(m.rate(100, 110, 1000), 5);
        assert_eq!(m.rate(90, 110, 3), 0);
    }

    #[test]
    fn marks_are_few_and_old_ones_are_thinned_out() {
        let mut m = Marks::default();
        for n in 0..100_000 {
            m.note(n, n.unsigned_abs() * 10 + 10);
            assert!(m.0.len() <= MOST);
        }
        let (end, now) = (1_000_000, 99_999);
        for age in [0, 1, 9, 100, 1000, 10_000, 90_000] {
            let told = m.age(end - 10 * age - 1, end, now);
            let least = age - age / 10;
            assert!((least.saturating_sub(1)..=age).contains(&told), "{age} seconds are told as {told}");
        }
        assert_eq!(m.rate(end, now, 60), 10);
    }
}
