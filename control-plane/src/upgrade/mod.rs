//! The engine's mind: what an upgrade does next.
//!
//! ```text
//! Pending -> Preparing -> WarmUp -> Shifting -> RollbackWindow -> Draining -> Succeeded
//!                \___________\_________\______________\______________\
//!                                                                     RollingBack -> RolledBack
//! ```
//!
//! [`advance`] looks at what is seen and at the time, and says how the status is to be and what is
//! to be done. It neither publishes nor stops anything: the engine carries out the [`Action`]s,
//! notes the generation of what it published in the status, and calls again until nothing changes.
//!
//! Pure: time is an argument. Six things hold at every moment:
//!
//! 1. The new version's weight rises only from a weight that every proxy concerned has applied, and
//!    never while analysis says that it is worse. After a restart of the control plane neither this
//!    nor what can't be taken back happens before the proxies have reported what they saw meanwhile.
//! 2. Once a rollback has begun the weight stays 0, until `retry`.
//! 3. An instance counts as drained only after every proxy concerned knows that it drains; on the way
//!    back those are left out that refuse what they are told.
//! 4. A paused upgrade never moves, but back.
//! 5. What was decided is never taken out of the history.
//! 6. No verb crosses the policy's limits.

mod barrier;
mod capacity;
mod cause;
mod command;
mod drain;
mod draining;
mod judgement;
mod limits;
mod lost;
mod pending;
mod preparing;
mod rolling_back;
mod run;
mod stepping;
mod trigger;
mod window;

#[cfg(test)]
mod tests;

use crate::model::{
    Action, Applied, Notes, Observation, Phase, Policy, Share, Start, Timestamp, Traffic,
    Transition, UpgradeStatus,
};
pub use command::{COMMAND_REFUSED, refused};
use run::Run;
use std::collections::{BTreeMap, BTreeSet};
pub use stepping::time_left;

/// The status of an upgrade that begins now.
///
/// `old_instances` is how many instances of the old version serve.
pub fn begin(policy: &Policy, old_instances: u32, now: Timestamp) -> UpgradeStatus {
    let (phase, reason) = match policy.start {
        Start::Manual => (
            Phase::Pending,
            "a new version appeared; the policy waits for a start by hand",
        ),
        Start::Auto => (Phase::Preparing, "a new version appeared"),
    };
    UpgradeStatus {
        phase,
        phase_since: now,
        step: 0,
        weight: Share::ZERO,
        traffic: fresh_traffic(),
        generation: None,
        applied_at: None,
        applied: Applied::default(),
        paused: false,
        promoted: false,
        promoted_full: false,
        old_instances,
        sessions_released_at: None,
        drained: BTreeSet::new(),
        rollback_reason: None,
        history: vec![Transition {
            phase,
            weight: Share::ZERO,
            at: now,
            reason: reason.to_owned(),
            applied_at: None,
        }],
        message: String::new(),
        next_at: None,
        token_epoch: 0,
        conditions: BTreeMap::new(),
        judgement: None,
        low_traffic: false,
        notes: Notes::default(),
    }
}

/// What the upgrade does next: its status, and what is to be done about it.
///
/// One call makes at most one transition; call again until neither status nor actions come. The
/// commands of an observation are obeyed by the call that sees them: show them to one call only.
/// `observation.applied` is about `status.generation`.
pub fn advance(
    policy: &Policy,
    status: &UpgradeStatus,
    observation: &Observation,
    now: Timestamp,
) -> (UpgradeStatus, Vec<Action>) {
    let mut run = Run::new(policy, status, observation, now);
    command::obey(&mut run);
    barrier::look(&mut run);
    judgement::look(&mut run);
    if trigger::judge(&mut run) == trigger::Next::Look && !barrier::awaits_reports(&mut run) {
        match run.status.phase {
            Phase::Pending => pending::look(&mut run),
            Phase::Preparing => preparing::look(&mut run),
            Phase::WarmUp | Phase::Shifting => stepping::look(&mut run),
            Phase::RollbackWindow => window::look(&mut run),
            Phase::Draining => draining::look(&mut run),
            Phase::RollingBack => rolling_back::look(&mut run),
            Phase::Succeeded | Phase::RolledBack => {}
        }
    }
    run.finish()
}

/// The shares of new sessions: the new version's and the old version's.
pub fn shares(status: &UpgradeStatus) -> (Share, Share) {
    (status.weight, status.weight.rest())
}

/// Sessions stay where they are, nothing drains.
fn fresh_traffic() -> Traffic {
    Traffic {
        old_sessions_held: true,
        new_sessions_held: true,
        new_is_fallback: false,
        draining: None,
        new_sessions_released: Share::ZERO,
    }
}
