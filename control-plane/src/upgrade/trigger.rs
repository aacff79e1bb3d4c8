//! What makes an upgrade go back by itself, or stand still because both versions fail.

use super::{
    cause::{self, Cause},
    lost, rolling_back,
    run::Run,
};
use crate::model::Phase;

/// The condition of two versions that fail together.
pub(super) const BOTH_FAILING: &str = "BothVersionsFailing";
/// The condition of a rollback that has nowhere to go.
pub(super) const REFUSED: &str = "RollbackRefused";

/// Whether the phase may have its look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Yes.
    Look,
    /// No: it went back, or must not go up.
    Stop,
}

/// Looks for a cause to go back, and acts on it.
pub(super) fn judge(run: &mut Run<'_>) -> Next {
    if is_superseded(run) {
        rolling_back::give_up(run);
        return Next::Stop;
    }
    if !is_watched(run.status.phase) {
        return Next::Look;
    }
    let Some(cause) = cause::find(run) else {
        run.clear_condition(BOTH_FAILING);
        let waits = run.status.phase > Phase::Preparing && lost::holds(run);
        return if waits { Next::Stop } else { Next::Look };
    };
    if cause.alike {
        pause_both_failing(run, &cause);
        return Next::Look;
    }
    if roll_back(run, &cause) || run.status.phase < Phase::Draining {
        Next::Stop
    } else {
        // Nothing to go back to, and the old version's end is all that is left to do.
        Next::Look
    }
}

/// Goes back, if there is anything to go back to; else says so. True where it went.
pub(super) fn roll_back(run: &mut Run<'_>, cause: &Cause) -> bool {
    let Some(missing) = no_way_back(run) else {
        rolling_back::begin(run, cause);
        return true;
    };
    run.was_refused = true;
    let message = format!("{missing}, though: {}", cause.reason);
    let known = run.has_condition(REFUSED);
    run.set_condition(REFUSED, "NoOldInstance", &message);
    if !known {
        run.record("RollbackRefused", message.clone());
        run.notify("RollbackRefused", message.clone());
    }
    run.say(message);
    run.status.next_at = None;
    false
}

/// Why there is nothing to go back to; None: there is.
pub(super) fn no_way_back(run: &Run<'_>) -> Option<&'static str> {
    let drained = &run.status.drained;
    let mut left = run
        .seen
        .old
        .iter()
        .filter(|i| !drained.contains(&i.workload))
        .peekable();
    if left.peek().is_none() {
        Some("no instance of the old version is left to go back to")
    } else if left.all(|i| i.lost) {
        Some("the machines of the old version are lost, so there is nothing to go back to")
    } else {
        None
    }
}

/// A cause that leaves time to bring sessions back gently.
pub(super) fn gentle(rule: &'static str, reason: impl Into<String>) -> Cause {
    Cause {
        rule,
        reason: reason.into(),
        hard: false,
        alike: false,
    }
}

/// Neither version has an instance any more and another one has: nothing is left to decide, and the
/// other one must not wait for it.
fn is_superseded(run: &Run<'_>) -> bool {
    !run.status.phase.is_final()
        && run.seen.others > 0
        && run.seen.old.is_empty()
        && run.seen.new.is_empty()
}

fn is_watched(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Preparing
            | Phase::WarmUp
            | Phase::Shifting
            | Phase::RollbackWindow
            | Phase::Draining
    )
}

/// What was promoted before both failed was promoted on other facts. Numbers that come and go are
/// no news.
fn pause_both_failing(run: &mut Run<'_>, cause: &Cause) {
    let told = run.status.paused && run.status.conditions.contains_key(BOTH_FAILING);
    run.status.paused = true;
    run.status.promoted = false;
    run.status.promoted_full = false;
    let message = format!(
        "both versions fail, so going back would not help: {}",
        cause.reason
    );
    run.set_condition(BOTH_FAILING, cause.rule, &message);
    if !told {
        run.record(BOTH_FAILING, message.clone());
        run.notify(BOTH_FAILING, message);
    }
}
