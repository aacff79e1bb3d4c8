//! What holds at every look and whenever it stands still. The first law broken is kept in the state,
//! for a property to find.

use super::state::{Being, Burst, State, name};
use crate::model::{
    Command, Observation, OnLowTraffic, Phase, Policy, Share, Side, Timestamp, UpgradeStatus,
    Verdict,
};

/// Every law that a look or a rest can break: the names are the properties'.
pub(super) const ALL: [&str; 22] = [
    RISES_FROM_APPLIED,
    RISES_NOT_WHILE_WORSE,
    RISES_BY_VERDICT,
    RISES_TO_THE_NEXT_STEP,
    RISES_WITH_INSTANCES,
    FIRST_WEIGHT_LIMITED,
    WINDOW_LIMITED,
    VERBS_LIMITED,
    FAILURES_GO_BACK,
    LOST_IS_NO_FAULT,
    NO_TRAFFIC_TO_NOBODY,
    PAUSED_STANDS_STILL,
    BACK_MEANS_ZERO,
    BACK_TO_SOMEBODY,
    PHASES_GO_ON,
    OLD_DRAINS_LAST,
    NEW_DRAINS_WITHOUT_TRAFFIC,
    DRAINS_BY_BOTH_BARRIERS,
    SESSIONS_GO_BACK_BY_BARRIER,
    SUCCESS,
    WAITS_FOR_A_REASON,
    "looks come to an end",
];

const RISES_FROM_APPLIED: &str = "weight rises only from a weight that every proxy has applied";
const RISES_NOT_WHILE_WORSE: &str = "weight never rises while the verdict is worse";
const RISES_BY_VERDICT: &str = "a step that is analysed ends by `not worse`, by `promote`, or by a policy that goes on unknowing";
const RISES_TO_THE_NEXT_STEP: &str =
    "weight is 0 or a step's, and skips one by `promote --full` alone";
const RISES_WITH_INSTANCES: &str =
    "weight rises only with an instance ready whose machine is there";
const FIRST_WEIGHT_LIMITED: &str = "no first weight is above `maxFirstWeight`";
const WINDOW_LIMITED: &str =
    "the old version stands by at an applied 100 % for `minRollbackWindow` before it drains";
const VERBS_LIMITED: &str = "a verb that would cross a limit has no effect";
const FAILURES_GO_BACK: &str = "a new instance with `maxFailureThreshold` failures goes back, unless the old version fails too or is gone";
const LOST_IS_NO_FAULT: &str =
    "where the new version's machine is lost nothing goes on, nor back before `progressDeadline`";
const NO_TRAFFIC_TO_NOBODY: &str =
    "no weight is left on a version without instances while the other one has one";
const PAUSED_STANDS_STILL: &str = "a paused upgrade never moves but to roll back";
const BACK_MEANS_ZERO: &str = "going back means weight 0, until `retry`";
const BACK_TO_SOMEBODY: &str = "a rollback begins only where an old instance is left to serve";
const PHASES_GO_ON: &str = "phases go one way, but for `retry`";
const OLD_DRAINS_LAST: &str = "the old version drains only after 100 % was applied and the window";
const NEW_DRAINS_WITHOUT_TRAFFIC: &str =
    "the new version drains only at weight 0 with no session held";
const DRAINS_BY_BOTH_BARRIERS: &str =
    "an instance may be stopped only when all know (ACK) and it is quiet or its time is up";
const SESSIONS_GO_BACK_BY_BARRIER: &str =
    "sessions go back share by share, each applied before the next, and are then void";
const SUCCESS: &str = "success means 100 %, the old version gone, the new one there";
const WAITS_FOR_A_REASON: &str = "whatever is not over says what it waits for: a time or an event";

