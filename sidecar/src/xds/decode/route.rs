//! `envoy.config.route.v3.RouteConfiguration`.

use super::{
    field::{Result, Within as _, aggregated, each, none_of},
    virtual_host::virtual_host,
};
use crate::store::resource::{Name, RouteConfiguration};
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration as Message;

/// A RouteConfiguration's content; inline ones need no name.
pub(super) fn route_configuration(message: &Message) -> Result<RouteConfiguration> {
    none_of(&[
        (
            !message.request_headers_to_add.is_empty(),
            "request_headers_to_add",
        ),
        (
            !message.request_headers_to_remove.is_empty(),
            "request_headers_to_remove",
        ),
        (
            !message.response_headers_to_add.is_empty(),
            "response_headers_to_add",
        ),
        (
            !message.response_headers_to_remove.is_empty(),
            "response_headers_to_remove",
        ),
        (
            !message.request_mirror_policies.is_empty(),
            "request_mirror_policies",
        ),
        (!message.vhost_header.is_empty(), "vhost_header"),
        (!message.route_specifiers.is_empty(), "route_specifiers"),
    ])?;
    if let Some(vhds) = &message.vhds {
        aggregated(vhds.config_source.as_ref()).within("vhds.config_source")?;
    }
    Ok(RouteConfiguration {
        name: Name::from(message.name.as_str()),
        virtual_hosts: each(&message.virtual_hosts, "virtual_hosts", virtual_host)?,
        on_demand: message.vhds.is_some(),
    })
}
