//! The end of a run: a table and a sentence for people, a document for programs.

use super::{
    course::{Course, End},
    evidence::Evidence,
    judge::{Judgement, StepResult, judge},
    load::Channel,
    text::{count, milliseconds},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _};

/// Different things that went wrong, listed for people.
const EXAMPLES: usize = 10;

/// What `--json` writes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    /// Requests sent.
    pub(super) requests: u64,
    /// Requests without a good answer.
    pub(super) failed: u64,
    /// Sessions that began.
    pub(super) sessions: u64,
    pub(super) sessions_moved_unexpectedly: u64,
    pub(super) streams_cut: u64,
    pub(super) tcp_connections_cut: u64,
    pub(super) steps: Vec<Step>,
    /// From the first bad answer to the last request on the new version.
    pub(super) rollback_ms: Option<u64>,
    pub(super) result: &'static str,
    /// Failed requests by kind.
    pub(super) failures: BTreeMap<&'static str, u64>,
    /// Requests that were due and found every session waiting for an answer.
    pub(super) not_sent: u64,
    /// What was not as promised.
    pub(super) problems: Vec<String>,
}

/// One weight.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Step {
    /// In percent.
    pub(super) weight: f64,
    /// The measured share of new sessions, in percent; None: none began.
    pub(super) share: Option<f64>,
    pub(super) new_sessions: u32,
    pub(super) applied_ms: Option<u64>,
}

impl Step {
    fn of(result: &StepResult) -> Self {
        Self {
            weight: f64::from(result.weight) / 100.0,
            share: percent(result.on_new, result.sessions),
            new_sessions: result.sessions,
            applied_ms: result.applied_ms,
        }
    }
}

/// In percent, to a hundredth.
pub(super) fn percent(part: u32, of: u32) -> Option<f64> {
    (of > 0).then(|| (f64::from(part) * 10_000.0 / f64::from(of)).round() / 100.0)
}

/// A run, told.
#[derive(Clone, Debug)]
pub(super) struct Story {
    pub(super) summary: Summary,
    judgement: Judgement,
    latency: (Option<u64>, Option<u64>),
    streams: u64,
    tcp: u64,
    fault: bool,
}

impl Story {
    /// Judges the evidence.
    pub(super) fn of(evidence: &Evidence) -> Self {
        let course = evidence
            .upgrade
            .as_ref()
            .map(Course::of)
            .unwrap_or_default();
        let judgement = judge(evidence, &course);
        let latest = &evidence.latest;
        let newest = latest.newest.get(&course.new).copied();
        let rollback_ms = match (course.end, judgement.first_bad, newest) {
            (Some(End::RolledBack), Some(first), Some(newest)) => {
                Some(newest.saturating_sub(first))
            }
            _ => None,
        };
        let summary = Summary {
            requests: latest.sent,
            failed: latest.failed,
            sessions: latest.sessions_begun,
            sessions_moved_unexpectedly: judgement.moved_unexpectedly,
            streams_cut: latest.streams.cut,
            tcp_connections_cut: latest.tcp.cut,
            steps: judgement.steps.iter().map(Step::of).collect(),
            rollback_ms,
            result: match course.end {
                Some(End::Succeeded) => "Succeeded",
                Some(End::RolledBack) => "RolledBack",
                None => "Failed",
            },
            failures: judgement
                .kinds
                .iter()
                .map(|(kind, n)| (kind.label(), *n))
                .collect(),
            problems: judgement.problems(evidence, &course),
            not_sent: latest.late,
        };
        Self {
            summary,
            latency: (
                evidence.latency.quantile(500),
                evidence.latency.quantile(990),
            ),
            streams: latest.streams.ended,
            tcp: latest.tcp.ended,
            judgement,
            fault: evidence.asked.fault.is_some(),
        }
    }

