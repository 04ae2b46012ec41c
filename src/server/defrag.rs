//! Active defragmentation: while much memory is lost in pages that are hardly filled, a share of the time
//! goes into moving what is left on them.
//!
//! ```text
//! once a second   allocator's figures ─► effort: percent of the time, 0 while little is lost
//! each tick       that share of a tick is granted, and taken in slices, one a pass (`pace`)
//! a slice         steps of a walk: dataset, then cached scripts (`keyspace::defrag`, `sys::defrag`)
//! ```
//!
//! The decision after a walk computes the effort anew: another one begins, or it rests. So there is no more
//! than one walk a second, even where walks win nothing. While a walk is under way its effort only grows,
//! since what it wins lowers the figures it was chosen by.
//!
//! Nothing moves while a child shares the pages: each move would copy one.

use super::pace::Slices;
use super::{Server, slow};
use crate::keyspace::defrag::DatasetWalk;
use crate::scripting::Sha;
use crate::sys::alloc;
use crate::sys::clock::mono_ns;
use crate::sys::defrag::Mover;

/// After so many microseconds of a walk the allocator is asked again which slabs are sparse.
const REFRESH_US: u64 = 5000;
/// A load lets no more than this pass between two of its items.
const LOAD_SLICE_US: u64 = 20_000;
/// Scripts in one step.
const SCRIPTS: usize = 16;

/// What the directives say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DefragLimits {
    ignore_bytes: u64,
    /// Percent that is lost: from the lower on it begins, from the upper on it works hardest.
    lower: u64,
    upper: u64,
    /// Percent of the time.
    least: u64,
    most: u64,
}

/// How much is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Fragmentation {
    /// Of what is in use.
    percent: f64,
    bytes: u64,
}

impl Fragmentation {
    fn new(active: usize, allocated: usize) -> Fragmentation {
        let percent = active as f64 * 100.0 / allocated.max(1) as f64 - 100.0;
        Fragmentation { percent, bytes: active.saturating_sub(allocated) as u64 }
    }
}

/// The share of the time in percent that goes into it from now on, when it was `running` percent; 0 to rest.
fn effort(frag: Fragmentation, limits: &DefragLimits, running: u64, limits_changed: bool) -> u64 {
    let little = frag.percent < limits.lower as f64 || frag.bytes < limits.ignore_bytes;
    if running == 0 && little {
        return 0;
    }
    let span = limits.upper as f64 - limits.lower as f64;
    let part = (frag.percent - limits.lower as f64) / if span == 0.0 { 1.0 } else { span };
    let share = limits.least as f64 + part * (limits.most as f64 - limits.least as f64);
    let share = share.max(limits.least as f64).min(limits.most as f64) as u64;
    if limits_changed { share } else { share.max(running) }
}

/// What INFO shows of it.
#[derive(Debug, Default, Clone, Copy)]
pub struct DefragStats {
    /// Blocks that were moved, and others that were looked at.
    pub hits: u64,
    pub misses: u64,
    pub key_hits: u64,
    pub key_misses: u64,
    /// Time that runs have lasted which are over.
    total_ms: u64,
}

#[derive(Default)]
pub struct ActiveDefrag {
    /// Percent of the time; 0 at rest.
    running: u64,
    /// The walk is over, and the next decision is to come.
    done: bool,
    slices: Slices,
    walk: Option<Walk>,
    limits: Option<DefragLimits>,
    /// Monotonic milliseconds: since when it has run, and when it last did during a load.
    since_ms: u64,
    loading_ms: u64,
    last_decision_ms: u64,
    stats: DefragStats,
}

/// A walk that is under way.
struct Walk {
    mover: Mover,
    dataset: DatasetWalk,
    dataset_done: bool,
    /// Scripts to come.
    scripts: Vec<Sha>,
    begun_ms: u64,
    /// Microseconds until the mover asks the allocator again.
    fresh_us: u64,
}

impl ActiveDefrag {
    /// A share of this tick is left.
    pub fn is_under_way(&self) -> bool {
        self.slices.next().is_some()
    }

    pub fn running(&self) -> u64 {
        self.running
    }

    pub fn stats(&self) -> DefragStats {
        self.stats
    }

    /// Milliseconds that it has run in all, and since it last began.
    pub fn times(&self, now_ms: u64) -> (u64, u64) {
        let current = if self.running > 0 { now_ms.saturating_sub(self.since_ms) } else { 0 };
        (self.stats.total_ms + current, current)
    }

