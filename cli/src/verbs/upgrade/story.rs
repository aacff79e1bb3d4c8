//! The decision log as a story: phases, what was seen, which rule decided, who asked.

use super::{screen::clock, text};
use crate::verbs::{policy::plan, time};
use segue_control_plane::{
    model::{Command, Finding, Observation, Test, Verdict},
    replay::Context,
};
use segue_proto::control::Decision;
use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

/// The column at which the rule begins, beside the time.
const PHASE: usize = 15;

/// Tells a log, oldest line first.
pub(super) fn tell(name: &str, log: &[Decision]) -> String {
    let Some((first, last)) = log.first().zip(log.last()) else {
        return format!("{name}: nothing has been decided yet\n");
    };
    let mut story = format!(
        "{name}: {} lines, from {} to {}\n",
        log.len(),
        first.at.map(|at| at.to_string()).unwrap_or_default(),
        last.at.map(|at| at.to_string()).unwrap_or_default(),
    );
    let mut looks: Option<Looks> = None;
    let mut shown = Vec::new();
    for decision in log {
        let seen: Option<Observation> = serde_json::from_str(&decision.inputs).ok();
        if decision.rule == "Looked" {
            let look = Looks::of(decision, seen.as_ref());
            looks = Some(match looks.take() {
                Some(before) => before.and(look, &mut story),
                None => look,
            });
            continue;
        }
        if let Some(looks) = looks.take() {
            looks.end(decision, &mut story);
        }
        decided(&mut story, decision, seen.as_ref(), &mut shown);
    }
    if let Some(looks) = looks {
        looks.write(&mut story);
    }
    story
}

/// `shown`: the findings that were told last, which need not be told again.
fn decided(
    story: &mut String,
    decision: &Decision,
    seen: Option<&Observation>,
    shown: &mut Vec<Finding>,
) {
    let judged = seen.and_then(|seen| seen.judgement.as_ref());
    // A verdict is what decides of these; elsewhere it is no part of the story.
    let findings = judged
        .filter(|_| is_of_analysis(&decision.rule))
        .map_or(&[][..], |judgement| &judgement.findings);
    line(
        story,
        decision.at,
        &decision.phase,
        &format!(
            "{}: {}",
            decision.rule,
            without(&decision.verdict, findings)
        ),
    );
    for command in seen.iter().flat_map(|seen| &seen.commands) {
        more(story, &format!("asked: {}", asked(command)));
    }
    let context: Option<Context> = serde_json::from_str(&decision.context).ok();
    if let Some(policy) = context.and_then(|context| context.policy) {
        more(story, &format!("policy: {}", plan::in_short(&policy)));
    }
    if findings.is_empty() || findings == shown.as_slice() {
        return;
    }
    for finding in findings {
        let test = match &finding.test {
            Test::Metric(name) => name.clone(),
            test => format!("{test:?}"),
        };
        more(story, &format!("{test}: {}", finding.text));
    }
    *shown = findings.to_vec();
}

/// A sentence without the findings at its end, which follow line by line.
fn without<'a>(sentence: &'a str, findings: &[Finding]) -> &'a str {
    let all: Vec<&str> = findings
        .iter()
        .map(|finding| finding.text.as_str())
        .collect();
    sentence
        .strip_suffix(&all.join("; "))
        .and_then(|rest| rest.strip_suffix(": "))
        // What consists of findings alone says which of them decided.
        .filter(|rest| rest.contains("analysis"))
        .unwrap_or(sentence)
}

fn is_of_analysis(rule: &str) -> bool {
    ["Analysis", "Verdict", "Worse", "LowTraffic", "HoldIsOver"]
        .iter()
        .any(|word| rule.contains(word))
}

fn asked(command: &Command) -> String {
    match command {
        Command::Start => "start".to_owned(),
        Command::Pause => "pause".to_owned(),
        Command::Resume => "resume".to_owned(),
        Command::Promote { full: false } => "promote".to_owned(),
        Command::Promote { full: true } => "promote --full".to_owned(),
        Command::Rollback { reason } if reason.is_empty() => "rollback".to_owned(),
        Command::Rollback { reason } => format!("rollback ({reason})"),
        Command::Retry => "retry".to_owned(),
    }
}

/// Looks one after the other that said the same.
struct Looks {
    from: Option<SystemTime>,
    to: Option<SystemTime>,
    count: usize,
    phase: String,
    verdict: Option<String>,
    /// What the last of them said.
    said: String,
}

impl Looks {
    fn of(decision: &Decision, seen: Option<&Observation>) -> Self {
        let at = decision.at.and_then(|at| SystemTime::try_from(at).ok());
        let judgement = seen.and_then(|seen| seen.judgement.as_ref());
        let verdict = judgement.map(|judgement| format!("{:?}", judgement.verdict));
        let said = match judgement {
            None => decision.verdict.clone(),
            Some(judgement) => {
                let word = format!("{:?}", judgement.verdict);
                let mut said = format!("{}, {} requests", text::verdict(&word), judgement.requests);
                // What holds the verdict up, or decides it.
                let of_it = judgement.findings.iter().filter(|finding| {
                    finding.verdict == judgement.verdict && finding.verdict != Verdict::NotWorse
                });
                for finding in of_it {
                    let _infallible = write!(said, "; {}", finding.text);
                }
                said
            }
        };
        Self {
            from: at,
            to: at,
            count: 1,
            phase: decision.phase.clone(),
            verdict,
            said,
        }
    }