    /// Everything was as promised.
    pub(super) fn is_good(&self) -> bool {
        self.summary.problems.is_empty()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = self.table();
        self.totals(&mut text);
        if self.is_good() {
            writeln!(text, "\n{}", self.verdict()).ok();
            return text;
        }
        writeln!(text, "\nNot as promised:").ok();
        for problem in &self.summary.problems {
            writeln!(text, "  - {problem}").ok();
        }
        self.examples(&mut text);
        text
    }

    fn examples(&self, text: &mut String) {
        let mut examples: Vec<_> = self.judgement.examples.iter().collect();
        examples.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        for (example, times) in examples.iter().take(EXAMPLES) {
            writeln!(text, "    {} x {example}", count(**times)).ok();
        }
        if examples.len() > EXAMPLES {
            writeln!(text, "    and {} others", examples.len() - EXAMPLES).ok();
        }
    }

    fn table(&self) -> String {
        let mut text = String::from(
            "\n  weight   new sessions   on the new version   99.99 % interval   applied in\n",
        );
        for step in &self.judgement.steps {
            let share = |n| {
                percent(n, step.sessions)
                    .map_or_else(|| "-".to_owned(), |share| format!("{share:.1} %"))
            };
            writeln!(
                text,
                "  {:>4} %   {:>12}   {:>18}   {:>16}   {:>10}",
                step.weight / 100,
                count(step.sessions.into()),
                share(step.on_new),
                format!("{} .. {}", share(step.region.0), share(step.region.1)),
                step.applied_ms
                    .map_or_else(|| "not".to_owned(), |ms| format!("{ms} ms")),
            )
            .ok();
        }
        text
    }

    fn totals(&self, text: &mut String) {
        let summary = &self.summary;
        let (p50, p99) = self.latency;
        write!(
            text,
            "\n  requests          {} sent, {} failed (p50 {}, p99 {})
  sessions          {} begun, {} moved unexpectedly, {} as their version went
  streams           {} ended in order, {} cut{}
  TCP connections   {} ended in order, {} cut{}
",
            count(summary.requests),
            count(summary.failed),
            milliseconds(p50),
            milliseconds(p99),
            count(summary.sessions),
            count(summary.sessions_moved_unexpectedly),
            count(self.judgement.moved),
            count(self.streams),
            summary.streams_cut,
            self.of_v2(summary.streams_cut, Channel::Stream),
            count(self.tcp),
            summary.tcp_connections_cut,
            self.of_v2(summary.tcp_connections_cut, Channel::Tcp),
        )
        .ok();
        if !self.judgement.explained.is_empty() {
            let kinds: Vec<_> = self
                .judgement
                .explained
                .iter()
                .map(|(kind, n)| format!("{} x {}", count(*n), kind.label()))
                .collect();
            writeln!(text, "  sent to faulty v2 {}", kinds.join(", ")).ok();
            if self.judgement.explained_by_time > 0 {
                writeln!(
                    text,
                    "                    {} first requests of new sessions; v2's share: {} at most",
                    count(self.judgement.explained_by_time),
                    count(self.judgement.explainable_by_time),
                )
                .ok();
            }
        }
        if let Some(ms) = summary.rollback_ms {
            writeln!(
                text,
                "  rolled back       {ms} ms from the first bad answer to the last request on v2"
            )
            .ok();
        }
        if summary.not_sent > 0 {
            writeln!(
                text,
                "  not sent in time  {} (every session was waiting for an answer)",
                count(summary.not_sent)
            )
            .ok();
        }
    }

    /// How many of those cut the faulty version explains.
    fn of_v2(&self, cut: u64, channel: Channel) -> String {
        match cut.saturating_sub(self.judgement.cut_unexpectedly(channel)) {
            0 => String::new(),
            explained => format!(" ({explained} of them on faulty v2)"),
        }
    }

