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

/// What happened at one endpoint since the last report; `*_active` are levels, the rest counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointLoad {
    /// Requests sent.
    pub issued: u64,
    /// Responses that were not errors.
    pub succeeded: u64,
    /// 5xx answers, resets, time-outs, failed connects.
    pub errors: u64,
    /// Requests under way now.
    pub requests_active: u64,
    /// Opaque TCP connections and upgraded ones open now.
    pub connections_active: u64,
    /// Opaque TCP connections opened.
    pub connections_opened: u64,
    /// Connects that failed.
    pub connect_failures: u64,
    /// Responses that began a session.
    pub new_sessions: u64,
    /// Requests placed by a live session token.
    pub pinned_requests: u64,
    /// How long the requests took.
    pub latency: LatencyHistogram,
}

impl EndpointLoad {
    /// Adds another worker's numbers.
    pub fn merge(&mut self, other: &Self) {
        self.issued += other.issued;
        self.succeeded += other.succeeded;
        self.errors += other.errors;
        self.requests_active += other.requests_active;
        self.connections_active += other.connections_active;
        self.connections_opened += other.connections_opened;
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
}
