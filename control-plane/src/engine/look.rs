//! One look at one run: what is seen goes to `upgrade::advance`, and what that wants is carried out.

use super::{changes::Changes, core::Engine, held_back::note_told, run::Run, services, telling};
use crate::{
    model::{
        Action, Command, Condition, Observation, Phase, Policy, ServiceKey, Timestamp, UpgradeKey,
        WorkloadKey,
    },
    upgrade,
};
use std::collections::BTreeMap;

/// Looks at one run within a turn; more would be a rule that never settles.
const MAX_LOOKS: usize = 32;
/// The condition that says that a further version waits.
const SUPERSEDED: &str = "Superseded";

impl Engine {
    /// Advances one run until it stands still or wants something published.
    pub(super) fn look(&mut self, key: &UpgradeKey, changes: &mut Changes, now: Timestamp) {
        let asked = self.commands.remove(key).unwrap_or_default();
        let Some(before) = self.runs.get(key).cloned() else {
            return;
        };
        let policy = self.policy_of(&before);
        let mut run = before.clone();
        self.note_published(&mut run, changes);
        for (command, _) in &asked {
            match command {
                Command::Pause => run.spec.paused = true,
                Command::Resume => run.spec.paused = false,
                _ => {}
            }
        }
        run.manifest_paused = self.catalog.upgrades.get(key).map(|named| named.paused);
        self.note_waiting(&mut run, now);
        let mut seen = self.observe(&mut run, &policy, asked, now);
        Self::log_policy(&mut run, &policy, (&seen, now), changes);
        for _ in 0..MAX_LOOKS {
            let phase = run.status.phase;
            let settled = self.advance(&mut run, &policy, (&seen, now), changes);
            if phase == Phase::RolledBack && run.is_active() {
                // Tried once more: what failed before does not count.
                run.failed_before = self.times_failed(&run.spec.service);
            }
            if settled || self.unpublished.contains(key) || self.held_back.contains(key) {
                break;
            }
            seen = self.observe(&mut run, &policy, Vec::new(), now);
        }
        self.log_look(&mut run, &policy, (&seen, now), changes);
        if before.status.phase != Phase::RollingBack && run.status.phase == Phase::RollingBack {
            changes.rollbacks.insert(key.clone(), run.clone());
        }
        self.keep(&before, run, changes);
    }

    fn observe(
        &mut self,
        run: &mut Run,
        policy: &Policy,
        asked: Vec<(Command, String)>,
        now: Timestamp,
    ) -> Observation {
        let key = &run.spec.key;
        let published_at = self.published_at.get(key).copied().unwrap_or(self.started);
        let unknown_before = self.resumed.contains(key).then_some(self.started);
        let judgement = self.judgement(run, policy, now);
        let (commands, mut reasons): (Vec<Command>, Vec<String>) = asked.into_iter().unzip();
        Observation {
            commands,
            asked_because: reasons.pop().unwrap_or_default(),
            judgement,
            evidence: run.unlogged.clone(),
            ..self.eyes().observe(run, published_at, unknown_before, now)
        }
    }

    /// One call of `upgrade::advance`, carried out. True where the run stands still.
    fn advance(
        &mut self,
        run: &mut Run,
        policy: &Policy,
        (seen, now): (&Observation, Timestamp),
        changes: &mut Changes,
    ) -> bool {
        let (status, actions) = upgrade::advance(policy, &run.status, seen, now);
        let settled = status == run.status && actions.is_empty();
        run.status = status;
        let key = run.spec.key.clone();
        if run.status.generation.is_none() && !actions.contains(&Action::Publish) {
            self.unpublished.remove(&key);
        }
        for action in actions {
            match action {
                Action::Publish => self.want_published(run, seen),
                Action::Record(decision) => {
                    changes.lines.push_back(telling::line(run, decision, seen));
                }
                Action::Notify { reason, message } => {
                    tracing::info!(upgrade = %key, reason, weight = %run.status.weight, "{message}");
                    run.tell(&reason, &message, now);
                }
            }
        }
        settled
    }

    /// How often a service's instances have ceased to be ready.
    pub(super) fn times_failed(&self, service: &ServiceKey) -> BTreeMap<WorkloadKey, u32> {
        let instances = self.index.instances(service).iter();
        instances
            .map(|workload| {
                let times = self.healths.times_failed(&workload.key);
                (workload.key.clone(), times)
            })
            .filter(|(_, times)| *times > 0)
            .collect()
    }

    fn keep(&mut self, before: &Run, mut run: Run, changes: &mut Changes) {
        if *before == run {
            return;
        }
        if !run.untold().is_empty() {
            self.untold.insert(run.spec.key.clone());
        }
        if before.decided_as(&run) {
            changes.touch(&run.spec.key, &self.runs);
            self.runs.insert(run.spec.key.clone(), run);
            return;
        }
        if !run.is_active() {
            run.status.conditions.remove(SUPERSEDED);
        }
        note_told(before, &mut run);
        let key = &run.spec.key;
        let service = run.spec.service.clone();
        changes.touch(key, &self.runs);
        let mut memory = self.services.get(&service).cloned().unwrap_or_default();
        memory.learn_from_run(&run);
        if run.is_active() {
            self.active.insert(key.clone());
            memory.rolled_back.remove(&run.spec.to);
        } else if before.is_active() {
            memory.learn_from_end(&run);
            self.active.remove(key);
            self.unsettled.insert(service.clone());
        }
        self.remember(&service, memory, changes);
        self.dirty.insert(service);
        self.runs.insert(key.clone(), run);
    }

    /// Says in the status that a further version waits for the end of the run.
    fn note_waiting(&self, run: &mut Run, now: Timestamp) {
        let present = self.index.versions(&run.spec.service);
        let unknown = services::ServiceMemory::default();
        let memory = self.services.get(&run.spec.service).unwrap_or(&unknown);
        let waiting = if run.is_active() {
            services::waiting(memory, &present, Some(&run.spec))
        } else {
            Vec::new()
        };
        let conditions = &mut run.status.conditions;
        if waiting.is_empty() {
            conditions.remove(SUPERSEDED);
            return;
        }
        let names: Vec<String> = waiting.iter().map(ToString::to_string).collect();
        let message = format!(
            "{} has instances too: it stays at 0 % until this upgrade has ended, then it is upgraded to",
            names.join(", ")
        );
        if conditions.get(SUPERSEDED).map(|known| &known.message) != Some(&message) {
            let condition = Condition {
                status: true,
                reason: "NextVersionWaits".to_owned(),
                message,
                at: now,
            };
            conditions.insert(SUPERSEDED.to_owned(), condition);
        }
    }
}
