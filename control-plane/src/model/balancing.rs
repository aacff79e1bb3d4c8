//! How the instances of a version share its requests.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How the instances of a version share its requests: `balancing`. For HTTP; opaque connections are
/// drawn by weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balancing {
    /// `algorithm`
    pub algorithm: Algorithm,
    /// `zones`
    pub zones: Zones,
    /// `slowStart`: how long an instance that has become ready is led up to its share; zero: not.
    pub slow_start: Duration,
    /// `circuitBreaker`
    pub circuit_breaker: CircuitBreaker,
}

/// How an instance is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    /// The less loaded of two drawn ones.
    #[default]
    LeastRequest,
    /// One after the other.
    RoundRobin,
    /// By what tells users apart, on a ring.
    RingHash,
    /// By what tells users apart, in a Maglev table.
    Maglev,
}

impl Algorithm {
    /// True where a hash of the request decides.
    pub const fn hashes(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}

/// What a client's zone means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Zones {
    /// Nothing.
    #[default]
    Any,
    /// Instances in it come first, as far as they are well.
    Prefer,
}

/// How much a client's proxy sends to one version at once. None: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitBreaker {
    /// Requests under way; more are answered 503 at once.
    pub max_requests: Option<u32>,
    /// Retries under way; more are not made.
    pub max_retries: Option<u32>,
}
