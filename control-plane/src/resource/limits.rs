//! `ClusterUpgradePolicy.spec.limits`: guard rails that no namespace may cross.
//!
//! A document that crosses one is refused. What the norms or the mesh-wide defaults say is brought
//! within, so that an effective policy never crosses; and it carries them, so that no verb does.

use super::{FieldError, Percent, Period, PolicySpec, StrategyType, check::Checks};
use crate::model::{self, Policy, Step};
use serde::{Deserialize, Serialize};

/// `spec.limits`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// The most that a first step may weigh, in percent. Binds Canary only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_first_weight: Option<Percent>,
    /// The least time that the old version stands by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_rollback_window: Option<Period>,
    /// The most consecutive failures that may pass before a rollback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failure_threshold: Option<u32>,
}

/// The limits, and the document in which they stand.
#[derive(Clone, Copy, Debug)]
pub struct LimitsOf<'a> {
    /// `ClusterUpgradePolicy mesh`
    pub owner: &'a str,
    /// What they are.
    pub limits: Limits,
}

impl Limits {
    pub(super) fn check(self, field: &str, checks: &mut Checks) {
        checks.require(
            self.max_first_weight
                .is_none_or(|weight| weight.0.basis_points() > 0),
            &format!("{field}.maxFirstWeight"),
            "0 allows no first step",
        );
        checks.require(
            self.max_failure_threshold != Some(0),
            &format!("{field}.maxFailureThreshold"),
            "0 is not at least 1",
        );
    }

    /// Where a namespace's policy crosses these limits, which `owner` sets.
    pub fn crossed_by(self, spec: &PolicySpec, owner: &str) -> Vec<FieldError> {
        let mut checks = Checks::default();
        let first = spec
            .strategy
            .as_ref()
            .and_then(|strategy| strategy.steps.as_ref())
            .and_then(|steps| steps.first());
        if let (Some(first), Some(most)) = (first, self.max_first_weight)
            && first.weight > most
        {
            let message = format!(
                "{} is more than maxFirstWeight of {owner} ({most})",
                first.weight
            );
            checks.fail("spec.strategy.steps[0].weight", message);
        }
        let window = spec.rollback.and_then(|rollback| rollback.window);
        if let (Some(window), Some(least)) = (window, self.min_rollback_window)
            && window < least
        {
            let message = format!("{window} is less than minRollbackWindow of {owner} ({least})");
            checks.fail("spec.rollback.window", message);
        }
        let threshold = spec.health.and_then(|health| health.failure_threshold);
        if let (Some(threshold), Some(most)) = (threshold, self.max_failure_threshold)
            && threshold > most
        {
            let message =
                format!("{threshold} is more than maxFailureThreshold of {owner} ({most})");
            checks.fail("spec.health.failureThreshold", message);
        }
        checks.into_errors()
    }
}

impl LimitsOf<'_> {
    /// Brings an effective policy within the limits, and leaves them in it.
    pub(super) fn bring_within(&self, policy: &mut Policy, kind: Option<StrategyType>) {
        let limits = self.limits;
        if let Some(least) = limits.min_rollback_window {
            policy.rollback.window = policy.rollback.window.max(least.0);
        }
        if let Some(most) = limits.max_failure_threshold {
            policy.health.failure_threshold = policy.health.failure_threshold.min(most);
        }
        if let (Some(most), Some(first)) = (limits.max_first_weight, policy.steps.first().copied())
            && kind != Some(StrategyType::BlueGreen)
            && first.weight > most.0
        {
            let lighter = Step {
                weight: most.0,
                ..first
            };
            policy.steps.insert(0, lighter);
        }
        if limits != Limits::default() {
            policy.limits = self.read();
        }
    }

    fn read(&self) -> model::Limits {
        model::Limits {
            owner: self.owner.to_owned(),
            max_first_weight: self.limits.max_first_weight.map(|weight| weight.0),
            min_rollback_window: self.limits.min_rollback_window.map(|window| window.0),
            max_failure_threshold: self.limits.max_failure_threshold,
        }
    }
}
