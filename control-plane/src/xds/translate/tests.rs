use super::{ClientKind, Node, Resource, ResourceType};
use crate::{
    model::{AppProtocol, Balancing, CookieAffinity, InstanceState, SameSite, ShiftBy},
    xds::{
        fixture::{Make, node, snapshot, world},
        snapshot::Snapshot,
    },
};
use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster::ClusterDiscoveryType},
            core::v3::{HeaderValueOption, HealthStatus},
            endpoint::v3::{ClusterLoadAssignment, lb_endpoint::HostIdentifier},
            listener::v3::{Listener, filter::ConfigType},
            route::v3::{
                Route, RouteConfiguration, VirtualHost,
                header_matcher::HeaderMatchSpecifier,
                route::Action,
                route_action::{ClusterSpecifier, HashPolicy, hash_policy::PolicySpecifier},
                weighted_cluster::RandomValueSpecifier,
            },
        },
        extensions::filters::network::{
            http_connection_manager::v3::{
                HttpConnectionManager, http_connection_manager::RouteSpecifier,
            },
            tcp_proxy::v3::{TcpProxy, tcp_proxy},
        },
        r#type::matcher::v3::string_matcher::MatchPattern,
    },
    google::protobuf::{BoolValue, Struct, UInt32Value, Value, value::Kind},
};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use prost::{Message, Name};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

fn decode<M: Message + Name + Default>(resource: &Resource) -> M {
    assert_eq!(resource.body.type_url, M::type_url());
    M::decode(resource.body.value.as_slice()).unwrap()
}

fn find<M: Message + Name + Default>(
    snapshot: &Snapshot,
    node: &Node,
    kind: ResourceType,
    name: &str,
) -> M {
    decode(&snapshot.find(node, kind, name).unwrap())
}

fn sidecar() -> Node {
    node(ClientKind::Sidecar, "shop/web-0")
}

fn envoy() -> Node {
    node(ClientKind::Envoy, "shop/web-0")
}

fn checkout() -> Make {
    let mut make = Make::http("checkout", 7, &[("v2", 500, 2), ("v1", 9500, 3)]);
    make.sessions = true;
    make.fuse = true;
    make
}

const V1: &str = "outbound|80|v1|checkout.shop.svc.cluster.local";
const V2: &str = "outbound|80|v2|checkout.shop.svc.cluster.local";

#[test]
fn a_version_has_a_cluster_whose_endpoints_come_by_eds() {
    let snapshot = snapshot(1, &[checkout()]);
    let v1: Cluster = find(&snapshot, &sidecar(), ResourceType::Cluster, V1);
    assert_eq!(v1.name, V1);
    assert_eq!(
        v1.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(3))
    );
    assert_eq!(v1.lb_policy, 1);
    assert!(v1.ignore_health_on_host_removal);
    assert_eq!(v1.outlier_detection, None);
    assert_eq!(v1.typed_extension_protocol_options.len(), 1);
    let v2: Cluster = find(&snapshot, &sidecar(), ResourceType::Cluster, V2);
    let fuse = v2.outlier_detection.unwrap();
    assert_eq!(fuse.consecutive_gateway_failure.unwrap().value, 3);
    assert_eq!(fuse.max_ejection_percent.unwrap().value, 100);
    assert_eq!(fuse.base_ejection_time, fuse.max_ejection_time);
}

#[test]
fn grpc_gets_what_it_understands() {
    let snapshot = snapshot(1, &[checkout()]);
    let grpc = node(ClientKind::Grpc, "client");
    let v2: Cluster = find(&snapshot, &grpc, ResourceType::Cluster, V2);
    assert_eq!(v2.lb_policy, 0);
    let fuse = v2.outlier_detection.unwrap();
    assert_eq!(fuse.consecutive_gateway_failure, None);
    assert!(fuse.failure_percentage_threshold.is_some());
    let name = "checkout.shop.svc.cluster.local:80";
    let listener: Listener = find(&snapshot, &grpc, ResourceType::Listener, name);
    let manager = listener.api_listener.unwrap().api_listener.unwrap();
    let manager = HttpConnectionManager::decode(manager.value.as_slice()).unwrap();
    let Some(RouteSpecifier::Rds(rds)) = manager.route_specifier else {
        panic!("no RDS")
    };
    assert_eq!(rds.route_config_name, name);
    let routes: RouteConfiguration = find(&snapshot, &grpc, ResourceType::Route, name);
    assert!(routes.virtual_hosts[0].domains.contains(&name.to_owned()));
    // Behind the one that takes all, each cluster whatever its weight: gRPC is to know it beforehand.
    let clusters = routes.virtual_hosts[0].routes.iter().skip(1).map(|route| {
        let Some(Action::Route(action)) = &route.action else {
            panic!("no route")
        };
        action.cluster_specifier.clone().unwrap()
    });
    let expected = [V2, V1].map(|name| ClusterSpecifier::Cluster(name.to_owned()));
    assert_eq!(clusters.collect::<Vec<_>>(), expected);
}

