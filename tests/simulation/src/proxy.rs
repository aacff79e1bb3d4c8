//! A sidecar: the real ADS state machine, compiler and snapshots of the sidecar, two workers that
//! take each snapshot at a time of their own, and what it keeps on disk.

use super::{
    network::Up,
    queue::{ConnectionId, Event, Ms},
    simulation::Simulation,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use prost::Message as _;
use segue_sidecar::{
    model::{EndpointLoad, Snapshot},
    store::{Compiler, Question, disk::SavedResource},
    xds::{
        Backoff, Identity,
        stream::{Step as Next, Stream},
    },
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

/// Workers of each sidecar.
pub(crate) const WORKERS: usize = 2;
/// As `xds::client::keep`.
const DEBOUNCE: Ms = 200;
/// A proxy that was away for so long may be fenced: a little less than the lease.
const NEARLY_FENCED: Ms = 14_000;

/// One sidecar.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// The instance whose sidecar it is; None: a client's.
    pub(crate) instance: Option<String>,
    identity: Identity,
    pub(crate) stream: Stream,
    compiler: Compiler,
    workers: [Worker; WORKERS],
    pub(crate) alive: bool,
    /// Counts its processes.
    pub(crate) process: u32,
    started: Ms,
    pub(crate) connection: Option<ConnectionId>,
    pub(crate) backoff: Backoff,
    saved: Vec<SavedResource>,
    save_due: bool,
    deadline: Option<Duration>,
    pub(crate) partitioned_until: Ms,
    /// Since when the control plane has no stream of it.
    lost_since: Option<Ms>,
    /// It may have been fenced, and has not caught up since: nobody waits for it.
    fenced: bool,
    pub(crate) loads: BTreeMap<(Arc<str>, SocketAddr), EndpointLoad>,
    /// The host was known once: it never is not again.
    pub(crate) knew_host: bool,
}

#[derive(Debug, Default)]
struct Worker {
    snapshot: Arc<Snapshot>,
    revision: u64,
    coming: VecDeque<(u64, Arc<Snapshot>)>,
    next: Ms,
}

impl Proxy {
    fn new(name: &str, instance: Option<String>, seed: u64, now: Ms) -> Self {
        let identity = Identity {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            zone: String::new(),
        };
        Self {
            instance,
            stream: Stream::new(identity.node()),
            identity,
            compiler: Compiler::default(),
            workers: Default::default(),
            alive: true,
            process: 0,
            started: now,
            connection: None,
            backoff: Backoff::new(seed),
            saved: Vec::new(),
            save_due: false,
            deadline: None,
            partitioned_until: 0,
            lost_since: None,
            fenced: false,
            loads: BTreeMap::new(),
            knew_host: false,
        }
    }

    /// It is alive, and still that process.
    pub(crate) fn is(&self, process: u32) -> bool {
        self.alive && self.process == process
    }

    pub(crate) fn is_client(&self) -> bool {
        self.instance.is_none()
    }

    /// The snapshot that a worker serves by.
    pub(crate) fn snapshot(&self, worker: usize) -> Arc<Snapshot> {
        self.workers
            .get(worker)
            .map(|worker| Arc::clone(&worker.snapshot))
            .unwrap_or_default()
    }

    /// The snapshots that its workers serve by.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = &Arc<Snapshot>> {
        self.workers.iter().map(|worker| &worker.snapshot)
    }

    /// Since its process began.
    pub(crate) fn age(&self, now: Ms) -> Duration {
        Duration::from_millis(now - self.started)
    }

    /// The control plane lost its stream.
    pub(crate) fn is_lost(&mut self, now: Ms) {
        self.lost_since.get_or_insert(now);
    }

    /// A new process of the control plane waits for it anew.
    pub(crate) fn is_expected_back(&mut self, now: Ms) {
        if let Some(since) = &mut self.lost_since {
            self.fenced |= now - *since >= NEARLY_FENCED;
            *since = now;
        }
    }

    /// The control plane heard of it.
    pub(crate) fn is_seen(&mut self, in_sync: bool, now: Ms) {
        self.fenced = self.is_fenced(now) && !in_sync;
        self.lost_since = None;
    }

    /// Nobody need wait for it.
    pub(crate) fn is_fenced(&self, now: Ms) -> bool {
        let away = self
            .lost_since
            .is_some_and(|since| now - since >= NEARLY_FENCED);
        self.fenced || away
    }

    /// What happened while nobody listened is not reported; what is under way stays.
    pub(crate) fn forget_counts(&mut self) {
        for load in self.loads.values_mut() {
            *load = levels(load);
        }
    }
}

