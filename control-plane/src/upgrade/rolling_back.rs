//! `RollingBack`: weight to 0 at once, then the new version's sessions go back, then its instances
//! drain.
//!
//! Sessions are let go no faster than the old version has instances to carry them: as many as are
//! ready of those that served when the upgrade began. Where the new version fails hard nothing is
//! held back for that; nor is anything once the time of a drain is over.

use super::{
    barrier, capacity,
    cause::{self, Cause},
    drain, lost,
    run::Run,
};
use crate::model::{Phase, ROLLBACK_RULES, Share, Side, Traffic};

/// The rule that ends a run of which nothing is left.
const SUPERSEDED: &str = "Superseded";

/// Begins to go back. The way there is free: whoever calls has seen that an old instance is left.
pub(super) fn begin(run: &mut Run<'_>, cause: &Cause) {
    let room = capacity::of_old(run);
    let served = run.status.weight > Share::ZERO && run.policy.affinity.holds_sessions();
    let held = served && !cause.hard && room < Share::ALL && run.status.traffic.new_sessions_held;
    let traffic = Traffic {
        old_sessions_held: true,
        new_sessions_held: held,
        // Where no old instance is ready a working new one stands in.
        new_is_fallback: held && room == Share::ZERO && run.status.traffic.new_is_fallback,
        draining: None,
        new_sessions_released: if held { room } else { Share::ZERO },
    };
    run.steer(Share::ZERO, traffic);
    if !held {
        void_tokens(run);
    }
    // What may be stopped may be stopping already: it gets no traffic any more.
    run.forget_drained();
    run.status.paused = false;
    run.status.promoted_full = false;
    run.status.rollback_reason = Some(cause.reason.clone());
    run.clear_pauses();
    note_rule(run, cause.rule);
    lost::clear(run);
    run.enter(Phase::RollingBack, cause.rule, &cause.reason);
}

pub(super) fn look(run: &mut Run<'_>) {
    run.forget_drained();
    if run.status.traffic.new_sessions_held {
        bring_back_sessions(run);
    } else if run.status.applied_at.is_none() {
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

/// Lets sessions go as the old version has room, each share after the one before is applied.
fn bring_back_sessions(run: &mut Run<'_>) {
    let until = run.status.phase_since.after(run.policy.drain.timeout);
    let room = capacity::of_old(run);
    let applied = run.status.applied_at.is_some();
    let broken = cause::hard(run).filter(|cause| !cause.alike);
    if let Some(cause) = broken {
        return let_all_go(run, &cause.reason);
    }
    if run.now >= until {
        return let_all_go(run, "they had the time of a drain");
    }
    if applied && room == Share::ALL {
        return let_all_go(run, "the old version can carry all of them");
    }
    let back = run.status.traffic.new_sessions_released;
    let waits = if applied && room > back {
        let traffic = Traffic {
            new_is_fallback: false,
            new_sessions_released: room,
            ..run.status.traffic
        };
        run.steer(Share::ZERO, traffic);
        let verdict = format!("the old version has room: {room} of the sessions go back");
        run.record("SessionsGoBack", verdict.clone());
        verdict
    } else if applied {
        let ready = capacity::ready_of_old(run);
        let of = capacity::count(run.status.old_instances, "old instance");
        format!("{back} of the sessions are back; waits for room: {ready} of {of} ready")
    } else {
        let progress = barrier::describe(&run.status.applied, run.now);
        format!("goes back to the old version, {back} of the sessions first: {progress}")
    };
    run.say_until(waits, until);
}

fn let_all_go(run: &mut Run<'_>, why: &str) {
    let traffic = Traffic {
        new_sessions_held: false,
        new_is_fallback: false,
        new_sessions_released: Share::ZERO,
        ..run.status.traffic
    };
    let verdict = format!("all sessions go back to the old version: {why}");
    run.steer(Share::ZERO, traffic);
    void_tokens(run);
    run.record("SessionsReleased", verdict.clone());
    run.say(verdict);
    run.status.next_at = None;
}

/// Tokens of the new version never hold again, whatever comes.
fn void_tokens(run: &mut Run<'_>) {
    run.status.token_epoch = run.status.token_epoch.saturating_add(1);
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
    let traffic = Traffic {
        new_sessions_held: false,
        draining: None,
        new_sessions_released: Share::ZERO,
        ..run.status.traffic
    };
    run.steer(Share::ZERO, traffic);
    void_tokens(run);
    run.status.paused = false;
    run.status.promoted_full = false;
    run.clear_pauses();
    run.status.rollback_reason = Some(reason.to_owned());
    note_rule(run, SUPERSEDED);
    run.enter(Phase::RolledBack, SUPERSEDED, reason);
}

fn note_rule(run: &mut Run<'_>, rule: &str) {
    debug_assert!(ROLLBACK_RULES.contains(&rule), "{rule} is in no table");
    run.status.notes.rollback_rule = Some(rule.to_owned());
}
