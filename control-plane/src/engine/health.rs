//! Which instances are ready, from single check results.
//!
//! An instance with a probe is not ready until its first success; one without a probe is ready
//! until its checks say otherwise. What was last known is kept over a restart, so that a control
//! plane that comes back takes no instance out of service. Invariant: exactly the catalog's
//! workloads are known.
//!
//! Checks are made by an instance's own sidecar. An instance with a probe that nobody checks is not
//! ready, so no upgrade goes to it; but it is taken for well ("assumed") after a while where it is of
//! the version that serves already: a mesh that comes to a running service must not stop it.
//!
//! An instance is lost where its own proxy broke off, did not come back within the lease and nobody
//! has checked it since: its machine is gone, which its last known readiness does not tell.

use crate::model::{Catalog, HealthSample, Timestamp, VersionId, Workload, WorkloadKey};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

/// Failures in a row that take out an instance without a probe of its own.
const DEFAULT_FAILURE_THRESHOLD: u32 = 3;

/// An instance with a probe that nobody checks for so long is on its own.
const UNCHECKED: Duration = Duration::from_secs(15);

/// What outlives the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReadinessRecord {
    version: VersionId,
    address: IpAddr,
    ready: bool,
    /// It was ready at some time: what fails since then fails, and does not merely come up.
    #[serde(default)]
    proven: bool,
    /// Nobody checks it.
    #[serde(default)]
    assumed: bool,
    /// When it last became ready (or was first taken for well).
    #[serde(default)]
    ready_since: Option<Timestamp>,
    /// How often it ceased to be ready.
    #[serde(default)]
    failed: u32,
    /// Its machine is lost.
    #[serde(default)]
    lost: bool,
}

#[derive(Debug)]
struct Readiness {
    record: ReadinessRecord,
    failures: u32,
    successes: u32,
    /// Since when nobody has checked it.
    unchecked_since: Option<Timestamp>,
    /// When it was last checked, as far as this process saw.
    checked_at: Option<Timestamp>,
}

/// The readiness of every instance.
#[derive(Debug, Default)]
pub(super) struct Healths {
    known: BTreeMap<WorkloadKey, Readiness>,
    changed: bool,
}

impl Healths {
    pub(super) fn recovered(records: BTreeMap<WorkloadKey, ReadinessRecord>) -> Self {
        let known = records
            .into_iter()
            .map(|(key, record)| (key, Readiness::of(record)))
            .collect();
        Self {
            known,
            changed: false,
        }
    }

    /// Takes up new instances, forgets those that went. A workload that came back as another
    /// version or elsewhere is a new instance.
    pub(super) fn sync(&mut self, catalog: &Catalog) {
        let before = self.known.len();
        self.known.retain(|key, known| {
            catalog
                .workloads
                .get(key)
                .is_some_and(|workload| known.record.is_of(workload))
        });
        self.changed |= self.known.len() != before;
        for (key, workload) in &catalog.workloads {
            if !self.known.contains_key(key) {
                let record = ReadinessRecord {
                    version: workload.version.clone(),
                    address: workload.address,
                    ready: workload.readiness.is_none(),
                    proven: workload.readiness.is_none(),
                    assumed: false,
                    ready_since: None,
                    failed: 0,
                    lost: false,
                };
                self.known.insert(key.clone(), Readiness::of(record));
                self.changed = true;
            }
        }
    }

    /// Counts one check result. True where the instance became ready or ceased to be.
    pub(super) fn record(&mut self, sample: &HealthSample, workload: &Workload) -> bool {
        let Some(known) = self.known.get_mut(&sample.workload) else {
            return false;
        };
        let (to_fail, to_pass) = workload
            .readiness
            .as_ref()
            .map_or((DEFAULT_FAILURE_THRESHOLD, 1), |probe| {
                (probe.failure_threshold, probe.success_threshold)
            });
        known.checked_at = known.checked_at.max(Some(sample.at));
        if sample.healthy {
            known.failures = 0;
            known.successes = known.successes.saturating_add(1);
        } else {
            known.successes = 0;
            known.failures = known.failures.saturating_add(1);
        }
        let ready = if known.record.ready {
            known.failures < to_fail.max(1)
        } else {
            known.successes >= to_pass.max(1)
        };
        let record = &mut known.record;
        let flipped = ready != record.ready || record.assumed || record.lost;
        if ready && !record.ready {
            record.ready_since = Some(sample.at);
        } else if record.ready && !ready {
            record.failed = record.failed.saturating_add(1);
        }
        record.assumed = false;
        record.lost = false;
        record.ready = ready;
        record.proven |= ready;
        self.changed |= flipped;
        flipped
    }

