//! `spec.analysis.metrics`: numbers and judgements from elsewhere.

use super::{Number, Period, address::check_address, check::Checks, check::is_dns_label};
use crate::model::{ExtraMetric, MetricSource};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

/// How often a metric is asked for where its policy does not say.
const INTERVAL: Duration = Duration::from_secs(30);
/// The shortest interval: others' servers are not ours to burden.
const SHORTEST_INTERVAL: Period = Period(Duration::from_secs(1));
/// Bad answers in a row that roll back, where its policy does not say.
const FAILURE_THRESHOLD: u32 = 3;
/// How long a webhook may take where its policy does not say.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that it may be given.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// What a query may have filled in.
const PLACEHOLDERS: [&str; 5] = ["namespace", "service", "from", "to", "upgrade"];

/// `metrics[]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricSpec {
    /// Its name.
    pub name: String,
    /// How often it is asked for; 30s where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Period>,
    /// Bad answers in a row that roll back; 3 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
    /// From Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusSpec>,
    /// From a program of the user's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSpec>,
}

/// `metrics[].prometheus`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusSpec {
    /// The server.
    pub address: String,
    /// PromQL; `{{namespace}}`, `{{service}}`, `{{from}}`, `{{to}}` and `{{upgrade}}` are filled in.
    pub query: String,
    /// The least value that is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Number>,
    /// The largest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Number>,
}

/// `metrics[].webhook`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WebhookSpec {
    /// Where to.
    pub url: String,
    /// How long an answer may take; 10s where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Period>,
}

impl MetricSpec {
    /// The metric; None where it names no source, or two, which `check` refuses.
    pub(super) fn read(&self) -> Option<ExtraMetric> {
        let source = match (&self.prometheus, &self.webhook) {
            (Some(from), None) => MetricSource::Prometheus {
                address: from.address.clone(),
                query: from.query.clone(),
                min: from.min.as_ref().map(Number::to_string),
                max: from.max.as_ref().map(Number::to_string),
            },
            (None, Some(from)) => MetricSource::Webhook {
                url: from.url.clone(),
                timeout: from.timeout.map_or(TIMEOUT, |period| period.0),
            },
            _ => return None,
        };
        Some(ExtraMetric {
            name: self.name.clone(),
            interval: self.interval.map_or(INTERVAL, |period| period.0),
            failure_threshold: self.failure_threshold.unwrap_or(FAILURE_THRESHOLD),
            source,
        })
    }

    fn check(&self, field: &str, checks: &mut Checks) {
        checks.require(
            is_dns_label(&self.name),
            &format!("{field}.name"),
            &format!(
                "{:?} is not a name of at most 63 of a-z, 0-9 and -",
                self.name
            ),
        );
        checks.at_least(
            &format!("{field}.interval"),
            self.interval,
            SHORTEST_INTERVAL,
        );
        checks.require(
            self.failure_threshold != Some(0),
            &format!("{field}.failureThreshold"),
            "0 is not at least 1",
        );
        checks.require(
            self.prometheus.is_some() != self.webhook.is_some(),
            field,
            "there must be one of prometheus and webhook",
        );
        if let Some(from) = &self.prometheus {
            from.check(&format!("{field}.prometheus"), checks);
        }
        if let Some(from) = &self.webhook {
            from.check(&format!("{field}.webhook"), checks);
        }
    }
}

impl PrometheusSpec {
    fn check(&self, field: &str, checks: &mut Checks) {
        let address = format!("{field}.address");
        check_address(&self.address, &["http", "https"], false, &address, checks);
        checks.require(
            !self.query.trim().is_empty(),
            &format!("{field}.query"),
            "there is no query",
        );
        if let Some(unknown) = unknown_placeholder(&self.query) {
            checks.fail(
                format!("{field}.query"),
                format!(
                    "{unknown:?} is filled in by nothing: there are {}",
                    PLACEHOLDERS.map(|name| format!("{{{{{name}}}}}")).join(" ")
                ),
            );
        }
        let value = |bound: &Option<Number>| bound.as_ref().and_then(|n| n.0.parse::<f64>().ok());
        match (value(&self.min), value(&self.max)) {
            (None, None) => checks.fail(field, "there must be min, max or both"),
            (Some(min), Some(max)) if min > max => checks.fail(
                format!("{field}.min"),
                format!("{min} is more than max ({max}): no value would be good"),
            ),
            _ => {}
        }
    }
}

impl WebhookSpec {
    fn check(&self, field: &str, checks: &mut Checks) {
        let url = format!("{field}.url");
        check_address(&self.url, &["http", "https"], false, &url, checks);
        if let Some(timeout) = self.timeout {
            checks.require(
                !timeout.0.is_zero() && timeout.0 <= LONGEST_TIMEOUT,
                &format!("{field}.timeout"),
                &format!(
                    "{timeout} is not above 0s and at most {}",
                    Period(LONGEST_TIMEOUT)
                ),
            );
        }
    }
}

/// Checks a list of metrics: each by itself, and that no two have one name.
pub(super) fn check_metrics(metrics: &[MetricSpec], field: &str, checks: &mut Checks) {
    let mut names = BTreeSet::new();
    for (index, metric) in metrics.iter().enumerate() {
        let field = format!("{field}[{index}]");
        metric.check(&field, checks);
        checks.require(
            names.insert(&metric.name),
            &format!("{field}.name"),
            &format!("{:?} is the name of another one", metric.name),
        );
    }
}

/// The first `{{…}}` that stands for nothing.
fn unknown_placeholder(query: &str) -> Option<&str> {
    let mut rest = query;
    while let Some(begin) = rest.find("{{") {
        let (_, opened) = rest.split_at(begin);
        let Some(end) = opened.find("}}") else {
            return Some(opened);
        };
        let (placeholder, after) = opened.split_at(end + 2);
        let name = placeholder.trim_matches(['{', '}']).trim();
        if !PLACEHOLDERS.contains(&name) {
            return Some(placeholder);
        }
        rest = after;
    }
    None
}
