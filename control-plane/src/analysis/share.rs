//! How `1 - confidence` is split between what may wrongly say *worse*. The parts sum to 1, so the
//! whole is bounded whatever depends on what (union bound).

use crate::model::Analysis;

/// `successRate.maxDrop`
const DROP: f64 = 0.70;
/// `successRate.min`
const FLOOR: f64 = 0.10;
/// `latency.maxIncrease`
const LATENCY: f64 = 0.16;
/// The baselines measured for the time at 100 %: one rate of errors and two of slow requests.
const BASELINES: f64 = 0.04;

/// The error probabilities of an upgrade's tests.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alphas {
    pub(super) drop: f64,
    pub(super) floor: f64,
    pub(super) latency: f64,
    /// Of each baseline.
    pub(super) baseline: f64,
    /// Of *not worse*, each test and step.
    pub(super) proof: f64,
}

impl Alphas {
    pub(super) fn of(policy: &Analysis) -> Self {
        let alpha = (1.0 - policy.confidence.fraction()).clamp(1e-6, 0.5);
        Self {
            drop: DROP * alpha,
            floor: FLOOR * alpha,
            latency: LATENCY * alpha,
            baseline: BASELINES / 3.0 * alpha,
            proof: alpha,
        }
    }
}
