//! Clusters: how to reach a version of a service, and a Pod's own application.
//!
//! A version's cluster names no endpoint: they come by EDS under the same name, so that an instance
//! that comes or goes does not change the cluster.

use super::{
    Resource, balancing,
    wrap::{ads, duration, number, truth, version_metadata},
};
use crate::model::{
    AppProtocol, Balancing, CircuitBreaker, Fuse, Service, ServiceKey, ServicePort, ServiceView,
    VersionId, VersionView,
};
use envoy_types::pb::{
    envoy::{
        config::{
            cluster::v3::{
                Cluster, OutlierDetection,
                cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig, LbPolicy},
            },
            core::v3::{Http1ProtocolOptions, Http2ProtocolOptions},
        },
        extensions::upstreams::http::v3::{
            HttpProtocolOptions,
            http_protocol_options::{
                ExplicitHttpConfig, UpstreamProtocolOptions, UseDownstreamHttpConfig,
                explicit_http_config::ProtocolConfig,
            },
        },
    },
    google::protobuf::Any,
};
use segue_proto::names::{self, ClusterName};
use std::{collections::HashMap, sync::Arc, time::Duration};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often ejections are looked at; Envoy's default of 10 s would let them last that much longer.
const OUTLIER_INTERVAL: Duration = Duration::from_secs(1);

/// Whose cluster it is to be: clients differ in what they can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Envoy and our sidecar.
    Proxy,
    /// gRPC: knows neither consecutive-failure ejection nor, without being told, least request.
    Grpc,
}

/// The name of a version's cluster; for opaque TCP that of the service's only one.
pub fn name(service: &Service, port: &ServicePort, version: &VersionView) -> String {
    ClusterName::Outbound {
        port: port.port,
        version: if port.protocol.is_http() {
            version.id.to_string()
        } else {
            String::new()
        },
        host: host(&service.key),
    }
    .to_string()
}

/// The name of the cluster of a version's control group, where it has one.
pub fn control_name(
    service: &Service,
    port: &ServicePort,
    version: &VersionView,
) -> Option<String> {
    let own = ClusterName::Outbound {
        port: port.port,
        version: format!("{}{}", version.id, names::CONTROL_SUFFIX),
        host: host(&service.key),
    };
    (version.control.is_some() && port.protocol.is_http()).then(|| own.to_string())
}

/// The names of a version's clusters: its own and its control group's, where it has one.
pub(super) fn names<'a>(
    service: &'a Service,
    port: &'a ServicePort,
    version: &'a VersionView,
) -> impl Iterator<Item = String> {
    std::iter::once(name(service, port, version)).chain(control_name(service, port, version))
}

/// The name of an opaque TCP port's cluster.
pub fn tcp_name(service: &Service, port: &ServicePort) -> String {
    ClusterName::Outbound {
        port: port.port,
        version: String::new(),
        host: host(&service.key),
    }
    .to_string()
}

/// A service's full host name.
pub fn host(service: &ServiceKey) -> String {
    names::service_host(&service.namespace, &service.name)
}

/// All clusters of a service.
pub fn of_service(view: &ServiceView, dialect: Dialect) -> Vec<Arc<Resource>> {
    let service = &view.service;
    let mut clusters = Vec::new();
    for port in &service.ports {
        if port.protocol.is_http() {
            for version in &view.versions {
                clusters.extend(names(service, port, version).map(|name| {
                    let told = (version.fuse, &view.balancing);
                    outbound(&name, service, port.protocol, told, dialect)
                }));
            }
        } else {
            let name = tcp_name(service, port);
            let told = (None, &Balancing::default());
            clusters.push(outbound(&name, service, port.protocol, told, dialect));
        }
    }
    clusters
}

/// The cluster of a Pod's own application.
pub fn inbound(port: u16, http: bool, version: &VersionId) -> Arc<Resource> {
    let name = ClusterName::Inbound { port }.to_string();
    original_destination(&name, http, Some(version))
}

/// The cluster that connects to wherever the client wanted to.
pub fn passthrough() -> Arc<Resource> {
    original_destination(names::PASSTHROUGH_CLUSTER, false, None)
}

/// The cluster without endpoints.
pub fn black_hole() -> Arc<Resource> {
    let cluster = Cluster {
        name: names::BLACK_HOLE_CLUSTER.to_owned(),
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into())),
        ..Cluster::default()
    };
    Resource::new(names::BLACK_HOLE_CLUSTER, &cluster, Vec::new())
}

