//! The fortune that shows *not worse*: anew in each step, so that what a small weight showed is not
//! taken for a large one. What was shown stays shown until the fortune is back below what it began with.

use super::number::{Micro, ln_sum, real};
use serde::{Deserialize, Serialize};

/// The mean of several fortunes, each with an alternative of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proof {
    /// `ln` of each.
    bets: Vec<Micro>,
    /// It was shown in this step, and nothing speaks against it since.
    #[serde(default)]
    shown: bool,
}

impl Proof {
    pub(super) fn begin(alternatives: usize) -> Self {
        Self {
            bets: vec![Micro::default(); alternatives],
            shown: false,
        }
    }

    /// A block's e-values, as logarithms.
    pub(super) fn bet(&mut self, alpha: f64, e_values: impl Iterator<Item = f64>) {
        for (bet, ln_e) in self.bets.iter_mut().zip(e_values) {
            *bet = Micro::floor(bet.real() + ln_e);
        }
        let ln = self.ln();
        self.shown = ln >= -alpha.ln() || (self.shown && ln >= 0.0);
    }

    /// `ln` of the fortune now.
    pub(super) fn ln(&self) -> f64 {
        let all = real(self.bets.len() as u64).max(1.0);
        ln_sum(self.bets.iter().map(|bet| bet.real())) - all.ln()
    }

    /// It was so large that the null hypothesis is rejected, and has not lost all of that since. (A
    /// fortune that wavers about the threshold would say now this, now that; that it ever got there
    /// is what is improbable.)
    pub(super) fn holds(&self) -> bool {
        self.shown
    }

    /// What it must still earn, in nats.
    pub(super) fn lacks(&self, alpha: f64) -> f64 {
        (-alpha.ln() - self.ln()).max(0.0)
    }
}
