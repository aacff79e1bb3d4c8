//! One address that serves a cluster.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
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
    /// Where it stands.
    pub locality: Locality,
    /// As the control plane sees it.
    pub health: Health,
    /// The version id it runs, where the control plane says so.
    pub version: Option<Arc<str>>,
    /// What all workers know about it.
    pub state: Arc<EndpointState>,
}

/// A place whose endpoints are drawn together, within their priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Locality {
    /// Its number within the cluster.
    pub number: u32,
    /// Its weight, where a cluster draws by locality.
    pub weight: u32,
}

/// What all workers share about an endpoint. Read at every pick, written only before its first good
/// answer, on failures and on the first success after them, so its cache line stays shared.
#[derive(Debug, Default)]
pub struct EndpointState {
    /// Consecutive gateway failures (502, 503, 504 and local-origin errors).
    pub consecutive_gateway_failures: AtomicU32,
    /// Consecutive 5xx answers, gateway failures included.
    pub consecutive_5xx: AtomicU32,
    /// How often it was ejected.
    pub ejections: AtomicU32,
    /// Milliseconds since the process's start: when it was last seen to become healthy.
    pub ready_since: AtomicU64,
    /// Milliseconds since the process's start until which it is ejected; 0: it is not.
    ejected_until: AtomicU64,
    /// It has answered well.
    proven: AtomicBool,
    /// Requests that it got before it had, and that ended badly or are under way.
    on_trial: AtomicU32,
}

impl EndpointState {
    /// True while outlier detection keeps it out. `now` in milliseconds since the process's start.
    pub fn is_ejected(&self, now: u64) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        until != 0 && now < until
    }

    /// Notes that it answered well.
    pub fn prove(&self) {
        if !self.is_proven() {
            self.proven.store(true, Ordering::Relaxed);
        }
    }

    /// True once it has answered well.
    pub fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    /// True where it may get another request though it has not answered well yet.
    pub fn has_trial_left(&self, limit: u32) -> bool {
        self.is_proven() || self.on_trial.load(Ordering::Relaxed) < limit
    }

    /// Keeps it out until `until`, in milliseconds since the process's start.
    pub fn eject(&self, until: u64) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
        self.on_trial.store(0, Ordering::Relaxed);
        self.ejected_until.store(until.max(1), Ordering::Relaxed);
    }
}

/// One request to an endpoint that has not answered well yet.
#[derive(Debug)]
pub struct Trial(Arc<EndpointState>);

impl Trial {
    /// None where `limit` requests ended badly or are under way, in all workers together.
    pub fn begin(state: &Arc<EndpointState>, limit: u32) -> Option<Self> {
        let more = |count: u32| (count < limit).then_some(count + 1);
        let taken = state
            .on_trial
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Self(Arc::clone(state)))
    }

    /// How the request would have ended is not known: another one may take its place.
    pub fn give_back(self) {
        // An ejection may have begun a new count meanwhile.
        let less = |count: u32| count.checked_sub(1);
        self.0
            .on_trial
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok();
    }
}

#[cfg(test)]
mod tests {
    use super::{EndpointState, Trial};
    use std::sync::Arc;

    #[test]
    fn before_its_first_good_answer_an_endpoint_gets_no_more_than_the_limit() {
        let state = Arc::new(EndpointState::default());
        let first = Trial::begin(&state, 2).unwrap();
        assert!(state.has_trial_left(2));
        drop(Trial::begin(&state, 2).unwrap());
        assert!(Trial::begin(&state, 2).is_none());
        assert!(!state.has_trial_left(2));
        first.give_back();
        assert!(state.has_trial_left(2));
        drop(Trial::begin(&state, 2).unwrap());
        assert!(!state.has_trial_left(2));
        state.prove();
        assert!(state.has_trial_left(2));
    }

    #[test]
    fn an_ejection_begins_a_new_count() {
        let state = Arc::new(EndpointState::default());
        let (first, other) = (Trial::begin(&state, 2), Trial::begin(&state, 2));
        state.eject(5);
        first.unwrap().give_back();
        other.unwrap().give_back();
        let again = [(); 3].map(|()| Trial::begin(&state, 2).is_some());
        assert_eq!(again, [true, true, false]);
    }
}
