//! What a turn has changed: on its way to the disk, or taken back where the disk refuses.

use super::{
    core::Engine,
    journal::{JournalError, Line},
    run::Run,
    services,
};
use crate::model::{ServiceKey, UpgradeKey};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Generations reserved on disk at a time.
const GENERATIONS_RESERVED: u64 = 1_000;

/// What a turn has touched, to be written or taken back.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) runs: BTreeMap<UpgradeKey, Option<Run>>,
    pub(super) services: Option<BTreeMap<ServiceKey, services::ServiceMemory>>,
    pub(super) removed: Vec<UpgradeKey>,
    /// For the decision log.
    pub(super) lines: VecDeque<Line>,
    /// Runs to be written though nothing was decided: their evidence has grown.
    pub(super) flush: BTreeSet<UpgradeKey>,
    /// Runs that begin to go back in this turn, as of that moment.
    pub(super) rollbacks: BTreeMap<UpgradeKey, Run>,
}

impl Engine {
    /// Everything that changed, on disk.
    pub(super) fn write(&mut self, changes: &mut Changes) -> Result<(), JournalError> {
        // In good time: a way back must find one even where the disk is full.
        if self.last_generation.0 + GENERATIONS_RESERVED / 2 > self.reserved_generation {
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
        // The log before the runs, so that no decision lacks its line; but not again and again
        // while something else refuses.
        let troubled = self.journal_error.is_some();
        if !troubled {
            self.write_lines(changes)?;
        }
        // The runs before what is remembered of services: after a crash between the two, the runs
        // teach the memory again.
        for (key, before) in &changes.runs {
            if let Some(run) = self.runs.get_mut(key)
                && before.as_ref() != Some(run)
            {
                let decided = !before.as_ref().is_some_and(|b| b.decided_as(run));
                if decided {
                    run.resource_version += 1;
                }
                if decided || changes.flush.contains(key) {
                    self.journal.write_run(run)?;
                    self.unflushed.remove(key);
                }
            }
        }
        while let Some(key) = self.unflushed.first() {
            if let Some(run) = self.runs.get(key) {
                self.journal.write_run(run)?;
            }
            self.unflushed.pop_first();
        }
        if changes.services.is_some() {
            self.journal.write_services(&self.services)?;
        }
        for key in &changes.removed {
            self.journal.remove_run(key)?;
        }
        if troubled {
            self.write_lines(changes)?;
        }
        self.unwritten.clear();
        Ok(())
    }

    /// What is written is taken out, so that it is not written twice.
    fn write_lines(&mut self, changes: &mut Changes) -> Result<(), JournalError> {
        for lines in [&mut self.late_lines, &mut changes.lines] {
            while let Some(line) = lines.front() {
                self.journal.record(line)?;
                lines.pop_front();
            }
        }
        Ok(())
    }

    /// Everything as it was before the turn. What remains are the runs that were about to go back.
    pub(super) fn take_back(&mut self, changes: Changes) -> BTreeMap<UpgradeKey, Run> {
        for key in changes.rollbacks.keys() {
            let lines = changes.lines.iter().filter(|line| line.key == *key);
            self.late_lines.extend(lines.cloned());
        }
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
        changes.rollbacks
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