    /// Its own proxy broke off then and is not back within the lease. True where that is news: it
    /// has not been checked since.
    pub(super) fn lose(&mut self, workload: &WorkloadKey, since: Timestamp) -> bool {
        let Some(known) = self.known.get_mut(workload) else {
            return false;
        };
        let news = !known.record.lost && known.checked_at.is_none_or(|at| at <= since);
        known.record.lost |= news;
        self.changed |= news;
        news
    }

    /// Its own proxy is back. True where that is news.
    pub(super) fn find(&mut self, workload: &WorkloadKey) -> bool {
        let Some(known) = self.known.get_mut(workload) else {
            return false;
        };
        let news = std::mem::take(&mut known.record.lost);
        self.changed |= news;
        news
    }

    /// Takes those that nobody has checked for a while for well; says which ones are new.
    pub(super) fn assume(&mut self, now: Timestamp) -> Vec<WorkloadKey> {
        let mut news = Vec::new();
        for (key, known) in &mut self.known {
            if known.record.ready && known.record.ready_since.is_none() {
                // Without a probe: ready from the start.
                known.record.ready_since = Some(now);
                self.changed = true;
            }
            if known.is_checked() || known.record.assumed {
                continue;
            }
            let since = *known.unchecked_since.get_or_insert(now);
            if now.since(since) >= UNCHECKED {
                known.record.assumed = true;
                known.record.ready_since.get_or_insert(now);
                news.push(key.clone());
            }
        }
        self.changed |= !news.is_empty();
        news
    }

    /// Nobody checks it, and so it is taken for well where it serves already.
    pub(super) fn is_assumed(&self, workload: &WorkloadKey) -> bool {
        self.known
            .get(workload)
            .is_some_and(|known| known.record.assumed)
    }

    /// A check of it has ended, or it needs none.
    pub(super) fn is_checked(&self, workload: &WorkloadKey) -> bool {
        self.known.get(workload).is_some_and(Readiness::is_checked)
    }

    pub(super) fn is_ready(&self, workload: &WorkloadKey) -> bool {
        self.known
            .get(workload)
            .is_some_and(|known| known.record.ready)
    }

    /// Its machine is lost.
    pub(super) fn is_lost(&self, workload: &WorkloadKey) -> bool {
        self.known
            .get(workload)
            .is_some_and(|known| known.record.lost)
    }

    /// Ready, for traffic: a lost instance as long only as no other one of its version could stand
    /// in for it. Where all are lost, it is more likely that this control plane is cut off.
    pub(super) fn may_serve(&self, workload: &Workload, instances: &[Arc<Workload>]) -> bool {
        let stands_in = |other: &Arc<Workload>| {
            other.version == workload.version
                && self.is_ready(&other.key)
                && !self.is_lost(&other.key)
        };
        self.is_ready(&workload.key)
            && !(self.is_lost(&workload.key) && instances.iter().any(stands_in))
    }

    /// When an instance last became ready, though it may have ceased to be.
    pub(super) fn turned_ready(&self, workload: &WorkloadKey) -> Option<Timestamp> {
        self.known.get(workload)?.record.ready_since
    }

    /// How often an instance ceased to be ready.
    pub(super) fn times_failed(&self, workload: &WorkloadKey) -> u32 {
        self.known
            .get(workload)
            .map_or(0, |known| known.record.failed)
    }

    /// Failed checks in a row, of an instance that was ready before: one that still comes up has
    /// not failed.
    pub(super) fn failures(&self, workload: &WorkloadKey) -> u32 {
        self.known
            .get(workload)
            .filter(|known| known.record.proven)
            .map_or(0, |known| known.failures)
    }

    /// What is to be written, where it changed since the last call.
    pub(super) fn take_changed(&mut self) -> Option<BTreeMap<WorkloadKey, ReadinessRecord>> {
        std::mem::take(&mut self.changed).then(|| {
            self.known
                .iter()
                .map(|(key, known)| (key.clone(), known.record.clone()))
                .collect()
        })
    }

    /// The records were not written: they are still to be.
    pub(super) fn not_written(&mut self) {
        self.changed = true;
    }
}

impl Readiness {
    fn of(record: ReadinessRecord) -> Self {
        Self {
            record,
            failures: 0,
            successes: 0,
            unchecked_since: None,
            checked_at: None,
        }
    }

