//! What tells users apart, as a route's hash policy.
//!
//! Envoy takes the hash of a header or an address like our sidecar. It makes up a missing cookie only
//! for clusters that balance by hash: behind a stock Envoy a request without the cookie is drawn by
//! chance, until the application or a sidecar has set one.

use super::wrap::duration;
use crate::model::{CookieAffinity, ShiftBy};
use envoy_types::pb::envoy::config::route::v3::route_action::{
    HashPolicy,
    hash_policy::{
        ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier as Specifier,
    },
};

pub(super) fn policy(by: &ShiftBy) -> HashPolicy {
    let specifier = match by {
        ShiftBy::Header(name) => Specifier::Header(Header {
            header_name: name.clone(),
            ..Header::default()
        }),
        ShiftBy::SourceIp => {
            Specifier::ConnectionProperties(ConnectionProperties { source_ip: true })
        }
        ShiftBy::Cookie(affinity) => Specifier::Cookie(cookie(affinity)),
    };
    HashPolicy {
        policy_specifier: Some(specifier),
        ..HashPolicy::default()
    }
}

fn cookie(affinity: &CookieAffinity) -> Cookie {
    let attribute = |name: &str, value: &str| CookieAttribute {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let mut attributes = vec![attribute("SameSite", affinity.same_site.as_str())];
    if affinity.secure {
        attributes.push(attribute("Secure", ""));
    }
    Cookie {
        name: affinity.name.clone(),
        ttl: Some(duration(affinity.ttl)),
        path: affinity.path.clone(),
        attributes,
    }
}
