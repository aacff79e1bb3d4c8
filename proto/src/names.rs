//! Names that both sides of the wire must spell alike.
//!
//! They follow Istio's, because people and tools already read them: `outbound|80|v2|host` is the
//! cluster of version `v2`, `inbound|8080||` that of a Pod's own application.

use std::{fmt, net::IpAddr, str::FromStr};

/// xDS type URLs, as they stand in `DiscoveryRequest.type_url`.
pub mod type_url {
    /// `envoy.config.listener.v3.Listener`
    pub const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
    /// `envoy.config.route.v3.RouteConfiguration`
    pub const ROUTE_CONFIGURATION: &str =
        "type.googleapis.com/envoy.config.route.v3.RouteConfiguration";
    /// `envoy.config.route.v3.VirtualHost`
    pub const VIRTUAL_HOST: &str = "type.googleapis.com/envoy.config.route.v3.VirtualHost";
    /// `envoy.config.cluster.v3.Cluster`
    pub const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    pub const CLUSTER_LOAD_ASSIGNMENT: &str =
        "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    /// The HTTP connection manager, inside a Listener's filter chain.
    pub const HTTP_CONNECTION_MANAGER: &str = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    /// The TCP proxy, inside a Listener's filter chain.
    pub const TCP_PROXY: &str =
        "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";
    /// The router, the last HTTP filter.
    pub const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    /// `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`, in a Cluster's
    /// `typed_extension_protocol_options`.
    pub const HTTP_PROTOCOL_OPTIONS: &str =
        "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
}

/// The key of [`type_url::HTTP_PROTOCOL_OPTIONS`] in `typed_extension_protocol_options`.
pub const HTTP_PROTOCOL_OPTIONS_KEY: &str =
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The listener that redirected outbound connections reach.
pub const VIRTUAL_OUTBOUND: &str = "virtualOutbound";
/// The listener that redirected inbound connections reach.
pub const VIRTUAL_INBOUND: &str = "virtualInbound";
/// The cluster that connects to a connection's original destination.
pub const PASSTHROUGH_CLUSTER: &str = "PassthroughCluster";
/// The cluster without endpoints.
pub const BLACK_HOLE_CLUSTER: &str = "BlackHoleCluster";

/// `node.user_agent_name` of our sidecar.
pub const SIDECAR_USER_AGENT: &str = "segue-sidecar";
/// Node metadata: the proxy's namespace (a string).
pub const NODE_NAMESPACE: &str = "NAMESPACE";
/// Node metadata: the proxy's workload (a string). `node.id` is `NAMESPACE/NAME`.
pub const NODE_NAME: &str = "NAME";

/// `filter_metadata` key of what Segue says of an endpoint.
pub const ENDPOINT_METADATA: &str = "segue.dev";
/// In [`ENDPOINT_METADATA`]: the endpoint's version id (a string).
pub const ENDPOINT_VERSION: &str = "version";

/// Names of `load_metric_stats` in load reports, each per endpoint.
pub mod metric {
    /// Followed by the bucket's upper bound in microseconds: requests that took that long since
    /// the last report (`num_requests_finished_with_metric`), and their sum (`total_metric_value`).
    pub const LATENCY_BUCKET_PREFIX: &str = "segue.rtime_us.le.";
    /// Responses that began a session (a session token was set for a client that had none).
    pub const NEW_SESSIONS: &str = "segue.new_sessions";
    /// Requests that a live session token placed.
    pub const PINNED_REQUESTS: &str = "segue.pinned_requests";
    /// Opaque connections open now.
    pub const CONNECTIONS_ACTIVE: &str = "segue.cx_active";
    /// Opaque connections opened since the last report.
    pub const CONNECTIONS_OPENED: &str = "segue.cx_opened";
    /// 1 while the reporting proxy's outlier detection keeps the endpoint ejected.
    pub const EJECTED: &str = "segue.ejected";
    /// Of the errors since the last report, those that the application answered itself: a 5xx, or
    /// a gRPC status that Envoy counts as one.
    pub const ERRORS_RESPONSE: &str = "segue.errors.response";
    /// Of the errors, those where no response came in time.
    pub const ERRORS_TIMEOUT: &str = "segue.errors.timeout";
    /// Of the errors, those where the connection or stream ended before the response did.
    pub const ERRORS_RESET: &str = "segue.errors.reset";
    /// Of the errors, those where no connection came about.
    pub const ERRORS_CONNECT: &str = "segue.errors.connect";
    /// Connections tried since the last report.
    pub const CONNECTS: &str = "segue.cx_connect";
    /// Connections tried since the last report that did not come about.
    pub const CONNECTS_FAILED: &str = "segue.cx_connect_fail";

    /// The latency buckets' upper bounds: 2^(k/2) us from 256 us to 64 s.
    pub const LATENCY_BOUNDS_US: [u64; 37] = [
        256, 362, 512, 724, 1024, 1448, 2048, 2896, 4096, 5793, 8192, 11585, 16384, 23170, 32768,
        46341, 65536, 92682, 131_072, 185_364, 262_144, 370_728, 524_288, 741_455, 1_048_576,
        1_482_910, 2_097_152, 2_965_821, 4_194_304, 5_931_642, 8_388_608, 11_863_283, 16_777_216,
        23_726_566, 33_554_432, 47_453_133, 67_108_864,
    ];
}

