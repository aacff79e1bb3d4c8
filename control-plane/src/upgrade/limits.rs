//! `ClusterUpgradePolicy.spec.limits`: what neither a verb nor an edit of the policy may cross.
//!
//! An effective policy is within them already. Here they bind once more what comes another way: a
//! promotion, one that was asked before the limits were set, the policy of a replay.

use super::{judgement::duration, run::Run};
use crate::model::{Limits, Policy, Share, Timestamp};
use std::time::Duration;

/// What the first weight may be, where the policy says this one. Blue/green has one step and no
/// first one.
pub(super) fn first_weight(policy: &Policy, wanted: Share) -> Share {
    match policy.limits.max_first_weight {
        Some(most) if policy.steps.len() > 1 => wanted.min(most),
        _ => wanted,
    }
}

/// How long the old version stands by.
pub(super) fn window(policy: &Policy) -> Duration {
    policy.rollback.window.max(least_window(policy))
}

/// Before then no promotion ends the window, which began then.
pub(super) fn window_holds_until(policy: &Policy, began: Timestamp) -> Timestamp {
    began.after(least_window(policy))
}

fn least_window(policy: &Policy) -> Duration {
    policy.limits.min_rollback_window.unwrap_or_default()
}

/// How many failures in a row roll back.
pub(super) fn failure_threshold(policy: &Policy) -> u32 {
    let threshold = policy.health.failure_threshold;
    let most = policy.limits.max_failure_threshold.unwrap_or(u32::MAX);
    threshold.min(most).max(1)
}

/// Why `promote --full` may not be obeyed: everything would be the first weight.
pub(super) fn refuses_full(run: &Run<'_>) -> Option<String> {
    let first = first_weight(run.policy, Share::ALL);
    if run.status.weight > Share::ZERO || first == Share::ALL {
        return None;
    }
    let Limits { owner, .. } = &run.policy.limits;
    Some(format!(
        "promote --full: a first weight of 100 % is more than maxFirstWeight of {owner} ({first}); \
         promote once the first step has begun, or have that limit raised"
    ))
}

/// Why a promotion may not end the window yet.
pub(super) fn refuses_end_of_window(run: &Run<'_>) -> Option<String> {
    let least = least_window(run.policy);
    let until = run
        .status
        .applied_at
        .map(|applied_at| window_holds_until(run.policy, applied_at.max(run.status.phase_since)));
    if least.is_zero() || until.is_some_and(|until| run.now >= until) {
        return None;
    }
    let Limits { owner, .. } = &run.policy.limits;
    let when = until.map_or_else(
        || "once every proxy has applied it and that time is over".to_owned(),
        |until| format!("from {}", until.rfc3339()),
    );
    Some(format!(
        "promote: the old version stands by for at least {} by minRollbackWindow of {owner}; \
         promote {when}, roll back, or have that limit lowered",
        duration(least)
    ))
}
