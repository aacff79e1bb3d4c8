//! What one worker has for itself: its snapshot, its numbers, its connections, its random numbers.
//!
//! Everything that serves a connection holds an `Rc` of it. Nothing here is shared with another
//! thread, so there are no locks; nothing is borrowed over an await.
//!
//! Invariant: a request reads the one snapshot it took at its start.

mod breakers;
mod connections;
mod in_flight;
mod load;
mod records;

pub(crate) use breakers::{Full, Permit};
pub(crate) use connections::{Active, Connections, Entry, Flow};
pub(crate) use in_flight::{InFlight, Opaque};
pub(crate) use load::{Load, Slot};
pub use records::{AccessLog, Records};

use crate::{
    balance::{self, Bench, Choice, Conditions, Outcome},
    drain::Drain,
    model::{
        Action, Cluster, Discovery, Endpoint, EndpointId, Health, OutlierDetection, PathMatch,
        RetryPolicy, Route, Snapshot, Trial, UpstreamProtocol, VirtualHost,
    },
    store::{Question, Questions},
    upstream::Pool,
};
use segue_proto::names::PASSTHROUGH_CLUSTER;
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// How long an unanswered question is remembered: so long nobody waits for it again.
const QUESTION_MEMORY: Duration = Duration::from_secs(5);

/// What may come in floods is logged once in this time.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// A snapshot as requests hold it: one count up and down, on this thread alone.
pub(crate) type Current = Rc<Arc<Snapshot>>;

/// What a worker is set up with.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// SO_MARK of upstream sockets.
    pub mark: Option<u32>,
    /// The process's start.
    pub started: std::time::Instant,
    /// How long to wait for a client's first bytes before trying what speaks first.
    pub detect: Duration,
    /// How long a request's head may take from its first byte to its last.
    pub request_head: Duration,
    /// How long a client may leave what it owes, or what it is sent, where it is.
    pub stream_idle: Duration,
    /// How many workers there are: each takes its part of a cluster's limits.
    pub workers: u32,
    /// How many downstream connections may be open.
    pub max_connections: usize,
    /// How long a request waits for an answer of the control plane.
    pub on_demand: Duration,
    /// A drain is over once nothing happened for this time.
    pub quiet: Duration,
    /// How long streams may go on at an endpoint that drains.
    pub endpoint_drain: Duration,
    /// The time from one stream's end to the next while something drains.
    pub stream_gap: Option<Duration>,
    /// The sidecar's own listeners: nothing may be sent there.
    pub own: Vec<SocketAddr>,
}

/// What one worker has for itself.
pub(crate) struct Local {
    /// What it was set up with.
    pub limits: Limits,
    /// Its upstream connections.
    pub pool: Rc<Pool>,
    /// Its end.
    pub drain: Rc<Drain>,
    /// Its downstream connections.
    pub connections: Rc<Connections>,
    /// Its numbers.
    pub load: RefCell<Load>,
    /// Who is told of requests that are over, where anybody is.
    pub records: Option<Records>,
    /// What is under way in clusters that take only so much.
    pub breakers: RefCell<breakers::Breakers>,
    /// Where a request goes that the mesh does not know: its original destination.
    pub passthrough: Arc<VirtualHost>,
    current: RefCell<Current>,
    changed: Notify,
    random: RefCell<fastrand::Rng>,
    /// What is owed to endpoints in round robin, by their id.
    owed: RefCell<Vec<Option<i64>>>,
    questions: Questions,
    asked: RefCell<HashMap<Question, Instant>>,
    /// When something of which there may be a flood was last said.
    said: Cell<Option<Instant>>,
}

impl Local {
    /// A worker's beginning.
    pub(crate) fn new(
        limits: Limits,
        seed: u64,
        snapshot: Arc<Snapshot>,
        questions: Questions,
        records: Option<Records>,
    ) -> Rc<Self> {
        let pool = Pool::new(limits.mark);
        pool.follow(&snapshot);
        let connections = Connections::new(limits.max_connections);
        Rc::new(Self {
            limits,
            pool,
            drain: Rc::default(),
            connections,
            load: RefCell::default(),
            records,
            breakers: RefCell::default(),
            passthrough: passthrough_host(),
            current: RefCell::new(Rc::new(snapshot)),
            changed: Notify::new(),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            owed: RefCell::default(),
            questions,
            asked: RefCell::default(),
            said: Cell::new(None),
        })
    }

