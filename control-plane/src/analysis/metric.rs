//! Extra metrics: so many bad answers in a row roll back. No statistics, and so no part of
//! `confidence`.

use super::look::Said;
use crate::model::{ExtraMetric, Finding, MetricOutcome, Test, Verdict};
use serde::{Deserialize, Serialize};

/// What a metric has said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MetricTrial {
    /// What was asked: another question begins anew.
    asked: ExtraMetric,
    /// Bad answers in a row; one without a value neither counts nor breaks the row.
    bad: u32,
    /// The threshold was reached.
    worse: bool,
    /// The last answer of this step that said something.
    last: Option<MetricOutcome>,
    /// Why the answers since then say nothing.
    unknown: Option<String>,
}

impl MetricTrial {
    pub(super) fn begin(metric: &ExtraMetric) -> Self {
        Self {
            asked: metric.clone(),
            bad: 0,
            worse: false,
            last: None,
            unknown: None,
        }
    }

    /// It asks the same.
    pub(super) fn is_of(&self, metric: &ExtraMetric) -> bool {
        self.asked == *metric
    }

    /// "Not worse" is to be said anew; a row of bad answers goes on.
    pub(super) fn begin_step(&mut self) {
        self.last = None;
    }

    pub(super) fn take_in(&mut self, outcome: &MetricOutcome) {
        match outcome {
            MetricOutcome::Good(_) => self.bad = 0,
            MetricOutcome::Bad(_) => self.bad = self.bad.saturating_add(1),
            MetricOutcome::Unknown(why) => {
                self.unknown = Some(why.clone());
                return;
            }
        }
        self.worse |= self.bad >= self.asked.failure_threshold.max(1);
        self.last = Some(outcome.clone());
        self.unknown = None;
    }

    pub(super) fn judge(&self) -> Said {
        let threshold = self.asked.failure_threshold.max(1);
        let (verdict, text) = match &self.last {
            _ if self.worse => (
                Verdict::Worse,
                format!(
                    "bad {} times in a row{}: worse",
                    self.bad.max(threshold),
                    self.value()
                ),
            ),
            Some(MetricOutcome::Good(value)) => (Verdict::NotWorse, format!("{value}: good")),
            Some(MetricOutcome::Bad(value)) => (
                Verdict::NotYet,
                format!("{value}: bad {} of {threshold} times in a row", self.bad),
            ),
            Some(MetricOutcome::Unknown(_)) | None => (
                Verdict::NotYet,
                self.unknown.as_ref().map_or_else(
                    || "no answer yet in this step".to_owned(),
                    |why| format!("no answer yet in this step: {why}"),
                ),
            ),
        };
        Said {
            finding: Finding {
                test: Test::Metric(self.asked.name.clone()),
                verdict,
                new: None,
                old: None,
                limit: None,
                smallest_visible: None,
                eta: None,
                shared: false,
                text: format!("{}: {text}", self.asked.name),
            },
            silent: false,
        }
    }

    fn value(&self) -> String {
        match &self.last {
            Some(MetricOutcome::Bad(value)) => format!(", last {value}"),
            _ => String::new(),
        }
    }
}
