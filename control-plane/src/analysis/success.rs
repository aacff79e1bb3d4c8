//! `successRate`: how much lower than the old version's the new one's share of successes may be, and
//! how low at all.

use super::{
    alarm::{Alarm, SECONDS_AGAINST_BASELINE, alternatives, most_a_second},
    evalue::{Against, Bet, Block, Group, Null, lower_bound, upper_bound},
    forecast::{smallest, time_to},
    look::{Said, Scene, Span},
    number::{count, real},
    proof::Proof,
    seen::{Rise, Seen},
    text::{Words, percent, sentence},
};
use crate::model::{Finding, Ppm, Test, Verdict};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// *Not worse* can't be shown for a margin of 0: two versions that are the same are told from a
/// difference of 0 by no number of requests. What is shown is that the new version fails at most this
/// much more, 0.1 percentage points, or half as often again as the old one, whichever is more.
/// *Worse* means the margin of the policy itself.
pub(super) const LEAST_PROVABLE_DROP: f64 = 0.001;

/// Requests that the estimate of the old version's rate stands for in the new one's, so that the
/// first error is not taken for 100 %.
const WEIGHT_OF_OLD: f64 = 20.0;

const NO_OLD_TRAFFIC: &str =
    "errors: the old version has no traffic to compare with; the floor alone judges";

/// `successRate.maxDrop`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Drop {
    alarm: Alarm,
    #[serde(default)]
    rise: Rise,
    proof: Proof,
}

impl Drop {
    pub(super) fn begin() -> Self {
        Self {
            alarm: Alarm::begin(1),
            rise: Rise::default(),
            proof: Proof::begin(2),
        }
    }

    pub(super) fn begin_step(&mut self) {
        self.alarm.begin_step();
        self.proof = Proof::begin(2);
    }

    pub(super) fn take_in(&mut self, scene: &Scene<'_>, span: &Span) {
        let block = span.errors();
        let sides = Sides::of(scene, span);
        let alpha = scene.alphas.drop;
        self.alarm
            .bet(span.elapsed, sides.most_a_second(alpha), |_| {
                alternatives(sides.worse.rate() + sides.margin)
                    .map(|new| sides.worse_bet(new).ln_e(&block))
            });
        self.rise
            .take_in((&self.alarm, alpha), &span.without_latency(), |rise| {
                sides.measure(rise)
            });
        let rate = sides.estimate;
        let likely = [rate, rate + sides.provable / 2.0];
        self.proof.bet(
            scene.alphas.proof,
            likely
                .into_iter()
                .map(|new| sides.proof_bet(new).ln_e(&block)),
        );
    }

    pub(super) fn judge(&self, scene: &Scene<'_>) -> Said {
        let step = scene.step;
        let sides = Sides::of(scene, step);
        let measured = sides.measure(step);
        let silent = measured.old.is_none() && scene.would_have_spoken();
        let new = step.new.errors();
        let verdict = if self.alarm.rings(scene.alphas.drop) {
            Verdict::Worse
        } else if self.proof.holds() {
            Verdict::NotWorse
        } else {
            Verdict::NotYet
        };
        let mut finding = Finding {
            test: Test::SuccessDrop,
            verdict,
            new: measured.new,
            old: measured.old,
            limit: measured.limit,
            smallest_visible: None,
            eta: None,
            shared: false,
            text: String::new(),
        };
        if silent && verdict != Verdict::Worse {
            finding.verdict = Verdict::NotYet;
            NO_OLD_TRAFFIC.clone_into(&mut finding.text);
        } else {
            if verdict == Verdict::NotYet {
                self.foretell(scene, &sides, new, &mut finding);
            }
            finding.text = sentence(
                &mut finding,
                self.rise.seen(),
                &Words {
                    what: "errors",
                    show: percent,
                    so_far: (step.new.requests, step.rates().0),
                },
            );
        }
        let silent = silent && finding.verdict == Verdict::NotYet;
        Said { finding, silent }
    }

