//! What people ask: `start`, `pause`, `resume`, `promote`, `rollback`, `retry`.
//!
//! What cannot be done now is refused with a condition that says why, never silently.

use super::{fresh_traffic, judgement, limits, run::Run, trigger};
use crate::model::{Command, Condition, Notes, Phase, Share, UpgradeStatus, WorkloadKey};
use std::collections::BTreeMap;

/// The condition of a command that could not be obeyed.
pub const COMMAND_REFUSED: &str = "CommandRefused";

const ALREADY_STARTED: &str = "AlreadyStarted";
const NOTHING_TO_PAUSE: &str = "NothingToPause";
const NOTHING_TO_RESUME: &str = "NothingToResume";
const VERDICT_IS_WORSE: &str = "VerdictIsWorse";
const NOTHING_TO_PROMOTE: &str = "NothingToPromote";
const LIMIT_CROSSED: &str = "LimitCrossed";
const NOTHING_TO_ROLL_BACK: &str = "NothingToRollBack";
const NO_OLD_INSTANCE: &str = "NoOldInstance";
const NOTHING_TO_RETRY: &str = "NothingToRetry";

/// Why a command may be refused: each reason is of one command alone.
fn reasons(command: &Command) -> &'static [&'static str] {
    match command {
        Command::Start => &[ALREADY_STARTED],
        Command::Pause => &[NOTHING_TO_PAUSE],
        Command::Resume => &[NOTHING_TO_RESUME],
        Command::Promote { .. } => &[VERDICT_IS_WORSE, NOTHING_TO_PROMOTE, LIMIT_CROSSED],
        Command::Rollback { .. } => &[NOTHING_TO_ROLL_BACK, NO_OLD_INSTANCE],
        Command::Retry => &[NOTHING_TO_RETRY],
    }
}

/// The condition that says that this command was the last to be refused, and why.
pub fn refused<'a>(status: &'a UpgradeStatus, command: &Command) -> Option<&'a Condition> {
    let condition = status.conditions.get(COMMAND_REFUSED)?;
    let is_of_it = reasons(command).contains(&condition.reason.as_str());
    (condition.status && is_of_it).then_some(condition)
}

/// Obeys the commands, oldest first.
pub(super) fn obey(run: &mut Run<'_>) {
    let seen = run.seen;
    for command in &seen.commands {
        match command {
            Command::Start => start(run),
            Command::Pause => pause(run),
            Command::Resume => resume(run),
            Command::Promote { full } => promote(run, *full),
            Command::Rollback { reason } => roll_back(run, reason),
            Command::Retry => retry(run),
        }
    }
}

fn start(run: &mut Run<'_>) {
    if run.status.phase == Phase::Pending {
        let reason = by_hand(run, "started by hand");
        run.enter(Phase::Preparing, "Started", &reason);
    } else {
        run.refuse(ALREADY_STARTED, "start: it has started already");
    }
}

fn pause(run: &mut Run<'_>) {
    if is_over_or_going_back(run.status.phase) {
        let message = format!("pause: nothing to pause in {}", run.status.phase);
        run.refuse(NOTHING_TO_PAUSE, &message);
    } else if !run.status.paused {
        run.status.paused = true;
        let reason = by_hand(run, "paused by hand");
        run.record("Paused", reason.clone());
        run.notify("Paused", reason);
    }
}

fn resume(run: &mut Run<'_>) {
    if is_over_or_going_back(run.status.phase) {
        let message = format!("resume: nothing to resume in {}", run.status.phase);
        run.refuse(NOTHING_TO_RESUME, &message);
    } else if run.status.paused {
        run.status.paused = false;
        run.status.low_traffic = false;
        run.status.notes.resumed_at = Some(run.now);
        run.clear_pauses();
        let reason = by_hand(run, "resumed by hand");
        run.record("Resumed", reason.clone());
        run.notify("Resumed", reason);
    }
}

/// Ends the wait for time, for a person and for a verdict; no *worse* is overruled, and no limit.
fn promote(run: &mut Run<'_>, full: bool) {
    if let Some(judgement) = judgement::present(run)
        && judgement::is_worse(run)
    {
        let message = format!("promote: {}", judgement::worse(judgement).0);
        return run.refuse(VERDICT_IS_WORSE, &message);
    }
    let crosses = match (run.status.phase, full) {
        (Phase::WarmUp | Phase::Shifting, false) => None,
        (Phase::RollbackWindow, false) => limits::refuses_end_of_window(run),
        (Phase::Preparing | Phase::WarmUp | Phase::Shifting, true)
            if run.status.weight < Share::ALL =>
        {
            limits::refuses_full(run)
        }
        (phase, _) => {
            let message = format!("promote: nothing to promote in {phase}");
            return run.refuse(NOTHING_TO_PROMOTE, &message);
        }
    };
    if let Some(message) = crosses {
        return run.refuse(LIMIT_CROSSED, &message);
    }
    if full {
        run.status.promoted_full = true;
    } else {
        run.status.promoted = true;
    }
    let how = if full {
        "straight to 100 %"
    } else {
        "the present hold ends"
    };
    run.status
        .notes
        .promoted_because
        .clone_from(&run.seen.asked_because);
    let reason = by_hand(run, &format!("promoted by hand, {how}"));
    run.record("Promoted", reason);
}

fn roll_back(run: &mut Run<'_>, reason: &str) {
    if is_over_or_going_back(run.status.phase) {
        let message = format!("rollback: nothing to take back in {}", run.status.phase);
        return run.refuse(NOTHING_TO_ROLL_BACK, &message);
    }
    let reason = if reason.is_empty() {
        "asked by hand"
    } else {
        reason
    };
    if let Some(missing) = trigger::no_way_back(run) {
        return run.refuse(NO_OLD_INSTANCE, &format!("rollback ({reason}): {missing}"));
    }
    trigger::roll_back(run, &trigger::gentle("Commanded", reason));
}

fn retry(run: &mut Run<'_>) {
    if run.status.phase != Phase::RolledBack {
        let message = format!("retry: only after a rollback, not in {}", run.status.phase);
        return run.refuse(NOTHING_TO_RETRY, &message);
    }
    run.status.step = 0;
    let seen = run.seen;
    run.status
        .drained
        .retain(|key| seen.old.iter().any(|i| i.workload == *key));
    run.status.rollback_reason = None;
    run.status.sessions_released_at = None;
    run.status.conditions.clear();
    run.status.judgement = None;
    run.status.low_traffic = false;
    run.status.notes = Notes {
        restarts_forgiven: restarts(run),
        ..Notes::default()
    };
    let left = run.seen.old.len().saturating_sub(run.status.drained.len());
    run.status.old_instances = u32::try_from(left).unwrap_or(u32::MAX);
    run.steer(Share::ZERO, fresh_traffic());
    let reason = by_hand(run, "tried once more by hand");
    run.enter(Phase::Preparing, "Retried", &reason);
}

/// What was done, and why in the words of who asked.
fn by_hand(run: &Run<'_>, what: &str) -> String {
    because(what, &run.seen.asked_because)
}

/// `what`, and the reason where one was given.
pub(super) fn because(what: &str, reason: &str) -> String {
    if reason.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {reason}")
    }
}

fn restarts(run: &Run<'_>) -> BTreeMap<WorkloadKey, u32> {
    let all = run.seen.old.iter().chain(&run.seen.new);
    all.filter(|i| i.restarts > 0)
        .map(|i| (i.workload.clone(), i.restarts))
        .collect()
}

fn is_over_or_going_back(phase: Phase) -> bool {
    phase.is_final() || phase == Phase::RollingBack
}
