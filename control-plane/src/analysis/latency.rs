//! `latency`: the new version's quantile against the old one's, by the share of requests above a
//! bucket's bound.
//!
//! *Worse* bets against `P_new(L > b) <= P_old(L > b / (1 + max_increase))`, at the first bound `b`
//! above the quantile allowed and at the next (the mean of both fortunes is one). The old version's
//! share above a point within a bucket is read as if the bucket's requests lay evenly on a
//! logarithmic scale. In a falling tail that is more than there are, so it errs on the side of going
//! on; and it is never less than the share above `b` itself, so two equal versions are safe
//! however their latency is spread. (A request that counts in part is worth no more than one that
//! counts with that probability: the geometric mean is not above the arithmetic.)
//!
//! *Not worse* bets against `P_new(L > b) >= P_old(L > a)`, `a` the bounds just below the old
//! quantile, `b` as many buckets above as `max_increase` holds, at least one. So where it is less
//! than a bucket (41 %), one bucket is what is shown.
//!
//! What is compared is thus the tail around the quantile, not the quantile to the microsecond.

use super::{
    alarm::{Alarm, SECONDS_AGAINST_BASELINE, SECONDS_WITH_CONTROL, alternatives, most_a_second},
    evalue::{Against, Bet, Block, Group, Null, lower_bound, upper_bound},
    forecast::{smallest, time_to},
    histogram::{BOUNDS, Spread},
    look::{Said, Scene, Span},
    number::{count, real},
    proof::Proof,
    seen::{Rise, Seen},
    success::whole_step,
    text::{Words, latency, percent, sentence},
};
use crate::model::{Finding, Ppm, Test, Verdict};
use serde::{Deserialize, Serialize};

/// Neighbouring bounds that are looked at.
const SLOTS: usize = 2;
/// Requests of the old version without which its quantile is not known well enough to bet on.
const LEAST_PAST: f64 = 100.0;
/// Against a baseline no quantile is too large that is larger by less than so many microseconds: a
/// machine that does something else for a moment, a garbage collection, another load on the same
/// instances cost that, and there is no control group that would show it.
const SLACK_US: f64 = 5_000.0;
/// The largest stretch that [`Finding::smallest_visible`] is looked for in.
const LARGEST_STRETCH: f64 = 1000.0;

/// The test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LatencyTest {
    alarm: Alarm,
    #[serde(default)]
    rise: Rise,
    proof: Proof,
}

impl LatencyTest {
    pub(super) fn begin() -> Self {
        Self {
            alarm: Alarm::begin(2),
            rise: Rise::default(),
            proof: Proof::begin(2 * SLOTS),
        }
    }

    pub(super) fn begin_step(&mut self) {
        self.alarm.begin_step();
        self.proof = Proof::begin(2 * SLOTS);
    }

    pub(super) fn take_in(&mut self, scene: &Scene<'_>, span: &Span) {
        let (new, old) = (span.new.latency.spread(), span.old.latency.spread());
        let Some(marks) = Marks::of(scene, span) else {
            return;
        };
        if new.total() <= 0.0 {
            return;
        }
        let worse: Vec<_> = (0..SLOTS).map(|slot| marks.worse(slot)).collect();
        let alpha = scene.alphas.latency;
        let most = Some(marks.most_a_second(alpha));
        self.alarm.bet(span.elapsed, most, |slot| {
            let side = worse.get(slot).copied().flatten();
            let block = side.map(|side| side.block(&new, &old));
            let limit = side.map_or(1.0, |side| side.against.rate());
            alternatives(limit).map(move |rate| match (side, block) {
                (Some(side), Some(block)) => side.bet(rate).ln_e(&block),
                _ => 0.0,
            })
        });
        let alarm = &self.alarm;
        self.rise.take_in((alarm, alpha), span, |rise| {
            let side = worse.get(alarm.leading_slot()).copied().flatten();
            marks.measure(rise, (quantile(scene), side))
        });
        let e_values: Vec<_> = (0..SLOTS)
            .map(|slot| marks.proof(slot))
            .flat_map(|side| {
                let equal = side.equal;
                let between = (equal * side.against.rate()).sqrt();
                let block = side.block(&new, &old);
                [equal, between].map(|rate| side.bet(rate).ln_e(&block))
            })
            .collect();
        self.proof.bet(scene.alphas.proof, e_values.into_iter());
    }

