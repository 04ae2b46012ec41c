//! How long a replica rests between full syncs that fail.
//!
//! ```text
//! failures in a row     1  2  3  4  5   6   7 ...
//! seconds to the next   0  1  2  4  8  16  30
//! ```
//!
//! The first try is made at once, since waiting may cost the place in the backlog. A transfer that was cut
//! while bytes arrived begins the row anew: the master can do it, and only the way was bad. A snapshot that
//! arrives whole and cannot be loaded, or a disk that is full, fails the same way the next time.

/// The longest rest, in seconds.
const LONGEST: i64 = 30;

#[derive(Debug, Default)]
pub struct Backoff {
    /// In a row.
    failures: u32,
    /// In Unix seconds.
    until: i64,
}

impl Backoff {
    /// A full sync has failed. `progress`: bytes of it have come, and nothing but the connection was bad.
    /// Returns the seconds to the next try.
    pub fn failed(&mut self, progress: bool, now: i64) -> i64 {
        self.failures = if progress { 1 } else { self.failures.saturating_add(1) };
        let rest = match self.failures {
            0 | 1 => 0,
            n => 1i64.checked_shl(n - 2).filter(|s| *s > 0).map_or(LONGEST, |s| s.min(LONGEST)),
        };
        self.until = now.saturating_add(rest);
        rest
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    pub fn is_over(&self, now: i64) -> bool {
        now >= self.until
    }

    pub fn reset(&mut self) {
        *self = Backoff::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_grow_to_half_a_minute_and_progress_begins_anew() {
        let mut b = Backoff::default();
        assert!(b.is_over(0));
        let rests: Vec<i64> = (0..8).map(|_| b.failed(false, 100)).collect();
        assert_eq!(rests, [0, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!((b.is_over(129), b.is_over(130), b.failures()), (false, true, 8));
        assert_eq!([b.failed(true, 200), b.failed(true, 200), b.failed(false, 200)], [0, 0, 1]);
        b.reset();
        assert!(b.is_over(0));
        (0..200).for_each(|_| assert!((0..=30).contains(&b.failed(false, 5))));
    }
}
