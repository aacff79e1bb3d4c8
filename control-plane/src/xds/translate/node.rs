//! Who asks: the part of a node's description that shapes resources.

use crate::model::{ProxyId, WorkloadKey};
use envoy_types::pb::{
    envoy::config::core::v3 as core,
    google::protobuf::{Struct, value::Kind},
};
use segue_proto::names;

/// Kinds of clients that want different resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientKind {
    /// Segue's own: on demand, by name.
    Sidecar,
    /// Envoy, and whoever else asks as Envoy does.
    Envoy,
    /// gRPC without a proxy.
    Grpc,
}

/// A client, as its first request describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `node.id`
    pub id: ProxyId,
    /// Its namespace: what a host name without dots is looked up in.
    pub namespace: String,
    /// The workload that it is the sidecar of, if it says so.
    pub workload: Option<WorkloadKey>,
    /// `node.locality.zone`
    pub zone: Option<String>,
    /// What it is.
    pub kind: ClientKind,
    /// `node.user_agent_name`
    pub user_agent: String,
}

impl Node {
    /// How long each text of a node may be, in bytes. A Pod's name in Kubernetes has up to 253, its
    /// namespace 63, and the ids of other meshes are made of both and an address.
    pub const MAX_TEXT: usize = 512;

    /// None where the node has no id, or says what is longer than [`Self::MAX_TEXT`].
    pub fn read(node: &core::Node) -> Option<Self> {
        let metadata = node.metadata.as_ref();
        let texts = [
            Some(node.id.as_str()),
            Some(node.cluster.as_str()),
            Some(node.user_agent_name.as_str()),
            text(metadata, names::NODE_NAMESPACE),
            text(metadata, names::NODE_NAME),
            node.locality.as_ref().map(|place| place.zone.as_str()),
        ];
        let too_long = |text: &str| text.len() > Self::MAX_TEXT;
        if node.id.is_empty() || texts.into_iter().flatten().any(too_long) {
            return None;
        }
        let from_id = WorkloadKey::try_from(node.id.clone()).ok();
        let namespace = text(node.metadata.as_ref(), names::NODE_NAMESPACE)
            .or_else(|| from_id.as_ref().map(|key| key.namespace.as_ref()))
            .unwrap_or(&node.cluster)
            .to_owned();
        let workload = match text(node.metadata.as_ref(), names::NODE_NAME) {
            Some(name) if !namespace.is_empty() => Some(WorkloadKey::new(&namespace, name)),
            _ => from_id,
        };
        let place = node.locality.as_ref().map(|place| place.zone.clone());
        let user_agent = node.user_agent_name.clone();
        let kind = if user_agent == names::SIDECAR_USER_AGENT {
            ClientKind::Sidecar
        } else if user_agent.starts_with("gRPC") {
            ClientKind::Grpc
        } else {
            ClientKind::Envoy
        };
        Some(Self {
            id: ProxyId::from(node.id.as_str()),
            namespace,
            workload,
            zone: place.filter(|zone| !zone.is_empty()),
            kind,
            user_agent,
        })
    }
}

fn text<'a>(metadata: Option<&'a Struct>, field: &str) -> Option<&'a str> {
    match metadata?.fields.get(field)?.kind.as_ref()? {
        Kind::StringValue(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_with_texts_that_are_too_long_is_not_read() {
        let longest = "x".repeat(Node::MAX_TEXT);
        let long = format!("{longest}x");
        let node = |id: &str, cluster: &str, user_agent: &str| {
            Node::read(&core::Node {
                id: id.to_owned(),
                cluster: cluster.to_owned(),
                user_agent_name: user_agent.to_owned(),
                ..core::Node::default()
            })
        };
        assert!(node(&longest, &longest, &longest).is_some());
        for (id, cluster, agent) in [(&*long, "c", "a"), ("i", &long, "a"), ("i", "c", &long)] {
            assert_eq!(node(id, cluster, agent), None);
        }
        assert_eq!(node("", "c", "a"), None);
    }
}
