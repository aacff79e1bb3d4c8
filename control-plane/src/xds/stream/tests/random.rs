//! Clients that do what the protocol allows, at any moment it allows it. They always settle, and
//! never hold a route to a cluster that they lack.

use crate::{
    model::Generation,
    xds::{
        fixture::{Make, node, snapshot},
        snapshot::Snapshot,
        stream::{Client, Variant, delta, state_of_the_world},
        translate::{ClientKind, ResourceType},
    },
};
use envoy_types::pb::envoy::{
    config::{
        cluster::v3::Cluster,
        endpoint::v3::ClusterLoadAssignment,
        route::v3::{
            RouteConfiguration, VirtualHost, route::Action, route_action::ClusterSpecifier,
        },
    },
    service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    },
};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_oneof, proptest};
use prost::Message;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// What happens next.
#[derive(Clone, Debug)]
enum Event {
    /// The world changes: per service its versions' weights, whether there are fuses, and control
    /// groups.
    World(Vec<Vec<u16>>, bool, bool),
    /// The client reads a response.
    Read,
    /// The server reads a request.
    Serve,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let service = prop_oneof![
        Just(vec![10_000]),
        Just(vec![0, 10_000]),
        (0_u16..=10_000).prop_map(|share| vec![share, 10_000 - share]),
        Just(vec![]),
    ];
    let services = proptest::collection::vec(service, 1..3);
    let world = (services, any::<bool>(), any::<bool>())
        .prop_map(|(services, fuse, control)| Event::World(services, fuse, control));
    let event = prop_oneof![2 => world, 5 => Just(Event::Read), 5 => Just(Event::Serve)];
    proptest::collection::vec(event, 1..80)
}

fn make(generation: u64, services: &[Vec<u16>], fuse: bool, control: bool) -> Arc<Snapshot> {
    let makes: Vec<Make> = (0_u8..)
        .zip(services)
        .map(|(i, weights)| {
            let names = ["b", "a"];
            let versions: Vec<(&str, u16, u8)> = weights
                .iter()
                .zip(&names[2 - weights.len()..])
                .map(|(weight, name)| (*name, *weight, 1))
                .collect();
            let mut make = Make::http(&format!("s{i}"), i, &versions);
            make.fuse = fuse;
            make.sessions = true;
            make.control = control;
            make
        })
        .collect();
    snapshot(generation, &makes)
}

/// The clusters that a virtual host names.
fn named(host: &VirtualHost) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for route in &host.routes {
        if let Some(Action::Route(action)) = &route.action {
            match action.cluster_specifier.as_ref().unwrap() {
                ClusterSpecifier::Cluster(name) => drop(names.insert(name.clone())),
                ClusterSpecifier::WeightedClusters(split) => {
                    names.extend(split.clusters.iter().map(|c| c.name.clone()));
                }
                _ => panic!("unexpected"),
            }
        }
    }
    names
}

/// What a client has, whatever variant it came by.
#[derive(Debug, Default)]
struct Config {
    /// EDS clusters and others.
    clusters: BTreeMap<String, bool>,
    endpoints: BTreeSet<String>,
    /// By resource, the clusters that it names.
    routes: BTreeMap<String, BTreeSet<String>>,
}

impl Config {
    fn take(&mut self, kind: ResourceType, body: &[u8]) {
        match kind {
            ResourceType::Cluster => {
                let cluster = Cluster::decode(body).unwrap();
                let eds = cluster.eds_cluster_config.is_some();
                self.clusters.insert(cluster.name, eds);
            }
            ResourceType::Endpoints => {
                let endpoints = ClusterLoadAssignment::decode(body).unwrap();
                self.endpoints.insert(endpoints.cluster_name);
            }
            ResourceType::Route => {
                let routes = RouteConfiguration::decode(body).unwrap();
                let names = routes.virtual_hosts.iter().flat_map(named).collect();
                self.routes.insert(routes.name, names);
            }
            ResourceType::Listener | ResourceType::VirtualHost => {}
        }
    }

    fn eds_names(&self) -> BTreeSet<String> {
        let eds = self.clusters.iter().filter(|(_, eds)| **eds);
        eds.map(|(name, _)| name.clone()).collect()
    }

    fn check(&self) {
        for name in self.routes.values().flatten() {
            assert!(self.clusters.contains_key(name), "no cluster {name}");
            let eds = self.clusters[name];
            assert!(!eds || self.endpoints.contains(name), "{name} is cold");
        }
    }
}

/// An Envoy in either variant.
struct Envoy {
    server: Client,
    snapshot: Arc<Snapshot>,
    config: Config,
    subscribed: BTreeSet<String>,
    sotw: VecDeque<DiscoveryRequest>,
    sotw_responses: VecDeque<DiscoveryResponse>,
    delta: VecDeque<DeltaDiscoveryRequest>,
    delta_responses: VecDeque<DeltaDiscoveryResponse>,
    /// State of the world: the newest nonce and version of each type.
    newest: BTreeMap<ResourceType, (String, String)>,
    ready: bool,
}

impl Envoy {
    fn new(variant: Variant) -> Self {
        let snapshot = make(1, &[vec![10_000]], false, false);
        let node = node(ClientKind::Envoy, "shop/web-0");
        let mut envoy = Self {
            server: Client::new(variant, 1, node, None, snapshot.clone()),
            snapshot,
            config: Config::default(),
            subscribed: BTreeSet::new(),
            sotw: VecDeque::new(),
            sotw_responses: VecDeque::new(),
            delta: VecDeque::new(),
            delta_responses: VecDeque::new(),
            newest: BTreeMap::new(),
            ready: false,
        };
        envoy.request(ResourceType::Cluster, &BTreeSet::new());
        envoy.run();
        envoy.request(ResourceType::Listener, &BTreeSet::new());
        envoy.run();
        let routes = BTreeSet::from(["80".to_owned()]);
        envoy.request(ResourceType::Route, &routes);
        envoy.run();
        envoy.ready = true;
        envoy
    }

