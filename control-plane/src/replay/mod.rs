//! A recorded upgrade once more, under another policy.
//!
//! ```text
//! decision log -- lines --> looks --+--> player: the recorded policy, the recorded judgements
//!                                   '--> player: the other policy, judged anew
//! ```
//!
//! Both players see what the engine saw, in the same order, and ask `upgrade::advance` what it would
//! have done. Up to the first difference the answer is exact. From there on what was recorded is
//! no longer what the other policy would have caused: more or less traffic would have gone to
//! the new version. So what follows is shown, and marked.
//!
//! Pure.

mod line;
mod player;

#[cfg(test)]
mod tests;

pub use line::{Context, Line};

use crate::model::{Decision, Limits, Phase, Policy, Share, Timestamp};
use line::Look;
use player::{Judge, Player};
use serde::Serialize;

/// Why a log can't be replayed; a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unplayable {
    /// Nothing is in it.
    #[error("the decision log is empty: nothing has been decided yet")]
    Empty,
    /// Its first line is not `Began`, or lacks what a replay begins with.
    #[error(
        "the decision log does not reach back to the beginning of the upgrade (its first line is {first}): it is incomplete, or was written by an older control plane"
    )]
    NoBeginning {
        /// The rule of the first line.
        first: String,
    },
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// How many looks were replayed.
    pub looks: usize,
    /// Every moment at which one of the two decided something.
    pub moments: Vec<Moment>,
    /// When they first differed; None: never.
    pub diverged: Option<Timestamp>,
    /// Where the recorded run stood at the log's end.
    pub recorded: Outcome,
    /// Where it would have stood.
    pub otherwise: Outcome,
    /// What the reader must know of this replay.
    pub notes: Vec<String>,
}

/// One moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What was decided.
    pub recorded: Vec<Decision>,
    /// What the other policy decides.
    pub otherwise: Vec<Decision>,
    /// The two are not the same.
    pub differs: bool,
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// In which phase.
    pub phase: Phase,
    /// With which weight.
    pub weight: Share,
    /// Why it goes or went back.
    pub rollback_reason: Option<String>,
}

/// Replays a log, oldest line first, under another policy.
pub fn replay(lines: &[Line], policy: &Policy) -> Result<Replay, Unplayable> {
    let first = lines.first().ok_or(Unplayable::Empty)?;
    let no_beginning = || Unplayable::NoBeginning {
        first: first.rule.clone(),
    };
    let recorded_policy = first.context.policy.as_ref().ok_or_else(no_beginning)?;
    if first.rule != line::BEGAN {
        return Err(no_beginning());
    }
    let mut recorded = Player::begin(recorded_policy, first, Judge::AsRecorded);
    // The log shows addresses without what may be secret in them.
    let (was, would) = (recorded_policy.shown().analysis, policy.shown().analysis);
    // Where analysis is the same, what it said is what it would say: until the two part.
    let judge = if was == would {
        Judge::AsRecorded
    } else {
        Judge::Anew
    };
    let mut otherwise = Player::begin(&within(&recorded_policy.limits, policy), first, judge);
    let mut course = Course::default();
    // What one look decided may be the next one's here, within the same moment.
    for looks in Look::all(lines).chunk_by(|a, b| a.at == b.at) {
        let (mut was, mut would, mut logged) = (Vec::new(), Vec::new(), Vec::new());
        let mut at = first.at;
        for look in looks {
            at = look.at;
            if let Some(now) = &look.policy {
                recorded.change_policy(now);
                otherwise.change_policy(&within(&now.limits, policy));
            }
            logged.extend(look.rules.iter().map(String::as_str));
            was.append(&mut recorded.look(look));
            would.append(&mut otherwise.look(look));
        }
        course.looks += looks.len();
        course.note_log(at, &logged, &was);
        let differs = key(&was) != key(&would) || recorded.stand() != otherwise.stand();
        if differs && course.diverged.is_none() {
            course.diverged = Some(at);
            otherwise.part();
        }
        if !was.is_empty() || !would.is_empty() {
            course.moments.push(Moment {
                at,
                recorded: was,
                otherwise: would,
                differs,
            });
        }
    }
    let mut notes = course.notes;
    notes.extend(let_go(lines));
    notes.extend((would.metrics != was.metrics).then(|| METRICS_DIFFER.to_owned()));
    Ok(Replay {
        looks: course.looks,
        moments: course.moments,
        diverged: course.diverged,
        recorded: recorded.outcome(),
        otherwise: otherwise.outcome(),
        notes,
    })
}

/// Limits are the mesh's, whichever policy is replayed.
fn within(limits: &Limits, policy: &Policy) -> Policy {
    Policy {
        limits: limits.clone(),
        ..policy.clone()
    }
}

const METRICS_DIFFER: &str =
    "extra metrics differ: only those that were asked for at the time can be replayed";

/// What to know of a log that lacks some of its looks.
fn let_go(lines: &[Line]) -> Option<String> {
    let count: u64 = lines.iter().filter_map(|line| line.context.let_go).sum();
    (count > 0).then(|| {
        format!(
            "{count} looks were let go, with their evidence: what is judged anew is judged from less than there was"
        )
    })
}

#[derive(Default)]
struct Course {
    looks: usize,
    moments: Vec<Moment>,
    diverged: Option<Timestamp>,
    notes: Vec<String>,
}

impl Course {
    /// The recorded policy must lead to what was recorded, or nothing follows from the log.
    fn note_log(&mut self, at: Timestamp, logged: &[&str], was: &[Decision]) {
        let played: Vec<&str> = was.iter().map(|decision| decision.rule.as_str()).collect();
        if logged != played && self.notes.is_empty() {
            self.notes.push(format!(
                "the log can't be followed exactly: at {} it has {logged:?}, the rules of this version decide {played:?}; it was written by another version, or lines are missing",
                at.0
            ));
        }
    }
}

/// What makes two decisions the same: the numbers in the sentence may differ.
fn key(decisions: &[Decision]) -> Vec<(Phase, &str)> {
    decisions
        .iter()
        .map(|decision| (decision.phase, decision.rule.as_str()))
        .collect()
}