    pub(super) fn judge(&self, scene: &Scene<'_>) -> Said {
        let step = scene.step;
        let quantile = quantile(scene);
        let new = step.new.latency.spread();
        let old = old_spread(scene);
        let old_us = old.quantile(quantile);
        let silent = (new.total() <= 0.0 || old_us.is_none()) && scene.would_have_spoken();
        let verdict = if self.alarm.rings(scene.alphas.latency) {
            Verdict::Worse
        } else if self.proof.holds() {
            Verdict::NotWorse
        } else {
            Verdict::NotYet
        };
        let mut finding = Finding {
            test: Test::Latency,
            verdict,
            new: new.quantile_us(quantile),
            old: old_us.map(count),
            limit: old_us.map(|us| count(us * stretch(scene, step, us))),
            smallest_visible: None,
            eta: None,
            shared: false,
            text: String::new(),
        };
        let what = name(quantile);
        let silent = silent && verdict == Verdict::NotYet;
        if silent {
            finding.text = format!("{what}: no latency is reported for both versions, not judged");
        } else {
            if verdict == Verdict::NotYet {
                self.foretell(scene, &new, &mut finding);
            }
            finding.text = sentence(
                &mut finding,
                self.rise.seen(),
                &Words {
                    what: &what,
                    show: latency,
                    so_far: (step.new.requests, step.rates().0),
                },
            );
        }
        Said { finding, silent }
    }

    fn foretell(&self, scene: &Scene<'_>, new: &Spread, finding: &mut Finding) {
        let Some(marks) = Marks::of(scene, scene.step) else {
            return;
        };
        let (n_new, n_old) = scene.step.rates();
        let fastest = |sides: &mut dyn Iterator<Item = Side>| {
            sides
                .map(|side| {
                    let seen = new.above(side.new_bound);
                    let rate = seen.drawn_to(side.equal, LEAST_PAST);
                    side.bet(rate).growth(n_new, n_old)
                })
                .fold(0.0, f64::max)
        };
        let worse = |slot| marks.worse(slot);
        finding.eta = if finding.new > finding.limit {
            let missing = -scene.alphas.latency.ln() - self.alarm.ln();
            let most = marks.most_a_second(scene.alphas.latency);
            let growth = fastest(&mut (0..SLOTS).filter_map(worse));
            time_to(missing, growth.min(most))
        } else {
            let growth = fastest(&mut (0..SLOTS).map(|slot| marks.proof(slot)));
            time_to(self.proof.lacks(scene.alphas.proof), growth)
        };
        let seconds = whole_step(scene).as_secs_f64();
        let price = Alarm::price(scene.alphas.latency) + real(SLOTS as u64).ln();
        // As if the new version were the old one, stretched.
        let growth = |by: f64| {
            (0..SLOTS)
                .filter_map(worse)
                .map(|side| {
                    let rate = marks.old.above_us(side.us / by).rate().unwrap_or_default();
                    seconds * side.bet(rate).growth(n_new, n_old)
                })
                .fold(0.0, f64::max)
        };
        finding.smallest_visible = smallest((marks.stretch, LARGEST_STRETCH), price, growth)
            .map(|by| count(by * marks.quantile));
    }
}

/// Where to look, as the past says.
struct Marks {
    old: Spread,
    /// What it was like at its worst.
    worst: Spread,
    /// The baseline's error probability, where it stands for the old version.
    known: Option<f64>,
    /// The old version's quantile in microseconds.
    quantile: f64,
    stretch: f64,
}

/// One comparison.
#[derive(Clone, Copy)]
struct Side {
    null: Null,
    against: Against,
    /// The bound that the new version's requests are counted above.
    new_bound: Option<usize>,
    /// The same in microseconds.
    us: f64,
    /// What the old version's are counted above.
    old_above: Above,
    /// The share above the new version's bound that an equal version has.
    equal: f64,
}

#[derive(Clone, Copy)]
enum Above {
    Bound(Option<usize>),
    Us(f64),
}

impl Above {
    fn of(self, spread: &Spread) -> Group {
        match self {
            Self::Bound(bound) => spread.above(bound),
            Self::Us(us) => spread.above_us(us),
        }
    }
}

impl Side {
    fn block(&self, new: &Spread, old: &Spread) -> Block {
        Block {
            new: new.above(self.new_bound),
            old: self.old_above.of(old),
        }
    }

    fn bet(&self, new: f64) -> Bet {
        Bet {
            null: self.null,
            against: self.against,
            margin: 0.0,
            new,
        }
    }
}

impl Marks {
    /// None: too little of the old version is known.
    fn of(scene: &Scene<'_>, span: &Span) -> Option<Self> {
        let (old, known) = match scene.baseline_for(span) {
            Some(baseline) => (baseline.latency.spread(), Some(scene.alphas.baseline)),
            None => (scene.past.latency(), None),
        };
        if old.total() < LEAST_PAST {
            return None;
        }
        let quantile = old.quantile(quantile(scene))?;
        Some(Self {
            quantile,
            old,
            worst: scene.variation.latency(),
            known,
            stretch: stretch(scene, span, quantile),
        })
    }

