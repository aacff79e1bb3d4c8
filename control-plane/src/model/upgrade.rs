//! One run from a version to the next: what was asked and where it stands.

use super::{
    Evidence, Generation, Judgement, ProxyId, ServiceKey, Share, Timestamp, UpgradeKey, VersionId,
    WorkloadKey, is_default,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeSpec {
    /// Its key, `namespace/<service>-<to>-<n>` or as the manifest names it.
    pub key: UpgradeKey,
    /// The service that is upgraded.
    pub service: ServiceKey,
    /// The version that serves before.
    pub from: VersionId,
    /// The version that is to serve after.
    pub to: VersionId,
    /// `spec.paused`
    pub paused: bool,
}

/// Where a run stands. Written to disk before anything is done by it, so that a control plane that
/// is killed at any moment goes on from here; hence plain data, no derived state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeStatus {
    /// The phase.
    pub phase: Phase,
    /// Since when.
    pub phase_since: Timestamp,
    /// Index into the policy's steps of the step that runs or ran last.
    pub step: usize,
    /// The new version's weight.
    pub weight: Share,
    /// Which versions' session tokens hold, and which instances are told to drain.
    pub traffic: Traffic,
    /// The generation that carries `weight` and `traffic`; None: not published yet.
    pub generation: Option<Generation>,
    /// When every proxy concerned had ACKed it.
    pub applied_at: Option<Timestamp>,
    /// How far the present generation has come.
    pub applied: Applied,
    /// Stands still until `resume`.
    pub paused: bool,
    /// Asked by `promote`: the present hold (or manual step, or window) is over.
    pub promoted: bool,
    /// Asked by `promote --full`: straight to 100 %.
    pub promoted_full: bool,
    /// How many instances of the old version served when it began.
    pub old_instances: u32,
    /// From when on sessions of the version that goes are no longer held.
    pub sessions_released_at: Option<Timestamp>,
    /// Instances that met the drain barrier, and so may be stopped.
    pub drained: BTreeSet<WorkloadKey>,
    /// Why it goes or went back.
    pub rollback_reason: Option<String>,
    /// Every change of phase or weight, oldest first.
    pub history: Vec<Transition>,
    /// One sentence for people: what goes on and what is waited for.
    pub message: String,
    /// When the running hold, window or deadline ends.
    pub next_at: Option<Timestamp>,
    /// Grows by one with every rollback to `from`, so that the tokens of a version that was rolled
    /// back never hold again.
    pub token_epoch: u32,
    /// Conditions such as `BothVersionsFailing`, by type.
    pub conditions: BTreeMap<String, Condition>,
    /// What analysis said last.
    pub judgement: Option<Judgement>,
    /// What the present step waits for too long is decided: `onLowTraffic` has been applied to it.
    pub low_traffic: bool,
    /// What is remembered from one look to the next, of little interest to people.
    #[serde(default)]
    pub notes: Notes,
}

/// What an upgrade remembers from one look to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// Why `promote` was asked, until the step that it ends has ended.
    pub promoted_because: String,
    /// When `resume` was last obeyed: `maxWait` counts anew from then.
    pub resumed_at: Option<Timestamp>,
    /// Since when the next weight has waited for instances of the new version.
    pub short_since: Option<Timestamp>,
    /// Since when the machines of all new instances are lost.
    pub lost_since: Option<Timestamp>,
    /// The proxies that a `ProxyLagging` event of the present generation has named.
    pub lagging_told: BTreeSet<ProxyId>,
    /// The restarts of each instance that a `retry` has forgiven.
    pub restarts_forgiven: BTreeMap<WorkloadKey, u32>,
    /// By which of [`ROLLBACK_RULES`] it goes or went back.
    pub rollback_rule: Option<String>,
}

/// Every rule by which an upgrade goes back.
pub const ROLLBACK_RULES: [&str; 12] = [
    "AnalysisWorse",
    "Commanded",
    "CrashLoop",
    "DeadlineExceeded",
    "ErrorBurst",
    "FuseBlown",
    "HealthFailed",
    "LowTraffic",
    "Nacked",
    "NeverReady",
    "NewVersionGone",
    "Superseded",
];

/// The phases, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Waits for `segue upgrade start`.
    Pending,
    /// New instances come up and pass their checks; proxies learn of them, at weight 0.
    Preparing,
    /// The first step.
    WarmUp,
    /// Further steps.
    Shifting,
    /// 100 % new, the old version on standby.
    RollbackWindow,
    /// Old sessions end, then old instances drain and go.
    Draining,
    /// Done.
    Succeeded,
    /// Weight to 0 at once, then the new instances drain.
    RollingBack,
    /// Healthy on the old version.
    RolledBack,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Preparing,
        Self::WarmUp,
        Self::Shifting,
        Self::RollbackWindow,
        Self::Draining,
        Self::Succeeded,
        Self::RollingBack,
        Self::RolledBack,
    ];

    /// True where nothing will happen any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::RolledBack)
    }

    /// True where the versions are compared: as long as there is traffic to the new one and a way
    /// back to the old one.
    pub const fn is_analysed(self) -> bool {
        matches!(
            self,
            Self::WarmUp | Self::Shifting | Self::RollbackWindow | Self::Draining
        )
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What an upgrade wants of the split, beside the weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Traffic {
    /// Sessions of the old version stay there.
    pub old_sessions_held: bool,
    /// Sessions of the new version stay there.
    pub new_sessions_held: bool,
    /// The new version passed `WarmUp`, so it may serve where the old one has no healthy endpoint.
    pub new_is_fallback: bool,
    /// Whose instances are DRAINING.
    pub draining: Option<Side>,
    /// On the way back: the share of the new version's sessions that has been let go to the old
    /// version, at most what the old version can carry; counts only where they are still held.
    #[serde(default)]
    pub new_sessions_released: Share,
}

/// One of the two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// The version that served before.
    Old,
    /// The version that is to serve after.
    New,
}

