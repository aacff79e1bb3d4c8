//! `WarmUp` and `Shifting`: step by step to 100 %.
//!
//! A step lasts its hold from the moment it is applied everywhere. The next one follows when analysis
//! says *not worse* and enough new instances are ready for its weight. Where analysis can't tell
//! within `maxWait`, `onLowTraffic` decides, once for each step and again after each `resume`.

use super::{
    barrier, capacity,
    command::because,
    judgement::{self, duration},
    limits,
    run::Run,
    trigger, window,
};
use crate::model::{
    Judgement, OnLowTraffic, Phase, Policy, Share, Step, Timestamp, Traffic, UpgradeStatus, Verdict,
};
use std::time::Duration;

/// The condition of a step of which too little is known for too long.
pub(super) const LOW_TRAFFIC: &str = "LowTraffic";

pub(super) fn look(run: &mut Run<'_>) {
    let weight = run.status.weight;
    let Some(applied_at) = run.status.applied_at.filter(|_| run.was_applied) else {
        // Also in the look that learns of it: analysis has not said yet what it says of it.
        let progress = barrier::describe(&run.status.applied, run.now);
        run.say(format!("goes to {weight}: {progress}"));
        run.status.next_at = None;
        return;
    };
    let present = present(run.policy, weight);
    let pushed = run.status.promoted || run.status.promoted_full;
    let until = applied_at.after(present.hold);
    if run.status.paused {
        run.stand_still(&format!("at {weight}"));
    } else if present.manual && !pushed {
        run.say(format!(
            "at {weight}, waits for `segue upgrade promote`{}",
            so_far(run)
        ));
        run.status.next_at = None;
    } else if !pushed && run.now < until {
        let message = format!(
            "at {weight}, {}/{} applied{}",
            run.seen.applied.acked,
            run.seen.applied.total,
            so_far(run)
        );
        run.say_until(message, until);
    } else if weight == Share::ALL {
        return window::open(run);
    } else if let Some(leave) = leave(run, pushed, until) {
        return step_up(run, &leave);
    }
    no_longer_short(run);
}

fn so_far(run: &Run<'_>) -> String {
    judgement::present(run).map_or(String::new(), |judgement| {
        format!("; analysis: {}", judgement::describe(judgement))
    })
}

/// Why a step may end.
struct Leave {
    rule: &'static str,
    why: String,
}

/// Whether the step may end, its hold being over. Says what it waits for where it may not.
fn leave(run: &mut Run<'_>, pushed: bool, until: Timestamp) -> Option<Leave> {
    let leave = |rule, why: &str| {
        Some(Leave {
            rule,
            why: why.to_owned(),
        })
    };
    let judgement = judgement::present(run);
    match judgement.map(|judgement| (judgement.verdict, judgement)) {
        Some((Verdict::Worse, judgement)) => {
            let weight = run.status.weight;
            run.say(format!(
                "stays at {weight}: {}",
                judgement::worse(judgement).0
            ));
            run.status.next_at = None;
            None
        }
        _ if pushed => leave(
            "Promoted",
            &because("promoted", &run.status.notes.promoted_because),
        ),
        None => leave("HoldIsOver", "the hold is over"),
        Some((Verdict::NotWorse, _)) => leave("NotWorse", "the new version is not worse"),
        Some((Verdict::NotYet, judgement)) => wait(run, judgement, until),
    }
}

/// Waits for a verdict, as long as the policy says.
fn wait(run: &mut Run<'_>, judgement: &Judgement, until: Timestamp) -> Option<Leave> {
    let weight = run.status.weight;
    let max_wait = run.policy.analysis.max_wait;
    let deadline = longest_wait(run.policy, &run.status)?.max(until);
    if run.now < deadline {
        let said = judgement::describe(judgement);
        run.say_until(
            format!("at {weight}, waits for a verdict; analysis: {said}"),
            deadline,
        );
        return None;
    }
    let why = format!(
        "too little is known to tell after {} at {weight}; analysis: {}",
        duration(max_wait),
        judgement::describe(judgement)
    );
    decide_on_low_traffic(run, &why)
}

fn decide_on_low_traffic(run: &mut Run<'_>, why: &str) -> Option<Leave> {
    let (reason, consequence) = match run.policy.analysis.on_low_traffic {
        OnLowTraffic::RollBack => {
            trigger::roll_back(run, &trigger::gentle(LOW_TRAFFIC, why));
            return None;
        }
        OnLowTraffic::Proceed => ("Proceed", "the policy goes on all the same".to_owned()),
        OnLowTraffic::Pause => {
            run.status.paused = true;
            let again = duration(run.policy.analysis.max_wait);
            let verbs = format!(
                "`resume` waits another {again}, `promote` and `resume` go on, `rollback` goes back"
            );
            ("Pause", verbs)
        }
    };
    let message = format!("{why}; {consequence}");
    if !run.status.low_traffic {
        run.status.low_traffic = true;
        run.set_condition(LOW_TRAFFIC, reason, &message);
        run.record(LOW_TRAFFIC, message.clone());
        run.notify(LOW_TRAFFIC, message);
    }
    if run.status.paused {
        run.stand_still(&format!("at {}", run.status.weight));
        return None;
    }
    Some(Leave {
        rule: LOW_TRAFFIC,
        why: "too little is known, and the policy goes on all the same".to_owned(),
    })
}

