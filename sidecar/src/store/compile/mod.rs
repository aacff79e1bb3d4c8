//! Resolves resources into a [`Snapshot`]: names become pointers.
//!
//! What a resource names and nobody sent is an empty cluster or an empty route table: requests to
//! it are answered with an error of our own, none are lost on the way.
//!
//! Pure: `now` is an argument.

mod routes;
mod tables;

#[cfg(test)]
mod tests;

use super::{
    endpoints::EndpointIds,
    resource::{self, Discovery, Filter, Name, Resources, Routes},
};
use crate::model::{
    Balancing, Breaker, Cluster, Discovery as ModelDiscovery, Endpoint, FilterChain, Health,
    HttpConnectionManager, Listener, NetworkFilter, RouteConfiguration, Snapshot, UpstreamProtocol,
};
use segue_proto::names::{ClusterName, VIRTUAL_INBOUND, VIRTUAL_OUTBOUND, split_control};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

/// For clusters that nobody sent.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Builds snapshots. Remembers endpoints and tables from one to the next.
#[derive(Debug, Default)]
pub struct Compiler {
    ids: EndpointIds,
    tables: tables::Kept,
    sequence: u64,
}

impl Compiler {
    /// The snapshot of these resources.
    pub fn compile(&mut self, resources: &Resources, now: Duration) -> Snapshot {
        self.sequence += 1;
        let mut clusters = Clusters {
            resources,
            ids: &mut self.ids,
            tables: tables::Kept::default(),
            tables_before: &mut self.tables,
            now,
            built: HashMap::new(),
        };
        for cluster in resources.clusters.values() {
            clusters.get(&cluster.name);
        }
        let tables: BTreeMap<Name, Arc<RouteConfiguration>> = resources
            .route_configurations
            .iter()
            .map(|(name, routes)| {
                let table = routes::table(name, routes, &resources.virtual_hosts, &mut clusters);
                (Arc::clone(name), Arc::new(table))
            })
            .collect();
        let mut listener = |name: &str| {
            let listener = resources.listeners.get(name)?;
            Some(Arc::new(resolve(listener, &tables, &mut clusters)))
        };
        let outbound = listener(VIRTUAL_OUTBOUND);
        let inbound = listener(VIRTUAL_INBOUND);
        let destinations = resources
            .destinations
            .iter()
            .map(|(address, name)| (*address, name.as_ref().map(|name| clusters.get(name))))
            .collect();
        let Clusters { built, tables, .. } = clusters;
        self.tables = tables;
        self.ids.sweep(now);
        Snapshot {
            sequence: self.sequence,
            outbound,
            inbound,
            destinations,
            clusters: built,
            endpoint_ids: self.ids.bound(),
        }
    }
}

fn resolve(
    listener: &resource::Listener,
    tables: &BTreeMap<Name, Arc<RouteConfiguration>>,
    clusters: &mut Clusters<'_>,
) -> Listener {
    let mut chain = |given: &resource::FilterChain| FilterChain {
        matches: given.matches.clone(),
        filter: match &given.filter {
            Filter::Tcp(name) => NetworkFilter::Tcp(clusters.get(name)),
            Filter::Http(Routes::Named(name)) => NetworkFilter::Http(HttpConnectionManager {
                routes: tables
                    .get(name)
                    .map_or_else(|| Arc::new(routes::empty(name)), Arc::clone),
            }),
            Filter::Http(Routes::Inline(routes)) => NetworkFilter::Http(HttpConnectionManager {
                routes: Arc::new(routes::table(
                    &routes.name,
                    routes,
                    &BTreeMap::new(),
                    clusters,
                )),
            }),
        },
    };
    Listener {
        name: Arc::clone(&listener.name),
        chains: listener.chains.iter().map(&mut chain).collect(),
        default_chain: listener.default_chain.as_ref().map(&mut chain),
    }
}

