//! Places of the stream that are kept for replicas that have no position in it yet: the snapshot of such a
//! replica goes by a connection of its own (dual channel), and the connection for the stream asks to go on
//! from the fork a little later.
//!
//! ```text
//! fork ─ add ─► kept ─┬─ release ─► the main channel has a position of its own now, and reads from there
//!                     ├─ the snapshot is across, and its connection gone ─► kept for `GRACE` seconds more
//!                     └─ too far behind the end of the stream ─► given up, as a slow replica is
//! ```
//!
//! A hold has the number of the client that gets the snapshot: the replica names it on its other connection
//! (`REPLCONF set-rdb-client-id`).

/// Seconds that a main channel has behind its snapshot (DEFAULT_WAIT_BEFORE_RDB_CLIENT_FREE).
const GRACE: i64 = 60;

#[derive(Debug)]
struct Hold {
    number: u64,
    at: u64,
    /// When the connection of the snapshot has gone, in Unix seconds.
    gone_at: Option<i64>,
}

#[derive(Debug)]
pub struct Holds {
    list: Vec<Hold>,
    /// Seconds (DEBUG DELAY-RDB-CLIENT-FREE-SECONDS).
    pub grace: i64,
}

impl Default for Holds {
    fn default() -> Self {
        Holds { list: Vec::new(), grace: GRACE }
    }
}

impl Holds {
    pub fn len(&self) -> usize {
        self.list.len()
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The stream from `at` on is kept for the replica whose snapshot this client gets.
    pub fn add(&mut self, number: u64, at: u64) {
        debug_assert!(!self.has(number), "one snapshot for each client");
        self.list.push(Hold { number, at, gone_at: None });
    }

    pub fn has(&self, number: u64) -> bool {
        self.at(number).is_some()
    }

    pub fn at(&self, number: u64) -> Option<u64> {
        self.list.iter().find(|h| h.number == number).map(|h| h.at)
    }

    /// The first position that is kept.
    pub fn first(&self) -> Option<u64> {
        self.list.iter().map(|h| h.at).min()
    }

    /// Nothing is kept for it any more; false when nothing was.
    pub fn release(&mut self, number: u64) -> bool {
        let before = self.list.len();
        self.list.retain(|h| h.number != number);
        self.list.len() < before
    }

    /// The connection of its snapshot has ended behind the snapshot: the grace begins.
    pub fn gone(&mut self, number: u64, now: i64) {
        if let Some(h) = self.list.iter_mut().find(|h| h.number == number) {
            h.gone_at.get_or_insert(now);
        }
    }

    /// Gives up holds whose grace is over; each with its seconds.
    pub fn expire(&mut self, now: i64) -> Vec<(u64, i64)> {
        let grace = self.grace;
        self.take(|h| h.gone_at.is_some_and(|at| now - at > grace))
            .into_iter()
            .map(|h| (h.number, now - h.gone_at.unwrap_or(now)))
            .collect()
    }

    /// Gives up holds that `limit` bytes of the stream or more are kept for (0: any number may be).
    pub fn over(&mut self, end: u64, limit: u64) -> Vec<u64> {
        let over = self.take(|h| limit > 0 && end.saturating_sub(h.at) >= limit);
        over.into_iter().map(|h| h.number).collect()
    }

    fn take(&mut self, which: impl Fn(&Hold) -> bool) -> Vec<Hold> {
        let (gone, stay) = std::mem::take(&mut self.list).into_iter().partition(|h| which(h));
        self.list = stay;
        gone
    }

    /// The history ends.
    pub fn clear(&mut self) {
        self.list.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_kept_until_it_is_taken_or_too_late_or_too_far() {
        let mut all = Holds::default();
        all.add(7, 100);
        all.add(8, 50);
        all.add(9, 200);
        assert_eq!((all.first(), all.at(7), all.at(1)), (Some(50), Some(100), None));
        assert!(all.release(8) && !all.release(8) && !all.has(8));
        all.gone(7, 1000);
        all.gone(7, 1050);
        assert!(all.expire(1060).is_empty(), "it has a minute");
        assert_eq!(all.expire(1061), [(7, 61)]);
        assert!(all.over(10_000, 0).is_empty() && all.over(299, 100).is_empty());
        assert_eq!((all.over(300, 100), all.len()), (vec![9], 0));
        assert!(all.first().is_none());
    }
}
