//! `Draining`: old sessions end, then the old instances drain and go.

use super::{barrier, drain, run::Run};
use crate::model::{Affinity, Phase, Side, Timestamp, Traffic};

pub(super) fn look(run: &mut Run<'_>) {
    if run.seen.old.is_empty() && run.seen.new.is_empty() {
        // A Service or a selector that is being edited looks like this too.
        run.say("no instance of either version is to be seen; waits for the new version's");
        run.status.next_at = None;
        return;
    }
    if run.seen.old.is_empty() {
        run.enter(
            Phase::Succeeded,
            "OldInstancesGone",
            "the old version is gone; the new one serves alone",
        );
        run.status.next_at = None;
        run.status.paused = false;
        return;
    }
    if run.status.paused {
        run.stand_still("the old version's instances stay");
    } else if run.status.traffic.draining != Some(Side::Old) {
        wait_for_sessions(run);
    } else if run.status.applied_at.is_none() {
        let progress = barrier::describe(&run.status.applied, run.now);
        run.say(format!(
            "proxies learn that the old version drains: {progress}"
        ));
        run.status.next_at = None;
    } else {
        drain::look(run, &run.seen.old, "old");
    }
}

/// The old version keeps its sessions until the last has ended, or their time is up.
fn wait_for_sessions(run: &mut Run<'_>) {
    let (rule, why) = match sessions_end(run) {
        None => ("NoAffinity", "there are no sessions to wait for"),
        Some(end) if run.now < end.latest && run.now < end.last_seen => {
            run.say_until(
                "waits for the old version's sessions to end",
                end.latest.min(end.last_seen),
            );
            return;
        }
        Some(end) if run.now >= end.last_seen => {
            ("SessionsEnded", "no session of the old version is left")
        }
        Some(_) => (
            "SessionTimeout",
            "the old version's sessions had their time",
        ),
    };
    run.record(rule, format!("{why}: its instances drain"));
    run.notify("OldVersionDrains", format!("{why}: its instances drain"));
    let traffic = Traffic {
        old_sessions_held: false,
        draining: Some(Side::Old),
        ..run.status.traffic
    };
    run.steer(run.status.weight, traffic);
    run.say("proxies learn that the old version drains");
    run.status.next_at = None;
}

/// When the old version's sessions are over.
struct SessionsEnd {
    /// By the last request that one of them made.
    last_seen: Timestamp,
    /// By policy.
    latest: Timestamp,
}

fn sessions_end(run: &Run<'_>) -> Option<SessionsEnd> {
    match run.policy.affinity {
        Affinity::None | Affinity::Shift(_) => None,
        Affinity::Cookie { .. } => {
            let timeout = run.policy.drain.session_timeout;
            Some(SessionsEnd {
                last_seen: run
                    .seen
                    .last_old_session
                    .map_or(run.status.phase_since, |at| at.after(timeout)),
                latest: run.status.phase_since.after(timeout),
            })
        }
    }
}
