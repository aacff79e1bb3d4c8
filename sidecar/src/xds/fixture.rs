//! Resources as the control plane makes them, for tests.

use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                Cluster, OutlierDetection,
                cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy},
            },
            core::v3::{
                AggregatedConfigSource, ConfigSource, HeaderValue, HeaderValueOption, HealthStatus,
                Metadata, config_source::ConfigSourceSpecifier,
            },
            endpoint::v3::{
                ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
                cluster_load_assignment::Policy, lb_endpoint::HostIdentifier,
            },
            listener::v3::{Filter, FilterChain, FilterChainMatch, Listener, filter::ConfigType},
            route::v3::{
                HeaderMatcher, RetryPolicy, Route, RouteAction, RouteConfiguration, RouteMatch,
                Vhds, VirtualHost, WeightedCluster, header_matcher::HeaderMatchSpecifier,
                route::Action, route_action::ClusterSpecifier, route_match::PathSpecifier,
                weighted_cluster::ClusterWeight,
            },
        },
        extensions::{
            filters::network::{
                http_connection_manager::v3::{
                    HttpConnectionManager, HttpFilter, Rds,
                    http_connection_manager::RouteSpecifier, http_filter,
                },
                tcp_proxy::v3::{TcpProxy, tcp_proxy},
            },
            upstreams::http::v3::{
                HttpProtocolOptions,
                http_protocol_options::{UpstreamProtocolOptions, UseDownstreamHttpConfig},
            },
        },
        service::discovery::v3::{DeltaDiscoveryResponse, Resource},
        r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
    },
    google::protobuf::{Any, Duration, Struct, UInt32Value, Value, value::Kind as ValueKind},
};
use prost::Message;
use segue_proto::names::{HTTP_PROTOCOL_OPTIONS_KEY, type_url};

pub(crate) fn number(value: u32) -> UInt32Value {
    UInt32Value { value }
}

pub(crate) fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

pub(crate) fn any(type_url: &str, message: &impl Message) -> Any {
    Any {
        type_url: type_url.to_owned(),
        value: message.encode_to_vec(),
    }
}

pub(crate) fn ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

/// A cluster with endpoints from EDS.
pub(crate) fn cluster(name: &str) -> Cluster {
    let http = HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(
            UseDownstreamHttpConfig::default(),
        )),
        ..HttpProtocolOptions::default()
    };
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: String::new(),
        }),
        lb_policy: LbPolicy::LeastRequest.into(),
        connect_timeout: Some(seconds(1)),
        typed_extension_protocol_options: [(
            HTTP_PROTOCOL_OPTIONS_KEY.to_owned(),
            any(type_url::HTTP_PROTOCOL_OPTIONS, &http),
        )]
        .into(),
        ..Cluster::default()
    }
}

pub(crate) fn original_dst(name: &str) -> Cluster {
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(
            DiscoveryType::OriginalDst.into(),
        )),
        lb_policy: LbPolicy::ClusterProvided.into(),
        ..Cluster::default()
    }
}

pub(crate) fn fuse() -> OutlierDetection {
    OutlierDetection {
        consecutive_gateway_failure: Some(number(3)),
        enforcing_consecutive_gateway_failure: Some(number(100)),
        consecutive_5xx: Some(number(9)),
        base_ejection_time: Some(seconds(60)),
        max_ejection_percent: Some(number(100)),
        ..OutlierDetection::default()
    }
}

/// Endpoints of one version, each with its priority.
pub(crate) fn endpoints(cluster: &str, version: &str, at: &[(&str, u32)]) -> ClusterLoadAssignment {
    let endpoint = |address: &str| LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(crate::xds::address(address.parse().unwrap())),
            ..Endpoint::default()
        })),
        health_status: HealthStatus::Healthy.into(),
        load_balancing_weight: Some(number(1)),
        metadata: Some(Metadata {
            filter_metadata: [(
                "segue.dev".to_owned(),
                Struct {
                    fields: [(
                        "version".to_owned(),
                        Value {
                            kind: Some(ValueKind::StringValue(version.to_owned())),
                        },
                    )]
                    .into(),
                },
            )]
            .into(),
            ..Metadata::default()
        }),
    };
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: at
            .iter()
            .map(|(address, priority)| LocalityLbEndpoints {
                lb_endpoints: vec![endpoint(address)],
                load_balancing_weight: Some(number(1)),
                priority: *priority,
                ..LocalityLbEndpoints::default()
            })
            .collect(),
        policy: Some(Policy {
            overprovisioning_factor: Some(number(300)),
            ..Policy::default()
        }),
        ..ClusterLoadAssignment::default()
    }
}

