//! What load reports said of a version since its upgrade began: sums for the metrics, which only
//! grow. Nothing is decided by them.

use crate::model::{EndpointSample, ErrorClasses};
use std::{collections::BTreeMap, sync::Arc};

/// The sums, by who counted: an instance's own proxy does not see a connection that never came
/// about, and a client without a sidecar is seen by nobody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// The clients' proxies.
    pub by_clients: Arc<Served>,
    /// The instances' own proxies.
    pub by_instances: Arc<Served>,
}

/// Sums of load reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Requests that ended.
    pub requests: u64,
    /// Those that were errors.
    pub errors: u64,
    /// The errors by class, as far as the reporters tell them apart.
    pub classes: ErrorClasses,
    /// Requests by latency bucket's upper bound in microseconds.
    pub latency: BTreeMap<u64, u64>,
    /// Their latencies' sum, in microseconds.
    pub latency_sum_us: u64,
}

impl Served {
    pub(super) fn add(&mut self, sample: &EndpointSample) {
        // What proxies say is not trusted to be small.
        self.requests = self.requests.saturating_add(sample.ended());
        self.errors = self.errors.saturating_add(sample.errors);
        self.classes.add(sample.error_classes);
        for (bound, count) in &sample.latency {
            let sum = self.latency.entry(*bound).or_default();
            *sum = sum.saturating_add(*count);
        }
        self.latency_sum_us = self.latency_sum_us.saturating_add(sample.latency_sum_us);
    }
}
