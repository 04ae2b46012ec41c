//! Active expiry: deletes expired keys that no command looks up, by sampling the index of keys with a TTL.
//!
//! ```text
//! slow   from cron, hz times a second, for up to a quarter of the time (more with active-expire-effort),
//!        in slices, one a pass (`pace`)
//! fast   before each sleep, for up to a millisecond, while the slow one ran out of time or much is stale
//!
//! for each database:  sample a few keys ─► delete the expired, each a unit ─► again while too many were
//! ```
//!
//! The sampling walks with a cursor that stays with the database, so every key has its turn. It does
//! nothing where expired keys are not ours to delete: on a replica, while expiry is paused, during a
//! load. What it saw gives the averages that INFO shows: TTLs by database, and the share of keys that
//! are expired but still here.
//!
//! Big values are freed by a thread wherever they leave, but for this place: without
//! `lazyfree-lazy-expire` the run frees them itself, so that its time, which LATENCY tells of as
//! `expire-cycle`, is what the directive promises. Setting the directive avoids such spikes.
//!
//! Constants are upstream's (ACTIVE_EXPIRE_CYCLE_*), but for the slices.

use super::pace::Slices;
use super::{Server, settle, slow};
use crate::ds::dict::Index;
use crate::keyspace::Expiry;
use crate::proto::args::Key;
use crate::sys::clock::{mono_ns, ticks};

/// Databases looked at per run, when the last one did not run out of time (CRON_DBS_PER_CALL).
const DBS: usize = 16;
/// The clock is asked after so many samples.
const LOOK_AT_CLOCK: u32 = 4;
/// Places of the index visited for each key that is wanted: a sparse one is not searched for long.
const PLACES_PER_KEY: usize = 20;
/// One run over the keys of a writable replica's own clients: microseconds, and keys that stay.
const OWN_US: u64 = 1000;
const OWN_STAY: u32 = 3;
/// A step of the index visits a bucket, which stands for so many places.
const PLACES_PER_STEP: usize = 8;

/// What is remembered from one run to the next.
#[derive(Default)]
pub struct ExpireCycle {
    next_db: usize,
    ran_out_of_time: bool,
    last_fast_us: u64,
    /// The slow run that is under way, and the time it has left.
    slow: Run,
    slices: Slices,
    /// Names of keys found expired, reused from sample to sample.
    found: Names,
}

impl ExpireCycle {
    /// A slow run waits for its next slice.
    pub fn is_under_way(&self) -> bool {
        self.slices.next().is_some()
    }
}

/// A run that has begun.
#[derive(Default)]
struct Run {
    /// Databases it has not been through.
    dbs: usize,
    total: Sample,
    turns: u32,
}

/// Key names, stored one behind the other.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Names {
    fn push(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len());
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| &self.bytes[begin..*end])
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// What `active-expire-effort` (1 to 10) asks for.
#[derive(Debug, PartialEq, Eq)]
struct Effort {
    keys: usize,
    fast_us: u64,
    slow_percent: u64,
    /// So many percent of expired keys are left alone.
    stale_percent: u64,
}

impl Effort {
    fn new(effort: u64) -> Effort {
        let more = effort.clamp(1, 10) - 1;
        Effort {
            keys: 20 + 5 * more as usize,
            fast_us: 1000 + 250 * more,
            slow_percent: 25 + 2 * more,
            stale_percent: 10 - more,
        }
    }
}

#[derive(Default, Clone, Copy)]
struct Sample {
    seen: u64,
    expired: u64,
    ttl_sum: i64,
    ttls: i64,
}

fn now_us() -> u64 {
    mono_ns() / 1000
}

/// Are expired keys to be looked for?
fn wanted(srv: &Server) -> bool {
    srv.switches.active_expire && srv.ks.policy.expiry == Expiry::Delete
}

/// A new run: how many databases it goes through.
fn begin(srv: &mut Server) -> Run {
    let all = srv.ks.databases();
    let cycle = &mut srv.expire_cycle;
    let dbs = if cycle.ran_out_of_time { all } else { DBS.min(all) };
    cycle.ran_out_of_time = false;
    Run { dbs, ..Run::default() }
}

