//! What of a load report is believed.
//!
//! Proxies are not the judges of a version, but their numbers are the evidence. So none speaks of a
//! service that it is not subscribed to, or of another instance's application (an inbound report is
//! always about the sender's own), and none brings more requests than a proxy can serve. What is
//! under way is believed all the same: it only holds instances a little longer, up to the drain's
//! deadline.
//!
//! Within these bounds a subscriber that lies is believed as far as its part of the traffic goes.

use super::{core::Engine, load::service_of};
use crate::model::{EndpointSample, LoadSample};
use segue_proto::names::ClusterName;
use std::time::Duration;

/// Requests a second beyond which a report is nonsense.
const MOST_PER_SECOND: u64 = 1_000_000;

impl Engine {
    /// The report without what its sender can't know.
    pub(super) fn credible(&mut self, mut sample: LoadSample) -> LoadSample {
        let before = self.loads.reported_at(&sample.proxy);
        let over = before.map_or(Duration::ZERO, |before| sample.at.since(before));
        let most = MOST_PER_SECOND.saturating_mul(over.as_secs().saturating_add(1));
        let too_many = requests(&sample) > most;
        let mut dropped = 0_usize;
        for endpoint in &mut sample.endpoints {
            let foreign = match endpoint.cluster.parse() {
                Ok(ClusterName::Outbound { host, .. }) => service_of(&host)
                    .is_some_and(|service| !self.proxies.is_subscribed(&sample.proxy, &service)),
                _ => false,
            };
            if (too_many || foreign) && says_something(endpoint) {
                keep_levels(endpoint);
                dropped += 1;
            }
        }
        if dropped > 0 && self.disbelieved.insert(sample.proxy.clone()) {
            let why = if too_many {
                "more requests than a proxy can serve"
            } else {
                "services that it is not subscribed to"
            };
            tracing::warn!(
                proxy = %sample.proxy, endpoints = dropped,
                "its load report tells of {why}: that part is no evidence; look at that proxy"
            );
        }
        sample
    }
}

/// The largest of what a report counts.
fn requests(sample: &LoadSample) -> u64 {
    let sum = |of: fn(&EndpointSample) -> u64| {
        let counts = sample.endpoints.iter().map(of);
        counts.fold(0, u64::saturating_add)
    };
    let timed = |endpoint: &EndpointSample| {
        let counts = endpoint.latency.values().copied();
        counts.fold(0, u64::saturating_add)
    };
    [
        sum(EndpointSample::ended),
        sum(timed),
        sum(|endpoint| endpoint.new_sessions),
        sum(|endpoint| endpoint.pinned_requests),
    ]
    .into_iter()
    .fold(0, u64::max)
}

fn says_something(endpoint: &EndpointSample) -> bool {
    let counted = [
        endpoint.ended(),
        endpoint.new_sessions,
        endpoint.pinned_requests,
        endpoint.connects,
    ];
    endpoint.ejected || !endpoint.latency.is_empty() || counted.iter().any(|count| *count > 0)
}

/// What is under way and what began stays.
fn keep_levels(endpoint: &mut EndpointSample) {
    let said = std::mem::take(endpoint);
    *endpoint = EndpointSample {
        cluster: said.cluster,
        address: said.address,
        issued: said.issued,
        requests_active: said.requests_active,
        connections_active: said.connections_active,
        connections_opened: said.connections_opened,
        ..EndpointSample::default()
    };
}
