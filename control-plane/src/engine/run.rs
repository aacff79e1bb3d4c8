//! One run as the engine keeps it, and what people may ask of it in each phase.

use super::inbox::Request;
use crate::{
    analysis::Trial,
    model::{
        Command, Event, Evidence, Phase, Policy, Share, Timestamp, Traffic, UpgradeSpec,
        UpgradeStatus, WorkloadKey,
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Events that a run keeps to be seen.
const EVENTS_KEPT: usize = 20;
/// Events that wait for an outbox that refuses them; older ones are let go.
const EVENTS_WAITING: usize = 1_000;
/// Requests of a run whose ids are remembered.
const REQUESTS_KEPT: usize = 64;

/// One run, as it stands on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Run {
    pub spec: UpgradeSpec,
    pub status: UpgradeStatus,
    /// What proxies were told before the last decision, until that is known to be published.
    #[serde(default)]
    pub told: Option<Told>,
    pub created: Timestamp,
    /// Grows with every change.
    pub resource_version: u64,
    /// `spec.paused` as the manifest that names this run said last; None: no manifest does.
    #[serde(default)]
    pub manifest_paused: Option<bool>,
    /// All evidence so far, condensed.
    #[serde(default)]
    pub trial: Option<Trial>,
    /// The weight whose step the trial is in.
    #[serde(default)]
    pub trial_weight: Option<Share>,
    /// Evidence that the trial has taken in and no line of the decision log shows.
    #[serde(default)]
    pub unlogged: Evidence,
    /// The policy that the decision log showed last.
    #[serde(default)]
    pub logged_policy: Option<Arc<Policy>>,
    /// How often instances had ceased to be ready before the run began.
    #[serde(default)]
    pub failed_before: BTreeMap<WorkloadKey, u32>,
    /// The last events, and those that wait for the outbox; oldest first.
    #[serde(default)]
    pub events: Arc<[Event]>,
    /// How many there were.
    #[serde(default)]
    pub events_count: u64,
    /// How many the outbox has taken.
    #[serde(default)]
    pub events_told: u64,
    /// What was asked under an id and obeyed, oldest first. It stands here because it must be on
    /// disk together with what it brought about.
    #[serde(default)]
    pub requests: VecDeque<Request>,
}

/// What of a status proxies are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    pub phase: Phase,
    pub weight: Share,
    pub traffic: Traffic,
}

impl Run {
    /// When things were decided.
    pub(super) fn times(&self) -> impl Iterator<Item = Timestamp> {
        let last = self.status.history.last().map(|line| line.at);
        [self.created, self.status.phase_since]
            .into_iter()
            .chain(last)
            .chain(self.status.applied_at)
    }

    /// One that begins now.
    pub(super) fn new(spec: UpgradeSpec, status: UpgradeStatus, now: Timestamp) -> Self {
        Self {
            spec,
            status,
            told: None,
            created: now,
            resource_version: 0,
            manifest_paused: None,
            trial: None,
            trial_weight: None,
            unlogged: Evidence::default(),
            logged_policy: None,
            failed_before: BTreeMap::new(),
            events: Arc::from([]),
            events_count: 0,
            events_told: 0,
            requests: VecDeque::new(),
        }
    }

    /// Something is still to happen.
    pub(super) fn is_active(&self) -> bool {
        !self.status.phase.is_final()
    }

    /// The versions are compared in this phase.
    pub(super) fn is_analysed(&self) -> bool {
        self.status.phase.is_analysed()
    }

    /// The versions are compared, and the present weight was applied everywhere by then.
    pub(super) fn is_analysed_since(&self, since: Timestamp) -> bool {
        self.is_analysed()
            && self
                .status
                .applied_at
                .is_some_and(|applied| applied <= since)
    }

    /// The trial is in the step that the present weight makes.
    pub(super) fn is_on_trial(&self) -> bool {
        self.is_analysed()
            && self.status.applied_at.is_some()
            && self.trial_weight == Some(self.status.weight)
    }

    /// True where nothing was decided in between: what differs are measurements and how they are
    /// put into words, which the next look says anew.
    pub(super) fn decided_as(&self, other: &Self) -> bool {
        let decided = |status: &UpgradeStatus| UpgradeStatus {
            judgement: None,
            message: String::new(),
            next_at: None,
            ..status.clone()
        };
        let verdict = |run: &Self| run.status.judgement.as_ref().map(|said| said.verdict);
        self.spec == other.spec
            && verdict(self) == verdict(other)
            && self.manifest_paused == other.manifest_paused
            && self.events_count == other.events_count
            && self.logged_policy == other.logged_policy
            && self.failed_before == other.failed_before
            && self.requests == other.requests
            && decided(&self.status) == decided(&other.status)
    }

