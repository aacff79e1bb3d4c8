//! The engine's state and what comes into it.
//!
//! Synchronous and without a clock of its own: every input brings the time. [`super::task`] feeds
//! it; [`super::turn`] decides.

use super::{
    board::UpgradeView,
    compose,
    ends::Ends,
    evidence::Gathered,
    health::Healths,
    inbox::{Answer, Request},
    index::Index,
    journal::{DecisionLog, Journal, Line, Recovered},
    load::Loads,
    observe::Eyes,
    proxies::Proxies,
    run::Run,
    services::ServiceMemory,
    telling::{self, EventLog, Looked, Teller},
    token::TokenKey,
};
use crate::model::{
    Catalog, Command, Generation, Judgement, Observed, Policy, ProxyId, ServiceKey, Timestamp,
    UpgradeKey, WorkloadKey, World,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// The one writer: owns everything that changes.
#[derive(Debug)]
pub struct Engine {
    pub(super) journal: Journal,
    pub(super) started: Timestamp,
    pub(super) catalog: Catalog,
    pub(super) index: Index,
    pub(super) norms: Arc<Policy>,
    pub(super) healths: Healths,
    pub(super) loads: Loads,
    pub(super) proxies: Proxies,
    pub(super) tokens: TokenKey,
    pub(super) services: BTreeMap<ServiceKey, ServiceMemory>,
    pub(super) runs: BTreeMap<UpgradeKey, Run>,
    /// The newest run of each service.
    pub(super) current: BTreeMap<ServiceKey, UpgradeKey>,
    /// The runs that are not over.
    pub(super) active: BTreeSet<UpgradeKey>,
    /// Runs that began before this process did.
    pub(super) resumed: BTreeSet<UpgradeKey>,
    /// Runs whose status waits for a generation.
    pub(super) unpublished: BTreeSet<UpgradeKey>,
    /// Runs whose last decision may not have been published before a restart.
    pub(super) held_back: BTreeSet<UpgradeKey>,
    /// When each run's present generation went out.
    pub(super) published_at: BTreeMap<UpgradeKey, Timestamp>,
    /// What is to be put to each run, with the reason that was given.
    pub(super) commands: BTreeMap<UpgradeKey, Vec<(Command, String)>>,
    /// Services whose view may have changed.
    pub(super) dirty: BTreeSet<ServiceKey>,
    /// Services for which a run may have to begin.
    pub(super) unsettled: BTreeSet<ServiceKey>,
    pub(super) world: Arc<World>,
    pub(super) last_generation: Generation,
    pub(super) reserved_generation: u64,
    pub(super) answers: VecDeque<(Request, Answer)>,
    pub(super) views: BTreeMap<UpgradeKey, Arc<UpgradeView>>,
    pub(super) ends: Ends,
    pub(super) journal_error: Option<String>,
    /// Proxies whose reports told what they can't know.
    pub(super) disbelieved: BTreeSet<ProxyId>,
    /// What reports say of each run's traffic.
    pub(super) gathered: BTreeMap<UpgradeKey, Gathered>,
    /// What analysis said last, and when.
    pub(super) judged: BTreeMap<UpgradeKey, (Judgement, Timestamp)>,
    /// The last looks in the decision log.
    pub(super) looked: BTreeMap<UpgradeKey, Looked>,
    pub(super) teller: Teller,
    /// Runs with events that the outbox may not have.
    pub(super) untold: BTreeSet<UpgradeKey>,
    /// Runs to be written with the next turn though nothing was decided.
    pub(super) unflushed: BTreeSet<UpgradeKey>,
    /// Runs that go back and are ahead of the disk.
    pub(super) unwritten: BTreeSet<UpgradeKey>,
    /// Their lines of the decision log.
    pub(super) late_lines: VecDeque<Line>,
}

impl Engine {
    /// Goes on from what the journal recovered, with the first catalog. What happens goes to
    /// `events`.
    pub fn new(
        (journal, recovered): (Journal, Recovered),
        catalog: Catalog,
        proxy_lease: Duration,
        events: EventLog,
        now: Timestamp,
    ) -> Self {
        let runs = recovered.runs;
        let active: BTreeSet<UpgradeKey> = runs
            .iter()
            .filter(|(_, run)| run.is_active())
            .map(|(key, _)| key.clone())
            .collect();
        let published = |key: &&UpgradeKey| {
            runs.get(*key)
                .is_some_and(|run| run.status.generation.is_some())
        };
        let mut engine = Self {
            started: now,
            index: Index::default(),
            norms: Arc::new(Policy::default()),
            healths: Healths::recovered(recovered.health),
            loads: Loads::new(now),
            proxies: Proxies::recovered(recovered.proxies, proxy_lease, now),
            tokens: recovered.tokens,
            services: recovered.services,
            current: newest(&runs),
            resumed: runs.keys().cloned().collect(),
            held_back: BTreeSet::new(),
            // Their generation was the former process's: they get one of this one's.
            unpublished: active.iter().filter(published).cloned().collect(),
            published_at: BTreeMap::new(),
            commands: BTreeMap::new(),
            dirty: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            world: Arc::new(World::default()),
            last_generation: Generation(recovered.generation),
            reserved_generation: recovered.generation,
            answers: VecDeque::new(),
            views: BTreeMap::new(),
            ends: Ends::default(),
            journal_error: None,
            disbelieved: BTreeSet::new(),
            gathered: BTreeMap::new(),
            judged: BTreeMap::new(),
            looked: BTreeMap::new(),
            teller: Teller::new(events),
            untold: telling::untold(&runs).collect(),
            unflushed: BTreeSet::new(),
            unwritten: BTreeSet::new(),
            late_lines: VecDeque::new(),
            catalog: Catalog::default(),
            active,
            runs,
            journal,
        };
        for key in &engine.active {
            tracing::info!(upgrade = %key, "resumes");
        }
        engine.learn_from_runs();
        engine.hold_back_decisions();
        engine.catalog_changed(catalog);
        engine
    }

    /// A run is written before what is remembered of its service: after a crash in between it
    /// says what the memory lacks.
    fn learn_from_runs(&mut self) {
        for run in self.runs.values() {
            self.services
                .entry(run.spec.service.clone())
                .or_default()
                .learn_from_run(run);
        }
        for (service, key) in &self.current {
            let (Some(run), Some(memory)) = (self.runs.get(key), self.services.get_mut(service))
            else {
                continue;
            };
            if memory.stable.is_none() {
                memory.stable = Some(run.spec.from.clone());
            }
            if memory.stable.as_ref() == Some(&run.spec.from) {
                memory.learn_from_end(run);
            }
        }
    }

    /// A source has read a new catalog.
    pub fn catalog_changed(&mut self, catalog: Catalog) {
        self.index = Index::new(&catalog);
        self.healths.sync(&catalog);
        self.loads.retain(&self.index);
        self.dirty.extend(self.catalog.services.keys().cloned());
        self.dirty.extend(catalog.services.keys().cloned());
        self.unsettled.extend(catalog.services.keys().cloned());
        self.obey_manifests(&catalog);
        self.catalog = catalog;
    }

    /// A manifest pauses or resumes its run when it *changes*: what somebody asked by hand since
    /// stays until then.
    fn obey_manifests(&mut self, catalog: &Catalog) {
        for (key, spec) in &catalog.upgrades {
            let Some(run) = self.runs.get(key).filter(|run| run.is_active()) else {
                continue;
            };
            if (&run.spec.from, &run.spec.to, &run.spec.service)
                != (&spec.from, &spec.to, &spec.service)
            {
                tracing::warn!(
                    upgrade = %key, from = %run.spec.from, to = %run.spec.to,
                    "the manifest of a run under way asks for other versions now: without effect, give it another name"
                );
            }
            if run.manifest_paused == Some(spec.paused) || run.spec.paused == spec.paused {
                continue;
            }
            let command = if spec.paused {
                Command::Pause
            } else {
                Command::Resume
            };
            let asked = (command, "its manifest says so".to_owned());
            self.commands.entry(key.clone()).or_default().push(asked);
        }
    }

    /// A proxy was seen, or its reports came in.
    pub fn observed(&mut self, observed: Observed, now: Timestamp) {
        match observed {
            Observed::Proxy(state) => {
                let catalog = &self.catalog;
                let exists = |key: &WorkloadKey| catalog.workloads.contains_key(key);
                if let Ok(workload) = WorkloadKey::try_from(state.proxy.0.to_string())
                    && self.healths.find(&workload)
                {
                    self.dirty
                        .extend(self.index.services_of(&workload).iter().cloned());
                }
                self.proxies.seen(state, exists, now);
            }
            Observed::ProxyGone { proxy, clean } => {
                self.proxies.gone(&proxy, clean, now);
                self.loads.proxy_gone(&proxy, clean);
                self.disbelieved.remove(&proxy);
            }
            Observed::Load(sample) => {
                let proxy = &sample.proxy;
                if !self.loads.has_room_for(proxy) && !self.proxies.is_connected(proxy) {
                    return;
                }
                let sample = self.credible(sample);
                self.proxies.reported(&sample.proxy);
                let since = self.loads.record(&sample, &self.index);
                self.gather(&sample, since, now);
            }
            Observed::Metric(sample) => self.take_in_metric(&sample),
            Observed::Health(sample) => {
                let Some(workload) = self.catalog.workloads.get(&sample.workload) else {
                    return;
                };
                if self.healths.record(&sample, workload) {
                    let ready = self.healths.is_ready(&sample.workload);
                    tracing::info!(workload = %sample.workload, ready, "readiness changed");
                    self.dirty
                        .extend(self.index.services_of(&sample.workload).iter().cloned());
                }
            }
        }
    }

    /// Where decisions are read back.
    pub fn decisions(&self) -> &DecisionLog {
        self.journal.decisions()
    }

    /// Why the state folder can't be written, where it can't.
    pub fn journal_error(&self) -> Option<&str> {
        self.journal_error.as_deref()
    }

    pub(super) fn eyes(&self) -> Eyes<'_> {
        Eyes {
            catalog: &self.catalog,
            index: &self.index,
            healths: &self.healths,
            loads: &self.loads,
            proxies: &self.proxies,
        }
    }

    /// The policy of a run. One whose Service is out of the catalog, as in the middle of an edit,
    /// keeps the one that it had: nobody gets rid of limits that way.
    pub(super) fn policy_of(&self, run: &Run) -> Arc<Policy> {
        let service = &run.spec.service;
        let kept = run.logged_policy.as_ref();
        match kept.filter(|_| !self.catalog.policies.contains_key(service)) {
            Some(kept) => Arc::clone(kept),
            None => self.policy(service),
        }
    }

    pub(super) fn policy(&self, service: &ServiceKey) -> Arc<Policy> {
        let policy = self.catalog.policies.get(service).unwrap_or(&self.norms);
        Arc::clone(policy)
    }

    /// The run that shapes a service's traffic: an active one, or one that was rolled back while
    /// instances of its new version are still there beside the version that serves.
    fn run_in_force(&self, service: &ServiceKey, memory: &ServiceMemory) -> Option<&Run> {
        let run = self.runs.get(self.current.get(service)?)?;
        let lingers = || {
            memory.stable.as_ref() == Some(&run.spec.from)
                && memory.rolled_back.contains(&run.spec.to)
        };
        (run.is_active() || lingers()).then_some(run)
    }

    /// A service as proxies are to be told of it now.
    pub(super) fn compose(
        &self,
        key: &ServiceKey,
        now: Timestamp,
    ) -> Option<crate::model::ServiceView> {
        let service = self.catalog.services.get(key)?;
        let unknown = ServiceMemory::default();
        let memory = self.services.get(key).unwrap_or(&unknown);
        let run = self.run_in_force(key, memory).map(|run| self.as_told(run));
        Some(compose::view(&compose::Parts {
            service,
            instances: self.index.instances(key),
            healths: &self.healths,
            run: run.as_deref(),
            policy: &self.policy(key),
            memory,
            tokens: &self.tokens,
            now,
        }))
    }
}

/// The newest run of each service.
pub(super) fn newest(runs: &BTreeMap<UpgradeKey, Run>) -> BTreeMap<ServiceKey, UpgradeKey> {
    let mut newest: BTreeMap<ServiceKey, &Run> = BTreeMap::new();
    for run in runs.values() {
        let rank = |run: &Run| (run.is_active(), run.created);
        let other = newest.entry(run.spec.service.clone()).or_insert(run);
        if rank(run) > rank(other) {
            *other = run;
        }
    }
    newest
        .into_iter()
        .map(|(service, run)| (service, run.spec.key.clone()))
        .collect()
}
