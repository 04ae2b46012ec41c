//! Replicas that were lost a moment ago and are expected back: the backlog is kept for them beyond its size.
//!
//! ```text
//! lost ─► expected, at the position up to which it has the stream ─┬─ it asks again       ─► back
//!                                                                  ├─ repl-timeout is over ─► forgotten
//!                                                                  └─ too far behind       ─► forgotten
//! ```
//!
//! A connected replica that is slow holds the stream as well, up to its output limit; one that is cut for a
//! moment holds less than that (`HOLDS`, and the caller's limit), so that a short cut under load costs no
//! full sync. A replica is known by its address, as the log names it.

/// So many times its size the backlog may grow for replicas that are away.
pub const HOLDS: u64 = 8;
/// So many replicas are expected back at most; the one that was lost first is forgotten.
const MOST: usize = 64;

#[derive(Debug)]
struct Absent {
    name: String,
    /// Up to here it has the stream for certain.
    at: u64,
    /// When it was first missed, in Unix seconds; None until it is looked for.
    since: Option<i64>,
}

#[derive(Debug, Default)]
pub struct Absentees(Vec<Absent>);

impl Absentees {
    /// The replica has gone, and has the stream up to `at`.
    pub fn lost(&mut self, name: String, at: u64) {
        self.back(&name);
        if self.0.len() == MOST {
            self.0.remove(0);
        }
        self.0.push(Absent { name, at, since: None });
    }

    /// The replica has asked again.
    pub fn back(&mut self, name: &str) {
        self.0.retain(|a| a.name != name);
    }

    /// No position of the stream so far is of use any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first position that one of them will ask for, where the stream ends at `end`. Replicas that have
    /// been away for longer than `timeout` seconds are forgotten, and those that lack more than `most` bytes.
    pub fn wanted(&mut self, end: u64, most: u64, now: i64, timeout: u64) -> Option<u64> {
        self.0.retain_mut(|a| {
            let away = now.saturating_sub(*a.since.get_or_insert(now)).max(0).unsigned_abs();
            a.at <= end && end - a.at <= most && away <= timeout
        });
        self.0.iter().map(|a| a.at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_was_lost_is_expected_for_a_while_and_not_at_any_price() {
        let mut all = Absentees::default();
        assert_eq!(all.wanted(100, 50, 7, 10), None);
        all.lost("a".into(), 60);
        all.lost("b".into(), 80);
        assert_eq!(all.wanted(100, 50, 7, 10), Some(60));
        assert_eq!(all.wanted(111, 50, 17, 10), Some(80), "one lacks too much");
        assert_eq!(all.wanted(111, 50, 18, 10), None, "the other is away for too long");
        all.lost("a".into(), 60);
        all.lost("a".into(), 70);
        assert_eq!(all.wanted(100, 50, 7, 10), Some(70), "the same one, lost again");
        all.back("a");
        assert!(all.is_empty());
        all.lost("a".into(), 101);
        assert_eq!(all.wanted(100, 50, 7, 10), None, "of another stream");
        (0..200).for_each(|n| all.lost(n.to_string(), n));
        assert_eq!(all.wanted(200, 1000, 7, 10), Some(136), "there is no end of them");
    }
}
