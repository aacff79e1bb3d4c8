//! When a test will know, and what it would see.

use std::time::Duration;

/// Beyond this nothing is foretold.
const HORIZON: Duration = Duration::from_secs(30 * 24 * 3600);

/// The time to so many nats at so many per second; None: not within a month.
pub(super) fn time_to(nats: f64, per_second: f64) -> Option<Duration> {
    if per_second <= 0.0 {
        return None;
    }
    Duration::try_from_secs_f64(nats.max(0.0) / per_second)
        .ok()
        .filter(|time| *time <= HORIZON)
}

/// The smallest value between `low` and `high` whose growth reaches `price`, where the growth grows
/// with the value; None: not even `high` does.
pub(super) fn smallest(
    (low, high): (f64, f64),
    price: f64,
    growth: impl Fn(f64) -> f64,
) -> Option<f64> {
    if growth(high) < price {
        return None;
    }
    let (mut below, mut enough) = (low, high);
    for _ in 0..40 {
        let middle = f64::midpoint(below, enough);
        if growth(middle) < price {
            below = middle;
        } else {
            enough = middle;
        }
    }
    Some(enough)
}