/// Judges one look: `state` is as before it.
pub(super) fn judge_look(
    policy: &Policy,
    analysed: bool,
    state: &mut State,
    after: &UpgradeStatus,
    seen: &Observation,
    now: Timestamp,
) {
    let before = &state.status;
    let look = Look {
        policy,
        state,
        before,
        after,
        seen,
        now,
    };
    let broken = [
        (RISES_FROM_APPLIED, look.rises_from_applied()),
        (RISES_NOT_WHILE_WORSE, look.rises_not_while_worse()),
        (RISES_BY_VERDICT, !analysed || look.rises_by_verdict()),
        (RISES_TO_THE_NEXT_STEP, look.rises_to_the_next_step()),
        (RISES_WITH_INSTANCES, look.rises_with_instances()),
        (FIRST_WEIGHT_LIMITED, look.first_weight_limited()),
        (WINDOW_LIMITED, look.window_limited()),
        (VERBS_LIMITED, look.verbs_limited()),
        (LOST_IS_NO_FAULT, look.lost_is_no_fault()),
        (PAUSED_STANDS_STILL, look.paused_stands_still()),
        (BACK_MEANS_ZERO, look.back_means_zero()),
        (BACK_TO_SOMEBODY, look.back_to_somebody()),
        (PHASES_GO_ON, look.phases_go_on()),
        (OLD_DRAINS_LAST, look.old_drains_last()),
        (
            NEW_DRAINS_WITHOUT_TRAFFIC,
            look.new_drains_without_traffic(),
        ),
        (DRAINS_BY_BOTH_BARRIERS, look.drains_by_both_barriers()),
        (
            SESSIONS_GO_BACK_BY_BARRIER,
            look.sessions_go_back_by_barrier(),
        ),
        (SUCCESS, look.success()),
    ]
    .into_iter()
    .find_map(|(law, holds)| (!holds).then_some(law));
    state.ghost.broken = state.ghost.broken.or(broken);
}

/// Judges what is left when nothing changes any more.
pub(super) fn judge_rest(policy: &Policy, state: &mut State, now: Timestamp) {
    let broken = if !has_somebody(state) {
        Some(NO_TRAFFIC_TO_NOBODY)
    } else if !failures_go_back(state) {
        Some(FAILURES_GO_BACK)
    } else if !waits_for_a_reason(policy, state, now) {
        Some(WAITS_FOR_A_REASON)
    } else {
        None
    };
    state.ghost.broken = state.ghost.broken.or(broken);
}

struct Look<'a> {
    policy: &'a Policy,
    state: &'a State,
    before: &'a UpgradeStatus,
    after: &'a UpgradeStatus,
    seen: &'a Observation,
    now: Timestamp,
}

