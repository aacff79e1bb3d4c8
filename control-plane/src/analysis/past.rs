//! What the old version did lately: where bets come from. It decides how much is won, never what is
//! true, so it may forget and guess.

use super::{
    evalue::Group,
    histogram::{Fading, Spread},
    look::Counts,
    number::{Micro, real},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// After so many seconds a request counts half.
const HALF_LIFE: f64 = 120.0;
/// The same where *now* is asked for.
const SHORT_HALF_LIFE: f64 = 5.0;
/// The rate of errors before anything is known, as if so many requests had shown it.
const PRIOR: (f64, f64) = (0.001, 100.0);

/// The old version's past.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Past {
    lately: Faded,
    just_now: Faded,
    latency: Fading,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Faded {
    requests: Micro,
    errors: Micro,
}

impl Faded {
    fn add(&mut self, kept: f64, counts: &Counts) {
        let sum = |old: Micro, new: u64| Micro::floor(old.real() * kept + real(new));
        self.requests = sum(self.requests, counts.requests);
        self.errors = sum(self.errors, counts.errors);
    }

    fn group(self) -> Group {
        Group {
            requests: self.requests.real(),
            bad: self.errors.real(),
        }
    }
}

impl Past {
    /// A block that is no longer to be bet on.
    pub(super) fn take_in(&mut self, old: &Counts, over: Duration) {
        let kept = |half_life: f64| (-over.as_secs_f64() / half_life).exp2();
        self.lately.add(kept(HALF_LIFE), old);
        self.just_now.add(kept(SHORT_HALF_LIFE), old);
        self.latency.add(kept(HALF_LIFE), &old.latency.spread());
    }

    /// The rate of errors to expect.
    pub(super) fn error_rate(&self) -> f64 {
        let (rate, weight) = PRIOR;
        self.lately.group().drawn_to(rate, weight)
    }

    /// The errors of the last seconds.
    pub(super) fn errors_just_now(&self) -> Group {
        self.just_now.group()
    }

    /// How latency was spread.
    pub(super) fn latency(&self) -> Spread {
        self.latency.spread()
    }
}