/// `virtualOutbound` with one HTTP port and passthrough.
pub(crate) fn outbound(port: u32) -> Listener {
    let manager = HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(Rds {
            config_source: Some(ads()),
            route_config_name: port.to_string(),
        })),
        http_filters: vec![HttpFilter {
            name: "router".to_owned(),
            config_type: Some(http_filter::ConfigType::TypedConfig(Any {
                type_url: type_url::ROUTER.to_owned(),
                value: Vec::new(),
            })),
            ..HttpFilter::default()
        }],
        ..HttpConnectionManager::default()
    };
    Listener {
        name: "virtualOutbound".to_owned(),
        filter_chains: vec![FilterChain {
            filter_chain_match: Some(FilterChainMatch {
                destination_port: Some(number(port)),
                application_protocols: vec!["http/1.1".to_owned(), "h2c".to_owned()],
                ..FilterChainMatch::default()
            }),
            filters: vec![filter(type_url::HTTP_CONNECTION_MANAGER, &manager)],
            ..FilterChain::default()
        }],
        default_filter_chain: Some(FilterChain {
            filters: vec![tcp("PassthroughCluster")],
            ..FilterChain::default()
        }),
        ..Listener::default()
    }
}

pub(crate) fn tcp(cluster: &str) -> Filter {
    let proxy = TcpProxy {
        cluster_specifier: Some(tcp_proxy::ClusterSpecifier::Cluster(cluster.to_owned())),
        ..TcpProxy::default()
    };
    filter(type_url::TCP_PROXY, &proxy)
}

pub(crate) fn filter(type_url: &str, message: &impl Message) -> Filter {
    Filter {
        name: "filter".to_owned(),
        config_type: Some(ConfigType::TypedConfig(any(type_url, message))),
    }
}

/// A RouteConfiguration whose virtual hosts are had by VHDS.
pub(crate) fn on_demand(name: &str) -> RouteConfiguration {
    RouteConfiguration {
        name: name.to_owned(),
        vhds: Some(Vhds {
            config_source: Some(ads()),
        }),
        ..RouteConfiguration::default()
    }
}

/// A service's virtual host: a route for each version's token, then the weights.
pub(crate) fn virtual_host(service: &str, versions: &[(&str, u32)]) -> VirtualHost {
    let cluster = |version: &str| format!("outbound|80|{version}|{service}.shop.svc.cluster.local");
    let mut routes: Vec<_> = versions
        .iter()
        .map(|(version, _)| {
            let to = ClusterSpecifier::Cluster(cluster(version));
            route(vec![has_token(version)], to)
        })
        .collect();
    let clusters = versions
        .iter()
        .map(|(version, weight)| ClusterWeight {
            name: cluster(version),
            weight: Some(number(*weight)),
            response_headers_to_add: vec![sets_token(version)],
            ..ClusterWeight::default()
        })
        .collect();
    let split = WeightedCluster {
        clusters,
        ..WeightedCluster::default()
    };
    routes.push(route(Vec::new(), ClusterSpecifier::WeightedClusters(split)));
    VirtualHost {
        name: format!("{service}.shop.svc.cluster.local:80"),
        domains: vec![service.to_owned()],
        routes,
        retry_policy: Some(RetryPolicy {
            retry_on: "connect-failure,refused-stream".to_owned(),
            num_retries: Some(number(2)),
            ..RetryPolicy::default()
        }),
        ..VirtualHost::default()
    }
}

fn route(headers: Vec<HeaderMatcher>, to: ClusterSpecifier) -> Route {
    Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
            headers,
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(to),
            timeout: Some(seconds(0)),
            ..RouteAction::default()
        })),
        ..Route::default()
    }
}

fn has_token(version: &str) -> HeaderMatcher {
    let pattern = MatchPattern::Contains(format!("segue-1234=token-{version}."));
    HeaderMatcher {
        name: "cookie".to_owned(),
        header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
            match_pattern: Some(pattern),
            ignore_case: false,
        })),
        ..HeaderMatcher::default()
    }
}

fn sets_token(version: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: "set-cookie".to_owned(),
            value: format!("segue-1234=token-{version}.7; Path=/"),
            ..HeaderValue::default()
        }),
        ..HeaderValueOption::default()
    }
}

/// A resource that answers `name`.
pub(crate) fn resource(name: &str, version: &str, any: Any) -> Resource {
    Resource {
        name: name.to_owned(),
        version: version.to_owned(),
        resource: Some(any),
        ..Resource::default()
    }
}

pub(crate) fn response(
    type_url: &str,
    nonce: &str,
    resources: Vec<Resource>,
) -> DeltaDiscoveryResponse {
    DeltaDiscoveryResponse {
        type_url: type_url.to_owned(),
        nonce: nonce.to_owned(),
        resources,
        ..DeltaDiscoveryResponse::default()
    }
}
