//! What of a run was as promised and what was not. Pure.
//!
//! Without a fault nothing may fail, move or be cut: a session may change its version only from
//! the old one to the new one, after the old one's sessions were released. With a fault in the new
//! version, what was already sent to it may fail, and its sessions go back; the old version's
//! sessions must notice nothing.

use super::{
    course::{Course, End},
    evidence::Evidence,
    interval,
    load::{Channel, Event, Kind},
};
use std::collections::BTreeMap;

/// A request may fail so long after it was sent: the load generator's time-out and some slack.
const LAST_FAILURE_AFTER_MS: u64 = 3_000;

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
    /// Streams and connections cut that nothing explains.
    pub(super) cut_unexpectedly: BTreeMap<Channel, u64>,
    /// The first bad answer.
    pub(super) first_bad: Option<u64>,
    /// The steps.
    pub(super) steps: Vec<StepResult>,
    /// Examples of what was not as promised, for people.
    pub(super) examples: Vec<String>,
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
        judgement.weigh(event, course, evidence.fault);
    }
    judgement
}

fn steps(evidence: &Evidence, course: &Course) -> Vec<StepResult> {
    let result = |step: &super::course::Step| {
        // A failing version's sessions go elsewhere: from the fault on, the share says nothing.
        let until = match (step.until, evidence.fault) {
            (Some(until), Some(fault)) => Some(until.min(fault)),
            (until, fault) => until.or(fault),
        };
        let (sessions, on_new) = step.applied.map_or((0, 0), |applied| {
            evidence.sessions_between(applied, until, &course.new)
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
    fn weigh(&mut self, event: &Event, course: &Course, fault: Option<u64>) {
        match event {
            Event::Moved { at, from, to, .. } => {
                if is_promised_move(course, fault, (from, to), *at) {
                    self.moved += 1;
                } else {
                    self.moved_unexpectedly += 1;
                    self.example(event);
                }
            }
            Event::Failed {
                at, version, kind, ..
            } => {
                if !explains(course, fault, version.as_deref(), *at) {
                    self.failed_unexpectedly += 1;
                    self.example(event);
                    return;
                }
                *self.explained.entry(*kind).or_default() += 1;
                self.explained_by_time += u64::from(version.is_none());
                self.first_bad = Some(self.first_bad.map_or(*at, |first| first.min(*at)));
            }
            Event::Cut {
                at,
                version,
                channel,
                ..
            } => {
                if !explains(course, fault, version.as_deref(), *at) {
                    *self.cut_unexpectedly.entry(*channel).or_default() += 1;
                    self.example(event);
                }
            }
        }
    }

    fn example(&mut self, event: &Event) {
        if self.examples.len() < 10 {
            self.examples.push(describe(event));
        }
    }

    /// How many streams or connections were cut that nothing explains.
    pub(super) fn cut(&self, channel: Channel) -> u64 {
        self.cut_unexpectedly.get(&channel).copied().unwrap_or(0)
    }

    /// What was not as promised, each a sentence; empty: everything was.
    pub(super) fn problems(&self, end: Option<End>, fault: bool) -> Vec<String> {
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
            self.cut(Channel::Stream),
            &format!("streams were cut{unless_faulty}"),
        );
        count(
            self.cut(Channel::Tcp),
            &format!("TCP connections were cut{unless_faulty}"),
        );
        let wanted = if fault {
            End::RolledBack
        } else {
            End::Succeeded
        };
        if end != Some(wanted) {
            problems.push(match end {
                Some(end) => format!("the upgrade ended {end:?} instead of {wanted:?}"),
                None => "the upgrade did not come to its end".to_owned(),
            });
        }
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
        problems
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

/// True where the fault of the new version explains a failure at this time.
fn explains(course: &Course, fault: Option<u64>, version: Option<&str>, at: u64) -> bool {
    if fault.is_none_or(|fault| at < fault) {
        return false;
    }
    match version {
        Some(version) => version == course.new,
        // A new session's first request: as long as such requests may go to the new version.
        None => course
            .back_applied
            .is_none_or(|applied| at <= applied + LAST_FAILURE_AFTER_MS),
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
mod tests {
    use super::{End, Judgement, judge};
    use crate::demo::{
        course::{Course, Step},
        evidence::Evidence,
        load::{Begun, Channel, Event, Kind, Known},
    };

    fn course() -> Course {
        Course {
            old: "v1".into(),
            new: "v2".into(),
            ..Course::default()
        }
    }

    fn moved(from: &str, to: &str, at: u64) -> Event {
        Event::Moved {
            sent: at - 1,
            at,
            session: 1,
            from: from.into(),
            to: to.into(),
        }
    }

    fn failed(version: Option<&str>, at: u64) -> Event {
        Event::Failed {
            sent: at - 1,
            at,
            version: version.map(str::to_owned),
            known: Known::Session,
            kind: Kind::Reset,
            detail: String::new(),
        }
    }

    fn of(events: Vec<Event>, course: &Course, fault: Option<u64>) -> Judgement {
        let evidence = Evidence {
            events,
            fault,
            ..Evidence::default()
        };
        judge(&evidence, course)
    }

    #[test]
    fn old_sessions_may_move_only_once_they_are_released() {
        let course = Course {
            released: Some(100),
            ..course()
        };
        let judgement = of(
            vec![moved("v1", "v2", 99), moved("v1", "v2", 100)],
            &course,
            None,
        );
        assert_eq!((judgement.moved_unexpectedly, judgement.moved), (1, 1));
    }

    #[test]
    fn new_sessions_may_go_back_only_with_a_rollback_or_a_fault() {
        let back = [moved("v2", "v1", 50)];
        assert_eq!(of(back.to_vec(), &course(), None).moved_unexpectedly, 1);
        assert_eq!(of(back.to_vec(), &course(), Some(40)).moved, 1);
        let course = Course {
            back: Some(50),
            ..course()
        };
        assert_eq!(of(back.to_vec(), &course, None).moved, 1);
    }

    #[test]
    fn without_a_fault_nothing_explains_a_failure() {
        let judgement = of(vec![failed(Some("v2"), 10)], &course(), None);
        assert_eq!(judgement.failed_unexpectedly, 1);
        let problems = judgement.problems(Some(End::Succeeded), false);
        assert_eq!(problems, ["1 requests failed"]);
    }

    #[test]
    fn a_fault_explains_failures_of_the_new_version_alone() {
        let course = Course {
            back: Some(60),
            back_applied: Some(100),
            end: Some(End::RolledBack),
            ..course()
        };
        let events = vec![
            failed(Some("v2"), 49),
            failed(Some("v2"), 55),
            failed(Some("v1"), 55),
            failed(None, 52),
            failed(None, 10_000),
            Event::Cut {
                channel: Channel::Tcp,
                opened: 1,
                at: 70,
                version: Some("v2".into()),
                detail: String::new(),
            },
        ];
        let judgement = of(events, &course, Some(50));
        assert_eq!(judgement.failed_unexpectedly, 3);
        assert_eq!(judgement.explained.get(&Kind::Reset), Some(&2));
        assert_eq!(judgement.explained_by_time, 1);
        assert_eq!(judgement.first_bad, Some(52));
        assert_eq!(judgement.cut(Channel::Tcp), 0);
    }

    #[test]
    fn a_share_that_chance_does_not_explain_is_a_problem() {
        let course = Course {
            steps: vec![Step {
                weight: 500,
                at: 0,
                applied: Some(10),
                until: Some(5_000),
            }],
            end: Some(End::Succeeded),
            ..course()
        };
        let mut evidence = Evidence::default();
        for n in 0..1_000_u64 {
            evidence.begun.push(Begun {
                sent: 10 + n,
                at: 11 + n,
                version: if n % 5 == 0 { "v2" } else { "v1" }.into(),
            });
        }
        let judgement = judge(&evidence, &course);
        assert_eq!(judgement.steps[0].on_new, 200);
        assert!(!judgement.steps[0].is_as_set());
        assert_eq!(judgement.steps[0].applied_ms, Some(10));
        assert_eq!(judgement.problems(course.end, false).len(), 1);
    }
}
