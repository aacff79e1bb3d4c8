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
    CookieAffinity, ServicePort, ServiceView, SessionToken, Share, ShiftBy, VersionId, VersionView,
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
    let split = Split {
        view,
        port,
        affinity: view.affinity.as_ref().filter(|_| shape.sessions),
        home: None,
    };
    VirtualHost {
        domains: domains(view, port, shape.short_name),
        // What this proxy places, the sidecar of the instance must not place again.
        request_headers_to_add: view.placed.then(placed_header).into_iter().collect(),
        ..split.virtual_host()
    }
}

/// Names every version's cluster behind the route that takes all requests. gRPC connects to what a route
/// names and leaves out what has no weight; gRPC Go fails requests that a first weight gives to a cluster
/// which it has only just heard of.
pub fn ahead(view: &ServiceView, port: &ServicePort) -> Vec<Route> {
    let names = view.versions.iter();
    let names = names.map(|version| cluster::name(&view.service, port, version));
    names
        .map(|name| Route {
            r#match: Some(any_path(Vec::new())),
            action: Some(to(ClusterSpecifier::Cluster(name))),
            ..Route::default()
        })
        .collect()
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

pub(super) fn everything(name: &str, cluster: &str) -> VirtualHost {
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

pub(super) fn domains(view: &ServiceView, port: &ServicePort, short_name: bool) -> Vec<String> {
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

/// How the requests of a port are split, as one proxy sees it.
#[derive(Clone, Copy)]
pub(super) struct Split<'a> {
    /// The service.
    pub(super) view: &'a ServiceView,
    /// Its port.
    pub(super) port: &'a ServicePort,
    /// Session cookies are matched and set.
    pub(super) affinity: Option<&'a CookieAffinity>,
    /// Where the proxy is an instance's own: that instance.
    pub(super) home: Option<Home<'a>>,
}

/// An instance, for its own sidecar: what belongs to its version goes to its application.
#[derive(Clone, Copy)]
pub(super) struct Home<'a> {
    /// Its version.
    pub(super) version: &'a VersionId,
    /// Where its application serves the port.
    pub(super) port: u16,
}

/// Where a route leads.
struct Target {
    cluster: String,
    /// From one instance's sidecar to other instances.
    is_forwarded: bool,
}

impl Split<'_> {
    /// The virtual host, without the hosts that it is for.
    pub(super) fn virtual_host(&self) -> VirtualHost {
        let mut routes = Vec::new();
        if let Some(affinity) = self.affinity {
            for version in &self.view.versions {
                if let Some(token) = &version.token {
                    routes.extend(self.pinned(affinity, version, token));
                }
            }
        }
        routes.push(self.drawn());
        VirtualHost {
            name: format!(
                "{}:{}",
                cluster::host(&self.view.service.key),
                self.port.port
            ),
            routes,
            retry_policy: Some(RetryPolicy {
                retry_on: "connect-failure,refused-stream".to_owned(),
                num_retries: Some(number(2)),
                ..RetryPolicy::default()
            }),
            ..VirtualHost::default()
        }
    }

    /// A version's cluster; for the sidecar of one of its instances, the application there.
    fn target(&self, version: &VersionView) -> Target {
        match self.home {
            Some(home) if *home.version == version.id => Target {
                cluster: ClusterName::Inbound { port: home.port }.to_string(),
                is_forwarded: false,
            },
            home => Target {
                cluster: cluster::name(&self.view.service, self.port, version),
                is_forwarded: home.is_some(),
            },
        }
    }

    /// The same for its control group, where it has one.
    fn control_target(&self, version: &VersionView) -> Option<Target> {
        let control = cluster::control_name(&self.view.service, self.port, version)?;
        let target = self.target(version);
        Some(match self.home {
            Some(home) if *home.version == version.id => target,
            _ => Target {
                cluster: control,
                ..target
            },
        })
    }

    /// The routes of one token: first those of the control group's mark, then those of the version.
    fn pinned(
        &self,
        affinity: &CookieAffinity,
        version: &VersionView,
        token: &SessionToken,
    ) -> Vec<Route> {
        let way_back = self.way_back(affinity, version);
        let session = Session::of_group(version, token);
        let of_group = self.control_target(version).zip(session).into_iter();
        of_group
            .chain([(self.target(version), Session { token, mark: None })])
            .flat_map(|(target, session)| {
                let fresh = format!("{}={}{}", affinity.name, session.prefix(), affinity.epoch);
                let any = format!("{}={}", affinity.name, session.prefix());
                let renewed = vec![set_cookie(affinity, session)];
                [
                    placed(fresh, &target, Vec::new(), way_back.as_ref()),
                    placed(any, &target, renewed, way_back.as_ref()),
                ]
            })
            .collect()
    }

    /// Where the sessions of a version go that are let go, with the cookie that keeps them there: a
    /// session changes version at most once. None where none is let go, or where it could not be kept.
    fn way_back(&self, affinity: &CookieAffinity, version: &VersionView) -> Option<ClusterWeight> {
        let fallback = version.fallback.as_ref()?;
        let mut versions = self.view.versions.iter();
        let other = versions.find(|other| other.id == *fallback)?;
        let token = other.token.as_ref()?;
        (version.released > Share::ZERO).then(|| {
            let cookie = set_cookie(affinity, Session { token, mark: None });
            weighted(
                self.target(other),
                version.released.basis_points().into(),
                vec![cookie],
            )
        })
    }

    fn drawn(&self) -> Route {
        let action = if self.view.versions.is_empty() {
            no_instance(self.view)
        } else {
            let versions = self.view.versions.iter();
            let clusters = versions.map(|version| self.choice(version)).collect();
            split(clusters, self.view.shift.as_ref())
        };
        Route {
            r#match: Some(any_path(Vec::new())),
            action: Some(action),
            ..Route::default()
        }
    }

    fn choice(&self, version: &VersionView) -> ClusterWeight {
        let weight = version.weight.basis_points().into();
        let Some((affinity, token)) = self.affinity.zip(version.token.as_ref()) else {
            return weighted(self.target(version), weight, Vec::new());
        };
        let (target, session) = self
            .control_target(version)
            .zip(Session::of_group(version, token))
            .unwrap_or_else(|| (self.target(version), Session { token, mark: None }));
        weighted(target, weight, vec![set_cookie(affinity, session)])
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

/// One route of a token: to its cluster, but for what is let go.
fn placed(
    cookie: String,
    target: &Target,
    renewal: Vec<HeaderValueOption>,
    way_back: Option<&ClusterWeight>,
) -> Route {
    let Some(way_back) = way_back else {
        let action = to(ClusterSpecifier::Cluster(target.cluster.clone()));
        return Route {
            request_headers_to_add: target.request_headers(),
            ..with_cookie(cookie, action, renewal)
        };
    };
    let released = way_back.weight.map_or(0, |weight| weight.value);
    let own = ClusterWeight {
        name: target.cluster.clone(),
        weight: Some(number(u32::from(WHOLE).saturating_sub(released))),
        request_headers_to_add: target.request_headers(),
        response_headers_to_add: renewal,
        ..ClusterWeight::default()
    };
    let split = WeightedCluster {
        clusters: vec![own, way_back.clone()],
        ..WeightedCluster::default()
    };
    let action = to(ClusterSpecifier::WeightedClusters(split));
    with_cookie(cookie, action, Vec::new())
}

impl Target {
    fn request_headers(&self) -> Vec<HeaderValueOption> {
        self.is_forwarded.then(placed_header).into_iter().collect()
    }
}

fn weighted(target: Target, weight: u32, cookie: Vec<HeaderValueOption>) -> ClusterWeight {
    ClusterWeight {
        request_headers_to_add: target.request_headers(),
        name: target.cluster,
        weight: Some(number(weight)),
        response_headers_to_add: cookie,
        ..ClusterWeight::default()
    }
}

/// Whatever a client says of itself is overwritten.
fn placed_header() -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue {
            key: names::PLACED_HEADER.to_owned(),
            value: "1".to_owned(),
            ..HeaderValue::default()
        }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        ..HeaderValueOption::default()
    }
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

pub(super) fn any_path(headers: Vec<HeaderMatcher>) -> RouteMatch {
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
