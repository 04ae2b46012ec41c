//! Whether the loop polls for a moment before it sleeps.
//!
//! A server that answers sooner than its clients ask again sleeps between any two requests, and each
//! client's send has to wake it: two switches of context and a wake-up of the processor for every few
//! requests. Polling the sockets without blocking for some 20 us saves both, when something comes within
//! them. When nothing comes, they are wasted. So the outcomes decide:
//!
//! ```text
//!                 15 of the last 16 sleeps were short, the pause is over, a processor is spare
//!           ┌────────────────────────────────────────────────────────────────────────────────┐
//!  asleep ──┘                                                                                └─► polling
//!     ▲      the 2nd miss of a trial; later the 5th within 32; the pause doubles, or begins anew    │
//!     └────────────────────────────── after a run that was worth it ────────────────────────────────┘
//! ```
//!
//! - Sleeps of a length that polling might have saved are the sign of load; an idle server, a client that
//!   asks a thousand times a second, and clients behind a network never give it, so they cost nothing.
//! - The share of hits is high on purpose. Requests that arrive by chance hit the bound in half of all
//!   cases already at 35,000 a second, where polling would double the time on the processor; seven of
//!   eight are reached when the server is nearly saturated.
//! - A poll lasts up to twice as long as hits have lately let it wait, so that a miss under load, where hits
//!   come within a few microseconds, does not cost the whole bound.
//! - A lone client that asks again as soon as it is answered is the one case where a long poll is no bet:
//!   its next request is under way. Only for it `busy-poll-us` counts in full; others get `MANY`.
//! - A trial that fails wastes ten polls. The pause after it is counted in waits and doubles up to 4,096,
//!   which take at least thirty milliseconds of work, so failing trials stay below one percent.

/// Outcomes that are remembered: one bit each.
const WINDOW: u32 = u32::BITS;
/// With more misses than this among the remembered outcomes polling ends.
const MISSES: u32 = 4;
/// A trial is judged with this in its memory: two further misses end it, until these are forgotten.
const TRIAL: u32 = !0b111;
/// The first polls of a trial are not judged: a client that was answered late slept deeply, and only quick
/// answers make it quick.
const UNJUDGED: u32 = 8;
/// As many sleeps are looked at before a trial ...
const SLEEPS: u32 = 0xffff;
/// ... and as many of them may have been long.
const LONG_SLEEPS: u32 = 1;
/// A sleep is short up to the bound and this many nanoseconds, which falling asleep and being woken take.
const WAKING: u64 = 80_000;
/// Waits between two trials, at first and at most.
const PAUSE: u32 = 32;
const PAUSE_MAX: u32 = 4096;
/// After so many polls a run was worth its trial.
const WORTH: u32 = 512;

/// Nanoseconds that a poll lasts at most where the next event may be any client's.
const MANY: u64 = 20_000;
/// What a poll lasts beyond twice the usual wait, so that it can grow from nothing.
const GRACE: u64 = 2_000;
/// By this part the usual wait falls with each hit that comes sooner.
const FADES: u64 = 16;

/// The usual wait before the first hit of a trial: a poll then lasts as long as it may.
const UNKNOWN: u64 = u64::MAX;

/// Whether one source alone makes the load: the last two batches were one event each, of the same source.
#[derive(Debug, Default)]
pub struct Lone {
    /// The source of the last batch, if it was one event.
    single: Option<usize>,
    lone: bool,
}

impl Lone {
    /// A batch of events has come, from these sources. False when there was none.
    #[inline]
    pub fn batch(&mut self, mut sources: impl Iterator<Item = usize>) -> bool {
        let Some(first) = sources.next() else { return false };
        let single = sources.next().is_none().then_some(first);
        (self.lone, self.single) = (single.is_some() && single == self.single, single);
        true
    }

    /// How long a poll may last, in nanoseconds, by the directive (`bound`).
    #[inline]
    pub fn longest(&self, bound: u64) -> u64 {
        if self.lone { bound } else { bound.min(MANY) }
    }
}

