//! `spec.analysis`: checked, but so far only `warmUp` has an effect.

use super::{Percent, Period, check::Checks};
use crate::model::Analysis;
use serde::{Deserialize, Serialize};

/// `spec.analysis`
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AnalysisSpec {
    /// How often it looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// An instance counts after this age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm_up: Option<Period>,
    /// Before a step up; going back needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_requests: Option<u64>,
    /// How long it waits for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Period>,
    /// What then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_low_traffic: Option<OnLowTraffic>,
    /// How sure a verdict must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// What is asked of successes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<SuccessRateSpec>,
    /// What is asked of latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencySpec>,
}

/// `onLowTraffic`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnLowTraffic {
    /// Goes on.
    Proceed,
    /// Goes back.
    RollBack,
    /// Stands still.
    Pause,
}

/// `successRate`, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SuccessRateSpec {
    /// The floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Percent>,
    /// The drop against the old version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_drop: Option<Percent>,
}

/// `latency`
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LatencySpec {
    /// Which, 0.99.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
    /// The increase against the old version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_increase: Option<Percent>,
}

impl AnalysisSpec {
    /// The analysis in which this one's fields win over the other's.
    pub(super) fn over(self, base: Self) -> Self {
        Self {
            interval: self.interval.or(base.interval),
            warm_up: self.warm_up.or(base.warm_up),
            min_requests: self.min_requests.or(base.min_requests),
            max_wait: self.max_wait.or(base.max_wait),
            on_low_traffic: self.on_low_traffic.or(base.on_low_traffic),
            confidence: self.confidence.or(base.confidence),
            success_rate: self.success_rate.or(base.success_rate),
            latency: self.latency.or(base.latency),
        }
    }

    /// The analysis that it asks for; the norms say what it does not.
    pub(super) fn read(self, norms: &Analysis) -> Analysis {
        Analysis {
            warm_up: self.warm_up.map_or(norms.warm_up, |period| period.0),
            ..norms.clone()
        }
    }

    /// Which of its fields have no effect yet.
    pub(super) fn without_effect(&self) -> Vec<&'static str> {
        [
            ("interval", self.interval.is_some()),
            ("minRequests", self.min_requests.is_some()),
            ("maxWait", self.max_wait.is_some()),
            ("onLowTraffic", self.on_low_traffic.is_some()),
            ("confidence", self.confidence.is_some()),
            ("successRate", self.success_rate.is_some()),
            ("latency", self.latency.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, present)| present.then_some(name))
        .collect()
    }

    pub(super) fn check(&self, field: &str, checks: &mut Checks) {
        let quantile = self.latency.and_then(|latency| latency.quantile);
        for (name, value) in [
            ("confidence", self.confidence),
            ("latency.quantile", quantile),
        ] {
            if let Some(value) = value {
                checks.require(
                    value > 0.0 && value < 1.0,
                    &format!("{field}.{name}"),
                    &format!("{value} is not between 0 and 1"),
                );
            }
        }
        if let Some(interval) = self.interval {
            checks.require(
                !interval.0.is_zero(),
                &format!("{field}.interval"),
                "0s is not above 0",
            );
        }
    }
}
