//! What was decided before a restart and may not have been published.
//!
//! A run is written before it is published: a process killed in between leaves a step on disk that
//! no proxy was told of. Until the proxies have reported what they saw meanwhile, they are told what
//! they were told before that step. Going back is never held back. That a step was published is
//! written with the next turn: a process killed before that holds back what some proxies know.

use super::{
    changes::Changes,
    core::Engine,
    run::{Run, Told},
};
use crate::model::{Observation, Phase, UpgradeStatus};
use std::borrow::Cow;

impl Engine {
    /// After a restart: which decisions are held back.
    pub(super) fn hold_back_decisions(&mut self) {
        for key in &self.active {
            let is_held_back = |run: &Run| {
                run.told.is_some() && run.status.applied_at.is_none() && goes_on(&run.status)
            };
            if self.runs.get(key).is_some_and(is_held_back) {
                self.unpublished.remove(key);
                self.held_back.insert(key.clone());
            }
        }
    }

    /// What proxies were told before no longer counts once they are told what is decided.
    pub(super) fn note_published(&self, run: &mut Run, changes: &mut Changes) {
        if self.held_back.contains(&run.spec.key) {
            run.status.generation = None;
        }
        let published = run.status.generation;
        if run.told.is_some() && published.is_some_and(|it| it <= self.world.generation) {
            run.told = None;
            changes.flush.insert(run.spec.key.clone());
        }
    }

    /// A run's status waits for a generation; but not before the reports are there that it needs.
    pub(super) fn want_published(&mut self, run: &Run, seen: &Observation) {
        let key = &run.spec.key;
        if self.held_back.contains(key) {
            if seen.reports_pending > 0 && goes_on(&run.status) {
                return;
            }
            self.held_back.remove(key);
            self.dirty.insert(run.spec.service.clone());
        }
        self.unpublished.insert(key.clone());
    }

    /// A run as proxies are to be told of it.
    pub(super) fn as_told<'a>(&self, run: &'a Run) -> Cow<'a, Run> {
        match run.told.filter(|_| self.held_back.contains(&run.spec.key)) {
            Some(told) => {
                let mut before = run.clone();
                before.status.phase = told.phase;
                before.status.weight = told.weight;
                before.status.traffic = told.traffic;
                Cow::Owned(before)
            }
            None => Cow::Borrowed(run),
        }
    }
}

/// Keeps what proxies have been told where they are to be told something else.
pub(super) fn note_told(before: &Run, run: &mut Run) {
    let is_new = before.status.generation.is_some() && run.status.generation.is_none();
    if is_new && goes_on(&run.status) && before.is_active() {
        run.told = run.told.or(Some(Told {
            phase: before.status.phase,
            weight: before.status.weight,
            traffic: before.status.traffic,
        }));
    } else if is_new || !goes_on(&run.status) {
        run.told = None;
    }
}

/// The new version serves, or is about to, and the upgrade goes on.
fn goes_on(status: &UpgradeStatus) -> bool {
    matches!(
        status.phase,
        Phase::WarmUp | Phase::Shifting | Phase::RollbackWindow | Phase::Draining
    )
}