#[test]
fn endpoints_have_the_other_version_at_the_second_priority() {
    let mut make = checkout();
    make.states = vec![
        InstanceState::Ready,
        InstanceState::NotReady,
        InstanceState::Draining,
    ];
    let snapshot = snapshot(1, &[make]);
    let v2: ClusterLoadAssignment = find(&snapshot, &sidecar(), ResourceType::Endpoints, V2);
    assert_eq!(v2.cluster_name, V2);
    assert_eq!(v2.endpoints.len(), 2);
    assert_eq!(v2.endpoints[0].priority, 0);
    assert_eq!(v2.endpoints[0].locality.as_ref().unwrap().zone, "a");
    let health: Vec<i32> = v2
        .endpoints
        .iter()
        .flat_map(|l| &l.lb_endpoints)
        .map(|e| e.health_status)
        .collect();
    let expected = [
        HealthStatus::Healthy,
        HealthStatus::Unhealthy,
        HealthStatus::Draining,
        HealthStatus::Healthy,
        HealthStatus::Healthy,
    ];
    assert_eq!(health, expected.map(i32::from));
    let factor = v2.policy.unwrap().overprovisioning_factor.unwrap().value;
    assert_eq!(factor, 200);
    let metadata = v2.endpoints[1].lb_endpoints[0].metadata.as_ref().unwrap();
    let text = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let said = Struct {
        fields: HashMap::from([("version".to_owned(), text("v1"))]),
    };
    assert_eq!(metadata.filter_metadata["segue.dev"], said);
    let Some(HostIdentifier::Endpoint(named)) = &v2.endpoints[1].lb_endpoints[0].host_identifier
    else {
        panic!("an endpoint by its address");
    };
    assert_eq!(named.hostname, "shop/checkout-v1-0");
    let v1: ClusterLoadAssignment = find(&snapshot, &sidecar(), ResourceType::Endpoints, V1);
    assert!(v1.endpoints.iter().all(|l| l.priority == 0));
}

#[test]
fn the_bytes_of_endpoints_depend_on_their_content_alone() {
    let name = "outbound|3306||db.shop.svc.cluster.local";
    let encoded = || {
        let db = Make::tcp("db", 9, &[("v2", 2500, 2), ("v1", 7500, 3)]);
        let snapshot = snapshot(1, &[db]);
        let all: ClusterLoadAssignment = find(&snapshot, &sidecar(), ResourceType::Endpoints, name);
        // Decoding and encoding anew makes each map anew, with an order of its own.
        all.encode_to_vec()
    };
    let first = encoded();
    for _ in 0..16 {
        assert_eq!(encoded(), first);
    }
}

#[test]
fn opaque_tcp_is_split_by_endpoint_weights() {
    let db = Make::tcp("db", 9, &[("v2", 2500, 2), ("v1", 7500, 3), ("v0", 0, 1)]);
    let snapshot = snapshot(1, &[db]);
    let name = "outbound|3306||db.shop.svc.cluster.local";
    let all: ClusterLoadAssignment = find(&snapshot, &sidecar(), ResourceType::Endpoints, name);
    let weights: Vec<u32> = all.endpoints[0]
        .lb_endpoints
        .iter()
        .map(|e| e.load_balancing_weight.unwrap().value)
        .collect();
    assert_eq!(
        weights,
        [2_500_000, 2_500_000, 2_500_000, 1_250_000, 1_250_000]
    );
    let asked = "outbound|3306||10.96.0.9";
    let found = snapshot
        .find(&sidecar(), ResourceType::Cluster, asked)
        .unwrap();
    assert_eq!(*found.name, *name);
    let unknown = "outbound|3306||10.96.0.8";
    assert!(
        snapshot
            .find(&sidecar(), ResourceType::Cluster, unknown)
            .is_none()
    );
}

