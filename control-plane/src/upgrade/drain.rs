//! The drain barrier: when an instance may be stopped.
//!
//! An ACK does not mean that requests have stopped: a proxy ACKs before its workers switch, and a
//! request under way may still connect. So an instance is drained when, after every proxy concerned
//! has ACKed that it drains, reports have said for a second that nothing is active and nothing
//! begins there; or when the drain's time is up. An instance whose reports have ceased says nothing.

use super::{capacity, run::Run};
use crate::model::{InstanceObservation, Timestamp};
use std::time::Duration;

/// How long an instance must have been quiet.
const QUIET: Duration = Duration::from_secs(1);

/// Marks those of the instances that met the barrier; true where all have.
pub(super) fn look(run: &mut Run<'_>, instances: &[InstanceObservation], whose: &str) -> bool {
    let Some(applied_at) = run.status.applied_at else {
        return false;
    };
    let from = run
        .status
        .notes
        .resumed_at
        .map_or(applied_at, |at| at.max(applied_at));
    let until = from.after(run.policy.drain.timeout);
    for instance in instances {
        if run.status.drained.contains(&instance.workload) {
            continue;
        }
        let (rule, how) = if is_quiet(instance, applied_at) {
            ("Drained", "is quiet")
        } else if run.now >= until {
            ("DrainTimeout", overdue(instance))
        } else {
            continue;
        };
        run.status.drained.insert(instance.workload.clone());
        run.record(
            rule,
            format!("{} {how}: it may be stopped", instance.workload),
        );
    }
    describe(run, instances, whose, until);
    instances
        .iter()
        .all(|i| run.status.drained.contains(&i.workload))
}

/// What is known of an instance whose time is up.
fn overdue(instance: &InstanceObservation) -> &'static str {
    if instance.last_report.is_none() {
        "was reported on by no proxy, but its time is up"
    } else if instance.active > 0 {
        "is still active, but its time is up"
    } else {
        "has not been quiet for long enough, but its time is up"
    }
}

fn is_quiet(instance: &InstanceObservation, applied_at: Timestamp) -> bool {
    let since = instance
        .last_activity
        .map_or(applied_at, |at| at.max(applied_at));
    instance.active == 0
        && instance
            .last_report
            .is_some_and(|report| report >= since.after(QUIET))
}

fn describe(run: &mut Run<'_>, instances: &[InstanceObservation], whose: &str, until: Timestamp) {
    let (drained, active): (Vec<&InstanceObservation>, Vec<_>) = instances
        .iter()
        .partition(|i| run.status.drained.contains(&i.workload));
    if active.is_empty() {
        run.say(format!(
            "drained and to be stopped: {}",
            capacity::names(&drained)
        ));
        run.status.next_at = None;
    } else {
        run.say_until(
            format!(
                "{} of {} {whose} instances drained; not known to be quiet yet: {}",
                drained.len(),
                instances.len(),
                capacity::names(&active)
            ),
            until,
        );
    }
}
