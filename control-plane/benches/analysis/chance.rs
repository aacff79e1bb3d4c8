//! Draws by chance, from a seed.

use fastrand::Rng;
use segue_proto::names::metric::LATENCY_BOUNDS_US;

/// A latency distribution: 65,536 equally likely draws, each a bucket.
#[derive(Debug, PartialEq)]
pub(crate) struct Table(Vec<u8>);

impl Table {
    pub(crate) fn lognormal(median_us: f64, sigma: f64) -> Self {
        let below = LATENCY_BOUNDS_US.map(|us| normal_below((real(us) / median_us).ln() / sigma));
        let is_below = |bucket: u8, p: f64| {
            let index = usize::from(bucket);
            index + 1 < below.len() && below.get(index).is_some_and(|share| *share < p)
        };
        let mut bucket = 0;
        let draw = |i: u16| {
            let p = (f64::from(i) + 0.5) / 65_536.0;
            while is_below(bucket, p) {
                bucket += 1;
            }
            bucket
        };
        Self((0..=u16::MAX).map(draw).collect())
    }

    pub(crate) fn draw(&self, rng: &mut Rng, requests: u64) -> [u64; LATENCY_BOUNDS_US.len()] {
        let mut counts = [0; LATENCY_BOUNDS_US.len()];
        for _ in 0..requests {
            let bucket = self.0.get(usize::from(rng.u16(..))).copied();
            if let Some(count) = counts.get_mut(usize::from(bucket.unwrap_or_default())) {
                *count += 1;
            }
        }
        counts
    }
}

/// `P(Z < z)`: the series `1/2 + phi(z) (z + z^3/3 + z^5/15 + ...)`.
fn normal_below(z: f64) -> f64 {
    if z.abs() > 6.0 {
        return if z > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut sum, mut term) = (z, z);
    for k in 1..200 {
        term *= z * z / f64::from(2 * k + 1);
        sum += term;
    }
    0.5 + sum * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// How many of so many requests fail.
pub(crate) fn binomial(rng: &mut Rng, n: u64, p: f64) -> u64 {
    if p >= 1.0 {
        return n;
    }
    if p <= 0.0 {
        return 0;
    }
    // From one failure to the next the gaps are geometric.
    let (mut at, mut failures) = (0.0, 0);
    let end = real(n);
    loop {
        at += ((1.0 - rng.f64()).ln() / (1.0 - p).ln()).floor() + 1.0;
        if at > end {
            return failures;
        }
        failures += 1;
    }
}

/// How many requests come where so many are expected: the gaps are exponential; of many, the normal
/// approximation.
pub(crate) fn poisson(rng: &mut Rng, mean: f64) -> u64 {
    if mean > 60.0 {
        let z: f64 = (0..12).map(|_| rng.f64()).sum::<f64>() - 6.0;
        return count(mean + z * mean.sqrt());
    }
    let (mut at, mut requests) = (0.0, 0);
    loop {
        at -= (1.0 - rng.f64()).ln();
        if at > mean {
            return requests;
        }
        requests += 1;
    }
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
pub(crate) fn real(n: u64) -> f64 {
    n as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small counts, not negative but by chance, then 0"
)]
fn count(x: f64) -> u64 {
    x.round() as u64
}