impl Look<'_> {
    fn rises(&self) -> bool {
        self.after.weight > self.before.weight
    }

    fn was_asked(&self, is: impl Fn(&Command) -> bool) -> bool {
        self.seen.commands.iter().any(is)
    }

    fn rises_from_applied(&self) -> bool {
        let now = self.before.generation.is_some() && self.seen.applied.is_complete();
        !self.rises() || self.before.applied_at.is_some() || now
    }

    fn rises_not_while_worse(&self) -> bool {
        let judgement = self.seen.judgement.as_ref();
        !self.rises() || judgement.is_none_or(|j| j.verdict != Verdict::Worse)
    }

    fn rises_by_verdict(&self) -> bool {
        let before = self.before;
        let verdict = self.seen.judgement.as_ref().map(|j| j.verdict);
        let promoted = before.promoted
            || before.promoted_full
            || self.was_asked(|c| matches!(c, Command::Promote { .. }));
        let unknowing = self.policy.analysis.on_low_traffic == OnLowTraffic::Proceed
            && before
                .applied_at
                .is_some_and(|at| self.now >= at.after(self.policy.analysis.max_wait));
        !self.rises()
            || before.phase == Phase::Preparing
            || verdict == Some(Verdict::NotWorse)
            || promoted
            || (verdict == Some(Verdict::NotYet) && unknowing)
    }

    fn rises_to_the_next_step(&self) -> bool {
        let steps = self.policy.steps.iter().map(|step| step.weight);
        let next = steps.clone().find(|weight| *weight > self.before.weight);
        let full =
            self.before.promoted_full || self.was_asked(|c| *c == Command::Promote { full: true });
        let is_step = self.after.weight == Share::ZERO
            || steps.clone().any(|weight| weight == self.after.weight);
        is_step
            && (!self.rises()
                || Some(self.after.weight) == next
                || (full && self.after.weight == Share::ALL))
    }

    fn rises_with_instances(&self) -> bool {
        !self.rises() || self.state.env.new == Being::Ready
    }

    fn first_weight_limited(&self) -> bool {
        let most = self.policy.limits.max_first_weight;
        self.before.weight > Share::ZERO || most.is_none_or(|most| self.after.weight <= most)
    }

    fn window_limited(&self) -> bool {
        let ends =
            self.before.phase == Phase::RollbackWindow && self.after.phase == Phase::Draining;
        !ends || !self.is_too_early()
    }

    fn verbs_limited(&self) -> bool {
        let promoted = self.was_asked(|c| *c == Command::Promote { full: false });
        let full = self.was_asked(|c| *c == Command::Promote { full: true });
        let early = self.before.phase == Phase::RollbackWindow && self.is_too_early();
        let crosses_first =
            self.before.weight == Share::ZERO && self.policy.limits.max_first_weight.is_some();
        let ends_window = promoted && early && self.after.promoted;
        let crosses = full && crosses_first && self.after.promoted_full;
        !ends_window && !crosses
    }

    fn lost_is_no_fault(&self) -> bool {
        let (before, after, env) = (self.before, self.after, &self.state.env);
        let serves = (Phase::WarmUp..=Phase::Draining).contains(&before.phase);
        if !serves || env.new != Being::Lost || !has_old(self.state) {
            return true;
        }
        if after.phase != Phase::RollingBack {
            return !self.rises() && after.phase == before.phase && after.drained == before.drained;
        }
        let verdict = self.seen.judgement.as_ref().map(|j| j.verdict);
        let refused = self.seen.applied.lagging.iter().any(|l| l.nack.is_some());
        let asked = self.was_asked(|c| matches!(c, Command::Rollback { .. }));
        let since = before.notes.lost_since;
        let over = since.is_some_and(|at| self.now >= at.after(self.policy.progress_deadline));
        // Where the old version drains, nobody would serve meanwhile.
        let drains = before.traffic.draining == Some(Side::Old);
        drains || over || asked || refused || verdict == Some(Verdict::Worse)
    }

    /// The old version has not stood by for as long as it must.
    fn is_too_early(&self) -> bool {
        let least = self.policy.limits.min_rollback_window;
        least.is_some_and(|least| u64::from(self.state.ghost.standby) < least.as_secs())
    }

    fn paused_stands_still(&self) -> bool {
        let resumed = self.was_asked(|c| matches!(c, Command::Resume));
        let started = self.was_asked(|c| matches!(c, Command::Start));
        let (before, after) = (self.before, self.after);
        let back = matches!(after.phase, Phase::RollingBack | Phase::RolledBack);
        // Nothing is left to hold when the old version is gone from `Draining`.
        let over = before.phase == Phase::Draining && self.state.env.old == Being::Gone;
        let still = after.phase == before.phase || (started && after.phase == Phase::Preparing);
        !before.paused
            || resumed
            || back
            || over
            || (still
                && !self.rises()
                && after.drained == before.drained
                && after.traffic == before.traffic)
    }

    fn back_means_zero(&self) -> bool {
        let back = matches!(self.after.phase, Phase::RollingBack | Phase::RolledBack);
        let was_back = matches!(self.before.phase, Phase::RollingBack | Phase::RolledBack);
        let retried = self.was_asked(|c| matches!(c, Command::Retry));
        (!back || self.after.weight == Share::ZERO) && (!was_back || back || retried)
    }

    fn back_to_somebody(&self) -> bool {
        let begins =
            self.after.phase == Phase::RollingBack && self.before.phase != Phase::RollingBack;
        !begins || has_old(self.state)
    }

    fn phases_go_on(&self) -> bool {
        let retried = self.was_asked(|c| matches!(c, Command::Retry));
        self.after.phase >= self.before.phase || retried
    }

    fn old_drains_last(&self) -> bool {
        let (before, after) = (self.before, self.after);
        let begins = after.traffic.draining == Some(Side::Old)
            && before.traffic.draining != after.traffic.draining;
        !begins
            || (self.state.ghost.all_applied
                && after.weight == Share::ALL
                && before.phase >= Phase::RollbackWindow
                && after.phase >= Phase::Draining)
    }

    fn new_drains_without_traffic(&self) -> bool {
        let begins = self.after.traffic.draining == Some(Side::New)
            && self.before.traffic.draining != self.after.traffic.draining;
        let was_back = self.before.phase == Phase::RollingBack && self.after.weight == Share::ZERO;
        let over = self.after.phase.is_final();
        !begins || ((was_back || over) && !self.after.traffic.new_sessions_held)
    }

    fn drains_by_both_barriers(&self) -> bool {
        [Side::Old, Side::New].into_iter().all(|side| {
            let key = name(side);
            let news = self.after.drained.contains(&key) && !self.before.drained.contains(&key);
            !news || self.may_be_stopped(side)
        })
    }

    fn may_be_stopped(&self, side: Side) -> bool {
        let env = &self.state.env;
        let refused = side == Side::New && env.only_refused();
        let known = self.state.ghost.drain_known
            || (self.seen.applied.is_complete() && self.before.generation.is_some())
            || refused
            // It had refused when the way back went on without it.
            || (side == Side::New && self.before.applied_at.is_some());
        let quiet = !env.busy && env.quiet_for >= 1;
        let over = self
            .after
            .applied_at
            .is_some_and(|at| self.now >= at.after(self.policy.drain.timeout));
        self.before.traffic.draining == Some(side) && known && (quiet || over)
    }

    fn sessions_go_back_by_barrier(&self) -> bool {
        let (before, after) = (self.before, self.after);
        if before.phase != Phase::RollingBack || !before.traffic.new_sessions_held {
            return true;
        }
        let released = after.traffic.new_sessions_released;
        if !after.traffic.new_sessions_held {
            return after.token_epoch > before.token_epoch;
        }
        released == before.traffic.new_sessions_released
            || (released > before.traffic.new_sessions_released
                && (before.applied_at.is_some() || self.seen.applied.is_complete()))
    }

    fn success(&self) -> bool {
        let env = &self.state.env;
        let begins = self.after.phase == Phase::Succeeded && self.before.phase != Phase::Succeeded;
        !begins
            || (self.after.weight == Share::ALL && env.old == Being::Gone && env.new != Being::Gone)
    }
}

