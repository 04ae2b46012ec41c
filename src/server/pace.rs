//! Long work in slices: how much of it one pass of the loop may do, so that no client waits for all of it.
//!
//! ```text
//! expiry    a run is granted a share of a tick and takes it in slices, one a pass   ▂▂▂▂▂▂....▂▂▂▂▂▂....
//! eviction  a pass has a ration; when it is spent, a command only makes up for what the pass has added,
//!           and when that took as long again, clients leave their other requests for the next pass
//! ```
//!
//! Between two passes the loop serves whatever has come: a client waits for one slice, not for the sum. In
//! total nothing is done later for that, since the loop does not sleep while a slice is left.
//!
//! Pure: times and bytes come from the caller.

/// The longest that one slice of a granted run holds the loop.
const SLICE_US: u64 = 1000;
/// The ration of a pass, in calls that use all of their time.
const CALLS_PER_PASS: u64 = 2;

/// A run that was granted some time and takes it slice by slice.
#[derive(Debug, Default)]
pub struct Slices {
    left_us: u64,
}

impl Slices {
    /// A new run may take so long, whatever an older one has left.
    pub fn grant(&mut self, us: u64) {
        self.left_us = us;
    }

    /// The length of the next slice; None when nothing is granted or left.
    pub fn next(&self) -> Option<u64> {
        Some(self.left_us.min(SLICE_US)).filter(|us| *us > 0)
    }

    /// A slice took so long. Even one that took no time at all uses something up, so that a run ends.
    pub fn spent(&mut self, us: u64) {
        self.left_us = self.left_us.saturating_sub(us.max(1));
    }

    pub fn end(&mut self) {
        self.left_us = 0;
    }
}

/// What a call may evict.
#[derive(Debug, PartialEq, Eq)]
pub struct Share {
    pub bytes: usize,
    pub us: u64,
}

/// What one pass may spend on eviction.
#[derive(Debug, Default)]
pub struct Ration {
    spent_us: u64,
    /// Bytes that stay over the limit for this pass, since the ration is spent.
    accepted: usize,
}

impl Ration {
    pub fn new_pass(&mut self) {
        *self = Ration::default();
    }

    fn of_pass(limit_us: u64) -> u64 {
        limit_us.saturating_mul(CALLS_PER_PASS)
    }

    /// `over` bytes are too many, and one call may take `limit_us`. None: another pass goes on.
    pub fn ask(&self, over: usize, limit_us: u64) -> Option<Share> {
        let left = Self::of_pass(limit_us).saturating_sub(self.spent_us);
        if left > 0 {
            return Some(Share { bytes: over, us: left.min(limit_us) });
        }
        let grown = over.saturating_sub(self.accepted);
        (grown > 0).then_some(Share { bytes: grown, us: limit_us })
    }

    /// A call took so long and left `over` bytes.
    pub fn spent(&mut self, us: u64, over: usize, limit_us: u64) {
        self.spent_us = self.spent_us.saturating_add(us);
        if self.spent_us >= Self::of_pass(limit_us) {
            self.accepted = over;
        }
    }

    /// Even making up for what the pass adds takes too long.
    pub fn exhausted(&self, limit_us: u64) -> bool {
        self.spent_us >= Self::of_pass(limit_us).saturating_mul(2).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_taken_in_slices_and_ends() {
        let mut s = Slices::default();
        assert_eq!(s.next(), None);
        s.grant(2 * SLICE_US + 300);
        let mut taken = Vec::new();
        while let Some(us) = s.next() {
            taken.push(us);
            s.spent(us);
        }
        assert_eq!(taken, [SLICE_US, SLICE_US, 300]);
        s.grant(3);
        let turns = std::iter::from_fn(|| s.next().map(|_| s.spent(0))).count();
        assert_eq!(turns, 3, "a clock that stands still does not make it endless");
        s.grant(SLICE_US);
        s.spent(90 * SLICE_US);
        assert_eq!(s.next(), None);
        s.grant(5);
        s.end();
        assert_eq!(s.next(), None);
    }

    #[test]
    fn a_spent_ration_leaves_what_is_over_and_makes_up_for_what_is_added() {
        let mut r = Ration::default();
        let limit = 500;
        assert_eq!(r.ask(10_000, limit), Some(Share { bytes: 10_000, us: limit }));
        r.spent(500, 9000, limit);
        assert_eq!(r.ask(9100, limit), Some(Share { bytes: 9100, us: limit }));
        r.spent(400, 8000, limit);
        assert_eq!(r.ask(8000, limit), Some(Share { bytes: 8000, us: 100 }), "what is left of it");
        r.spent(120, 7900, limit);
        assert_eq!(r.ask(7900, limit), None);
        assert_eq!(r.ask(8100, limit), Some(Share { bytes: 200, us: limit }));
        r.spent(30, 7880, limit);
        assert_eq!((r.ask(7880, limit), r.exhausted(limit)), (None, false));
        assert_eq!(r.ask(50_000, limit), Some(Share { bytes: 42_120, us: limit }));
        r.spent(950, 48_000, limit);
        assert_eq!((r.ask(48_000, limit), r.exhausted(limit)), (None, true), "what is too much is left");
        r.new_pass();
        assert_eq!(r.ask(48_000, limit), Some(Share { bytes: 48_000, us: limit }));
    }

    #[test]
    fn without_a_limit_all_goes_at_once_and_with_none_at_all_a_little_each_pass() {
        let mut r = Ration::default();
        r.spent(u64::MAX / 2, 7, u64::MAX);
        assert_eq!(r.ask(7, u64::MAX), Some(Share { bytes: 7, us: u64::MAX / 2 + 1 }));
        assert!(!r.exhausted(u64::MAX));
        r.new_pass();
        assert_eq!(r.ask(7, 0), Some(Share { bytes: 7, us: 0 }));
        r.spent(3, 5, 0);
        assert_eq!((r.ask(5, 0), r.ask(6, 0)), (None, Some(Share { bytes: 1, us: 0 })));
    }
}