#[test]
fn sessions_are_matched_before_the_draw_and_renewed_when_due() {
    let snapshot = snapshot(1, &[checkout()]);
    let name = "80/checkout.shop";
    let host: VirtualHost = find(&snapshot, &sidecar(), ResourceType::VirtualHost, name);
    assert_eq!(host.name, "checkout.shop.svc.cluster.local:80");
    let matched: Vec<_> = host.routes[..4]
        .iter()
        .map(|route| (matched_cookie(route), route.response_headers_to_add.len()))
        .collect();
    let expected = [
        ("segue-1=token-v2.7", 0),
        ("segue-1=token-v2.", 1),
        ("segue-1=token-v1.7", 0),
        ("segue-1=token-v1.", 1),
    ];
    assert_eq!(matched, expected.map(|(text, n)| (text.to_owned(), n)));
    assert_eq!(
        split(&host.routes[4]),
        [
            (V2.to_owned(), 500, Some(cookie("token-v2.7"))),
            (V1.to_owned(), 9_500, Some(cookie("token-v1.7"))),
        ]
    );
    let Some(Action::Route(action)) = &host.routes[4].action else {
        panic!("no route")
    };
    assert_eq!(action.timeout.unwrap().seconds, 0);
}

/// What a route's cookie must contain.
fn matched_cookie(route: &Route) -> String {
    let header = &route.r#match.as_ref().unwrap().headers[0];
    assert_eq!(header.name, "cookie");
    let Some(HeaderMatchSpecifier::StringMatch(text)) = &header.header_match_specifier else {
        panic!("no string match")
    };
    let Some(MatchPattern::Contains(text)) = &text.match_pattern else {
        panic!("not contains")
    };
    text.clone()
}

fn added_cookie(headers: &[HeaderValueOption]) -> Option<String> {
    Some(headers.first()?.header.as_ref()?.value.clone())
}

/// A route's clusters with their weights and the cookies that they set.
fn split(route: &Route) -> Vec<(String, u32, Option<String>)> {
    let Some(Action::Route(action)) = &route.action else {
        panic!("no route")
    };
    match action.cluster_specifier.as_ref().unwrap() {
        ClusterSpecifier::Cluster(name) => {
            let cookie = added_cookie(&route.response_headers_to_add);
            vec![(name.clone(), 10_000, cookie)]
        }
        ClusterSpecifier::WeightedClusters(split) => split
            .clusters
            .iter()
            .map(|choice| {
                let cookie = added_cookie(&choice.response_headers_to_add);
                (choice.name.clone(), choice.weight.unwrap().value, cookie)
            })
            .collect(),
        _ => panic!("unexpected"),
    }
}

/// The hash policies of the draw, and how it draws.
fn drawn_by(shift: Option<ShiftBy>) -> (Vec<HashPolicy>, Option<RandomValueSpecifier>) {
    let make = Make {
        shift,
        ..Make::http("checkout", 1, &[("v2", 500, 1), ("v1", 9_500, 1)])
    };
    let snapshot = snapshot(1, &[make]);
    let kind = ResourceType::VirtualHost;
    let host: VirtualHost = find(&snapshot, &sidecar(), kind, "80/checkout.shop");
    let [route] = host.routes.as_slice() else {
        panic!("one route: nothing is pinned")
    };
    let weights: Vec<u32> = split(route).iter().map(|choice| choice.1).collect();
    assert_eq!(weights, [500, 9_500], "the new version stands first");
    let Some(Action::Route(action)) = route.action.clone() else {
        panic!("no route")
    };
    let Some(ClusterSpecifier::WeightedClusters(split)) = action.cluster_specifier else {
        panic!("no split")
    };
    (action.hash_policy, split.random_value_specifier)
}

