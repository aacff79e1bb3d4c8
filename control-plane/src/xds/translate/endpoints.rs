//! Endpoints: where the instances of a cluster are and whether they may be picked.
//!
//! HTTP: a cluster has its own version's instances at priority 0 and those of the version that
//! steps in for it at priority 1. Opaque TCP: one cluster for all versions, split by weight.
//!
//! Where a policy prefers the client's own zone, the weights of the localities depend on who asks: its
//! own keeps what it can bear, the others share the rest. That is said by weights and not by
//! priorities, since these are for versions, and one healthy endpoint of a version keeps all of its
//! traffic.

use super::{
    Resource, cluster,
    wrap::{address, number, version_metadata},
};
use crate::model::{
    Instance, InstanceState, ServicePort, ServiceView, VersionId, VersionView, Zones,
};
use envoy_types::pb::envoy::config::{
    core::v3::{HealthStatus, Locality},
    endpoint::v3::{
        ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
        cluster_load_assignment::Policy, lb_endpoint::HostIdentifier,
    },
};
use std::{collections::BTreeMap, sync::Arc};

/// One endpoint to be: an instance with its weight.
type Weighted<'a> = (&'a Instance, u32);

/// Fine enough that a share divides evenly over a few hundred instances; sums stay below 2^32.
const WEIGHT_SCALE: u32 = 1_000;

/// How much more than its share a zone's healthy instances can bear, in percent: Envoy's default.
const OVERPROVISIONED: u64 = 140;
/// The weight of all zones together, but for what keeps the others in reach.
const ALL_ZONES: u64 = 1_000_000_000;

/// True where what is told of a service's endpoints depends on the zone of who asks.
pub fn depend_on_zone(view: &ServiceView) -> bool {
    let has_http = view
        .service
        .ports
        .iter()
        .any(|port| port.protocol.is_http());
    has_http && view.balancing.zones == Zones::Prefer
}

/// The endpoints of all clusters of a service, for a client in `zone`.
pub fn of_service(view: &ServiceView, zone: Option<&str>) -> Vec<Arc<Resource>> {
    let zone = zone.filter(|_| depend_on_zone(view));
    let mut all = Vec::new();
    for port in &view.service.ports {
        if port.protocol.is_http() {
            for version in &view.versions {
                all.extend(of_version(view, port, version, zone));
            }
        } else {
            all.extend(of_tcp(view, port));
        }
    }
    all
}

/// The endpoints of a version's clusters: the same for its own and its control group's.
fn of_version(
    view: &ServiceView,
    port: &ServicePort,
    version: &VersionView,
    zone: Option<&str>,
) -> Vec<Arc<Resource>> {
    let own: Vec<Weighted<'_>> = instances(view, &version.id).map(|i| (i, 1)).collect();
    let fallback: Vec<Weighted<'_>> = version
        .fallback
        .iter()
        .flat_map(|id| instances(view, id))
        .map(|i| (i, 1))
        .collect();
    let names = cluster::names(&view.service, port, version);
    assignments(names, view, port, &[own, fallback], zone)
}

fn of_tcp(view: &ServiceView, port: &ServicePort) -> Vec<Arc<Resource>> {
    let mut endpoints = Vec::new();
    for version in &view.versions {
        let share = u32::from(version.weight.basis_points());
        if share == 0 {
            continue;
        }
        let (ready, all) = instances(view, &version.id).fold((0_u32, 0_u32), |(ready, all), i| {
            (ready + u32::from(i.state == InstanceState::Ready), all + 1)
        });
        let bearers = if ready > 0 { ready } else { all };
        let weight = (share * WEIGHT_SCALE)
            .checked_div(bearers)
            .unwrap_or_default()
            .max(1);
        endpoints.extend(instances(view, &version.id).map(|instance| (instance, weight)));
    }
    let name = cluster::tcp_name(&view.service, port);
    assignments(std::iter::once(name), view, port, &[endpoints], None)
}

fn instances<'a>(
    view: &'a ServiceView,
    version: &'a VersionId,
) -> impl Iterator<Item = &'a Instance> {
    view.instances
        .iter()
        .filter(move |instance| instance.workload.version == *version)
}

