//! What the control plane said, decoded but not yet resolved: here a route names its clusters, in
//! the [model](crate::model) it holds them.
//!
//! Pure: no Envoy messages, no tokio, no clock.

use crate::model::{
    Balancing, ChainMatch, HashPolicy, Header, HeaderMatcher, Health, Locality, OutlierDetection,
    PathMatch, RetryPolicy, UpstreamProtocol,
};
use http::HeaderName;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

/// A resource's name. Shared, since the same names occur in many places.
pub type Name = Arc<str>;

/// A set of resources to compile: each by the name it was asked for by.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// LDS.
    pub listeners: BTreeMap<Name, Arc<Listener>>,
    /// RDS.
    pub route_configurations: BTreeMap<Name, Arc<RouteConfiguration>>,
    /// VHDS, by `<route configuration>/<host>`. `None`: known not to exist.
    pub virtual_hosts: BTreeMap<Name, Option<Arc<VirtualHost>>>,
    /// CDS.
    pub clusters: BTreeMap<Name, Arc<Cluster>>,
    /// EDS.
    pub assignments: BTreeMap<Name, Arc<Assignment>>,
    /// TCP destinations asked for on demand, and the name of their cluster. `None`: outside the
    /// mesh.
    pub destinations: BTreeMap<SocketAddr, Option<Name>>,
}

/// A Listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name.
    pub name: Name,
    /// In the resource's order.
    pub chains: Vec<FilterChain>,
    /// Where no chain matches.
    pub default_chain: Option<FilterChain>,
}

impl Listener {
    /// Its chains, the default one last.
    pub fn all_chains(&self) -> impl Iterator<Item = &FilterChain> {
        self.chains.iter().chain(&self.default_chain)
    }

    /// The route configurations that it takes from RDS.
    pub fn route_configurations(&self) -> impl Iterator<Item = &Name> {
        self.all_chains().filter_map(|chain| match &chain.filter {
            Filter::Http(Routes::Named(name)) => Some(name),
            _ => None,
        })
    }

    /// Adds the clusters that it names, also in inline routes.
    pub fn add_clusters(&self, names: &mut BTreeSet<Name>) {
        for chain in self.all_chains() {
            match &chain.filter {
                Filter::Tcp(cluster) => {
                    names.insert(Arc::clone(cluster));
                }
                Filter::Http(Routes::Inline(routes)) => routes.add_clusters(names),
                Filter::Http(Routes::Named(_)) => {}
            }
        }
    }
}

/// A filter chain.
#[derive(Clone, Debug)]
pub struct FilterChain {
    /// Which connections it takes.
    pub matches: ChainMatch,
    /// What it does with them.
    pub filter: Filter,
}

/// The network filter that ends a chain.
#[derive(Clone, Debug)]
pub enum Filter {
    /// HTTP.
    Http(Routes),
    /// Opaque bytes to a cluster.
    Tcp(Name),
}

/// Where an HTTP connection manager has its routes from.
#[derive(Clone, Debug)]
pub enum Routes {
    /// RDS.
    Named(Name),
    /// In the Listener.
    Inline(Arc<RouteConfiguration>),
}

/// A RouteConfiguration.
#[derive(Clone, Debug)]
pub struct RouteConfiguration {
    /// Its name.
    pub name: Name,
    /// Those it lists itself.
    pub virtual_hosts: Vec<VirtualHost>,
    /// Others are had by VHDS.
    pub on_demand: bool,
}

impl RouteConfiguration {
    /// Adds the clusters that it names.
    pub fn add_clusters(&self, names: &mut BTreeSet<Name>) {
        for host in &self.virtual_hosts {
            host.add_clusters(names);
        }
    }
}

/// A VirtualHost.
#[derive(Clone, Debug)]
pub struct VirtualHost {
    /// Its own name, which is not the one that VHDS asks by.
    pub name: Name,
    /// The hosts it serves, lower case.
    pub domains: Vec<Box<str>>,
    /// The first that matches wins.
    pub routes: Vec<Route>,
    /// When a request may be sent again.
    pub retry: RetryPolicy,
}

