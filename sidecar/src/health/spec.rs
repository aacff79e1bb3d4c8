//! What the control plane wants checked, out of Envoy's messages. Pure.

use envoy_types::pb::{
    envoy::{
        config::core::v3::{
            Address, HealthCheck, address::Address as AddressKind, health_check::HealthChecker,
            socket_address::PortSpecifier,
        },
        service::health::v3::{ClusterHealthCheck, HealthCheckSpecifier},
    },
    google::protobuf::Duration as ProtoDuration,
};
use std::{net::SocketAddr, ops::Range, time::Duration};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// The least time between two rounds: more would be load, not a check.
const SHORTEST: Duration = Duration::from_millis(10);

/// The checks of one cluster: a round runs all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) cluster: String,
    pub(super) endpoints: Vec<SocketAddr>,
    pub(super) checks: Vec<Check>,
    /// The time from one round's start to the next one's.
    pub(super) interval: Duration,
    /// The same after a round that failed.
    pub(super) unhealthy_interval: Duration,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) kind: CheckKind,
    pub(super) timeout: Duration,
    /// Instead of the endpoint's own.
    pub(super) port: Option<u16>,
}

/// How to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CheckKind {
    /// GET; the status must lie in one of the ranges.
    Http {
        host: String,
        path: String,
        expected: Vec<Range<i64>>,
    },
    /// Connect.
    Tcp,
    /// `grpc.health.v1.Health/Check`
    Grpc { service: String },
}

/// The plans of a specifier, and what of it can't be done.
pub(super) fn plans(specifier: &HealthCheckSpecifier) -> (Vec<Plan>, Vec<String>) {
    let mut refused = Vec::new();
    let plans = specifier
        .cluster_health_checks
        .iter()
        .filter_map(|cluster| match plan(cluster, specifier.interval.as_ref()) {
            Ok(plan) => Some(plan),
            Err(reason) => {
                refused.push(format!("{}: {reason}", cluster.cluster_name));
                None
            }
        })
        .collect();
    (plans, refused)
}

fn plan(cluster: &ClusterHealthCheck, report: Option<&ProtoDuration>) -> Result<Plan, String> {
    let endpoints = cluster
        .locality_endpoints
        .iter()
        .flat_map(|locality| &locality.endpoints)
        .map(|endpoint| address(endpoint.address.as_ref()))
        .collect::<Option<Vec<_>>>()
        .ok_or("an endpoint has no IP address and port")?;
    let checks = cluster
        .health_checks
        .iter()
        .map(check)
        .collect::<Result<Vec<_>, _>>()?;
    if checks.is_empty() {
        return Err("no health check is given".to_owned());
    }
    let shortest = |of: fn(&HealthCheck) -> Option<&ProtoDuration>| {
        let given = cluster.health_checks.iter().filter_map(of).map(duration);
        given.min()
    };
    let interval = shortest(|check| check.interval.as_ref())
        .or_else(|| report.map(duration))
        .unwrap_or(DEFAULT_INTERVAL)
        .max(SHORTEST);
    let unhealthy_interval = shortest(|check| check.unhealthy_interval.as_ref())
        .unwrap_or(interval)
        .max(SHORTEST);
    Ok(Plan {
        cluster: cluster.cluster_name.clone(),
        endpoints,
        checks,
        interval,
        unhealthy_interval,
    })
}

fn check(message: &HealthCheck) -> Result<Check, String> {
    let kind = match &message.health_checker {
        Some(HealthChecker::HttpHealthCheck(http)) => CheckKind::Http {
            host: http.host.clone(),
            path: if http.path.is_empty() {
                "/".to_owned()
            } else {
                http.path.clone()
            },
            expected: if http.expected_statuses.is_empty() {
                std::iter::once(200..201).collect()
            } else {
                http.expected_statuses
                    .iter()
                    .map(|range| range.start..range.end)
                    .collect()
            },
        },
        Some(HealthChecker::TcpHealthCheck(_)) => CheckKind::Tcp,
        Some(HealthChecker::GrpcHealthCheck(grpc)) => CheckKind::Grpc {
            service: grpc.service_name.clone(),
        },
        Some(HealthChecker::CustomHealthCheck(custom)) => {
            return Err(format!("health check {:?} is not supported", custom.name));
        }
        None => return Err("health_checker is missing".to_owned()),
    };
    let port = match message.alt_port {
        Some(port) => Some(u16::try_from(port.value).map_err(|_| "alt_port is no port")?),
        None => None,
    };
    let timeout = message
        .timeout
        .as_ref()
        .map_or(DEFAULT_TIMEOUT, duration)
        .max(SHORTEST);
    Ok(Check {
        kind,
        timeout,
        port,
    })
}

fn duration(given: &ProtoDuration) -> Duration {
    Duration::from_secs(given.seconds.try_into().unwrap_or(0))
        + Duration::from_nanos(given.nanos.try_into().unwrap_or(0))
}

fn address(message: Option<&Address>) -> Option<SocketAddr> {
    let Some(AddressKind::SocketAddress(socket)) = &message?.address else {
        return None;
    };
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
        return None;
    };
    Some(SocketAddr::new(
        socket.address.parse().ok()?,
        u16::try_from(port).ok()?,
    ))
}
