//! `WarmUp` and `Shifting`: step by step to 100 %.
//!
//! A step lasts its hold from the moment it is applied everywhere. The next one follows when enough
//! new instances are ready for its weight.

use super::{barrier, capacity, run::Run, window};
use crate::model::{Phase, Share, Step, Traffic};
use std::time::Duration;

pub(super) fn look(run: &mut Run<'_>) {
    let Some(applied_at) = run.status.applied_at else {
        let progress = barrier::describe(&run.status.applied, run.now);
        run.say(format!("goes to {}: {progress}", run.status.weight));
        run.status.next_at = None;
        return;
    };
    let present = present(run);
    let pushed = run.status.promoted || run.status.promoted_full;
    let until = applied_at.after(present.hold);
    let weight = run.status.weight;
    if run.status.paused {
        run.say(format!("paused at {weight}"));
        run.status.next_at = None;
    } else if present.manual && !pushed {
        run.say(format!("at {weight}, waits for `segue upgrade promote`"));
        run.status.next_at = None;
    } else if !pushed && run.now < until {
        run.say_until(
            format!(
                "at {weight}, {}/{} applied",
                run.seen.applied.acked, run.seen.applied.total
            ),
            until,
        );
    } else if weight == Share::ALL {
        window::open(run);
    } else {
        step_up(run, pushed);
    }
}

/// The next step, as soon as the new version can carry it.
fn step_up(run: &mut Run<'_>, pushed: bool) {
    let (index, weight) = next(run);
    if !capacity::suffices(run, weight) {
        let waiting = capacity::describe(run, weight);
        run.say(format!(
            "at {}, waits before {weight}: {waiting}",
            run.status.weight
        ));
        run.status.next_at = None;
        return;
    }
    let (rule, why) = if pushed {
        ("Promoted", "promoted")
    } else {
        ("HoldIsOver", "the hold is over")
    };
    let reason = format!("{why}: {weight} goes to the new version");
    raise(run, index, weight);
    run.enter(Phase::Shifting, rule, &reason);
}

/// The first step: index and weight.
pub(super) fn first(run: &Run<'_>) -> (usize, Share) {
    next(run)
}

/// The step after the present weight, or the last one where `promote --full` asked for it. Found
/// by weight, so that a policy edited midway does no harm.
fn next(run: &Run<'_>) -> (usize, Share) {
    let steps = &run.policy.steps;
    let last = (steps.len().saturating_sub(1), Share::ALL);
    if run.status.promoted_full {
        return last;
    }
    steps
        .iter()
        .enumerate()
        .find(|(_, step)| step.weight > run.status.weight)
        .map_or(last, |(index, step)| (index, step.weight))
}

/// The step that runs: the last one up to the present weight, or the first one. Found by weight, so
/// that a policy edited midway ends no hold early.
fn present(run: &Run<'_>) -> Step {
    let none = Step {
        weight: run.status.weight,
        hold: Duration::ZERO,
        manual: false,
    };
    let steps = &run.policy.steps;
    let reached = steps.iter().rfind(|step| step.weight <= run.status.weight);
    reached.or_else(|| steps.first()).copied().unwrap_or(none)
}

/// Gives the new version a weight. Beyond the first step it may stand in for the old one.
pub(super) fn raise(run: &mut Run<'_>, index: usize, weight: Share) {
    let traffic = Traffic {
        new_is_fallback: run.status.weight > Share::ZERO,
        ..run.status.traffic
    };
    run.status.step = index;
    if weight == Share::ALL {
        run.status.promoted_full = false;
    }
    run.steer(weight, traffic);
}
