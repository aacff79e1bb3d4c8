use super::{Decoded, FieldError, Kind, name};
use crate::{
    model::{HashSource, HeaderMatch, Health, UpstreamProtocol},
    store::resource::{Action, Discovery, Filter, Routes},
    xds::fixture::{
        any, cluster, endpoints, fuse, number, on_demand, original_dst, outbound, seconds, tcp,
        virtual_host,
    },
};
use envoy_types::pb::{
    envoy::config::{
        cluster::v3::Cluster,
        core::v3::{HealthStatus, TransportSocket},
        endpoint::v3::ClusterLoadAssignment,
        listener::v3::Listener,
        route::v3::{
            VirtualHost, route,
            route_action::{
                ClusterSpecifier, HashPolicy,
                hash_policy::{ConnectionProperties, Cookie, CookieAttribute, PolicySpecifier},
            },
            weighted_cluster::RandomValueSpecifier,
        },
    },
    google::protobuf::{Any, BoolValue},
};
use proptest::prelude::{Strategy, any as arbitrary, proptest};
use prost::Message;
use std::{sync::Arc, time::Duration};

fn decode(kind: Kind, message: &impl Message) -> Result<Decoded, FieldError> {
    name(kind, &any(kind.type_url(), message))?.content()
}

fn refused(kind: Kind, message: &impl Message) -> String {
    decode(kind, message).unwrap_err().to_string()
}

#[test]
fn a_version_cluster_is_read_whole() {
    let mut message = cluster("outbound|80|v1|checkout.shop.svc.cluster.local");
    message.outlier_detection = Some(fuse());
    let Decoded::Cluster(cluster) = decode(Kind::Cluster, &message).unwrap() else {
        panic!("a cluster");
    };
    assert!(matches!(&cluster.discovery, Discovery::Eds(name) if *name == cluster.name));
    assert_eq!(cluster.protocol, UpstreamProtocol::SameAsDownstream);
    assert_eq!(cluster.connect_timeout, Duration::from_secs(1));
    let fuse = cluster.outlier_detection.unwrap();
    assert_eq!(fuse.consecutive_gateway_failure, Some(3));
    assert_eq!(fuse.consecutive_5xx, Some(9));
    assert_eq!(fuse.base_ejection_time, Duration::from_secs(60));
    assert_eq!(fuse.max_ejection_time, Duration::from_secs(300));
}

#[test]
fn a_threshold_that_is_not_enforced_is_none() {
    let mut message = cluster("c");
    let mut given = fuse();
    given.enforcing_consecutive_gateway_failure = None;
    given.enforcing_consecutive_5xx = Some(number(0));
    message.outlier_detection = Some(given);
    let Decoded::Cluster(cluster) = decode(Kind::Cluster, &message).unwrap() else {
        panic!("a cluster");
    };
    let fuse = cluster.outlier_detection.unwrap();
    assert_eq!(fuse.consecutive_gateway_failure, None);
    assert_eq!(fuse.consecutive_5xx, None);
}

#[test]
fn what_a_cluster_may_not_use_is_named() {
    let with = |change: fn(&mut Cluster)| {
        let mut message = cluster("c");
        change(&mut message);
        refused(Kind::Cluster, &message)
    };
    assert_eq!(
        with(|cluster| cluster.lb_policy = 7),
        "lb_policy: LOAD_BALANCING_POLICY_CONFIG is not supported"
    );
    assert_eq!(
        with(|cluster| cluster.lb_policy = 99),
        "lb_policy: 99 is not supported"
    );
    assert_eq!(
        with(|cluster| cluster.eds_cluster_config = None),
        "eds_cluster_config: is missing"
    );
    assert_eq!(
        with(|cluster| cluster.connect_timeout = Some(seconds(-1))),
        "connect_timeout: -1s 0ns is not a duration"
    );
    assert_eq!(
        with(|cluster| cluster.transport_socket = Some(TransportSocket::default())),
        "transport_socket: is not supported"
    );
    assert_eq!(
        with(|cluster| cluster.name = String::new()),
        "name: is missing"
    );
}

#[test]
fn a_static_cluster_brings_its_endpoints() {
    let mut message = original_dst("c");
    message.cluster_discovery_type = None;
    message.load_assignment = Some(endpoints("c", "v1", &[("10.0.0.1:80", 0)]));
    let Decoded::Cluster(cluster) = decode(Kind::Cluster, &message).unwrap() else {
        panic!("a cluster");
    };
    assert!(matches!(&cluster.discovery, Discovery::Inline(given) if given.endpoints.len() == 1));
}

