//! `envoy.config.cluster.v3.Cluster`.
//!
//! Of circuit breakers, connections and pending requests are not limited.

use super::{
    balancing, endpoints,
    field::{
        FieldError, Result, Within as _, aggregated, duration_or, none_of, unpack, unsupported,
    },
};
use crate::{
    model::{OutlierDetection, UpstreamProtocol},
    store::resource::{Assignment, Cluster, Discovery, Name},
};
use envoy_types::pb::{
    envoy::{
        config::cluster::v3::{
            Cluster as Message, OutlierDetection as OutlierMessage,
            cluster::{ClusterDiscoveryType, DiscoveryType},
        },
        extensions::upstreams::http::v3::{
            HttpProtocolOptions,
            http_protocol_options::{
                UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
            },
        },
    },
    google::protobuf::UInt32Value,
};
use segue_proto::names::{HTTP_PROTOCOL_OPTIONS_KEY, type_url};
use std::{sync::Arc, time::Duration};

/// A Cluster's content.
pub(super) fn cluster(name: &Name, message: &Message) -> Result<Cluster> {
    none_of(&[
        (message.transport_socket.is_some(), "transport_socket"),
        (
            !message.transport_socket_matches.is_empty(),
            "transport_socket_matches",
        ),
        (
            message.load_balancing_policy.is_some(),
            "load_balancing_policy",
        ),
        (message.lb_subset_config.is_some(), "lb_subset_config"),
        (message.upstream_config.is_some(), "upstream_config"),
        (
            message.upstream_bind_config.is_some(),
            "upstream_bind_config",
        ),
        (!message.filters.is_empty(), "filters"),
    ])?;
    let connect_timeout = duration_or(
        message.connect_timeout.as_ref(),
        "connect_timeout",
        Duration::from_secs(5),
    )?;
    if connect_timeout.is_zero() {
        return Err(FieldError::new("connect_timeout", "must be more than 0"));
    }
    Ok(Cluster {
        name: Arc::clone(name),
        version: message.metadata.as_ref().and_then(endpoints::version),
        discovery: discovery(name, message)?,
        balancing: balancing::balancing(message)?,
        protocol: protocol(message)?,
        connect_timeout,
        outlier_detection: message
            .outlier_detection
            .as_ref()
            .map(|given| outlier_detection(given).within("outlier_detection"))
            .transpose()?,
    })
}

fn discovery(name: &Name, message: &Message) -> Result<Discovery> {
    let kind = match &message.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => *kind,
        Some(ClusterDiscoveryType::ClusterType(_)) => {
            return Err(FieldError::new("cluster_type", "is not supported"));
        }
        None => DiscoveryType::Static.into(),
    };
    match DiscoveryType::try_from(kind) {
        Ok(DiscoveryType::Static) => inline(message),
        Ok(DiscoveryType::OriginalDst) => Ok(Discovery::OriginalDst),
        Ok(DiscoveryType::Eds) => {
            let Some(eds) = &message.eds_cluster_config else {
                return Err(FieldError::new("eds_cluster_config", "is missing"));
            };
            aggregated(eds.eds_config.as_ref()).within("eds_cluster_config.eds_config")?;
            Ok(Discovery::Eds(if eds.service_name.is_empty() {
                Arc::clone(name)
            } else {
                Name::from(eds.service_name.as_str())
            }))
        }
        Ok(other) => Err(FieldError::new(
            "type",
            format!("{} is not supported", other.as_str_name()),
        )),
        Err(_) => Err(FieldError::new("type", format!("{kind} is not supported"))),
    }
}

fn inline(message: &Message) -> Result<Discovery> {
    let assignment = match &message.load_assignment {
        Some(given) => endpoints::assignment(given).within("load_assignment")?,
        None => Assignment {
            endpoints: Vec::new(),
            overprovisioning_factor: 100,
        },
    };
    Ok(Discovery::Inline(Arc::new(assignment)))
}

#[expect(deprecated, reason = "servers still send `http2_protocol_options`")]
fn protocol(message: &Message) -> Result<UpstreamProtocol> {
    let Some(any) = message
        .typed_extension_protocol_options
        .get(HTTP_PROTOCOL_OPTIONS_KEY)
    else {
        return Ok(if message.http2_protocol_options.is_some() {
            UpstreamProtocol::Http2
        } else {
            UpstreamProtocol::Http1
        });
    };
    http_protocol(any).within(format_args!(
        "typed_extension_protocol_options[{HTTP_PROTOCOL_OPTIONS_KEY:?}]"
    ))
}

fn http_protocol(any: &envoy_types::pb::google::protobuf::Any) -> Result<UpstreamProtocol> {
    let options: HttpProtocolOptions = unpack(any, type_url::HTTP_PROTOCOL_OPTIONS)?;
    none_of(&[(!options.http_filters.is_empty(), "http_filters")])?;
    match options.upstream_protocol_options {
        Some(UpstreamProtocolOptions::UseDownstreamProtocolConfig(_)) => {
            Ok(UpstreamProtocol::SameAsDownstream)
        }
        Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)) => {
            match explicit.protocol_config {
                Some(ProtocolConfig::HttpProtocolOptions(_)) => Ok(UpstreamProtocol::Http1),
                Some(ProtocolConfig::Http2ProtocolOptions(_)) => Ok(UpstreamProtocol::Http2),
                Some(ProtocolConfig::Http3ProtocolOptions(_)) => Err(FieldError::new(
                    "explicit_http_config.http3_protocol_options",
                    "is not supported",
                )),
                None => Err(FieldError::new("explicit_http_config", "is empty")),
            }
        }
        Some(UpstreamProtocolOptions::AutoConfig(_)) => {
            Err(FieldError::new("auto_config", "is not supported"))
        }
        None => Err(FieldError::new("upstream_protocol_options", "is missing")),
    }
}

fn outlier_detection(message: &OutlierMessage) -> Result<OutlierDetection> {
    unsupported(!message.monitors.is_empty(), "monitors")?;
    let base_ejection_time = duration_or(
        message.base_ejection_time.as_ref(),
        "base_ejection_time",
        Duration::from_secs(30),
    )?;
    let max_ejection_time = duration_or(
        message.max_ejection_time.as_ref(),
        "max_ejection_time",
        Duration::from_secs(300).max(base_ejection_time),
    )?;
    Ok(OutlierDetection {
        consecutive_gateway_failure: enforced(
            message.consecutive_gateway_failure,
            message.enforcing_consecutive_gateway_failure,
            0,
        ),
        consecutive_5xx: enforced(
            message.consecutive_5xx,
            message.enforcing_consecutive_5xx,
            100,
        ),
        base_ejection_time,
        max_ejection_time,
        max_ejection_percent: message
            .max_ejection_percent
            .map_or(10, |percent| percent.value.min(100)),
    })
}

/// A threshold (5 where it is not said), unless it is only watched. Envoy enforces a percentage of
/// the cases; we, all of them or none.
fn enforced(
    threshold: Option<UInt32Value>,
    percent: Option<UInt32Value>,
    default_percent: u32,
) -> Option<u32> {
    let enforced = percent.map_or(default_percent, |percent| percent.value) > 0;
    enforced.then(|| threshold.map_or(5, |threshold| threshold.value.max(1)))
}
