//! `envoy.config.endpoint.v3.ClusterLoadAssignment`.
//!
//! Each entry is a locality of its own; whether its weight counts is the Cluster's to say
//! (`locality_weighted_lb_config`). Without a weight it gets nothing then, as in Envoy.

use super::field::{FieldError, Result, Within as _, each, none_of, port};
use crate::{
    model::{Health, Locality},
    store::resource::{Assignment, Endpoint},
};
use envoy_types::pb::{
    envoy::config::{
        core::v3::{
            Address, HealthStatus, Metadata, address::Address as Kind,
            socket_address::PortSpecifier,
        },
        endpoint::v3::{
            ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
        },
    },
    google::protobuf::value::Kind as Value,
};
use segue_proto::names::{ENDPOINT_METADATA, ENDPOINT_VERSION};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// Envoy's default, in percent.
const OVERPROVISIONING_FACTOR: u32 = 140;

/// A ClusterLoadAssignment's content.
pub(super) fn assignment(message: &ClusterLoadAssignment) -> Result<Assignment> {
    let policy = message.policy.as_ref();
    none_of(&[
        (!message.named_endpoints.is_empty(), "named_endpoints"),
        (
            policy.is_some_and(|policy| !policy.drop_overloads.is_empty()),
            "policy.drop_overloads",
        ),
    ])?;
    let overprovisioning_factor = policy
        .and_then(|policy| policy.overprovisioning_factor)
        .map_or(OVERPROVISIONING_FACTOR, |factor| factor.value);
    if overprovisioning_factor == 0 {
        return Err(FieldError::new(
            "policy.overprovisioning_factor",
            "must be more than 0",
        ));
    }
    let localities = each(&message.endpoints, "endpoints", locality)?;
    let numbered = (0..).zip(localities).flat_map(|(number, mut members)| {
        for member in &mut members {
            member.locality.number = number;
        }
        members
    });
    let mut endpoints: Vec<_> = numbered.collect();
    endpoints.sort_by_key(|endpoint| endpoint.priority);
    Ok(Assignment {
        endpoints,
        overprovisioning_factor,
    })
}

fn locality(message: &LocalityLbEndpoints) -> Result<Vec<Endpoint>> {
    none_of(&[(message.lb_config.is_some(), "lb_config")])?;
    let weight = message
        .load_balancing_weight
        .map_or(0, |weight| weight.value);
    each(&message.lb_endpoints, "lb_endpoints", |given| {
        endpoint(given, message.priority, weight)
    })
}

fn endpoint(message: &LbEndpoint, priority: u32, locality_weight: u32) -> Result<Endpoint> {
    let address = match &message.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => {
            address(endpoint.address.as_ref()).within("endpoint.address")?
        }
        Some(HostIdentifier::EndpointName(_)) => {
            return Err(FieldError::new("endpoint_name", "is not supported"));
        }
        None => return Err(FieldError::new("endpoint", "is missing")),
    };
    let weight = message
        .load_balancing_weight
        .map_or(1, |weight| weight.value);
    if weight == 0 {
        return Err(FieldError::new(
            "load_balancing_weight",
            "must be 1 or more",
        ));
    }
    Ok(Endpoint {
        address,
        weight,
        priority,
        locality: Locality {
            number: 0,
            weight: locality_weight,
        },
        health: health(message.health_status)?,
        version: message.metadata.as_ref().and_then(version),
    })
}

fn health(status: i32) -> Result<Health> {
    match HealthStatus::try_from(status) {
        Ok(HealthStatus::Unknown | HealthStatus::Healthy | HealthStatus::Degraded) => {
            Ok(Health::Healthy)
        }
        Ok(HealthStatus::Unhealthy | HealthStatus::Timeout) => Ok(Health::Unhealthy),
        Ok(HealthStatus::Draining) => Ok(Health::Draining),
        Err(_) => Err(FieldError::new(
            "health_status",
            format!("{status} is not supported"),
        )),
    }
}

pub(super) fn version(metadata: &Metadata) -> Option<Arc<str>> {
    let segue = metadata.filter_metadata.get(ENDPOINT_METADATA)?;
    match segue.fields.get(ENDPOINT_VERSION)?.kind.as_ref()? {
        Value::StringValue(version) if !version.is_empty() => Some(Arc::from(version.as_str())),
        _ => None,
    }
}

/// A socket address by number.
pub(super) fn address(message: Option<&Address>) -> Result<SocketAddr> {
    let Some(Kind::SocketAddress(socket)) = message.and_then(|address| address.address.as_ref())
    else {
        return Err(FieldError::new("socket_address", "is missing"));
    };
    let ip: IpAddr = socket.address.parse().map_err(|_| {
        FieldError::new(
            "socket_address.address",
            format!("{:?} is not an IP address", socket.address),
        )
    })?;
    match &socket.port_specifier {
        Some(PortSpecifier::PortValue(value)) => {
            let port = port(*value).within("socket_address.port_value")?;
            Ok(SocketAddr::new(ip, port))
        }
        _ => Err(FieldError::new("socket_address.port_value", "is missing")),
    }
}
