//! The latency histogram behind INFO latencystats and LATENCY HISTOGRAM.
//!
//! Both commands show figures that depend on how the histogram buckets its values, so the buckets are
//! those of an HdrHistogram for 1 ns to 1 s with two significant figures, as upstream configures it:
//!
//! ```text
//!   group      values (ns)              one counter covers     counters
//!     0        0 ..= 127                1                      128
//!     1        128 ..= 255              1                      128
//!     2        256 ..= 511              2                      128
//!     3        512 ..= 1023             4                      128
//!     ..       ..                       doubles each time
//!    23        2^29 ..= 2^30 - 1        2^22                   128
//! ```
//!
//! With `shift` = how far a value exceeds 8 bits, its counter is `(shift << 7) + (value >> shift)`: a
//! shift and an add, where the upper bits of the index are the group and the lower seven the place in
//! it. The lowest value of a counter is the inverse of that; its highest is what percentiles report.
//!
//! Upstream allocates all 3,072 counters for every command that ever ran, 24 KB each. Here a group is
//! allocated when its first value comes, and a command's latencies fall into few of them.
//!
//! LATENCY HISTOGRAM cuts at powers of two from 1,024 ns on. The counter that begins at the power is
//! still counted below the cut, so a cut stands for all values up to `2^k + 2^(k-7) - 1` and is shown as
//! that number in whole microseconds: 1, 2, 4, 8, 16, 33, 66 ... The last one is the end of the range.

use super::num::trimmed_f64;
use std::fmt::Write;

const GROUP_BITS: u32 = 7;
const GROUP_LEN: usize = 1 << GROUP_BITS;
const GROUPS: usize = 24;

/// Recorded values are brought into this range, in nanoseconds.
const MIN_VALUE: u64 = 1;
const MAX_VALUE: u64 = 1_000_000_000;

/// The first cut of LATENCY HISTOGRAM is at this power of two, the last at one below the end.
const FIRST_CUT: u32 = 10;
const END_BITS: u32 = 30;

const _: () = assert!(index_of(MAX_VALUE) < GROUPS * GROUP_LEN);
const _: () = assert!(highest_of(GROUPS * GROUP_LEN - 1) == (1 << END_BITS) - 1);

type Group = [u64; GROUP_LEN];

/// Counts of latencies, by buckets of two significant figures.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    groups: [Option<Box<Group>>; GROUPS],
    total: u64,
}

/// The counter that `value` belongs to.
const fn index_of(value: u64) -> usize {
    let shift = 56 - (value | 0xff).leading_zeros();
    ((shift as usize) << GROUP_BITS) + (value >> shift) as usize
}

/// By how many bits the values of a counter are shifted.
const fn shift_of(index: usize) -> u32 {
    (index >> GROUP_BITS).saturating_sub(1) as u32
}

const fn lowest_of(index: usize) -> u64 {
    let shift = shift_of(index);
    ((index - ((shift as usize) << GROUP_BITS)) as u64) << shift
}

const fn highest_of(index: usize) -> u64 {
    lowest_of(index) + (1 << shift_of(index)) - 1
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram::default()
    }

    /// Count a latency in nanoseconds. What is below 1 ns or above 1 s counts as that.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        let index = index_of(nanos.clamp(MIN_VALUE, MAX_VALUE));
        let group = self.groups[index >> GROUP_BITS].get_or_insert_with(new_group);
        group[index & (GROUP_LEN - 1)] += 1;
        self.total += 1;
    }

    /// `record` for durations kept in microseconds.
    #[inline]
    pub fn record_micros(&mut self, micros: u64) {
        self.record(micros.saturating_mul(1000));
    }

    /// How many latencies have been counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes held beyond the struct itself.
    pub fn heap_bytes(&self) -> usize {
        self.groups.iter().flatten().count() * size_of::<Group>()
    }

    /// Counters that are not zero, in order of their values.
    fn counters(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let groups = self.groups.iter().enumerate();
        groups.filter_map(|(n, group)| Some((n, group.as_deref()?))).flat_map(|(n, group)| {
            let counters = group.iter().enumerate().filter(|&(_, &count)| count != 0);
            counters.map(move |(at, &count)| ((n << GROUP_BITS) + at, count))
        })
    }

    /// The latency in nanoseconds that `percentile` percent of all do not exceed: the highest value of
    /// its bucket (the lowest for 0 percent), 0 when nothing has been counted.
    pub fn value_at_percentile(&self, percentile: f64) -> u64 {
        let rank = (percentile.min(100.0) / 100.0 * self.total as f64 + 0.5) as u64;
        let mut passed = 0u64;
        let reached = self.counters().find(|&(_, count)| {
            passed += count;
            passed >= rank.max(1)
        });
        match reached {
            Some((index, _)) if percentile == 0.0 => lowest_of(index),
            Some((index, _)) => highest_of(index),
            None => 0,
        }
    }

    /// Append `p50=0.671,p99=1.003,...` as INFO latencystats has it: microseconds with three places.
    pub fn push_percentiles(&self, out: &mut String, percentiles: &[f64]) {
        for (n, &percentile) in percentiles.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let micros = self.value_at_percentile(percentile) as f64 / 1000.0;
            let name = trimmed_f64(percentile);
            write!(out, "{comma}p{name}={micros:.3}").expect("a string takes all");
        }
    }

    /// The pairs LATENCY HISTOGRAM shows: microseconds, and how many latencies do not exceed them. Cuts
    /// that add nothing to the one before are left out.
    pub fn cumulative(&self) -> Vec<(u64, u64)> {
        let mut cuts = Vec::new();
        let mut counters = self.counters().peekable();
        let mut passed = 0u64;
        for bits in FIRST_CUT..=END_BITS {
            let upto = match bits {
                END_BITS => (1 << END_BITS) - 1,
                _ => highest_of(index_of(1 << bits)),
            };
            let before = passed;
            while let Some((_, count)) = counters.next_if(|&(index, _)| lowest_of(index) <= upto) {
                passed += count;
            }
            if passed > before {
                cuts.push((upto / 1000, passed));
            }
        }
        debug_assert_eq!(passed, self.total, "the last cut is the end of the range");
        cuts
    }
}