/// Before each sleep: a run of its own, if it is time for it. One that is under way needs no other.
pub fn fast(srv: &mut Server) {
    let effort = Effort::new(srv.config.active_expire_effort);
    let begun = now_us();
    if !wanted(srv) || srv.expire_cycle.is_under_way() || !fast_is_due(srv, &effort, begun) {
        return;
    }
    let mut run = begin(srv);
    let done = go(srv, &mut run, &effort, begun + effort.fast_us);
    end(srv, &run, done);
}

/// From the cron: begins a run, which goes on in the passes that follow.
pub fn slow(srv: &mut Server) {
    if srv.expire_cycle.is_under_way() {
        // A tick has not been enough, with all else that there was to do.
        let run = std::mem::take(&mut srv.expire_cycle.slow);
        end(srv, &run, false);
    }
    if !wanted(srv) {
        return;
    }
    let effort = Effort::new(srv.config.active_expire_effort);
    srv.expire_cycle.slow = begin(srv);
    srv.expire_cycle.slices.grant((effort.slow_percent * 10_000 / srv.cron.hz.max(1)).max(1));
    go_on(srv);
}

/// The next slice of the slow run.
pub fn go_on(srv: &mut Server) {
    let effort = Effort::new(srv.config.active_expire_effort);
    let mut run = std::mem::take(&mut srv.expire_cycle.slow);
    let Some(slice) = srv.expire_cycle.slices.next().filter(|_| wanted(srv)) else {
        return srv.expire_cycle.slices.end();
    };
    let begun = now_us();
    let done = go(srv, &mut run, &effort, begun + slice);
    srv.expire_cycle.slices.spent(now_us() - begun);
    if done || !srv.expire_cycle.is_under_way() {
        end(srv, &run, done);
    } else {
        srv.expire_cycle.slow = run;
    }
}

/// Goes through databases until the time has run out; true when all have been looked at.
fn go(srv: &mut Server, run: &mut Run, effort: &Effort, until: u64) -> bool {
    debug_assert!(srv.ops.is_empty(), "each unit has left before");
    let begun = now_us();
    let all = srv.ks.databases();
    while run.dbs > 0 {
        let db = srv.expire_cycle.next_db % all;
        if !database(srv, db, effort, until, run) {
            break;
        }
        run.dbs -= 1;
        srv.expire_cycle.next_db = (db + 1) % all;
    }
    let spent = now_us() - begun;
    srv.stats.expire_cycle_cpu_us += spent;
    slow::sample(srv, "expire-cycle", spent / 1000);
    settle::serve_ready(srv);
    run.dbs == 0
}

/// The run is over: all is looked at, or its time has run out.
fn end(srv: &mut Server, run: &Run, done: bool) {
    srv.expire_cycle.slices.end();
    if !done {
        srv.expire_cycle.ran_out_of_time = true;
        srv.stats.expired_time_cap += 1;
        // The next run begins behind the database that this one did not finish.
        srv.expire_cycle.next_db = (srv.expire_cycle.next_db + 1) % srv.ks.databases();
    }
    let total = &run.total;
    let share = if total.seen == 0 { 0.0 } else { total.expired as f64 / total.seen as f64 };
    srv.stats.expired_stale_perc = share * 0.05 + srv.stats.expired_stale_perc * 0.95;
}

/// A fast run makes up for a slow one that did not finish, and not too often.
fn fast_is_due(srv: &mut Server, effort: &Effort, now: u64) -> bool {
    let cycle = &mut srv.expire_cycle;
    if !cycle.ran_out_of_time && srv.stats.expired_stale_perc < effort.stale_percent as f64 {
        return false;
    }
    if now < cycle.last_fast_us + 2 * effort.fast_us {
        return false;
    }
    cycle.last_fast_us = now;
    true
}