#[test]
fn what_tells_users_apart_is_a_hash_policy() {
    assert_eq!(drawn_by(None), (Vec::new(), None));
    let hashed = |shift| {
        let (policies, random) = drawn_by(Some(shift));
        let by_hash = RandomValueSpecifier::UseHashPolicy(BoolValue { value: true });
        assert_eq!(random, Some(by_hash));
        policies[0].policy_specifier.clone().unwrap()
    };
    let PolicySpecifier::Header(header) = hashed(ShiftBy::Header("x-user".to_owned())) else {
        panic!("a header")
    };
    assert_eq!(header.header_name, "x-user");
    let PolicySpecifier::ConnectionProperties(properties) = hashed(ShiftBy::SourceIp) else {
        panic!("the address")
    };
    assert!(properties.source_ip);
    let cookie = ShiftBy::Cookie(CookieAffinity {
        name: "user".to_owned(),
        path: "/".to_owned(),
        ttl: Duration::from_secs(60),
        same_site: SameSite::Lax,
        secure: true,
        epoch: 0,
    });
    let PolicySpecifier::Cookie(cookie) = hashed(cookie) else {
        panic!("a cookie")
    };
    assert_eq!((&*cookie.name, &*cookie.path), ("user", "/"));
    assert_eq!(cookie.ttl.unwrap().seconds, 60);
    let attributes = cookie.attributes.iter();
    let attributes: Vec<_> = attributes.map(|one| (&*one.name, &*one.value)).collect();
    assert_eq!(attributes, [("SameSite", "Lax"), ("Secure", "")]);
}

/// The routes of `checkout`, as (what the cookie must contain, where to), the draw last.
type Routes = Vec<(Option<String>, Vec<(String, u32, Option<String>)>)>;

fn routes_of(make: Make) -> Routes {
    let snapshot = snapshot(1, &[make]);
    let host: VirtualHost = find(
        &snapshot,
        &sidecar(),
        ResourceType::VirtualHost,
        "80/checkout.shop",
    );
    let (last, pinned) = host.routes.split_last().unwrap();
    pinned
        .iter()
        .map(|route| (Some(matched_cookie(route)), split(route)))
        .chain([(None, split(last))])
        .collect()
}

fn cookie(session: &str) -> String {
    format!("segue-1={session}; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax")
}

const CONTROL: &str = "outbound|80|v1.control|checkout.shop.svc.cluster.local";

#[test]
fn what_is_drawn_for_a_control_group_goes_to_its_cluster_and_stays_there() {
    let routes = routes_of(Make {
        control: true,
        ..checkout()
    });
    let to =
        |name: &str, session: Option<&str>| vec![(name.to_owned(), 10_000, session.map(cookie))];
    let pinned = |contains: &str, target| (Some(format!("segue-1={contains}")), target);
    let expected = vec![
        pinned("token-v2.7", to(V2, None)),
        pinned("token-v2.", to(V2, Some("token-v2.7"))),
        pinned("token-v1.c0ffee00.7", to(CONTROL, None)),
        pinned(
            "token-v1.c0ffee00.",
            to(CONTROL, Some("token-v1.c0ffee00.7")),
        ),
        pinned("token-v1.7", to(V1, None)),
        // Marks of earlier runs too: they fade.
        pinned("token-v1.", to(V1, Some("token-v1.7"))),
        (
            None,
            vec![
                (V2.to_owned(), 500, Some(cookie("token-v2.7"))),
                (
                    CONTROL.to_owned(),
                    9_500,
                    Some(cookie("token-v1.c0ffee00.7")),
                ),
            ],
        ),
    ];
    assert_eq!(routes, expected);
}

#[test]
fn a_control_group_has_the_endpoints_of_its_version() {
    let snapshot = snapshot(
        1,
        &[Make {
            control: true,
            ..checkout()
        }],
    );
    for node in [sidecar(), envoy()] {
        let own: Cluster = find(&snapshot, &node, ResourceType::Cluster, V1);
        let group: Cluster = find(&snapshot, &node, ResourceType::Cluster, CONTROL);
        let named = Cluster {
            name: CONTROL.to_owned(),
            ..own
        };
        assert_eq!(group, named);
        let own: ClusterLoadAssignment = find(&snapshot, &node, ResourceType::Endpoints, V1);
        let group: ClusterLoadAssignment = find(&snapshot, &node, ResourceType::Endpoints, CONTROL);
        assert_eq!(group.endpoints, own.endpoints);
        assert_eq!(group.policy, own.policy);
        for kind in [ResourceType::Cluster, ResourceType::Endpoints] {
            let service = snapshot.service_of(&node, kind, CONTROL).unwrap();
            assert_eq!(service.to_string(), "shop/checkout");
            let all = snapshot.all(&node, kind);
            assert!(all.iter().any(|resource| *resource.name == *CONTROL));
        }
    }
}

