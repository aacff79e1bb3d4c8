//! Routes: which version a request goes to.
//!
//! First the routes of each version whose session token a request carries, then the draw by weight.
//! The draw's answers begin a session, those of a token that is due for renewal renew it.
//!
//! A session cookie's value is `TOKEN.EPOCH`, or `TOKEN.MARK.EPOCH` where the session was drawn into
//! a version's control group. The token alone says which version serves; a mark that is no longer
//! used is left out when the cookie is renewed.

use super::{
    Resource, cluster, hash,
    wrap::{ads, duration, number},
};
use crate::model::{
    CookieAffinity, ServicePort, ServiceView, SessionToken, Share, ShiftBy, VersionView,
};
use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{
                DataSource, HeaderValue, HeaderValueOption, data_source::Specifier,
                header_value_option::HeaderAppendAction,
            },
            route::v3::{
                DirectResponseAction, HeaderMatcher, RetryPolicy, Route, RouteAction,
                RouteConfiguration, RouteMatch, Vhds, VirtualHost, WeightedCluster,
                header_matcher::HeaderMatchSpecifier,
                route::Action,
                route_action::ClusterSpecifier,
                route_match::PathSpecifier,
                weighted_cluster::{ClusterWeight, RandomValueSpecifier},
            },
        },
        r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern},
    },
    google::protobuf::BoolValue,
};
use segue_proto::names::{self, ClusterName};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// What the weights of a split sum to.
const WHOLE: u16 = Share::ALL.basis_points();

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
                routes.extend(pinned(view, port, affinity, version, token));
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

/// The routes of one token: first those of the control group's mark, then those of the version.
fn pinned(
    view: &ServiceView,
    port: &ServicePort,
    affinity: &CookieAffinity,
    version: &VersionView,
    token: &SessionToken,
) -> Vec<Route> {
    let way_back = way_back(view, port, affinity, version);
    let session = Session::of_group(version, token);
    let control = cluster::control_name(&view.service, port, version);
    let of_group = control.zip(session).into_iter();
    of_group
        .chain([(
            cluster::name(&view.service, port, version),
            Session { token, mark: None },
        )])
        .flat_map(|(cluster, session)| {
            let fresh = format!("{}={}{}", affinity.name, session.prefix(), affinity.epoch);
            let any = format!("{}={}", affinity.name, session.prefix());
            let renewed = vec![set_cookie(affinity, session)];
            [
                placed(fresh, &cluster, Vec::new(), way_back.as_ref()),
                placed(any, &cluster, renewed, way_back.as_ref()),
            ]
        })
        .collect()
}

/// One route of a token: to its cluster, but for what is let go.
fn placed(
    cookie: String,
    cluster: &str,
    renewal: Vec<HeaderValueOption>,
    way_back: Option<&ClusterWeight>,
) -> Route {
    let Some(way_back) = way_back else {
        let target = ClusterSpecifier::Cluster(cluster.to_owned());
        return with_cookie(cookie, to(target), renewal);
    };
    let released = way_back.weight.map_or(0, |weight| weight.value);
    let own = ClusterWeight {
        name: cluster.to_owned(),
        weight: Some(number(u32::from(WHOLE).saturating_sub(released))),
        response_headers_to_add: renewal,
        ..ClusterWeight::default()
    };
    let split = WeightedCluster {
        clusters: vec![own, way_back.clone()],
        ..WeightedCluster::default()
    };
    let target = ClusterSpecifier::WeightedClusters(split);
    with_cookie(cookie, to(target), Vec::new())
}

/// Where the sessions of a version go that are let go, with the cookie that keeps them there: a
/// session changes version at most once. None where none is let go, or where it could not be kept.
fn way_back(
    view: &ServiceView,
    port: &ServicePort,
    affinity: &CookieAffinity,
    version: &VersionView,
) -> Option<ClusterWeight> {
    let fallback = version.fallback.as_ref()?;
    let other = view.versions.iter().find(|other| other.id == *fallback)?;
    let token = other.token.as_ref()?;
    (version.released > Share::ZERO).then(|| ClusterWeight {
        name: cluster::name(&view.service, port, other),
        weight: Some(number(version.released.basis_points().into())),
        response_headers_to_add: vec![set_cookie(affinity, Session { token, mark: None })],
        ..ClusterWeight::default()
    })
}

