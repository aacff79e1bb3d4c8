//! Listeners: what to do with a connection, by where it was going.
//!
//! No listener changes in an upgrade: they name ports and services, never versions.

use super::{
    ClientKind, Resource,
    wrap::{address, ads, duration, number, truth},
};
use crate::model::ServiceKey;
use envoy_types::{
    pb::envoy::{
        config::{
            core::v3::{CidrRange, TrafficDirection},
            listener::v3::{
                ApiListener, Filter, FilterChain, FilterChainMatch, Listener, ListenerFilter,
                filter, listener_filter,
            },
        },
        extensions::filters::{
            http::router::v3::Router,
            listener::{
                http_inspector::v3::HttpInspector, original_dst::v3::OriginalDst,
                tls_inspector::v3::TlsInspector,
            },
            network::{
                http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, Rds,
                    http_connection_manager::RouteSpecifier, http_filter,
                },
                tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier},
            },
        },
    },
    util::pack_any,
};
use segue_proto::names::{self, ClusterName};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

const OUTBOUND_PORT: u16 = 15_001;
const INBOUND_PORT: u16 = 15_006;
/// How long a client may be silent before its connection counts as opaque: in some protocols the
/// server speaks first.
const DETECT_TIMEOUT: Duration = Duration::from_millis(100);

/// Where the mesh's services are reached.
#[derive(Debug, Default)]
pub struct Destinations {
    /// Ports where HTTP is spoken.
    pub http_ports: BTreeSet<u16>,
    /// Addresses of services at which nothing but HTTP is spoken.
    pub http: BTreeSet<(IpAddr, u16)>,
    /// Addresses of opaque TCP services, and their clusters.
    pub tcp: BTreeMap<(IpAddr, u16), Arc<str>>,
}

/// The listener that redirected outbound connections reach.
pub fn outbound(kind: ClientKind, to: &Destinations) -> Arc<Resource> {
    let mut chains: Vec<FilterChain> = to
        .http_ports
        .iter()
        .map(|port| http_chain(*port, &format!("outbound_{port}"), routes_of(*port)))
        .collect();
    // Our sidecar asks for opaque destinations when it meets one, and waits for who speaks first.
    if kind != ClientKind::Sidecar {
        // Envoy takes a client that is silent for DETECT_TIMEOUT for an opaque one, and an address of the
        // mesh leads nowhere as it is.
        chains.extend(to.http.iter().map(|(ip, port)| FilterChain {
            filter_chain_match: Some(only(*ip, *port)),
            ..http_chain(*port, &format!("outbound_{port}"), routes_of(*port))
        }));
        chains.extend(to.tcp.iter().map(|((ip, port), cluster)| FilterChain {
            filter_chain_match: Some(only(*ip, *port)),
            ..tcp_chain(cluster)
        }));
    }
    let listener = Listener {
        address: Some(address(Ipv4Addr::LOCALHOST.into(), OUTBOUND_PORT)),
        traffic_direction: TrafficDirection::Outbound.into(),
        ..redirected(names::VIRTUAL_OUTBOUND, chains)
    };
    Resource::new(names::VIRTUAL_OUTBOUND, &listener, Vec::new())
}

fn routes_of(port: u16) -> RouteSpecifier {
    RouteSpecifier::Rds(Rds {
        config_source: Some(ads()),
        route_config_name: port.to_string(),
    })
}

/// One address and port, whatever is spoken there.
fn only(ip: IpAddr, port: u16) -> FilterChainMatch {
    FilterChainMatch {
        destination_port: Some(number(port.into())),
        prefix_ranges: vec![host_range(ip)],
        ..FilterChainMatch::default()
    }
}