#[test]
fn endpoints_come_by_priority_with_health_and_version() {
    let mut message = endpoints("c", "v1", &[("10.0.0.2:80", 1), ("10.0.0.1:80", 0)]);
    message.endpoints[0].lb_endpoints[0].health_status = HealthStatus::Draining.into();
    let Decoded::Assignment(assignment) = decode(Kind::Assignment, &message).unwrap() else {
        panic!("an assignment");
    };
    assert_eq!(assignment.overprovisioning_factor, 300);
    let [first, second] = assignment.endpoints.as_slice() else {
        panic!("two endpoints");
    };
    assert_eq!(first.address, "10.0.0.1:80".parse().unwrap());
    assert_eq!(first.version.as_deref(), Some("v1"));
    assert_eq!((second.priority, second.health), (1, Health::Draining));
}

#[test]
fn what_endpoints_may_not_use_is_named() {
    let with = |change: fn(&mut ClusterLoadAssignment)| {
        let mut message = endpoints("c", "v1", &[("10.0.0.1:80", 0), ("10.0.0.2:80", 0)]);
        change(&mut message);
        refused(Kind::Assignment, &message)
    };
    assert_eq!(
        with(
            |message| message.endpoints[1].lb_endpoints[0].load_balancing_weight = Some(number(0))
        ),
        "endpoints[1].lb_endpoints[0].load_balancing_weight: must be 1 or more"
    );
    assert_eq!(
        with(|message| message.endpoints[0].lb_endpoints[0].host_identifier = None),
        "endpoints[0].lb_endpoints[0].endpoint: is missing"
    );
}

#[test]
fn a_virtual_host_keeps_its_routes_in_order() {
    let message = virtual_host("checkout", &[("v2", 500), ("v1", 9_500)]);
    let Decoded::VirtualHost(host) = decode(Kind::VirtualHost, &message).unwrap() else {
        panic!("a virtual host");
    };
    assert_eq!(host.retry.num_retries, 2);
    assert!(host.retry.connect_failure && host.retry.refused_stream);
    let [token, _, split] = host.routes.as_slice() else {
        panic!("three routes");
    };
    assert_eq!(token.headers[0].name, "cookie");
    assert_eq!(
        token.headers[0].condition,
        HeaderMatch::Contains("segue-1234=token-v2.".into())
    );
    assert_eq!(token.timeout, None);
    let Action::Weighted { clusters, .. } = &split.action else {
        panic!("a split");
    };
    assert_eq!(clusters[0].weight, 500);
    assert_eq!(clusters[0].response_headers[0].name, "set-cookie");
}

fn hashed_by(specifier: Option<PolicySpecifier>) -> VirtualHost {
    let mut message = virtual_host("checkout", &[("v2", 500), ("v1", 9_500)]);
    let last = message.routes.last_mut().unwrap();
    let Some(route::Action::Route(action)) = &mut last.action else {
        panic!("a route");
    };
    action.hash_policy = vec![HashPolicy {
        policy_specifier: specifier,
        terminal: true,
    }];
    let Some(ClusterSpecifier::WeightedClusters(split)) = &mut action.cluster_specifier else {
        panic!("a split");
    };
    split.random_value_specifier = Some(RandomValueSpecifier::UseHashPolicy(BoolValue {
        value: true,
    }));
    message
}

#[test]
fn a_hash_policy_is_kept_and_what_it_may_not_use_is_named() {
    let cookie = Cookie {
        name: "user".to_owned(),
        ttl: Some(seconds(60)),
        path: "/".to_owned(),
        attributes: vec![CookieAttribute {
            name: "SameSite".to_owned(),
            value: "Lax".to_owned(),
        }],
    };
    let message = hashed_by(Some(PolicySpecifier::Cookie(cookie.clone())));
    let Decoded::VirtualHost(host) = decode(Kind::VirtualHost, &message).unwrap() else {
        panic!("a virtual host");
    };
    let route = host.routes.last().unwrap();
    assert!(matches!(
        &route.action,
        Action::Weighted { by_hash: true, .. }
    ));
    let expected = HashSource::Cookie {
        name: "user".into(),
        attributes: Some("; Path=/; SameSite=Lax; HttpOnly; Max-Age=60".into()),
    };
    assert_eq!(route.hash[0].source, expected);
    assert!(route.hash[0].terminal);
    let refusal = |specifier| refused(Kind::VirtualHost, &hashed_by(specifier));
    let field = "routes[2].route.hash_policy[0]";
    assert_eq!(
        refusal(None),
        format!("{field}.policy_specifier: is missing")
    );
    assert_eq!(
        refusal(Some(PolicySpecifier::Cookie(Cookie {
            path: "/\r\nx: y".to_owned(),
            ..cookie
        }))),
        format!("{field}.cookie: has characters that no header may have")
    );
    assert_eq!(
        refusal(Some(PolicySpecifier::ConnectionProperties(
            ConnectionProperties { source_ip: false }
        ))),
        format!("{field}.connection_properties.source_ip: must be true")
    );
}

