//! Which version serves a request, and which session token its response carries.
//!
//! Routes are tried by `http`; here stands what follows from the one that matched: the draw by
//! weight, whether a live token placed the request, and the `Set-Cookie` of the version that
//! really served. It does not choose an endpoint (`balance`) and knows no token by itself: tokens
//! are header values that the control plane wrote.
//!
//! Invariant: the token on a response names the version whose endpoint answered, or there is none.
//!
//! Where a route weighs by hash, the same user gets the same choice for as long as the weights stand.
//! The choices take up the numbers from 0 in their order, so that a first one that grows only ever
//! wins users, and one that shrinks gives back those that it won last.
//!
//! Pure: random numbers are an argument.

mod cache;
mod hash;

pub use hash::{Key, key};

use crate::model::{Action, Cluster, Header, Route, VirtualHost, WeightedCluster};
use cache::may_be_stored_by_shared_cache;
use http::{
    HeaderMap,
    header::{COOKIE, SET_COOKIE},
};
use std::sync::Arc;

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// The cluster.
    pub cluster: &'a Arc<Cluster>,
    /// The choice that was drawn, where the route weighs.
    pub drawn: Option<&'a WeightedCluster>,
    /// A live session token decided.
    pub pinned: bool,
    /// By what the user is told apart.
    pub key: Key,
}

/// Applies a route. `draw` gives a number below its argument. None: the route names no cluster.
pub fn place<'a>(
    host: &VirtualHost,
    route: &'a Route,
    key: Key,
    draw: &mut impl FnMut(u64) -> u64,
) -> Option<Placement<'a>> {
    match &route.action {
        Action::Cluster(cluster) => Some(Placement {
            cluster,
            drawn: None,
            pinned: is_pinned(host, route),
            key,
        }),
        Action::Weighted {
            clusters,
            total,
            by_hash,
        } => {
            let total = u64::from((*total).max(1));
            let number = match key.hash.filter(|_| *by_hash) {
                Some(hash) => hash % total,
                None => draw(total),
            };
            let drawn = at(clusters, number)?;
            Some(Placement {
                cluster: &drawn.cluster,
                drawn: Some(drawn),
                pinned: is_pinned(host, route),
                key,
            })
        }
        Action::DirectResponse { .. } => None,
    }
}

/// The choice that takes up a number; weights of 0 take up none.
///
/// Source: Envoy's `WeightedClusterSpecifierPlugin`, which goes by the same order.
fn at(clusters: &[WeightedCluster], number: u64) -> Option<&WeightedCluster> {
    let mut rest = number;
    for choice in clusters {
        let weight = u64::from(choice.weight);
        if rest < weight {
            return Some(choice);
        }
        rest -= weight;
    }
    // Only where the weights sum to less than `total`.
    clusters.iter().rfind(|choice| choice.weight > 0)
}

/// True where a session cookie is what the route matches by.
fn is_pinned(host: &VirtualHost, route: &Route) -> bool {
    host.session_cookie.is_some()
        && route
            .headers
            .iter()
            .any(|matcher| matcher.name == COOKIE && !matcher.invert)
}

/// Adds to a response what its route asks for. `served` is the version of the endpoint that
/// answered. Returns true where the response begins a session.
pub fn decorate(
    response: &mut HeaderMap,
    host: &VirtualHost,
    route: &Route,
    placement: &Placement<'_>,
    served: Option<&str>,
) -> bool {
    let chosen = placement
        .drawn
        .map_or(&[][..], |drawn| drawn.response_headers.as_slice());
    if host.session_cookie.is_none() {
        append(response, route.response_headers.iter().chain(chosen));
        if let Some(cookie) = placement.key.made_up(&route.hash)
            && !may_be_stored_by_shared_cache(response)
        {
            append(response, std::iter::once(&cookie));
        }
        return false;
    }
    let sets_cookie = |header: &&Header| header.name == SET_COOKIE;
    let cookies_allowed = !may_be_stored_by_shared_cache(response);
    let planned = route.response_headers.iter().chain(chosen);
    append(response, planned.clone().filter(|h| !sets_cookie(h)));
    if !cookies_allowed {
        return false;
    }
    let began = match failed_over(placement.cluster, served) {
        Some(version) => append(
            response,
            tokens_of(host, version).iter().filter(sets_cookie),
        ),
        None => append(response, planned.filter(sets_cookie)),
    };
    began && !placement.pinned
}

/// The version that served, where it is another than the cluster's.
fn failed_over<'a>(cluster: &Cluster, served: Option<&'a str>) -> Option<&'a str> {
    let planned = cluster.version.as_deref()?;
    served.filter(|version| *version != planned)
}

/// The headers with a version's token: those by which its pinned sessions are renewed, else those
/// of the draw. A version's routes stand behind those of its control group, of which a session that
/// failed over is not one; hence the last.
fn tokens_of<'a>(host: &'a VirtualHost, version: &str) -> &'a [Header] {
    let is_its = |cluster: &Cluster| cluster.version.as_deref() == Some(version);
    let has_cookie =
        |headers: &&'a [Header]| headers.iter().any(|header| header.name == SET_COOKIE);
    let renewal = host.routes.iter().rev().find_map(|route| {
        let its = matches!(&route.action, Action::Cluster(cluster) if is_its(cluster));
        its.then_some(&route.response_headers[..])
            .filter(has_cookie)
    });
    let drawn = || {
        let weighted = host.routes.iter().rev().filter_map(|route| {
            let Action::Weighted { clusters, .. } = &route.action else {
                return None;
            };
            Some(clusters)
        });
        weighted
            .flatten()
            .filter(|choice| is_its(&choice.cluster))
            .map(|choice| &choice.response_headers[..])
            .find(has_cookie)
    };
    renewal.or_else(drawn).unwrap_or_default()
}

/// Appends; true where there was anything.
fn append<'a>(response: &mut HeaderMap, headers: impl Iterator<Item = &'a Header>) -> bool {
    let mut any = false;
    for header in headers {
        any |= response
            .try_append(header.name.clone(), header.value.clone())
            .is_ok();
    }
    any
}

#[cfg(test)]
mod tests;
