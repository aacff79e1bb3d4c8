//! One simulated upgrade: two services with known rates of errors and known latency, judged by
//! [`Trial`] alone.

use super::chance::{Table, binomial, poisson};
use fastrand::Rng;
use segue_control_plane::{
    analysis::Trial,
    model::{Analysis, Evidence, Policy, Ppm, Tally, Verdict},
};
use segue_proto::names::metric::LATENCY_BOUNDS_US;
use std::{sync::Arc, time::Duration};

/// A report comes in so often.
pub(crate) const BLOCK: Duration = Duration::from_millis(500);
/// The default steps: the new version's share and the hold in seconds; 100 % is the window.
pub(crate) const STEPS: [(f64, f64); 3] = [(0.05, 600.0), (0.25, 300.0), (0.5, 300.0)];
/// The default window in seconds.
const WINDOW: f64 = 1800.0;

/// Two services and the policy that compares them.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) policy: Analysis,
    /// Requests per second, both versions.
    pub(crate) rate: f64,
    /// The old version's rate of errors.
    pub(crate) old: f64,
    /// The new version's, once it is bad.
    pub(crate) new: f64,
    /// How latency is spread: old, and new once it is bad.
    pub(crate) latency: Option<(Arc<Table>, Arc<Table>)>,
    /// The step in which the new version turns bad; until then it is as the old one.
    pub(crate) bad_from: usize,
    /// From that step on both versions fail with the new one's rate.
    pub(crate) outage_from: Option<usize>,
    /// Part of the default holds and window that is simulated.
    pub(crate) pace: f64,
    /// Seconds between two looks. A *worse* stays, so in a run without difference few looks suffice.
    pub(crate) look_every: f64,
    /// Every 20 to 60 seconds one in which 30 % of all requests of both versions take ten times as
    /// long: what this takes of old and new latency.
    pub(crate) hiccups: Option<(Arc<Table>, Arc<Table>)>,
}

/// How a simulated upgrade ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// *Worse* was said; the requests of the new version since it was bad, and the seconds.
    pub(crate) worse: Option<(u64, f64)>,
    /// *Worse* was said, and not that the old version is so too.
    pub(crate) blamed: bool,
    /// Seconds after which the first step was first said to be not worse.
    pub(crate) first_not_worse: Option<f64>,
    /// Steps up while the new version was bad.
    pub(crate) steps_up_while_bad: u32,
    /// All steps and the window were gone through.
    pub(crate) finished: bool,
}

impl Scenario {
    /// Equal versions under the default policy, 1,000 requests per second.
    pub(crate) fn equal(rate_of_errors: f64) -> Self {
        Self {
            policy: Policy::default().analysis,
            rate: 1000.0,
            old: rate_of_errors,
            new: rate_of_errors,
            latency: None,
            bad_from: 0,
            outage_from: None,
            pace: 0.1,
            look_every: 10.0,
            hiccups: None,
        }
    }

    /// A new version with more errors, looked at with every report.
    pub(crate) fn worse(old: f64, new: f64) -> Self {
        Self {
            new,
            pace: 1.0,
            look_every: BLOCK.as_secs_f64(),
            ..Self::equal(old)
        }
    }

    pub(crate) fn max_drop(mut self, ppm: u32) -> Self {
        self.policy.success_rate.max_drop = Ppm(ppm);
        self
    }

    pub(crate) fn min(mut self, ppm: u32) -> Self {
        self.policy.success_rate.min = Ppm(ppm);
        self
    }

    /// Lognormal latency around 20 ms, the new version's stretched.
    pub(crate) fn latency(self, sigma: f64, stretch: f64) -> Self {
        self.latency_around(20_000.0, sigma, stretch)
    }

    /// The same around another median.
    pub(crate) fn latency_around(mut self, median_us: f64, sigma: f64, stretch: f64) -> Self {
        let table = |by: f64| Arc::new(Table::lognormal(median_us * by, sigma));
        self.latency = Some((table(1.0), table(stretch)));
        if self.hiccups.is_some() {
            self.hiccups = Some((table(10.0), table(10.0 * stretch)));
        }
        self
    }

    /// With hiccups; latency is to be said after this.
    pub(crate) fn with_hiccups(mut self) -> Self {
        let none = Arc::new(Table::lognormal(1.0, 1.0));
        self.hiccups = Some((Arc::clone(&none), none));
        self
    }

    /// The latency of the old version, or the new one once it is bad.
    fn spread(&self, bad: bool, hiccup: bool) -> Option<Latency<'_>> {
        fn of(both: &(Arc<Table>, Arc<Table>), bad: bool) -> &Table {
            if bad { &both.1 } else { &both.0 }
        }
        let slow = self.hiccups.as_ref().filter(|_| hiccup);
        let usual = of(self.latency.as_ref()?, bad);
        Some((usual, slow.map(|both| of(both, bad))))
    }

    fn is_different(&self) -> bool {
        let latency = self.latency.as_ref();
        (self.new - self.old).abs() > f64::EPSILON || latency.is_some_and(|(old, new)| old != new)
    }

    /// One upgrade.
    pub(crate) fn run(&self, seed: u64) -> Outcome {
        let mut run = Run {
            scenario: self,
            rng: Rng::with_seed(seed),
            trial: Trial::begin(&self.policy),
            bad: (0, 0.0),
            next_hiccup: 0.0,
            outcome: Outcome::default(),
        };
        for (step, (share, hold)) in STEPS.into_iter().enumerate() {
            run.trial.begin_step(&self.policy);
            if !run.step(step, share, hold * self.pace) {
                return run.outcome;
            }
        }
        run.trial.begin_step(&self.policy);
        run.outcome.finished = run.window();
        run.outcome
    }
}

