//! How much may be under way in a cluster at once.

use std::num::NonZeroU32;

/// How much a cluster takes at once; the worker's part of it where there are several.
///
/// Source: `envoy.config.cluster.v3.CircuitBreakers`, the thresholds of priority DEFAULT.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Requests under way.
    pub max_requests: u32,
    /// Retries under way.
    pub max_retries: Retries,
}

/// How many retries may be under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Retries {
    /// So many.
    Fixed(u32),
    /// A part of the requests under way, and always some.
    Budget {
        /// Percent of the requests under way.
        percent: f64,
        /// So many in any case.
        least: u32,
    },
}

impl Limits {
    /// Nothing is limited.
    pub const NONE: Self = Self {
        max_requests: u32::MAX,
        max_retries: Retries::Fixed(u32::MAX),
    };
}

impl Retries {
    /// How many may be under way beside so many requests.
    pub fn allowed(self, requests: u32) -> u32 {
        match self {
            Self::Fixed(most) => most,
            Self::Budget { percent, least } => part(requests, percent).max(least),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a percentage from 0 to 100 of a u32"
)]
fn part(of: u32, percent: f64) -> u32 {
    (f64::from(of) * percent / 100.0) as u32
}

/// A cluster's limits, and by what its worker counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// Names the cluster within this process, as long as it is in use.
    pub number: NonZeroU32,
    /// What it takes.
    pub limits: Limits,
}

#[cfg(test)]
mod tests {
    use super::Retries;

    #[test]
    fn a_budget_is_a_part_of_what_is_under_way_and_never_less_than_its_least() {
        let budget = Retries::Budget {
            percent: 20.0,
            least: 3,
        };
        assert_eq!([0, 10, 19, 100].map(|n| budget.allowed(n)), [3, 3, 3, 20]);
        assert_eq!(Retries::Fixed(7).allowed(1_000), 7);
    }
}