/// Either the version with weight has an instance, or the other one has none to go back to and it
/// says so. (What has instances but none ready is the data plane's: priority 1 is the other one.)
fn has_somebody(state: &State) -> bool {
    let (env, status) = (&state.env, &state.status);
    let serving = status.weight > Share::ZERO && !status.phase.is_final();
    !serving || env.new != Being::Gone || !has_old(state)
}

fn has_old(state: &State) -> bool {
    let drained = state.status.drained.contains(&name(Side::Old));
    !matches!(state.env.old, Being::Gone | Being::Lost) && !drained
}

/// An instance that is failing has failed as many checks as the limit, and the policy, allow.
fn failures_go_back(state: &State) -> bool {
    let (env, status) = (&state.env, &state.status);
    let watched = (Phase::WarmUp..=Phase::Draining).contains(&status.phase);
    let alike = env.old == Being::Failing || env.burst == Burst::Both;
    !watched || env.new != Being::Failing || alike || !has_old(state)
}

fn waits_for_a_reason(policy: &Policy, state: &State, now: Timestamp) -> bool {
    let (env, status) = (&state.env, &state.status);
    if status.phase.is_final() {
        return true;
    }
    let on_time = status.next_at.is_some_and(|at| at > now);
    let is_overdue = status.next_at.is_some_and(|at| at <= now);
    let on_people = status.phase == Phase::Pending
        || status.paused
        || (policy
            .steps
            .iter()
            .any(|s| s.manual && s.weight == status.weight)
            && status.message.contains("promote"));
    let on_proxies = status.generation.is_some() && !env.all_acked();
    let on_new = env.new != Being::Ready;
    let on_old = matches!(env.old, Being::Gone | Being::Lost);
    let on_stop = status.drained.contains(&name(Side::Old)) && env.old != Being::Gone;
    !status.message.is_empty()
        && !is_overdue
        && (on_time || on_people || on_proxies || on_new || on_old || on_stop)
}