    /// What a second may win on the way to *worse*.
    fn most_a_second(&self, alpha: f64) -> f64 {
        let seconds = match self.known {
            Some(_) => SECONDS_AGAINST_BASELINE,
            None => SECONDS_WITH_CONTROL,
        };
        most_a_second(alpha, seconds)
    }

    /// What a span shows of a quantile, and on this side.
    fn measure(&self, span: &Span, (quantile, side): (f64, Option<Side>)) -> Seen {
        let (new, old) = (span.new.latency.spread(), span.old.latency.spread());
        let old_us = match self.known {
            Some(_) => Some(self.quantile),
            None => old.quantile(quantile),
        };
        let detail = side.and_then(|side| {
            let share = |share: f64| percent(count(share * real(u64::from(Ppm::ONE.0))));
            let most = match side.against {
                Against::Known(rate) => Some(rate),
                Against::Old(_) => side.old_above.of(&old).rate(),
            };
            Some(format!(
                "{} of requests took more than {} (limit {})",
                share(new.above(side.new_bound).rate()?),
                latency(count(side.us)),
                share(most?),
            ))
        });
        Seen {
            new: new.quantile_us(quantile),
            old: old_us.map(count),
            limit: old_us.map(|us| count(us * self.stretch)),
            detail,
            ..Seen::default()
        }
    }

    /// None: nothing is measured so far up.
    fn worse(&self, slot: usize) -> Option<Side> {
        let allowed = self.quantile * self.stretch;
        let bound = BOUNDS.partition_point(|bound| real(*bound) < allowed) + slot;
        let us = real(*BOUNDS.get(bound)?);
        let old_above = Above::Us(us / self.stretch);
        Some(self.side(Null::NotAbove, bound, old_above))
    }

    fn proof(&self, slot: usize) -> Side {
        let buckets = (2.0 * self.stretch.log2() + 1e-9).floor().max(1.0);
        let up = usize::try_from(count(buckets)).unwrap_or(BOUNDS.len());
        let bucket = BOUNDS.partition_point(|bound| real(*bound) < self.quantile);
        let below = bucket.checked_sub(1 + slot);
        // Below the first bound the comparison is with all requests.
        let bound = below.map_or(up - 1, |below| below + up);
        self.side(Null::NotBelow, bound, Above::Bound(below))
    }

    fn side(&self, null: Null, bound: usize, old_above: Above) -> Side {
        let seen = old_above.of(&self.old);
        let against = match (self.known, null) {
            (Some(alpha), Null::NotAbove) => {
                let worst = old_above.of(&self.worst).rate().unwrap_or_default();
                Against::Known(upper_bound(seen, alpha).max(worst))
            }
            (Some(alpha), Null::NotBelow) => Against::Known(lower_bound(seen, alpha)),
            (None, _) => Against::Old(guess(seen)),
        };
        Side {
            null,
            against,
            new_bound: Some(bound),
            us: BOUNDS.get(bound).map_or(f64::MAX, |us| real(*us)),
            old_above,
            equal: guess(self.old.above(Some(bound))),
        }
    }
}

/// A share, not quite 0 where nothing was seen.
fn guess(seen: Group) -> f64 {
    seen.drawn_to(0.1, 1.0)
}

/// The quantile that the policy asks for.
pub(super) fn quantile(scene: &Scene<'_>) -> f64 {
    scene.policy.latency.quantile.fraction().clamp(0.01, 0.9999)
}

/// How latency was spread in the old version over the step, or as the baseline.
pub(super) fn old_spread(scene: &Scene<'_>) -> Spread {
    match scene.baseline_for(scene.step) {
        Some(baseline) => baseline.latency.spread(),
        None => scene.step.old.latency.spread(),
    }
}

/// What the old version's quantile may be multiplied by in this span.
fn stretch(scene: &Scene<'_>, span: &Span, quantile: f64) -> f64 {
    let asked = scene.policy.latency.max_increase.fraction();
    let slack = scene.baseline_for(span).map(|_| SLACK_US / quantile);
    1.0 + asked.max(slack.unwrap_or_default())
}

/// `p99`, `p99.9`
fn name(quantile: f64) -> String {
    let tenths = count(quantile * 1000.0);
    match tenths % 10 {
        0 => format!("p{}", tenths / 10),
        rest => format!("p{}.{rest}", tenths / 10),
    }
}
