//! One run under one policy, fed with recorded looks.

use super::{
    Outcome,
    line::{Line, Look},
};
use crate::{
    analysis::Trial,
    model::{
        Action, Applied, Decision, Generation, Judgement, Lagging, Observation, Phase, Policy,
        ProxyId, Share, Test, Timestamp, UpgradeStatus, Verdict,
    },
    upgrade,
};

/// Calls of `advance` within one look; more would be a rule that never settles.
const MOST_CALLS: usize = 32;

/// Whose judgement counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judge {
    /// What analysis said at the time.
    AsRecorded,
    /// What it says now of the recorded evidence.
    Anew,
}

#[derive(Debug)]
pub(super) struct Player {
    policy: Policy,
    status: UpgradeStatus,
    judge: Judge,
    /// It has decided what was recorded so far: so what proxies had applied is what the log says.
    follows: bool,
    trial: Option<Trial>,
    /// The weight whose step the trial is in.
    stage: Option<Share>,
    published: u64,
    looked_at: Timestamp,
}

impl Player {
    pub(super) fn begin(policy: &Policy, first: &Line, judge: Judge) -> Self {
        let old_instances = first
            .context
            .old_instances
            .unwrap_or_else(|| u32::try_from(first.inputs.old.len()).unwrap_or(u32::MAX));
        let mut status = upgrade::begin(policy, old_instances, first.at);
        status.paused |= first.context.spec.as_ref().is_some_and(|spec| spec.paused);
        Self {
            policy: policy.clone(),
            status,
            judge,
            follows: true,
            trial: None,
            stage: None,
            published: 0,
            looked_at: first.at,
        }
    }

    pub(super) fn change_policy(&mut self, policy: &Policy) {
        self.policy = policy.clone();
    }

    /// It has decided otherwise: the log no longer says what it would be told.
    pub(super) fn part(&mut self) {
        self.judge = Judge::Anew;
        self.follows = false;
    }

    /// What makes two runs stand alike.
    pub(super) fn stand(&self) -> (Phase, Share, bool) {
        (self.status.phase, self.status.weight, self.status.paused)
    }

    pub(super) fn outcome(&self) -> Outcome {
        Outcome {
            phase: self.status.phase,
            weight: self.status.weight,
            rollback_reason: self.status.rollback_reason.clone(),
        }
    }

    /// What it decides at a recorded look.
    pub(super) fn look(&mut self, look: &Look) -> Vec<Decision> {
        if self.status.phase.is_final() && look.seen.commands.is_empty() {
            return Vec::new();
        }
        self.take_in(look);
        let mut seen = look.seen.clone();
        let mut decisions = Vec::new();
        // The engine looks anew for each call of `advance`; a call that left no line is not in the
        // log, and one that left some is no excuse to run ahead of what was seen next.
        let logged = look.rules.len();
        for _ in 0..MOST_CALLS {
            seen.judgement = self.judgement(look);
            seen.applied = self.applied(look);
            let (status, actions) = upgrade::advance(&self.policy, &self.status, &seen, look.at);
            let settled = status == self.status && actions.is_empty();
            self.status = status;
            seen.commands.clear();
            let mut published = false;
            for action in actions {
                match action {
                    Action::Publish => {
                        self.published += 1;
                        self.status.generation = Some(Generation(self.published));
                        published = true;
                    }
                    Action::Record(decision) => decisions.push(decision),
                    Action::Notify { .. } => {}
                }
            }
            let caught_up = decisions.len() >= logged;
            if settled || (caught_up && (published || logged > 0)) {
                break;
            }
        }
        decisions
    }

    /// How far the generation has come. A generation that was published or taken back without a
    /// line is not in the log, but when one was applied is.
    fn applied(&self, look: &Look) -> Applied {
        let applied = look.seen.applied.clone();
        if !self.follows || self.status.applied_at.is_some() || look.found_applied() {
            return applied;
        }
        let unknown = Lagging {
            proxy: ProxyId::from("(not in the log)"),
            since: look.at,
            nack: None,
        };
        Applied {
            lagging: if applied.is_complete() {
                vec![unknown]
            } else {
                applied.lagging
            },
            ..applied
        }
    }

    /// The recorded evidence is of the time before this look, and so of the present stage.
    fn take_in(&mut self, look: &Look) {
        let since = std::mem::replace(&mut self.looked_at, look.at);
        self.enter_stage();
        let Some(applied_at) = self.status.applied_at else {
            return;
        };
        if let Some(trial) = &mut self.trial
            && self.stage == Some(self.status.weight)
        {
            let over = look.at.since(since.max(applied_at));
            trial.take_in(&self.policy.analysis, &look.seen.evidence, over);
        }
    }

    /// As the engine does: a step of the trial for each weight that is applied, and a new trial where
    /// the upgrade is tried once more.
    fn enter_stage(&mut self) {
        let status = &self.status;
        match status.phase {
            Phase::WarmUp | Phase::Shifting | Phase::RollbackWindow | Phase::Draining => {}
            Phase::Pending | Phase::Preparing => {
                self.stage = None;
                self.trial = None;
                return;
            }
            _ => return,
        }
        if status.applied_at.is_some() && self.stage != Some(status.weight) {
            Trial::enter_step(&mut self.trial, &self.policy.analysis);
            self.stage = Some(status.weight);
        }
    }

    fn judgement(&mut self, look: &Look) -> Option<Judgement> {
        if self.judge == Judge::AsRecorded {
            return look.seen.judgement.clone();
        }
        self.enter_stage();
        let left = upgrade::time_left(&self.policy, &self.status, look.at);
        let judged = self.trial.as_ref()?.judge(&self.policy.analysis, left);
        Some(with_extra_metrics(judged, &look.seen))
    }
}

/// Extra metrics were asked of others at the time: what they said stands.
fn with_extra_metrics(mut judged: Judgement, seen: &Observation) -> Judgement {
    let recorded = seen.judgement.iter().flat_map(|judged| &judged.findings);
    let metrics: Vec<_> = recorded
        .filter(|finding| matches!(finding.test, Test::Metric(_)))
        .cloned()
        .collect();
    judged
        .findings
        .retain(|finding| !matches!(finding.test, Test::Metric(_)));
    for metric in &metrics {
        judged.verdict = match (judged.verdict, metric.verdict) {
            (Verdict::Worse, _) | (_, Verdict::Worse) => Verdict::Worse,
            (Verdict::NotWorse, Verdict::NotWorse) => Verdict::NotWorse,
            _ => Verdict::NotYet,
        };
    }
    judged.findings.extend(metrics);
    judged
}