    pub fn reset_stats(&mut self) {
        self.stats = DefragStats::default();
    }

    fn rest(&mut self, now_ms: u64) {
        self.stats.total_ms = self.times(now_ms).0;
        self.running = 0;
        self.finish();
    }

    fn finish(&mut self) {
        self.walk = None;
        self.done = true;
        self.slices.end();
    }

    fn works(&self) -> bool {
        self.running > 0 && !self.done
    }
}

fn limits(srv: &Server) -> DefragLimits {
    let c = &srv.config;
    DefragLimits {
        ignore_bytes: c.active_defrag_ignore_bytes,
        lower: c.active_defrag_threshold_lower,
        upper: c.active_defrag_threshold_upper,
        least: c.active_defrag_cycle_min,
        most: c.active_defrag_cycle_max,
    }
}

/// May it work now? One that was switched off forgets where it was.
fn wanted(srv: &mut Server) -> bool {
    if !srv.config.activedefrag {
        if srv.defrag.running > 0 {
            srv.defrag.rest(srv.clock.mono_ms);
        }
        return false;
    }
    srv.jobs.child.is_none()
}

/// From the cron: looks once a second whether there is something to do, and grants this tick's share.
pub fn tick(srv: &mut Server) {
    if !wanted(srv) {
        return srv.defrag.slices.end();
    }
    decide_in_time(srv, srv.clock.mono_ms);
    if !srv.defrag.works() {
        return;
    }
    let us = srv.defrag.running * 10_000 / srv.cron.hz.max(1);
    srv.defrag.slices.grant(us.max(1));
    go_on(srv);
}

/// Once a second.
fn decide_in_time(srv: &mut Server, now: u64) {
    if now >= srv.defrag.last_decision_ms + 1000 {
        srv.defrag.last_decision_ms = now;
        decide(srv, now);
    }
}

fn decide(srv: &mut Server, now: u64) {
    let limits = limits(srv);
    let figures = alloc::stats();
    let frag = Fragmentation::new(figures.active, figures.allocated);
    let d = &mut srv.defrag;
    let changed = d.limits.replace(limits) != Some(limits);
    let before = if d.works() { d.running } else { 0 };
    let share = effort(frag, &limits, before, changed);
    if share == before {
        if share == 0 {
            d.rest(now);
        }
        return;
    }
    if d.running == 0 {
        d.since_ms = now;
    }
    (d.running, d.done) = (share, false);
    crate::verbose!(
        "Starting active defrag, frag={:.0}%, frag_bytes={}, cpu={share}%",
        frag.percent,
        frag.bytes
    );
}

/// The next slice of this tick's share.
pub fn go_on(srv: &mut Server) {
    let Some(slice) = srv.defrag.slices.next().filter(|_| wanted(srv)) else {
        return srv.defrag.slices.end();
    };
    let begun = mono_ns();
    work(srv, slice);
    let spent = (mono_ns() - begun) / 1000;
    srv.defrag.slices.spent(spent);
    slow::sample(srv, "active-defrag-cycle", spent / 1000);
}

/// Between two items of a load, which lets no ticks pass: makes up for those since it was last here.
pub fn during_load(srv: &mut Server) {
    let now = mono_ns() / 1_000_000;
    let since = std::mem::replace(&mut srv.defrag.loading_ms, now);
    if !wanted(srv) {
        return;
    }
    decide_in_time(srv, now);
    let share = now.saturating_sub(since).min(1000) * 10 * srv.defrag.running;
    if share == 0 || !srv.defrag.works() {
        return;
    }
    let begun = mono_ns();
    work(srv, share.min(LOAD_SLICE_US));
    slow::sample(srv, "while-blocked-cron", (mono_ns() - begun) / 1_000_000);
}

/// Steps of the walk, for so long.
fn work(srv: &mut Server, us: u64) {
    let until = mono_ns() + us * 1000;
    let mut walk = match srv.defrag.walk.take() {
        Some(walk) => walk,
        None => match begin(srv) {
            Some(walk) => walk,
            None => return srv.defrag.rest(srv.clock.mono_ms),
        },
    };
    if walk.fresh_us == 0 {
        walk.mover.refresh();
        walk.fresh_us = REFRESH_US;
    }
    walk.fresh_us = walk.fresh_us.saturating_sub(us);
    loop {
        if step(srv, &mut walk) {
            book(srv, &mut walk);
            return end(srv, &walk);
        }
        if mono_ns() >= until {
            break;
        }
    }
    book(srv, &mut walk);
    srv.defrag.walk = Some(walk);
}