fn outbound(
    name: &str,
    service: &Service,
    protocol: AppProtocol,
    (fuse, balancing): (Option<Fuse>, &Balancing),
    dialect: Dialect,
) -> Arc<Resource> {
    let cluster = Cluster {
        name: name.to_owned(),
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into())),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ads()),
            service_name: String::new(),
        }),
        lb_policy: LbPolicy::RoundRobin.into(),
        ignore_health_on_host_removal: true,
        common_lb_config: Some(balancing::common(balancing)),
        circuit_breakers: Some(balancing::circuit_breakers(balancing.circuit_breaker)),
        outlier_detection: fuse.map(|fuse| match dialect {
            Dialect::Proxy => consecutive_failures(fuse),
            Dialect::Grpc => failure_percentage(fuse),
        }),
        typed_extension_protocol_options: match protocol {
            AppProtocol::Http => http_options(same_as_downstream()),
            AppProtocol::Http2 => http_options(http2()),
            AppProtocol::Tcp => HashMap::new(),
        },
        ..Cluster::default()
    };
    let cluster = match dialect {
        Dialect::Proxy => balancing::balanced(cluster, balancing),
        // Not all of its kinds know more than round robin; localities they weigh unasked.
        Dialect::Grpc => cluster,
    };
    Resource::new(name, &cluster, vec![service.key.clone()])
}

fn original_destination(name: &str, http: bool, version: Option<&VersionId>) -> Arc<Resource> {
    let cluster = Cluster {
        name: name.to_owned(),
        connect_timeout: Some(duration(CONNECT_TIMEOUT)),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(
            DiscoveryType::OriginalDst.into(),
        )),
        lb_policy: LbPolicy::ClusterProvided.into(),
        circuit_breakers: Some(balancing::circuit_breakers(CircuitBreaker::default())),
        metadata: version.map(version_metadata),
        typed_extension_protocol_options: if http {
            http_options(same_as_downstream())
        } else {
            HashMap::new()
        },
        ..Cluster::default()
    };
    Resource::new(name, &cluster, Vec::new())
}

fn http_options(protocol: UpstreamProtocolOptions) -> HashMap<String, Any> {
    let options = HttpProtocolOptions {
        upstream_protocol_options: Some(protocol),
        ..HttpProtocolOptions::default()
    };
    HashMap::from([(
        names::HTTP_PROTOCOL_OPTIONS_KEY.to_owned(),
        envoy_types::util::pack_any(options),
    )])
}

fn same_as_downstream() -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::UseDownstreamProtocolConfig(UseDownstreamHttpConfig {
        http_protocol_options: Some(Http1ProtocolOptions::default()),
        http2_protocol_options: Some(Http2ProtocolOptions::default()),
        http3_protocol_options: None,
    })
}

fn http2() -> UpstreamProtocolOptions {
    UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
        protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(
            Http2ProtocolOptions::default(),
        )),
    })
}

/// The fuse: on for as long as the rollback window, for all of the version at once, and not reset
/// by one good health check.
fn consecutive_failures(fuse: Fuse) -> OutlierDetection {
    OutlierDetection {
        consecutive_gateway_failure: Some(number(fuse.consecutive_gateway_failure)),
        enforcing_consecutive_gateway_failure: Some(number(100)),
        consecutive_5xx: Some(number(fuse.consecutive_5xx)),
        enforcing_consecutive_5xx: Some(number(100)),
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: Some(number(fuse.consecutive_gateway_failure)),
        enforcing_consecutive_local_origin_failure: Some(number(100)),
        enforcing_success_rate: Some(number(0)),
        enforcing_local_origin_success_rate: Some(number(0)),
        interval: Some(duration(OUTLIER_INTERVAL)),
        base_ejection_time: Some(duration(fuse.ejection)),
        max_ejection_time: Some(duration(fuse.ejection)),
        max_ejection_percent: Some(number(100)),
        successful_active_health_check_uneject_host: Some(truth(false)),
        ..OutlierDetection::default()
    }
}

/// What gRPC knows of it (gRFC A50).
fn failure_percentage(fuse: Fuse) -> OutlierDetection {
    OutlierDetection {
        failure_percentage_threshold: Some(number(50)),
        enforcing_failure_percentage: Some(number(100)),
        failure_percentage_minimum_hosts: Some(number(1)),
        failure_percentage_request_volume: Some(number(fuse.consecutive_gateway_failure.max(1))),
        enforcing_success_rate: Some(number(0)),
        interval: Some(duration(OUTLIER_INTERVAL)),
        base_ejection_time: Some(duration(fuse.ejection)),
        max_ejection_time: Some(duration(fuse.ejection)),
        max_ejection_percent: Some(number(100)),
        ..OutlierDetection::default()
    }
}
