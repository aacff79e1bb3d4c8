//! What people ask: `start`, `pause`, `resume`, `promote`, `rollback`, `retry`.
//!
//! What cannot be done now is refused with a condition that says why, never silently.

use super::{fresh_traffic, run::Run, trigger};
use crate::model::{Command, Phase, Share};

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
        run.enter(Phase::Preparing, "Started", "started by hand");
    } else {
        run.refuse("AlreadyStarted", "start: it has started already");
    }
}

fn pause(run: &mut Run<'_>) {
    if is_over_or_going_back(run.status.phase) {
        let message = format!("pause: nothing to pause in {}", run.status.phase);
        run.refuse("NothingToPause", &message);
    } else if !run.status.paused {
        run.status.paused = true;
        run.record("Paused", "paused by hand");
        run.notify("Paused", "paused by hand");
    }
}

fn resume(run: &mut Run<'_>) {
    if run.status.paused {
        run.status.paused = false;
        run.clear_condition(trigger::BOTH_FAILING);
        run.record("Resumed", "resumed by hand");
        run.notify("Resumed", "resumed by hand");
    }
}

fn promote(run: &mut Run<'_>, full: bool) {
    match (run.status.phase, full) {
        (Phase::WarmUp | Phase::Shifting | Phase::RollbackWindow, false) => {
            run.status.promoted = true;
        }
        (Phase::Preparing | Phase::WarmUp | Phase::Shifting, true)
            if run.status.weight < Share::ALL =>
        {
            run.status.promoted_full = true;
        }
        (phase, _) => {
            let message = format!("promote: nothing to promote in {phase}");
            return run.refuse("NothingToPromote", &message);
        }
    }
    let how = if full {
        "straight to 100 %"
    } else {
        "the present hold ends"
    };
    run.record("Promoted", format!("promoted by hand: {how}"));
}

fn roll_back(run: &mut Run<'_>, reason: &str) {
    if is_over_or_going_back(run.status.phase) {
        let message = format!("rollback: nothing to take back in {}", run.status.phase);
        return run.refuse("NothingToRollBack", &message);
    }
    let reason = if reason.is_empty() {
        "asked by hand"
    } else {
        reason
    };
    trigger::roll_back(run, "Commanded", reason);
}

fn retry(run: &mut Run<'_>) {
    if run.status.phase != Phase::RolledBack {
        let message = format!("retry: only after a rollback, not in {}", run.status.phase);
        return run.refuse("NothingToRetry", &message);
    }
    run.status.step = 0;
    run.status.drained.clear();
    run.status.rollback_reason = None;
    run.status.sessions_released_at = None;
    run.status.conditions.clear();
    run.status.old_instances = u32::try_from(run.seen.old.len()).unwrap_or(u32::MAX);
    run.steer(Share::ZERO, fresh_traffic());
    run.enter(Phase::Preparing, "Retried", "tried once more by hand");
}

fn is_over_or_going_back(phase: Phase) -> bool {
    phase.is_final() || phase == Phase::RollingBack
}
