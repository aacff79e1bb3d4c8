//! `UpgradePolicy` and `ClusterUpgradePolicy`.
//!
//! Every field may be absent: then the next policy further away says it, and at last the norms.

use super::{
    AnalysisSpec, BalancingSpec, Limits, Metadata, NotifySpec, Period, SessionAffinitySpec,
    StrategySpec,
    check::{Checks, FieldError, SHORTEST_INTERVAL, is_dns_label},
};
use crate::model::Affinity;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use std::collections::BTreeMap;

/// An `UpgradePolicy` document: for a target, or for its whole namespace.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpgradePolicy {
    /// `segue.dev/v1alpha1`
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    /// `UpgradePolicy`
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    /// Its names.
    pub metadata: Metadata,
    /// What it says.
    pub spec: PolicySpec,
    /// Not read.
    #[serde(default, rename = "status")]
    _status: IgnoredAny,
}

/// A `ClusterUpgradePolicy` document: the mesh-wide policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterUpgradePolicy {
    /// `segue.dev/v1alpha1`
    #[serde(rename = "apiVersion")]
    _api_version: IgnoredAny,
    /// `ClusterUpgradePolicy`
    #[serde(rename = "kind")]
    _kind: IgnoredAny,
    /// Its name.
    pub metadata: Metadata,
    /// What it says.
    pub spec: ClusterUpgradePolicySpec,
    /// Not read.
    #[serde(default, rename = "status")]
    _status: IgnoredAny,
}

/// `spec` of the mesh-wide policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterUpgradePolicySpec {
    /// What holds where no policy nearer says otherwise.
    #[serde(default)]
    pub defaults: PolicySpec,
    /// What no policy nearer may cross.
    #[serde(default)]
    pub limits: Limits,
    /// The namespaces that it is for; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<NamespaceSelector>,
}

/// Selects namespaces by their labels. Standalone a namespace has one,
/// `kubernetes.io/metadata.name`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceSelector {
    /// Labels that it carries, all of them.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// `spec` of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySpec {
    /// What it is for; absent: the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// Auto where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartSpec>,
    /// How long the new instances may take to come up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline: Option<Period>,
    /// The steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategySpec>,
    /// What holds a session on its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_affinity: Option<SessionAffinitySpec>,
    /// How the old version is let go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainSpec>,
    /// How instances share requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balancing: Option<BalancingSpec>,
    /// When the new version's health rolls back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    /// When its numbers do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<AnalysisSpec>,
    /// How going back works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackSpec>,
    /// Who is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Vec<NotifySpec>>,
}

/// Names a workload, or standalone the Service of its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// `apps/v1`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Deployment, StatefulSet or Service.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl TargetRef {
    pub(super) fn check(&self, field: &str, checks: &mut Checks) {
        checks.require(
            ["Deployment", "StatefulSet", "Service"].contains(&self.kind.as_str()),
            &format!("{field}.kind"),
            &format!(
                "{:?} is none of Deployment, StatefulSet and Service",
                self.kind
            ),
        );
        checks.require(
            is_dns_label(&self.name),
            &format!("{field}.name"),
            &format!(
                "{:?} is not a name of at most 63 of a-z, 0-9 and -",
                self.name
            ),
        );
    }
}

/// `start`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartSpec {
    /// When instances of a new version appear.
    Auto,
    /// By hand.
    Manual,
}

/// `drain`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DrainSpec {
    /// How long one draining instance may keep what is active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
    /// A session ends after so long without a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_timeout: Option<Period>,
}

/// `health`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthSpec {
    /// How often an instance without a probe is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// Consecutive failures of one new instance that roll back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
}

/// `rollback`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackSpec {
    /// The old version on standby for so long at 100 %.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Period>,
    /// What becomes of the workload; on Kubernetes alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<UndoOrKeep>,
}

/// `rollback.workload`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UndoOrKeep {
    /// Gets its old template back.
    Undo,
    /// Stays as it is, at weight 0.
    Keep,
}

impl UpgradePolicy {
    /// All that is wrong with it, by itself and by these limits.
    pub fn check(&self) -> Vec<FieldError> {
        let mut checks = Checks::default();
        self.metadata.check(&mut checks);
        self.spec.check("spec", &mut checks);
        checks.into_errors()
    }
}

