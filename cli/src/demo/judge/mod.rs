//! What of a run was as promised and what was not. Pure.
//!
//! Without a fault nothing may fail, move or be cut: a session may change its version only from
//! the old one to the new one, after the old one's sessions were released. With a fault in the new
//! version, what was already sent to it may fail, and its sessions go back; the old version's
//! sessions must notice nothing.
//!
//! A failed request is put down to the faulty version where the bad answer named it, or where
//! there was no answer and the session lived there. A new session's first request without an
//! answer could have gone to either version: of these, no more may fail than the new version's
//! share explains. And whatever is counted must be accounted for: what was not listed was lost.

use super::{
    Fault,
    course::{Course, End},
    evidence::Evidence,
    interval,
    load::{Begun, Channel, Event, Kind, Known, Report},
    manifests::WEIGHTS,
};
use std::collections::BTreeMap;

/// A request may be on its way so long, between the client's clock and the proxy that reads it.
const ON_ITS_WAY_MS: u64 = 250;
/// So many of a hundred requests that were due may go unsent before the load was not as said.
const UNSENT_PERCENT: u64 = 1;

/// A run, judged.
#[derive(Clone, Debug, Default)]
pub(super) struct Judgement {
    /// Sessions that changed their version when they should not have.
    pub(super) moved_unexpectedly: u64,
    /// Sessions that changed their version as they should.
    pub(super) moved: u64,
    /// Failed requests by kind, of those that the fault explains.
    pub(super) explained: BTreeMap<Kind, u64>,
    /// Of those, requests of new sessions: which version they were sent to is not known.
    pub(super) explained_by_time: u64,
    /// Failed requests that nothing explains.
    pub(super) failed_unexpectedly: u64,
    /// The most of those that the new version's share explains.
    pub(super) explainable_by_time: u64,
    /// All failed requests by kind.
    pub(super) kinds: BTreeMap<Kind, u64>,
    /// Streams and connections cut that nothing explains.
    pub(super) cut_unexpectedly: BTreeMap<Channel, u64>,
    /// All streams and connections cut.
    cut: BTreeMap<Channel, u64>,
    /// The first bad answer.
    pub(super) first_bad: Option<u64>,
    /// The steps.
    pub(super) steps: Vec<StepResult>,
    /// What was not as promised, for people, and how often.
    pub(super) examples: BTreeMap<String, u64>,
}

/// The new version's share of new sessions at one weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StepResult {
    /// In basis points.
    pub(super) weight: u32,
    /// Sessions that began while the weight was applied everywhere.
    pub(super) sessions: u32,
    /// Those that began on the new version.
    pub(super) on_new: u32,
    /// The least and the most that chance explains (99.99 %).
    pub(super) region: (u32, u32),
    /// How long until every proxy had it.
    pub(super) applied_ms: Option<u64>,
}

impl StepResult {
    pub(super) fn is_as_set(&self) -> bool {
        self.on_new >= self.region.0 && self.on_new <= self.region.1
    }
}

/// Judges a run.
pub(super) fn judge(evidence: &Evidence, course: &Course) -> Judgement {
    let mut judgement = Judgement {
        steps: steps(evidence, course),
        ..Judgement::default()
    };
    for event in &evidence.events {
        judgement.weigh(event, course, evidence);
    }
    judgement.explainable_by_time = explainable(evidence, course, judgement.explained_by_time);
    judgement
}

/// How many of the first requests that came to nothing the new version's share explains.
fn explainable(evidence: &Evidence, course: &Course, failed: u64) -> u64 {
    let (Some(fault), Some(weight)) = (
        evidence.fault,
        course.steps.iter().map(|step| step.weight).max(),
    ) else {
        return 0;
    };
    let until = course.back_applied.map(|applied| applied + ON_ITS_WAY_MS);
    let since = fault.saturating_sub(ON_ITS_WAY_MS);
    let (answered, _) = evidence.sessions_between(since, until, &course.new);
    let all = u64::from(answered) + failed;
    interval::region(u32::try_from(all).unwrap_or(u32::MAX), weight)
        .1
        .into()
}

