//! Numbers to a verdict.
//!
//! What stands here counts and compares plain rates once `minRequests` are there; it makes no
//! promise about how often it is wrong. The sequential tests take its place with the same API.

use crate::model::{
    Analysis, Evidence, Finding, Judgement, MetricOutcome, Ppm, Tally, Test, Verdict,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// All evidence of one run, condensed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    whole: Evidence,
    step: Evidence,
    over: Duration,
    bad_answers: BTreeMap<String, u32>,
}

impl Trial {
    /// Nothing is known yet.
    pub fn begin(_policy: &Analysis) -> Self {
        Self {
            whole: Evidence::default(),
            step: Evidence::default(),
            over: Duration::ZERO,
            bad_answers: BTreeMap::new(),
        }
    }

    /// A further weight is applied everywhere.
    pub fn begin_step(&mut self, _policy: &Analysis) {
        self.step = Evidence::default();
        self.over = Duration::ZERO;
    }

    /// 100 % is applied everywhere.
    pub fn begin_window(&mut self, policy: &Analysis) {
        self.begin_step(policy);
    }

    /// What both groups did over a span of time.
    pub fn take_in(&mut self, _policy: &Analysis, evidence: &Evidence, over: Duration) {
        self.whole.add(evidence);
        self.step.add(evidence);
        self.over = self.over.saturating_add(over);
    }

    /// An extra metric's answer.
    pub fn take_in_metric(&mut self, _policy: &Analysis, name: &str, outcome: &MetricOutcome) {
        let bad = self.bad_answers.entry(name.to_owned()).or_default();
        match outcome {
            MetricOutcome::Good(_) => *bad = 0,
            MetricOutcome::Bad(_) => *bad = bad.saturating_add(1),
            MetricOutcome::Unknown(_) => {}
        }
    }

    /// What can be said now.
    pub fn judge(&self, policy: &Analysis, _left: Duration) -> Judgement {
        let mut findings = vec![self.success_drop(policy)];
        for metric in &policy.metrics {
            let bad = self.bad_answers.get(&metric.name).copied();
            let verdict = match bad {
                Some(bad) if bad >= metric.failure_threshold => Verdict::Worse,
                Some(0) => Verdict::NotWorse,
                _ => Verdict::NotYet,
            };
            let text = format!("{}: {} bad answers in a row", metric.name, bad.unwrap_or(0));
            findings.push(finding(Test::Metric(metric.name.clone()), verdict, text));
        }
        let verdict = if findings.iter().any(|f| f.verdict == Verdict::Worse) {
            Verdict::Worse
        } else if findings.iter().all(|f| f.verdict == Verdict::NotWorse) {
            Verdict::NotWorse
        } else {
            Verdict::NotYet
        };
        Judgement {
            verdict,
            requests: self.step.new.requests,
            eta: None,
            findings,
        }
    }

    /// The measured quantile of each group over the present step, in microseconds: new, old.
    pub fn latencies(&self, policy: &Analysis) -> (Option<u64>, Option<u64>) {
        let quantile = policy.latency.quantile;
        (
            at_quantile(&self.step.new, quantile),
            at_quantile(&self.step.old, quantile),
        )
    }

    fn success_drop(&self, policy: &Analysis) -> Finding {
        let (new, old) = (rate(&self.whole.new), rate(&self.whole.old));
        let limit = old.saturating_add(u64::from(policy.success_rate.max_drop.0));
        let enough = policy.min_requests.max(1);
        let verdict = if self.whole.new.requests >= enough && new > limit {
            Verdict::Worse
        } else if self.step.new.requests >= enough {
            Verdict::NotWorse
        } else {
            Verdict::NotYet
        };
        let text = format!(
            "errors {new} ppm against {old} ppm after {} requests (limit {limit} ppm)",
            self.step.new.requests
        );
        Finding {
            new: Some(new),
            old: Some(old),
            limit: Some(limit),
            ..finding(Test::SuccessDrop, verdict, text)
        }
    }
}

fn finding(test: Test, verdict: Verdict, text: String) -> Finding {
    Finding {
        test,
        verdict,
        new: None,
        old: None,
        limit: None,
        smallest_visible: None,
        eta: None,
        shared: false,
        text,
    }
}

/// Errors in parts per million of the requests.
fn rate(tally: &Tally) -> u64 {
    tally.errors.saturating_mul(u64::from(Ppm::ONE.0)) / tally.requests.max(1)
}

fn at_quantile(tally: &Tally, quantile: Ppm) -> Option<u64> {
    let total: u64 = tally.latency.values().sum();
    let wanted = total
        .saturating_mul(u64::from(quantile.0))
        .div_ceil(1_000_000);
    let mut seen = 0_u64;
    tally.latency.iter().find_map(|(bound, count)| {
        seen = seen.saturating_add(*count);
        (seen >= wanted && total > 0).then_some(*bound)
    })
}
