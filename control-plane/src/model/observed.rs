//! What is seen of proxies: who is connected, what they have applied, what they measured.
//!
//! The xDS server, LRS and HDS say these to the engine, past tense; none of them knows the engine.

use super::{Generation, ProxyId, ServiceKey, Timestamp, UpgradeKey, WorkloadKey};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

/// Something that was seen.
#[derive(Clone, Debug)]
pub enum Observed {
    /// A proxy connected, or what it has applied or is interested in has changed.
    Proxy(ProxyState),
    /// A proxy's ADS stream ended.
    ProxyGone {
        /// Which.
        proxy: ProxyId,
        /// It said goodbye (half-close), so it leaves every interest set at once.
        clean: bool,
    },
    /// A load report came in.
    Load(LoadSample),
    /// A delegated health check ended.
    Health(HealthSample),
    /// An extra metric of a policy was asked for.
    Metric(MetricSample),
}

/// What a proxy is interested in and has applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyState {
    /// Which.
    pub proxy: ProxyId,
    /// `node.user_agent_name`.
    pub user_agent: String,
    /// Its peer address.
    pub address: Option<SocketAddr>,
    /// The services it is subscribed to.
    pub interest: BTreeSet<ServiceKey>,
    /// The newest generation of which it was sent everything and ACKed everything.
    pub acked: Generation,
    /// The newest generation of which it was sent something.
    pub sent: Generation,
    /// The services of which it refused the newest state, with its message.
    pub nacks: BTreeMap<ServiceKey, Arc<str>>,
    /// Per xDS type, for `segue proxy list`.
    pub types: Vec<TypeState>,
}

/// A proxy's subscription to one resource type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeState {
    /// The type URL.
    pub type_url: String,
    /// Subscribed to everything.
    pub wildcard: bool,
    /// The resources it has, with the version it ACKed (or was sent) and whether that was ACKed.
    pub resources: BTreeMap<String, ResourceState>,
    /// The newest NACK that no ACK has followed.
    pub nack: Option<Arc<str>>,
}

/// What a proxy has of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceState {
    /// The version sent last; None: it does not exist.
    pub version: Option<String>,
    /// ACKed.
    pub acked: bool,
}

/// One load report (LRS).
#[derive(Clone, Debug)]
pub struct LoadSample {
    /// Who reports.
    pub proxy: ProxyId,
    /// The reporter's own workload, where it is a sidecar.
    pub workload: Option<WorkloadKey>,
    /// When it came in.
    pub at: Timestamp,
    /// By cluster name and endpoint address.
    pub endpoints: Vec<EndpointSample>,
}

/// What a proxy measured of one endpoint since its last report.
#[derive(Clone, Debug, Default)]
pub struct EndpointSample {
    /// The cluster's name; `inbound|PORT||` for the reporter's own application.
    pub cluster: String,
    /// The endpoint.
    pub address: Option<SocketAddr>,
    /// Requests sent.
    pub issued: u64,
    /// Successful responses.
    pub succeeded: u64,
    /// Errors.
    pub errors: u64,
    /// Requests under way now.
    pub requests_active: u64,
    /// Opaque connections open now.
    pub connections_active: u64,
    /// Opaque connections opened.
    pub connections_opened: u64,
    /// Responses that began a session.
    pub new_sessions: u64,
    /// Requests that a session token placed.
    pub pinned_requests: u64,
    /// Its outlier detection keeps the endpoint out.
    pub ejected: bool,
    /// The errors by class, as far as the reporter tells them apart.
    pub error_classes: ErrorClasses,
    /// Connections tried.
    pub connects: u64,
    /// Connections tried that did not come about.
    pub connects_failed: u64,
    /// Requests by latency bucket's upper bound in microseconds.
    pub latency: BTreeMap<u64, u64>,
    /// Their latencies' sum, in microseconds.
    pub latency_sum_us: u64,
}

impl EndpointSample {
    /// Requests that ended.
    pub fn ended(&self) -> u64 {
        self.succeeded.saturating_add(self.errors)
    }
}

/// Errors by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ErrorClasses {
    /// The application answered with one.
    pub response: u64,
    /// No response came in time.
    pub timeout: u64,
    /// The connection or stream ended before the response did.
    pub reset: u64,
    /// No connection came about.
    pub connect: u64,
}

/// The result of one delegated health check (HDS).
#[derive(Clone, Debug)]
pub struct HealthSample {
    /// Whose application was checked.
    pub workload: WorkloadKey,
    /// When the result came in.
    pub at: Timestamp,
    /// It passed.
    pub healthy: bool,
}

impl ErrorClasses {
    /// Adds another span's or reporter's.
    pub fn add(&mut self, other: Self) {
        self.response = self.response.saturating_add(other.response);
        self.timeout = self.timeout.saturating_add(other.timeout);
        self.reset = self.reset.saturating_add(other.reset);
        self.connect = self.connect.saturating_add(other.connect);
    }
}

/// The answer to one extra metric of a policy (`analysis.metrics`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricSample {
    /// For which upgrade it was asked.
    pub upgrade: UpgradeKey,
    /// The metric's name in the policy.
    pub name: String,
    /// When the answer came in.
    pub at: Timestamp,
    /// What it says.
    pub outcome: MetricOutcome,
}

/// What an extra metric says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricOutcome {
    /// Within its bounds; the text shows the value.
    Good(String),
    /// Out of its bounds; the text shows the value and the bound.
    Bad(String),
    /// No answer, or one without a value: says nothing. The text says why.
    Unknown(String),
}
