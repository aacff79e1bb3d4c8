//! Kubernetes' `v1` `Service`: a name, a selector, ports. Fields that don't concern us may stand.

use super::{
    Metadata,
    check::{Checks, FieldError},
};
use crate::model::{AppProtocol, Service, ServicePort};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, Visitor},
};
use std::{collections::BTreeMap, fmt, net::IpAddr};

/// A `Service` document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDocument {
    /// Its names.
    pub metadata: Metadata,
    /// What it wants.
    pub spec: ServiceSpec,
}

/// `spec`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// Labels that its instances carry.
    #[serde(default)]
    pub selector: BTreeMap<String, String>,
    /// Its ports.
    #[serde(default)]
    pub ports: Vec<ServicePortSpec>,
    /// Its address; `None` or absent: it has none.
    #[serde(default, rename = "clusterIP")]
    pub cluster_ip: Option<String>,
}

/// `spec.ports[]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePortSpec {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// What clients connect to.
    pub port: u16,
    /// Where instances listen; absent: as `port`.
    #[serde(default)]
    pub target_port: Option<PortOrName>,
    /// `http`, `grpc`, `kubernetes.io/h2c`…
    #[serde(default)]
    pub app_protocol: Option<String>,
    /// `TCP`, the default; others are not carried.
    #[serde(default)]
    pub protocol: Option<String>,
}

/// A port's number, or the name that a container gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PortOrName {
    /// Its number.
    Number(u16),
    /// Its name.
    Name(String),
}

impl<'de> Deserialize<'de> for PortOrName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortVisitor;

        impl Visitor<'_> for PortVisitor {
            type Value = PortOrName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port number")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<PortOrName, E> {
                u16::try_from(number)
                    .map(PortOrName::Number)
                    .map_err(|_| E::custom(format!("{number} is not a port number")))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<PortOrName, E> {
                Ok(PortOrName::Name(name.to_owned()))
            }
        }

        deserializer.deserialize_any(PortVisitor)
    }
}

impl ServiceDocument {
    /// The Service, or all that is wrong with it.
    pub fn read(&self) -> Result<Service, Vec<FieldError>> {
        let mut checks = Checks::default();
        self.metadata.check_label(&mut checks);
        let cluster_ip = self.cluster_ip(&mut checks);
        let place = self.metadata.place(&mut checks) && !self.is_headless();
        let ports: Vec<ServicePort> = self
            .spec
            .ports
            .iter()
            .enumerate()
            .filter_map(|(index, port)| port.read(index, &mut checks))
            .collect();
        self.check_unique(&mut checks);
        checks.require(!self.spec.ports.is_empty(), "spec.ports", "it has no port");
        checks.done(Service {
            key: self.metadata.key(),
            selector: self.spec.selector.clone(),
            ports,
            cluster_ip,
            place,
        })
    }

    /// Its clients choose an instance by its own name, and are to get that one.
    fn is_headless(&self) -> bool {
        self.spec.cluster_ip.as_deref() == Some("None")
    }

    fn cluster_ip(&self, checks: &mut Checks) -> Option<IpAddr> {
        let text = self.spec.cluster_ip.as_deref()?;
        if text.is_empty() || text == "None" {
            return None;
        }
        let address = text.parse().ok();
        checks.require(
            address.is_some(),
            "spec.clusterIP",
            &format!("{text:?} is neither an IP address nor None"),
        );
        address
    }

    fn check_unique(&self, checks: &mut Checks) {
        let several = self.spec.ports.len() > 1;
        for (index, port) in self.spec.ports.iter().enumerate() {
            let before = self.spec.ports.iter().take(index);
            let field = format!("spec.ports[{index}]");
            if several && port.name.is_empty() {
                checks.fail(
                    format!("{field}.name"),
                    "a Service of several ports needs a name for each",
                );
            }
            for earlier in before {
                if earlier.port == port.port {
                    checks.fail(
                        format!("{field}.port"),
                        format!("{} stands there twice", port.port),
                    );
                }
                if !port.name.is_empty() && earlier.name == port.name {
                    checks.fail(
                        format!("{field}.name"),
                        format!("{:?} stands there twice", port.name),
                    );
                }
            }
        }
    }
}

impl ServicePortSpec {
    fn read(&self, index: usize, checks: &mut Checks) -> Option<ServicePort> {
        let field = format!("spec.ports[{index}]");
        if let Some(protocol) = &self.protocol
            && protocol != "TCP"
        {
            checks.fail(
                format!("{field}.protocol"),
                format!("{protocol} is not carried; only TCP is"),
            );
        }
        if self.port == 0 {
            checks.fail(format!("{field}.port"), "0 is no port to connect to");
        }
        let target_port = match &self.target_port {
            None => self.port,
            Some(PortOrName::Number(0)) => {
                checks.fail(format!("{field}.targetPort"), "0 is no port to connect to");
                return None;
            }
            Some(PortOrName::Number(number)) => *number,
            Some(PortOrName::Name(name)) => {
                checks.fail(
                    format!("{field}.targetPort"),
                    format!("{name:?} is a name, and here are no containers that give names: write the number"),
                );
                return None;
            }
        };
        Some(ServicePort {
            name: self.name.clone(),
            port: self.port,
            target_port,
            protocol: app_protocol(self.app_protocol.as_deref(), &self.name),
        })
    }
}

/// What is spoken on a port. Without an `appProtocol` the port's name says it.
fn app_protocol(stated: Option<&str>, name: &str) -> AppProtocol {
    match stated {
        Some("http" | "kubernetes.io/ws") => AppProtocol::Http,
        Some("grpc" | "kubernetes.io/h2c" | "http2") => AppProtocol::Http2,
        None if name == "http" || name.starts_with("http-") => AppProtocol::Http,
        Some(_) | None => AppProtocol::Tcp,
    }
}