fn steps(evidence: &Evidence, course: &Course) -> Vec<StepResult> {
    let result = |step: &super::course::Step| {
        // A failing version's sessions go elsewhere: from the fault on, the share says nothing.
        let until = match (step.until, evidence.fault) {
            (Some(until), Some(fault)) => Some(until.min(fault)),
            (until, fault) => until.or(fault),
        };
        let (sessions, on_new) = step.applied.map_or((0, 0), |applied| {
            Begun::between(&evidence.begun, applied, until, &course.new)
        });
        StepResult {
            weight: step.weight,
            sessions,
            on_new,
            region: interval::region(sessions, step.weight),
            applied_ms: step.applied.map(|applied| applied.saturating_sub(step.at)),
        }
    };
    course.steps.iter().map(result).collect()
}

impl Judgement {
    fn weigh(&mut self, event: &Event, course: &Course, evidence: &Evidence) {
        match event {
            Event::Moved { at, from, to, .. } => {
                if is_promised_move(course, evidence.fault, (from, to), *at) {
                    self.moved += 1;
                } else {
                    self.moved_unexpectedly += 1;
                    self.example(event);
                }
            }
            Event::Failed {
                sent,
                at,
                version,
                known,
                kind,
                ..
            } => {
                *self.kinds.entry(*kind).or_default() += 1;
                let explained = explains(course, evidence, version.as_deref(), (*sent, *at))
                    && is_of_the_fault(evidence.asked.fault, *kind, *known);
                if !explained {
                    self.failed_unexpectedly += 1;
                    self.example(event);
                    return;
                }
                *self.explained.entry(*kind).or_default() += 1;
                self.explained_by_time += u64::from(version.is_none());
                self.first_bad = Some(self.first_bad.map_or(*at, |first| first.min(*at)));
            }
            Event::Cut {
                opened,
                at,
                version,
                channel,
                ..
            } => {
                *self.cut.entry(*channel).or_default() += 1;
                if !explains(course, evidence, version.as_deref(), (*opened, *at)) {
                    *self.cut_unexpectedly.entry(*channel).or_default() += 1;
                    self.example(event);
                }
            }
        }
    }

    fn example(&mut self, event: &Event) {
        *self.examples.entry(describe(event)).or_default() += 1;
    }

    /// How many streams or connections were cut that nothing explains.
    pub(super) fn cut_unexpectedly(&self, channel: Channel) -> u64 {
        self.cut_unexpectedly.get(&channel).copied().unwrap_or(0)
    }

    /// What was not as promised, each a sentence; empty: everything was.
    pub(super) fn problems(&self, evidence: &Evidence, course: &Course) -> Vec<String> {
        let mut problems = self.losses(evidence.asked.fault.is_some());
        self.unaccounted(&evidence.latest, &mut problems);
        unplayed(evidence, course, &mut problems);
        self.wrong_steps(evidence, course, &mut problems);
        problems
    }

    fn losses(&self, fault: bool) -> Vec<String> {
        let mut problems = Vec::new();
        let mut count = |n: u64, what: &str| {
            if n > 0 {
                problems.push(format!("{n} {what}"));
            }
        };
        let unless_faulty = if fault {
            " that the fault does not explain"
        } else {
            ""
        };
        count(
            self.failed_unexpectedly,
            &format!("requests failed{unless_faulty}"),
        );
        count(
            self.moved_unexpectedly,
            "sessions changed their version when they should not have",
        );
        count(
            self.cut_unexpectedly(Channel::Stream),
            &format!("streams were cut{unless_faulty}"),
        );
        count(
            self.cut_unexpectedly(Channel::Tcp),
            &format!("TCP connections were cut{unless_faulty}"),
        );
        if self.explained_by_time > self.explainable_by_time {
            problems.push(format!(
                "{} first requests of new sessions had no answer; the new version's share of them explains {} at most",
                self.explained_by_time, self.explainable_by_time
            ));
        }
        problems
    }

    /// What the load generator counted and did not tell of: nobody knows whether that was promised.
    fn unaccounted(&self, latest: &Report, problems: &mut Vec<String>) {
        let mut differ = |counted: u64, known: u64, what: &str| {
            if counted != known {
                problems.push(format!(
                    "of {counted} {what} only {known} are accounted for"
                ));
            }
        };
        let told = |channel| self.cut.get(&channel).copied().unwrap_or(0);
        differ(latest.failed, self.kinds.values().sum(), "failed requests");
        differ(latest.streams.cut, told(Channel::Stream), "cut streams");
        differ(latest.tcp.cut, told(Channel::Tcp), "cut TCP connections");
        if latest.last {
            let answered: u64 = latest.answered.values().sum();
            differ(latest.sent, answered + latest.failed, "requests sent");
        }
        if latest.events_omitted > 0 {
            problems.push(format!("{} events were not listed", latest.events_omitted));
        }
        if latest.late * 100 > latest.sent * UNSENT_PERCENT {
            problems.push(format!(
                "the load was not steady: {} requests that were due could not be sent",
                latest.late
            ));
        }
    }