#[test]
fn proxyless_clients_are_not_sent_to_a_control_group() {
    let snapshot = snapshot(
        1,
        &[Make {
            control: true,
            ..checkout()
        }],
    );
    let grpc = node(ClientKind::Grpc, "client");
    let name = "checkout.shop.svc.cluster.local:80";
    let routes: RouteConfiguration = find(&snapshot, &grpc, ResourceType::Route, name);
    let expected = [(V2.to_owned(), 500, None), (V1.to_owned(), 9_500, None)];
    assert_eq!(split(&routes.virtual_hosts[0].routes[0]), expected);
}

#[test]
fn sessions_that_are_let_go_are_moved_for_good() {
    let routes = routes_of(Make {
        control: true,
        released: 2_500,
        ..checkout()
    });
    let back = || (V1.to_owned(), 2_500, Some(cookie("token-v1.7")));
    let of_v2 = vec![
        (
            Some("segue-1=token-v2.7".to_owned()),
            vec![(V2.to_owned(), 7_500, None), back()],
        ),
        (
            Some("segue-1=token-v2.".to_owned()),
            vec![(V2.to_owned(), 7_500, Some(cookie("token-v2.7"))), back()],
        ),
    ];
    assert_eq!(routes[..2], of_v2);
    let of_v1 = &routes[2..6];
    assert!(of_v1.iter().all(|(_, targets)| targets.len() == 1));
}

#[test]
fn nothing_is_let_go_to_a_version_that_could_not_hold_it() {
    let mut view = (*Make {
        released: 2_500,
        ..checkout()
    }
    .view())
    .clone();
    view.versions[1].token = None;
    let snapshot = Snapshot::build(world(1, &[Arc::new(view)]), None);
    let host: VirtualHost = find(
        &snapshot,
        &sidecar(),
        ResourceType::VirtualHost,
        "80/checkout.shop",
    );
    assert_eq!(split(&host.routes[0]), [(V2.to_owned(), 10_000, None)]);
}

#[test]
fn a_host_is_found_by_every_name_that_callers_use() {
    let snapshot = snapshot(1, &[checkout()]);
    let find = |node: &Node, host: &str| {
        snapshot.find(node, ResourceType::VirtualHost, &format!("80/{host}"))
    };
    for host in [
        "checkout",
        "checkout.shop",
        "checkout.shop.svc",
        "checkout.shop.svc.cluster.local",
        "10.96.0.7",
    ] {
        assert!(find(&sidecar(), host).is_some(), "{host}");
    }
    let mut foreign = sidecar();
    foreign.namespace = "other".to_owned();
    assert!(find(&foreign, "checkout").is_none());
    let host: VirtualHost = decode(&find(&foreign, "checkout.shop").unwrap());
    assert!(!host.domains.contains(&"checkout".to_owned()));
    assert!(find(&sidecar(), "nobody").is_none());
    let wrong_port = "81/checkout";
    assert!(
        snapshot
            .find(&sidecar(), ResourceType::VirtualHost, wrong_port)
            .is_none()
    );
}

#[test]
fn our_sidecar_asks_on_demand_and_envoy_is_told_everything() {
    let db = Make::tcp("db", 9, &[("v1", 10_000, 1)]);
    let snapshot = snapshot(1, &[checkout(), db]);
    let on_demand: RouteConfiguration = find(&snapshot, &sidecar(), ResourceType::Route, "80");
    assert!(on_demand.vhds.is_some() && on_demand.virtual_hosts.is_empty());
    let full: RouteConfiguration = find(&snapshot, &envoy(), ResourceType::Route, "80");
    assert!(full.vhds.is_none());
    assert_eq!(full.virtual_hosts.len(), 2);
    let chains = |node: &Node| {
        let name = "virtualOutbound";
        let listener: Listener = find(&snapshot, node, ResourceType::Listener, name);
        listener.filter_chains.len()
    };
    assert_eq!((chains(&sidecar()), chains(&envoy())), (1, 3));
    let names: BTreeSet<String> = snapshot
        .all(&envoy(), ResourceType::Cluster)
        .iter()
        .map(|r| r.name.to_string())
        .collect();
    assert_eq!(names.len(), 5);
}