/// Says of a request that a mesh proxy has chosen its version: the instance that gets it serves it.
pub const PLACED_HEADER: &str = "x-segue-placed";

/// What a version's control group appends to the version id in a cluster's name:
/// `outbound|80|v1.control|host`.
pub const CONTROL_SUFFIX: &str = ".control";

/// A cluster name's version, and whether the name means its control group.
pub fn split_control(version: &str) -> (&str, bool) {
    match version.strip_suffix(CONTROL_SUFFIX) {
        Some(version) => (version, true),
        None => (version, false),
    }
}

/// A service's full host name, `checkout.shop.svc.cluster.local`.
pub fn service_host(namespace: &str, service: &str) -> String {
    format!("{service}.{namespace}.svc.cluster.local")
}

/// The name of a virtual host under VHDS: `<route configuration>/<host>`.
///
/// Source: the xDS protocol page, "VHDS".
pub fn virtual_host_name(route_configuration: &str, host: &str) -> String {
    format!("{route_configuration}/{host}")
}

/// A cluster's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterName {
    /// `outbound|80|v2|checkout.shop.svc.cluster.local`; without a version for opaque TCP.
    Outbound {
        /// The Service's port.
        port: u16,
        /// The version id, empty for opaque TCP. `<id>.control` is a version's control group.
        version: String,
        /// The service's full host name.
        host: String,
    },
    /// `outbound|3306||10.96.0.7`: asked for by a proxy that saw a connection to that address,
    /// answered with the Service's cluster.
    OutboundAddress {
        /// The destination port.
        port: u16,
        /// The destination address.
        address: IpAddr,
    },
    /// `inbound|8080||`: the Pod's own application.
    Inbound {
        /// The application's port.
        port: u16,
    },
    /// [`PASSTHROUGH_CLUSTER`]
    Passthrough,
    /// [`BLACK_HOLE_CLUSTER`]
    BlackHole,
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outbound {
                port,
                version,
                host,
            } => {
                write!(f, "outbound|{port}|{version}|{host}")
            }
            Self::OutboundAddress { port, address } => write!(f, "outbound|{port}||{address}"),
            Self::Inbound { port } => write!(f, "inbound|{port}||"),
            Self::Passthrough => f.write_str(PASSTHROUGH_CLUSTER),
            Self::BlackHole => f.write_str(BLACK_HOLE_CLUSTER),
        }
    }
}

/// A cluster name that is none of Segue's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignClusterName;

impl fmt::Display for ForeignClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not of the form DIRECTION|PORT|VERSION|HOST")
    }
}

impl std::error::Error for ForeignClusterName {}

impl FromStr for ClusterName {
    type Err = ForeignClusterName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            PASSTHROUGH_CLUSTER => return Ok(Self::Passthrough),
            BLACK_HOLE_CLUSTER => return Ok(Self::BlackHole),
            _ => {}
        }
        let mut parts = name.split('|');
        let (Some(direction), Some(port), Some(version), Some(host), None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(ForeignClusterName);
        };
        let port = port.parse().map_err(|_| ForeignClusterName)?;
        match (direction, version, host) {
            ("inbound", "", "") => Ok(Self::Inbound { port }),
            ("outbound", _, "") | ("inbound", _, _) => Err(ForeignClusterName),
            ("outbound", version, host) => Ok(match (version, host.parse()) {
                ("", Ok(address)) => Self::OutboundAddress { port, address },
                _ => Self::Outbound {
                    port,
                    version: version.to_owned(),
                    host: host.to_owned(),
                },
            }),
            _ => Err(ForeignClusterName),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ClusterName, metric::LATENCY_BOUNDS_US};
    use proptest::prelude::{Strategy, any, prop_oneof, proptest};

    fn names() -> impl Strategy<Value = ClusterName> {
        prop_oneof![
            (any::<u16>(), "[a-z0-9.-]{0,12}", "[a-z]{1,8}[.][a-z]{1,8}").prop_map(
                |(port, version, host)| ClusterName::Outbound {
                    port,
                    version,
                    host
                }
            ),
            (any::<u16>(), any::<std::net::Ipv4Addr>()).prop_map(|(port, address)| {
                ClusterName::OutboundAddress {
                    port,
                    address: address.into(),
                }
            }),
            any::<u16>().prop_map(|port| ClusterName::Inbound { port }),
        ]
    }

    proptest! {
        #[test]
        fn a_cluster_name_survives_writing_and_reading(name in names()) {
            assert_eq!(name.to_string().parse(), Ok(name));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,40}") {
            let _ignored: Result<ClusterName, _> = text.parse();
        }
    }

    #[test]
    fn latency_bounds_are_half_powers_of_two() {
        for (k, bound) in LATENCY_BOUNDS_US.iter().enumerate() {
            let exact = 256.0 * f64::powf(2.0, f64::from(u32::try_from(k).unwrap()) / 2.0);
            assert!(
                (exact - f64::from(u32::try_from(*bound).unwrap())).abs() <= 1.0,
                "{k}"
            );
        }
    }
}
