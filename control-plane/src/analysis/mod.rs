//! Numbers -> verdict.
//!
//! A plain comparison of measured rates once enough requests have come; it makes no claim on how
//! often it errs.

use crate::model::{
    Analysis, Evidence, Finding, Judgement, MetricOutcome, Ppm, Tally, Test, Verdict,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The evidence of one run, condensed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    step: Evidence,
    baseline: Tally,
}

impl Trial {
    /// A run's first step begins.
    pub fn begin(_policy: &Analysis) -> Self {
        Self::default()
    }

    /// A further step's weight is applied everywhere.
    pub fn begin_step(&mut self, _policy: &Analysis) {
        self.baseline = std::mem::take(&mut self.step).old;
    }

    /// The old version has no traffic any more.
    pub fn begin_window(&mut self, policy: &Analysis) {
        self.begin_step(policy);
    }

    /// Evidence of one span of time.
    pub fn take_in(&mut self, _policy: &Analysis, evidence: &Evidence, _over: Duration) {
        self.step.add(evidence);
    }

    /// An extra metric's answer.
    pub fn take_in_metric(&mut self, _policy: &Analysis, _name: &str, _outcome: &MetricOutcome) {}

    /// What the evidence says.
    pub fn judge(&self, policy: &Analysis, _left: Duration) -> Judgement {
        let new = &self.step.new;
        let old = if self.step.old.requests == 0 {
            &self.baseline
        } else {
            &self.step.old
        };
        let limit = rate(old).saturating_add(policy.success_rate.max_drop.0.into());
        let verdict = match rate(new) {
            _ if new.requests < policy.min_requests => Verdict::NotYet,
            measured if measured > limit => Verdict::Worse,
            _ => Verdict::NotWorse,
        };
        Judgement {
            verdict,
            requests: new.requests,
            eta: None,
            findings: vec![Finding {
                test: Test::SuccessDrop,
                verdict,
                new: Some(rate(new)),
                old: Some(rate(old)),
                limit: Some(limit),
                smallest_visible: None,
                eta: None,
                shared: false,
                text: format!("{} errors of {} requests", new.errors, new.requests),
            }],
        }
    }
}

/// Parts per million.
fn rate(tally: &Tally) -> u64 {
    let million = u64::from(Ppm::ONE.0);
    tally.errors.saturating_mul(million) / tally.requests.max(1)
}
