//! What the engine sees when it looks at one run: instances, health, activity, the ACK barrier,
//! gathered into the [`Observation`] that `upgrade::advance` judges.

use super::{
    board::VersionNumbers, health::Healths, index::Index, load::Loads, proxies::Proxies, run::Run,
};
use crate::model::{
    Applied, Catalog, Command, Evidence, InstanceObservation, Observation, Timestamp, VersionId,
    Workload,
};
use std::sync::Arc;

/// Everything that is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Eyes<'a> {
    pub catalog: &'a Catalog,
    pub index: &'a Index,
    pub healths: &'a Healths,
    pub loads: &'a Loads,
    pub proxies: &'a Proxies,
}

impl Eyes<'_> {
    /// One run's observation. `published_at`: when its generation went out. `unknown_before`: the
    /// run is older than this process, so sessions until then were not seen.
    pub(super) fn observe(
        &self,
        run: &Run,
        published_at: Timestamp,
        unknown_before: Option<Timestamp>,
        commands: Vec<Command>,
    ) -> Observation {
        let service = &run.spec.service;
        let applied = run
            .status
            .generation
            .map_or_else(Applied::default, |generation| {
                self.proxies
                    .applied(service, generation, published_at, |key| {
                        self.catalog.workloads.contains_key(key)
                    })
            });
        let (old, new) = (
            self.instances(run, &run.spec.from),
            self.instances(run, &run.spec.to),
        );
        let all = self.index.instances(service).len();
        let others = all.saturating_sub(old.len() + new.len());
        Observation {
            old,
            new,
            others: u32::try_from(others).unwrap_or(u32::MAX),
            applied,
            last_old_session: self
                .loads
                .last_session(service, &run.spec.from)
                .max(unknown_before),
            commands,
            judgement: None,
            evidence: Evidence::default(),
        }
    }

    fn instances(&self, run: &Run, version: &VersionId) -> Vec<InstanceObservation> {
        self.index
            .of_version(&run.spec.service, version)
            .map(|workload| self.instance(workload))
            .collect()
    }

    fn instance(&self, workload: &Arc<Workload>) -> InstanceObservation {
        let key = &workload.key;
        let activity = self.loads.activity(key, self.proxies.contains(key));
        InstanceObservation {
            workload: key.clone(),
            ready: self.healths.is_ready(key),
            checked: self.healths.is_checked(key),
            consecutive_failures: self.healths.failures(key),
            ejected_by: activity.ejected_by,
            active: activity.active,
            last_activity: activity.last_activity,
            last_report: activity.last_report,
            ready_since: None,
            restarts: 0,
            lost: false,
            recent_requests: 0,
            recent_errors: 0,
        }
    }

    /// One version's numbers, for people.
    pub(super) fn numbers(&self, run: &Run, version: &VersionId, now: Timestamp) -> VersionNumbers {
        let mut numbers = VersionNumbers::new(version.clone());
        for workload in self.index.of_version(&run.spec.service, version) {
            let traffic = self.loads.traffic(&workload.key, now);
            numbers.instances += 1;
            numbers.ready += u32::from(self.healths.is_ready(&workload.key));
            numbers.requests_per_second += traffic.requests_per_second;
            numbers.errors_per_second += traffic.errors_per_second;
            numbers.active_requests = numbers.active_requests.saturating_add(traffic.requests);
            numbers.active_connections = numbers
                .active_connections
                .saturating_add(traffic.connections);
        }
        numbers
    }
}
