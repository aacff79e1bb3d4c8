//! Snapshots, built by hand.

use crate::model::{
    Action, Balancing, ChainMatch, Cluster, Discovery, Endpoint, EndpointId, EndpointState,
    FilterChain, HashPolicy, HashSource, Header, HeaderMatch, HeaderMatcher, Health,
    HttpConnectionManager, Listener, NetworkFilter, OutlierDetection, PathMatch, RetryPolicy,
    Route, RouteConfiguration, Snapshot, UpstreamProtocol, VirtualHost, WeightedCluster,
};
use http::{HeaderValue, header};
use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

pub(super) const HOST: &str = "checkout.shop";

/// The service `checkout`, as the control plane describes it.
#[derive(Clone)]
pub(super) struct Mesh {
    pub versions: Vec<Version>,
    pub protocol: UpstreamProtocol,
    pub affinity: bool,
    pub fuse: Option<OutlierDetection>,
    pub timeout: Option<Duration>,
    /// The weights go by a hash of this.
    pub hash: Option<HashSource>,
    pub balancing: Balancing,
    endpoints: HashMap<SocketAddr, (EndpointId, Arc<EndpointState>)>,
}

#[derive(Clone)]
pub(super) struct Version {
    pub id: &'static str,
    pub weight: u32,
    /// Address, priority, health and version.
    pub endpoints: Vec<(SocketAddr, u32, Health, &'static str)>,
}

impl Version {
    pub(super) fn new(id: &'static str, weight: u32, addresses: &[SocketAddr]) -> Self {
        let endpoint = |address: &SocketAddr| (*address, 0, Health::Healthy, id);
        Self {
            id,
            weight,
            endpoints: addresses.iter().map(endpoint).collect(),
        }
    }

    pub(super) fn fallback(mut self, id: &'static str, address: SocketAddr) -> Self {
        self.endpoints.push((address, 1, Health::Healthy, id));
        self
    }
}

impl Mesh {
    pub(super) fn new(versions: Vec<Version>) -> Self {
        Self {
            versions,
            protocol: UpstreamProtocol::SameAsDownstream,
            affinity: false,
            fuse: None,
            timeout: None,
            hash: None,
            balancing: Balancing::default(),
            endpoints: HashMap::new(),
        }
    }

    /// One version, one endpoint.
    pub(super) fn single(address: SocketAddr) -> Self {
        Self::new(vec![Version::new("v1", 10_000, &[address])])
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        let versions = self.versions.clone();
        let clusters: Vec<_> = versions.iter().map(|one| self.cluster(one)).collect();
        let weighted = clusters.iter().zip(&self.versions);
        let weighted: Vec<_> = weighted
            .map(|(cluster, version)| WeightedCluster {
                cluster: Arc::clone(cluster),
                weight: version.weight,
                request_headers: Vec::new(),
                response_headers: self.token(version).into_iter().collect(),
            })
            .collect();
        let mut routes = Vec::new();
        if self.affinity {
            routes.extend(clusters.iter().zip(&self.versions).map(pinned));
        }
        let total = weighted.iter().map(|one| one.weight).sum();
        routes.push(route(
            Vec::new(),
            Action::Weighted {
                clusters: weighted,
                total,
                by_hash: self.hash.is_some(),
            },
        ));
        for route in &mut routes {
            route.timeout = self.timeout;
            route.hash = self.hash.iter().cloned().map(by).collect();
        }
        let host = Arc::new(VirtualHost {
            name: format!("{HOST}:80").into(),
            routes,
            retry: RetryPolicy::default(),
            session_cookie: self.affinity.then(|| "s".into()),
        });
        let named = |cluster: &Arc<Cluster>| (Arc::clone(&cluster.name), Arc::clone(cluster));
        Snapshot {
            sequence: 1,
            outbound: Some(Arc::new(outbound(Some(host)))),
            clusters: clusters.iter().map(named).collect(),
            endpoint_ids: u32::try_from(self.endpoints.len()).unwrap(),
            ..Snapshot::default()
        }
    }

    fn cluster(&mut self, version: &Version) -> Arc<Cluster> {
        let endpoints = version
            .endpoints
            .iter()
            .map(|(address, priority, health, version)| {
                let next = u32::try_from(self.endpoints.len()).unwrap();
                let known = self.endpoints.entry(*address);
                let (id, state) = known.or_insert_with(|| (EndpointId(next), Arc::default()));
                Endpoint {
                    id: *id,
                    address: *address,
                    weight: 1,
                    priority: *priority,
                    locality: crate::model::Locality::default(),
                    health: *health,
                    version: Some((*version).into()),
                    state: Arc::clone(state),
                }
            });
        Arc::new(Cluster {
            name: format!("outbound|80|{}|checkout.shop.svc.cluster.local", version.id).into(),
            version: Some(version.id.into()),
            discovery: Discovery::Endpoints,
            endpoints: endpoints.collect(),
            overprovisioning_factor: 1_000,
            balancing: self.balancing,
            tables: Arc::default(),
            protocol: self.protocol,
            connect_timeout: super::LONG,
            outlier_detection: self.fuse,
        })
    }

    fn token(&self, version: &Version) -> Option<Header> {
        let value = format!("s={}.1; Path=/", version.id);
        self.affinity.then(|| Header {
            name: header::SET_COOKIE,
            value: HeaderValue::from_str(&value).unwrap(),
        })
    }
}

fn pinned((cluster, version): (&Arc<Cluster>, &Version)) -> Route {
    let token = HeaderMatcher {
        name: header::COOKIE,
        condition: HeaderMatch::Contains(format!("s={}.1", version.id).into()),
        invert: false,
    };
    route(vec![token], Action::Cluster(Arc::clone(cluster)))
}

fn route(headers: Vec<HeaderMatcher>, action: Action) -> Route {
    Route {
        path: PathMatch::Prefix("/".into()),
        headers,
        action,
        removed_request_headers: Vec::new(),
        hash: Vec::new(),
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        timeout: None,
    }
}

fn by(source: HashSource) -> HashPolicy {
    HashPolicy {
        source,
        terminal: false,
    }
}

/// A virtual host that answers by itself.
pub(super) fn answering(answer: Action) -> Arc<VirtualHost> {
    Arc::new(VirtualHost {
        name: format!("{HOST}:80").into(),
        routes: vec![route(Vec::new(), answer)],
        retry: RetryPolicy::default(),
        session_cookie: None,
    })
}

/// `virtualOutbound` with port 80; without a host it is on demand.
pub(super) fn outbound(host: Option<Arc<VirtualHost>>) -> Listener {
    let routes = Arc::new(RouteConfiguration {
        name: "80".into(),
        hosts: host
            .into_iter()
            .map(|host| (HOST.into(), Some(host)))
            .collect(),
        suffixes: Vec::new(),
        any: None,
        on_demand: true,
    });
    Listener {
        name: "virtualOutbound".into(),
        chains: vec![FilterChain {
            matches: ChainMatch {
                destination_port: Some(80),
                prefix_ranges: Vec::new(),
                http_only: true,
            },
            filter: NetworkFilter::Http(HttpConnectionManager { routes }),
        }],
        default_chain: None,
    }
}