    fn is_checked(&self) -> bool {
        self.record.ready || self.failures > 0 || self.successes > 0
    }
}

impl ReadinessRecord {
    fn is_of(&self, workload: &Workload) -> bool {
        self.version == workload.version && self.address == workload.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::support::{at, catalog, sample, workload};

    fn ready_after(healths: &mut Healths, results: &[bool]) -> bool {
        let workload = workload("a-0", "v1", 1);
        for healthy in results {
            healths.record(&sample("a-0", *healthy), &workload);
        }
        healths.is_ready(&workload.key)
    }

    #[test]
    fn an_instance_with_a_probe_is_ready_from_its_first_success() {
        let mut healths = Healths::default();
        healths.sync(&catalog(&[("a-0", "v1")]));
        assert!(!ready_after(&mut healths, &[false]));
        assert!(ready_after(&mut healths, &[true]));
    }

    #[test]
    fn it_takes_as_many_failures_in_a_row_as_the_probe_says() {
        let mut healths = Healths::default();
        healths.sync(&catalog(&[("a-0", "v1")]));
        assert!(ready_after(
            &mut healths,
            &[true, false, false, true, false, false]
        ));
        assert!(!ready_after(&mut healths, &[false]));
        assert_eq!(healths.failures(&WorkloadKey::new("shop", "a-0")), 3);
    }

    #[test]
    fn readiness_outlives_a_restart_but_not_a_change_of_version() {
        let mut healths = Healths::default();
        healths.sync(&catalog(&[("a-0", "v1")]));
        ready_after(&mut healths, &[true]);
        let records = healths.take_changed().unwrap();

        let mut same = Healths::recovered(records.clone());
        same.sync(&catalog(&[("a-0", "v1")]));
        assert!(same.is_ready(&WorkloadKey::new("shop", "a-0")));

        let mut other = Healths::recovered(records);
        other.sync(&catalog(&[("a-0", "v2")]));
        assert!(!other.is_ready(&WorkloadKey::new("shop", "a-0")));
    }

    #[test]
    fn each_time_it_ceases_to_be_ready_counts_and_outlives_a_restart() {
        let key = WorkloadKey::new("shop", "a-0");
        let mut healths = Healths::default();
        healths.sync(&catalog(&[("a-0", "v1")]));
        let down = [true, false, false, false];
        ready_after(&mut healths, &down);
        ready_after(&mut healths, &down);
        assert_eq!(healths.times_failed(&key), 2);
        let mut after = Healths::recovered(healths.take_changed().unwrap());
        ready_after(&mut after, &down);
        assert_eq!(after.times_failed(&key), 3);
    }

    #[test]
    fn a_lost_instance_serves_only_where_no_other_one_of_its_version_can() {
        let catalog = catalog(&[("a-0", "v1"), ("a-1", "v1"), ("b-0", "v2")]);
        let instances: Vec<Arc<Workload>> = catalog.workloads.values().cloned().collect();
        let mut healths = Healths::default();
        healths.sync(&catalog);
        for workload in &instances {
            healths.record(&sample(&workload.key.name, true), workload);
        }
        let serving = |healths: &Healths| -> Vec<bool> {
            let all = instances.iter();
            all.map(|i| healths.may_serve(i, &instances)).collect()
        };
        let key = |name| WorkloadKey::new("shop", name);
        assert!(healths.lose(&key("a-0"), at(5)));
        assert!(healths.lose(&key("b-0"), at(5)));
        assert_eq!(serving(&healths), [false, true, true]);
        assert!(healths.lose(&key("a-1"), at(5)));
        assert_eq!(serving(&healths), [true; 3]);
        assert!(healths.find(&key("a-1")));
        assert_eq!(serving(&healths), [false, true, true]);
    }

    #[test]
    fn an_instance_that_is_still_checked_is_not_lost() {
        let key = WorkloadKey::new("shop", "a-0");
        let mut healths = Healths::default();
        healths.sync(&catalog(&[("a-0", "v1")]));
        let checked = HealthSample {
            at: at(6),
            ..sample("a-0", true)
        };
        healths.record(&checked, &workload("a-0", "v1", 1));
        assert!(!healths.lose(&key, at(5)));
        assert!(healths.lose(&key, at(7)));
        healths.record(
            &HealthSample {
                at: at(9),
                ..checked
            },
            &workload("a-0", "v1", 1),
        );
        assert!(!healths.is_lost(&key));
    }
}
