//! Time. The only place that asks the machine for it.
//!
//! Reading the time-stamp counter costs a third of a `clock_gettime`, and every command needs one
//! reading for its duration; the same reading advances the clock. `Clock::sync` (once per pass) anchors
//! counter and wall clock to each other, so an error of the calibration can only grow for the length of
//! one pass. Where the counter is not invariant (CPUID 8000_0007h, EDX bit 8) `ticks` falls back to
//! nanoseconds of CLOCK_MONOTONIC.
//!
//! Inside one execution unit the clock stands still: `unix_ms` moves only in `advance` and `sync`.

use std::sync::atomic::{AtomicU8, Ordering};

fn gettime(id: libc::clockid_t) -> u64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a timespec to be filled.
    unsafe { libc::clock_gettime(id, &mut t) };
    (t.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(t.tv_nsec as u64)
}

/// Nanoseconds of the monotonic clock.
pub fn mono_ns() -> u64 {
    gettime(libc::CLOCK_MONOTONIC)
}

/// Microseconds since 1970.
pub fn unix_us() -> i64 {
    (gettime(libc::CLOCK_REALTIME) / 1000) as i64
}

/// Milliseconds since 1970.
pub fn unix_ms() -> i64 {
    unix_us() / 1000
}

/// 0 not asked yet, 1 counter usable, 2 not.
static COUNTER: AtomicU8 = AtomicU8::new(0);

#[cfg(target_arch = "x86_64")]
fn counter_is_invariant() -> bool {
    use std::arch::x86_64::__cpuid;
    __cpuid(0x8000_0000).eax >= 0x8000_0007 && __cpuid(0x8000_0007).edx & (1 << 8) != 0
}

/// A reading of the fastest steady counter; `Clock` knows how long a tick is.
#[inline]
pub fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    if COUNTER.load(Ordering::Relaxed) == 1 {
        // SAFETY: every x86-64 has it.
        return unsafe { std::arch::x86_64::_rdtsc() };
    }
    mono_ns()
}

/// Counter and monotonic nanoseconds at the same moment: of a few readings the one that took least, since
/// the process may lose the processor between the two.
fn moment() -> (u64, u64) {
    let reading = || {
        let (before, ns, after) = (ticks(), mono_ns(), ticks());
        (after.saturating_sub(before), before, ns)
    };
    let (_, ticks, ns) = (0..4).map(|_| reading()).min().expect("four readings");
    (ticks, ns)
}

/// Wall clock and counter, tied together.
#[derive(Debug, Clone)]
pub struct Clock {
    /// Milliseconds since 1970 at the beginning of this execution unit.
    pub unix_ms: i64,
    /// Microseconds since 1970, for commands that answer with the time: at the beginning of this execution
    /// unit, or when the loop last turned in the middle of it.
    pub unix_us: i64,
    /// Monotonic milliseconds at the last `sync`.
    pub mono_ms: u64,
    anchor_ticks: u64,
    anchor_us: i64,
    /// Nanoseconds per tick, 32.32 fixed point.
    scale: u64,
    born_ticks: u64,
    born_ns: u64,
}

impl Clock {
    /// Calibrates for about a millisecond.
    pub fn new() -> Self {
        #[cfg(target_arch = "x86_64")]
        COUNTER.store(if counter_is_invariant() { 1 } else { 2 }, Ordering::Relaxed);
        let (born_ticks, born_ns) = moment();
        while mono_ns() < born_ns + 1_000_000 {}
        let mut clock = Clock {
            unix_ms: 0,
            unix_us: 0,
            mono_ms: 0,
            anchor_ticks: 0,
            anchor_us: 0,
            scale: 1 << 32,
            born_ticks,
            born_ns,
        };
        clock.calibrate();
        clock.sync();
        clock
    }

    /// Measures the tick over all the time since the start; more exact each time.
    pub fn calibrate(&mut self) {
        let (ticks, ns) = moment();
        let (dt, dn) = (ticks.saturating_sub(self.born_ticks), ns.saturating_sub(self.born_ns));
        if dt > 0 && dn > 0 {
            self.scale = (((dn as u128) << 32) / dt as u128) as u64;
        }
    }

    /// Nanoseconds in `ticks`.
    #[inline]
    pub fn ns(&self, ticks: u64) -> u64 {
        ((ticks as u128 * self.scale as u128) >> 32) as u64
    }

    /// Ticks in `ns`; the most there are when it does not fit.
    pub fn ticks_in(&self, ns: u64) -> u64 {
        u64::try_from(((ns as u128) << 32) / self.scale.max(1) as u128).unwrap_or(u64::MAX)
    }

    /// Anchors the clock to the wall; returns the counter's reading.
    pub fn sync(&mut self) -> u64 {
        let now = ticks();
        self.anchor_us = unix_us();
        self.anchor_ticks = now;
        self.mono_ms = mono_ns() / 1_000_000;
        self.unix_us = self.anchor_us;
        self.unix_ms = self.anchor_us / 1000;
        now
    }

    /// Moves the clock to the reading `now`.
    #[inline]
    pub fn advance(&mut self, now: u64) {
        self.unix_us = self.anchor_us + (self.ns(now.saturating_sub(self.anchor_ticks)) / 1000) as i64;
        self.unix_ms = self.unix_us / 1000;
    }

    /// Seconds since 1970.
    pub fn unix_secs(&self) -> i64 {
        self.unix_ms / 1000
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advanced_clock_agrees_with_the_wall() {
        let mut c = Clock::new();
        let until = mono_ns() + 3_000_000;
        while mono_ns() < until {}
        c.calibrate();
        c.advance(ticks());
        let wall = unix_us();
        assert!((wall - c.unix_us).abs() < 500_000, "{wall} against {}", c.unix_us);
    }

    #[test]
    fn it_stands_still_between_advances() {
        let c = Clock::new();
        let before = c.unix_us;
        let _ = ticks();
        assert_eq!(before, c.unix_us);
    }
}
