//! `probes.readiness`: Kubernetes' readiness probe, for an instance outside Kubernetes.

use super::{Seconds, check::Checks};
use crate::model::{Check, Probe};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `spec.probes`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbesSpec {
    /// How to tell that it is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<ProbeSpec>,
}

/// A probe; exactly one of the three checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbeSpec {
    /// GET; 200 to 399 is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGetSpec>,
    /// A connect is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_socket: Option<TcpSocketSpec>,
    /// `grpc.health.v1.Health/Check`; SERVING is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcSpec>,
    /// How often; 10 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<Seconds>,
    /// How long one may take; 1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<Seconds>,
    /// Consecutive failures after which it is not ready; 3 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
    /// Consecutive successes after which it is ready; 1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_threshold: Option<u32>,
}

/// `httpGet`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpGetSpec {
    /// The path; `/` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The port's number.
    pub port: u16,
}

/// `tcpSocket`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpSocketSpec {
    /// The port's number.
    pub port: u16,
}

/// `grpc`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GrpcSpec {
    /// The port's number.
    pub port: u16,
    /// The service asked for.
    #[serde(default)]
    pub service: String,
}

impl ProbeSpec {
    /// The probe, if it makes sense.
    pub(super) fn read(&self, field: &str, checks: &mut Checks) -> Option<Probe> {
        for (name, threshold) in [
            ("failureThreshold", self.failure_threshold),
            ("successThreshold", self.success_threshold),
        ] {
            checks.require(
                threshold != Some(0),
                &format!("{field}.{name}"),
                "0 is not at least 1",
            );
        }
        let seconds = |value: Option<Seconds>, default| {
            value.map_or_else(|| Duration::from_secs(default), |seconds| seconds.0)
        };
        Some(Probe {
            check: self.check(field, checks)?,
            period: seconds(self.period_seconds, 10),
            timeout: seconds(self.timeout_seconds, 1),
            failure_threshold: self.failure_threshold.unwrap_or(3),
            success_threshold: self.success_threshold.unwrap_or(1),
        })
    }

    fn check(&self, field: &str, checks: &mut Checks) -> Option<Check> {
        let check = match (&self.http_get, &self.tcp_socket, &self.grpc) {
            (Some(http), None, None) => Check::HttpGet {
                path: http.read_path(field, checks),
                port: http.port,
            },
            (None, Some(tcp), None) => Check::Tcp { port: tcp.port },
            (None, None, Some(grpc)) => Check::Grpc {
                port: grpc.port,
                service: grpc.service.clone(),
            },
            _ => {
                checks.fail(field, "it needs exactly one of httpGet, tcpSocket and grpc");
                return None;
            }
        };
        let (kind, port) = match &check {
            Check::HttpGet { port, .. } => ("httpGet", *port),
            Check::Tcp { port } => ("tcpSocket", *port),
            Check::Grpc { port, .. } => ("grpc", *port),
        };
        checks.require(
            port != 0,
            &format!("{field}.{kind}.port"),
            "0 is no port to connect to",
        );
        Some(check)
    }
}

impl HttpGetSpec {
    fn read_path(&self, field: &str, checks: &mut Checks) -> String {
        let path = self.path.clone().unwrap_or_else(|| "/".to_owned());
        let fits = path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic());
        checks.require(
            fits,
            &format!("{field}.httpGet.path"),
            &format!("{path:?} is not a path that begins with / and is free of spaces"),
        );
        path
    }
}