fn with_cookie(
    contains: String,
    action: Action,
    response_headers_to_add: Vec<HeaderValueOption>,
) -> Route {
    Route {
        r#match: Some(any_path(vec![HeaderMatcher {
            name: "cookie".to_owned(),
            header_match_specifier: Some(HeaderMatchSpecifier::StringMatch(StringMatcher {
                match_pattern: Some(MatchPattern::Contains(contains)),
                ..StringMatcher::default()
            })),
            ..HeaderMatcher::default()
        }])),
        action: Some(action),
        response_headers_to_add,
        ..Route::default()
    }
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
        split(clusters, view.shift.as_ref())
    };
    Route {
        r#match: Some(any_path(Vec::new())),
        action: Some(action),
        ..Route::default()
    }
}

/// By chance; or by a hash of what tells users apart. The choices take up the hash's range in their
/// order, in Envoy as in ours: the new version stands first, so a weight that grows only wins it users.
fn split(clusters: Vec<ClusterWeight>, shift: Option<&ShiftBy>) -> Action {
    let by_hash = shift.map(|_| RandomValueSpecifier::UseHashPolicy(BoolValue { value: true }));
    let action = RouteAction {
        hash_policy: shift.map(hash::policy).into_iter().collect(),
        ..action(ClusterSpecifier::WeightedClusters(WeightedCluster {
            clusters,
            random_value_specifier: by_hash,
            ..WeightedCluster::default()
        }))
    };
    Action::Route(action)
}

fn choice(
    view: &ServiceView,
    port: &ServicePort,
    version: &VersionView,
    affinity: Option<&CookieAffinity>,
) -> ClusterWeight {
    let own = || cluster::name(&view.service, port, version);
    let cookie = affinity.zip(version.token.as_ref());
    let (name, cookie) = match cookie {
        None => (own(), None),
        Some((affinity, token)) => {
            let group = cluster::control_name(&view.service, port, version);
            let (name, session) = group
                .zip(Session::of_group(version, token))
                .unwrap_or_else(|| (own(), Session { token, mark: None }));
            (name, Some(set_cookie(affinity, session)))
        }
    };
    ClusterWeight {
        name,
        weight: Some(number(version.weight.basis_points().into())),
        response_headers_to_add: cookie.into_iter().collect(),
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
    Action::Route(action(cluster))
}

fn action(cluster: ClusterSpecifier) -> RouteAction {
    RouteAction {
        cluster_specifier: Some(cluster),
        // Envoy's default of 15 s would cut streams.
        timeout: Some(duration(Duration::ZERO)),
        ..RouteAction::default()
    }
}

/// Whose a session is.
#[derive(Clone, Copy)]
struct Session<'a> {
    token: &'a SessionToken,
    /// Of the version's control group.
    mark: Option<&'a str>,
}

impl<'a> Session<'a> {
    /// One of a version's control group, where it has one.
    fn of_group(version: &'a VersionView, token: &'a SessionToken) -> Option<Self> {
        let mark = Some(version.control.as_deref()?);
        Some(Self { token, mark })
    }

    /// What stands in the cookie before the epoch.
    fn prefix(self) -> String {
        match self.mark {
            Some(mark) => format!("{}.{mark}.", self.token.0),
            None => format!("{}.", self.token.0),
        }
    }
}

fn set_cookie(affinity: &CookieAffinity, session: Session<'_>) -> HeaderValueOption {
    let mut value = format!(
        "{}={}{}; Path={}; Max-Age={}; HttpOnly; SameSite={}",
        affinity.name,
        session.prefix(),
        affinity.epoch,
        affinity.path,
        affinity.ttl.as_secs(),
        affinity.same_site.as_str(),
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