/// Envoy takes a client that says nothing for 100 ms for an opaque one.
#[test]
fn an_address_of_http_is_http_also_where_the_client_is_slow() {
    let snapshot = snapshot(1, &[checkout()]);
    let listener: Listener = find(
        &snapshot,
        &envoy(),
        ResourceType::Listener,
        "virtualOutbound",
    );
    let chains = listener.filter_chains.iter();
    let of_addresses: Vec<(String, bool)> = chains
        .filter_map(|chain| {
            let matched = chain.filter_chain_match.as_ref().unwrap();
            let range = matched.prefix_ranges.first()?;
            assert_eq!(range.prefix_len, Some(UInt32Value { value: 32 }));
            assert_eq!(matched.destination_port, Some(UInt32Value { value: 80 }));
            let is_http = chain.filters[0].name.ends_with("http_connection_manager");
            assert!(matched.application_protocols.is_empty());
            Some((range.address_prefix.clone(), is_http))
        })
        .collect();
    let address = snapshot.world().services.values().next().unwrap();
    let address = address.service.cluster_ip.unwrap().to_string();
    assert_eq!(of_addresses, [(address, true)]);
}

#[test]
fn a_pod_gets_the_inbound_listener_of_what_it_serves() {
    let snapshot = snapshot(1, &[checkout()]);
    let own = node(ClientKind::Sidecar, "shop/checkout-v1-0");
    let name = "virtualInbound";
    let listener: Listener = find(&snapshot, &own, ResourceType::Listener, name);
    let matches: Vec<_> = listener
        .filter_chains
        .iter()
        .map(|chain| {
            let m = chain.filter_chain_match.as_ref().unwrap();
            (
                m.destination_port.unwrap().value,
                m.application_protocols.len(),
            )
        })
        .collect();
    assert_eq!(matches, [(8080, 2), (8080, 0)]);
    let Some(ConfigType::TypedConfig(tcp)) = &listener.filter_chains[1].filters[0].config_type
    else {
        panic!("no filter")
    };
    let tcp = TcpProxy::decode(tcp.value.as_slice()).unwrap();
    let inbound = "inbound|8080||";
    assert_eq!(
        tcp.cluster_specifier,
        Some(tcp_proxy::ClusterSpecifier::Cluster(inbound.to_owned()))
    );
    let cluster: Cluster = find(&snapshot, &own, ResourceType::Cluster, inbound);
    assert_eq!(
        cluster.cluster_discovery_type,
        Some(ClusterDiscoveryType::Type(4))
    );
    assert!(
        snapshot
            .find(&sidecar(), ResourceType::Listener, name)
            .is_none()
    );
    let checks = snapshot.health_checks(&own).unwrap();
    assert_eq!(checks.cluster_health_checks[0].cluster_name, inbound);
    // Without a probe of its own it is checked as often as the policy says.
    let check = &checks.cluster_health_checks[0].health_checks[0];
    assert_eq!(check.interval.map(|every| every.seconds), Some(2));
    // Three that fail are over within three intervals and a time-out: each ends before the next.
    let next = check.unhealthy_interval.unwrap();
    assert_eq!((next.seconds, next.nanos), (1, 800_000_000));
    assert_eq!(check.timeout.map(|timeout| timeout.seconds), Some(1));
    assert_eq!(checks.interval.map(|every| every.seconds), Some(2));
}

#[test]
fn an_unchanged_service_keeps_its_encoded_resources() {
    let (a, b) = (
        checkout().view(),
        Make::tcp("db", 9, &[("v1", 10_000, 1)]).view(),
    );
    let first = Snapshot::build(world(1, &[a.clone(), b]), None);
    let changed = Make::tcp("db", 9, &[("v1", 10_000, 2)]).view();
    let second = Snapshot::build(world(2, &[a, changed]), Some(&first));
    let get =
        |snapshot: &Snapshot, kind, name: &str| snapshot.find(&sidecar(), kind, name).unwrap();
    let kind = ResourceType::Endpoints;
    assert!(Arc::ptr_eq(&get(&first, kind, V1), &get(&second, kind, V1)));
    let db = "outbound|3306||db.shop.svc.cluster.local";
    assert_ne!(
        get(&first, kind, db).version,
        get(&second, kind, db).version
    );
    let kind = ResourceType::Cluster;
    assert_eq!(
        get(&first, kind, db).version,
        get(&second, kind, db).version
    );
}

