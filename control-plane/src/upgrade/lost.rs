//! Where the machine of every new instance is lost: no fault of the version, so nothing goes back for
//! it at once, and nothing goes on.
//!
//! Proxies are told meanwhile that those instances are not ready, so the old version serves what the
//! weight would give them. That is good for a while: a machine that is not back within
//! `progressDeadline` is taken for gone. Where the old instances drain they serve nobody new, so
//! nothing is waited for.

use super::{capacity, cause::Cause, judgement::duration, run::Run, trigger};
use crate::model::{InstanceObservation, Side};

/// The condition of a new version whose machines are lost, and the rule that notes it.
const MACHINES_LOST: &str = "MachinesLost";

/// Why the new version can serve nobody; None: it has a machine, or the old one has none either.
pub(super) fn of_new(run: &Run<'_>) -> Option<Cause> {
    let new: Vec<&InstanceObservation> = run.seen.new.iter().collect();
    let lost = !new.is_empty() && new.iter().all(|i| i.lost);
    (lost && trigger::no_way_back(run).is_none()).then(|| Cause {
        rule: "NewVersionGone",
        reason: format!(
            "the machine of every instance of the new version is lost: {}",
            capacity::names(&new)
        ),
        hard: true,
        alike: false,
    })
}

/// Waits for the new version's machines, or goes back where that took too long or can't be waited
/// for. True where it did either.
pub(super) fn holds(run: &mut Run<'_>) -> bool {
    let Some(cause) = of_new(run) else {
        clear(run);
        return false;
    };
    if run.status.traffic.draining == Some(Side::Old) {
        return trigger::roll_back(run, &cause);
    }
    let since = *run.status.notes.lost_since.get_or_insert(run.now);
    let deadline = since.after(run.policy.progress_deadline);
    if run.now >= deadline {
        let reason = format!(
            "{}; not back within {}",
            cause.reason,
            duration(run.policy.progress_deadline)
        );
        return trigger::roll_back(run, &Cause { reason, ..cause });
    }
    if run.set_condition(MACHINES_LOST, "NewVersionWaits", &cause.reason) {
        run.record(MACHINES_LOST, cause.reason.clone());
        run.notify(MACHINES_LOST, cause.reason.clone());
    }
    let message = format!(
        "waits at {}: {}; the old version serves meanwhile",
        run.status.weight, cause.reason
    );
    run.say_until(message, deadline);
    true
}

/// Nothing is lost any more, or nothing is waited for.
pub(super) fn clear(run: &mut Run<'_>) {
    run.status.notes.lost_since = None;
    run.clear_condition(MACHINES_LOST);
}
