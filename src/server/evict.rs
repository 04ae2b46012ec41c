//! `maxmemory`: before a command runs, keys make room.
//!
//! ```text
//! command ─► perform ─┬─ fits                        ─► runs
//!                     ├─ evicted, time is up         ─► runs; the loop goes on evicting between events
//!                     └─ nothing may go, or noeviction ─► commands that need memory are refused (OOM)
//! ```
//!
//! What does not count: the buffer of the AOF. It grows by the very DELs that eviction writes, so
//! counting it would evict without end; it is written in the same pass anyway.
//!
//! `maxmemory-eviction-tenacity` bounds the time of one call, and `pace` that of a pass, so that a limit
//! that was lowered by far costs latency in slices. Nothing is evicted inside a nested pass, while loading
//! and while eviction is paused, nor on a replica with `replica-ignore-maxmemory`, which leaves it to its
//! master.

use super::pace::{Ration, Share};
use super::{Server, ServerStates, settle, slow};
use crate::clients::pause::action;
use crate::config::{Config, MaxmemoryPolicy as Policy};
use crate::keyspace::evict::{Pool, Rank, Rule};
use crate::sys::alloc;
use crate::sys::clock::mono_ns;

/// The time and, under lazy freeing, the goal are looked at after so many keys.
const LOOK_EVERY: u32 = 16;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EvictOutcome {
    /// There is room, or nothing may be done about it now.
    Fits,
    /// There will be: eviction goes on between events.
    Running,
    /// There is none, and nothing left to evict.
    Failed,
}

#[derive(Default)]
pub struct Eviction {
    pool: Pool,
    /// The loop goes on evicting.
    pub running: bool,
    /// Memory was short when the running command (a script, a transaction) began.
    pub short: bool,
    /// Since when memory has been over the limit.
    exceeded_since_ns: Option<u64>,
    exceeded_us: u64,
    /// Bytes in use by other threads, when the loop slept last.
    others: isize,
    /// What the pass under way may spend.
    ration: Ration,
}

impl Eviction {
    /// Milliseconds over the limit: those that are over, and those under way.
    pub fn exceeded_ms(&self) -> (u64, u64) {
        let current = self.exceeded_since_ns.map_or(0, |at| mono_ns().saturating_sub(at) / 1000);
        ((self.exceeded_us + current) / 1000, current / 1000)
    }

    /// CONFIG RESETSTAT.
    pub fn reset_stats(&mut self) {
        (self.exceeded_since_ns, self.exceeded_us) = (None, 0);
    }

    /// The loop has waited for events.
    pub fn new_pass(&mut self) {
        self.ration.new_pass();
    }

    /// Has this pass taken so long that clients should leave their other requests for the next one?
    pub fn is_tired(&self, config: &Config) -> bool {
        self.running && self.ration.exhausted(time_limit_us(config.maxmemory_eviction_tenacity))
    }

    fn book(&mut self, outcome: EvictOutcome) {
        if outcome != EvictOutcome::Fits {
            self.exceeded_since_ns.get_or_insert_with(mono_ns);
        } else if let Some(since) = self.exceeded_since_ns.take() {
            self.exceeded_us += mono_ns().saturating_sub(since) / 1000;
        }
    }
}

/// Bytes in use that do not count towards `maxmemory`: the backlog beyond its size, and the AOF's buffer.
pub fn not_counted(srv: &Server) -> usize {
    let replicas = srv.repl.footprint(srv.config.repl_backlog_size).1;
    replicas + srv.ops.aof.as_ref().map_or(0, |s| s.buf.capacity())
}

/// Sums the memory of other threads, once per pass: it changes too slowly to be summed for each command.
pub fn look_at_others(srv: &mut Server) {
    srv.eviction.others = alloc::used_by_others();
}

/// By how many bytes the limit is exceeded.
pub fn excess(srv: &Server) -> Option<usize> {
    let max = usize::try_from(srv.config.maxmemory).unwrap_or(usize::MAX);
    let used = alloc::used();
    if max == 0 || used <= max {
        return None;
    }
    used.saturating_sub(not_counted(srv)).checked_sub(max).filter(|over| *over > 0)
}

fn rule(srv: &Server) -> Option<Rule> {
    let (rank, volatile) = match srv.config.maxmemory_policy {
        Policy::NoEviction => return None,
        Policy::AllkeysLru => (Rank::Idle, false),
        Policy::VolatileLru => (Rank::Idle, true),
        Policy::AllkeysLfu => (Rank::Rarity, false),
        Policy::VolatileLfu => (Rank::Rarity, true),
        Policy::AllkeysRandom => (Rank::Random, false),
        Policy::VolatileRandom => (Rank::Random, true),
        Policy::VolatileTtl => (Rank::Ttl, true),
    };
    let samples = usize::try_from(srv.config.maxmemory_samples).unwrap_or(usize::MAX);
    Some(Rule { rank, volatile, samples })
}