/// What clusters with the same endpoints are told; it is put together once.
fn assignments(
    names: impl Iterator<Item = String>,
    view: &ServiceView,
    port: &ServicePort,
    priorities: &[Vec<Weighted<'_>>],
    zone: Option<&str>,
) -> Vec<Arc<Resource>> {
    let preferred = priorities
        .first()
        .map_or(0, |first| u32::try_from(first.len()).unwrap_or(u32::MAX));
    let mut message = ClusterLoadAssignment {
        policy: Some(Policy {
            // One healthy endpoint keeps all traffic of its version.
            overprovisioning_factor: Some(number(preferred.saturating_mul(100).max(140))),
            ..Policy::default()
        }),
        ..ClusterLoadAssignment::default()
    };
    for (priority, instances) in (0..).zip(priorities) {
        let zones = by_zone(instances);
        for (name, members) in &zones {
            let weight = match zone {
                Some(own) => weight_for(own, name, &zones),
                None => members.iter().map(|(_, weight)| u64::from(*weight)).sum(),
            };
            let place = (*name, priority, weight);
            message.endpoints.push(locality(place, port, members));
        }
    }
    names
        .map(|name| {
            message.cluster_name.clone_from(&name);
            Resource::new(&name, &message, vec![view.service.key.clone()])
        })
        .collect()
}

fn by_zone<'a>(instances: &[Weighted<'a>]) -> BTreeMap<&'a str, Vec<Weighted<'a>>> {
    let mut zones: BTreeMap<&str, Vec<Weighted<'a>>> = BTreeMap::new();
    for (instance, weight) in instances {
        let zone = instance.workload.zone.as_deref().unwrap_or_default();
        zones.entry(zone).or_default().push((*instance, *weight));
    }
    for members in zones.values_mut() {
        members.sort_by(|(a, _), (b, _)| a.workload.key.cmp(&b.workload.key));
    }
    zones
}

/// The weight of a zone for a client in zone `own`: that keeps as much as its ready instances bear;
/// the others share the rest by how many they have, and are never out of reach.
fn weight_for(own: &str, zone: &str, zones: &BTreeMap<&str, Vec<Weighted<'_>>>) -> u64 {
    let ready = |zone: &str| -> u64 {
        let members = zones.get(zone).into_iter().flatten();
        members
            .map(|(i, _)| u64::from(i.state == InstanceState::Ready))
            .sum()
    };
    let all: u64 = zones.get(own).into_iter().flatten().map(|_| 1).sum();
    let bears = (OVERPROVISIONED * ready(own) * ALL_ZONES)
        .checked_div(100 * all)
        .map_or(0, |bears| bears.min(ALL_ZONES));
    if zone == own {
        return bears;
    }
    let others: u64 = zones
        .keys()
        .filter(|name| **name != own)
        .map(|name| ready(name))
        .sum();
    let share = ((ALL_ZONES - bears) * ready(zone)).checked_div(others);
    share.unwrap_or(0) + ready(zone)
}

fn locality(
    (zone, priority, weight): (&str, u32, u64),
    port: &ServicePort,
    members: &[Weighted<'_>],
) -> LocalityLbEndpoints {
    LocalityLbEndpoints {
        locality: Some(Locality {
            zone: zone.to_owned(),
            ..Locality::default()
        }),
        priority,
        load_balancing_weight: Some(number(u32::try_from(weight).unwrap_or(u32::MAX).max(1))),
        lb_endpoints: members
            .iter()
            .map(|(instance, weight)| endpoint(instance, port, *weight))
            .collect(),
        ..LocalityLbEndpoints::default()
    }
}

fn endpoint(instance: &Instance, port: &ServicePort, weight: u32) -> LbEndpoint {
    let workload = &instance.workload;
    let health = match instance.state {
        InstanceState::Ready => HealthStatus::Healthy,
        InstanceState::NotReady => HealthStatus::Unhealthy,
        InstanceState::Draining => HealthStatus::Draining,
    };
    LbEndpoint {
        health_status: health.into(),
        load_balancing_weight: Some(number(weight)),
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address(workload.address, workload.port_of(port))),
            // Of no effect: a name for people who look at a proxy's endpoints.
            hostname: workload.key.to_string(),
            ..Endpoint::default()
        })),
        metadata: Some(version_metadata(&workload.version)),
    }
}
