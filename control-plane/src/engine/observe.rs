//! What the engine sees when it looks at one run: instances, health, activity, the ACK barrier,
//! gathered into the [`Observation`] that `upgrade::advance` judges. What analysis says and what
//! people ask is added by who holds that.

use super::{
    board::VersionNumbers, health::Healths, index::Index, load::Loads, proxies::Proxies, run::Run,
};
use crate::model::{
    Applied, Catalog, InstanceObservation, Observation, Timestamp, VersionId, Workload,
};

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
        now: Timestamp,
    ) -> Observation {
        let service = &run.spec.service;
        let exists = |key: &_| self.catalog.workloads.contains_key(key);
        let applied = run
            .status
            .generation
            .map_or_else(Applied::default, |generation| {
                self.proxies
                    .applied(service, generation, published_at, exists)
            });
        let both = [&run.spec.from, &run.spec.to];
        let serving = both
            .into_iter()
            .flat_map(|version| self.index.of_version(service, version))
            .map(|workload| &workload.key)
            .filter(|key| self.healths.is_ready(key));
        let until = self.loads.known_until(serving, now);
        let (old, new) = (
            self.instances(run, &run.spec.from, until),
            self.instances(run, &run.spec.to, until),
        );
        let all = self.index.instances(service).len();
        let others = all.saturating_sub(old.len() + new.len());
        Observation {
            old,
            new,
            others: u32::try_from(others).unwrap_or(u32::MAX),
            applied,
            reports_pending: self.proxies.reports_pending(service, exists, now),
            last_old_session: self
                .loads
                .last_session(service, &run.spec.from)
                .max(unknown_before),
            ..Observation::default()
        }
    }

    fn instances(
        &self,
        run: &Run,
        version: &VersionId,
        until: Timestamp,
    ) -> Vec<InstanceObservation> {
        self.index
            .of_version(&run.spec.service, version)
            .map(|workload| self.instance(run, workload, until))
            .collect()
    }

    fn instance(&self, run: &Run, workload: &Workload, until: Timestamp) -> InstanceObservation {
        let key = &workload.key;
        let lost = self.healths.is_lost(key);
        let ready = self.healths.is_ready(key) && !lost;
        let failed_before = run.failed_before.get(key).copied().unwrap_or(0);
        let (recent_requests, recent_errors) = self.loads.recent(key, until);
        let activity = self.loads.activity(key, self.proxies.contains(key), until);
        InstanceObservation {
            workload: key.clone(),
            ready,
            checked: self.healths.is_checked(key),
            consecutive_failures: self.healths.failures(key),
            ejected_by: activity.ejected_by,
            active: activity.active,
            last_activity: activity.last_activity,
            last_report: activity.last_report,
            ready_since: self.healths.turned_ready(key).filter(|_| ready),
            restarts: self.healths.times_failed(key).saturating_sub(failed_before),
            lost,
            recent_requests,
            recent_errors,
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