/// How far a generation has come. Never a bare boolean.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Proxies concerned that ACKed it.
    pub acked: u32,
    /// Proxies concerned.
    pub total: u32,
    /// Those that have not.
    pub lagging: Vec<Lagging>,
}

impl Applied {
    /// True where nobody lags.
    pub fn is_complete(&self) -> bool {
        self.lagging.is_empty()
    }
}

/// A proxy that has not ACKed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lagging {
    /// Which.
    pub proxy: ProxyId,
    /// Since when.
    pub since: Timestamp,
    /// Its NACK, where it refused.
    pub nack: Option<Arc<str>>,
}

/// One line of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The phase entered (or stayed in).
    pub phase: Phase,
    /// The new version's weight from then on.
    pub weight: Share,
    /// When it was decided.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
    /// When every proxy concerned had applied it.
    pub applied_at: Option<Timestamp>,
}

/// A condition of the status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// It holds.
    pub status: bool,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// Since when.
    pub at: Timestamp,
}

/// What the engine sees when it looks at one upgrade.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The old version's instances.
    pub old: Vec<InstanceObservation>,
    /// The new version's instances.
    pub new: Vec<InstanceObservation>,
    /// How many instances of further versions there are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub others: u32,
    /// How far `status.generation` has come (default where it is None).
    pub applied: Applied,
    /// After a restart of the control plane: how many of the proxies that were known before have
    /// not reported since, and still may. What they would say of the new version is not known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reports_pending: u32,
    /// When a session token last placed a request on the old version, as far as known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_old_session: Option<Timestamp>,
    /// What people asked since the last look, oldest first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub commands: Vec<Command>,
    /// Why, in the words of who asked last; empty: not said, or said in the command itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub asked_because: String,
    /// What analysis says of the present step; None: nothing is analysed in this phase.
    #[serde(default, skip_serializing_if = "is_default")]
    pub judgement: Option<Judgement>,
    /// The evidence of the present step that came in since the last line of the decision log: what
    /// a replay judges anew. `upgrade` does not look at it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub evidence: Evidence,
}

/// One instance, as its checks and the proxies report it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceObservation {
    /// Which.
    pub workload: WorkloadKey,
    /// Passes its checks.
    pub ready: bool,
    /// A check of it has ended, or it needs none.
    pub checked: bool,
    /// Failed checks in a row.
    #[serde(default, skip_serializing_if = "is_default")]
    pub consecutive_failures: u32,
    /// How many proxies' outlier detection keeps it out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ejected_by: u32,
    /// Requests and connections under way there, by the newest reports of its own proxy and of
    /// the clients' proxies.
    #[serde(default, skip_serializing_if = "is_default")]
    pub active: u64,
    /// When a report last said that something was active there or had begun there; None: no proxy
    /// has ever reported on it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_activity: Option<Timestamp>,
    /// When the last report on it came in. An instance whose reports have ceased says nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_report: Option<Timestamp>,
    /// Since when it has passed its checks without a break.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ready_since: Option<Timestamp>,
    /// How often it has turned from ready to not ready since the run began.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restarts: u32,
    /// Its own proxy broke off without a goodbye and is not back within the lease: its machine is
    /// lost, which is no fault of the version.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lost: bool,
    /// Requests that ended in the last second, by the reports.
    #[serde(default, skip_serializing_if = "is_default")]
    pub recent_requests: u64,
    /// Those that were errors.
    #[serde(default, skip_serializing_if = "is_default")]
    pub recent_errors: u64,
}

/// What people ask of an upgrade.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Command {
    /// Begin (only `Pending`).
    Start,
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// End the present hold.
    Promote {
        /// Straight to 100 %.
        full: bool,
    },
    /// Go back.
    Rollback {
        /// Why.
        reason: String,
    },
    /// Try a rolled back upgrade once more.
    Retry,
}

/// What `advance` wants done, beside keeping the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Weight or traffic changed: publish a new world and note its generation in the status.
    Publish,
    /// A line for the decision log.
    Record(Decision),
    /// An event for operators: every transition, verdict change, lagging proxy, pause, rollback.
    Notify {
        /// One CamelCase word, `RolledBack`.
        reason: String,
        /// A sentence.
        message: String,
    },
}

/// The rule of a look that decided nothing.
pub const LOOKED: &str = "Looked";
/// The rule of the line that a decision log shows in the place of looks that were let go.
pub const LOOKS_LET_GO: &str = "LooksLetGo";

/// Why a tick decided what it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// In which phase.
    pub phase: Phase,
    /// The rule that decided, one CamelCase word (`HoldIsOver`, `HealthFailed`, `FuseBlown`…).
    pub rule: String,
    /// What it decided, a sentence.
    pub verdict: String,
}
