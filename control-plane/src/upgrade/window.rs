//! `RollbackWindow`: 100 % new, the old version on standby.

use super::{barrier, command::because, limits, run::Run};
use crate::model::{Phase, Traffic};

/// 100 % is applied and held: the window begins.
pub(super) fn open(run: &mut Run<'_>) {
    let traffic = Traffic {
        new_is_fallback: true,
        ..run.status.traffic
    };
    run.steer(run.status.weight, traffic);
    run.enter(
        Phase::RollbackWindow,
        "HoldIsOver",
        "the new version serves everything; the old one stands by",
    );
    if run.status.applied_at.is_some()
        && let Some(line) = run.status.history.last_mut()
    {
        // Nothing that proxies are told has changed.
        line.applied_at = Some(run.now);
    }
}

pub(super) fn look(run: &mut Run<'_>) {
    let Some(applied_at) = run.status.applied_at else {
        let progress = barrier::describe(&run.status.applied, run.now);
        run.say(format!("the new version serves everything: {progress}"));
        run.status.next_at = None;
        return;
    };
    let from = applied_at.max(run.status.phase_since);
    let until = from.after(limits::window(run.policy));
    let held_until = limits::window_holds_until(run.policy, from);
    if run.status.paused {
        run.stand_still("the new version serves everything, the old one stands by");
    } else if run.status.promoted && run.now >= held_until {
        let reason = because(
            "promoted, the rollback window ends early",
            &run.status.notes.promoted_because,
        );
        close(run, "Promoted", &reason);
    } else if run.now >= until {
        close(run, "WindowIsOver", "the rollback window is over");
    } else {
        // Promoted before the limits were set: not before they allow it.
        let until = if run.status.promoted {
            held_until
        } else {
            until
        };
        run.say_until(
            "the new version serves everything; the old one stands by",
            until,
        );
    }
}

fn close(run: &mut Run<'_>, rule: &str, reason: &str) {
    run.enter(Phase::Draining, rule, reason);
}
