//! What analysis is asked, what it looks at, and what it says. Numbers are integers, so that states
//! can be compared and written down.

use super::{ErrorClasses, is_default};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Parts per million: a rate, a probability, or a ratio above or below 1.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Ppm(pub u32);

impl Ppm {
    /// 1.
    pub const ONE: Self = Self(1_000_000);

    /// As a fraction of 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 1e6
    }
}

/// `spec.analysis`, all fields filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// How often a look is written to the decision log where nothing is decided. Evidence counts
    /// as it comes in.
    pub interval: Duration,
    /// An instance counts after this time since it turned ready.
    pub warm_up: Duration,
    /// Requests that the new version must have answered in a step before a step up.
    pub min_requests: u64,
    /// How long a step waits for a verdict, from the moment it is applied.
    pub max_wait: Duration,
    /// What then.
    pub on_low_traffic: OnLowTraffic,
    /// 1 - the probability that an upgrade to an equally good version is rolled back, whole upgrade,
    /// all tests together.
    pub confidence: Ppm,
    /// What is asked of successes.
    pub success_rate: SuccessRate,
    /// What is asked of latency.
    pub latency: Latency,
    /// Metrics from elsewhere.
    pub metrics: Vec<ExtraMetric>,
}

/// `analysis.successRate`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuccessRate {
    /// The absolute floor of the share of successes.
    pub min: Ppm,
    /// How much lower than the old version's it may be (percentage points as a fraction).
    pub max_drop: Ppm,
}

/// `analysis.latency`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Which quantile.
    pub quantile: Ppm,
    /// How much larger than the old version's it may be (20 % = 200,000).
    pub max_increase: Ppm,
}

/// `analysis.onLowTraffic`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OnLowTraffic {
    /// Goes on.
    Proceed,
    /// Goes back.
    RollBack,
    /// Waits for a person.
    Pause,
}

/// `analysis.metrics[]`: a number or a judgement from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraMetric {
    /// Its name.
    pub name: String,
    /// How often it is asked for.
    pub interval: Duration,
    /// Bad answers in a row that roll back.
    pub failure_threshold: u32,
    /// Where it comes from.
    pub source: MetricSource,
}

/// Where an extra metric comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetricSource {
    /// An instant query (`/api/v1/query`) of a Prometheus server; `{{namespace}}`, `{{service}}`,
    /// `{{from}}`, `{{to}}` and `{{upgrade}}` are filled in.
    Prometheus {
        /// `http://prometheus.ops:9090`
        address: String,
        /// PromQL.
        query: String,
        /// The least value that is good, as written.
        min: Option<String>,
        /// The largest value that is good, as written.
        max: Option<String>,
    },
    /// A POST of the upgrade as JSON: 2xx is good, 4xx and 5xx bad, everything else unknown.
    Webhook {
        /// Where to.
        url: String,
        /// How long an answer may take.
        timeout: Duration,
    },
}

/// What one group of requests did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tally {
    /// Requests that ended.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requests: u64,
    /// Those that were errors.
    #[serde(default, skip_serializing_if = "is_default")]
    pub errors: u64,
    /// The errors by class, as far as known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub classes: ErrorClasses,
    /// Requests by latency bucket's upper bound in microseconds
    /// (`segue_proto::names::metric::LATENCY_BOUNDS_US`); may sum to less than `requests`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub latency: BTreeMap<u64, u64>,
}

impl Tally {
    /// Adds another span's or reporter's.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.classes.add(other.classes);
        for (bound, count) in &other.latency {
            let sum = self.latency.entry(*bound).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
}

/// What both groups did in the same seconds, seen from the same place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Evidence {
    /// The new version's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub new: Tally,
    /// The old version's control group: its sessions drawn since the upgrade began to shift
    /// traffic, or all of its requests where there is no affinity.
    #[serde(default, skip_serializing_if = "is_default")]
    pub old: Tally,
}

impl Evidence {
    /// Adds another span's.
    pub fn add(&mut self, other: &Self) {
        self.new.add(&other.new);
        self.old.add(&other.old);
    }

    /// Nothing happened.
    pub fn is_empty(&self) -> bool {
        self.new.requests == 0 && self.old.requests == 0
    }
}

/// What analysis says at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Too little is known.
    NotYet,
    /// Not worse by more than the margin.
    NotWorse,
    /// Worse by more than the margin, or below the floor.
    Worse,
}

/// All tests together at one look: *worse* where one of them says so, *not worse* where all do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The requests of the new version that counted in this step.
    pub requests: u64,
    /// The expected time to a decision at the present rate; None: unknown, or decided.
    pub eta: Option<Duration>,
    /// Test by test.
    pub findings: Vec<Finding>,
}

/// What one test says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Finding {
    /// Which test.
    pub test: Test,
    /// What it says.
    pub verdict: Verdict,
    /// The new version's measured value: an error rate in parts per million, or a quantile in
    /// microseconds.
    pub new: Option<u64>,
    /// The control group's.
    pub old: Option<u64>,
    /// What the new version's may be at most.
    pub limit: Option<u64>,
    /// The smallest value of the new version that could be told from the limit by the end of the
    /// step at the present rate.
    pub smallest_visible: Option<u64>,
    /// The expected time to a decision at the present rate.
    pub eta: Option<Duration>,
    /// The old version breaks the limit too: going back would not help.
    pub shared: bool,
    /// A sentence for people.
    pub text: String,
}

/// A test.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Test {
    /// `successRate.maxDrop`
    SuccessDrop,
    /// `successRate.min`
    SuccessFloor,
    /// `latency.maxIncrease`
    Latency,
    /// An extra metric, by name.
    Metric(String),
}
