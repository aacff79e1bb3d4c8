//! One turn of the engine: decide, write down, and only then publish.
//!
//! Order matters: first everything that changed is on disk, then the world goes out. So a control
//! plane that is killed at any instruction finds on disk at least what proxies were told. Where
//! the disk refuses, the whole turn is taken back and nothing is published but the way back of a
//! version that is bad: see [`super::unwritten`].

use super::{changes::Changes, core::Engine, run::Run, services};
use crate::{
    model::{Generation, ServiceKey, Timestamp, UpgradeKey, UpgradeSpec, WorkloadKey, World},
    upgrade,
};
use std::{collections::BTreeSet, sync::Arc};

/// Worlds within one turn: a step that nobody has to ACK is followed by the next at once.
const MAX_ROUNDS: usize = 16;
/// Runs kept of each service.
const RUNS_KEPT: usize = 32;

/// What a turn brought.
#[derive(Debug, Default)]
pub struct Turn {
    /// A world to be published.
    pub world: Option<Arc<World>>,
}

impl Engine {
    /// Decides what is to be decided now.
    pub fn turn(&mut self, now: Timestamp) -> Turn {
        self.turn_with(Changes::default(), now)
    }

    /// A turn on top of changes already made.
    pub(super) fn turn_with(&mut self, mut changes: Changes, now: Timestamp) -> Turn {
        self.take_in(now);
        let unpublished = self.unpublished.clone();
        let last_generation = self.last_generation;
        let world = self.decide(&mut changes, now);
        match self.write(&mut changes) {
            Ok(()) => {
                if self.journal_error.take().is_some() {
                    tracing::info!("the state folder can be written again");
                }
                self.tell();
                if let Some(world) = &world {
                    self.world = Arc::clone(world);
                }
                Turn { world }
            }
            Err(error) => {
                let text = error.to_string();
                if self.journal_error.as_ref() != Some(&text) {
                    tracing::error!("nothing is decided meanwhile but to go back: {text}");
                }
                self.journal_error = Some(text);
                self.unpublished = unpublished;
                self.last_generation = last_generation;
                let rollbacks = self.take_back(changes);
                let world = self.go_back_unwritten(rollbacks, now);
                Turn { world }
            }
        }
    }

    fn decide(&mut self, changes: &mut Changes, now: Timestamp) -> Option<Arc<World>> {
        self.begin_to_write_again(changes);
        self.fence(now);
        self.renew_epochs(now);
        self.assume(now);
        let mut world = Arc::clone(&self.world);
        for _ in 0..MAX_ROUNDS {
            for service in std::mem::take(&mut self.unsettled) {
                self.begin_what_waits(&service, changes, now);
            }
            for key in self.to_look_at() {
                self.look(&key, changes, now);
            }
            match self.next_world(&world, changes, now) {
                Some(next) => world = Arc::new(next),
                None if self.unsettled.is_empty() => break,
                None => {}
            }
        }
        (world.generation != self.world.generation).then_some(world)
    }

    /// Proxies that are gone for longer than their lease no longer hold anything up, and the
    /// instances whose own they were are lost. What they and others said last ends with them.
    fn fence(&mut self, now: Timestamp) {
        let catalog = &self.catalog;
        let exists = |key: &_| catalog.workloads.contains_key(key);
        for (workload, since) in self.proxies.fence(exists, now) {
            if self.healths.lose(&workload, since) {
                tracing::warn!(%workload, "lost: neither its sidecar nor a check of it is heard of");
                let services = self.index.services_of(&workload);
                self.dirty.extend(services.iter().cloned());
            }
        }
        let loads = &mut self.loads;
        loads.end_silent(&self.proxies, now);
        self.disbelieved
            .retain(|proxy| loads.reported_at(proxy).is_some());
    }

    fn to_look_at(&self) -> BTreeSet<UpgradeKey> {
        self.active
            .iter()
            .chain(self.commands.keys())
            .cloned()
            .collect()
    }

    /// Instances with a probe and without a sidecar.
    fn assume(&mut self, now: Timestamp) {
        for workload in self.healths.assume(now) {
            tracing::warn!(
                %workload,
                "no sidecar checks it: it serves unchecked where its version serves already, and no upgrade goes to it; run a sidecar beside it, or take its probe away"
            );
            let services = self.index.services_of(&workload);
            self.dirty.extend(services.iter().cloned());
        }
    }

    /// Session cookies carry the quarter of their lifetime that it is: a new one is a new view.
    fn renew_epochs(&mut self, now: Timestamp) {
        let stale: Vec<ServiceKey> = self
            .world
            .services
            .iter()
            .filter(|(_, view)| view.affinity.is_some())
            .filter(|(key, view)| {
                super::compose::affinity(key, &self.policy(key), now) != view.affinity
            })
            .map(|(key, _)| key.clone())
            .collect();
        self.dirty.extend(stale);
    }

    /// Learns which versions a service has, and begins the run that is due.
    fn begin_what_waits(&mut self, service: &ServiceKey, changes: &mut Changes, now: Timestamp) {
        let present = self.index.versions(service);
        let active = self
            .current
            .get(service)
            .is_some_and(|key| self.active.contains(key));
        let mut memory = self.services.get(service).cloned().unwrap_or_default();
        memory.learn_from_instances(&present, active);
        self.remember(service, memory, changes);
        if active || !self.catalog.services.contains_key(service) {
            return;
        }
        let Some(memory) = self.services.get(service) else {
            return;
        };
        let catalog = (&self.catalog, &self.index);
        if let Some(spec) = services::next_run(service, memory, catalog, &self.runs) {
            self.begin(spec, changes, now);
        }
    }

