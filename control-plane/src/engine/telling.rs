//! What people are told of a run: its decision log and its events.
//!
//! Events stand in the run before they go to the outbox, so each keeps its id and its content over a
//! crash at any moment: those that the outbox may lack are handed over again.

use super::{
    changes::Changes,
    core::Engine,
    journal::{Began, Line},
    judging,
    run::Run,
};
use crate::model::{
    Decision, Event, Judgement, LOOKED, Observation, Policy, Sink, Timestamp, UpgradeKey,
    UpgradeStatus,
};
use std::{fmt, io, sync::Arc, time::Duration};

/// Takes an event for these sinks; it is on disk when this returns.
pub type EventLog = Box<dyn FnMut(&Event, &[Sink]) -> io::Result<()> + Send>;

/// Where nothing is analysed and nothing changes, a look is written so much less often.
const QUIET: u32 = 12;

/// The event log, and why it refused last.
pub(super) struct Teller {
    log: EventLog,
    error: Option<String>,
}

impl Teller {
    pub(super) fn new(log: EventLog) -> Self {
        Self { log, error: None }
    }

    /// True where it was taken.
    fn take(&mut self, event: &Event, sinks: &[Sink]) -> bool {
        match (self.log)(event, sinks) {
            Ok(()) => {
                if self.error.take().is_some() {
                    tracing::info!("events are taken again");
                }
                true
            }
            Err(error) => {
                let text = error.to_string();
                if self.error.as_ref() != Some(&text) {
                    tracing::error!(
                        "events can't be handed over and wait in their upgrades: {text}"
                    );
                }
                self.error = Some(text);
                false
            }
        }
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// The last look that was written.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    at: Timestamp,
    verdict: String,
}

impl Engine {
    /// The first line of a run, and one wherever the policy in force is another one than before.
    pub(super) fn log_policy(
        run: &mut Run,
        policy: &Arc<Policy>,
        (seen, now): (&Observation, Timestamp),
        changes: &mut Changes,
    ) {
        if run.logged_policy.as_ref() == Some(policy) {
            return;
        }
        let (rule, verdict, began) = if run.logged_policy.is_none() {
            let spec = run.spec.clone();
            let verdict = format!("{} is to follow {}", spec.to, spec.from);
            run.tell(
                "Began",
                &format!("{verdict}: {}", first_reason(&run.status)),
                now,
            );
            let began = Began {
                spec,
                status: run.status.clone(),
                old_instances: run.status.old_instances,
            };
            ("Began", verdict, Some(began))
        } else {
            (
                "PolicyChanged",
                "another policy is in force".to_owned(),
                None,
            )
        };
        run.logged_policy = Some(Arc::clone(policy));
        let decision = decision(run, rule, verdict, now);
        changes.lines.push_back(Line {
            // Whoever may read the log need not know passwords.
            policy: Some(Arc::new(policy.shown())),
            began,
            ..line(run, decision, seen)
        });
    }

    /// A line at every interval where nothing else is written.
    pub(super) fn log_look(
        &mut self,
        run: &mut Run,
        policy: &Policy,
        (seen, now): (&Observation, Timestamp),
        changes: &mut Changes,
    ) {
        let interval = policy.analysis.interval;
        let key = &run.spec.key;
        let last = self.looked.get(key);
        let since = last.map_or(run.created, |looked| looked.at);
        if !run.is_active() || now.since(since) < interval {
            return;
        }
        let verdict = look(run, seen.judgement.as_ref());
        let same = last.is_some_and(|looked| looked.verdict == verdict);
        let quiet = interval.saturating_mul(QUIET).max(Duration::from_secs(1));
        if seen.judgement.is_none() && same && now.since(since) < quiet {
            return;
        }
        let looked = Looked {
            at: now,
            verdict: verdict.clone(),
        };
        self.looked.insert(key.clone(), looked);
        changes.flush.insert(key.clone());
        let decision = decision(run, LOOKED, verdict, now);
        changes.lines.push_back(line(run, decision, seen));
    }

    /// Hands over the events that no sink has been told of yet. What the outbox refuses waits in
    /// the run, and holds up nothing.
    pub(super) fn tell(&mut self) {
        let mut told = Vec::new();
        for key in &self.untold {
            let Some(run) = self.runs.get_mut(key) else {
                told.push(key.clone());
                continue;
            };
            let policy = self
                .catalog
                .policies
                .get(&run.spec.service)
                .unwrap_or(&self.norms);
            let taken = run
                .untold()
                .iter()
                .take_while(|event| self.teller.take(event, &policy.notify))
                .count();
            let left = run.untold().len() - taken;
            run.events_told = run
                .events_count
                .saturating_sub(u64::try_from(left).unwrap_or(u64::MAX));
            if left == 0 {
                told.push(key.clone());
            }
        }
        for key in told {
            self.untold.remove(&key);
            // How far it was told is written once more; a run that goes on is written anyway.
            if !self.active.contains(&key) && self.runs.contains_key(&key) {
                self.unflushed.insert(key);
            }
        }
    }
}

/// A line for what was decided at a look, with the evidence that no line has shown yet: it stands in
/// one line only, so that what all lines show adds up.
pub(super) fn line(run: &mut Run, decision: Decision, seen: &Observation) -> Line {
    Line {
        key: run.spec.key.clone(),
        decision,
        inputs: Observation {
            evidence: std::mem::take(&mut run.unlogged),
            ..seen.clone()
        },
        policy: None,
        began: None,
    }
}

fn decision(run: &Run, rule: &str, verdict: String, at: Timestamp) -> Decision {
    Decision {
        at,
        phase: run.status.phase,
        rule: rule.to_owned(),
        verdict,
    }
}

fn look(run: &Run, judgement: Option<&Judgement>) -> String {
    match judgement {
        Some(judgement) => judging::describe(judgement),
        None => format!(
            "nothing is analysed in {}: {}",
            run.status.phase, run.status.message
        ),
    }
}

fn first_reason(status: &UpgradeStatus) -> &str {
    status.history.first().map_or("", |line| &line.reason)
}

/// The runs whose events may be unknown to the outbox.
pub(super) fn untold<'a>(
    runs: impl IntoIterator<Item = (&'a UpgradeKey, &'a Run)>,
) -> impl Iterator<Item = UpgradeKey> {
    runs.into_iter()
        .filter(|(_, run)| !run.untold().is_empty())
        .map(|(key, _)| key.clone())
}
