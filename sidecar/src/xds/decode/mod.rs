//! From Envoy's messages to what the [store](crate::store::resource) compiles: a file per resource.
//!
//! Two phases, so that one bad resource can't take its neighbours down: first a resource's name,
//! then its content. A field that would change what a resource means and that we don't implement
//! is an error that names it; whatever else we don't know is ignored.
//!
//! Not here: whether what a resource names exists.
//!
//! Pure: no tokio, no socket, no clock.

mod balancing;
mod cluster;
mod endpoints;
mod field;
mod hash;
mod headers;
mod listener;
mod route;
mod virtual_host;

#[cfg(test)]
mod tests;

pub use field::FieldError;

use crate::store::resource::{
    Assignment, Cluster, Listener, Name, RouteConfiguration, VirtualHost,
};
use envoy_types::pb::{envoy::config, google::protobuf::Any};
use field::Result;
use prost::Message;
use segue_proto::names::type_url;
use std::sync::Arc;

/// The kinds of resources that a sidecar asks for, in the order in which it asks again after the
/// stream was cut: what is referred to first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// CDS
    Cluster,
    /// EDS
    Assignment,
    /// LDS
    Listener,
    /// RDS
    RouteConfiguration,
    /// VHDS
    VirtualHost,
}

impl Kind {
    /// All of them, in the order in which they are asked for. A server that knows which route
    /// configurations a sidecar has knows all of its routes: the virtual hosts come before them.
    pub const ALL: [Self; 5] = [
        Self::Cluster,
        Self::Assignment,
        Self::Listener,
        Self::VirtualHost,
        Self::RouteConfiguration,
    ];

    /// As it stands in requests and responses.
    pub fn type_url(self) -> &'static str {
        match self {
            Self::Cluster => type_url::CLUSTER,
            Self::Assignment => type_url::CLUSTER_LOAD_ASSIGNMENT,
            Self::Listener => type_url::LISTENER,
            Self::RouteConfiguration => type_url::ROUTE_CONFIGURATION,
            Self::VirtualHost => type_url::VIRTUAL_HOST,
        }
    }

    /// The kind of that type URL.
    pub fn of_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// The message's name, for people.
    pub fn label(self) -> &'static str {
        match self {
            Self::Cluster => "Cluster",
            Self::Assignment => "ClusterLoadAssignment",
            Self::Listener => "Listener",
            Self::RouteConfiguration => "RouteConfiguration",
            Self::VirtualHost => "VirtualHost",
        }
    }
}

/// A decoded resource.
#[derive(Clone, Debug)]
pub enum Decoded {
    /// CDS
    Cluster(Arc<Cluster>),
    /// EDS
    Assignment(Arc<Assignment>),
    /// LDS
    Listener(Arc<Listener>),
    /// RDS
    RouteConfiguration(Arc<RouteConfiguration>),
    /// VHDS
    VirtualHost(Arc<VirtualHost>),
}

/// A message whose name is known and whose content is not yet looked at.
#[derive(Debug)]
pub enum Named {
    /// CDS
    Cluster(Name, Box<config::cluster::v3::Cluster>),
    /// EDS
    Assignment(Name, Box<config::endpoint::v3::ClusterLoadAssignment>),
    /// LDS
    Listener(Name, Box<config::listener::v3::Listener>),
    /// RDS
    RouteConfiguration(Name, Box<config::route::v3::RouteConfiguration>),
    /// VHDS
    VirtualHost(Name, Box<config::route::v3::VirtualHost>),
}

/// First phase: the message and its own name.
pub fn name(kind: Kind, any: &Any) -> Result<Named> {
    if any.type_url != kind.type_url() {
        return Err(FieldError::new(
            "resource.type_url",
            format!("{:?} in a response of {:?}", any.type_url, kind.type_url()),
        ));
    }
    let named = match kind {
        Kind::Cluster => {
            let message: Box<config::cluster::v3::Cluster> = parse(any)?;
            Named::Cluster(required(&message.name, "name")?, message)
        }
        Kind::Assignment => {
            let message: Box<config::endpoint::v3::ClusterLoadAssignment> = parse(any)?;
            Named::Assignment(required(&message.cluster_name, "cluster_name")?, message)
        }
        Kind::Listener => {
            let message: Box<config::listener::v3::Listener> = parse(any)?;
            Named::Listener(required(&message.name, "name")?, message)
        }
        Kind::RouteConfiguration => {
            let message: Box<config::route::v3::RouteConfiguration> = parse(any)?;
            Named::RouteConfiguration(required(&message.name, "name")?, message)
        }
        Kind::VirtualHost => {
            let message: Box<config::route::v3::VirtualHost> = parse(any)?;
            Named::VirtualHost(required(&message.name, "name")?, message)
        }
    };
    Ok(named)
}

impl Named {
    /// The name that stands in the message.
    pub fn name(&self) -> &Name {
        match self {
            Self::Cluster(name, _)
            | Self::Assignment(name, _)
            | Self::Listener(name, _)
            | Self::RouteConfiguration(name, _)
            | Self::VirtualHost(name, _) => name,
        }
    }

    /// Second phase: the content.
    pub fn content(&self) -> Result<Decoded> {
        Ok(match self {
            Self::Cluster(name, message) => {
                Decoded::Cluster(Arc::new(cluster::cluster(name, message)?))
            }
            Self::Assignment(_, message) => {
                Decoded::Assignment(Arc::new(endpoints::assignment(message)?))
            }
            Self::Listener(name, message) => {
                Decoded::Listener(Arc::new(listener::listener(name, message)?))
            }
            Self::RouteConfiguration(_, message) => {
                Decoded::RouteConfiguration(Arc::new(route::route_configuration(message)?))
            }
            Self::VirtualHost(_, message) => {
                Decoded::VirtualHost(Arc::new(virtual_host::virtual_host(message)?))
            }
        })
    }
}

fn parse<M: Message + Default>(any: &Any) -> Result<Box<M>> {
    M::decode(any.value.as_slice())
        .map(Box::new)
        .map_err(|error| FieldError::new("", error.to_string()))
}

fn required(name: &str, field: &str) -> Result<Name> {
    if name.is_empty() {
        return Err(FieldError::new(field, "is missing"));
    }
    Ok(Name::from(name))
}
