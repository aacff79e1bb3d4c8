//! Latency as the reporters' buckets show it: a bucket is half an octave wide, so what lies within
//! one is known to 41 %. Between the bounds the logarithm of latency is taken as spread evenly. In a
//! falling tail that says too many of slow requests, never too few.

use super::{
    evalue::Group,
    number::{Micro, count, real},
};
use segue_proto::names::metric::LATENCY_BOUNDS_US;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The buckets' bounds in microseconds.
pub(super) const BOUNDS: [u64; 37] = LATENCY_BOUNDS_US;

/// Requests by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Histogram(Vec<u64>);

impl Histogram {
    /// Adds a tally's.
    pub(super) fn add(&mut self, latency: &BTreeMap<u64, u64>) {
        if latency.is_empty() {
            return;
        }
        self.0.resize(BOUNDS.len(), 0);
        for (bound, count) in latency {
            let index = BOUNDS.partition_point(|b| b < bound).min(BOUNDS.len() - 1);
            if let Some(sum) = self.0.get_mut(index) {
                *sum = sum.saturating_add(*count);
            }
        }
    }

    /// Adds another's.
    pub(super) fn merge(&mut self, other: &Self) {
        let most = self.0.len().max(other.0.len());
        self.0.resize(most, 0);
        for (sum, count) in self.0.iter_mut().zip(&other.0) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// As real numbers.
    pub(super) fn spread(&self) -> Spread {
        Spread(self.0.iter().map(|count| real(*count)).collect())
    }
}

/// The same that forgets: a request counts half after a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fading(Vec<Micro>);

impl Fading {
    /// Adds what came in, after what was there has faded to `kept`.
    pub(super) fn add(&mut self, kept: f64, new: &Spread) {
        if self.0.is_empty() && new.0.is_empty() {
            return;
        }
        self.0.resize(BOUNDS.len(), Micro::default());
        for (index, sum) in self.0.iter_mut().enumerate() {
            let more = new.0.get(index).copied().unwrap_or_default();
            *sum = Micro::floor(sum.real() * kept + more);
        }
    }

    pub(super) fn spread(&self) -> Spread {
        Spread(self.0.iter().map(|count| count.real()).collect())
    }
}

/// How latency is spread.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Spread(Vec<f64>);

impl Spread {
    /// All requests.
    pub(super) fn total(&self) -> f64 {
        self.0.iter().sum()
    }

    /// One request, spread so that these shares of it lie above the bounds, which fall.
    pub(super) fn of_tails(tails: impl Iterator<Item = f64>) -> Self {
        let mut rest = 1.0;
        let within = |above: f64| {
            let within = rest - above;
            rest = above;
            within
        };
        Self(tails.map(within).collect())
    }

    /// How many lie above each bound.
    pub(super) fn tails(&self) -> impl Iterator<Item = f64> {
        (0..self.0.len()).map(|bound| self.above(Some(bound)).bad)
    }

    /// Those above the bound of that number; all, where there is none (None: below the first).
    pub(super) fn above(&self, bound: Option<usize>) -> Group {
        Group {
            requests: self.total(),
            bad: self.0.iter().skip(bound.map_or(0, |i| i + 1)).sum(),
        }
    }

    /// Those above so many microseconds, as far as the buckets show.
    pub(super) fn above_us(&self, us: f64) -> Group {
        let bucket = BOUNDS.partition_point(|bound| real(*bound) < us);
        let mut group = self.above(Some(bucket));
        let within = self.0.get(bucket).copied().unwrap_or_default();
        if let Some((low, high)) = edges(bucket) {
            let part = (high / us.max(low)).ln() / (high / low).ln();
            group.bad += within * part.clamp(0.0, 1.0);
        }
        group
    }

    /// The quantile in microseconds; None where nothing was measured.
    pub(super) fn quantile(&self, quantile: f64) -> Option<f64> {
        let total = self.total();
        if total <= 0.0 {
            return None;
        }
        let mut left = quantile * total;
        for (bucket, within) in self.0.iter().enumerate() {
            if *within > 0.0 && left <= *within {
                let (low, high) = edges(bucket)?;
                return Some(low * (high / low).powf((left / within).clamp(0.0, 1.0)));
            }
            left -= within;
        }
        BOUNDS.last().map(|bound| real(*bound))
    }

    /// The quantile in whole microseconds.
    pub(super) fn quantile_us(&self, quantile: f64) -> Option<u64> {
        self.quantile(quantile).map(count)
    }
}

/// A bucket's bounds in microseconds; the first is taken for as wide as the others.
fn edges(bucket: usize) -> Option<(f64, f64)> {
    let high = real(*BOUNDS.get(bucket)?);
    let low = bucket
        .checked_sub(1)
        .and_then(|below| BOUNDS.get(below))
        .map_or_else(|| high / 2f64.sqrt(), |bound| real(*bound));
    Some((low, high))
}
