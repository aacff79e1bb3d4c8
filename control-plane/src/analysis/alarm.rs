//! The fortune that shows *worse*.
//!
//! A mixture over alternatives (how bad) and over the moments at which a regression may begin (how
//! late): a share of the capital of 1 is bet from the start, a share when each step begins, and the
//! rest bit by bit as time goes by. All that is bet on one alternative is one number, whenever it was
//! put down, since the bet depends on the past alone: `S <- (S + share of this moment) E`. So a
//! regression that begins late is not held up by what a good beginning lost, and the state is
//! bounded. (A weighted Shiryaev-Roberts e-process: Shin, Ramdas, Rinaldo 2024.)
//!
//! Requests of one second may share its fate: a machine that stumbles makes all of them slow, and what
//! looks like a hundred witnesses is one. Where that would do harm, what one second may win is limited
//! to a part of what makes the alarm ring ([`most_a_second`]), so that so many bad seconds are needed.
//! An e-variable that is cut off from above is one: its expectation only falls. And what is left to win
//! depends on the past alone.

use super::number::{Micro, ln_sum, real};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Bet from the start.
const AT_THE_START: f64 = 0.6;
/// Bet when steps begin: step j's part of it is `1/(j (j+1))`.
const AT_STEPS: f64 = 0.25;
/// Bet bit by bit.
const IN_TIME: f64 = 1.0 - AT_THE_START - AT_STEPS;
/// After so many seconds `ln 2` shares of the last have been put down.
const SLOWNESS: f64 = 60.0;

/// The alternatives: where between the limit (0) and 1 (1) on a logarithmic scale, and the share of
/// the capital. Half of them lie within ten times the limit, where most regressions are.
const ALTERNATIVES: [(f64, f64); 7] = [
    (0.04, 0.05),
    (0.11, 0.20),
    (0.21, 0.20),
    (0.33, 0.25),
    (0.45, 0.15),
    (0.65, 0.10),
    (0.95, 0.05),
];

/// Where both versions are seen in the same seconds, and one may stumble without the other: latency.
pub(super) const SECONDS_WITH_CONTROL: f64 = 3.0;
/// Where a baseline stands for the old version: its own bad seconds are not seen any more.
pub(super) const SECONDS_AGAINST_BASELINE: f64 = 8.0;

/// What a second may win, in nats, so that so many are needed until the alarm rings.
pub(super) fn most_a_second(alpha: f64, seconds: f64) -> f64 {
    -alpha.ln() / seconds
}

/// The rates bet on for a limit.
pub(super) fn alternatives(limit: f64) -> impl Iterator<Item = f64> {
    let ln_limit = limit.clamp(1e-7, 1.0).ln();
    ALTERNATIVES
        .iter()
        .map(move |(place, _)| (ln_limit * (1.0 - place)).exp())
}

/// A fortune, or the mean of several ("slots") that are bet alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Alarm {
    /// `ln` of what is bet on each alternative, slot by slot.
    bets: Vec<Micro>,
    /// How long it has run.
    clock: Duration,
    /// Steps that began.
    steps: u32,
    /// `ln` of the largest it ever was.
    peak: Micro,
    /// The part of what a second may win that is left; it fills up in a second.
    #[serde(default)]
    left: Micro,
}

impl Alarm {
    pub(super) fn begin(slots: u32) -> Self {
        let share = AT_THE_START / f64::from(slots.max(1));
        let one = |(_, weight): &(f64, f64)| Micro::floor((share * weight).ln());
        Self {
            bets: (0..slots)
                .flat_map(|_| ALTERNATIVES.iter().map(one))
                .collect(),
            clock: Duration::ZERO,
            steps: 0,
            peak: Micro::floor(AT_THE_START.ln()),
            left: Micro::floor(1.0),
        }
    }

    /// A step begins, and with it perhaps a regression.
    pub(super) fn begin_step(&mut self) {
        self.steps = self.steps.saturating_add(1);
        let step = f64::from(self.steps);
        self.put_down(AT_STEPS / (step * (step + 1.0)));
    }

    /// A block that took so long, of which a second may win `most`. `e_values` makes of a slot's number
    /// the e-value of each alternative, in their order, as a logarithm.
    pub(super) fn bet<I>(
        &mut self,
        over: Duration,
        most: Option<f64>,
        e_values: impl Fn(usize) -> I,
    ) where
        I: Iterator<Item = f64>,
    {
        let before = self.unspent();
        self.clock = self.clock.saturating_add(over);
        self.put_down(before - self.unspent());
        let left = (self.left.real() + over.as_secs_f64()).min(1.0);
        let (room, mut won) = (most.map_or(f64::INFINITY, |most| most * left), 0.0f64);
        for (slot, bets) in self.bets.chunks_mut(ALTERNATIVES.len()).enumerate() {
            for (bet, ln_e) in bets.iter_mut().zip(e_values(slot)) {
                let ln_e = ln_e.min(room);
                won = won.max(ln_e);
                *bet = Micro::floor(bet.real() + ln_e);
            }
        }
        self.left = Micro::floor(most.map_or(left, |most| (left - won / most).max(0.0)));
        self.peak = self.peak.max(Micro::floor(self.ln()));
    }

    /// `ln` of the fortune now.
    pub(super) fn ln(&self) -> f64 {
        ln_sum(self.bets.iter().map(|bet| bet.real()))
    }

    /// The slot with most of the fortune.
    pub(super) fn leading_slot(&self) -> usize {
        let fortunes = self
            .bets
            .chunks(ALTERNATIVES.len())
            .map(|slot| ln_sum(slot.iter().map(|bet| bet.real())));
        let largest = fortunes.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        largest.map_or(0, |(slot, _)| slot)
    }

    /// It was once so large that the null hypothesis is rejected.
    pub(super) fn rings(&self, alpha: f64) -> bool {
        self.peak.real() >= -alpha.ln()
    }

    /// What a regression that begins with a step must earn until the alarm rings, in nats, where one
    /// of the alternatives fits.
    pub(super) fn price(alpha: f64) -> f64 {
        const ONE_OF: f64 = 5.0;
        -alpha.ln() + (ONE_OF / AT_THE_START).ln()
    }

    /// The part of the capital still to be put down bit by bit. It falls so slowly that a regression
    /// after a day costs a few errors more than one after a minute.
    fn unspent(&self) -> f64 {
        IN_TIME / (1.0 + (self.clock.as_secs_f64() / SLOWNESS).ln_1p())
    }

    fn put_down(&mut self, capital: f64) {
        if capital <= 0.0 {
            return;
        }
        let slots = self.bets.len() / ALTERNATIVES.len();
        let share = capital / real(slots.max(1) as u64);
        for (bet, (_, weight)) in self.bets.iter_mut().zip(ALTERNATIVES.iter().cycle()) {
            let (was, more) = (bet.real(), (share * weight).ln());
            let sum = was.max(more) + (-(was - more).abs()).exp().ln_1p();
            *bet = Micro::floor(sum);
        }
    }
}
