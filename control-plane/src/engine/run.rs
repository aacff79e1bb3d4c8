//! One run as the engine keeps it, and what people may ask of it in each phase.

use crate::model::{Command, Phase, Timestamp, UpgradeSpec, UpgradeStatus};
use serde::{Deserialize, Serialize};

/// One run, as it stands on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub spec: UpgradeSpec,
    pub status: UpgradeStatus,
    pub created: Timestamp,
    /// Grows with every change.
    pub resource_version: u64,
    /// `spec.paused` as the manifest that names this run said last; None: no manifest does.
    #[serde(default)]
    pub manifest_paused: Option<bool>,
}

impl Run {
    /// When things were decided.
    pub(super) fn times(&self) -> impl Iterator<Item = Timestamp> {
        let last = self.status.history.last().map(|line| line.at);
        [self.created, self.status.phase_since]
            .into_iter()
            .chain(last)
            .chain(self.status.applied_at)
    }

    /// Something is still to happen.
    pub(super) fn is_active(&self) -> bool {
        !self.status.phase.is_final()
    }
}

/// The verbs that a run obeys as it stands.
fn possible(status: &UpgradeStatus) -> &'static [&'static str] {
    match (status.phase, status.paused) {
        (Phase::Pending, false) => &["start", "pause"],
        (Phase::Pending, true) => &["start", "resume"],
        (Phase::RollingBack | Phase::Succeeded, _) => &[],
        (Phase::RolledBack, _) => &["retry"],
        (Phase::Draining, false) => &["pause", "rollback"],
        (Phase::Draining, true) => &["resume", "rollback"],
        (_, false) => &["pause", "promote", "rollback"],
        (_, true) => &["resume", "promote", "rollback"],
    }
}

/// The verb's name.
pub(super) fn verb(command: &Command) -> &'static str {
    match command {
        Command::Start => "start",
        Command::Pause => "pause",
        Command::Resume => "resume",
        Command::Promote { .. } => "promote",
        Command::Rollback { .. } => "rollback",
        Command::Retry => "retry",
    }
}

/// True where a command asks for what is already so: answered with the present state.
pub(super) fn is_fulfilled(command: &Command, status: &UpgradeStatus) -> bool {
    match command {
        Command::Pause => status.paused && !status.phase.is_final(),
        Command::Resume => !status.paused && !status.phase.is_final(),
        Command::Start => !status.phase.is_final() && status.phase != Phase::Pending,
        Command::Rollback { .. } => {
            matches!(status.phase, Phase::RollingBack | Phase::RolledBack)
        }
        Command::Promote { .. } | Command::Retry => false,
    }
}

/// Why a command makes no sense now, with what would be possible.
pub(super) fn refusal(command: &Command, status: &UpgradeStatus) -> Option<String> {
    let (verb, possible) = (verb(command), possible(status));
    if possible.contains(&verb) {
        return None;
    }
    let phase = status.phase;
    Some(match possible {
        [] => format!("{verb} is not possible in {phase}: nothing can be asked of it any more"),
        [only] => format!("{verb} is not possible in {phase}; possible is {only}"),
        several => format!(
            "{verb} is not possible in {phase}; possible are {}",
            several.join(", ")
        ),
    })
}
