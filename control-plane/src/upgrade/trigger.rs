//! What makes an upgrade go back by itself.
//!
//! A failing new instance, a blown fuse, a refused configuration, a new version that is gone. Where
//! the old version fails alike (half of its instances or more) going back would help nobody: it
//! pauses. One old instance that has been broken for long must not keep a bad version in place.

use super::{capacity, rolling_back, run::Run};
use crate::model::{InstanceObservation, Phase, Share};

/// The condition of two versions that fail together.
pub(super) const BOTH_FAILING: &str = "BothVersionsFailing";
/// The condition of a rollback that has nowhere to go.
const REFUSED: &str = "RollbackRefused";

/// Whether the phase may have its look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Yes.
    GoOn,
    /// No: it went back, or must not go up.
    Stop,
}

/// A cause to go back.
struct Cause {
    rule: &'static str,
    reason: String,
    /// The old version can suffer it too.
    shared: bool,
}

/// Looks for a cause to go back, and acts on it.
pub(super) fn judge(run: &mut Run<'_>) -> Verdict {
    if is_superseded(run) {
        rolling_back::give_up(run);
        return Verdict::Stop;
    }
    if !is_watched(run.status.phase) {
        return Verdict::GoOn;
    }
    let Some(cause) = find(run) else {
        run.clear_condition(REFUSED);
        return Verdict::GoOn;
    };
    if cause.shared && old_fails_alike(run) {
        pause_both_failing(run, &cause);
        return Verdict::GoOn;
    }
    if roll_back(run, cause.rule, &cause.reason) || run.status.phase < Phase::Draining {
        Verdict::Stop
    } else {
        // Nothing to go back to, and the old version's end is all that is left to do.
        Verdict::GoOn
    }
}

/// Goes back, if there is anything to go back to; else says so. True where it went.
pub(super) fn roll_back(run: &mut Run<'_>, rule: &str, reason: &str) -> bool {
    let left = run
        .seen
        .old
        .iter()
        .any(|i| !run.status.drained.contains(&i.workload));
    if left {
        rolling_back::begin(run, rule, reason);
        return true;
    }
    let message = format!("no instance of the old version is left to go back to, though: {reason}");
    if run.set_condition(REFUSED, "NoOldInstance", &message) {
        run.record("RollbackRefused", message.clone());
        run.notify("RollbackRefused", message.clone());
    }
    run.say(message);
    run.status.next_at = None;
    false
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

fn find(run: &Run<'_>) -> Option<Cause> {
    if run.status.phase != Phase::Preparing {
        let cause = gone(run).or_else(|| unhealthy(run));
        if cause.is_some() {
            return cause;
        }
    }
    refused(run)
}

fn gone(run: &Run<'_>) -> Option<Cause> {
    (run.status.weight > Share::ZERO && run.seen.new.is_empty()).then(|| Cause {
        rule: "NewVersionGone",
        reason: "every instance of the new version is gone".to_owned(),
        shared: false,
    })
}

fn unhealthy(run: &Run<'_>) -> Option<Cause> {
    let failing: Vec<&InstanceObservation> =
        run.seen.new.iter().filter(|i| is_failing(run, i)).collect();
    if let Some(first) = failing.first() {
        return Some(Cause {
            rule: "HealthFailed",
            reason: format!(
                "{} failed {} health checks in a row",
                capacity::names(&failing),
                first
                    .consecutive_failures
                    .min(run.policy.health.failure_threshold)
            ),
            shared: true,
        });
    }
    let ejected: Vec<&InstanceObservation> =
        run.seen.new.iter().filter(|i| i.ejected_by > 0).collect();
    (!ejected.is_empty()).then(|| Cause {
        rule: "FuseBlown",
        reason: format!(
            "proxies saw {} fail and ejected it",
            capacity::names(&ejected)
        ),
        shared: true,
    })
}

/// A proxy refuses what it has not applied yet.
fn refused(run: &Run<'_>) -> Option<Cause> {
    if run.status.generation.is_none() || run.status.applied_at.is_some() {
        return None;
    }
    run.status.applied.lagging.iter().find_map(|lagging| {
        lagging.nack.as_ref().map(|nack| Cause {
            rule: "Nacked",
            reason: format!("{} refused its configuration: {nack}", lagging.proxy),
            shared: false,
        })
    })
}

fn is_failing(run: &Run<'_>, instance: &InstanceObservation) -> bool {
    instance.consecutive_failures >= run.policy.health.failure_threshold.max(1)
}

fn fails(run: &Run<'_>, instance: &InstanceObservation) -> bool {
    is_failing(run, instance) || instance.ejected_by > 0
}

fn old_fails_alike(run: &Run<'_>) -> bool {
    let failing = run.seen.old.iter().filter(|i| fails(run, i)).count();
    failing > 0 && 2 * failing >= run.seen.old.len()
}

fn pause_both_failing(run: &mut Run<'_>, cause: &Cause) {
    run.status.paused = true;
    let message = "both versions fail: going back would not help, so it stands still";
    if run.set_condition(BOTH_FAILING, cause.rule, message) {
        let verdict = format!("{message} ({})", cause.reason);
        run.record(BOTH_FAILING, verdict.clone());
        run.notify(BOTH_FAILING, verdict);
    }
}
