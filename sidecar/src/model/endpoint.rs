//! One address that serves a cluster.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

/// Names an endpoint within this process: the same cluster and address keep their id over every
/// snapshot, and no other ever gets it. Counted up, so that each worker keeps its own numbers in a
/// `Vec`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(pub u32);

/// What the control plane says of an endpoint's health
/// (`envoy.config.core.v3.HealthStatus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// HEALTHY, UNKNOWN and DEGRADED: may be picked.
    Healthy,
    /// UNHEALTHY and TIMEOUT: is not picked.
    Unhealthy,
    /// DRAINING: takes no new request; what runs there finishes.
    Draining,
}

/// One address that serves a cluster, as EDS describes it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its name within this process.
    pub id: EndpointId,
    /// Where to connect.
    pub address: SocketAddr,
    /// Relative to the other endpoints of its priority; at least 1.
    pub weight: u32,
    /// 0 is preferred; a higher one serves only where all lower ones can't.
    pub priority: u32,
    /// As the control plane sees it.
    pub health: Health,
    /// The version id it runs, where the control plane says so.
    pub version: Option<Arc<str>>,
    /// What all workers know about it.
    pub state: Arc<EndpointState>,
}

/// What all workers share about an endpoint. Read at every pick, written only on failures and on
/// the first success after them, so its cache line stays shared.
#[derive(Debug, Default)]
pub struct EndpointState {
    /// Consecutive gateway failures (502, 503, 504 and local-origin errors).
    pub consecutive_gateway_failures: AtomicU32,
    /// Consecutive 5xx answers, gateway failures included.
    pub consecutive_5xx: AtomicU32,
    /// How often it was ejected.
    pub ejections: AtomicU32,
    /// Milliseconds since the process's start until which it is ejected; 0: it is not.
    ejected_until: AtomicU64,
}

impl EndpointState {
    /// True while outlier detection keeps it out. `now` in milliseconds since the process's start.
    pub fn is_ejected(&self, now: u64) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        until != 0 && now < until
    }

    /// Keeps it out until `until`, in milliseconds since the process's start.
    pub fn eject(&self, until: u64) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
        self.ejected_until.store(until.max(1), Ordering::Relaxed);
    }
}
