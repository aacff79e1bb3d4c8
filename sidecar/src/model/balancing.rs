//! How the endpoints of a cluster share what comes to it.

use super::Breaker;
use std::time::Duration;

/// How the endpoints of a cluster share what comes to it, as CDS says.
///
/// Source: `envoy.config.cluster.v3.Cluster`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Balancing {
    /// How one of them is chosen (`lb_policy`).
    pub policy: Policy,
    /// Below this percentage of endpoints that may serve, health is not looked at
    /// (`healthy_panic_threshold`). 0: never.
    pub panic_threshold: u32,
    /// How an endpoint that has just become ready is led up to its share.
    pub slow_start: Option<SlowStart>,
    /// A locality is drawn first, by its weight (`locality_weighted_lb_config`).
    pub by_locality: bool,
    /// How much is let to it at once, where that is limited.
    pub breaker: Option<Breaker>,
}

impl Default for Balancing {
    /// Least request of two, and health is always looked at.
    fn default() -> Self {
        Self {
            policy: Policy::LeastRequest { choices: 2 },
            panic_threshold: 0,
            slow_start: None,
            by_locality: false,
            breaker: None,
        }
    }
}

/// How one endpoint is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The least loaded of several drawn ones; by weight over load where weights differ.
    LeastRequest {
        /// How many are drawn.
        choices: u32,
    },
    /// One after the other, by weight, each worker for itself.
    RoundRobin,
    /// By the request's hash on a ring.
    RingHash {
        /// The ring has at least so many places.
        min_size: u64,
        /// And no more than so many.
        max_size: u64,
    },
    /// By the request's hash in a Maglev table.
    Maglev {
        /// The number of its places, a prime.
        size: u32,
    },
}

/// How an endpoint that has just become ready is led up to its share: its weight is multiplied by
/// `max(least, (age / window) ^ (1 / aggression))`.
///
/// Source: `envoy.config.cluster.v3.Cluster.SlowStartConfig`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlowStart {
    /// How long it takes.
    pub window: Duration,
    /// 1: the weight grows evenly with time; more: faster at first.
    pub aggression: f64,
    /// What it begins with, as a part of its weight, 0 to 1.
    pub least: f64,
}

impl SlowStart {
    /// What an endpoint's weight is multiplied by `age` after it became ready. None: it is over.
    pub fn factor(&self, age: Duration) -> Option<f64> {
        if age >= self.window {
            return None;
        }
        // As Envoy has it: the first second counts as a whole one.
        let age = age.max(Duration::from_secs(1));
        let part = age.as_secs_f64() / self.window.as_secs_f64();
        Some(part.powf(self.aggression.recip()).clamp(self.least, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::SlowStart;
    use std::time::Duration;

    #[test]
    fn a_weight_grows_to_the_whole_over_the_window() {
        let at = |aggression, millis| {
            let slow = SlowStart {
                window: Duration::from_secs(10),
                aggression,
                least: 0.2,
            };
            slow.factor(Duration::from_millis(millis))
                .map(|factor| format!("{factor:.3}"))
        };
        for (aggression, millis, factor) in [
            (1.0, 0, "0.200"),
            (1.0, 5_000, "0.500"),
            (2.0, 2_500, "0.500"),
            (1.0, 9_999, "1.000"),
        ] {
            assert_eq!(at(aggression, millis).as_deref(), Some(factor));
        }
        assert_eq!(at(1.0, 10_000), None);
    }
}
