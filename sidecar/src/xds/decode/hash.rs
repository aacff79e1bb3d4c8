//! `envoy.config.route.v3.RouteAction.HashPolicy`.

use super::{
    field::{FieldError, Result, Within as _, duration, none_of},
    headers::header_name,
};
use crate::model::{HashPolicy, HashSource};
use envoy_types::pb::envoy::config::route::v3::route_action::{
    HashPolicy as Message,
    hash_policy::{Cookie, PolicySpecifier},
};
use http::HeaderValue;
use std::fmt::Write as _;

/// One source of a request's hash.
pub(super) fn policy(message: &Message) -> Result<HashPolicy> {
    let source = match &message.policy_specifier {
        Some(PolicySpecifier::Header(header)) => {
            none_of(&[(header.regex_rewrite.is_some(), "regex_rewrite")]).within("header")?;
            HashSource::Header(header_name(&header.header_name).within("header")?)
        }
        Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => {
            HashSource::SourceIp
        }
        Some(PolicySpecifier::ConnectionProperties(_)) => {
            return Err(FieldError::new(
                "connection_properties.source_ip",
                "must be true",
            ));
        }
        Some(PolicySpecifier::Cookie(given)) => cookie(given).within("cookie")?,
        Some(_) => {
            return Err(FieldError::new(
                "policy_specifier",
                "only header, cookie and connection_properties are supported",
            ));
        }
        None => return Err(FieldError::new("policy_specifier", "is missing")),
    };
    Ok(HashPolicy {
        source,
        terminal: message.terminal,
    })
}

fn cookie(message: &Cookie) -> Result<HashSource> {
    if message.name.is_empty() {
        return Err(FieldError::new("name", "is missing"));
    }
    let attributes = message
        .ttl
        .as_ref()
        .map(|ttl| attributes(message, duration(ttl).within("ttl")?.as_secs()))
        .transpose()?;
    // What can't stand in a header is found out now and not at the first response.
    let sample = format!(
        "{}={}",
        message.name,
        attributes.as_deref().unwrap_or_default()
    );
    HeaderValue::from_str(&sample)
        .map_err(|_| FieldError::new("", "has characters that no header may have"))?;
    Ok(HashSource::Cookie {
        name: message.name.as_str().into(),
        attributes,
    })
}

/// What stands behind the value of a made up cookie. As Envoy writes it: 0 s is a session cookie.
fn attributes(message: &Cookie, max_age: u64) -> Result<Box<str>> {
    let mut text = String::new();
    let mut add = |name: &str, value: &str| {
        text.push_str("; ");
        text.push_str(name);
        if !value.is_empty() {
            text.push('=');
            text.push_str(value);
        }
    };
    if !message.path.is_empty() {
        add("Path", &message.path);
    }
    for attribute in &message.attributes {
        if attribute.name.is_empty() {
            return Err(FieldError::new("attributes", "one has no name"));
        }
        add(&attribute.name, &attribute.value);
    }
    add("HttpOnly", "");
    if max_age > 0 {
        write!(text, "; Max-Age={max_age}")
            .map_err(|_| FieldError::new("ttl", "can't be written"))?;
    }
    Ok(text.into())
}