struct Run<'a> {
    scenario: &'a Scenario,
    rng: Rng,
    trial: Trial,
    /// Requests and seconds of the new version since it was bad.
    bad: (u64, f64),
    /// Seconds until the next hiccup; below 0 it is under way.
    next_hiccup: f64,
    outcome: Outcome,
}

impl Run<'_> {
    /// Goes through a step: at least its hold, at most the longest wait; true where it may step up.
    fn step(&mut self, step: usize, share: f64, hold: f64) -> bool {
        let policy = &self.scenario.policy;
        let longest = policy.max_wait.as_secs_f64().max(hold);
        let block = BLOCK.as_secs_f64();
        let (mut at, mut look_at) = (0.0, 0.0);
        while at < longest {
            self.take_in(step, share);
            at += block;
            if at < look_at {
                continue;
            }
            look_at = at + self.scenario.look_every;
            if at < hold {
                look_at = look_at.min(hold);
            }
            match self.look(longest - at) {
                Verdict::Worse => return false,
                Verdict::NotWorse => {
                    if step == 0 && self.outcome.first_not_worse.is_none() {
                        self.outcome.first_not_worse = Some(at);
                    }
                    if at >= hold {
                        self.outcome.steps_up_while_bad += u32::from(self.bad.0 > 0);
                        return true;
                    }
                }
                Verdict::NotYet => {}
            }
        }
        false
    }

    fn window(&mut self) -> bool {
        let (mut at, mut look_at) = (0.0, 0.0);
        while at < WINDOW * self.scenario.pace {
            self.take_in(STEPS.len(), 1.0);
            at += BLOCK.as_secs_f64();
            if at >= look_at {
                look_at = at + self.scenario.look_every;
                if self.look(0.0) == Verdict::Worse {
                    return false;
                }
            }
        }
        self.look(0.0) != Verdict::Worse
    }

    fn look(&mut self, left: f64) -> Verdict {
        let left = Duration::from_secs_f64(left.max(0.0));
        let judgement = self.trial.judge(&self.scenario.policy, left);
        if judgement.verdict == Verdict::Worse {
            self.outcome.worse = Some(self.bad);
            let mut worse = judgement.findings.iter();
            self.outcome.blamed = worse.any(|f| f.verdict == Verdict::Worse && !f.shared);
        }
        judgement.verdict
    }

    fn take_in(&mut self, step: usize, share: f64) {
        let scenario = self.scenario;
        let outage = scenario.outage_from.is_some_and(|from| step >= from);
        let is_bad = outage || step >= scenario.bad_from;
        let old_errors = if outage { scenario.new } else { scenario.old };
        let new_errors = if is_bad { scenario.new } else { scenario.old };
        let all = scenario.rate * BLOCK.as_secs_f64();
        let hiccup = self.is_hiccup();
        let [old_latency, new_latency] = [false, is_bad].map(|bad| scenario.spread(bad, hiccup));
        let new = self.tally(all * share, new_errors, new_latency);
        let old = self.tally(all * (1.0 - share), old_errors, old_latency);
        if is_bad && scenario.is_different() {
            self.bad.0 += new.requests;
            self.bad.1 += BLOCK.as_secs_f64();
        }
        let evidence = Evidence { new, old };
        self.trial.take_in(&scenario.policy, &evidence, BLOCK);
    }

    /// The machine stumbles in this block.
    fn is_hiccup(&mut self) -> bool {
        const LENGTH: f64 = 1.0;
        if self.scenario.hiccups.is_none() {
            return false;
        }
        if self.next_hiccup <= -LENGTH {
            self.next_hiccup = 20.0 + 40.0 * self.rng.f64();
        }
        self.next_hiccup -= BLOCK.as_secs_f64();
        self.next_hiccup < 0.0
    }

    fn tally(&mut self, mean: f64, errors: f64, latency: Option<Latency<'_>>) -> Tally {
        /// The share of requests that a hiccup hits.
        const HIT: f64 = 0.3;
        let requests = poisson(&mut self.rng, mean);
        let mut tally = Tally {
            requests,
            errors: binomial(&mut self.rng, requests, errors),
            ..Tally::default()
        };
        let Some((usual, slow)) = latency else {
            return tally;
        };
        let hit = slow.map_or(0, |_| binomial(&mut self.rng, requests, HIT));
        for (table, requests) in [(usual, requests - hit), (slow.unwrap_or(usual), hit)] {
            let counts = table.draw(&mut self.rng, requests);
            for (bound, count) in LATENCY_BOUNDS_US.into_iter().zip(counts) {
                if count > 0 {
                    *tally.latency.entry(bound).or_default() += count;
                }
            }
        }
        tally
    }
}

/// A latency, and what a hiccup makes of it where there is one.
type Latency<'a> = (&'a Table, Option<&'a Table>);