    fn wrong_steps(&self, evidence: &Evidence, course: &Course, problems: &mut Vec<String>) {
        for step in self.steps.iter().filter(|step| !step.is_as_set()) {
            problems.push(format!(
                "at weight {} % the new version got {} of {} new sessions; chance explains {} to {}",
                step.weight / 100,
                step.on_new,
                step.sessions,
                step.region.0,
                step.region.1
            ));
        }
        if evidence.asked.fault.is_some() || course.end != Some(End::Succeeded) {
            return;
        }
        for weight in WEIGHTS {
            let of_it = |step: &&StepResult| step.weight == weight;
            let step = self.steps.iter().find(of_it);
            if step.is_none_or(|step| step.applied_ms.is_none() || step.sessions == 0) {
                problems.push(format!(
                    "nothing was measured at weight {} %: no new session began while every proxy had it",
                    weight / 100
                ));
            }
        }
    }
}

/// What was asked of the run and did not happen.
fn unplayed(evidence: &Evidence, course: &Course, problems: &mut Vec<String>) {
    let wanted = if evidence.asked.fault.is_some() {
        End::RolledBack
    } else {
        End::Succeeded
    };
    if course.end != Some(wanted) {
        problems.push(match course.end {
            Some(end) => format!("the upgrade ended {end:?} instead of {wanted:?}"),
            None => "the upgrade did not come to its end".to_owned(),
        });
    }
    if evidence.asked.fault.is_some() && evidence.fault.is_none() {
        problems.push("the fault never came: the upgrade ended before it".to_owned());
    }
    if course.end == Some(End::RolledBack) && course.back_applied.is_none() {
        problems.push("the rollback was never applied by every proxy".to_owned());
    }
    if evidence.killed < evidence.asked.kills {
        problems.push(format!(
            "the control plane was killed {} times instead of {}: the holds are too short",
            evidence.killed, evidence.asked.kills
        ));
    }
}

fn is_promised_move(
    course: &Course,
    fault: Option<u64>,
    (from, to): (&str, &str),
    at: u64,
) -> bool {
    let since = |moment: Option<u64>| moment.is_some_and(|moment| at >= moment);
    if from == course.old && to == course.new {
        return since(course.released) && !since(course.back);
    }
    // Back: by the engine, or before it by a proxy's fuse.
    from == course.new && to == course.old && (since(course.back) || since(fault))
}

/// True where the faulty version explains that something begun and ended at these times failed:
/// it ended with the fault there, and began before the last proxy had applied the way back.
fn explains(
    course: &Course,
    evidence: &Evidence,
    version: Option<&str>,
    (begun, at): (u64, u64),
) -> bool {
    evidence.fault.is_some_and(|fault| at >= fault)
        && version.is_none_or(|version| version == course.new)
        && course
            .back_applied
            .is_none_or(|applied| begun <= applied + ON_ITS_WAY_MS)
}

/// True where a bad version shows itself like this. One that answers everything names itself.
fn is_of_the_fault(fault: Option<Fault>, kind: Kind, known: Known) -> bool {
    match fault {
        None => false,
        Some(Fault::Errors) => kind == Kind::ServerError && known == Known::Answer,
        Some(Fault::Slow | Fault::Crash | Fault::Hang) => {
            matches!(kind, Kind::ServerError | Kind::Reset | Kind::TimedOut)
        }
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Moved {
            session, from, to, ..
        } => format!("session {session} moved from {from} to {to}"),
        Event::Failed {
            version,
            kind,
            detail,
            ..
        } => format!(
            "a request to {} failed ({}): {detail}",
            version.as_deref().unwrap_or("an unknown version"),
            kind.label()
        ),
        Event::Cut {
            channel,
            version,
            detail,
            ..
        } => format!(
            "a {} to {} was cut: {detail}",
            match channel {
                Channel::Stream => "stream",
                Channel::Tcp => "TCP connection",
            },
            version.as_deref().unwrap_or("an unknown version"),
        ),
    }
}

#[cfg(test)]
mod tests;
