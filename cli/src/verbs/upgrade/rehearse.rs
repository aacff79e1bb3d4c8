//! `segue upgrade explain --replay`.

use super::{screen::clock, text};
use crate::verbs::{Failure, policy::invalid};
use segue_control_plane::{
    model::{self, Policy, Timestamp},
    replay::{self, Line, Outcome, Replay},
    source::manifest,
};
use segue_proto::control::Decision;
use std::{
    fmt::Write as _,
    path::Path,
    time::{Duration, SystemTime},
};

/// The policy of a file.
pub(super) fn read(file: &Path) -> Result<Policy, Failure> {
    manifest::read_policy(file.to_owned()).map_err(|wrong| invalid(&wrong))
}

/// Runs a log through a policy.
pub(super) fn replay(log: &[Decision], policy: &Policy) -> Result<Replay, Failure> {
    let mut lines = Vec::with_capacity(log.len());
    for (number, decision) in (1_usize..).zip(log) {
        let line = Line::read(
            timestamp(decision),
            &decision.rule,
            &decision.inputs,
            &decision.context,
        );
        lines.push(line.map_err(|wrong| {
            Failure::Refused(format!(
                "line {number} of the decision log ({}) can't be read: {wrong}; was it written by another version of the control plane?",
                decision.rule
            ))
        })?);
    }
    replay::replay(&lines, policy).map_err(|why| Failure::Refused(why.to_string()))
}

fn timestamp(decision: &Decision) -> Timestamp {
    let at = decision.at.and_then(|at| SystemTime::try_from(at).ok());
    let since = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    Timestamp::default().after(since.unwrap_or_default())
}

/// A replay for people.
pub(super) fn tell(name: &str, file: &str, replay: &Replay) -> String {
    let mut told = format!("{name} under {file}: {} looks replayed\n", replay.looks);
    for note in &replay.notes {
        let _infallible = writeln!(told, "note: {note}");
    }
    let Some(diverged) = replay.diverged else {
        let _infallible = writeln!(
            told,
            "It would have decided the same throughout, and stand at: {}",
            stands(&replay.otherwise)
        );
        return told;
    };
    for moment in &replay.moments {
        if moment.at == diverged {
            let _infallible = writeln!(
                told,
                "--- the first difference. What was recorded from here on is no longer what this policy would have caused ---"
            );
        }
        let at = clock(SystemTime::UNIX_EPOCH + Duration::from_millis(moment.at.0));
        if moment.differs {
            side(&mut told, &at, "recorded", &moment.recorded);
            side(&mut told, &at, "replayed", &moment.otherwise);
        } else {
            side(&mut told, &at, "both", &moment.recorded);
        }
    }
    let _infallible = writeln!(
        told,
        "recorded: {}\nreplayed: {}",
        stands(&replay.recorded),
        stands(&replay.otherwise)
    );
    told
}

fn side(told: &mut String, at: &str, who: &str, decisions: &[model::Decision]) {
    if decisions.is_empty() {
        let _infallible = writeln!(told, "{at}  {who:<9} decides nothing");
    }
    for decision in decisions {
        let _infallible = writeln!(
            told,
            "{at}  {who:<9} {}: {}",
            decision.rule, decision.verdict
        );
    }
}

fn stands(outcome: &Outcome) -> String {
    let weight = text::percent(outcome.weight.basis_points().into());
    match &outcome.rollback_reason {
        None => format!("{} at {weight}", outcome.phase),
        Some(reason) => format!("{} at {weight}: {reason}", outcome.phase),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use segue_control_plane::{
        model::{Observation, Phase, Share},
        replay::{Context, Moment},
    };

    fn outcome(phase: Phase, percent: u16) -> Outcome {
        Outcome {
            phase,
            weight: Share::from_percent(percent).unwrap(),
            rollback_reason: None,
        }
    }

    fn decision(rule: &str) -> model::Decision {
        model::Decision {
            at: Timestamp(43_221_000),
            phase: Phase::Shifting,
            rule: rule.to_owned(),
            verdict: "Shifting: 25 %".to_owned(),
        }
    }

    #[test]
    fn the_first_difference_is_marked() {
        let replay = Replay {
            looks: 40,
            moments: vec![Moment {
                at: Timestamp(43_221_000),
                recorded: vec![decision("HoldIsOver")],
                otherwise: Vec::new(),
                differs: true,
            }],
            diverged: Some(Timestamp(43_221_000)),
            recorded: outcome(Phase::Shifting, 25),
            otherwise: outcome(Phase::WarmUp, 5),
            notes: Vec::new(),
        };
        let expected = "\
shop/x under p.yaml: 40 looks replayed
--- the first difference. What was recorded from here on is no longer what this policy would have caused ---
12:00:21 UTC  recorded  HoldIsOver: Shifting: 25 %
12:00:21 UTC  replayed  decides nothing
recorded: Shifting at 25 %
replayed: WarmUp at 5 %
";
        assert_eq!(tell("shop/x", "p.yaml", &replay), expected);
    }

    #[test]
    fn a_log_is_replayed_from_what_the_api_says() {
        let context = Context {
            policy: Some(Policy::default()),
            spec: None,
            old_instances: Some(1),
            let_go: None,
        };
        let began = Decision {
            at: Some(prost_types::Timestamp {
                seconds: 43_200,
                nanos: 0,
            }),
            phase: "Preparing".to_owned(),
            rule: "Began".to_owned(),
            inputs: serde_json::to_string(&Observation::default()).unwrap(),
            context: serde_json::to_string(&context).unwrap(),
            ..Decision::default()
        };
        let told = tell(
            "a/b",
            "p",
            &replay(std::slice::from_ref(&began), &Policy::default()).unwrap(),
        );
        assert!(told.contains("the same throughout"), "{told}");
        let broken = Decision {
            inputs: "{\"old\": 1}".to_owned(),
            ..began
        };
        let refused = replay(&[broken], &Policy::default())
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("line 1 of the decision log (Began)"),
            "{refused}"
        );
    }
}