    fn foretell(&self, scene: &Scene<'_>, sides: &Sides, new: Group, finding: &mut Finding) {
        let (n_new, n_old) = scene.step.rates();
        let rate = new.drawn_to(sides.estimate, WEIGHT_OF_OLD);
        let missing = -scene.alphas.drop.ln() - self.alarm.ln();
        finding.eta = if rate > sides.estimate + sides.margin {
            let most = sides.most_a_second(scene.alphas.drop);
            let growth = sides.worse_bet(rate).growth(n_new, n_old);
            time_to(missing, growth.min(most.unwrap_or(f64::INFINITY)))
        } else {
            let growth = sides.proof_bet(rate).growth(n_new, n_old);
            time_to(self.proof.lacks(scene.alphas.proof), growth)
        };
        let seconds = whole_step(scene).as_secs_f64();
        let low = sides.worse.rate() + sides.margin;
        finding.smallest_visible = smallest((low, 1.0), Alarm::price(scene.alphas.drop), |new| {
            seconds * sides.worse_bet(new).growth(n_new, n_old)
        })
        .map(ppm);
    }
}

/// What the new version's errors are compared with.
struct Sides {
    /// For *worse*.
    worse: Against,
    /// For *not worse*.
    proof: Against,
    /// The best guess of the old version's rate.
    estimate: f64,
    /// What the old version did, where a baseline stands for it.
    baseline: Option<Group>,
    margin: f64,
    /// The margin of *not worse*.
    provable: f64,
}

impl Sides {
    fn of(scene: &Scene<'_>, span: &Span) -> Self {
        let margin = scene.policy.success_rate.max_drop.fraction().min(1.0);
        let baseline = scene.baseline_for(span).map(super::look::Counts::errors);
        let (worse, proof, estimate) = if let Some(seen) = baseline {
            let most = upper_bound(seen, scene.alphas.baseline);
            (
                Against::Known(most.max(scene.variation.errors())),
                Against::Known(lower_bound(seen, scene.alphas.baseline)),
                seen.rate().unwrap_or_default(),
            )
        } else {
            let rate = scene.past.error_rate();
            (Against::Old(rate), Against::Old(rate), rate)
        };
        Self {
            worse,
            proof,
            estimate,
            baseline,
            margin,
            provable: margin.max(LEAST_PROVABLE_DROP).max(estimate / 2.0),
        }
    }

    /// What is measured over a span.
    fn measure(&self, span: &Span) -> Seen {
        let old = self.baseline.unwrap_or_else(|| span.old.errors()).rate();
        let compared = match self.worse {
            Against::Known(rate) => Some(rate),
            Against::Old(_) => old,
        };
        Seen {
            new: span.new.errors().rate().map(ppm),
            old: old.map(ppm),
            limit: compared.map(|rate| ppm(rate + self.margin)),
            ..Seen::default()
        }
    }

    /// Beside a control group one second may decide: errors are to be acted upon at once, and what both
    /// versions suffer is seen in both.
    fn most_a_second(&self, alpha: f64) -> Option<f64> {
        self.baseline
            .map(|_| most_a_second(alpha, SECONDS_AGAINST_BASELINE))
    }

    fn worse_bet(&self, new: f64) -> Bet {
        Bet {
            null: Null::NotAbove,
            against: self.worse,
            margin: self.margin,
            new,
        }
    }

    fn proof_bet(&self, new: f64) -> Bet {
        Bet {
            null: Null::NotBelow,
            against: self.proof,
            margin: self.provable,
            new,
        }
    }
}

/// `successRate.min`. *Not worse* asks for no proof here: only that what was measured in the step is
/// not below the floor, since the distance of a good service to its floor is its owner's business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Floor {
    new: Alarm,
    #[serde(default)]
    rise: Rise,
    /// The same asked of the old version.
    old: Alarm,
}

impl Floor {
    pub(super) fn begin() -> Self {
        Self {
            new: Alarm::begin(1),
            rise: Rise::default(),
            old: Alarm::begin(1),
        }
    }

    pub(super) fn begin_step(&mut self) {
        self.new.begin_step();
        self.old.begin_step();
    }

