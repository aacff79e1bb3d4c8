//! Routes: which version a request goes to.
//!
//! First a route per version whose session token a request carries, then the draw by weight. The
//! draw's answers begin a session, those of a token that is due for renewal renew it.

use super::{
    Resource, cluster,
    wrap::{ads, duration, number},
};
use crate::model::{CookieAffinity, SameSite, ServicePort, ServiceView, SessionToken, VersionView};
use envoy_types::pb::envoy::{
    config::{
        core::v3::{
            DataSource, HeaderValue, HeaderValueOption, data_source::Specifier,
            header_value_option::HeaderAppendAction,
        },
        route::v3::{
            DirectResponseAction, HeaderMatcher, RetryPolicy, Route, RouteAction,
            RouteConfiguration, RouteMatch, Vhds, VirtualHost, WeightedCluster,
            header_matcher::HeaderMatchSpecifier, route::Action, route_action::ClusterSpecifier,
            route_match::PathSpecifier, weighted_cluster::ClusterWeight,
        },
    },
    r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
};
use segue_proto::names::{self, ClusterName};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// What a virtual host is to hold besides the split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The bare service name is one of its domains: the asker is of its namespace.
    pub short_name: bool,
    /// Session cookies are matched and set.
    pub sessions: bool,
}

/// The virtual host of one port of a service.
pub fn virtual_host(view: &ServiceView, port: &ServicePort, shape: Shape) -> VirtualHost {
    let affinity = view.affinity.as_ref().filter(|_| shape.sessions);
    let mut routes = Vec::new();
    if let Some(affinity) = affinity {
        for version in &view.versions {
            if let Some(token) = &version.token {
                let target = cluster::name(&view.service, port, version);
                routes.extend(pinned(affinity, token, &target));
            }
        }
    }
    routes.push(drawn(view, port, affinity));
    VirtualHost {
        name: format!("{}:{}", cluster::host(&view.service.key), port.port),
        domains: domains(view, port, shape.short_name),
        routes,
        retry_policy: Some(RetryPolicy {
            retry_on: "connect-failure,refused-stream".to_owned(),
            num_retries: Some(number(2)),
            ..RetryPolicy::default()
        }),
        ..VirtualHost::default()
    }
}

/// A route configuration that lists its virtual hosts. A domain that an earlier one has is left
/// out: one clash would make a proxy refuse them all.
pub fn configuration(name: &str, mut hosts: Vec<VirtualHost>) -> RouteConfiguration {
    let mut taken = BTreeSet::new();
    for host in &mut hosts {
        host.domains.retain(|domain| taken.insert(domain.clone()));
    }
    hosts.retain(|host| !host.domains.is_empty());
    RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: hosts,
        ..RouteConfiguration::default()
    }
}

/// A route configuration whose virtual hosts are asked for one by one.
pub fn on_demand(name: &str) -> Arc<Resource> {
    let configuration = RouteConfiguration {
        name: name.to_owned(),
        vhds: Some(Vhds {
            config_source: Some(ads()),
        }),
        ..RouteConfiguration::default()
    };
    Resource::new(name, &configuration, Vec::new())
}

/// The virtual host for all that the mesh does not know: where the client wanted to go.
pub fn passthrough() -> VirtualHost {
    everything("passthrough", names::PASSTHROUGH_CLUSTER)
}

/// The routes of a Pod's own application.
pub fn inbound(port: u16) -> RouteConfiguration {
    let cluster = ClusterName::Inbound { port }.to_string();
    configuration(&cluster, vec![everything(&cluster, &cluster)])
}

fn everything(name: &str, cluster: &str) -> VirtualHost {
    VirtualHost {
        name: name.to_owned(),
        domains: vec!["*".to_owned()],
        routes: vec![Route {
            r#match: Some(any_path(Vec::new())),
            action: Some(to(ClusterSpecifier::Cluster(cluster.to_owned()))),
            ..Route::default()
        }],
        ..VirtualHost::default()
    }
}

