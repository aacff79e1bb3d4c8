//! The fortune that shows *not worse*: anew in each step, so that what a small weight showed is not
//! taken for a large one. It may shrink again; the verdict is what it is now.

use super::number::{Micro, ln_sum, real};
use serde::{Deserialize, Serialize};

/// The mean of several fortunes, each with an alternative of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proof {
    /// `ln` of each.
    bets: Vec<Micro>,
}

impl Proof {
    pub(super) fn begin(alternatives: usize) -> Self {
        Self {
            bets: vec![Micro::default(); alternatives],
        }
    }

    /// A block's e-values, as logarithms.
    pub(super) fn bet(&mut self, e_values: impl Iterator<Item = f64>) {
        for (bet, ln_e) in self.bets.iter_mut().zip(e_values) {
            *bet = Micro::floor(bet.real() + ln_e);
        }
    }

    /// `ln` of the fortune now.
    pub(super) fn ln(&self) -> f64 {
        let all = real(self.bets.len() as u64).max(1.0);
        ln_sum(self.bets.iter().map(|bet| bet.real())) - all.ln()
    }

    /// It is so large that the null hypothesis is rejected.
    pub(super) fn holds(&self, alpha: f64) -> bool {
        self.ln() >= -alpha.ln()
    }

    /// What it must still earn, in nats.
    pub(super) fn lacks(&self, alpha: f64) -> f64 {
        (-alpha.ln() - self.ln()).max(0.0)
    }
}
