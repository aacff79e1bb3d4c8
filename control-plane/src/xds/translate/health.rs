//! Delegated health checks: what a Pod's own sidecar is to check of its application.
//!
//! Each answer carries one raw result; consecutive failures are counted by the engine, so both
//! thresholds are 1.

use super::wrap::{address, duration, number};
use crate::model::{Check, Workload};
use envoy_types::pb::envoy::{
    config::{
        core::v3::{
            HealthCheck,
            health_check::{GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck},
        },
        endpoint::v3::Endpoint,
    },
    service::health::v3::{ClusterHealthCheck, HealthCheckSpecifier, LocalityEndpoints},
    r#type::v3::Int64Range,
};
use segue_proto::names::ClusterName;
use std::time::Duration;

const DEFAULT_PERIOD: Duration = Duration::from_secs(5);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// The checks of one workload. `ports`: what it serves; they get a connect each where it has no
/// readiness probe of its own, `every` so often (the policy's `health.interval`).
pub fn specifier(
    workload: &Workload,
    ports: impl IntoIterator<Item = u16>,
    every: Option<Duration>,
) -> HealthCheckSpecifier {
    let (period, cluster_health_checks) = if let Some(probe) = &workload.readiness {
        let (port, checker) = checker(&probe.check);
        let check = check(checker, probe.period, probe.timeout);
        (probe.period, vec![of_port(workload, port, check)])
    } else {
        let period = every.unwrap_or(DEFAULT_PERIOD);
        let checks = ports.into_iter().map(|port| {
            let checker = HealthChecker::TcpHealthCheck(TcpHealthCheck::default());
            of_port(workload, port, check(checker, period, DEFAULT_TIMEOUT))
        });
        (period, checks.collect())
    };
    HealthCheckSpecifier {
        cluster_health_checks,
        interval: Some(duration(period)),
    }
}

fn checker(check: &Check) -> (u16, HealthChecker) {
    match check {
        Check::HttpGet { path, port } => (
            *port,
            HealthChecker::HttpHealthCheck(HttpHealthCheck {
                path: path.clone(),
                expected_statuses: vec![Int64Range {
                    start: 200,
                    end: 400,
                }],
                ..HttpHealthCheck::default()
            }),
        ),
        Check::Tcp { port } => (
            *port,
            HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
        ),
        Check::Grpc { port, service } => (
            *port,
            HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
                service_name: service.clone(),
                ..GrpcHealthCheck::default()
            }),
        ),
    }
}

/// A check is over before the next one begins, and after one that failed the next comes a little
/// sooner: so `n` failures in a row are known within `n` periods and a time-out, whenever in the
/// period the application fails.
fn check(checker: HealthChecker, period: Duration, timeout: Duration) -> HealthCheck {
    HealthCheck {
        timeout: Some(duration(timeout.min(period / 5 * 4))),
        interval: Some(duration(period)),
        unhealthy_interval: Some(duration(period / 10 * 9)),
        unhealthy_threshold: Some(number(1)),
        healthy_threshold: Some(number(1)),
        health_checker: Some(checker),
        ..HealthCheck::default()
    }
}

fn of_port(workload: &Workload, port: u16, check: HealthCheck) -> ClusterHealthCheck {
    ClusterHealthCheck {
        cluster_name: ClusterName::Inbound { port }.to_string(),
        health_checks: vec![check],
        locality_endpoints: vec![LocalityEndpoints {
            locality: None,
            endpoints: vec![Endpoint {
                address: Some(address(workload.address, port)),
                ..Endpoint::default()
            }],
        }],
        ..ClusterHealthCheck::default()
    }
}
