//! Will a replica be cut in the middle of its full sync, for the stream that gathers meanwhile?
//!
//! A sync that takes longer than the output limit allows begins again and ends the same way: it is told
//! before the fork, with the number that would do.

/// The output limit of replicas; 0 is none.
#[derive(Clone, Copy, Debug)]
pub struct BufferLimit {
    pub hard: u64,
    pub soft: u64,
    pub soft_seconds: u64,
}

/// The bytes that gather at `rate` bytes a second while a full sync takes `seconds`, if the limit does not
/// allow for them.
pub fn excess(rate: u64, seconds: u64, limit: BufferLimit) -> Option<u64> {
    let gathered = rate.saturating_mul(seconds);
    let over_hard = limit.hard > 0 && gathered >= limit.hard;
    let until_soft = limit.soft.checked_div(rate).unwrap_or(u64::MAX);
    let over_soft = limit.soft > 0 && seconds.saturating_sub(until_soft) > limit.soft_seconds;
    (over_hard || over_soft).then_some(gathered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_is_cut_by_either_limit() {
        let limit = BufferLimit { hard: 1000, soft: 200, soft_seconds: 10 };
        assert_eq!(excess(0, 1_000_000, limit), None);
        assert_eq!(excess(100, 9, limit), None);
        assert_eq!(excess(100, 10, limit), Some(1000));
        assert_eq!(excess(20, 20, limit), None, "over the soft limit for ten seconds only");
        assert_eq!(excess(20, 21, limit), Some(420));
        let none = BufferLimit { hard: 0, soft: 0, soft_seconds: 0 };
        assert_eq!(excess(u64::MAX, u64::MAX, none), None);
        assert_eq!(excess(u64::MAX, u64::MAX, limit), Some(u64::MAX));
    }
}