    /// The snapshot to serve by from now on.
    pub(crate) fn snapshot(&self) -> Current {
        Rc::clone(&self.current.borrow())
    }

    /// Serves by another snapshot from now on.
    pub(crate) fn apply(&self, snapshot: Arc<Snapshot>) {
        self.pool.follow(&snapshot);
        self.end_streams(&snapshot);
        *self.current.borrow_mut() = Rc::new(snapshot);
        self.changed.notify_waiters();
    }

    /// Streams at endpoints that drain are to end.
    fn end_streams(&self, snapshot: &Snapshot) {
        let endpoints = || snapshot.clusters.values().flat_map(|c| &c.endpoints);
        let drains = |endpoint: &&Endpoint| endpoint.health == Health::Draining;
        let draining: Vec<EndpointId> = endpoints().filter(drains).map(|e| e.id).collect();
        let serving = endpoints().filter(|endpoint| !drains(endpoint));
        let Limits {
            endpoint_drain,
            stream_gap,
            ..
        } = self.limits;
        let serving = serving.map(|endpoint| endpoint.id);
        self.drain
            .end_streams_at(&draining, serving, endpoint_drain, stream_gap);
    }

    /// A random number below `below` (0 where that is 0).
    pub(crate) fn draw(&self, below: u64) -> u64 {
        match below {
            0 => 0,
            below => self.random.borrow_mut().u64(..below),
        }
    }

    /// Milliseconds since the process's start.
    pub(crate) fn now(&self) -> u64 {
        let elapsed = self.limits.started.elapsed().as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX)
    }

    /// Says it, unless the like was said a moment ago.
    pub(crate) fn say_rarely(&self, say: impl FnOnce()) {
        let now = Instant::now();
        let said = self.said.get();
        if said.is_none_or(|said| now.duration_since(said) >= SAY_AGAIN) {
            self.said.set(Some(now));
            say();
        }
    }

    /// True for an address at which this sidecar itself listens.
    pub(crate) fn is_own(&self, address: SocketAddr) -> bool {
        self.limits.own.iter().any(|own| {
            own.port() == address.port() && (own.ip() == address.ip() || own.ip().is_unspecified())
        })
    }

    /// Picks an endpoint of a cluster.
    pub(crate) fn pick<'c>(
        &self,
        cluster: &'c Cluster,
        choice: Choice,
        tried: &[EndpointId],
    ) -> Option<&'c Endpoint> {
        self.choose(cluster, choice, tried, None)
    }

    /// Picks an endpoint for a request that may as well go elsewhere: where outlier detection
    /// watches, one that has never answered well gets only as many as eject it if they fail.
    pub(crate) fn pick_on_trial<'c>(
        &self,
        cluster: &'c Cluster,
        choice: Choice,
        tried: &[EndpointId],
    ) -> Option<(&'c Endpoint, Option<Trial>)> {
        let detection = cluster.outlier_detection.as_ref();
        let trials = detection.and_then(OutlierDetection::trials);
        loop {
            let Some(endpoint) = self.choose(cluster, choice, tried, trials) else {
                // Nobody else is left to serve it.
                let endpoint = self.pick(cluster, choice, tried)?;
                return Some((endpoint, None));
            };
            let limit = trials.filter(|_| endpoint.priority == 0 && !endpoint.state.is_proven());
            let Some(limit) = limit else {
                return Some((endpoint, None));
            };
            // Where another worker was faster, this one looks again.
            if let Some(trial) = Trial::begin(&endpoint.state, limit) {
                return Some((endpoint, Some(trial)));
            }
        }
    }

    fn choose<'c>(
        &self,
        cluster: &'c Cluster,
        choice: Choice,
        tried: &[EndpointId],
        trials: Option<u32>,
    ) -> Option<&'c Endpoint> {
        let conditions = Conditions {
            now: self.now(),
            tried,
            bench: self,
            trials,
        };
        balance::pick(cluster, choice, &conditions)
    }

    /// Counts how an exchange with an endpoint ended, and says so where that ejects it.
    pub(crate) fn report(&self, cluster: &Cluster, endpoint: &Endpoint, outcome: Outcome) {
        if let Some(time) = balance::report(cluster, endpoint, outcome, self.now()) {
            tracing::warn!(
                cluster = &*cluster.name,
                endpoint = %endpoint.address,
                seconds = time.as_secs(),
                "endpoint ejected: it failed several times in a row"
            );
        }
    }

    /// Asks the control plane and waits until a snapshot answers, at most [`Limits::on_demand`].
    /// Returns the newest snapshot either way.
    pub(crate) async fn ask(
        &self,
        question: Question,
        answered: impl Fn(&Snapshot) -> bool,
    ) -> Current {
        let deadline = self.put(question) + self.limits.on_demand;
        timeout_at(deadline, self.wait_for(answered))
            .await
            .unwrap_or_else(|_elapsed| self.snapshot())
    }

    /// Waits for a snapshot that answers.
    pub(crate) async fn wait_for(&self, answered: impl Fn(&Snapshot) -> bool) -> Current {
        loop {
            let changed = self.changed.notified();
            let snapshot = self.snapshot();
            if answered(&snapshot) {
                return snapshot;
            }
            changed.await;
        }
    }

    /// Sends a question, unless it was sent a moment ago; returns when it was.
    fn put(&self, question: Question) -> Instant {
        let now = Instant::now();
        let mut asked = self.asked.borrow_mut();
        asked.retain(|_, at| now.duration_since(*at) < QUESTION_MEMORY);
        if let Some(at) = asked.get(&question) {
            return *at;
        }
        asked.insert(question.clone(), now);
        if self.questions.send(question).is_err() {
            tracing::debug!("nobody answers questions any more");
        }
        now
    }
}

