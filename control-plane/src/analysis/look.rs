//! What the tests look at.

use super::{
    evalue::{Block, Group},
    histogram::Histogram,
    number::real,
    past::Past,
    share::Alphas,
    variation::Variation,
};
use crate::model::{Analysis, Evidence, Tally};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A group's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) requests: u64,
    pub(super) errors: u64,
    pub(super) latency: Histogram,
}

impl Counts {
    /// Adds a tally; errors beyond its requests are none.
    pub(super) fn add(&mut self, tally: &Tally) {
        self.requests = self.requests.saturating_add(tally.requests);
        let errors = tally.errors.min(tally.requests);
        self.errors = self.errors.saturating_add(errors);
        self.latency.add(&tally.latency);
    }

    /// Adds another span's.
    pub(super) fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.latency.merge(&other.latency);
    }

    /// As a group of which the bad ones are errors.
    pub(super) fn errors(&self) -> Group {
        Group::new(self.requests, self.errors)
    }
}

/// Both groups over the same span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) elapsed: Duration,
    pub(super) new: Counts,
    pub(super) old: Counts,
}

impl Span {
    pub(super) fn add(&mut self, evidence: &Evidence, over: Duration) {
        self.elapsed = self.elapsed.saturating_add(over);
        self.new.add(&evidence.new);
        self.old.add(&evidence.old);
    }

    /// Adds another span.
    pub(super) fn merge(&mut self, other: &Self) {
        self.elapsed = self.elapsed.saturating_add(other.elapsed);
        self.new.merge(&other.new);
        self.old.merge(&other.old);
    }

    /// Without latency, which is most of what it holds.
    pub(super) fn without_latency(&self) -> Self {
        let counts = |counts: &Counts| Counts {
            requests: counts.requests,
            errors: counts.errors,
            ..Counts::default()
        };
        Self {
            elapsed: self.elapsed,
            new: counts(&self.new),
            old: counts(&self.old),
        }
    }

    /// As a block of which the bad ones are errors.
    pub(super) fn errors(&self) -> Block {
        Block {
            new: self.new.errors(),
            old: self.old.errors(),
        }
    }

    /// Requests per second, new and old; 0 where no time has passed.
    pub(super) fn rates(&self) -> (f64, f64) {
        let seconds = self.elapsed.as_secs_f64();
        let rate = |requests: u64| {
            if seconds > 0.0 {
                real(requests) / seconds
            } else {
                0.0
            }
        };
        (rate(self.new.requests), rate(self.old.requests))
    }

    /// The old group is too small beside the new one to be compared with.
    pub(super) fn lacks_old(&self) -> bool {
        const SMALLEST_PART: u64 = 20;
        self.old.requests.saturating_mul(SMALLEST_PART) < self.new.requests
    }
}

/// What all tests see: the policy, what was before the present block, and the step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene<'a> {
    pub(super) policy: &'a Analysis,
    pub(super) alphas: Alphas,
    pub(super) past: &'a Past,
    pub(super) baseline: Option<&'a Counts>,
    /// The old version's, over the upgrade.
    pub(super) variation: &'a Variation,
    pub(super) step: &'a Span,
    /// What remains of the step; zero where nobody asks.
    pub(super) left: Duration,
}

impl Scene<'_> {
    /// A span's new group is to be compared with this known baseline.
    pub(super) fn baseline_for(&self, span: &Span) -> Option<&Counts> {
        self.baseline.filter(|_| span.lacks_old())
    }

    /// The step has run long enough for a group that shows nothing to be one that reports nothing.
    pub(super) fn would_have_spoken(&self) -> bool {
        const LONG_ENOUGH: Duration = Duration::from_secs(10);
        self.step.new.requests > 0 && self.step.elapsed >= LONG_ENOUGH
    }
}

/// What a test says.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) finding: crate::model::Finding,
    /// It can't say anything, so nothing waits for it.
    pub(super) silent: bool,
}