fn begin(srv: &Server) -> Option<Walk> {
    // What the thread's cache holds counts as taken, and would be handed out instead of what is moved to.
    alloc::flush_thread_cache();
    Some(Walk {
        mover: Mover::new()?,
        dataset: DatasetWalk::default(),
        dataset_done: false,
        scripts: srv.scripting.scripts.keys().copied().collect(),
        begun_ms: srv.clock.mono_ms,
        fresh_us: REFRESH_US,
    })
}

/// True when the walk is over.
fn step(srv: &mut Server, walk: &mut Walk) -> bool {
    if !walk.dataset_done {
        let max = usize::try_from(srv.config.active_defrag_max_scan_fields).unwrap_or(usize::MAX);
        walk.dataset_done = srv.ks.defrag(&mut walk.dataset, &mut walk.mover, max);
        return false;
    }
    let rest = walk.scripts.len().saturating_sub(SCRIPTS);
    for name in walk.scripts.drain(rest..) {
        srv.scripting.defrag(&name, &mut walk.mover);
    }
    rest == 0
}

/// Moves what the walk has counted into the statistics.
fn book(srv: &mut Server, walk: &mut Walk) {
    let s = &mut srv.defrag.stats;
    s.hits += std::mem::take(&mut walk.mover.hits);
    s.misses += std::mem::take(&mut walk.mover.misses);
    s.key_hits += std::mem::take(&mut walk.dataset.key_hits);
    s.key_misses += std::mem::take(&mut walk.dataset.key_misses);
}

fn end(srv: &mut Server, walk: &Walk) {
    let now = srv.clock.mono_ms;
    let figures = alloc::stats();
    let frag = Fragmentation::new(figures.active, figures.allocated);
    crate::verbose!(
        "Active defrag done in {}ms, reallocated={}, frag={:.0}%, frag_bytes={}",
        now.saturating_sub(walk.begun_ms),
        srv.defrag.stats.hits,
        frag.percent,
        frag.bytes
    );
    srv.defrag.finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: DefragLimits =
        DefragLimits { ignore_bytes: 100, lower: 10, upper: 100, least: 1, most: 25 };

    fn lost(percent: f64, bytes: u64) -> Fragmentation {
        Fragmentation { percent, bytes }
    }

    #[test]
    fn it_begins_when_both_the_share_and_the_bytes_are_large() {
        assert_eq!(effort(lost(9.9, 1000), &LIMITS, 0, false), 0);
        assert_eq!(effort(lost(50.0, 99), &LIMITS, 0, false), 0);
        assert_eq!(effort(lost(10.0, 100), &LIMITS, 0, false), 1);
        assert_eq!(Fragmentation::new(150, 100), lost(50.0, 50));
        assert_eq!(Fragmentation::new(0, 0).bytes, 0);
    }

    #[test]
    fn the_effort_grows_with_what_is_lost_and_stays_in_its_limits() {
        assert_eq!(effort(lost(55.0, 1000), &LIMITS, 0, false), 13);
        assert_eq!(effort(lost(100.0, 1000), &LIMITS, 0, false), 25);
        assert_eq!(effort(lost(900.0, 1000), &LIMITS, 0, false), 25);
        let upside_down = DefragLimits { lower: 50, upper: 50, ..LIMITS };
        assert_eq!(effort(lost(50.0, 1000), &upside_down, 0, false), 1);
        assert_eq!(effort(lost(99.0, 1000), &upside_down, 0, false), 25);
        let crossed = DefragLimits { least: 30, most: 20, ..LIMITS };
        assert!((20..=30).contains(&effort(lost(55.0, 1000), &crossed, 0, false)));
    }

    #[test]
    fn under_way_it_slows_down_for_other_limits_alone() {
        assert_eq!(effort(lost(11.0, 1000), &LIMITS, 13, false), 13);
        assert_eq!(effort(lost(5.0, 0), &LIMITS, 13, false), 13, "a walk is finished");
        assert_eq!(effort(lost(100.0, 1000), &LIMITS, 13, false), 25);
        assert_eq!(effort(lost(11.0, 1000), &LIMITS, 13, true), 1);
    }
}
