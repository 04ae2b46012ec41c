//! FAILOVER: a master hands its place to one of its replicas. Decides; `server::failover` does it.
//!
//! ```text
//! None ─ begin ─► WaitForSync ─ a replica has all of the stream ──────┐
//!  ▲                  │       ─ the time is over, and it is forced ───┴─► InProgress
//!  │                  └ the time is over: aborted                           │  PSYNC accepted: None
//!  └── FAILOVER ABORT, from either                                          └ refused: aborted, master again
//! ```
//!
//! Writes rest from the beginning to the end, so the stream that the replica has to reach stands still. A
//! connection that is lost in progress is tried again until FAILOVER ABORT.

use super::link::Target;

#[derive(Debug, Default)]
pub enum Failover {
    #[default]
    None,
    WaitForSync(Wish),
    InProgress {
        target: Target,
    },
}

/// What FAILOVER asks for.
#[derive(Debug)]
pub struct Wish {
    /// None for the first replica that has all of the stream.
    pub target: Option<Target>,
    /// In Unix milliseconds.
    pub until_ms: Option<i64>,
    /// When the time is over the target takes over without the rest of the stream.
    pub force: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Wait,
    /// The server becomes a replica of the target, for this reason.
    Follow(Target, Reason),
    Abort(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Synced,
    TimeOver,
}

impl Failover {
    pub fn is_on(&self) -> bool {
        !matches!(self, Failover::None)
    }

    /// Does the server ask its replica to take over?
    pub fn is_in_progress(&self) -> bool {
        matches!(self, Failover::InProgress { .. })
    }

    /// Is there a time at which the wait ends?
    pub fn is_timed(&self) -> bool {
        matches!(self, Failover::WaitForSync(Wish { until_ms: Some(_), .. }))
    }

    /// As INFO names it.
    pub fn name(&self) -> &'static str {
        match self {
            Failover::None => "no-failover",
            Failover::WaitForSync(_) => "waiting-for-sync",
            Failover::InProgress { .. } => "failover-in-progress",
        }
    }

    pub fn target(&self) -> Option<&Target> {
        match self {
            Failover::None => None,
            Failover::WaitForSync(wish) => wish.target.as_ref(),
            Failover::InProgress { target } => Some(target),
        }
    }

    pub fn begin(&mut self, wish: Wish) {
        debug_assert!(!self.is_on(), "one at a time");
        debug_assert!(!wish.force || wish.target.is_some() && wish.until_ms.is_some());
        *self = Failover::WaitForSync(wish);
    }

    /// Looks whether it can go on. `synced`: does this replica (of any: which one) have all of the stream?
    pub fn look(&mut self, now_ms: i64, synced: impl FnOnce(Option<&Target>) -> Option<Target>) -> Step {
        let Failover::WaitForSync(wish) = self else { return Step::Wait };
        let (target, reason) = if wish.until_ms.is_some_and(|at| at <= now_ms) {
            match wish.target.take() {
                Some(target) if wish.force => (target, Reason::TimeOver),
                target => {
                    wish.target = target;
                    return Step::Abort("Replica never caught up before timeout");
                }
            }
        } else {
            let Some(target) = synced(wish.target.as_ref()) else { return Step::Wait };
            (target, Reason::Synced)
        };
        *self = Failover::InProgress { target: target.clone() };
        Step::Follow(target, reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target { host: "h".into(), port: 7 }
    }

    fn waiting(wish: Wish) -> Failover {
        let mut f = Failover::default();
        f.begin(wish);
        f
    }

    #[test]
    fn the_replica_that_has_all_takes_over() {
        let mut f = waiting(Wish { target: None, until_ms: None, force: false });
        assert_eq!((f.look(5, |_| None), f.name()), (Step::Wait, "waiting-for-sync"));
        let step = f.look(i64::MAX, |asked| asked.is_none().then(target));
        assert_eq!((step, f.name()), (Step::Follow(target(), Reason::Synced), "failover-in-progress"));
        assert_eq!(f.look(i64::MAX, |_| Some(target())), Step::Wait, "it follows already");
        assert_eq!(f.target(), Some(&target()));
    }

    #[test]
    fn time_ends_the_wait_one_way_or_the_other() {
        for force in [false, true] {
            let mut f = waiting(Wish { target: Some(target()), until_ms: Some(10), force });
            assert!(f.is_timed());
            assert_eq!(f.look(9, |_| None), Step::Wait);
            let step = f.look(10, |_| None);
            if force {
                assert_eq!(step, Step::Follow(target(), Reason::TimeOver));
                assert!(f.is_in_progress() && !f.is_timed());
            } else {
                assert_eq!(step, Step::Abort("Replica never caught up before timeout"));
                assert_eq!(f.target(), Some(&target()), "the log names it");
            }
        }
    }
}
