//! What is remembered of each service between runs, and which run begins next.
//!
//! Decides: which version is the stable one, which version of a service an upgrade goes to, and
//! that a version which was rolled back is not tried again before its instances left or somebody
//! asks. Pure.

use super::{index::Index, run::Run};
use crate::model::{Catalog, Phase, ServiceKey, UpgradeKey, UpgradeSpec, VersionId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is remembered of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ServiceMemory {
    /// The version that serves when no upgrade runs.
    pub stable: Option<VersionId>,
    /// How often each version was rolled back: part of its session token.
    pub epochs: BTreeMap<VersionId, u32>,
    /// Versions that were rolled back and whose instances never left since.
    pub rolled_back: BTreeSet<VersionId>,
}

impl ServiceMemory {
    /// How often a version was rolled back.
    pub(super) fn epoch(&self, version: &VersionId) -> u32 {
        self.epochs.get(version).copied().unwrap_or(0)
    }

    /// Takes over what a run says. While the sessions of a version that is rolled back are still
    /// held, so are their tokens.
    pub(super) fn learn_from_run(&mut self, run: &Run) {
        let status = &run.status;
        if status.phase == Phase::RollingBack && status.traffic.new_sessions_held {
            return;
        }
        let epoch = self.epochs.entry(run.spec.to.clone()).or_default();
        *epoch = (*epoch).max(run.status.token_epoch);
        if *epoch == 0 {
            self.epochs.remove(&run.spec.to);
        }
    }

    /// Takes over the end of a run.
    pub(super) fn learn_from_end(&mut self, run: &Run) {
        match run.status.phase {
            Phase::Succeeded => {
                self.stable = Some(run.spec.to.clone());
                self.rolled_back.remove(&run.spec.to);
            }
            Phase::RolledBack => {
                self.rolled_back.insert(run.spec.to.clone());
            }
            _ => {}
        }
    }

    /// Takes over which versions have instances, where no run is active: the only one there is
    /// the stable one.
    pub(super) fn learn_from_instances(&mut self, present: &BTreeSet<VersionId>, active: bool) {
        self.rolled_back.retain(|version| present.contains(version));
        if active {
            return;
        }
        if let (1, Some(only)) = (present.len(), present.first()) {
            self.stable = Some(only.clone());
            self.rolled_back.remove(only);
        } else if !self
            .stable
            .as_ref()
            .is_some_and(|stable| present.contains(stable))
            && !present.is_empty()
        {
            self.stable = None;
        }
    }
}

/// The versions that wait for a run: not the stable one, and not what is being upgraded.
pub(super) fn waiting(
    memory: &ServiceMemory,
    present: &BTreeSet<VersionId>,
    run: Option<&UpgradeSpec>,
) -> Vec<VersionId> {
    present
        .iter()
        .filter(|version| match run {
            Some(spec) => **version != spec.from && **version != spec.to,
            None => memory.stable.as_ref() != Some(*version),
        })
        .filter(|version| !memory.rolled_back.contains(*version))
        .cloned()
        .collect()
}

/// The run that begins next for a service without an active one.
pub(super) fn next_run(
    service: &ServiceKey,
    memory: &ServiceMemory,
    (catalog, index): (&Catalog, &Index),
    runs: &BTreeMap<UpgradeKey, Run>,
) -> Option<UpgradeSpec> {
    let present = index.versions(service);
    named(service, memory, catalog, &present)
        .find(|spec| !runs.contains_key(&spec.key))
        .cloned()
        .or_else(|| {
            let from = memory.stable.clone()?;
            if !present.contains(&from) {
                return None;
            }
            let to = waiting(memory, &present, None).into_iter().next()?;
            Some(UpgradeSpec {
                key: free_key(service, &to, runs),
                service: service.clone(),
                from,
                to,
                paused: false,
            })
        })
}

/// The upgrades asked for by name that could begin.
fn named<'a>(
    service: &'a ServiceKey,
    memory: &'a ServiceMemory,
    catalog: &'a Catalog,
    present: &'a BTreeSet<VersionId>,
) -> impl Iterator<Item = &'a UpgradeSpec> {
    catalog.upgrades.values().filter(move |spec| {
        let from_serves = match &memory.stable {
            Some(stable) => *stable == spec.from,
            None => present.contains(&spec.from),
        };
        spec.service == *service && from_serves && spec.from != spec.to
    })
}

/// `<service>-<to>-<n>`, the first `n` that is free.
pub(super) fn free_key(
    service: &ServiceKey,
    to: &VersionId,
    runs: &BTreeMap<UpgradeKey, Run>,
) -> UpgradeKey {
    let to: String =
        to.0.to_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
    let name =
        |n: usize| UpgradeKey::new(&service.namespace, &format!("{}-{to}-{n}", service.name));
    (1..=runs.len() + 1)
        .map(name)
        .find(|key| !runs.contains_key(key))
        .unwrap_or_else(|| name(runs.len() + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::tests::support::{at, checkout, quick},
        upgrade,
    };

    #[test]
    fn tokens_of_sessions_that_are_still_held_on_the_way_back_hold_on() {
        let spec = UpgradeSpec {
            key: UpgradeKey::new("shop", "checkout-v2-1"),
            service: checkout(),
            from: "v1".into(),
            to: "v2".into(),
            paused: false,
        };
        let mut run = Run::new(spec, upgrade::begin(&quick(), 1, at(0)), at(0));
        run.status.phase = Phase::RollingBack;
        run.status.token_epoch = 1;
        let mut memory = ServiceMemory::default();
        run.status.traffic.new_sessions_held = true;
        memory.learn_from_run(&run);
        assert_eq!(memory.epoch(&"v2".into()), 0);
        run.status.traffic.new_sessions_held = false;
        memory.learn_from_run(&run);
        assert_eq!(memory.epoch(&"v2".into()), 1);
    }
}