    /// Begins a run.
    pub(super) fn begin(&mut self, spec: UpgradeSpec, changes: &mut Changes, now: Timestamp) {
        let service = spec.service.clone();
        let mut memory = self.services.get(&service).cloned().unwrap_or_default();
        memory.stable = Some(spec.from.clone());
        memory.rolled_back.remove(&spec.to);
        let old_instances = self.index.of_version(&service, &spec.from).count();
        let mut status = upgrade::begin(
            &self.policy(&service),
            u32::try_from(old_instances).unwrap_or(u32::MAX),
            now,
        );
        status.token_epoch = memory.epoch(&spec.to);
        status.paused |= spec.paused;
        tracing::info!(upgrade = %spec.key, from = %spec.from, to = %spec.to, phase = %status.phase, "begins");
        self.remember(&service, memory, changes);
        self.prune(&service, changes);
        self.take_back_from_earlier_runs(&spec, changes);
        let key = spec.key.clone();
        let manifest_paused = self.catalog.upgrades.get(&key).map(|named| named.paused);
        changes.touch(&key, &self.runs);
        self.resumed.remove(&key);
        self.active.insert(key.clone());
        if let Some(before) = self.current.insert(service.clone(), key.clone()) {
            self.forget_traffic(&before);
        }
        self.dirty.insert(service.clone());
        let mut run = Run::new(spec, status, now);
        run.manifest_paused = manifest_paused;
        run.failed_before = self.times_failed(&service);
        self.runs.insert(key, run);
    }

    /// What earlier runs called drained may not be stopped any more where the new run uses it.
    fn take_back_from_earlier_runs(&mut self, spec: &UpgradeSpec, changes: &mut Changes) {
        let used: BTreeSet<WorkloadKey> = [&spec.from, &spec.to]
            .into_iter()
            .flat_map(|version| self.index.of_version(&spec.service, version))
            .map(|workload| workload.key.clone())
            .collect();
        let earlier: Vec<UpgradeKey> = self
            .runs
            .values()
            .filter(|run| run.spec.service == spec.service)
            .filter(|run| !run.status.drained.is_disjoint(&used))
            .map(|run| run.spec.key.clone())
            .collect();
        for key in earlier {
            changes.touch(&key, &self.runs);
            if let Some(run) = self.runs.get_mut(&key) {
                run.status
                    .drained
                    .retain(|workload| !used.contains(workload));
            }
        }
    }

    /// Lets go of a service's oldest runs, but not of those that a manifest names: they would
    /// begin anew.
    fn prune(&mut self, service: &ServiceKey, changes: &mut Changes) {
        let mut over: Vec<(Timestamp, UpgradeKey)> = self
            .runs
            .values()
            .filter(|run| run.spec.service == *service && !run.is_active())
            .filter(|run| !self.catalog.upgrades.contains_key(&run.spec.key))
            .filter(|run| run.untold().is_empty())
            .map(|run| (run.created, run.spec.key.clone()))
            .collect();
        over.sort();
        let excess = (over.len() + 1).saturating_sub(RUNS_KEPT);
        for (_, key) in over.into_iter().take(excess) {
            changes.touch(&key, &self.runs);
            self.runs.remove(&key);
            self.published_at.remove(&key);
            self.resumed.remove(&key);
            self.looked.remove(&key);
            self.forget_traffic(&key);
            changes.removed.push(key);
        }
    }

    pub(super) fn remember(
        &mut self,
        service: &ServiceKey,
        memory: services::ServiceMemory,
        changes: &mut Changes,
    ) {
        let same = match self.services.get(service) {
            Some(before) => *before == memory,
            None => memory == services::ServiceMemory::default(),
        };
        if !same {
            changes
                .services
                .get_or_insert_with(|| self.services.clone());
            self.services.insert(service.clone(), memory);
            self.dirty.insert(service.clone());
        }
    }

    /// The world after the one before, where anything about it changed or a run waits for its
    /// generation.
    fn next_world(
        &mut self,
        before: &World,
        changes: &mut Changes,
        now: Timestamp,
    ) -> Option<World> {
        let mut services = before.services.clone();
        let mut changed = before.generation == Generation::default();
        for key in std::mem::take(&mut self.dirty) {
            match self.compose(&key, now) {
                Some(view) if services.get(&key).is_some_and(|known| **known == view) => {}
                Some(view) => {
                    services.insert(key, Arc::new(view));
                    changed = true;
                }
                None => changed |= services.remove(&key).is_some(),
            }
        }
        changed |= before.workloads != self.catalog.workloads;
        if !changed && self.unpublished.is_empty() {
            return None;
        }
        self.last_generation = self.last_generation.next();
        for key in std::mem::take(&mut self.unpublished) {
            changes.touch(&key, &self.runs);
            if let Some(run) = self.runs.get_mut(&key) {
                run.status.generation = Some(self.last_generation);
                self.published_at.insert(key, now);
            }
        }
        Some(World {
            generation: self.last_generation,
            services,
            workloads: self.catalog.workloads.clone(),
        })
    }
}
