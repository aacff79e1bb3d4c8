//! The small messages that Envoy's API wraps values in.

use crate::model::VersionId;
use envoy_types::pb::{
    envoy::config::core::v3::{
        Address, AggregatedConfigSource, ApiVersion, ConfigSource, Metadata, SocketAddress,
        address, config_source::ConfigSourceSpecifier, socket_address::PortSpecifier,
    },
    google::protobuf::{BoolValue, Duration, Struct, UInt32Value, Value, value::Kind},
};
use segue_proto::names;
use std::{collections::HashMap, net::IpAddr};

pub(super) fn address(ip: IpAddr, port: u16) -> Address {
    Address {
        address: Some(address::Address::SocketAddress(SocketAddress {
            address: ip.to_string(),
            port_specifier: Some(PortSpecifier::PortValue(port.into())),
            ..SocketAddress::default()
        })),
    }
}

pub(super) fn number(value: u32) -> UInt32Value {
    UInt32Value { value }
}

pub(super) fn truth(value: bool) -> BoolValue {
    BoolValue { value }
}

pub(crate) fn duration(duration: std::time::Duration) -> Duration {
    Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

/// "By the stream that this came on."
pub(super) fn ads() -> ConfigSource {
    ConfigSource {
        resource_api_version: ApiVersion::V3.into(),
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

/// Says of an endpoint or a cluster which version it is.
///
/// Maps are encoded in no order: none of these has more than one entry, so that a resource's bytes
/// depend on its content alone.
pub(super) fn version_metadata(version: &VersionId) -> Metadata {
    let version = Value {
        kind: Some(Kind::StringValue(version.to_string())),
    };
    let said = Struct {
        fields: HashMap::from([(names::ENDPOINT_VERSION.to_owned(), version)]),
    };
    Metadata {
        filter_metadata: HashMap::from([(names::ENDPOINT_METADATA.to_owned(), said)]),
        ..Metadata::default()
    }
}