/// On a writable replica: the keys that its own clients let expire. Stops when several of them in a row have
/// to stay, or the time is up.
pub fn run_own(srv: &mut Server) {
    if !srv.switches.active_expire || srv.ks.policy.expiry != Expiry::DeleteOnWrite {
        return;
    }
    let until = now_us() + OWN_US;
    let mut stay = 0;
    for _ in 0..srv.ks.own_ttls.len() {
        let mut own = std::mem::take(&mut srv.ks.own_ttls);
        let stays = own.next(|db, key| {
            let waits = db < srv.ks.databases()
                && srv.ks.peek(db, Key::new(key)).is_some_and(|e| e.when().is_some());
            let mut name = Names::default();
            name.push(key);
            !waits || delete(srv, db, &name) > 0
        });
        srv.ks.own_ttls = own;
        stay += u32::from(stays);
        if stay > OWN_STAY || now_us() > until {
            break;
        }
    }
}

/// Samples one database until few enough are expired. False when the time has run out.
fn database(srv: &mut Server, db: usize, effort: &Effort, until: u64, run: &mut Run) -> bool {
    loop {
        run.turns += 1;
        let keys = srv.ks.db(db).volatile();
        if keys == 0 {
            srv.ks.average_ttl(db, None);
            return true;
        }
        // Nearly empty: it is about to be shrunk, and cheaper to sample then.
        if srv.ks.db(db).dict().is_sparse(Index::Expires) {
            return true;
        }
        srv.clock.advance(ticks());
        srv.ks.now_ms = srv.clock.unix_ms;
        let s = sample(srv, db, index_share(srv, db, effort));
        run.total.seen += s.seen;
        run.total.expired += s.expired;
        if s.ttls > 0 {
            srv.ks.average_ttl(db, Some(s.ttl_sum / s.ttls));
        }
        if run.turns.is_multiple_of(LOOK_AT_CLOCK) && now_us() > until {
            return false;
        }
        if s.seen > 0 && s.expired * 100 / s.seen <= effort.stale_percent {
            return true;
        }
    }
}

/// How many keys a sample wants.
fn index_share(srv: &Server, db: usize, effort: &Effort) -> usize {
    srv.ks.db(db).volatile().min(effort.keys)
}

/// Looks at about `want` keys with a TTL and deletes the expired among them.
fn sample(srv: &mut Server, db: usize, want: usize) -> Sample {
    let mut s = Sample::default();
    let mut steps = (want * PLACES_PER_KEY).div_ceil(PLACES_PER_STEP);
    while s.seen < want as u64 && steps > 0 {
        steps -= 1;
        let now = srv.ks.now_ms;
        let mut found = std::mem::take(&mut srv.expire_cycle.found);
        srv.ks.sample_volatile(db, |e| {
            let when = e.when().unwrap_or(i64::MAX);
            s.seen += 1;
            if now > when {
                found.push(e.key());
            } else if when > now {
                s.ttl_sum = s.ttl_sum.saturating_add(when - now);
                s.ttls += 1;
            }
        });
        s.expired += delete(srv, db, &found);
        found.clear();
        srv.expire_cycle.found = found;
    }
    s
}

/// Deletes expired keys, each in an execution unit of its own. Returns how many.
fn delete(srv: &mut Server, db: usize, found: &Names) -> u64 {
    let mut deleted = 0;
    for name in found.iter() {
        srv.execution.enter_command();
        srv.ks.policy.free_here = !srv.ks.policy.lazy_expire;
        // What listeners of the one before have changed is looked at anew.
        deleted += u64::from(srv.ks.expire_now(db, Key::new(name)));
        srv.ks.policy.free_here = false;
        srv.execution.leave_command();
        settle::lone_unit_end(srv);
    }
    deleted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effort_scales_from_the_default_to_its_double() {
        let default = Effort { keys: 20, fast_us: 1000, slow_percent: 25, stale_percent: 10 };
        assert_eq!(Effort::new(1), default);
        let most = Effort { keys: 65, fast_us: 3250, slow_percent: 43, stale_percent: 1 };
        assert_eq!((Effort::new(10), Effort::new(99)), (most, Effort::new(10)));
    }
}