fn domains(view: &ServiceView, port: &ServicePort, short_name: bool) -> Vec<String> {
    let key = &view.service.key;
    let mut hosts = Vec::new();
    if short_name {
        hosts.push(key.name.to_string());
    }
    hosts.push(format!("{}.{}", key.name, key.namespace));
    hosts.push(format!("{}.{}.svc", key.name, key.namespace));
    hosts.push(cluster::host(key));
    hosts.extend(view.service.cluster_ip.map(|ip| match ip {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    }));
    hosts
        .into_iter()
        .flat_map(|host| {
            let with_port = format!("{host}:{}", port.port);
            [host, with_port]
        })
        .collect()
}

/// Two routes of one token: fresh ones pass, one that is due gets renewed.
fn pinned(affinity: &CookieAffinity, token: &SessionToken, cluster: &str) -> [Route; 2] {
    let route = |contains: String, response_headers_to_add| Route {
        r#match: Some(any_path(vec![HeaderMatcher {
            name: "cookie".to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
                match_pattern: Some(MatchPattern::Contains(contains)),
                ..StringMatcher::default()
            })),
            ..HeaderMatcher::default()
        }])),
        action: Some(to(ClusterSpecifier::Cluster(cluster.to_owned()))),
        response_headers_to_add,
        ..Route::default()
    };
    let fresh = format!("{}={}.{}", affinity.name, token.0, affinity.epoch);
    let any = format!("{}={}.", affinity.name, token.0);
    [
        route(fresh, Vec::new()),
        route(any, vec![set_cookie(affinity, token)]),
    ]
}

fn drawn(view: &ServiceView, port: &ServicePort, affinity: Option<&CookieAffinity>) -> Route {
    let action = if view.versions.is_empty() {
        no_instance(view)
    } else {
        let clusters = view
            .versions
            .iter()
            .map(|version| choice(view, port, version, affinity))
            .collect();
        to(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters,
            ..WeightedCluster::default()
        }))
    };
    Route {
        r#match: Some(any_path(Vec::new())),
        action: Some(action),
        ..Route::default()
    }
}

fn choice(
    view: &ServiceView,
    port: &ServicePort,
    version: &VersionView,
    affinity: Option<&CookieAffinity>,
) -> ClusterWeight {
    let cookie = affinity.zip(version.token.as_ref());
    ClusterWeight {
        name: cluster::name(&view.service, port, version),
        weight: Some(number(version.weight.basis_points().into())),
        response_headers_to_add: cookie
            .map(|(affinity, token)| set_cookie(affinity, token))
            .into_iter()
            .collect(),
        ..ClusterWeight::default()
    }
}

fn no_instance(view: &ServiceView) -> Action {
    Action::DirectResponse(DirectResponseAction {
        status: 503,
        body: Some(DataSource {
            specifier: Some(Specifier::InlineString(format!(
                "{} has no instance\n",
                view.service.key
            ))),
            ..DataSource::default()
        }),
        ..DirectResponseAction::default()
    })
}

fn any_path(headers: Vec<HeaderMatcher>) -> RouteMatch {
    RouteMatch {
        path_specifier: Some(PathSpecifier::Prefix("/".to_owned())),
        headers,
        ..RouteMatch::default()
    }
}

fn to(cluster: ClusterSpecifier) -> Action {
    Action::Route(RouteAction {
        cluster_specifier: Some(cluster),
        // Envoy's default of 15 s would cut streams.
        timeout: Some(duration(Duration::ZERO)),
        ..RouteAction::default()
    })
}

fn set_cookie(affinity: &CookieAffinity, token: &SessionToken) -> HeaderValueOption {
    let mut value = format!(
        "{}={}.{}; Path={}; Max-Age={}; HttpOnly; SameSite={}",
        affinity.name,
        token.0,
        affinity.epoch,
        affinity.path,
        affinity.ttl.as_secs(),
        match affinity.same_site {
            SameSite::Lax => "Lax",
            SameSite::Strict => "Strict",
            SameSite::None => "None",
        },
    );
    if affinity.secure {
        value.push_str("; Secure");
    }
    HeaderValueOption {
        header: Some(HeaderValue {
            key: "set-cookie".to_owned(),
            // A percent sign would begin one of Envoy's substitutions.
            value: value.replace('%', "%%"),
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::AppendIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
}
