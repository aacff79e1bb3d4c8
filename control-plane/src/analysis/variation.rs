//! How much the old version varies by itself.
//!
//! A mean over minutes hides that a service has bad seconds. At 100 % the old version can't show any
//! more that it has them too, so what its worst ten seconds were like is kept over the whole upgrade.
//! Of each share that a span shows, two standard errors are taken off: what is left is variation, not
//! chance.

use super::{
    histogram::Spread,
    look::Counts,
    number::{Micro, real},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Long enough that a service's usual bad second weighs in it what it weighs in the long run, short
/// enough that a bad minute shows.
const SPAN: Duration = Duration::from_secs(10);
/// A span of fewer requests goes on.
const LEAST_REQUESTS: u64 = 20;

/// The worst of the old version's spans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Variation {
    /// The span so far.
    open: Counts,
    elapsed: Duration,
    /// The largest share of errors.
    errors: Micro,
    /// The largest share of requests above each latency bound.
    above: Vec<Micro>,
}

impl Variation {
    /// A block of the old version.
    pub(super) fn take_in(&mut self, old: &Counts, over: Duration) {
        self.open.merge(old);
        self.elapsed = self.elapsed.saturating_add(over);
        if self.elapsed < SPAN || self.open.requests < LEAST_REQUESTS {
            return;
        }
        let span = std::mem::take(&mut self.open);
        self.elapsed = Duration::ZERO;
        let errors = span.errors();
        self.errors = self.errors.max(certain(errors.bad, errors.requests));
        let latency = span.latency.spread();
        let total = latency.total();
        let shares: Vec<_> = latency.tails().map(|above| certain(above, total)).collect();
        self.above
            .resize(self.above.len().max(shares.len()), Micro::default());
        for (worst, share) in self.above.iter_mut().zip(shares) {
            *worst = share.max(*worst);
        }
    }

    /// The share of errors of the worst span.
    pub(super) fn errors(&self) -> f64 {
        self.errors.real()
    }

    /// How latency would be spread in a span that is the worst at each bound.
    pub(super) fn latency(&self) -> Spread {
        Spread::of_tails(self.above.iter().map(|share| share.real()))
    }
}

/// The share, less two standard errors. (Where that falls as the share grows, it is 0.)
fn certain(bad: f64, all: f64) -> Micro {
    const STANDARD_ERRORS: f64 = 2.0;
    if all < real(LEAST_REQUESTS) {
        return Micro::default();
    }
    let share = (bad / all).clamp(0.0, 1.0);
    Micro::floor((share - STANDARD_ERRORS * (share / all).sqrt()).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::Variation;
    use crate::{analysis::look::Counts, model::Tally};
    use std::time::Duration;

    /// One second with so many requests, errors, and requests above 16 ms; the others take 4 ms.
    fn second(requests: u64, errors: u64, slow: u64) -> Counts {
        let mut counts = Counts::default();
        counts.add(&Tally {
            requests,
            errors,
            latency: [(4096, requests - slow), (65_536, slow)].into(),
            ..Tally::default()
        });
        counts
    }

    fn feed(variation: &mut Variation, seconds: &[Counts]) {
        for counts in seconds {
            variation.take_in(counts, Duration::from_secs(1));
        }
    }

    #[test]
    fn a_bad_second_is_remembered_with_the_ten_around_it() {
        let mut variation = Variation::default();
        let good = vec![second(100, 0, 0); 9];
        feed(&mut variation, &good);
        feed(&mut variation, &[second(100, 30, 50)]);
        for _ in 0..50 {
            feed(&mut variation, &good);
        }
        // 3 % less 2 sqrt(0.03 / 1000), 5 % less 2 sqrt(0.05 / 1000).
        assert!((variation.errors() - 0.01904).abs() < 1e-4);
        let slow = variation.latency().above_us(16_384.0).rate().unwrap();
        assert!((slow - 0.03586).abs() < 1e-4, "{slow}");
    }

    #[test]
    fn chance_is_no_variation() {
        let mut variation = Variation::default();
        feed(&mut variation, &vec![second(10, 0, 0); 9]);
        feed(&mut variation, &[second(10, 3, 3)]);
        assert!(variation.errors().abs() < f64::EPSILON);
        assert_eq!(variation.latency().above_us(16_384.0).rate(), Some(0.0),);
    }
}