/// Microseconds that one call may take: up to tenacity 10 in equal steps, then by 15 percent each.
fn time_limit_us(tenacity: u64) -> u64 {
    match tenacity {
        0..=10 => 50 * tenacity,
        11..=99 => (500.0 * 1.15f64.powf(tenacity as f64 - 10.0)) as u64,
        _ => u64::MAX,
    }
}

/// Makes room, as far as that may be done now.
#[inline]
pub fn perform(srv: &mut Server) -> EvictOutcome {
    let max = usize::try_from(srv.config.maxmemory).unwrap_or(usize::MAX);
    let short = max > 0 && alloc::used_with(srv.eviction.others) > max;
    let over = if short { excess(srv) } else { None };
    if over.is_none() && srv.eviction.exceeded_since_ns.is_none() {
        return EvictOutcome::Fits;
    }
    if !allowed(srv) {
        return EvictOutcome::Fits;
    }
    let outcome = match (over, rule(srv)) {
        (None, _) => EvictOutcome::Fits,
        (Some(_), None) => EvictOutcome::Failed,
        (Some(over), Some(rule)) => make_room(srv, over, rule),
    };
    srv.eviction.book(outcome);
    outcome
}

fn allowed(srv: &Server) -> bool {
    let masters = srv.states.has(ServerStates::REPLICA) && srv.config.replica_ignore_maxmemory;
    !masters
        && !srv.states.has(ServerStates::LOADING | ServerStates::BUSY)
        && srv.execution.between_units()
        && !srv.pause.has(action::EVICT)
}

#[cold]
fn make_room(srv: &mut Server, over: usize, rule: Rule) -> EvictOutcome {
    debug_assert!(srv.ops.is_empty(), "each unit has left before");
    let begun = mono_ns();
    let limit = time_limit_us(srv.config.maxmemory_eviction_tenacity);
    let Some(share) = srv.eviction.ration.ask(over, limit) else {
        srv.eviction.running = true;
        return EvictOutcome::Running;
    };
    let mut outcome = evict_keys(srv, &share, rule, begun);
    if outcome == EvictOutcome::Failed {
        outcome = wait_for_thread(srv, begun, share.us);
    }
    if outcome == EvictOutcome::Fits && share.bytes < over {
        srv.eviction.running = true;
        outcome = EvictOutcome::Running;
    }
    let left = excess(srv).unwrap_or(0);
    srv.eviction.ration.spent(elapsed_us(begun), left, limit);
    slow::sample(srv, "eviction-cycle", (mono_ns() - begun) / 1_000_000);
    outcome
}

fn elapsed_us(since_ns: u64) -> u64 {
    mono_ns().saturating_sub(since_ns) / 1000
}

fn evict_keys(srv: &mut Server, share: &Share, rule: Rule, begun: u64) -> EvictOutcome {
    let over = isize::try_from(share.bytes).unwrap_or(isize::MAX);
    let lazy = srv.config.lazyfree_lazy_eviction;
    let (mut freed, mut keys) = (0isize, 0u32);
    while freed < over {
        let Some((db, name)) = srv.ks.victim(&mut srv.eviction.pool, rule) else {
            return EvictOutcome::Failed;
        };
        let at = mono_ns();
        srv.execution.enter_command();
        freed = freed.saturating_add(srv.ks.evict(db, &name, lazy));
        srv.execution.leave_command();
        slow::sample(srv, "eviction-del", (mono_ns() - at) / 1_000_000);
        settle::lone_unit_end(srv);
        keys = keys.wrapping_add(1);
        if keys.is_multiple_of(LOOK_EVERY) {
            // A thread may have freed more than was foreseen.
            if lazy && excess(srv).is_none() {
                break;
            }
            if elapsed_us(begun) > share.us {
                srv.eviction.running = true;
                break;
            }
        }
    }
    if srv.eviction.running { EvictOutcome::Running } else { EvictOutcome::Fits }
}

/// Nothing is left to evict, but what was handed to the thread may not be free yet.
fn wait_for_thread(srv: &mut Server, begun: u64, limit: u64) -> EvictOutcome {
    let at = mono_ns();
    let mut outcome = EvictOutcome::Failed;
    while srv.lazyfree.pending() > 0 && elapsed_us(begun) < limit {
        if excess(srv).is_none() {
            outcome = EvictOutcome::Fits;
            break;
        }
        std::thread::sleep(std::time::Duration::from_micros(limit.min(1000)));
    }
    slow::sample(srv, "eviction-lazyfree", (mono_ns() - at) / 1_000_000);
    outcome
}

/// Between events, while `running`.
pub fn resume(srv: &mut Server) {
    if perform(srv) != EvictOutcome::Running {
        srv.eviction.running = false;
    }
    settle::serve_ready(srv);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenacity_grows_from_nothing_to_no_limit() {
        assert_eq!([0, 1, 10].map(time_limit_us), [0, 50, 500]);
        assert_eq!(time_limit_us(11), 575);
        // Two minutes, about.
        assert!((120_000_000..130_000_000).contains(&time_limit_us(99)), "{}", time_limit_us(99));
        assert_eq!(time_limit_us(100), u64::MAX);
    }
}
