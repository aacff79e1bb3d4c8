//! Virtual hosts and their routes, resolved.

use super::Clusters;
use crate::{
    model::{Action, Header, Route, RouteConfiguration, VirtualHost, WeightedCluster},
    store::resource::{self, Name},
};
use http::header::SET_COOKIE;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// A route configuration that nobody sent.
pub(super) fn empty(name: &Name) -> RouteConfiguration {
    RouteConfiguration {
        name: Arc::clone(name),
        hosts: HashMap::new(),
        suffixes: Vec::new(),
        any: None,
        on_demand: false,
    }
}

/// A route configuration with the virtual hosts it lists and those asked for on demand.
pub(super) fn table(
    name: &Name,
    given: &resource::RouteConfiguration,
    on_demand: &BTreeMap<Name, Option<Arc<resource::VirtualHost>>>,
    clusters: &mut Clusters<'_>,
) -> RouteConfiguration {
    let mut table = RouteConfiguration {
        on_demand: given.on_demand,
        ..empty(name)
    };
    for host in &given.virtual_hosts {
        let resolved = Arc::new(virtual_host(host, clusters));
        for domain in &host.domains {
            add_domain(&mut table, domain, &resolved);
        }
    }
    table
        .suffixes
        .sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
    if given.on_demand {
        let prefix = format!("{name}/");
        let asked = on_demand
            .range::<str, _>((
                std::ops::Bound::Included(prefix.as_str()),
                std::ops::Bound::Unbounded,
            ))
            .map_while(|(asked, host)| Some((asked.strip_prefix(prefix.as_str())?, host)));
        for (host, answer) in asked {
            let resolved = answer
                .as_ref()
                .map(|answer| Arc::new(virtual_host(answer, clusters)));
            table.hosts.insert(host.into(), resolved);
        }
    }
    table
}

fn add_domain(table: &mut RouteConfiguration, domain: &str, host: &Arc<VirtualHost>) {
    if domain == "*" {
        table.any.get_or_insert_with(|| Arc::clone(host));
    } else if let Some(suffix) = domain.strip_prefix('*') {
        table.suffixes.push((suffix.into(), Arc::clone(host)));
    } else {
        table
            .hosts
            .entry(domain.into())
            .or_insert_with(|| Some(Arc::clone(host)));
    }
}

fn virtual_host(given: &resource::VirtualHost, clusters: &mut Clusters<'_>) -> VirtualHost {
    let routes: Vec<Route> = given
        .routes
        .iter()
        .map(|given| route(given, clusters))
        .collect();
    VirtualHost {
        name: Arc::clone(&given.name),
        session_cookie: routes.iter().find_map(session_cookie),
        routes,
        retry: given.retry,
    }
}

fn route(given: &resource::Route, clusters: &mut Clusters<'_>) -> Route {
    let action = match &given.action {
        resource::Action::Cluster(name) => Action::Cluster(clusters.get(name)),
        resource::Action::Weighted {
            clusters: choices,
            by_hash,
        } => Action::Weighted {
            by_hash: *by_hash,
            total: choices.iter().map(|choice| choice.weight).sum(),
            clusters: choices
                .iter()
                .map(|choice| WeightedCluster {
                    cluster: clusters.get(&choice.cluster),
                    weight: choice.weight,
                    request_headers: choice.request_headers.clone(),
                    response_headers: choice.response_headers.clone(),
                })
                .collect(),
        },
        resource::Action::DirectResponse { status, body } => Action::DirectResponse {
            status: *status,
            body: body.clone(),
        },
    };
    Route {
        path: given.path.clone(),
        headers: given.headers.clone(),
        hash: given.hash.clone(),
        action,
        removed_request_headers: given.removed_request_headers.clone(),
        request_headers: given.request_headers.clone(),
        response_headers: given.response_headers.clone(),
        timeout: given.timeout,
    }
}

/// The name of the cookie that a weighted route sets: it tells a session's version.
fn session_cookie(route: &Route) -> Option<Box<str>> {
    let Action::Weighted { clusters, .. } = &route.action else {
        return None;
    };
    clusters
        .iter()
        .flat_map(|choice| &choice.response_headers)
        .find_map(cookie_name)
}

fn cookie_name(header: &Header) -> Option<Box<str>> {
    if header.name != SET_COOKIE {
        return None;
    }
    let (name, _) = header.value.to_str().ok()?.split_once('=')?;
    Some(name.trim().into())
}