fn services() -> impl Strategy<Value = Vec<Make>> {
    let versions = proptest::collection::vec((0_u16..=100, 0_u8..4), 1..4);
    let of_run = (any::<bool>(), any::<bool>(), 0_u16..=10_000);
    let service = (versions, any::<bool>(), of_run, 0_u8..3);
    proptest::collection::vec(service, 0..5).prop_map(|services| {
        (0_u8..)
            .zip(services)
            .map(
                |(i, (shares, sessions, (fuse, control, released), protocol))| {
                    let total: u32 = shares.iter().map(|(w, _)| u32::from(*w)).sum();
                    let mut left = 10_000;
                    let mut versions = Vec::new();
                    for (v, (share, instances)) in shares.iter().enumerate() {
                        let last = v + 1 == shares.len();
                        let exact = u32::from(*share) * 10_000 / total.max(1);
                        let weight = if last {
                            left
                        } else {
                            u16::try_from(exact).unwrap()
                        };
                        left -= weight;
                        versions.push((format!("v{}", shares.len() - v), weight, *instances));
                    }
                    Make {
                        placed: sessions || released % 2 == 0,
                        name: format!("s{i}"),
                        ip: i,
                        ports: vec![match protocol {
                            0 => (80, 8080, AppProtocol::Http),
                            1 => (90, 9090, AppProtocol::Http2),
                            _ => (3306, 3306, AppProtocol::Tcp),
                        }],
                        versions,
                        sessions,
                        fuse,
                        control,
                        released,
                        states: Vec::new(),
                        shift: None,
                        balancing: Balancing::default(),
                    }
                },
            )
            .collect()
    })
}

/// The clusters that a virtual host names, with the sum of each split.
fn targets(host: &VirtualHost) -> (BTreeSet<String>, Vec<u32>) {
    let (mut names, mut sums) = (BTreeSet::new(), Vec::new());
    for route in &host.routes {
        let Some(Action::Route(action)) = &route.action else {
            continue;
        };
        match action.cluster_specifier.as_ref().unwrap() {
            ClusterSpecifier::Cluster(name) => {
                names.insert(name.clone());
            }
            ClusterSpecifier::WeightedClusters(split) => {
                names.extend(split.clusters.iter().map(|c| c.name.clone()));
                sums.push(split.clusters.iter().map(|c| c.weight.unwrap().value).sum());
            }
            _ => panic!("unexpected"),
        }
    }
    (names, sums)
}

proptest! {
    #[test]
    fn every_cluster_that_a_route_names_exists_and_splits_are_whole(services in services()) {
        let snapshot = snapshot(1, &services);
        for node in [sidecar(), envoy(), node(ClientKind::Grpc, "g")] {
            for routes in snapshot.all(&envoy(), ResourceType::Route) {
                let routes: RouteConfiguration = decode(&routes);
                let mut domains = BTreeSet::new();
                for host in &routes.virtual_hosts {
                    for domain in &host.domains {
                        prop_assert!(domains.insert(domain.clone()), "{domain} twice");
                    }
                    let (names, sums) = targets(host);
                    prop_assert!(sums.iter().all(|sum| *sum == 10_000));
                    for name in names {
                        prop_assert!(snapshot.find(&node, ResourceType::Cluster, &name).is_some());
                    }
                }
            }
            for cluster in snapshot.all(&node, ResourceType::Cluster) {
                let message: Cluster = decode(&cluster);
                if message.eds_cluster_config.is_some() {
                    let kind = ResourceType::Endpoints;
                    prop_assert!(snapshot.find(&node, kind, &cluster.name).is_some());
                }
            }
        }
    }

    #[test]
    fn equal_content_has_equal_versions_whatever_the_generation(services in services()) {
        let (one, two) = (snapshot(1, &services), snapshot(2, &services));
        for kind in ResourceType::ALL {
            let versions = |s: &Snapshot| -> Vec<(String, String)> {
                s.all(&envoy(), kind)
                    .iter()
                    .map(|r| (r.name.to_string(), r.version.to_string()))
                    .collect()
            };
            prop_assert_eq!(versions(&one), versions(&two));
        }
    }
}
