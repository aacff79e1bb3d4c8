//! All evidence of one run, condensed.

use super::{
    latency::{LatencyTest, old_spread, quantile},
    look::{Counts, Said, Scene, Span},
    metric::MetricTrial,
    past::Past,
    share::Alphas,
    success::{Drop, Floor},
    variation::Variation,
};
use crate::model::{
    Analysis, Evidence, ExtraMetric, Judgement, Latency, MetricOutcome, Ppm, SuccessRate, Verdict,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Blocks of few requests lose what the ratio of the groups varies by. So spans are put together
/// until the old group has so many requests, or for so long; neither depends on what they show.
const FULL_BLOCK: u64 = 20;
/// So long at most.
const LONGEST_BLOCK: Duration = Duration::from_secs(5);

/// All evidence of one run, condensed: bounded, and the same after a round trip through JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// What the tests were begun with.
    asked: Asked,
    /// The step so far.
    step: Span,
    /// Not yet bet on.
    pending: Span,
    /// The old version, in the last step in which it had traffic.
    baseline: Option<Counts>,
    #[serde(default)]
    variation: Variation,
    past: Past,
    drop: Drop,
    floor: Floor,
    latency: LatencyTest,
    metrics: BTreeMap<String, MetricTrial>,
}

/// The part of a policy on which the tests depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Asked {
    confidence: Ppm,
    success_rate: SuccessRate,
    latency: Latency,
}

impl Asked {
    fn of(policy: &Analysis) -> Self {
        Self {
            confidence: policy.confidence,
            success_rate: policy.success_rate,
            latency: policy.latency,
        }
    }
}

impl Trial {
    /// Nothing is known yet.
    pub fn begin(policy: &Analysis) -> Self {
        Self {
            asked: Asked::of(policy),
            step: Span::default(),
            pending: Span::default(),
            baseline: None,
            variation: Variation::default(),
            past: Past::default(),
            drop: Drop::begin(),
            floor: Floor::begin(),
            latency: LatencyTest::begin(),
            metrics: policy.metrics.iter().map(metric).collect(),
        }
    }

    /// A weight is applied everywhere: its step is one more of this trial, or the first of a new
    /// one.
    pub fn enter_step(trial: &mut Option<Self>, policy: &Analysis) {
        trial
            .get_or_insert_with(|| Self::begin(policy))
            .begin_step(policy);
    }

    /// A step's weight is applied everywhere, the first one's too: "not worse" is to be shown anew,
    /// "worse" remembers.
    ///
    /// At 100 % the old version has no traffic any more. What the new one does is compared with the
    /// last baseline measured, and the floor. (Where the old version still has sessions enough to be
    /// compared with, it is.)
    pub fn begin_step(&mut self, policy: &Analysis) {
        self.fit(policy);
        self.bet(policy);
        let step = std::mem::take(&mut self.step);
        if step.old.requests > 0 {
            self.baseline = Some(step.old);
        }
        self.drop.begin_step();
        self.floor.begin_step();
        self.latency.begin_step();
        for metric in self.metrics.values_mut() {
            metric.begin_step();
        }
    }

    /// Evidence of one span of time (a few hundred ms), both groups over the same seconds. Spans in
    /// which nothing was answered belong here too: rates are over all the time of a step.
    pub fn take_in(&mut self, policy: &Analysis, evidence: &Evidence, over: Duration) {
        self.fit(policy);
        self.step.add(evidence, over);
        self.pending.add(evidence, over);
        if self.block_is_full() {
            self.bet(policy);
        }
    }

    /// An extra metric's answer. One that the policy does not name is ignored.
    pub fn take_in_metric(&mut self, policy: &Analysis, name: &str, outcome: &MetricOutcome) {
        self.fit(policy);
        if let Some(metric) = self.metrics.get_mut(name) {
            metric.take_in(outcome);
        }
    }

    /// What is to be said now. `left`: what remains of the step (its hold, or the longest wait).
    pub fn judge(&self, policy: &Analysis, left: Duration) -> Judgement {
        if !self.fits(policy) {
            let mut fitted = self.clone();
            fitted.fit(policy);
            return fitted.judge(policy, left);
        }
        let scene = self.scene(policy, left);
        let mut said = vec![
            self.drop.judge(&scene),
            self.floor.judge(&scene),
            self.latency.judge(&scene),
        ];
        said.extend(self.metrics.values().map(MetricTrial::judge));
        let requests = self.step.new.requests;
        let missing = policy.min_requests.max(1).saturating_sub(requests);
        let verdict = together(&said, missing);
        Judgement {
            verdict,
            requests,
            eta: (verdict == Verdict::NotYet)
                .then(|| eta(&said, self.time_to_requests(missing)))
                .flatten(),
            findings: said.into_iter().map(|said| said.finding).collect(),
        }
    }

