//! Services and the instances behind them, as a source describes them.

use super::{Key, ServiceKey, VersionId, WorkloadKey};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, time::Duration};

/// A Service: a name, a selector and ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its key.
    pub key: ServiceKey,
    /// Labels that its instances carry; empty: selects nothing.
    pub selector: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// The address that clients connect to; None: headless, or reached by name alone.
    pub cluster_ip: Option<IpAddr>,
    /// Its instances' sidecars may place requests that no mesh proxy has placed: it is not headless,
    /// and nobody has forbidden it (`segue.dev/place: "off"`).
    #[serde(default)]
    pub place: bool,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// Its name, unique within the Service; may be empty where there is only one.
    pub name: String,
    /// What clients connect to.
    pub port: u16,
    /// Where instances listen, unless a workload says otherwise by the port's name.
    pub target_port: u16,
    /// What is spoken there.
    pub protocol: AppProtocol,
}

/// What is spoken on a port (`appProtocol`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AppProtocol {
    /// `http`, `kubernetes.io/ws`, and ports named `http` or `http-*` without an `appProtocol`:
    /// the endpoints are spoken to as the client spoke.
    Http,
    /// `grpc`, `kubernetes.io/h2c`, `http2`: HTTP/2 with prior knowledge.
    Http2,
    /// Anything else: bytes.
    Tcp,
}

impl AppProtocol {
    /// True where requests are routed one by one.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Http2)
    }
}

/// An instance: a Pod, or a process on a laptop or VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Its key.
    pub key: WorkloadKey,
    /// Its labels; Services select by them.
    pub labels: BTreeMap<String, String>,
    /// What it runs.
    pub version: VersionId,
    /// Where it is reached.
    pub address: IpAddr,
    /// By a Service port's name: where that port is served, if not at its `target_port`.
    pub ports: BTreeMap<String, u16>,
    /// Its zone, if known.
    pub zone: Option<String>,
    /// How to tell that it is ready.
    pub readiness: Option<Probe>,
    /// Nobody has forbidden its sidecar to place requests (`segue.dev/place: "off"`).
    #[serde(default)]
    pub place: bool,
}

impl Workload {
    /// Where it serves a Service's port.
    pub fn port_of(&self, port: &ServicePort) -> u16 {
        self.ports
            .get(&port.name)
            .copied()
            .unwrap_or(port.target_port)
    }

    /// True where a Service selects it.
    pub fn is_selected_by(&self, service: &Service) -> bool {
        self.key.namespace == service.key.namespace
            && !service.selector.is_empty()
            && service
                .selector
                .iter()
                .all(|(label, value)| self.labels.get(label) == Some(value))
    }
}

/// A check of an instance (Kubernetes' readiness probe).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What to do.
    pub check: Check,
    /// How often.
    pub period: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// Consecutive failures after which it is not ready.
    pub failure_threshold: u32,
    /// Consecutive successes after which it is ready again.
    pub success_threshold: u32,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Check {
    /// GET; 200 to 399 is good.
    HttpGet {
        /// The path with its query.
        path: String,
        /// The port.
        port: u16,
    },
    /// A connect is good.
    Tcp {
        /// The port.
        port: u16,
    },
    /// `grpc.health.v1.Health/Check`; SERVING is good.
    Grpc {
        /// The port.
        port: u16,
        /// The service asked for, often empty.
        service: String,
    },
}

impl From<&Service> for Key {
    fn from(service: &Service) -> Self {
        service.key.clone()
    }
}
