//! A request on its way through a client's sidecar, by the sidecar's real rules: match, place, pick,
//! decorate. What `http` does around them (tries, accounts) is followed here.

use super::{proxy::Proxy, queue::Ms};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use segue_sidecar::{
    affinity::{self, Key, Placement},
    balance::{self, Bench, Choice, Conditions, Outcome},
    http::matching,
    model::{
        Action, Cluster, Endpoint, EndpointId, EndpointLoad, ErrorClass, NetworkFilter,
        OutlierDetection, Snapshot, Trial, VirtualHost,
    },
};
use std::{cell::RefCell, sync::Arc};

/// As clients name the service.
pub(crate) const HOST: &str = "checkout.shop";
const PORT: u16 = 80;

/// How one try ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Answered(StatusCode),
    NoConnection,
    BrokeOff,
}

impl End {
    fn outcome(self) -> Outcome {
        match self {
            Self::Answered(status) => Outcome::of(status),
            Self::NoConnection | Self::BrokeOff => Outcome::GatewayFailure,
        }
    }

    fn error(self) -> Option<ErrorClass> {
        match self {
            Self::Answered(status) => status.is_server_error().then_some(ErrorClass::Response),
            Self::NoConnection => Some(ErrorClass::Connect),
            Self::BrokeOff => Some(ErrorClass::Reset),
        }
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) session: Option<usize>,
    pub(crate) proxy: String,
    /// Its sidecar may be fenced: it may not know what others do.
    pub(crate) fenced: bool,
    pub(crate) host: Arc<VirtualHost>,
    route: usize,
    pub(crate) cluster: Arc<Cluster>,
    drawn: Option<usize>,
    pub(crate) pinned: bool,
    pub(crate) endpoint: Option<Endpoint>,
    /// Where its endpoint has not answered well yet; given back where nobody learns how it ends.
    pub(crate) trial: Option<Trial>,
    pub(crate) tried: Vec<EndpointId>,
    pub(crate) started: Ms,
    /// The process of the instance that answers.
    pub(crate) serving: Option<(String, u32)>,
    /// Something broke at an instance that it was sent to.
    pub(crate) met_fault: bool,
}

/// What a snapshot says of the host.
pub(crate) fn find(snapshot: &Snapshot) -> Option<&Arc<VirtualHost>> {
    let listener = snapshot.outbound.as_ref()?;
    let routes = listener
        .chains
        .iter()
        .filter(|chain| chain.matches.destination_port == Some(PORT))
        .find_map(|chain| match &chain.filter {
            NetworkFilter::Http(manager) => Some(&manager.routes),
            NetworkFilter::Tcp(_) => None,
        })?;
    routes.hosts.get(HOST)?.as_ref()
}

/// Matches and places a request.
pub(crate) fn place(
    host: &Arc<VirtualHost>,
    cookie: Option<&str>,
    rng: &mut fastrand::Rng,
) -> Option<InFlight> {
    let mut headers = HeaderMap::new();
    if let Some(value) = cookie.and_then(|cookie| HeaderValue::from_str(cookie).ok()) {
        headers.insert(header::COOKIE, value);
    }
    let route = matching::route(host, "/", &headers)?;
    let placement = affinity::place(host, route, Key::default(), &mut |below| {
        rng.u64(..below.max(1))
    })?;
    let drawn = match (&route.action, placement.drawn) {
        (Action::Weighted { clusters, .. }, Some(drawn)) => clusters
            .iter()
            .position(|choice| std::ptr::eq(choice, drawn)),
        _ => None,
    };
    Some(InFlight {
        session: None,
        proxy: String::new(),
        fenced: false,
        route: host
            .routes
            .iter()
            .position(|one| std::ptr::eq(one, route))?,
        cluster: Arc::clone(placement.cluster),
        drawn,
        pinned: placement.pinned,
        host: Arc::clone(host),
        endpoint: None,
        trial: None,
        tried: Vec::new(),
        started: 0,
        serving: None,
        met_fault: false,
    })
}

/// The share of a version in the draw, in basis points.
pub(crate) fn weight(host: &VirtualHost, version: &str) -> Option<u32> {
    host.routes.iter().find_map(|route| match &route.action {
        Action::Weighted { clusters, .. } => Some(
            clusters
                .iter()
                .filter(|choice| version_of(&choice.cluster) == Some(version))
                .map(|choice| choice.weight)
                .sum(),
        ),
        _ => None,
    })
}