/// The clusters, each built when it is first named.
struct Clusters<'a> {
    resources: &'a Resources,
    ids: &'a mut EndpointIds,
    tables: tables::Kept,
    tables_before: &'a mut tables::Kept,
    now: Duration,
    built: HashMap<Name, Arc<Cluster>>,
}

impl Clusters<'_> {
    fn get(&mut self, name: &Name) -> Arc<Cluster> {
        if let Some(cluster) = self.built.get(name) {
            return Arc::clone(cluster);
        }
        let cluster = Arc::new(match self.find(name) {
            Some(given) => self.build(&given),
            None => missing(name),
        });
        self.built.insert(Arc::clone(name), Arc::clone(&cluster));
        cluster
    }

    /// By its own name, which is not always the one it was asked for by.
    fn find(&self, name: &Name) -> Option<Arc<resource::Cluster>> {
        let clusters = &self.resources.clusters;
        clusters
            .get(name)
            .or_else(|| clusters.values().find(|cluster| cluster.name == *name))
            .map(Arc::clone)
    }

    fn build(&mut self, given: &resource::Cluster) -> Cluster {
        let assignment = match &given.discovery {
            Discovery::Eds(name) => self.resources.assignments.get(name),
            Discovery::Inline(assignment) => Some(assignment),
            Discovery::OriginalDst => None,
        };
        let watched = given.outlier_detection.is_some();
        let endpoints = assignment
            .map(|assignment| assignment.endpoints.as_slice())
            .unwrap_or_default()
            .iter()
            .map(|endpoint| {
                let is_ready = endpoint.health == Health::Healthy;
                let at = (endpoint.address, is_ready);
                let (id, state) = self.ids.intern(&given.name, at, watched, self.now);
                Endpoint {
                    id,
                    address: endpoint.address,
                    weight: endpoint.weight,
                    priority: endpoint.priority,
                    locality: endpoint.locality,
                    health: endpoint.health,
                    version: endpoint.version.clone(),
                    state,
                }
            })
            .collect();
        let tables = assignment.map(|assignment| {
            let basis = tables::Basis {
                policy: given.balancing.policy,
                by_locality: given.balancing.by_locality,
                assignment: Arc::clone(assignment),
            };
            self.tables.tables(&given.name, basis, self.tables_before)
        });
        let breaker = given.balancing.breaker.map(|breaker| Breaker {
            number: self.ids.cluster(&given.name, self.now),
            ..breaker
        });
        Cluster {
            name: Arc::clone(&given.name),
            version: version(&given.name).or_else(|| given.version.clone()),
            discovery: match given.discovery {
                Discovery::OriginalDst => ModelDiscovery::OriginalDst,
                Discovery::Eds(_) | Discovery::Inline(_) => ModelDiscovery::Endpoints,
            },
            endpoints,
            overprovisioning_factor: assignment
                .map_or(100, |assignment| assignment.overprovisioning_factor),
            balancing: Balancing {
                breaker,
                ..given.balancing
            },
            tables: tables.unwrap_or_default(),
            protocol: given.protocol,
            connect_timeout: given.connect_timeout,
            outlier_detection: given.outlier_detection,
        }
    }
}

fn missing(name: &Name) -> Cluster {
    Cluster {
        name: Arc::clone(name),
        version: version(name),
        discovery: ModelDiscovery::Endpoints,
        endpoints: Vec::new(),
        overprovisioning_factor: 100,
        balancing: Balancing::default(),
        tables: Arc::default(),
        protocol: UpstreamProtocol::SameAsDownstream,
        connect_timeout: CONNECT_TIMEOUT,
        outlier_detection: None,
    }
}

fn version(name: &str) -> Option<Arc<str>> {
    match name.parse() {
        Ok(ClusterName::Outbound { version, .. }) if !version.is_empty() => {
            Some(Arc::from(split_control(&version).0))
        }
        _ => None,
    }
}