impl VirtualHost {
    /// Adds the clusters that it names.
    pub fn add_clusters(&self, names: &mut BTreeSet<Name>) {
        for route in &self.routes {
            match &route.action {
                Action::Cluster(cluster) => {
                    names.insert(Arc::clone(cluster));
                }
                Action::Weighted { clusters, .. } => {
                    names.extend(clusters.iter().map(|choice| Arc::clone(&choice.cluster)));
                }
                Action::DirectResponse { .. } => {}
            }
        }
    }
}

/// A route.
#[derive(Clone, Debug)]
pub struct Route {
    /// The condition on the path.
    pub path: PathMatch,
    /// The conditions on headers; all must hold.
    pub headers: Vec<HeaderMatcher>,
    /// What the request's hash is made of.
    pub hash: Vec<HashPolicy>,
    /// What to do.
    pub action: Action,
    /// Removed from requests.
    pub removed_request_headers: Vec<HeaderName>,
    /// Set on requests (overwriting).
    pub request_headers: Vec<Header>,
    /// Added to responses.
    pub response_headers: Vec<Header>,
    /// The longest that a response may take; None: for ever.
    pub timeout: Option<Duration>,
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sends to a cluster.
    Cluster(Name),
    /// Takes one of several by weight; the weights sum to more than 0.
    Weighted {
        /// The choices.
        clusters: Vec<WeightedCluster>,
        /// By the request's hash where it has one, else by chance.
        by_hash: bool,
    },
    /// Answers without an upstream.
    DirectResponse {
        /// The status code.
        status: http::StatusCode,
        /// The body.
        body: bytes::Bytes,
    },
}

/// One choice of a weighted route.
#[derive(Clone, Debug)]
pub struct WeightedCluster {
    /// Its cluster.
    pub cluster: Name,
    /// Its weight.
    pub weight: u32,
    /// Set on its requests (overwriting).
    pub request_headers: Vec<Header>,
    /// Added to its responses.
    pub response_headers: Vec<Header>,
}

/// A Cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its own name, which is not the one it was asked for by where that was a destination.
    pub name: Name,
    /// The version id, where the control plane says so besides the name.
    pub version: Option<Arc<str>>,
    /// Where its endpoints come from.
    pub discovery: Discovery,
    /// How its endpoints share what comes to it.
    pub balancing: Balancing,
    /// Which HTTP its endpoints speak.
    pub protocol: UpstreamProtocol,
    /// How long a connect may take.
    pub connect_timeout: Duration,
    /// When to keep an endpoint out.
    pub outlier_detection: Option<OutlierDetection>,
}

impl Cluster {
    /// The EDS resource that holds its endpoints.
    pub fn assignment(&self) -> Option<&Name> {
        match &self.discovery {
            Discovery::Eds(name) => Some(name),
            Discovery::Inline(_) | Discovery::OriginalDst => None,
        }
    }
}

/// Where a cluster's endpoints come from.
#[derive(Clone, Debug)]
pub enum Discovery {
    /// The EDS resource of that name.
    Eds(Name),
    /// In the Cluster.
    Inline(Arc<Assignment>),
    /// The connection's original destination.
    OriginalDst,
}

/// A ClusterLoadAssignment.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// Lowest priority number first, and within a priority by locality.
    pub endpoints: Vec<Endpoint>,
    /// Percent, see [`crate::model::Cluster::overprovisioning_factor`].
    pub overprovisioning_factor: u32,
}

/// An endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// At least 1.
    pub weight: u32,
    /// 0 is preferred.
    pub priority: u32,
    /// Where it stands.
    pub locality: Locality,
    /// As the control plane sees it.
    pub health: Health,
    /// The version id, where the control plane says so.
    pub version: Option<Arc<str>>,
}
