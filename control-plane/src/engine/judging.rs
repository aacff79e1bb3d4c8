//! The trial of each run: takes in the evidence that was gathered and has it judged.
//!
//! Evidence is a fact and no decision: it stays taken in where the disk refuses a turn. It is written
//! with the run whenever that is, and at least with every look of the decision log.

use super::{core::Engine, evidence::Gathered, run::Run};
use crate::{
    analysis::Trial,
    model::{Judgement, MetricSample, Phase, Policy, Timestamp, UpgradeKey, Verdict},
    upgrade,
};
use std::time::Duration;

/// A judgement without new evidence is made anew so often: rates fall and what is left of the step
/// shrinks.
const JUDGED_EVERY: Duration = Duration::from_secs(1);

impl Engine {
    /// Takes in what the reports have said since the last turn.
    pub(super) fn take_in(&mut self, now: Timestamp) {
        for key in &self.active {
            let Some(run) = self.runs.get_mut(key).filter(|run| run.is_on_trial()) else {
                continue;
            };
            let policy = self
                .catalog
                .policies
                .get(&run.spec.service)
                .unwrap_or(&self.norms);
            let reports = (&self.loads, &self.index);
            let taken = self
                .gathered
                .get_mut(key)
                .and_then(|gathered| gathered.take(run, policy, reports, now));
            if let (Some((evidence, over)), Some(trial)) = (taken, &mut run.trial) {
                trial.take_in(&policy.analysis, &evidence, over);
                if !evidence.is_empty() {
                    run.unlogged.add(&evidence);
                    self.judged.remove(key);
                }
            }
        }
    }

    /// An extra metric was asked for.
    pub(super) fn take_in_metric(&mut self, sample: &MetricSample) {
        let Some(run) = self.runs.get_mut(&sample.upgrade) else {
            return;
        };
        let policy = self
            .catalog
            .policies
            .get(&run.spec.service)
            .unwrap_or(&self.norms);
        if run.is_on_trial()
            && let Some(trial) = &mut run.trial
        {
            trial.take_in_metric(&policy.analysis, &sample.name, &sample.outcome);
            self.judged.remove(&sample.upgrade);
        }
    }

    /// What analysis says of the present step; None: nothing is analysed now.
    pub(super) fn judgement(
        &mut self,
        run: &mut Run,
        policy: &Policy,
        now: Timestamp,
    ) -> Option<Judgement> {
        if matches!(run.status.phase, Phase::Pending | Phase::Preparing) {
            // Tried once more: with nothing held against it.
            run.trial = None;
            run.trial_weight = None;
        }
        let applied_at = run.status.applied_at.filter(|_| run.is_analysed())?;
        if !run.is_on_trial() {
            Trial::enter_step(&mut run.trial, &policy.analysis);
            run.trial_weight = Some(run.status.weight);
            self.gathered
                .entry(run.spec.key.clone())
                .or_insert_with(|| Gathered::new(now))
                .begin_step(applied_at);
            self.judged.remove(&run.spec.key);
        }
        match self.judged.get(&run.spec.key) {
            Some((said, at)) if now.since(*at) < JUDGED_EVERY => Some(said.clone()),
            _ => {
                let left = upgrade::time_left(policy, &run.status, now);
                let said = run.trial.as_ref()?.judge(&policy.analysis, left);
                self.judged
                    .insert(run.spec.key.clone(), (said.clone(), now));
                Some(said)
            }
        }
    }

    /// Lets go of what is known of a run's traffic.
    pub(super) fn forget_traffic(&mut self, key: &UpgradeKey) {
        self.gathered.remove(key);
        self.judged.remove(key);
    }
}

/// A judgement in one sentence.
pub(super) fn describe(judgement: &Judgement) -> String {
    let verdict = match judgement.verdict {
        Verdict::NotYet => "not yet",
        Verdict::NotWorse => "not worse",
        Verdict::Worse => "worse",
    };
    let findings: Vec<&str> = judgement.findings.iter().map(|f| f.text.as_str()).collect();
    let requests = judgement.requests;
    if findings.is_empty() {
        return format!("{verdict} after {requests} requests");
    }
    format!(
        "{verdict} after {requests} requests: {}",
        findings.join("; ")
    )
}