impl ClusterUpgradePolicy {
    /// All that is wrong with it.
    pub fn check(&self) -> Vec<FieldError> {
        let mut checks = Checks::default();
        self.metadata.check(&mut checks);
        let defaults = &self.spec.defaults;
        defaults.check("spec.defaults", &mut checks);
        checks.require(
            defaults.target_ref.is_none(),
            "spec.defaults.targetRef",
            "mesh-wide defaults have no target",
        );
        self.spec.limits.check("spec.limits", &mut checks);
        checks.into_errors()
    }

    /// True where it is for a namespace.
    pub fn selects(&self, namespace: &str) -> bool {
        self.spec.selector.as_ref().is_none_or(|selector| {
            selector
                .match_labels
                .iter()
                .all(|(label, value)| label == "kubernetes.io/metadata.name" && value == namespace)
        })
    }
}

impl PolicySpec {
    /// The policy in which this one's fields win over the other's.
    pub fn over(self, base: Self) -> Self {
        Self {
            target_ref: self.target_ref.or(base.target_ref),
            start: self.start.or(base.start),
            progress_deadline: self.progress_deadline.or(base.progress_deadline),
            strategy: merge(self.strategy, base.strategy, StrategySpec::over),
            session_affinity: merge(
                self.session_affinity,
                base.session_affinity,
                SessionAffinitySpec::over,
            ),
            balancing: merge(self.balancing, base.balancing, BalancingSpec::over),
            drain: merge(self.drain, base.drain, DrainSpec::over),
            health: merge(self.health, base.health, HealthSpec::over),
            analysis: merge(self.analysis, base.analysis, AnalysisSpec::over),
            rollback: merge(self.rollback, base.rollback, RollbackSpec::over),
            notify: self.notify.or(base.notify),
        }
    }

    fn check(&self, field: &str, checks: &mut Checks) {
        if let Some(target) = &self.target_ref {
            target.check(&format!("{field}.targetRef"), checks);
        }
        if let Some(strategy) = &self.strategy {
            strategy.check(&format!("{field}.strategy"), checks);
        }
        if let Some(affinity) = &self.session_affinity {
            affinity.check(&format!("{field}.sessionAffinity"), checks);
        }
        if let Some(balancing) = self.balancing {
            let affinity = self.session_affinity.as_ref();
            let is_hashed = affinity.is_some_and(|a| matches!(a.read(), Affinity::Shift(_)));
            balancing.check(&format!("{field}.balancing"), is_hashed, checks);
        }
        if let Some(analysis) = &self.analysis {
            analysis.check(&format!("{field}.analysis"), checks);
        }
        let health = self.health.unwrap_or_default();
        checks.require(
            health.failure_threshold != Some(0),
            &format!("{field}.health.failureThreshold"),
            "0 is not at least 1",
        );
        checks.at_least(
            &format!("{field}.health.interval"),
            health.interval,
            SHORTEST_INTERVAL,
        );
        checks.require(
            self.progress_deadline
                .is_none_or(|deadline| !deadline.0.is_zero()),
            &format!("{field}.progressDeadline"),
            "0s is not above 0",
        );
        for (index, notify) in self.notify.iter().flatten().enumerate() {
            notify.check(&format!("{field}.notify[{index}]"), checks);
        }
    }
}

pub(super) fn merge<T>(
    ours: Option<T>,
    theirs: Option<T>,
    over: impl FnOnce(T, T) -> T,
) -> Option<T> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => Some(over(ours, theirs)),
        (ours, theirs) => ours.or(theirs),
    }
}

impl DrainSpec {
    fn over(self, base: Self) -> Self {
        Self {
            timeout: self.timeout.or(base.timeout),
            session_timeout: self.session_timeout.or(base.session_timeout),
        }
    }
}

impl HealthSpec {
    fn over(self, base: Self) -> Self {
        Self {
            interval: self.interval.or(base.interval),
            failure_threshold: self.failure_threshold.or(base.failure_threshold),
        }
    }
}

impl RollbackSpec {
    fn over(self, base: Self) -> Self {
        Self {
            window: self.window.or(base.window),
            workload: self.workload.or(base.workload),
        }
    }
}