    /// One line for both where they say the same; else this one is told.
    fn and(self, next: Self, story: &mut String) -> Self {
        if self.phase == next.phase && self.verdict == next.verdict {
            return Self {
                from: self.from,
                count: self.count + 1,
                ..next
            };
        }
        self.write(story);
        next
    }

    /// What was looked at lasted until the decision that follows.
    fn end(mut self, decision: &Decision, story: &mut String) {
        self.to = decision.at.and_then(|at| SystemTime::try_from(at).ok());
        self.write(story);
    }

    fn write(&self, story: &mut String) {
        let lasted = self
            .from
            .zip(self.to)
            .and_then(|(from, to)| to.duration_since(from).ok())
            .unwrap_or(Duration::ZERO);
        let looks = if self.count == 1 { "look" } else { "looks" };
        let text = format!(
            "for {} ({} {looks}): {}",
            time::short(lasted),
            self.count,
            self.said
        );
        line(story, self.from.map(Into::into), &self.phase, &text);
    }
}

fn line(story: &mut String, at: Option<prost_types::Timestamp>, phase: &str, text: &str) {
    let at = at.and_then(|at| SystemTime::try_from(at).ok());
    let _infallible = writeln!(
        story,
        "{}  {phase:<PHASE$} {text}",
        at.map(clock).unwrap_or_default()
    );
}

fn more(story: &mut String, text: &str) {
    let _infallible = writeln!(story, "{:14}{:PHASE$}   {text}", "", "");
}

#[cfg(test)]
mod tests {
    use super::*;
    use segue_control_plane::model::{Judgement, Policy};

    fn decision(second: i64, phase: &str, rule: &str, verdict: &str) -> Decision {
        Decision {
            at: Some(prost_types::Timestamp {
                seconds: 43_200 + second,
                nanos: 0,
            }),
            phase: phase.to_owned(),
            rule: rule.to_owned(),
            verdict: verdict.to_owned(),
            ..Decision::default()
        }
    }

    fn looked(second: i64, verdict: Verdict, requests: u64) -> Decision {
        let seen = Observation {
            judgement: Some(Judgement {
                verdict,
                requests,
                eta: None,
                findings: vec![Finding {
                    test: Test::SuccessDrop,
                    verdict,
                    new: None,
                    old: None,
                    limit: None,
                    smallest_visible: None,
                    eta: None,
                    shared: false,
                    text: format!("errors 0.12 % against 0.11 % of {requests}"),
                }],
            }),
            ..Observation::default()
        };
        Decision {
            inputs: serde_json::to_string(&seen).unwrap(),
            ..decision(second, "WarmUp", "Looked", "")
        }
    }

    #[test]
    fn a_log_is_told_as_a_story() {
        let mut began = decision(0, "Preparing", "Began", "v1 -> v2");
        began.context = serde_json::to_string(&Context {
            policy: Some(Policy::default()),
            ..Context::default()
        })
        .unwrap();
        let mut back = decision(260, "RollingBack", "Commanded", "RollingBack: by hand");
        back.inputs = serde_json::to_string(&Observation {
            commands: vec![Command::Rollback {
                reason: "by hand".to_owned(),
            }],
            ..Observation::default()
        })
        .unwrap();
        let log = [
            began,
            decision(3, "WarmUp", "InstancesReady", "WarmUp: 5 %"),
            looked(5, Verdict::NotYet, 10),
            looked(10, Verdict::NotYet, 20),
            looked(250, Verdict::NotYet, 812),
            looked(255, Verdict::NotWorse, 830),
            back,
        ];
        let expected = "\
shop/checkout-v2-1: 7 lines, from 1970-01-01T12:00:00Z to 1970-01-01T12:04:20Z
12:00:00 UTC  Preparing       Began: v1 -> v2
                                policy: 5 % for 10m, 25 % for 5m, 50 % for 5m, 100 %; then 30m of rollback window
12:00:03 UTC  WarmUp          InstancesReady: WarmUp: 5 %
12:00:05 UTC  WarmUp          for 4m05s (3 looks): not yet, 812 requests; errors 0.12 % against 0.11 % of 812
12:04:15 UTC  WarmUp          for 5s (1 look): not worse, 830 requests
12:04:20 UTC  RollingBack     Commanded: RollingBack: by hand
                                asked: rollback (by hand)
";
        assert_eq!(tell("shop/checkout-v2-1", &log), expected);
    }

    #[test]
    fn findings_are_told_once_and_line_by_line() {
        let judged = |second, rule: &str, verdict: &str| Decision {
            inputs: looked(0, Verdict::NotWorse, 830).inputs,
            ..decision(second, "WarmUp", rule, verdict)
        };
        let text = "errors 0.12 % against 0.11 % of 830";
        let changed = format!("at 5 %, analysis: not worse (830 requests): {text}");
        let log = [
            judged(1, "VerdictChanged", &changed),
            judged(1, "NotWorse", "Shifting: 25 % goes to the new version"),
        ];
        let expected = "\
a/b: 2 lines, from 1970-01-01T12:00:01Z to 1970-01-01T12:00:01Z
12:00:01 UTC  WarmUp          VerdictChanged: at 5 %, analysis: not worse (830 requests)
                                SuccessDrop: errors 0.12 % against 0.11 % of 830
12:00:01 UTC  WarmUp          NotWorse: Shifting: 25 % goes to the new version
";
        assert_eq!(tell("a/b", &log), expected);
    }

    #[test]
    fn an_empty_log_says_so() {
        assert_eq!(tell("a/b", &[]), "a/b: nothing has been decided yet\n");
    }
}