/// The version of a cluster, a control group's too.
pub(crate) fn version_of(cluster: &Cluster) -> Option<&str> {
    let version = cluster.version.as_deref()?;
    Some(segue_proto::names::split_control(version).0)
}

/// The worker that picks. Its clusters are not served in turn.
struct Worker<'a, A> {
    rng: RefCell<&'a mut fastrand::Rng>,
    active: A,
}

impl<A: Fn(EndpointId) -> u64> Bench for Worker<'_, A> {
    fn draw(&self, below: u64) -> u64 {
        self.rng.borrow_mut().u64(..below.max(1))
    }

    fn active(&self, id: EndpointId) -> u64 {
        (self.active)(id)
    }

    fn owed(&self, _: EndpointId, change: i64, _: u64) -> i64 {
        change
    }
}

impl Proxy {
    /// Picks an endpoint and counts the request there. False: none may serve.
    pub(crate) fn pick(
        &mut self,
        request: &mut InFlight,
        now: Ms,
        rng: &mut fastrand::Rng,
    ) -> bool {
        let elapsed = u64::try_from(self.age(now).as_millis()).unwrap_or(u64::MAX);
        let loads = &self.loads;
        let cluster = &request.cluster;
        let active = |id: EndpointId| {
            cluster
                .endpoints
                .iter()
                .find(|endpoint| endpoint.id == id)
                .and_then(|endpoint| loads.get(&(Arc::clone(&cluster.name), endpoint.address)))
                .map_or(0, |load| load.requests_active)
        };
        let worker = Worker {
            rng: RefCell::new(rng),
            active,
        };
        let pick = |trials| {
            let conditions = Conditions {
                now: elapsed,
                tried: &request.tried,
                bench: &worker,
                trials,
            };
            balance::pick(cluster, Choice::Balanced(None), &conditions).cloned()
        };
        let detection = cluster.outlier_detection.as_ref();
        let trials = detection
            .and_then(OutlierDetection::trials)
            .filter(|_| !request.pinned);
        let picked = pick(trials);
        request.trial = picked
            .as_ref()
            .filter(|one| one.priority == 0 && !one.state.is_proven())
            .zip(trials)
            .and_then(|(endpoint, limit)| Trial::begin(&endpoint.state, limit));
        request.endpoint = picked.or_else(|| pick(None));
        self.count(request, |load| {
            load.issued += 1;
            load.requests_active += 1;
        });
        request.endpoint.is_some()
    }

    /// Changes the numbers of a request's endpoint.
    pub(crate) fn count(&mut self, request: &InFlight, change: impl FnOnce(&mut EndpointLoad)) {
        if let Some(endpoint) = &request.endpoint {
            let key = (Arc::clone(&request.cluster.name), endpoint.address);
            change(self.loads.entry(key).or_default());
        }
    }

    /// The end of one try.
    pub(crate) fn ended(&mut self, request: &mut InFlight, end: End, now: Ms) {
        request.trial = None;
        let elapsed = u64::try_from(self.age(now).as_millis()).unwrap_or(u64::MAX);
        let us = (now - request.started) * 1_000;
        self.count(request, |load| {
            load.requests_active = load.requests_active.saturating_sub(1);
            match end.error() {
                None => load.succeeded += 1,
                Some(class) => load.errors.count(class),
            }
            load.latency.record(us);
        });
        if let Some(endpoint) = &request.endpoint {
            balance::report(&request.cluster, endpoint, end.outcome(), elapsed);
        }
    }
}

impl InFlight {
    /// The response's session cookie, if it gets one, and whether that begins a session.
    pub(crate) fn decorate(&self) -> (Option<String>, bool) {
        let Some(route) = self.host.routes.get(self.route) else {
            return (None, false);
        };
        let drawn = match (&route.action, self.drawn) {
            (Action::Weighted { clusters, .. }, Some(index)) => clusters.get(index),
            _ => None,
        };
        let placement = Placement {
            cluster: &self.cluster,
            drawn,
            pinned: self.pinned,
            key: Key::default(),
        };
        let mut headers = HeaderMap::new();
        let served = self
            .endpoint
            .as_ref()
            .and_then(|one| one.version.as_deref());
        let began = affinity::decorate(&mut headers, &self.host, route, &placement, served);
        let cookie = headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok()?.split(';').next())
            .next_back()
            .map(str::to_owned);
        (cookie, began)
    }

    pub(crate) fn served(&self) -> Option<&str> {
        self.endpoint.as_ref()?.version.as_deref()
    }
}