#[derive(Debug)]
pub struct BusyPoll {
    polling: bool,
    /// The last outcomes, newest in bit 0. Set for a hit; or, asleep, for a short sleep.
    recent: u32,
    /// Waits until the next trial may begin.
    pause: u32,
    next_pause: u32,
    /// Polls since the trial began.
    run: u32,
    /// Nanoseconds that polls have lately waited for their hits: the longest, fading.
    usual: u64,
}

impl Default for BusyPoll {
    fn default() -> Self {
        BusyPoll { polling: false, recent: 0, pause: 0, next_pause: PAUSE, run: 0, usual: 0 }
    }
}

impl BusyPoll {
    /// Does the next wait, which follows a pass with work, begin by polling? `spare` tells whether the
    /// process may use a second processor; it is asked before a trial only.
    #[inline]
    pub fn begins(&mut self, spare: impl FnOnce() -> bool) -> bool {
        if !self.polling && self.ready() {
            self.trial(spare());
        }
        self.polling
    }

    fn ready(&self) -> bool {
        self.pause == 0 && (!self.recent & SLEEPS).count_ones() <= LONG_SLEEPS
    }

    #[cold]
    fn trial(&mut self, spare: bool) {
        if spare {
            (self.polling, self.recent, self.run, self.usual) = (true, TRIAL, 0, UNKNOWN);
        } else {
            self.rest(PAUSE_MAX);
        }
    }

    fn rest(&mut self, pause: u32) {
        (self.polling, self.recent, self.pause) = (false, 0, pause);
    }

    /// How long the poll that begins may last; `longest` as above.
    #[inline]
    pub fn patience(&self, longest: u64) -> u64 {
        self.usual.saturating_mul(2).saturating_add(GRACE).min(longest)
    }

    /// A wait that began by polling has ended: by an event after so many nanoseconds, or without.
    #[inline]
    pub fn polled(&mut self, hit: Option<u64>) {
        debug_assert!(self.polling);
        if let Some(waited) = hit {
            let before = if self.usual == UNKNOWN { 0 } else { self.usual };
            self.usual = waited.max(before - before / FADES);
        }
        self.run = self.run.saturating_add(1);
        if self.run <= UNJUDGED {
            return;
        }
        self.recent = self.recent << 1 | u32::from(hit.is_some());
        if WINDOW - self.recent.count_ones() > MISSES {
            self.give_up();
        }
    }

    #[cold]
    fn give_up(&mut self) {
        if self.run >= WORTH {
            self.next_pause = PAUSE;
        }
        let pause = self.next_pause;
        self.next_pause = (pause * 2).min(PAUSE_MAX);
        self.rest(pause);
    }

