//! `envoy.config.listener.v3.Listener`.
//!
//! The socket's address, options and backlog are ignored: where a sidecar listens is set by its
//! flags.

use super::{
    field::{FieldError, Result, Within as _, aggregated, each, none_of, port, unpack},
    route::route_configuration,
};
use crate::{
    model::ChainMatch,
    store::resource::{Filter, FilterChain, Listener, Name, Routes},
};
use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::CidrRange,
            listener::v3::{
                Filter as FilterMessage, FilterChain as ChainMessage, FilterChainMatch,
                Listener as Message, filter::ConfigType,
            },
        },
        extensions::filters::network::{
            http_connection_manager::v3::{
                HttpConnectionManager, HttpFilter, http_connection_manager::RouteSpecifier,
                http_filter,
            },
            tcp_proxy::v3::{TcpProxy, tcp_proxy::ClusterSpecifier},
        },
    },
    google::protobuf::Any,
};
use segue_proto::names::type_url;
use std::{net::IpAddr, sync::Arc};

/// The listener filters whose work a sidecar does by itself.
const LISTENER_FILTERS: [&str; 3] = [
    "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
    "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
];

/// A Listener's content.
pub(super) fn listener(name: &Name, message: &Message) -> Result<Listener> {
    none_of(&[
        (message.api_listener.is_some(), "api_listener"),
        (message.udp_listener_config.is_some(), "udp_listener_config"),
        (
            message.filter_chain_matcher.is_some(),
            "filter_chain_matcher",
        ),
        (message.fcds_config.is_some(), "fcds_config"),
    ])?;
    each(&message.listener_filters, "listener_filters", |filter| {
        use envoy_types::pb::envoy::config::listener::v3::listener_filter::ConfigType;
        match &filter.config_type {
            Some(ConfigType::TypedConfig(any)) if LISTENER_FILTERS.contains(&&*any.type_url) => {
                Ok(())
            }
            Some(ConfigType::TypedConfig(any)) => Err(FieldError::new(
                "typed_config",
                format!("type {:?} is not supported", any.type_url),
            )),
            _ => Err(FieldError::new("typed_config", "is missing")),
        }
    })?;
    Ok(Listener {
        name: Arc::clone(name),
        chains: each(&message.filter_chains, "filter_chains", chain)?,
        default_chain: message
            .default_filter_chain
            .as_ref()
            .map(|given| chain(given).within("default_filter_chain"))
            .transpose()?,
    })
}

#[expect(deprecated, reason = "refused, not read")]
fn chain(message: &ChainMessage) -> Result<FilterChain> {
    none_of(&[
        (message.transport_socket.is_some(), "transport_socket"),
        (
            message.use_proxy_proto.is_some_and(|given| given.value),
            "use_proxy_proto",
        ),
    ])?;
    let [filter_message] = message.filters.as_slice() else {
        return Err(FieldError::new(
            "filters",
            format!("{} given; exactly one is supported", message.filters.len()),
        ));
    };
    Ok(FilterChain {
        matches: message
            .filter_chain_match
            .as_ref()
            .map_or_else(|| Ok(ChainMatch::default()), chain_match)
            .within("filter_chain_match")?,
        filter: filter(filter_message).within("filters[0]")?,
    })
}

