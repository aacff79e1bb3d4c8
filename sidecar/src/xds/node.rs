//! Who we are, in Envoy's messages.

use envoy_types::pb::{
    envoy::config::core::v3::{
        Address, Locality, Node, SocketAddress, address::Address as AddressKind,
        node::UserAgentVersionType, socket_address::PortSpecifier,
    },
    google::protobuf::{Struct, Value, value::Kind},
};
use segue_proto::names::{NODE_NAME, NODE_NAMESPACE, SIDECAR_USER_AGENT};
use std::{net::SocketAddr, str::FromStr};

/// The workload that a sidecar serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it runs; may be empty.
    pub zone: String,
}

impl FromStr for Identity {
    type Err = String;

    /// Reads `NAMESPACE/NAME`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
            {
                Ok(Self {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    zone: String::new(),
                })
            }
            _ => Err(format!(
                "{text:?} is not of the form NAMESPACE/NAME, such as shop/web-0"
            )),
        }
    }
}

impl Identity {
    /// As every stream's first message says it.
    pub fn node(&self) -> Node {
        let text = |text: &str| Value {
            kind: Some(Kind::StringValue(text.to_owned())),
        };
        let metadata = Struct {
            fields: [
                (NODE_NAMESPACE.to_owned(), text(&self.namespace)),
                (NODE_NAME.to_owned(), text(&self.name)),
            ]
            .into(),
        };
        Node {
            id: format!("{}/{}", self.namespace, self.name),
            cluster: self.namespace.clone(),
            metadata: Some(metadata),
            locality: Some(Locality {
                zone: self.zone.clone(),
                ..Locality::default()
            }),
            user_agent_name: SIDECAR_USER_AGENT.to_owned(),
            user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
                env!("CARGO_PKG_VERSION").to_owned(),
            )),
            ..Node::default()
        }
    }
}

/// A socket address as Envoy's messages spell it.
pub fn address(address: SocketAddr) -> Address {
    Address {
        address: Some(AddressKind::SocketAddress(SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(address.port().into())),
            ..SocketAddress::default()
        })),
    }
}
