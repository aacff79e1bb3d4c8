//! What sidecars say of load and health, in the form in which `xds::server` hands it on.

use super::{
    network::Up,
    queue::{Event, Ms},
    simulation::Simulation,
};
use segue_control_plane::model::{
    EndpointSample, ErrorClasses, Key, LoadSample, Observed, ProxyId, Timestamp,
};
use segue_proto::names::metric::LATENCY_BOUNDS_US;
use segue_sidecar::model::{EndpointLoad, Snapshot};
use std::{net::SocketAddr, sync::Arc};

/// As `engine::task` asks for.
const BUSY: Ms = 500;
const IDLE: Ms = 5_000;
/// As the probe of the instances.
const CHECK: Ms = 1_000;

impl Simulation {
    pub(crate) fn report(&mut self, name: &str, process: u32) {
        if !self
            .proxies
            .get(name)
            .is_some_and(|proxy| proxy.is(process))
        {
            return;
        }
        let every = if self.plane.busy { BUSY } else { IDLE };
        self.within(every, every + 20, Event::Report(name.to_owned(), process));
        let id = self.proxy_id(name);
        let now = self.now;
        let Some(proxy) = self.proxies.get_mut(name) else {
            return;
        };
        let Some(connection) = proxy.connection else {
            return proxy.forget_counts();
        };
        let elapsed = u64::try_from(proxy.age(now).as_millis()).unwrap_or(u64::MAX);
        let snapshot = proxy.snapshot(0);
        let current = endpoints(&snapshot);
        for key in &current {
            proxy.loads.entry(key.clone()).or_default();
        }
        let sample = LoadSample {
            proxy: ProxyId::from(id.as_str()),
            workload: Key::try_from(id).ok(),
            at: Timestamp::default(),
            endpoints: proxy
                .loads
                .iter()
                .map(|((cluster, address), load)| {
                    let ejected = is_ejected(&snapshot, cluster, *address, elapsed);
                    sample(cluster, *address, load, ejected)
                })
                .collect(),
        };
        proxy.loads.retain(|key, load| {
            load.requests_active > 0 || current.contains(key) || key.0.starts_with("inbound")
        });
        proxy.forget_counts();
        if self.scenario.faults.network && !self.healed && self.one_in(40) {
            let again = Event::LateReport(Box::new(sample.clone()), self.plane.process);
            self.within(100, 4_000, again);
        }
        self.send_up(connection, Up::Load(Box::new(sample)));
    }

    /// A report of an older stream, which the control plane has not yet given up.
    pub(crate) fn late_report(&mut self, mut sample: LoadSample, process: u32) {
        if self.plane.process != process {
            return;
        }
        sample.at = self.timestamp();
        self.note(&format!("a late report of {}", sample.proxy));
        self.observe(Observed::Load(sample));
    }

    pub(crate) fn check(&mut self, name: &str, process: u32) {
        let Some(proxy) = self.proxies.get(name).filter(|proxy| proxy.is(process)) else {
            return;
        };
        let passes = proxy
            .instance
            .as_ref()
            .and_then(|instance| self.instances.get(instance))
            .is_some_and(super::instance::Instance::passes_checks);
        if let Some(id) = proxy.connection {
            self.send_up(id, Up::Health(passes));
        }
        self.within(
            CHECK - 20,
            CHECK + 20,
            Event::Check(name.to_owned(), process),
        );
    }
}

/// The endpoints of versions' clusters: reported even if nothing happens there.
fn endpoints(snapshot: &Snapshot) -> Vec<(Arc<str>, SocketAddr)> {
    let mut endpoints: Vec<_> = snapshot
        .clusters
        .values()
        .flat_map(|cluster| {
            let of = |endpoint: &segue_sidecar::model::Endpoint| {
                (Arc::clone(&cluster.name), endpoint.address)
            };
            cluster.endpoints.iter().map(of)
        })
        .collect();
    endpoints.sort();
    endpoints
}

fn is_ejected(snapshot: &Snapshot, cluster: &str, address: SocketAddr, now: u64) -> bool {
    snapshot.clusters.get(cluster).is_some_and(|cluster| {
        let mut endpoints = cluster.endpoints.iter();
        endpoints.any(|endpoint| endpoint.address == address && endpoint.state.is_ejected(now))
    })
}

fn sample(
    cluster: &str,
    address: SocketAddr,
    load: &EndpointLoad,
    ejected: bool,
) -> EndpointSample {
    let buckets = LATENCY_BOUNDS_US.iter().zip(&load.latency.counts);
    EndpointSample {
        cluster: cluster.to_owned(),
        address: Some(address),
        issued: load.issued,
        succeeded: load.succeeded,
        errors: load.errors.total(),
        requests_active: load.requests_active,
        new_sessions: load.new_sessions,
        pinned_requests: load.pinned_requests,
        ejected,
        error_classes: ErrorClasses {
            response: load.errors.response,
            timeout: load.errors.timeout,
            reset: load.errors.reset,
            connect: load.errors.connect,
        },
        connects: load.connects,
        connects_failed: load.connect_failures,
        latency: buckets
            .filter(|(_, count)| **count > 0)
            .map(|(bound, count)| (*bound, *count))
            .collect(),
        ..EndpointSample::default()
    }
}
