//! One look at one upgrade: what is seen, the status in the making, the actions so far.
//!
//! Every change of phase, weight or traffic goes through here, so that none is without its line in
//! the history, its record and its notice, and none stays unpublished.

use super::{
    command::COMMAND_REFUSED,
    preparing,
    stepping::LOW_TRAFFIC,
    trigger::{BOTH_FAILING, REFUSED},
};
use crate::model::{
    Action, Applied, Condition, Decision, Observation, Phase, Policy, Share, Timestamp, Traffic,
    Transition, UpgradeStatus, WorkloadKey,
};

/// What a look works on.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) policy: &'a Policy,
    pub(super) seen: &'a Observation,
    pub(super) now: Timestamp,
    pub(super) status: UpgradeStatus,
    /// The present generation was applied before this look.
    pub(super) was_applied: bool,
    /// A way back was wanted in this look, and there was none.
    pub(super) was_refused: bool,
    actions: Vec<Action>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        policy: &'a Policy,
        status: &UpgradeStatus,
        seen: &'a Observation,
        now: Timestamp,
    ) -> Self {
        Self {
            policy,
            seen,
            now,
            status: status.clone(),
            was_applied: status.applied_at.is_some(),
            was_refused: false,
            actions: Vec::new(),
        }
    }

    /// A line for the decision log.
    pub(super) fn record(&mut self, rule: &str, verdict: impl Into<String>) {
        self.actions.push(Action::Record(Decision {
            at: self.now,
            phase: self.status.phase,
            rule: rule.to_owned(),
            verdict: verdict.into(),
        }));
    }

    /// An event for operators.
    pub(super) fn notify(&mut self, reason: impl Into<String>, message: impl Into<String>) {
        self.actions.push(Action::Notify {
            reason: reason.into(),
            message: message.into(),
        });
    }

    /// Goes to a phase, or to the next weight within one: with the rule that decided and why.
    pub(super) fn enter(&mut self, phase: Phase, rule: &str, reason: &str) {
        self.record(rule, format!("{phase}: {reason}"));
        if self.status.phase != phase {
            self.status.phase = phase;
            self.status.phase_since = self.now;
        }
        self.status.promoted = false;
        if !self.status.promoted_full {
            self.status.notes.promoted_because.clear();
        }
        self.status.next_at = None;
        self.status.notes.short_since = None;
        self.status.conditions.remove(COMMAND_REFUSED);
        self.status.history.push(Transition {
            phase,
            weight: self.status.weight,
            at: self.now,
            reason: reason.to_owned(),
            applied_at: None,
        });
        self.say(reason);
        self.notify(phase.to_string(), reason);
    }

    /// Changes what proxies are told. What differs counts as neither published nor applied.
    pub(super) fn steer(&mut self, weight: Share, traffic: Traffic) {
        let before = self.status.traffic;
        if (self.status.weight, before) == (weight, traffic) {
            return;
        }
        let released = (before.old_sessions_held && !traffic.old_sessions_held)
            || (before.new_sessions_held && !traffic.new_sessions_held);
        if released {
            self.status.sessions_released_at = Some(self.now);
        }
        self.status.weight = weight;
        self.status.traffic = traffic;
        self.unpublish();
    }

    /// What proxies have been told no longer counts.
    pub(super) fn unpublish(&mut self) {
        self.status.generation = None;
        self.status.applied_at = None;
        self.status.applied = Applied::default();
        self.status.notes.lagging_told.clear();
    }

    /// Those of the instances that may be stopped and are gone: one of that name is another one.
    pub(super) fn forget_drained(&mut self) {
        let seen = self.seen;
        let is_there = |key: &WorkloadKey| {
            let mut all = seen.old.iter().chain(&seen.new);
            all.any(|instance| instance.workload == *key)
        };
        self.status.drained.retain(is_there);
    }

    /// The sentence for people.
    pub(super) fn say(&mut self, message: impl Into<String>) {
        self.status.message = message.into();
    }

    /// The sentence for people, and until when what it says lasts.
    pub(super) fn say_until(&mut self, message: impl Into<String>, at: Timestamp) {
        self.say(message);
        self.status.next_at = Some(at);
    }

    /// The sentence of a paused upgrade, with what paused it where that was no person.
    pub(super) fn stand_still(&mut self, what: &str) {
        let why = [BOTH_FAILING, LOW_TRAFFIC]
            .iter()
            .filter_map(|kind| self.status.conditions.get(*kind))
            .find(|condition| condition.status)
            .map_or("until `segue upgrade resume`", |condition| {
                condition.message.as_str()
            });
        let message = format!("paused, {what}: {why}");
        self.say(message);
        self.status.next_at = None;
    }

    /// Nothing but a person pauses it any more.
    pub(super) fn clear_pauses(&mut self) {
        self.clear_condition(BOTH_FAILING);
        self.clear_condition(LOW_TRAFFIC);
    }

    /// True where the condition holds.
    pub(super) fn has_condition(&self, kind: &str) -> bool {
        self.status.conditions.get(kind).is_some_and(|c| c.status)
    }

    /// Sets a condition; true where that is news. It holds since it was last not so.
    pub(super) fn set_condition(&mut self, kind: &str, reason: &str, message: &str) -> bool {
        let before = self.status.conditions.get(kind).filter(|c| c.status);
        let known = before.is_some_and(|c| c.reason == reason && c.message == message);
        if !known {
            let condition = Condition {
                status: true,
                reason: reason.to_owned(),
                message: message.to_owned(),
                at: before.map_or(self.now, |c| c.at),
            };
            self.status.conditions.insert(kind.to_owned(), condition);
        }
        !known
    }

    /// A condition that no longer holds stays to be seen, as false.
    pub(super) fn clear_condition(&mut self, kind: &str) {
        let now = self.now;
        if let Some(condition) = self.status.conditions.get_mut(kind)
            && condition.status
        {
            condition.status = false;
            condition.at = now;
            self.record("ConditionCleared", format!("{kind} no longer holds"));
        }
    }

    /// A refused command: seen by whoever asked, without effect.
    pub(super) fn refuse(&mut self, reason: &str, message: &str) {
        if self.set_condition(COMMAND_REFUSED, reason, message) {
            self.record(COMMAND_REFUSED, message);
            self.notify(COMMAND_REFUSED, message);
        }
    }

    /// The outcome. What is not published yet is asked for in every look, so that a control plane
    /// killed in between asks again.
    pub(super) fn finish(mut self) -> (UpgradeStatus, Vec<Action>) {
        if !self.was_refused {
            self.clear_condition(REFUSED);
        }
        let wanted = match self.status.phase {
            Phase::Pending | Phase::Succeeded | Phase::RolledBack => false,
            Phase::Preparing => preparing::has_enough(&self),
            _ => true,
        };
        if wanted && self.status.generation.is_none() {
            self.actions.push(Action::Publish);
        }
        (self.status, self.actions)
    }
}
