//! A histogram of durations in microseconds, with buckets 6 % apart at most.
//!
//! Values below 16 have a bucket each; above, every power of two is split into 16. Quantiles are
//! the upper bound of the bucket they fall into, so they are never too low.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    buckets: BTreeMap<u32, u64>,
}

const SUB_BITS: u32 = 4;
const SUB: u64 = 1 << SUB_BITS;

fn bucket_of(value: u64) -> u32 {
    if value < SUB {
        return u32::try_from(value).unwrap_or(0);
    }
    let exponent = value.ilog2();
    let within = u32::try_from((value >> (exponent - SUB_BITS)) & (SUB - 1)).unwrap_or(0);
    ((exponent - SUB_BITS + 1) << SUB_BITS) + within
}

/// The largest value that falls into a bucket.
fn upper_bound(bucket: u32) -> u64 {
    let row = bucket >> SUB_BITS;
    let within = u64::from(bucket) & (SUB - 1);
    if row == 0 {
        return within;
    }
    let width = 1_u64.checked_shl(row - 1).unwrap_or(u64::MAX);
    (SUB + within)
        .saturating_mul(width)
        .saturating_add(width - 1)
}

impl Histogram {
    /// Counts one value.
    pub fn record(&mut self, microseconds: u64) {
        *self.buckets.entry(bucket_of(microseconds)).or_default() += 1;
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.buckets {
            *self.buckets.entry(*bucket).or_default() += count;
        }
    }

    /// How many values were counted.
    pub fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// The value that `per_mille` of all do not exceed; None where there is none.
    pub fn quantile(&self, per_mille: u64) -> Option<u64> {
        let rank = (self.count() * per_mille.min(1000)).div_ceil(1000).max(1);
        let mut seen = 0;
        self.buckets.iter().find_map(|(bucket, count)| {
            seen += count;
            (seen >= rank).then(|| upper_bound(*bucket))
        })
    }

    /// The largest value.
    pub fn max(&self) -> Option<u64> {
        self.quantile(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::{Histogram, bucket_of, upper_bound};
    use proptest::prelude::{prop_assert, proptest};

    proptest! {
        #[test]
        fn a_value_lies_in_its_bucket_within_a_sixteenth(value in 0_u64..1 << 40) {
            let upper = upper_bound(bucket_of(value));
            prop_assert!(upper >= value);
            prop_assert!(upper - value <= value / 16);
        }

        #[test]
        fn buckets_grow_with_values(value in 0_u64..1 << 40) {
            prop_assert!(bucket_of(value + 1) >= bucket_of(value));
        }
    }

    #[test]
    fn quantiles_are_ranks() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(500), None);
        for value in 1..=10 {
            histogram.record(value);
        }
        assert_eq!(histogram.quantile(500), Some(5));
        assert_eq!(histogram.quantile(990), Some(10));
        assert_eq!(histogram.max(), Some(10));
        let mut sum = Histogram::default();
        sum.merge(&histogram);
        sum.merge(&histogram);
        assert_eq!(sum.count(), 20);
    }
}