    pub(super) fn take_in(&mut self, scene: &Scene<'_>, span: &Span) {
        let limit = limit(scene);
        let alpha = scene.alphas.floor;
        let most = most_to_floor(scene, span);
        for (alarm, group) in [(&mut self.new, &span.new), (&mut self.old, &span.old)] {
            let block = Block {
                new: group.errors(),
                old: Group::default(),
            };
            alarm.bet(span.elapsed, most, |_| {
                alternatives(limit).map(|rate| bet(limit, rate).ln_e(&block))
            });
        }
        let measure = |rise: &Span| Seen {
            new: rise.new.errors().rate().map(ppm),
            old: rise.old.errors().rate().map(ppm),
            limit: Some(ppm(limit)),
            ..Seen::default()
        };
        self.rise
            .take_in((&self.new, alpha), &span.without_latency(), measure);
    }

    pub(super) fn judge(&self, scene: &Scene<'_>) -> Said {
        let step = scene.step;
        let limit = limit(scene);
        let new = step.new.errors();
        let old = step.old.errors().rate();
        let verdict = match new.rate() {
            _ if self.new.rings(scene.alphas.floor) => Verdict::Worse,
            Some(rate) if rate <= limit => Verdict::NotWorse,
            _ => Verdict::NotYet,
        };
        let mut finding = Finding {
            test: Test::SuccessFloor,
            verdict,
            new: new.rate().map(ppm),
            old: old.map(ppm),
            limit: Some(ppm(limit)),
            smallest_visible: None,
            eta: None,
            shared: verdict == Verdict::Worse && self.is_shared(scene, limit),
            text: String::new(),
        };
        let (n_new, _) = step.rates();
        if verdict == Verdict::NotYet {
            let rate = new.drawn_to(scene.past.error_rate(), WEIGHT_OF_OLD);
            let missing = -scene.alphas.floor.ln() - self.new.ln();
            let most = most_to_floor(scene, step).unwrap_or(f64::INFINITY);
            finding.eta = time_to(missing, bet(limit, rate).growth(n_new, 0.0).min(most));
        }
        if verdict != Verdict::Worse {
            let seconds = whole_step(scene).as_secs_f64();
            finding.smallest_visible =
                smallest((limit, 1.0), Alarm::price(scene.alphas.floor), |rate| {
                    seconds * bet(limit, rate).growth(n_new, 0.0)
                })
                .map(ppm);
        }
        finding.text = sentence(
            &mut finding,
            self.rise.seen(),
            &Words {
                what: "errors by the floor",
                show: percent,
                so_far: (step.new.requests, n_new),
            },
        );
        Said {
            finding,
            silent: false,
        }
    }

    /// The old version is below the floor too: by the same test, or by what was measured in the last
    /// seconds, in the step, or as the baseline. The two go bad together, so the first sign counts.
    fn is_shared(&self, scene: &Scene<'_>, limit: f64) -> bool {
        let just_now = scene.past.errors_just_now();
        let measured = [
            Some(just_now).filter(|group| group.requests >= WEIGHT_OF_OLD),
            Some(scene.step.old.errors()),
            scene
                .baseline_for(scene.step)
                .map(super::look::Counts::errors),
        ];
        self.old.rings(scene.alphas.floor)
            || measured
                .into_iter()
                .flatten()
                .filter_map(Group::rate)
                .any(|rate| rate > limit)
    }
}

/// The largest rate of errors that the floor allows.
fn limit(scene: &Scene<'_>) -> f64 {
    1.0 - scene.policy.success_rate.min.fraction().min(1.0)
}

/// Without a control group, what a second may win: nobody sees whether the old version suffers it too.
fn most_to_floor(scene: &Scene<'_>, span: &Span) -> Option<f64> {
    span.lacks_old()
        .then(|| most_a_second(scene.alphas.floor, SECONDS_AGAINST_BASELINE))
}

fn bet(limit: f64, new: f64) -> Bet {
    Bet {
        null: Null::NotAbove,
        against: Against::Known(limit),
        margin: 0.0,
        new,
    }
}

/// The step from its beginning to its end.
pub(super) fn whole_step(scene: &Scene<'_>) -> Duration {
    scene.step.elapsed.saturating_add(scene.left)
}

fn ppm(rate: f64) -> u64 {
    count(rate.clamp(0.0, 1.0) * real(u64::from(Ppm::ONE.0)))
}
