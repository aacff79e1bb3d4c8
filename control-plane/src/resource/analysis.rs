//! `spec.analysis`: when the new version's numbers roll back.

use super::{
    Fraction, MetricSpec, Period, Rate,
    check::{Checks, SHORTEST_INTERVAL},
    metric::check_metrics,
    policy,
};
use crate::model::{self, Analysis, Latency, SuccessRate};
use serde::{Deserialize, Serialize};

/// `spec.analysis`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    pub confidence: Option<Fraction>,
    /// What is asked of successes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_rate: Option<SuccessRateSpec>,
    /// What is asked of latency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<LatencySpec>,
    /// Metrics from elsewhere; the nearest policy that has a list says all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Vec<MetricSpec>>,
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
    pub min: Option<Rate>,
    /// The drop against the old version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_drop: Option<Rate>,
}

/// `latency`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LatencySpec {
    /// Which, 0.99.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<Fraction>,
    /// The increase against the old version, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_increase: Option<Rate>,
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
            success_rate: policy::merge(
                self.success_rate,
                base.success_rate,
                SuccessRateSpec::over,
            ),
            latency: policy::merge(self.latency, base.latency, LatencySpec::over),
            metrics: self.metrics.or(base.metrics),
        }
    }

    /// The analysis that it asks for; the norms say what it does not.
    pub(super) fn read(self, norms: &Analysis) -> Analysis {
        let or = |period: Option<Period>, norm| period.map_or(norm, |period| period.0);
        let success = self.success_rate.unwrap_or_default();
        let latency = self.latency.unwrap_or_default();
        Analysis {
            interval: or(self.interval, norms.interval),
            warm_up: or(self.warm_up, norms.warm_up),
            min_requests: self.min_requests.unwrap_or(norms.min_requests),
            max_wait: or(self.max_wait, norms.max_wait),
            on_low_traffic: match self.on_low_traffic {
                Some(OnLowTraffic::Proceed) => model::OnLowTraffic::Proceed,
                Some(OnLowTraffic::RollBack) => model::OnLowTraffic::RollBack,
                Some(OnLowTraffic::Pause) => model::OnLowTraffic::Pause,
                None => norms.on_low_traffic,
            },
            confidence: self.confidence.map_or(norms.confidence, |it| it.0),
            success_rate: SuccessRate {
                min: success.min.map_or(norms.success_rate.min, |it| it.0),
                max_drop: success
                    .max_drop
                    .map_or(norms.success_rate.max_drop, |it| it.0),
            },
            latency: Latency {
                quantile: latency.quantile.map_or(norms.latency.quantile, |it| it.0),
                max_increase: latency
                    .max_increase
                    .map_or(norms.latency.max_increase, |it| it.0),
            },
            metrics: self.metrics.map_or_else(
                || norms.metrics.clone(),
                |metrics| metrics.iter().filter_map(MetricSpec::read).collect(),
            ),
        }
    }

    pub(super) fn check(&self, field: &str, checks: &mut Checks) {
        let success = self.success_rate.unwrap_or_default();
        let latency = self.latency.unwrap_or_default();
        // Below one half a verdict is a guess; above 0.9999 it would hardly ever come.
        fraction(
            self.confidence,
            (500_000, 999_900),
            &format!("{field}.confidence"),
            checks,
        );
        // A higher quantile than this needs more requests than the histogram of one step has.
        fraction(
            latency.quantile,
            (10_000, 999_900),
            &format!("{field}.latency.quantile"),
            checks,
        );
        for (name, rate, most) in [
            ("successRate.min", success.min, 100),
            ("successRate.maxDrop", success.max_drop, 100),
            ("latency.maxIncrease", latency.max_increase, 10_000),
        ] {
            if let Some(rate) = rate {
                checks.require(
                    rate.0.0 <= most * 10_000,
                    &format!("{field}.{name}"),
                    &format!("{rate} is not between 0 and {most}"),
                );
            }
        }
        checks.at_least(
            &format!("{field}.interval"),
            self.interval,
            SHORTEST_INTERVAL,
        );
        checks.require(
            self.max_wait.is_none_or(|wait| !wait.0.is_zero()),
            &format!("{field}.maxWait"),
            "0s is not above 0",
        );
        let metrics = self.metrics.as_deref().unwrap_or_default();
        check_metrics(metrics, &format!("{field}.metrics"), checks);
    }
}

/// Checks a fraction against the range, in parts per million, in which it makes sense.
fn fraction(value: Option<Fraction>, (least, most): (u32, u32), field: &str, checks: &mut Checks) {
    let bound = |ppm| Fraction(model::Ppm(ppm));
    let (least, most) = (bound(least), bound(most));
    if let Some(value) = value {
        checks.require(
            (least..=most).contains(&value),
            field,
            &format!("{value} is not between {least} and {most}"),
        );
    }
}

impl SuccessRateSpec {
    fn over(self, base: Self) -> Self {
        Self {
            min: self.min.or(base.min),
            max_drop: self.max_drop.or(base.max_drop),
        }
    }
}

impl LatencySpec {
    fn over(self, base: Self) -> Self {
        Self {
            quantile: self.quantile.or(base.quantile),
            max_increase: self.max_increase.or(base.max_increase),
        }
    }
}
