//! Evidence: what load reports say of both versions of a run in the same seconds.
//!
//! Requests are told apart by the endpoint that served them, never by the cluster's name alone: what
//! failed over to the other version was served by that one. The old version's group is what its
//! control cluster sent to its endpoints where sessions are held on their version, else all of its
//! requests: where a hash tells the version both versions' users are its choice alike. Both
//! groups are seen from one place: by the clients' proxies, or by the instances' own.
//!
//! A report counts once, and only where it began after the present weight was applied everywhere and
//! after the instance's warm-up.

use super::{
    core::Engine,
    health::Healths,
    index::Index,
    load::{Loads, service_of},
    run::Run,
    served::Reported,
};
use crate::model::{
    Affinity, EndpointSample, Evidence, LoadSample, Policy, ServiceKey, Share, Side, Tally,
    Timestamp, UpgradeKey, WorkloadKey,
};
use segue_proto::names::{ClusterName, split_control};
use std::{sync::Arc, time::Duration};

/// Reports of so much time make one block, so that both groups are in it whoever reports first.
const BLOCK: Duration = Duration::from_millis(250);

/// Who counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The clients' proxies.
    Clients,
    /// The instances' own proxies.
    Instances,
}

/// One endpoint's numbers, and what they are about.
struct Said {
    service: ServiceKey,
    workload: WorkloadKey,
    place: Place,
    control: bool,
}

/// Counts of the two versions.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    new: u64,
    old: u64,
}

/// What the reports of one run said that no trial has taken in yet, and how the traffic splits.
/// Not on disk.
#[derive(Debug)]
pub(super) struct Gathered {
    clients: Evidence,
    instances: Evidence,
    /// A client's proxy has reported requests, so what clients see is the whole.
    clients_report: bool,
    /// When the present block began.
    since: Timestamp,
    /// Since the present weight was applied.
    new_sessions: Pair,
    client_requests: Pair,
    instance_requests: Pair,
    /// Since the run began, as far as this process saw.
    sessions: Pair,
    reported_new: Reported,
    reported_old: Reported,
}

impl Gathered {
    pub(super) fn new(since: Timestamp) -> Self {
        Self {
            clients: Evidence::default(),
            instances: Evidence::default(),
            clients_report: false,
            since,
            new_sessions: Pair::default(),
            client_requests: Pair::default(),
            instance_requests: Pair::default(),
            sessions: Pair::default(),
            reported_new: Reported::default(),
            reported_old: Reported::default(),
        }
    }

    /// A further weight is applied everywhere: what was counted before is about another one.
    pub(super) fn begin_step(&mut self, applied_at: Timestamp) {
        *self = Self {
            clients_report: self.clients_report,
            sessions: self.sessions,
            reported_new: std::mem::take(&mut self.reported_new),
            reported_old: std::mem::take(&mut self.reported_old),
            ..Self::new(applied_at)
        };
    }

    /// What came in since the last call, perhaps nothing, and over how long; None: too soon.
    pub(super) fn take(
        &mut self,
        run: &Run,
        policy: &Policy,
        (loads, index): (&Loads, &Index),
        now: Timestamp,
    ) -> Option<(Evidence, Duration)> {
        let over = now.since(self.since);
        if over < BLOCK {
            return None;
        }
        let place = self.place(run, policy, (loads, index));
        let (clients, instances) = (
            std::mem::take(&mut self.clients),
            std::mem::take(&mut self.instances),
        );
        self.since = now;
        let evidence = match place {
            Place::Clients => clients,
            Place::Instances => instances,
        };
        Some((evidence, over))
    }

    /// Where both groups can be seen.
    fn place(&self, run: &Run, policy: &Policy, (loads, index): (&Loads, &Index)) -> Place {
        let spec = &run.spec;
        let report_themselves = |version| {
            index
                .of_version(&spec.service, version)
                .any(|workload| loads.reports_itself(&workload.key))
        };
        let clients = match policy.affinity {
            Affinity::Cookie { .. } => self.clients_report,
            Affinity::None | Affinity::Shift(_) => {
                !(report_themselves(&spec.to) && report_themselves(&spec.from))
            }
        };
        if clients {
            Place::Clients
        } else {
            Place::Instances
        }
    }

    /// The new version's share of the sessions (of the requests, where there is no affinity) since
    /// the present weight was applied.
    pub(super) fn measured(
        &self,
        run: &Run,
        policy: &Policy,
        reports: (&Loads, &Index),
    ) -> Option<Share> {
        let pair = match (&policy.affinity, self.place(run, policy, reports)) {
            (Affinity::Cookie { .. }, _) => self.new_sessions,
            (Affinity::None | Affinity::Shift(_), Place::Clients) => self.client_requests,
            (Affinity::None | Affinity::Shift(_), Place::Instances) => self.instance_requests,
        };
        let (new, all) = (
            u128::from(pair.new),
            u128::from(pair.new) + u128::from(pair.old),
        );
        let points = (10_000 * new).checked_div(all)?;
        Share::from_basis_points(u16::try_from(points).ok()?)
    }

    /// Sessions of one side that began since the run did, as far as this process saw.
    pub(super) fn sessions(&self, side: Side) -> u64 {
        match side {
            Side::New => self.sessions.new,
            Side::Old => self.sessions.old,
        }
    }

    /// What was reported of one side since the run began, as far as this process saw.
    pub(super) fn reported(&self, side: Side) -> Reported {
        match side {
            Side::New => self.reported_new.clone(),
            Side::Old => self.reported_old.clone(),
        }
    }