    fn variant(&self) -> Variant {
        self.server.variant
    }

    fn request(&mut self, kind: ResourceType, names: &BTreeSet<String>) {
        match self.variant() {
            Variant::StateOfTheWorld => {
                let (nonce, version) = self.newest.get(&kind).cloned().unwrap_or_default();
                self.sotw.push_back(DiscoveryRequest {
                    type_url: kind.url().to_owned(),
                    resource_names: names.iter().cloned().collect(),
                    response_nonce: nonce,
                    version_info: version,
                    ..DiscoveryRequest::default()
                });
            }
            Variant::Delta => {
                let known = match kind {
                    ResourceType::Endpoints => self.subscribed.clone(),
                    _ => BTreeSet::new(),
                };
                self.delta.push_back(DeltaDiscoveryRequest {
                    type_url: kind.url().to_owned(),
                    resource_names_subscribe: names.difference(&known).cloned().collect(),
                    resource_names_unsubscribe: known.difference(names).cloned().collect(),
                    ..DeltaDiscoveryRequest::default()
                });
            }
        }
    }

    fn names(&self, kind: ResourceType) -> BTreeSet<String> {
        match kind {
            ResourceType::Endpoints => self.subscribed.clone(),
            ResourceType::Route => BTreeSet::from(["80".to_owned()]),
            _ => BTreeSet::new(),
        }
    }

    fn serve(&mut self) -> bool {
        if let Some(request) = self.sotw.pop_front() {
            let responses =
                state_of_the_world::on_request(&mut self.server, &self.snapshot, &request);
            self.sotw_responses.extend(responses.unwrap());
        } else if let Some(request) = self.delta.pop_front() {
            let responses = delta::on_request(&mut self.server, &self.snapshot, &request);
            self.delta_responses.extend(responses.unwrap());
        } else {
            return false;
        }
        true
    }

    fn read(&mut self) -> bool {
        let kind;
        if let Some(response) = self.sotw_responses.pop_front() {
            kind = ResourceType::from_url(&response.type_url).unwrap();
            if kind == ResourceType::Cluster {
                self.config.clusters.clear();
            }
            for any in &response.resources {
                self.config.take(kind, &any.value);
            }
            self.newest.insert(
                kind,
                (response.nonce.clone(), response.version_info.clone()),
            );
            self.request(kind, &self.names(kind));
        } else if let Some(response) = self.delta_responses.pop_front() {
            kind = ResourceType::from_url(&response.type_url).unwrap();
            for resource in &response.resources {
                let body = &resource.resource.as_ref().unwrap().value;
                self.config.take(kind, body);
            }
            for name in &response.removed_resources {
                match kind {
                    ResourceType::Cluster => drop(self.config.clusters.remove(name)),
                    ResourceType::Endpoints => drop(self.config.endpoints.remove(name)),
                    ResourceType::Route => drop(self.config.routes.remove(name)),
                    _ => {}
                }
            }
            self.delta.push_back(DeltaDiscoveryRequest {
                type_url: response.type_url,
                response_nonce: response.nonce,
                ..DeltaDiscoveryRequest::default()
            });
        } else {
            return false;
        }
        if kind == ResourceType::Cluster {
            let wanted = self.config.eds_names();
            if wanted != self.subscribed {
                self.request(ResourceType::Endpoints, &wanted);
                self.config.endpoints.retain(|name| wanted.contains(name));
                self.subscribed = wanted;
            }
        }
        if self.ready {
            self.config.check();
        }
        true
    }

    fn see(&mut self, snapshot: Arc<Snapshot>) {
        self.snapshot = snapshot;
        match self.variant() {
            Variant::StateOfTheWorld => {
                let responses = state_of_the_world::on_snapshot(&mut self.server, &self.snapshot);
                self.sotw_responses.extend(responses);
            }
            Variant::Delta => {
                let responses = delta::on_snapshot(&mut self.server, &self.snapshot);
                self.delta_responses.extend(responses);
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..1000 {
            let served = self.serve();
            let read = self.read();
            if !served && !read {
                return;
            }
        }
        panic!("they never come to rest");
    }
}

fn play(variant: Variant, events: &[Event]) {
    let mut envoy = Envoy::new(variant);
    let mut generation = 1;
    for event in events {
        match event {
            Event::World(services, fuse, control) => {
                generation += 1;
                envoy.see(make(generation, services, *fuse, *control));
            }
            Event::Read => drop(envoy.read()),
            Event::Serve => drop(envoy.serve()),
        }
        let state = envoy.server.state();
        assert!(state.acked <= Generation(generation));
    }
    envoy.run();
    let state = envoy.server.state();
    assert_eq!(state.acked, Generation(generation), "{state:#?}");
    assert!(state.nacks.is_empty());
    let all = envoy
        .snapshot
        .all(&envoy.server.node, ResourceType::Cluster);
    let expected: BTreeSet<String> = all.iter().map(|r| r.name.to_string()).collect();
    let has: BTreeSet<String> = envoy.config.clusters.keys().cloned().collect();
    assert_eq!(has, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_delta_client_always_settles_and_never_lacks_a_cluster(events in events()) {
        play(Variant::Delta, &events);
    }

    #[test]
    fn a_state_of_the_world_client_always_settles_and_never_lacks_a_cluster(events in events()) {
        play(Variant::StateOfTheWorld, &events);
    }
}
