//! What a worker measured since it was last asked: the raw material of load reports (LRS).

use super::EndpointId;
use segue_proto::names::metric::LATENCY_BOUNDS_US;
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

/// The number of latency buckets: one per bound; what takes longer falls into the last.
pub const LATENCY_BUCKETS: usize = LATENCY_BOUNDS_US.len();

/// How long requests took, since the last report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyHistogram {
    /// Requests per bucket.
    pub counts: [u64; LATENCY_BUCKETS],
    /// The sum of their times in microseconds, per bucket.
    pub sums_us: [u64; LATENCY_BUCKETS],
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self {
            counts: [0; LATENCY_BUCKETS],
            sums_us: [0; LATENCY_BUCKETS],
        }
    }
}

impl LatencyHistogram {
    /// Counts one request that took `us` microseconds.
    pub fn record(&mut self, us: u64) {
        let index = LATENCY_BOUNDS_US
            .partition_point(|bound| *bound < us)
            .min(LATENCY_BUCKETS - 1);
        if let (Some(count), Some(sum)) = (self.counts.get_mut(index), self.sums_us.get_mut(index))
        {
            *count += 1;
            *sum += us;
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        for (mine, theirs) in self.sums_us.iter_mut().zip(other.sums_us) {
            *mine += theirs;
        }
    }
}

/// What kind of error a request ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The application answered with one: a 5xx, or a gRPC status that corresponds to one.
    Response,
    /// No response came in time.
    Timeout,
    /// The connection or stream ended before the response did.
    Reset,
    /// No connection came about.
    Connect,
}

/// Errors by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorCounts {
    /// [`ErrorClass::Response`]
    pub response: u64,
    /// [`ErrorClass::Timeout`]
    pub timeout: u64,
    /// [`ErrorClass::Reset`]
    pub reset: u64,
    /// [`ErrorClass::Connect`]
    pub connect: u64,
}

impl ErrorCounts {
    /// Counts one.
    pub const fn count(&mut self, class: ErrorClass) {
        match class {
            ErrorClass::Response => self.response += 1,
            ErrorClass::Timeout => self.timeout += 1,
            ErrorClass::Reset => self.reset += 1,
            ErrorClass::Connect => self.connect += 1,
        }
    }

    /// All of them.
    pub const fn total(&self) -> u64 {
        self.response + self.timeout + self.reset + self.connect
    }

    /// Adds another's.
    pub const fn merge(&mut self, other: &Self) {
        self.response += other.response;
        self.timeout += other.timeout;
        self.reset += other.reset;
        self.connect += other.connect;
    }
}

/// What happened at one endpoint since the last report; `*_active` are levels, the rest counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointLoad {
    /// Requests sent.
    pub issued: u64,
    /// Responses that were not errors.
    pub succeeded: u64,
    /// Requests that ended with an error, and opaque connections that did not come about.
    pub errors: ErrorCounts,
    /// Requests under way now.
    pub requests_active: u64,
    /// Opaque TCP connections and upgraded ones open now.
    pub connections_active: u64,
    /// Opaque TCP connections opened.
    pub connections_opened: u64,
    /// Connections tried.
    pub connects: u64,
    /// Connections tried that did not come about.
    pub connect_failures: u64,
    /// Responses that began a session.
    pub new_sessions: u64,
    /// Requests placed by a live session token.
    pub pinned_requests: u64,
    /// How long the requests took.
    pub latency: LatencyHistogram,
}

impl EndpointLoad {
    /// Counts a connection that was tried.
    pub const fn connected(&mut self, came_about: bool) {
        self.connects += 1;
        if !came_about {
            self.connect_failures += 1;
        }
    }

    /// Adds another worker's numbers.
    pub fn merge(&mut self, other: &Self) {
        self.issued += other.issued;
        self.succeeded += other.succeeded;
        self.errors.merge(&other.errors);
        self.requests_active += other.requests_active;
        self.connections_active += other.connections_active;
        self.connections_opened += other.connections_opened;
        self.connects += other.connects;
        self.connect_failures += other.connect_failures;
        self.new_sessions += other.new_sessions;
        self.pinned_requests += other.pinned_requests;
        self.latency.merge(&other.latency);
    }
}

/// The load of one cluster: by endpoint address.
pub type ClusterLoad = BTreeMap<SocketAddr, EndpointLoad>;

/// What one worker measured since it was last asked, by cluster name.
#[derive(Clone, Debug, Default)]
pub struct WorkerLoad {
    /// By cluster name.
    pub clusters: BTreeMap<Arc<str>, ClusterLoad>,
    /// Endpoints whose ejection was seen, with their cluster.
    pub ejected: Vec<(Arc<str>, SocketAddr, EndpointId)>,
    /// Requests and retries that a cluster's circuit breaker refused, by cluster.
    pub refused: BTreeMap<Arc<str>, u64>,
    /// Downstream connections open now.
    pub connections: usize,
    /// Downstream connections that were too many.
    pub connections_refused: u64,
}