/// The listener that redirected inbound connections reach. `ports`: what the Pod serves, and
/// whether that is HTTP.
pub fn inbound(ports: &BTreeMap<u16, bool>) -> Arc<Resource> {
    let mut chains = Vec::new();
    for (port, http) in ports {
        let cluster = ClusterName::Inbound { port: *port }.to_string();
        if *http {
            // Not inline: they change in an upgrade.
            let routes = RouteSpecifier::Rds(Rds {
                config_source: Some(ads()),
                route_config_name: cluster.clone(),
            });
            chains.push(http_chain(*port, &format!("inbound_{port}"), routes));
        }
        let mut chain = tcp_chain(&cluster);
        chain.filter_chain_match = Some(FilterChainMatch {
            destination_port: Some(number((*port).into())),
            ..FilterChainMatch::default()
        });
        chains.push(chain);
    }
    let listener = Listener {
        address: Some(address(Ipv4Addr::UNSPECIFIED.into(), INBOUND_PORT)),
        traffic_direction: TrafficDirection::Inbound.into(),
        ..redirected(names::VIRTUAL_INBOUND, chains)
    };
    Resource::new(names::VIRTUAL_INBOUND, &listener, Vec::new())
}

/// The listener of a gRPC client without a proxy: a name and its route configuration.
pub fn api(name: &str, service: ServiceKey) -> Arc<Resource> {
    let routes = RouteSpecifier::Rds(Rds {
        config_source: Some(ads()),
        route_config_name: name.to_owned(),
    });
    let listener = Listener {
        name: name.to_owned(),
        api_listener: Some(ApiListener {
            api_listener: Some(pack_any(connection_manager(name, routes))),
        }),
        ..Listener::default()
    };
    Resource::new(name, &listener, vec![service])
}

fn redirected(name: &str, filter_chains: Vec<FilterChain>) -> Listener {
    Listener {
        name: name.to_owned(),
        use_original_dst: Some(truth(true)),
        listener_filters: vec![
            listener_filter(
                "envoy.filters.listener.original_dst",
                pack_any(OriginalDst {}),
            ),
            listener_filter(
                "envoy.filters.listener.tls_inspector",
                pack_any(TlsInspector::default()),
            ),
            listener_filter(
                "envoy.filters.listener.http_inspector",
                pack_any(HttpInspector {}),
            ),
        ],
        listener_filters_timeout: Some(duration(DETECT_TIMEOUT)),
        continue_on_listener_filters_timeout: true,
        filter_chains,
        default_filter_chain: Some(tcp_chain(names::PASSTHROUGH_CLUSTER)),
        ..Listener::default()
    }
}

fn listener_filter(name: &str, config: envoy_types::pb::google::protobuf::Any) -> ListenerFilter {
    ListenerFilter {
        name: name.to_owned(),
        config_type: Some(listener_filter::ConfigType::TypedConfig(config)),
        ..ListenerFilter::default()
    }
}

fn http_chain(port: u16, stat_prefix: &str, routes: RouteSpecifier) -> FilterChain {
    FilterChain {
        filter_chain_match: Some(FilterChainMatch {
            destination_port: Some(number(port.into())),
            application_protocols: vec!["http/1.1".to_owned(), "h2c".to_owned()],
            ..FilterChainMatch::default()
        }),
        filters: vec![Filter {
            name: "envoy.filters.network.http_connection_manager".to_owned(),
            config_type: Some(filter::ConfigType::TypedConfig(pack_any(
                connection_manager(stat_prefix, routes),
            ))),
        }],
        ..FilterChain::default()
    }
}

fn tcp_chain(cluster: &str) -> FilterChain {
    let proxy = TcpProxy {
        stat_prefix: cluster.to_owned(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..TcpProxy::default()
    };
    FilterChain {
        filters: vec![Filter {
            name: "envoy.filters.network.tcp_proxy".to_owned(),
            config_type: Some(filter::ConfigType::TypedConfig(pack_any(proxy))),
        }],
        ..FilterChain::default()
    }
}

fn connection_manager(stat_prefix: &str, routes: RouteSpecifier) -> HttpConnectionManager {
    HttpConnectionManager {
        stat_prefix: stat_prefix.to_owned(),
        route_specifier: Some(routes),
        http_filters: vec![HttpFilter {
            name: "envoy.filters.http.router".to_owned(),
            config_type: Some(http_filter::ConfigType::TypedConfig(pack_any(
                Router::default(),
            ))),
            ..HttpFilter::default()
        }],
        ..HttpConnectionManager::default()
    }
}

fn host_range(ip: IpAddr) -> CidrRange {
    CidrRange {
        address_prefix: ip.to_string(),
        prefix_len: Some(number(if ip.is_ipv4() { 32 } else { 128 })),
    }
}
