//! Numbers as states keep them.

use serde::{Deserialize, Serialize};

/// A count as a real number; beyond 2^53 the nearest one.
#[expect(
    clippy::cast_precision_loss,
    reason = "a relative error of 1e-16 in a count is none"
)]
pub(super) fn real(count: u64) -> f64 {
    count as f64
}

/// The nearest count; 0 for what is none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and takes NaN for 0"
)]
pub(super) fn count(real: f64) -> u64 {
    real.round() as u64
}

/// A real number with six decimals, kept as an integer: it survives JSON to the last bit, and is
/// never NaN or infinite.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub(super) struct Micro(i64);

impl Micro {
    /// The largest that is not above `real`, so that rounding never adds to a fortune.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "`as` saturates, and takes NaN for 0"
    )]
    pub(super) fn floor(real: f64) -> Self {
        Self((real * 1e6).floor() as i64)
    }

    /// Back.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a relative error of 1e-16 is none"
    )]
    pub(super) fn real(self) -> f64 {
        self.0 as f64 / 1e6
    }
}

/// `ln(sum of e^x)`, without overflow.
pub(super) fn ln_sum(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let top = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    if top == f64::NEG_INFINITY {
        return top;
    }
    top + logs.map(|x| (x - top).exp()).sum::<f64>().ln()
}