    fn add_up(&mut self, place: Place, side: Side, sample: &EndpointSample) {
        let reported = match side {
            Side::New => &mut self.reported_new,
            Side::Old => &mut self.reported_old,
        };
        let sum = match place {
            Place::Clients => &mut reported.by_clients,
            Place::Instances => &mut reported.by_instances,
        };
        Arc::make_mut(sum).add(sample);
    }

    fn count(&mut self, place: Place, side: Side, sample: &EndpointSample) {
        let requests = match place {
            Place::Clients => &mut self.client_requests,
            Place::Instances => &mut self.instance_requests,
        };
        requests.add(side, sample.ended());
        // Where a session began, it began once: a client's proxy placed it, or, for a client without
        // one, the instance's.
        self.new_sessions.add(side, sample.new_sessions);
    }

    fn group(&mut self, place: Place, side: Side) -> &mut Tally {
        let evidence = match place {
            Place::Clients => &mut self.clients,
            Place::Instances => &mut self.instances,
        };
        match side {
            Side::New => &mut evidence.new,
            Side::Old => &mut evidence.old,
        }
    }
}

impl Pair {
    fn add(&mut self, side: Side, more: u64) {
        let sum = match side {
            Side::New => &mut self.new,
            Side::Old => &mut self.old,
        };
        *sum = sum.saturating_add(more);
    }
}

impl Engine {
    /// Sorts a report by runs. `since`: when the same proxy's report before came in; without one it
    /// is not known what this one is about.
    pub(super) fn gather(&mut self, sample: &LoadSample, since: Option<Timestamp>, now: Timestamp) {
        if self.active.is_empty() {
            return;
        }
        for endpoint in &sample.endpoints {
            for said in said(&self.index, sample, endpoint) {
                if let Some(key) = self.current.get(&said.service).cloned() {
                    self.gather_endpoint(&key, &said, endpoint, (since, now));
                }
            }
        }
    }

    fn gather_endpoint(
        &mut self,
        key: &UpgradeKey,
        said: &Said,
        sample: &EndpointSample,
        (since, now): (Option<Timestamp>, Timestamp),
    ) {
        let Some(run) = self.runs.get(key).filter(|run| run.is_active()) else {
            return;
        };
        let policy = self.policy_of(run);
        let version = self.catalog.workloads.get(&said.workload);
        let side = match version.map(|workload| &workload.version) {
            Some(version) if *version == run.spec.to => Side::New,
            Some(version) if *version == run.spec.from => Side::Old,
            _ => return,
        };
        let gathered = self
            .gathered
            .entry(key.clone())
            .or_insert_with(|| Gathered::new(now));
        if said.place == Place::Clients {
            gathered.clients_report |= sample.ended() > 0;
        }
        gathered.sessions.add(side, sample.new_sessions);
        gathered.add_up(said.place, side, sample);
        let Some(since) = since.filter(|since| run.is_analysed_since(*since)) else {
            return;
        };
        gathered.count(said.place, side, sample);
        let with_affinity = policy.affinity.holds_sessions();
        let counts =
            side == Side::New || said.place == Place::Instances || !with_affinity || said.control;
        if counts
            && is_warm(
                &self.healths,
                &said.workload,
                since,
                policy.analysis.warm_up,
            )
        {
            let mut tally = tally(sample);
            if said.place == Place::Clients && is_beside_a_sidecar(&self.loads, &self.healths, said)
            {
                leave_out_connects(&mut tally);
            }
            gathered.group(said.place, side).add(&tally);
        }
    }
}

/// What an endpoint's numbers are about: the service's instance that served. An instance's own
/// proxy does not say for which service it did; its port does.
fn said(index: &Index, sample: &LoadSample, endpoint: &EndpointSample) -> Vec<Said> {
    match endpoint.cluster.parse() {
        Ok(ClusterName::Outbound { version, host, .. }) => {
            let owner = endpoint.address.and_then(|address| index.owner(&address));
            let (Some(service), Some(workload)) = (service_of(&host), owner) else {
                return Vec::new();
            };
            if !index.services_of(workload).contains(&service) {
                return Vec::new();
            }
            vec![Said {
                service,
                workload: workload.clone(),
                place: Place::Clients,
                control: split_control(&version).1,
            }]
        }
        Ok(ClusterName::Inbound { port }) => {
            let Some(workload) = &sample.workload else {
                return Vec::new();
            };
            let services = index.services_of(workload).iter();
            services
                .filter(|service| index.serves_on(service, workload, port))
                .map(|service| Said {
                    service: service.clone(),
                    workload: workload.clone(),
                    place: Place::Instances,
                    control: false,
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

/// It was ready for long enough when the report began. One that has ceased to be ready since counts
/// on: what it answers is what clients get.
fn is_warm(healths: &Healths, workload: &WorkloadKey, since: Timestamp, warm_up: Duration) -> bool {
    healths
        .turned_ready(workload)
        .is_some_and(|ready| ready.after(warm_up) <= since)
}

/// Its own sidecar accepts connections for it, or did before its machine was lost.
fn is_beside_a_sidecar(loads: &Loads, healths: &Healths, said: &Said) -> bool {
    loads.reports_itself(&said.workload) || healths.is_lost(&said.workload)
}

/// Where a sidecar accepts, a connection that does not come about tells of a machine or a network,
/// and an application that is down fails its checks.
fn leave_out_connects(tally: &mut Tally) {
    let connects = std::mem::take(&mut tally.classes.connect).min(tally.errors);
    tally.errors -= connects;
    tally.requests = tally.requests.saturating_sub(connects);
}

fn tally(sample: &EndpointSample) -> Tally {
    Tally {
        requests: sample.ended(),
        errors: sample.errors,
        classes: sample.error_classes,
        latency: sample.latency.clone(),
    }
}