/// What is under way.
pub(crate) fn levels(load: &EndpointLoad) -> EndpointLoad {
    EndpointLoad {
        requests_active: load.requests_active,
        ..EndpointLoad::default()
    }
}

impl Simulation {
    pub(crate) fn add_proxy(&mut self, name: &str, instance: Option<String>) {
        let proxy = Proxy::new(name, instance, self.rng.u64(..), self.now);
        self.proxies.insert(name.to_owned(), proxy);
        self.begin_proxy(name);
    }

    fn begin_proxy(&mut self, name: &str) {
        let Some(proxy) = self.proxies.get(name) else {
            return;
        };
        let (process, is_client) = (proxy.process, proxy.is_client());
        self.within(0, 50, Event::Connect(name.to_owned(), process));
        self.within(100, 600, Event::Report(name.to_owned(), process));
        if is_client {
            self.ask_for_host(name);
        } else {
            self.within(0, 1_000, Event::Check(name.to_owned(), process));
        }
    }

    /// The application of a client's Pod is known to call the service.
    pub(crate) fn ask_for_host(&mut self, name: &str) {
        let now = self.now;
        let question = Question::VirtualHost {
            route_configuration: Arc::from("80"),
            host: super::route::HOST.into(),
        };
        if let Some(proxy) = self.proxies.get_mut(name) {
            let step = proxy.stream.ask(&question, proxy.age(now));
            self.carry_out(name, step);
        }
    }

    /// Its process ends, and another one begins by what it had on disk.
    pub(crate) fn kill_proxy(&mut self, name: &str, silently: bool) {
        let Some(proxy) = self.proxies.get_mut(name).filter(|proxy| proxy.alive) else {
            return;
        };
        proxy.alive = false;
        let connection = proxy.connection.take();
        self.note(&format!("{name} is killed"));
        if let Some(id) = connection {
            self.proxy_is_gone(id, silently);
        }
        self.requests.retain(|_, request| request.proxy != name);
    }

    pub(crate) fn start_proxy(&mut self, name: &str) {
        let (now, seed) = (self.now, self.rng.u64(..));
        let Some(old) = self.proxies.get(name).filter(|proxy| !proxy.alive) else {
            return;
        };
        let mut proxy = Proxy {
            process: old.process + 1,
            saved: old.saved.clone(),
            partitioned_until: old.partitioned_until,
            lost_since: old.lost_since,
            fenced: old.fenced,
            ..Proxy::new(name, old.instance.clone(), seed, now)
        };
        let saved = proxy.saved.clone();
        if !saved.is_empty() {
            proxy.stream.restore(saved, Duration::ZERO);
            let revision = proxy.stream.revision();
            let resources = proxy.stream.resources();
            let snapshot = Arc::new(proxy.compiler.compile(&resources, Duration::ZERO));
            for worker in &mut proxy.workers {
                worker.snapshot = Arc::clone(&snapshot);
                worker.revision = revision;
            }
            proxy.stream.applied(revision);
        }
        self.proxies.insert(name.to_owned(), proxy);
        self.note(&format!("{name} starts again"));
        self.begin_proxy(name);
    }