    fn verdict(&self) -> String {
        if self.fault {
            "v2 failed, and checkout is healthy on v1: no session of v1 noticed anything."
                .to_owned()
        } else {
            format!(
                "checkout was upgraded from v1 to v2 under {} requests:\nnone failed, no session \
                 was lost, nothing was cut.",
                count(self.summary.requests)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Story, percent};
    use crate::demo::{
        Fault,
        course::tests::upgrade,
        evidence::{Asked, Evidence},
        load::{Begun, Event, Kind, Known, Report},
    };

    #[test]
    fn percent_is_rounded_to_a_hundredth() {
        assert_eq!(percent(1, 3), Some(33.33));
        assert_eq!(percent(0, 0), None);
    }

    #[test]
    fn the_document_has_the_agreed_fields() {
        let mut evidence = Evidence {
            upgrade: Some(upgrade(
                "Succeeded",
                &[
                    ("WarmUp", 500, 100, Some(110)),
                    ("Shifting", 2_500, 200, Some(210)),
                    ("Shifting", 5_000, 300, Some(310)),
                    ("Shifting", 10_000, 400, Some(420)),
                    ("Succeeded", 10_000, 900, None),
                ],
            )),
            ..Evidence::default()
        };
        for (sent, version) in [(150, "v1"), (250, "v2"), (350, "v1"), (450, "v2")] {
            evidence.begun.push(Begun {
                sent,
                at: sent + 1,
                version: version.into(),
            });
        }
        evidence.add(Report {
            sent: 12,
            answered: [("v1".to_owned(), 12)].into(),
            last: true,
            ..Report::default()
        });
        let story = Story::of(&evidence);
        assert!(story.is_good(), "{:?}", story.summary.problems);
        let json = serde_json::to_value(&story.summary).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "requests": 12, "failed": 0, "sessions": 0, "sessions_moved_unexpectedly": 0,
                "streams_cut": 0, "tcp_connections_cut": 0,
                "steps": [
                    {"weight": 5.0, "share": 0.0, "new_sessions": 1, "applied_ms": 10},
                    {"weight": 25.0, "share": 100.0, "new_sessions": 1, "applied_ms": 10},
                    {"weight": 50.0, "share": 0.0, "new_sessions": 1, "applied_ms": 10},
                    {"weight": 100.0, "share": 100.0, "new_sessions": 1, "applied_ms": 20},
                ],
                "rollback_ms": null, "result": "Succeeded", "failures": {}, "not_sent": 0, "problems": [],
            })
        );
        assert!(story.text().contains("none failed"));
    }

    #[test]
    fn a_rollback_is_measured_from_the_first_bad_answer_to_the_last_request_on_the_new_version() {
        let mut evidence = Evidence {
            asked: Asked {
                fault: Some(Fault::Errors),
                kills: 0,
            },
            fault: Some(1_000),
            upgrade: Some(upgrade(
                "RolledBack",
                &[
                    ("WarmUp", 500, 100, Some(110)),
                    ("RollingBack", 0, 1_400, Some(1_420)),
                    ("RolledBack", 0, 1_900, None),
                ],
            )),
            ..Evidence::default()
        };
        evidence.add(Report {
            failed: 1,
            newest: [("v2".to_owned(), 1_410)].into(),
            events: vec![Event::Failed {
                request: String::new(),
                sent: 1_010,
                at: 1_020,
                version: Some("v2".into()),
                known: Known::Answer,
                kind: Kind::ServerError,
                detail: "500".into(),
            }],
            ..Report::default()
        });
        let story = Story::of(&evidence);
        assert!(story.is_good(), "{:?}", story.summary.problems);
        assert_eq!(story.summary.rollback_ms, Some(390));
        assert_eq!(story.summary.failures.get("5xx"), Some(&1));
    }

    #[test]
    fn a_run_without_an_end_has_failed() {
        let story = Story::of(&Evidence::default());
        assert_eq!(story.summary.result, "Failed");
        assert!(!story.is_good());
        assert!(story.text().contains("did not come to its end"));
    }
}
