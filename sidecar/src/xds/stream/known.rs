//! What the control plane last said of a resource.

use crate::{
    store::resource::Name,
    xds::decode::{Decoded, FieldError, Kind, Named},
};
use envoy_types::pb::google::protobuf::Any;
use segue_proto::names::ClusterName;
use std::{collections::BTreeSet, fmt, net::SocketAddr, sync::Arc, time::Duration};

/// Names a resource: its kind and the name it was asked for by.
pub(super) type Key = (Kind, Name);

/// An accepted resource.
#[derive(Debug)]
pub(super) struct Known {
    /// The server's version of it.
    pub(super) version: String,
    /// The message as it came, to keep on disk.
    pub(super) body: Vec<u8>,
    /// The message decoded.
    pub(super) content: Decoded,
    /// The clusters that it routes to.
    pub(super) clusters: BTreeSet<Name>,
    /// The route configurations that it refers to.
    pub(super) route_configurations: BTreeSet<Name>,
}

impl Known {
    /// Decodes a resource that was asked for as `name`.
    pub(super) fn decode(
        kind: Kind,
        name: Option<&str>,
        version: &str,
        any: Any,
    ) -> Result<(Name, Self), Refused> {
        let refused = |name: &str, error: FieldError| Refused {
            kind,
            name: Name::from(name),
            error,
        };
        let named = crate::xds::decode::name(kind, &any)
            .map_err(|error| refused(name.unwrap_or("?"), error))?;
        let name = name.map_or_else(|| Arc::clone(named.name()), Name::from);
        check_name(kind, &name, &named).map_err(|error| refused(&name, error))?;
        let content = named.content().map_err(|error| refused(&name, error))?;
        let mut clusters = BTreeSet::new();
        let mut route_configurations = BTreeSet::new();
        match &content {
            Decoded::Listener(listener) => {
                listener.add_clusters(&mut clusters);
                route_configurations.extend(listener.route_configurations().cloned());
            }
            Decoded::RouteConfiguration(routes) => routes.add_clusters(&mut clusters),
            Decoded::VirtualHost(host) => host.add_clusters(&mut clusters),
            Decoded::Cluster(_) | Decoded::Assignment(_) => {}
        }
        let known = Self {
            version: version.to_owned(),
            body: any.value,
            content,
            clusters,
            route_configurations,
        };
        Ok((name, known))
    }

    /// The EDS resource that it needs, where it is a cluster that has one.
    pub(super) fn assignment(&self) -> Option<&Name> {
        match &self.content {
            Decoded::Cluster(cluster) => cluster.assignment(),
            _ => None,
        }
    }
}

/// VHDS and TCP destinations are answered with a resource that is called otherwise.
fn check_name(kind: Kind, asked: &Name, named: &Named) -> Result<(), FieldError> {
    if kind == Kind::VirtualHost || named.name() == asked || destination(kind, asked).is_some() {
        return Ok(());
    }
    Err(FieldError::new(
        "name",
        format!("{:?} is not the name it was asked by", named.name()),
    ))
}

/// The TCP destination that this name asks for.
pub(super) fn destination(kind: Kind, name: &str) -> Option<SocketAddr> {
    if kind != Kind::Cluster {
        return None;
    }
    match name.parse() {
        Ok(ClusterName::OutboundAddress { port, address }) => Some(SocketAddr::new(address, port)),
        _ => None,
    }
}

/// A resource that can't be honoured.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) kind: Kind,
    pub(super) name: Name,
    pub(super) error: FieldError,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.kind.label(), self.name, self.error)
    }
}

/// An answer, and when it came.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    /// `None`: there is no such resource.
    pub(super) known: Option<Arc<Known>>,
    /// Since when it has waited to be in force, else when it came. From the process's start.
    pub(super) since: Duration,
}