    pub(crate) fn send_requests(&mut self, name: &str, requests: Vec<DeltaDiscoveryRequest>) {
        let Some(id) = self.proxies.get(name).and_then(|proxy| proxy.connection) else {
            return;
        };
        for request in requests {
            self.send_up(id, Up::Ads(request.encode_to_vec()));
        }
    }

    pub(crate) fn proxy_receives(&mut self, name: &str, bytes: &[u8]) {
        let now = self.now;
        let Ok(response) = DeltaDiscoveryResponse::decode(bytes) else {
            return;
        };
        if let Some(proxy) = self.proxies.get_mut(name) {
            proxy.backoff.reset();
            let step = proxy.stream.receive(response, proxy.age(now));
            self.carry_out(name, step);
        }
    }

    fn carry_out(&mut self, name: &str, step: Next) {
        for reason in &step.refused {
            self.note(&format!("{name} refuses: {reason}"));
        }
        self.send_requests(name, step.requests);
        if let Some(revision) = step.publish {
            self.hand_to_workers(name, revision);
        }
        let Some(proxy) = self.proxies.get_mut(name) else {
            return;
        };
        let deadline = proxy.stream.deadline();
        if deadline.is_some() && deadline != proxy.deadline {
            let after = deadline.unwrap_or_default().as_millis();
            let at = proxy.started + u64::try_from(after).unwrap_or(Ms::MAX);
            let event = Event::Deadline(name.to_owned(), proxy.process);
            self.queue.push(at.max(self.now), event);
        }
        proxy.deadline = deadline;
    }

    fn hand_to_workers(&mut self, name: &str, revision: u64) {
        let now = self.now;
        let Some(proxy) = self.proxies.get_mut(name) else {
            return;
        };
        let resources = proxy.stream.resources();
        let snapshot = Arc::new(proxy.compiler.compile(&resources, proxy.age(now)));
        for (index, worker) in proxy.workers.iter_mut().enumerate() {
            worker.coming.push_back((revision, Arc::clone(&snapshot)));
            worker.next = worker.next.max(now + self.rng.u64(0..12));
            let event = Event::Swap(name.to_owned(), proxy.process, index);
            self.queue.push(worker.next, event);
        }
        if !std::mem::replace(&mut proxy.save_due, true) {
            let event = Event::Save(name.to_owned(), proxy.process);
            self.queue.push(now + DEBOUNCE, event);
        }
    }

    pub(crate) fn swap(&mut self, name: &str, process: u32, index: usize) {
        let Some(proxy) = self.proxies.get_mut(name).filter(|proxy| proxy.is(process)) else {
            return;
        };
        if let Some(worker) = proxy.workers.get_mut(index)
            && let Some((revision, snapshot)) = worker.coming.pop_front()
        {
            worker.revision = revision;
            worker.snapshot = snapshot;
        }
        let everywhere = proxy.workers.iter().map(|worker| worker.revision).min();
        let requests = proxy.stream.applied(everywhere.unwrap_or(0));
        self.send_requests(name, requests);
    }

    pub(crate) fn deadline(&mut self, name: &str, process: u32) {
        let now = self.now;
        if let Some(proxy) = self.proxies.get_mut(name).filter(|proxy| proxy.is(process)) {
            proxy.deadline = None;
            let step = proxy.stream.tick(proxy.age(now));
            self.carry_out(name, step);
        }
    }

    pub(crate) fn save(&mut self, name: &str, process: u32) {
        if let Some(proxy) = self.proxies.get_mut(name).filter(|proxy| proxy.is(process)) {
            proxy.save_due = false;
            proxy.saved = proxy.stream.saved();
        }
    }

    /// The name by which the control plane knows it.
    pub(crate) fn proxy_id(&self, name: &str) -> String {
        self.proxies
            .get(name)
            .map(|proxy| format!("{}/{}", proxy.identity.namespace, proxy.identity.name))
            .unwrap_or_default()
    }
}