#[cold]
fn new_group() -> Box<Group> {
    Box::new([0; GROUP_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algo::rng::Rng;

    #[test]
    fn buckets_tile_the_range() {
        let mut next = 0;
        for index in 0..GROUPS * GROUP_LEN {
            assert_eq!(lowest_of(index), next, "no gap before counter {index}");
            assert_eq!(index_of(lowest_of(index)), index);
            assert_eq!(index_of(highest_of(index)), index);
            // Two significant figures: a counter spans less than a hundredth of its values.
            let width = highest_of(index) - lowest_of(index) + 1;
            assert!(width == 1 || width * 100 < lowest_of(index));
            next = highest_of(index) + 1;
        }
        assert_eq!(next, 1 << END_BITS);
    }

    /// Sorted values, each moved to the top of its bucket by the rule of HdrHistogram: eight significant
    /// bits are kept.
    fn naive_percentile(values: &mut [u64], percentile: f64) -> u64 {
        values.sort_unstable();
        let rank = ((percentile / 100.0 * values.len() as f64 + 0.5) as usize).max(1);
        let value = values[rank - 1];
        let dropped = (64 - value.leading_zeros()).saturating_sub(8);
        value | ((1 << dropped) - 1)
    }

    #[test]
    fn percentiles_agree_with_the_naive_twin() {
        let mut rng = Rng::seeded(1);
        for _ in 0..300 {
            let mut histogram = Histogram::new();
            let mut values = Vec::new();
            for _ in 0..1 + rng.below(200) {
                let value = 1 + (rng.below(1_000_000_000) >> rng.below(30));
                histogram.record(value);
                values.push(value);
            }
            for percentile in [0.1, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0] {
                let want = naive_percentile(&mut values, percentile);
                assert_eq!(histogram.value_at_percentile(percentile), want, "{percentile}");
            }
            assert_eq!(histogram.value_at_percentile(250.0), histogram.value_at_percentile(100.0));
            let lowest = histogram.value_at_percentile(0.0);
            assert!(lowest <= values[0] && index_of(lowest) == index_of(values[0]));
            assert_eq!(histogram.total(), values.len() as u64);
        }
    }

    #[test]
    fn values_outside_of_the_range_count_at_its_ends() {
        let mut histogram = Histogram::new();
        histogram.record(0);
        assert_eq!(histogram.value_at_percentile(50.0), 1);
        histogram.record(u64::MAX);
        histogram.record_micros(u64::MAX);
        assert_eq!(histogram.value_at_percentile(100.0), 1_002_438_655);
        assert_eq!(histogram.cumulative(), [(1, 1), (1_073_741, 3)]);
    }

    #[test]
    fn nothing_recorded() {
        let histogram = Histogram::new();
        assert_eq!((histogram.value_at_percentile(50.0), histogram.total()), (0, 0));
        assert!(histogram.cumulative().is_empty());
        assert_eq!(histogram.heap_bytes(), 0);
    }

    /// Figures of upstream for the same latencies.
    #[test]
    fn what_info_and_latency_histogram_show() {
        let mut histogram = Histogram::new();
        for micros in 1..=100 {
            histogram.record_micros(micros);
        }
        let mut text = String::new();
        histogram.push_percentiles(&mut text, &[50.0, 99.0, 99.9, 0.0]);
        assert_eq!(text, "p50=50.175,p99=99.327,p99.9=100.351,p0=1.000");
        let want = [(1, 1), (2, 2), (4, 4), (8, 8), (16, 16), (33, 33), (66, 66), (132, 100)];
        assert_eq!(histogram.cumulative(), want);
        assert_eq!(histogram.heap_bytes(), 8 * 1024);
    }

    #[test]
    fn cumulative_counts_agree_with_the_naive_twin() {
        let mut rng = Rng::seeded(2);
        for _ in 0..200 {
            let mut histogram = Histogram::new();
            let values: Vec<u64> =
                (0..rng.below(60)).map(|_| 1 + (rng.below(1_000_000_000) >> rng.below(30))).collect();
            values.iter().for_each(|&value| histogram.record(value));
            let mut want = Vec::new();
            let mut before = 0;
            for k in 10..=30u32 {
                let limit = if k < 30 { (1 << k) + (1 << (k - 7)) - 1 } else { (1 << 30) - 1 };
                let count = values.iter().filter(|&&value| value <= limit).count() as u64;
                if count > before {
                    want.push((limit / 1000, count));
                }
                before = count;
            }
            assert_eq!(histogram.cumulative(), want);
        }
    }
}
