//! `spec.balancing`: how the instances of a version share its requests.

use super::{Period, check::Checks, policy::merge};
use crate::model::{Algorithm, Balancing, CircuitBreaker, Zones};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `spec.balancing`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BalancingSpec {
    /// LeastRequest where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// Any where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zones: Option<Zones>,
    /// How long an instance that has become ready is led up to its share; 0s, the default: not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<Period>,
    /// How much is sent at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreakerSpec>,
}

/// `circuitBreaker`; each as much as there is where absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CircuitBreakerSpec {
    /// Requests under way from one client's proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
    /// Retries under way from one client's proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u32>,
}

impl BalancingSpec {
    /// The one in which this one's fields win over the other's.
    pub(super) fn over(self, base: Self) -> Self {
        Self {
            algorithm: self.algorithm.or(base.algorithm),
            zones: self.zones.or(base.zones),
            slow_start: self.slow_start.or(base.slow_start),
            circuit_breaker: merge(
                self.circuit_breaker,
                base.circuit_breaker,
                |ours, theirs| CircuitBreakerSpec {
                    max_requests: ours.max_requests.or(theirs.max_requests),
                    max_retries: ours.max_retries.or(theirs.max_retries),
                },
            ),
        }
    }

    /// What it asks for. Where users are not told apart by a hash (`is_hashed`), none can decide.
    pub(super) fn read(self, is_hashed: bool) -> Balancing {
        let breaker = self.circuit_breaker.unwrap_or_default();
        let algorithm = self.algorithm.unwrap_or_default();
        Balancing {
            algorithm: if algorithm.hashes() && !is_hashed {
                Algorithm::default()
            } else {
                algorithm
            },
            zones: self.zones.unwrap_or_default(),
            slow_start: self.slow_start.map_or(Duration::ZERO, |period| period.0),
            circuit_breaker: CircuitBreaker {
                max_requests: breaker.max_requests,
                max_retries: breaker.max_retries,
            },
        }
    }

    /// `is_hashed` where the document says by what hash users are told apart.
    pub(super) fn check(self, field: &str, is_hashed: bool, checks: &mut Checks) {
        let hashes = self.algorithm.is_some_and(Algorithm::hashes);
        checks.require(
            !hashes || is_hashed,
            &format!("{field}.algorithm"),
            "needs a key to hash: a sessionAffinity with onStep: Shift in the same policy",
        );
        let slow = self.slow_start.filter(|period| !period.0.is_zero());
        checks.require(
            !hashes || slow.is_none(),
            &format!("{field}.slowStart"),
            "where a hash decides, nobody can be led up to his share; choose LeastRequest or RoundRobin",
        );
        let breaker = self.circuit_breaker.unwrap_or_default();
        checks.require(
            breaker.max_requests != Some(0),
            &format!("{field}.circuitBreaker.maxRequests"),
            "0 lets nothing through",
        );
    }
}