    /// A wait that did not poll was ended by an event after `slept` nanoseconds; `longest` as above.
    #[inline]
    pub fn slept(&mut self, slept: u64, longest: u64) {
        if !self.polling {
            self.pause = self.pause.saturating_sub(1);
            self.recent = self.recent << 1 | u32::from(slept <= longest + WAKING);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    const BOUND: u64 = 20_000;
    /// What falling asleep and being woken adds to a gap here.
    const WOKEN: u64 = 15_000;

    /// Serves requests that come `gap()` after the loop is done with the one before. Returns polls and
    /// hits, and the nanoseconds spent polling.
    fn serve(b: &mut BusyPoll, requests: u32, mut gap: impl FnMut() -> u64) -> (u32, u32, u64) {
        let (mut polls, mut hits, mut spent) = (0, 0, 0);
        for _ in 0..requests {
            let gap = gap();
            if b.begins(|| true) {
                let patience = b.patience(BOUND);
                b.polled((gap <= patience).then_some(gap));
                polls += 1;
                hits += u32::from(gap <= patience);
                spent += gap.min(patience);
            } else {
                b.slept(gap + WOKEN, BOUND);
            }
        }
        (polls, hits, spent)
    }

    #[test]
    fn only_a_lone_source_gets_the_whole_bound() {
        let mut lone = Lone::default();
        let bound = 5 * MANY;
        assert!(!lone.batch([].into_iter()));
        assert_eq!(lone.longest(bound), MANY);
        assert!(lone.batch([7].into_iter()));
        assert_eq!(lone.longest(bound), MANY, "one batch is no sign yet");
        lone.batch([7].into_iter());
        assert_eq!(lone.longest(bound), bound);
        lone.batch([].into_iter());
        assert_eq!(lone.longest(bound), bound, "a wait without events says nothing");
        lone.batch([8].into_iter());
        assert_eq!(lone.longest(bound), MANY, "another source");
        lone.batch([8, 7].into_iter());
        lone.batch([8].into_iter());
        assert_eq!(lone.longest(bound), MANY, "two sources in between");
        lone.batch([8].into_iter());
        assert_eq!(lone.longest(MANY / 2), MANY / 2);
    }

    #[test]
    fn a_steady_load_is_polled_for_almost_at_once() {
        let mut b = BusyPoll::default();
        let (polls, hits, _) = serve(&mut b, 1000, || 12_000);
        assert_eq!((polls, hits), (1000 - 15, 1000 - 15));
    }

    #[test]
    fn a_lone_periodic_client_costs_no_poll() {
        let mut b = BusyPoll::default();
        assert_eq!(serve(&mut b, 10_000, || 980_000).0, 0);
    }

    #[test]
    fn what_follows_a_load_ends_polling_after_five_misses() {
        let mut b = BusyPoll::default();
        serve(&mut b, 1000, || 5_000);
        let (polls, hits, spent) = serve(&mut b, 10_000, || 980_000);
        assert_eq!((polls, hits), (5, 0));
        assert!(spent < 5 * 13_000, "a poll lasts little longer than hits took: {spent} ns");
    }

    #[test]
    fn gaps_that_always_miss_cost_less_than_a_hundredth_of_the_work() {
        // A client 70 us away: the sleeps look short enough to be tried.
        let mut b = BusyPoll::default();
        let n = 1_000_000;
        let (polls, _, spent) = serve(&mut b, n, || 70_000);
        assert!(polls > 0, "it is tried now and then");
        assert!(spent < u64::from(n) * 8_000 / 100, "{spent} ns");
    }

    #[test]
    fn arrivals_by_chance_are_polled_for_only_near_saturation() {
        let mut rng = Rng::seeded(7);
        let mut chance = |mean: f64| {
            let mut b = BusyPoll::default();
            let n = 400_000;
            let gap = || (-mean * (1.0 - rng.below(1 << 30) as f64 / (1u64 << 30) as f64).ln()) as u64;
            let (polls, _, spent) = serve(&mut b, n, gap);
            (f64::from(polls) / f64::from(n), spent as f64 / f64::from(n))
        };
        // 30,000 a second: gaps of 33 us less the work itself.
        let (_, spent) = chance(27_000.0);
        assert!(spent < 160.0, "{spent} ns for each request");
        let (_, spent) = chance(100_000.0);
        assert!(spent < 160.0, "{spent} ns for each request");
        let (share, _) = chance(3_000.0);
        assert!(share > 0.95, "{share}");
    }

    #[test]
    fn a_load_that_comes_back_is_polled_for_within_the_longest_pause() {
        let mut b = BusyPoll::default();
        serve(&mut b, 100_000, || 70_000);
        let (polls, ..) = serve(&mut b, 1000 + PAUSE_MAX + 16, || 10_000);
        assert!(polls >= 1000, "{polls}");
        // A run that was worth it begins with the short pause again.
        serve(&mut b, 100, || 70_000);
        let (polls, ..) = serve(&mut b, 1000, || 10_000);
        assert!(polls >= 1000 - PAUSE - 16, "{polls}");
    }

    #[test]
    fn single_misses_do_not_end_it() {
        let mut b = BusyPoll::default();
        serve(&mut b, 100, || 10_000);
        let mut n = 0;
        let (polls, ..) = serve(&mut b, 10_000, || {
            n += 1;
            if n % 10 == 0 { 50_000 } else { 10_000 }
        });
        assert_eq!(polls, 10_000);
    }

    #[test]
    fn without_a_second_processor_nothing_is_polled() {
        let mut b = BusyPoll::default();
        let mut asked = 0;
        for _ in 0..100_000 {
            let begins = b.begins(|| {
                asked += 1;
                false
            });
            assert!(!begins);
            b.slept(1000, BOUND);
        }
        assert!((1..200).contains(&asked), "{asked}");
    }
}
