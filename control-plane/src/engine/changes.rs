//! What a turn has changed: on its way to the disk, or taken back where the disk refuses.

use super::{core::Engine, journal::JournalError, run::Run, services};
use crate::model::{ServiceKey, UpgradeKey};
use std::collections::BTreeMap;

/// Generations reserved on disk at a time.
const GENERATIONS_RESERVED: u64 = 1_000;

/// What a turn has touched, to be written or taken back.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) runs: BTreeMap<UpgradeKey, Option<Run>>,
    pub(super) services: Option<BTreeMap<ServiceKey, services::ServiceMemory>>,
    pub(super) removed: Vec<UpgradeKey>,
}

impl Engine {
    /// Everything that changed, on disk.
    pub(super) fn write(&mut self, changes: &Changes) -> Result<(), JournalError> {
        if self.last_generation.0 > self.reserved_generation {
            let reserved = self.last_generation.0 + GENERATIONS_RESERVED;
            self.journal.reserve_generations(reserved)?;
            self.reserved_generation = reserved;
        }
        if let Some(records) = self.proxies.take_changed() {
            self.journal
                .write_proxies(&records)
                .inspect_err(|_| self.proxies.not_written())?;
        }
        if let Some(records) = self.healths.take_changed() {
            self.journal
                .write_health(&records)
                .inspect_err(|_| self.healths.not_written())?;
        }
        // The runs before what is remembered of services: after a crash between the two, the runs
        // teach the memory again.
        for (key, before) in &changes.runs {
            if let Some(run) = self.runs.get_mut(key)
                && before.as_ref() != Some(run)
            {
                run.resource_version += 1;
                self.journal.write_run(run)?;
            }
        }
        if changes.services.is_some() {
            self.journal.write_services(&self.services)?;
        }
        for key in &changes.removed {
            self.journal.remove_run(key)?;
        }
        Ok(())
    }

    pub(super) fn take_back(&mut self, changes: Changes) {
        for (key, before) in changes.runs {
            self.active.remove(&key);
            self.runs.remove(&key);
            if let Some(run) = before {
                if run.is_active() {
                    self.active.insert(key.clone());
                }
                self.runs.insert(key, run);
            }
        }
        self.current = super::core::newest(&self.runs);
        if let Some(services) = changes.services {
            self.services = services;
        }
        self.unsettled.extend(self.catalog.services.keys().cloned());
        self.dirty.extend(self.catalog.services.keys().cloned());
        self.dirty.extend(self.world.services.keys().cloned());
    }
}

impl Changes {
    /// Keeps what a run was before the turn.
    pub(super) fn touch(&mut self, key: &UpgradeKey, runs: &BTreeMap<UpgradeKey, Run>) {
        self.runs
            .entry(key.clone())
            .or_insert_with(|| runs.get(key).cloned());
    }
}
