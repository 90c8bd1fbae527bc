//! Histograms of `u64` values by powers of two, in place of the crate of this name.
//!
//! The Raft library keeps a few for statistics that nobody here asks for, and the original builds
//! 26 MiB of lookup tables with the first one: most of an idle node's memory. This one computes
//! the bucket instead and holds only buckets up to the largest value seen. It offers what the
//! Raft library calls and nothing else: no slots, no scales, no interpolation.

mod chart;
mod percentiles;

pub use chart::{AsciiChart, Detailed};
pub use percentiles::PercentileStats;

use std::marker::PhantomData;

/// Each power of two is split into `1 << SPLIT_BITS` buckets: a value is known to within a quarter.
const SPLIT_BITS: u32 = 2;

/// How often values of each magnitude were seen.
///
/// `T` labels slots in the original; here it labels nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    /// Samples per bucket, up to the last one in use.
    counts: Vec<u64>,
    label: PhantomData<T>,
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self { counts: Vec::new(), label: PhantomData }
    }
}

impl<T> Histogram<T> {
    /// Without samples, and without memory until the first one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one sample.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts `times` samples of one value.
    pub fn record_n(&mut self, value: u64, times: u64) {
        let bucket = bucket_of(value);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(times);
        }
    }

    /// How many samples were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The lower bound of the bucket that holds the sample below which the share `p` of all lies;
    /// 0 without samples.
    pub fn percentile(&self, p: f64) -> u64 {
        // Rounding in the conversion moves the rank by less than a bucket's worth of samples.
        let rank = ((self.total() as f64 * p.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0u64;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return lower_bound(bucket);
            }
        }
        self.counts.len().checked_sub(1).map_or(0, lower_bound)
    }

    /// The usual percentiles at once.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(0.001),
            p1: self.percentile(0.01),
            p5: self.percentile(0.05),
            p10: self.percentile(0.1),
            p50: self.percentile(0.5),
            p90: self.percentile(0.9),
            p99: self.percentile(0.99),
            p99_9: self.percentile(0.999),
        }
    }

    /// The lower bound and the samples of each bucket in use, lowest first.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let all = self.counts.iter().enumerate();
        all.filter(|(_, count)| **count > 0).map(|(bucket, count)| (lower_bound(bucket), *count))
    }
}

/// The bucket of `value`: its highest set bit and the `SPLIT_BITS` after it. Values too small to
/// have as many bits are their own buckets.
fn bucket_of(value: u64) -> usize {
    let bits = u64::BITS - value.leading_zeros();
    let shift = bits.saturating_sub(SPLIT_BITS + 1);
    // At most 61 << 2 plus 7: it fits.
    ((shift as usize) << SPLIT_BITS) + (value >> shift) as usize
}

/// The smallest value of `bucket`.
fn lower_bound(bucket: usize) -> u64 {
    let split = 1 << SPLIT_BITS;
    let shift = (bucket >> SPLIT_BITS).saturating_sub(1);
    ((bucket - shift * split) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[u64], p: f64, expected: u64) {
        let mut histogram = Histogram::<()>::new();
        values.iter().for_each(|value| histogram.record(*value));
        assert_eq!(histogram.total(), values.len() as u64);
        assert_eq!(histogram.percentile(p), expected, "percentile {p} of {values:?}");
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        let last = bucket_of(u64::MAX);
        for bucket in 0..=last {
            let first = lower_bound(bucket);
            assert_eq!(bucket_of(first), bucket, "of {first}");
            if let Some(before) = bucket.checked_sub(1) {
                assert_eq!(bucket_of(first - 1), before, "of {}", first - 1);
            }
        }
    }

    #[test]
    fn a_percentile_is_the_lower_bound_of_its_sample() {
        check(&[], 0.5, 0);
        check(&[0], 0.5, 0);
        check(&[5, 8, 13, 21, 21, 21], 0.5, 12);
        check(&[5, 8, 13, 21, 21, 21], 0.99, 20);
        check(&[1, 2, 3, 4], 0.0, 1);
        check(&[1, 2, 3, 4], 1.0, 4);
        check(&[u64::MAX], 0.5, 7 << 61);
    }

    #[test]
    fn counts_stay_at_the_largest_number_instead_of_wrapping() {
        let mut histogram = Histogram::<()>::new();
        histogram.record_n(1, u64::MAX);
        histogram.record_n(1, 1);
        histogram.record_n(2, 1);
        assert_eq!(histogram.total(), u64::MAX);
        assert_eq!(histogram.percentile_stats().p50, 1);
    }
}
