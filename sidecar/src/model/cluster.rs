//! A group of endpoints that serve alike, and how to talk to them.

use super::{Balancing, Endpoint, Health, Table};
use std::{sync::Arc, time::Duration};

/// A cluster with its endpoints, as CDS and EDS together describe it.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its xDS name, `outbound|80|v2|checkout.shop.svc.cluster.local`.
    pub name: Arc<str>,
    /// The version id in that name, where it is a version's cluster or its control group's.
    pub version: Option<Arc<str>>,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// Its endpoints, lowest priority number first; empty for [`Discovery::OriginalDst`].
    pub endpoints: Vec<Endpoint>,
    /// Percent by which healthy endpoints are thought to bear more than their share (Envoy's
    /// `overprovisioning_factor`, 140 by default): a priority keeps all traffic while
    /// `healthy share * factor >= 100 %`.
    pub overprovisioning_factor: u32,
    /// How they share what comes to it.
    pub balancing: Balancing,
    /// Where a request's hash leads, where that decides: a table for each priority.
    pub tables: Arc<[Table]>,
    /// Which HTTP its endpoints speak.
    pub protocol: UpstreamProtocol,
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// When to keep an endpoint out, where the cluster asks for it.
    pub outlier_detection: Option<OutlierDetection>,
}

impl Cluster {
    /// True where at least one endpoint may be picked, as far as the control plane knows.
    pub fn has_healthy_endpoint(&self) -> bool {
        self.endpoints
            .iter()
            .any(|endpoint| endpoint.health == Health::Healthy)
    }
}

/// Where a cluster's endpoints come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// EDS, or inline in the cluster (STATIC).
    Endpoints,
    /// The connection's original destination (ORIGINAL_DST): passthrough and inbound.
    OriginalDst,
}

/// Which HTTP version the endpoints of a cluster speak
/// (`envoy.extensions.upstreams.http.v3.HttpProtocolOptions`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1, whatever the client spoke.
    Http1,
    /// HTTP/2 with prior knowledge, whatever the client spoke.
    Http2,
    /// What the client spoke (`use_downstream_protocol_config`).
    SameAsDownstream,
}

/// Passive health: when to keep an endpoint out by what it answers.
///
/// Source: `envoy.config.cluster.v3.OutlierDetection`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Consecutive 502, 503, 504 and local-origin errors; None: not enforced.
    pub consecutive_gateway_failure: Option<u32>,
    /// Consecutive 5xx; None: not enforced.
    pub consecutive_5xx: Option<u32>,
    /// How long the first ejection lasts; the n-th lasts n times as long.
    pub base_ejection_time: Duration,
    /// The longest ejection.
    pub max_ejection_time: Duration,
    /// How much of the cluster may be out at once, in percent.
    pub max_ejection_percent: u32,
}

impl OutlierDetection {
    /// How many requests an endpoint may get before its first good answer: so many failures eject
    /// it, whatever they are. None where so many might not.
    pub fn trials(&self) -> Option<u32> {
        let any = self.consecutive_5xx?;
        let gateway = self.consecutive_gateway_failure?;
        (self.max_ejection_percent >= 100).then_some(any.max(gateway).max(1))
    }
}
