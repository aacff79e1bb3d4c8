//! From a request's host and headers to a cluster.

use super::{Cluster, Discovery};
use http::{HeaderName, HeaderValue};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// The virtual hosts of one port.
#[derive(Clone, Debug)]
pub struct RouteConfiguration {
    /// Its xDS name: the port (`80`), or an inbound one.
    pub name: Arc<str>,
    /// By exact host, lower case, with and without port as the control plane lists them. `None`:
    /// known not to exist (answers an on-demand question).
    pub hosts: HashMap<Box<str>, Option<Arc<VirtualHost>>>,
    /// `*.suffix` domains without the star, longest first.
    pub suffixes: Vec<(Box<str>, Arc<VirtualHost>)>,
    /// The virtual host with domain `*`.
    pub any: Option<Arc<VirtualHost>>,
    /// Hosts that are not listed are asked for (VHDS).
    pub on_demand: bool,
}

/// The routes of one host.
#[derive(Clone, Debug)]
pub struct VirtualHost {
    /// Its xDS name.
    pub name: Arc<str>,
    /// The first that matches wins.
    pub routes: Vec<Route>,
    /// When a request may be sent again.
    pub retry: RetryPolicy,
    /// The name of the session cookie that this host's weighted clusters set, taken from their
    /// `Set-Cookie`; None: no affinity.
    pub session_cookie: Option<Box<str>>,
}

impl VirtualHost {
    /// Of an inbound listener: the cluster of the Pod's own application, where a route names it.
    pub fn own_application(&self) -> Option<&Arc<Cluster>> {
        let mut clusters = self.routes.iter().flat_map(Route::clusters);
        clusters.find(|cluster| cluster.discovery == Discovery::OriginalDst)
    }
}

/// One route: a condition and what to do.
#[derive(Clone, Debug)]
pub struct Route {
    /// The condition on the path.
    pub path: PathMatch,
    /// The conditions on headers; all must hold.
    pub headers: Vec<HeaderMatcher>,
    /// What the request's hash is made of; empty: it has none.
    pub hash: Vec<HashPolicy>,
    /// What to do.
    pub action: Action,
    /// Removed from requests before they go upstream.
    pub removed_request_headers: Vec<HeaderName>,
    /// Set on requests before they go upstream (overwriting).
    pub request_headers: Vec<Header>,
    /// Added to responses (appended).
    pub response_headers: Vec<Header>,
    /// How long the whole response may take to begin and end; None: for ever.
    pub timeout: Option<Duration>,
}

impl Route {
    /// The clusters that it names.
    fn clusters(&self) -> impl Iterator<Item = &Arc<Cluster>> {
        let (one, several) = match &self.action {
            Action::Cluster(cluster) => (Some(cluster), &[][..]),
            Action::Weighted { clusters, .. } => (None, clusters.as_slice()),
            Action::DirectResponse { .. } => (None, &[][..]),
        };
        let several = several.iter().map(|choice| &choice.cluster);
        one.into_iter().chain(several)
    }
}

/// One source of a request's hash. Those of a route are put together in their order.
///
/// Source: `envoy.config.route.v3.RouteAction.HashPolicy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// Once there is a hash, those after this one are left out.
    pub terminal: bool,
}

/// What is hashed. A request that lacks it has no hash by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashSource {
    /// The values of a header.
    Header(HeaderName),
    /// The client's IP address.
    SourceIp,
    /// The value of a cookie.
    Cookie {
        /// Its name.
        name: Box<str>,
        /// Where a request lacks it, one is made up: what stands behind its value in `Set-Cookie`
        /// (`; Path=/`). None: it is not made up.
        attributes: Option<Box<str>>,
    },
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The path begins with it.
    Prefix(Box<str>),
    /// The path (without the query) is it.
    Exact(Box<str>),
}

/// A condition on one header.
#[derive(Clone, Debug)]
pub struct HeaderMatcher {
    /// Which header.
    pub name: HeaderName,
    /// What its value must be. A header given several times matches where one value does.
    pub condition: HeaderMatch,
    /// The condition must not hold.
    pub invert: bool,
}

/// A condition on a header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderMatch {
    /// The header is there.
    Present,
    /// Equal.
    Exact(Box<str>),
    /// Begins with.
    Prefix(Box<str>),
    /// Ends with.
    Suffix(Box<str>),
    /// Contains.
    Contains(Box<str>),
}

/// What a route does with a request.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sends it to a cluster.
    Cluster(Arc<Cluster>),
    /// Sends it to one of several, drawn by weight. The weights sum to more than 0.
    Weighted {
        /// The choices.
        clusters: Vec<WeightedCluster>,
        /// The sum of their weights.
        total: u32,
        /// The request's hash decides, where it has one, and chance does not.
        by_hash: bool,
    },
    /// Answers without an upstream.
    DirectResponse {
        /// The status code.
        status: http::StatusCode,
        /// The body.
        body: bytes::Bytes,
    },
}

/// One choice of a weighted route.
#[derive(Clone, Debug)]
pub struct WeightedCluster {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Its weight.
    pub weight: u32,
    /// Set on its requests, beside the route's (overwriting).
    pub request_headers: Vec<Header>,
    /// Added to its responses: for a version's cluster, the `Set-Cookie` with its token.
    pub response_headers: Vec<Header>,
}

/// A header to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub name: HeaderName,
    /// Its value.
    pub value: HeaderValue,
}

/// When a request may be sent again. Never after a response began.
///
/// Source: `envoy.config.route.v3.RetryPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often at most, after the first try.
    pub num_retries: u32,
    /// `connect-failure`: no connection came about, so nothing was sent.
    pub connect_failure: bool,
    /// `refused-stream`: HTTP/2 peers that say they did not process it.
    pub refused_stream: bool,
}

impl Default for RetryPolicy {
    /// What can't change what an application sees: two more tries where nothing was processed.
    fn default() -> Self {
        Self {
            num_retries: 2,
            connect_failure: true,
            refused_stream: true,
        }
    }
}