fn chain_match(message: &FilterChainMatch) -> Result<ChainMatch> {
    none_of(&[
        (!message.address_suffix.is_empty(), "address_suffix"),
        (message.suffix_len.is_some(), "suffix_len"),
        (
            !message.direct_source_prefix_ranges.is_empty(),
            "direct_source_prefix_ranges",
        ),
        (message.source_type != 0, "source_type"),
        (
            !message.source_prefix_ranges.is_empty(),
            "source_prefix_ranges",
        ),
        (!message.source_ports.is_empty(), "source_ports"),
        (!message.server_names.is_empty(), "server_names"),
        (
            !matches!(&*message.transport_protocol, "" | "raw_buffer"),
            "transport_protocol",
        ),
    ])?;
    let http_only = !message.application_protocols.is_empty();
    if let Some(other) = message
        .application_protocols
        .iter()
        .find(|given| !matches!(given.as_str(), "http/1.0" | "http/1.1" | "h2c"))
    {
        return Err(FieldError::new(
            "application_protocols",
            format!("{other:?} is not supported"),
        ));
    }
    Ok(ChainMatch {
        destination_port: message
            .destination_port
            .map(|given| port(given.value).within("destination_port"))
            .transpose()?,
        prefix_ranges: each(&message.prefix_ranges, "prefix_ranges", prefix_range)?,
        http_only,
    })
}

fn prefix_range(message: &CidrRange) -> Result<(IpAddr, u8)> {
    let address: IpAddr = message.address_prefix.parse().map_err(|_| {
        FieldError::new(
            "address_prefix",
            format!("{:?} is not an IP address", message.address_prefix),
        )
    })?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = message.prefix_len.map_or(0, |given| given.value);
    match u8::try_from(length) {
        Ok(length) if length <= longest => Ok((address, length)),
        _ => Err(FieldError::new(
            "prefix_len",
            format!("{length} is more than {longest}"),
        )),
    }
}

fn filter(message: &FilterMessage) -> Result<Filter> {
    let Some(ConfigType::TypedConfig(any)) = &message.config_type else {
        return Err(FieldError::new("typed_config", "is missing"));
    };
    match any.type_url.as_str() {
        type_url::HTTP_CONNECTION_MANAGER => connection_manager(any).map(Filter::Http),
        type_url::TCP_PROXY => tcp_proxy(any).map(Filter::Tcp),
        other => Err(FieldError::new(
            "",
            format!("type {other:?} is not supported"),
        )),
    }
    .within("typed_config")
}

fn connection_manager(any: &Any) -> Result<Routes> {
    let message: HttpConnectionManager = unpack(any, type_url::HTTP_CONNECTION_MANAGER)?;
    each(&message.http_filters, "http_filters", http_filter)?;
    match &message.route_specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            aggregated(rds.config_source.as_ref()).within("rds.config_source")?;
            if rds.route_config_name.is_empty() {
                return Err(FieldError::new("rds.route_config_name", "is missing"));
            }
            Ok(Routes::Named(Name::from(rds.route_config_name.as_str())))
        }
        Some(RouteSpecifier::RouteConfig(routes)) => Ok(Routes::Inline(Arc::new(
            route_configuration(routes).within("route_config")?,
        ))),
        Some(RouteSpecifier::ScopedRoutes(_)) => {
            Err(FieldError::new("scoped_routes", "is not supported"))
        }
        None => Err(FieldError::new("route_specifier", "is missing")),
    }
}

/// Only the router; others where the control plane can do without them.
fn http_filter(message: &HttpFilter) -> Result<()> {
    match &message.config_type {
        Some(http_filter::ConfigType::TypedConfig(any)) if any.type_url == type_url::ROUTER => {
            Ok(())
        }
        _ if message.is_optional || message.disabled => Ok(()),
        _ => Err(FieldError::new(
            "",
            format!("HTTP filter {:?} is not supported", message.name),
        )),
    }
}

fn tcp_proxy(any: &Any) -> Result<Name> {
    let message: TcpProxy = unpack(any, type_url::TCP_PROXY)?;
    none_of(&[
        (message.metadata_match.is_some(), "metadata_match"),
        (message.tunneling_config.is_some(), "tunneling_config"),
    ])?;
    match &message.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) if !name.is_empty() => Ok(Name::from(name.as_str())),
        Some(ClusterSpecifier::WeightedClusters(_)) => {
            Err(FieldError::new("weighted_clusters", "is not supported"))
        }
        _ => Err(FieldError::new("cluster", "is missing")),
    }
}