    /// The measured quantile of each group over the present step in microseconds, for people: new,
    /// old.
    pub fn latencies(&self, policy: &Analysis) -> (Option<u64>, Option<u64>) {
        let scene = self.scene(policy, Duration::ZERO);
        let quantile = quantile(&scene);
        (
            self.step.new.latency.spread().quantile_us(quantile),
            old_spread(&scene).quantile_us(quantile),
        )
    }

    fn block_is_full(&self) -> bool {
        let pending = &self.pending;
        pending.old.requests >= FULL_BLOCK
            || pending.elapsed >= LONGEST_BLOCK
            || (pending.lacks_old() && pending.new.requests >= FULL_BLOCK)
    }

    /// Bets on what is pending, then counts it as past.
    fn bet(&mut self, policy: &Analysis) {
        let span = std::mem::take(&mut self.pending);
        if span.new.requests > 0 {
            let scene = Scene {
                policy,
                alphas: Alphas::of(policy),
                past: &self.past,
                baseline: self.baseline.as_ref(),
                variation: &self.variation,
                step: &self.step,
                left: Duration::ZERO,
            };
            self.drop.take_in(&scene, &span);
            self.floor.take_in(&scene, &span);
            self.latency.take_in(&scene, &span);
        }
        self.past.take_in(&span.old, span.elapsed);
        self.variation.take_in(&span.old, span.elapsed);
    }

    fn scene<'a>(&'a self, policy: &'a Analysis, left: Duration) -> Scene<'a> {
        Scene {
            policy,
            alphas: Alphas::of(policy),
            past: &self.past,
            baseline: self.baseline.as_ref(),
            variation: &self.variation,
            step: &self.step,
            left,
        }
    }

    fn fits(&self, policy: &Analysis) -> bool {
        self.asked == Asked::of(policy)
            && self.metrics.len() == policy.metrics.len()
            && policy.metrics.iter().all(|metric| {
                self.metrics
                    .get(&metric.name)
                    .is_some_and(|trial| trial.is_of(metric))
            })
    }

    /// Begins those tests anew that are now asked something else.
    fn fit(&mut self, policy: &Analysis) {
        if self.fits(policy) {
            return;
        }
        let asked = Asked::of(policy);
        let was = std::mem::replace(&mut self.asked, asked);
        let other_confidence = was.confidence != asked.confidence;
        if other_confidence || was.success_rate.max_drop != asked.success_rate.max_drop {
            self.drop = Drop::begin();
        }
        if other_confidence || was.success_rate.min != asked.success_rate.min {
            self.floor = Floor::begin();
        }
        if other_confidence || was.latency != asked.latency {
            self.latency = LatencyTest::begin();
        }
        let mut before = std::mem::take(&mut self.metrics);
        self.metrics = policy
            .metrics
            .iter()
            .map(|asked| {
                let same = before
                    .remove(&asked.name)
                    .filter(|trial| trial.is_of(asked));
                same.map_or_else(|| metric(asked), |trial| (asked.name.clone(), trial))
            })
            .collect();
    }

    fn time_to_requests(&self, missing: u64) -> Option<Duration> {
        super::forecast::time_to(super::number::real(missing), self.step.rates().0)
    }
}

fn metric(metric: &ExtraMetric) -> (String, MetricTrial) {
    (metric.name.clone(), MetricTrial::begin(metric))
}

/// *Worse* where one test says so, *not worse* where all do that can speak, and there are requests
/// enough.
fn together(said: &[Said], missing: u64) -> Verdict {
    let fine = |said: &Said| said.silent || said.finding.verdict == Verdict::NotWorse;
    if said
        .iter()
        .any(|said| said.finding.verdict == Verdict::Worse)
    {
        Verdict::Worse
    } else if missing == 0 && said.iter().all(fine) {
        Verdict::NotWorse
    } else {
        Verdict::NotYet
    }
}

/// A decision comes when the first test that is on its way to *worse* gets there; without one,
/// when the last test that is waited for decides, and the requests are there.
fn eta(said: &[Said], requests: Option<Duration>) -> Option<Duration> {
    let undecided = |said: &&Said| !said.silent && said.finding.verdict == Verdict::NotYet;
    let bad = |said: &&Said| said.finding.new > said.finding.limit;
    let worse = said.iter().filter(undecided).filter(bad);
    if let Some(eta) = worse.filter_map(|said| said.finding.eta).min() {
        return Some(eta);
    }
    said.iter()
        .filter(undecided)
        .map(|said| said.finding.eta)
        .chain([requests])
        .try_fold(Duration::ZERO, |longest, eta| Some(longest.max(eta?)))
}
