//! Going back where the disk refuses.
//!
//! Everything else waits until it can be written. A version that was found to be bad must not stay in
//! place for as long: its weight goes to 0 and its sessions are let go, which is the state that was
//! there before the upgrade and serves whatever comes next. The run says in a condition that this is
//! not on disk. A control plane that is killed meanwhile comes back at the weight that is, and decides
//! anew, by the same checks, fuses and reports; a rollback asked for by hand has to be asked again.
//! Nothing further is done with such a run (its instances do not drain) until it is written.

use super::{changes::Changes, core::Engine, run::Run};
use crate::model::{Condition, Timestamp, UpgradeKey, World};
use std::{collections::BTreeMap, sync::Arc};

/// The condition of a run that is ahead of the disk.
const JOURNAL_UNWRITABLE: &str = "JournalUnwritable";

impl Engine {
    /// Publishes that these runs go back, and nothing else. `rollbacks`: as of the moment when that
    /// was decided.
    pub(super) fn go_back_unwritten(
        &mut self,
        rollbacks: BTreeMap<UpgradeKey, Run>,
        now: Timestamp,
    ) -> Option<Arc<World>> {
        let generation = self.last_generation.next();
        // Only what stands on disk goes back, and by a generation that no later process gives out.
        let known = |(key, _): &(UpgradeKey, Run)| self.runs.contains_key(key);
        let rollbacks: Vec<(UpgradeKey, Run)> = rollbacks.into_iter().filter(known).collect();
        if rollbacks.is_empty() || generation.0 > self.reserved_generation {
            return None;
        }
        let mut services = self.world.services.clone();
        for (key, mut run) in rollbacks {
            let message = "it goes back, which could not be written: a control plane that is killed now forgets it and decides anew";
            let condition = Condition {
                status: true,
                reason: "DiskRefuses".to_owned(),
                message: message.to_owned(),
                at: now,
            };
            run.status
                .conditions
                .insert(JOURNAL_UNWRITABLE.to_owned(), condition);
            run.status.generation = Some(generation);
            run.resource_version += 1;
            let service = run.spec.service.clone();
            let memory = self.services.entry(service.clone()).or_default();
            memory.learn_from_run(&run);
            self.published_at.insert(key.clone(), now);
            self.unpublished.remove(&key);
            self.active.insert(key.clone());
            self.unwritten.insert(key.clone());
            self.untold.insert(key.clone());
            self.runs.insert(key, run);
            if let Some(view) = self.compose(&service, now) {
                services.insert(service, Arc::new(view));
            }
        }
        self.last_generation = generation;
        self.world = Arc::new(World {
            generation,
            services,
            workloads: self.catalog.workloads.clone(),
        });
        self.tell();
        Some(Arc::clone(&self.world))
    }

    /// What is ahead of the disk is part of every turn until it is written.
    pub(super) fn begin_to_write_again(&mut self, changes: &mut Changes) {
        for key in &self.unwritten {
            changes.touch(key, &self.runs);
            changes
                .services
                .get_or_insert_with(|| self.services.clone());
            if let Some(run) = self.runs.get_mut(key) {
                run.status.conditions.remove(JOURNAL_UNWRITABLE);
            }
        }
    }
}
