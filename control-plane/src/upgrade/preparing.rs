//! `Preparing`: the new instances come up, pass their checks, and every proxy learns of them, at
//! weight 0. Given up at the progress deadline, with the cause named.

use super::{barrier, capacity, judgement, run::Run, stepping, trigger};
use crate::model::{Phase, Share};

pub(super) fn look(run: &mut Run<'_>) {
    let enough = has_enough(run);
    if !enough && run.status.generation.is_some() {
        // Proxies were told of instances that are gone again; what they learnt proves nothing.
        run.unpublish();
    }
    if enough && run.status.applied_at.is_some() {
        return go_on(run);
    }
    let deadline = run.status.phase_since.after(run.policy.progress_deadline);
    let waiting = if enough {
        barrier::describe(&run.status.applied, run.now)
    } else {
        capacity::describe(run, first_weight(run))
    };
    // What has just become enough is still to be published; that look is not its last.
    let asked = !enough || run.status.generation.is_some();
    if run.now >= deadline && asked {
        let time = judgement::duration(run.policy.progress_deadline);
        let reason = format!("not prepared within {time}: {waiting}");
        trigger::roll_back(run, &trigger::gentle("DeadlineExceeded", reason));
    } else {
        run.say_until(format!("the new version comes up: {waiting}"), deadline);
    }
}

fn go_on(run: &mut Run<'_>) {
    if run.status.paused {
        return run.stand_still("the new version is ready for its first traffic");
    }
    let (index, weight) = stepping::first(run);
    let ready = capacity::ready(run);
    let are = if ready == 1 { "is" } else { "are" };
    let reason = format!(
        "{} {are} ready and known to every proxy: {weight} goes to the new version",
        capacity::count(ready, "new instance")
    );
    stepping::raise(run, index, weight);
    run.enter(Phase::WarmUp, "InstancesReady", &reason);
}

/// True where as many new instances are ready as the first weight needs.
pub(super) fn has_enough(run: &Run<'_>) -> bool {
    capacity::suffices(run, first_weight(run))
}

fn first_weight(run: &Run<'_>) -> Share {
    stepping::first(run).1
}