impl Bench for Local {
    fn draw(&self, below: u64) -> u64 {
        Self::draw(self, below)
    }

    fn active(&self, id: EndpointId) -> u64 {
        self.load.borrow().active(id)
    }

    fn owed(&self, id: EndpointId, change: i64, first: u64) -> i64 {
        let mut owed = self.owed.borrow_mut();
        let index = usize::try_from(id.0).unwrap_or(usize::MAX);
        if index >= owed.len() {
            owed.resize(index.saturating_add(1), None);
        }
        let Some(place) = owed.get_mut(index) else {
            return 0;
        };
        let begin = || i64::try_from(self.draw(first)).unwrap_or(0);
        let owed = place.unwrap_or_else(begin).saturating_add(change);
        *place = Some(owed);
        owed
    }
}

/// One route for everything: to where the connection was meant to go.
fn passthrough_host() -> Arc<VirtualHost> {
    Arc::new(VirtualHost {
        name: "passthrough".into(),
        routes: vec![Route {
            path: PathMatch::Prefix("".into()),
            headers: Vec::new(),
            action: Action::Cluster(passthrough_cluster()),
            removed_request_headers: Vec::new(),
            hash: Vec::new(),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            timeout: None,
        }],
        retry: RetryPolicy::default(),
        session_cookie: None,
    })
}

/// The cluster of whatever the mesh does not know; stands in until the control plane sends its own.
pub(crate) fn passthrough_cluster() -> Arc<Cluster> {
    Arc::new(Cluster {
        name: PASSTHROUGH_CLUSTER.into(),
        version: None,
        discovery: Discovery::OriginalDst,
        endpoints: Vec::new(),
        overprovisioning_factor: 140,
        balancing: crate::model::Balancing::default(),
        tables: Arc::default(),
        protocol: UpstreamProtocol::SameAsDownstream,
        connect_timeout: Duration::from_secs(10),
        outlier_detection: None,
    })
}