#[test]
fn what_a_virtual_host_may_not_use_is_named() {
    let with = |change: fn(&mut VirtualHost)| {
        let mut message = virtual_host("checkout", &[("v1", 10_000)]);
        change(&mut message);
        refused(Kind::VirtualHost, &message)
    };
    assert_eq!(with(|host| host.domains.clear()), "domains: is missing");
    assert_eq!(
        with(|host| host.retry_policy.as_mut().unwrap().retry_on = "5xx".to_owned()),
        "retry_policy.retry_on: \"5xx\" is not supported"
    );
    assert_eq!(
        with(|host| host.routes[0].action = None),
        "routes[0].action: is missing"
    );
    assert_eq!(
        with(|host| host.routes[0].r#match.as_mut().unwrap().headers[0]
            .treat_missing_header_as_empty = true),
        "routes[0].match.headers[0].treat_missing_header_as_empty: is not supported"
    );
}

#[test]
fn a_listener_names_its_routes_and_its_default() {
    let Decoded::Listener(listener) = decode(Kind::Listener, &outbound(80)).unwrap() else {
        panic!("a listener");
    };
    let [http] = listener.chains.as_slice() else {
        panic!("one chain");
    };
    assert_eq!(http.matches.destination_port, Some(80));
    assert!(http.matches.http_only);
    assert!(matches!(&http.filter, Filter::Http(Routes::Named(name)) if &**name == "80"));
    assert!(matches!(
        &listener.default_chain.as_ref().unwrap().filter,
        Filter::Tcp(cluster) if &**cluster == "PassthroughCluster"
    ));
}

#[test]
fn what_a_listener_may_not_use_is_named() {
    let with = |change: fn(&mut Listener)| {
        let mut message = outbound(80);
        change(&mut message);
        refused(Kind::Listener, &message)
    };
    assert_eq!(
        with(|listener| listener.filter_chains[0].filters.push(tcp("c"))),
        "filter_chains[0].filters: 2 given; exactly one is supported"
    );
    assert_eq!(
        with(|listener| {
            let matches = listener.filter_chains[0].filter_chain_match.as_mut();
            matches.unwrap().server_names.push("a".to_owned());
        }),
        "filter_chains[0].filter_chain_match.server_names: is not supported"
    );
    assert_eq!(
        with(|listener| {
            let Some(chain) = &mut listener.default_filter_chain else {
                return;
            };
            chain.filters[0] = tcp("");
        }),
        "default_filter_chain.filters[0].typed_config.cluster: is missing"
    );
}

#[test]
fn a_route_configuration_tells_whether_hosts_are_on_demand() {
    let Decoded::RouteConfiguration(routes) =
        decode(Kind::RouteConfiguration, &on_demand("80")).unwrap()
    else {
        panic!("a route configuration");
    };
    assert!(routes.on_demand);
}

#[test]
fn a_resource_of_another_type_is_refused() {
    let error = name(Kind::Listener, &any("type", &outbound(80))).unwrap_err();
    assert!(error.to_string().starts_with("resource.type_url: "));
}

fn kinds() -> impl Strategy<Value = Kind> {
    (0..Kind::ALL.len()).prop_map(|index| Kind::ALL[index])
}

/// Good resources of every kind, to be damaged.
fn good(kind: Kind) -> Vec<u8> {
    match kind {
        Kind::Cluster => cluster("c").encode_to_vec(),
        Kind::Assignment => endpoints("c", "v1", &[("10.0.0.1:80", 0)]).encode_to_vec(),
        Kind::Listener => outbound(80).encode_to_vec(),
        Kind::RouteConfiguration => on_demand("80").encode_to_vec(),
        Kind::VirtualHost => virtual_host("checkout", &[("v1", 1)]).encode_to_vec(),
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(
        kind in kinds(),
        value in proptest::collection::vec(arbitrary::<u8>(), 0..200),
    ) {
        let any = Any { type_url: kind.type_url().to_owned(), value };
        drop(name(kind, &any).and_then(|named| named.content()));
    }

    #[test]
    fn damaged_resources_are_read_without_a_panic(
        kind in kinds(),
        at in arbitrary::<proptest::sample::Index>(),
        byte: u8,
    ) {
        let mut value = good(kind);
        let at = at.index(value.len());
        value[at] = byte;
        let any = Any { type_url: kind.type_url().to_owned(), value };
        if let Ok(Decoded::Cluster(cluster)) = name(kind, &any).and_then(|named| named.content()) {
            assert!(Arc::strong_count(&cluster) == 1);
        }
    }
}
