//! The latency monitor: for each kind of event the last spikes above `latency-monitor-threshold`.
//!
//! ```text
//! events: command, fast-command, expire-cycle, fork ...  ──► Series: up to 160 samples, one a second, the worst of it
//! ```
//!
//! A second sample within a second only raises the first. The worst of all times outlives the samples, until RESET.

mod graph;
mod report;

pub use report::Surroundings;

use std::collections::{BTreeMap, VecDeque};

/// Samples kept of each event.
const SAMPLES: usize = 160;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Seconds since 1970.
    pub time: i64,
    /// Milliseconds.
    pub latency: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Series {
    /// The oldest first.
    pub samples: VecDeque<Sample>,
    pub max: u64,
}

#[derive(Debug, Default)]
pub struct Monitor {
    events: BTreeMap<&'static str, Series>,
}

/// What the samples of an event amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Summary {
    samples: u64,
    average: u64,
    /// Mean distance from the average.
    deviation: u64,
    /// Seconds since the oldest sample, at least 1.
    period: i64,
}

impl Monitor {
    /// Keeps a spike of `latency` milliseconds when it reaches the threshold; a threshold of 0 is off.
    pub fn add(&mut self, event: &'static str, latency: u64, threshold: u64, time: i64) {
        if threshold == 0 || latency < threshold {
            return;
        }
        let s = self.events.entry(event).or_default();
        s.max = s.max.max(latency);
        match s.samples.back_mut() {
            Some(last) if last.time == time => last.latency = last.latency.max(latency),
            _ => {
                if s.samples.len() == SAMPLES {
                    s.samples.pop_front();
                }
                s.samples.push_back(Sample { time, latency });
            }
        }
        debug_assert!(s.samples.len() <= SAMPLES);
    }

    pub fn get(&self, event: &[u8]) -> Option<&Series> {
        self.events.get(std::str::from_utf8(event).ok()?)
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &Series)> {
        self.events.iter().map(|(name, series)| (*name, series))
    }

    /// Forgets an event, or all; returns how many.
    pub fn reset(&mut self, event: Option<&[u8]>) -> usize {
        let before = self.events.len();
        self.events.retain(|name, _| event.is_some_and(|e| !e.eq_ignore_ascii_case(name.as_bytes())));
        before - self.events.len()
    }

    /// LATENCY GRAPH.
    pub fn graph(&self, event: &[u8], now: i64) -> Option<String> {
        let name = std::str::from_utf8(event).ok()?;
        self.events.get(name).map(|s| graph::of_series(name, s, now))
    }

    /// LATENCY DOCTOR.
    pub fn report(&self, around: &Surroundings) -> String {
        report::text(self, around)
    }
}

impl Series {
    fn summary(&self, now: i64) -> Option<Summary> {
        let samples = self.samples.len() as u64;
        let oldest = self.samples.iter().map(|s| s.time).min()?;
        let mean = |sum: u64| sum / samples;
        let average = mean(self.samples.iter().map(|s| s.latency).sum());
        let deviation = mean(self.samples.iter().map(|s| s.latency.abs_diff(average)).sum());
        Some(Summary { samples, average, deviation, period: (now - oldest).max(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_its_worst() {
        let mut m = Monitor::default();
        for (latency, time) in [(50, 1), (150, 1), (120, 1), (200, 2), (101, 3)] {
            m.add("command", latency, 100, time);
        }
        let s = m.get(b"command").expect("there were spikes");
        let seen: Vec<_> = s.samples.iter().map(|s| (s.time, s.latency)).collect();
        assert_eq!((seen, s.max), (vec![(1, 150), (2, 200), (3, 101)], 200));
        m.add("fork", 1000, 0, 4);
        assert!(m.get(b"fork").is_none(), "a threshold of 0 is off");
    }

    #[test]
    fn samples_are_bounded_and_the_worst_stays() {
        let mut m = Monitor::default();
        for i in 0..200 {
            m.add("command", if i == 0 { 999 } else { 100 }, 100, i);
        }
        let s = m.get(b"command").expect("there were spikes");
        assert_eq!((s.samples.len(), s.samples[0].time, s.max), (SAMPLES, 40, 999));
        assert_eq!(
            s.summary(200),
            Some(Summary { samples: 160, average: 100, deviation: 0, period: 160 })
        );
    }

    #[test]
    fn reset_counts_what_it_forgets() {
        let mut m = Monitor::default();
        m.add("command", 1, 1, 1);
        m.add("fork", 1, 1, 1);
        assert_eq!((m.reset(Some(b"nope")), m.reset(Some(b"FORK")), m.reset(None)), (0, 1, 1));
    }
}