    /// Something happened that people are to be told.
    pub(super) fn tell(&mut self, reason: &str, message: &str, at: Timestamp) {
        self.events_count += 1;
        let spec = &self.spec;
        let event = Event {
            id: format!("{}/{}/{}", spec.key, self.created.0, self.events_count),
            at,
            upgrade: spec.key.clone(),
            service: spec.service.clone(),
            from: spec.from.clone(),
            to: spec.to.clone(),
            phase: self.status.phase,
            weight: self.status.weight,
            reason: reason.to_owned(),
            message: message.to_owned(),
        };
        let kept = self.untold().len().clamp(EVENTS_KEPT - 1, EVENTS_WAITING);
        if self.untold().len() > kept {
            tracing::warn!(upgrade = %self.spec.key, "the outbox has refused {kept} events: the oldest one is let go");
        }
        let first = self.events.len().saturating_sub(kept);
        let events = self.events.iter().skip(first).cloned();
        self.events = events.chain([event]).collect();
    }

    /// The events that the outbox has not taken yet.
    pub(super) fn untold(&self) -> &[Event] {
        let waiting = self.events_count.saturating_sub(self.events_told);
        let waiting = usize::try_from(waiting).unwrap_or(usize::MAX);
        let first = self.events.len().saturating_sub(waiting);
        self.events.get(first..).unwrap_or_default()
    }

    /// Remembers what was asked under an id.
    pub(super) fn remember(&mut self, request: &Request) {
        if request.request_id.is_empty() {
            return;
        }
        self.requests.push_back(request.clone());
        if self.requests.len() > REQUESTS_KEPT {
            self.requests.pop_front();
        }
    }
}

/// The verbs that a run obeys as it stands.
fn possible(status: &UpgradeStatus) -> &'static [&'static str] {
    match (status.phase, status.paused) {
        (Phase::Pending, false) => &["start", "pause"],
        (Phase::Pending, true) => &["start", "resume"],
        (Phase::RollingBack | Phase::Succeeded, _) => &[],
        (Phase::RolledBack, _) => &["retry"],
        (Phase::Draining, false) => &["pause", "rollback"],
        (Phase::Draining, true) => &["resume", "rollback"],
        (_, false) => &["pause", "promote", "rollback"],
        (_, true) => &["resume", "promote", "rollback"],
    }
}

/// The verb's name.
fn verb(command: &Command) -> &'static str {
    match command {
        Command::Start => "start",
        Command::Pause => "pause",
        Command::Resume => "resume",
        Command::Promote { .. } => "promote",
        Command::Rollback { .. } => "rollback",
        Command::Retry => "retry",
    }
}

/// True where a command asks for what is already so: answered with the present state.
pub(super) fn is_fulfilled(command: &Command, status: &UpgradeStatus) -> bool {
    match command {
        Command::Pause => status.paused && !status.phase.is_final(),
        Command::Resume => !status.paused && !status.phase.is_final(),
        Command::Start => !status.phase.is_final() && status.phase != Phase::Pending,
        Command::Rollback { .. } => {
            matches!(status.phase, Phase::RollingBack | Phase::RolledBack)
        }
        Command::Promote { .. } | Command::Retry => false,
    }
}

/// Why a command makes no sense now, with what would be possible.
pub(super) fn refusal(command: &Command, status: &UpgradeStatus) -> Option<String> {
    let (verb, possible) = (verb(command), possible(status));
    if possible.contains(&verb) {
        return None;
    }
    let phase = status.phase;
    Some(match possible {
        [] => format!("{verb} is not possible in {phase}: nothing can be asked of it any more"),
        [only] => format!("{verb} is not possible in {phase}; possible is {only}"),
        several => format!(
            "{verb} is not possible in {phase}; possible are {}",
            several.join(", ")
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::tests::support::{at, checkout, quick},
        model::UpgradeKey,
        upgrade,
    };

    fn numbers(events: &[Event]) -> Vec<u64> {
        let number = |event: &Event| event.id.rsplit_once('/').unwrap().1.parse().unwrap();
        events.iter().map(number).collect()
    }

    #[test]
    fn events_are_kept_until_they_are_told_and_the_last_ones_after_that() {
        let spec = UpgradeSpec {
            key: UpgradeKey::new("shop", "checkout-v2-1"),
            service: checkout(),
            from: "v1".into(),
            to: "v2".into(),
            paused: false,
        };
        let mut run = Run::new(spec, upgrade::begin(&quick(), 1, at(0)), at(0));
        for _ in 0..50 {
            run.tell("Paused", "paused by hand", at(1));
        }
        assert_eq!(numbers(run.untold()), (1..=50).collect::<Vec<_>>());
        run.events_told = 45;
        assert_eq!(numbers(run.untold()), (46..=50).collect::<Vec<_>>());
        run.tell("Paused", "paused by hand", at(2));
        assert_eq!(numbers(&run.events), (32..=51).collect::<Vec<_>>());
        run.events_told = 51;
        assert!(run.untold().is_empty());
        for _ in 0..2_000 {
            run.tell("Paused", "paused by hand", at(3));
        }
        assert_eq!(run.events.len(), EVENTS_WAITING + 1);
        assert_eq!(numbers(run.untold()).last(), Some(&2_051));
    }
}