/// The next step, as soon as the new version can carry it.
fn step_up(run: &mut Run<'_>, leave: &Leave) {
    let (index, weight) = next(run);
    if !capacity::suffices(run, weight) {
        return wait_for_instances(run, weight);
    }
    let reason = format!("{}: {weight} goes to the new version", leave.why);
    raise(run, index, weight);
    run.enter(Phase::Shifting, leave.rule, &reason);
}

/// Instances that never come are a failure of the new version; lost machines are not.
fn wait_for_instances(run: &mut Run<'_>, weight: Share) {
    let waiting = format!(
        "at {}, waits before {weight}: {}",
        run.status.weight,
        capacity::describe(run, weight)
    );
    if capacity::lacks_only_lost(run, weight) {
        no_longer_short(run);
        run.say(waiting);
        run.status.next_at = None;
        return;
    }
    if run.status.notes.short_since.is_none() {
        // A deadline begins: without a line of it a replay could not tell since when.
        run.record("WaitsForInstances", waiting.clone());
    }
    let since = *run.status.notes.short_since.get_or_insert(run.now);
    let deadline = since.after(run.policy.progress_deadline);
    if run.now < deadline {
        return run.say_until(waiting, deadline);
    }
    let reason = format!(
        "not enough instances turned ready for {weight} within {}: {}",
        duration(run.policy.progress_deadline),
        capacity::describe(run, weight)
    );
    trigger::roll_back(run, &trigger::gentle("NeverReady", reason));
}

/// What a step waits for now is no instance that its version owes.
fn no_longer_short(run: &mut Run<'_>) {
    if run.status.notes.short_since.take().is_some() {
        run.record(
            "WaitsForOthers",
            "the new version's instances are not what is waited for",
        );
    }
}

/// The first step: index and weight. It is within the limits, also where `promote --full` was asked
/// before they were set.
pub(super) fn first(run: &Run<'_>) -> (usize, Share) {
    let (index, weight) = next(run);
    let most = limits::first_weight(run.policy, weight);
    if most < weight {
        (0, step_after(run).1.min(most))
    } else {
        (index, weight)
    }
}

/// The step after the present weight, or the last one where `promote --full` asked for it.
fn next(run: &Run<'_>) -> (usize, Share) {
    if run.status.promoted_full {
        last(run)
    } else {
        step_after(run)
    }
}

/// Found by weight, so that a policy edited midway does no harm.
fn step_after(run: &Run<'_>) -> (usize, Share) {
    let steps = run.policy.steps.iter().enumerate();
    let mut higher = steps.filter(|(_, step)| step.weight > run.status.weight);
    higher
        .next()
        .map_or_else(|| last(run), |(index, step)| (index, step.weight))
}

fn last(run: &Run<'_>) -> (usize, Share) {
    (run.policy.steps.len().saturating_sub(1), Share::ALL)
}

/// The step that runs: the last one up to the present weight, or the first one. Found by weight, so
/// that a policy edited midway ends no hold early.
fn present(policy: &Policy, weight: Share) -> Step {
    let none = Step {
        weight,
        hold: Duration::ZERO,
        manual: false,
    };
    let steps = &policy.steps;
    let reached = steps.iter().rfind(|step| step.weight <= weight);
    reached.or_else(|| steps.first()).copied().unwrap_or(none)
}

/// When the longest wait of the step that is applied is over: `maxWait` counts anew from each
/// `resume`.
fn longest_wait(policy: &Policy, status: &UpgradeStatus) -> Option<Timestamp> {
    let from = status.applied_at.max(status.notes.resumed_at)?;
    Some(from.after(policy.analysis.max_wait))
}

/// What remains until the present step is decided: of its hold, else of the longest wait; in the
/// window, of that; after it, of the old version's sessions. Zero where no step is applied.
pub fn time_left(policy: &Policy, status: &UpgradeStatus, now: Timestamp) -> Duration {
    let Some(applied_at) = status.applied_at else {
        return Duration::ZERO;
    };
    if status.phase == Phase::RollbackWindow {
        let from = applied_at.max(status.phase_since);
        return from.after(limits::window(policy)).since(now);
    }
    if status.phase == Phase::Draining {
        let sessions = status.phase_since.after(policy.drain.session_timeout);
        return sessions.since(now);
    }
    let hold = present(policy, status.weight).hold;
    let of_hold = applied_at.after(hold).since(now);
    if !of_hold.is_zero() {
        return of_hold;
    }
    longest_wait(policy, status).map_or(Duration::ZERO, |until| until.since(now))
}

/// Gives the new version a weight. Beyond the first step it may stand in for the old one. What
/// analysis said was of the step before.
pub(super) fn raise(run: &mut Run<'_>, index: usize, weight: Share) {
    let traffic = Traffic {
        new_is_fallback: run.status.weight > Share::ZERO,
        ..run.status.traffic
    };
    run.status.step = index;
    run.status.judgement = None;
    run.status.low_traffic = false;
    run.clear_condition(LOW_TRAFFIC);
    if weight == Share::ALL {
        run.status.promoted_full = false;
    }
    run.steer(weight, traffic);
}
