//! `RollingBack`: weight to 0 at once, then the new instances drain.

use super::{barrier, drain, run::Run};
use crate::model::{Phase, Share, Side, Traffic};

/// Begins to go back. The way there is free: whoever calls has seen that an old instance is left.
pub(super) fn begin(run: &mut Run<'_>, rule: &str, reason: &str) {
    let traffic = Traffic {
        old_sessions_held: true,
        new_sessions_held: false,
        new_is_fallback: false,
        draining: None,
        new_sessions_released: Share::ZERO,
    };
    run.steer(Share::ZERO, traffic);
    run.status.token_epoch = run.status.token_epoch.saturating_add(1);
    run.status.drained.clear();
    run.status.paused = false;
    run.status.promoted_full = false;
    run.status.rollback_reason = Some(reason.to_owned());
    run.clear_condition(super::trigger::BOTH_FAILING);
    run.enter(Phase::RollingBack, rule, reason);
}

pub(super) fn look(run: &mut Run<'_>) {
    if run.status.applied_at.is_none() {
        let progress = barrier::describe(&run.status.applied, run.now);
        run.say(format!("goes back to the old version: {progress}"));
        run.status.next_at = None;
    } else if run.seen.new.is_empty() {
        end(run, "NewInstancesGone");
    } else if run.status.traffic.draining != Some(Side::New) {
        let traffic = Traffic {
            draining: Some(Side::New),
            ..run.status.traffic
        };
        run.record("TrafficIsBack", "no new traffic: the new instances drain");
        run.steer(Share::ZERO, traffic);
        run.say("the old version serves everything; the new instances drain");
        run.status.next_at = None;
    } else if drain::look(run, &run.seen.new, "new") {
        end(run, "NewInstancesDrained");
    }
}

fn end(run: &mut Run<'_>, rule: &str) {
    let reason = run.status.rollback_reason.clone().unwrap_or_default();
    let reason = format!("healthy on the old version; the upgrade failed: {reason}");
    run.enter(Phase::RolledBack, rule, &reason);
    run.status.next_at = None;
}

/// Ends a run of which nothing is left: another version has taken the place of both.
pub(super) fn give_up(run: &mut Run<'_>) {
    let reason = "no instance of either version is left, and another version has taken their place";
    run.steer(Share::ZERO, run.status.traffic);
    run.status.token_epoch = run.status.token_epoch.saturating_add(1);
    run.status.paused = false;
    run.status.promoted_full = false;
    run.status.rollback_reason = Some(reason.to_owned());
    run.enter(Phase::RolledBack, "Superseded", reason);
}
