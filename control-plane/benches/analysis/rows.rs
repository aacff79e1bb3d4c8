//! The situations, and what is asked of the analysis in each.

use super::{
    chance::real,
    simulate::{BLOCK, Outcome, Scenario},
};
use segue_control_plane::model::Ppm;
use std::{cmp::Ordering, time::Duration};

/// What must hold.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Demand {
    /// Rolled back in fewer than 1 % of the upgrades (1 - confidence).
    RarelyRolledBack,
    /// The old version is never said to be the better one in more than 1 % of the upgrades.
    RarelyBlamed,
    /// At the median caught within so many requests of the new version.
    CaughtWithin(u64),
    /// Always caught, and stepped up in at most 1 % of the upgrades.
    AlwaysCaught,
    /// Stepped up in at most 1 % of the upgrades.
    RarelySteppedUp,
    /// Neither rolled back nor stepped up, ever.
    NeverGuessed,
    /// Always gets to the end, but for 1 %.
    Finishes,
}

/// A situation.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) scenario: Scenario,
    pub(crate) demand: Demand,
}

fn row(name: &'static str, scenario: Scenario, demand: Demand) -> Row {
    Row {
        name,
        scenario,
        demand,
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Row> {
    let mut rows = without_difference();
    rows.extend(with_more_errors());
    rows.extend(with_slower_answers());
    rows.extend(at_full_weight());
    rows.extend(at_other_rates());
    rows
}

fn without_difference() -> Vec<Row> {
    use Demand::{RarelyBlamed, RarelyRolledBack};
    let equal = Scenario::equal;
    let at_margin = Scenario {
        new: 0.006,
        ..equal(0.001).min(0)
    };
    let mut at_margin = at_margin;
    at_margin.policy.max_wait = Duration::from_secs(300);
    let outage = Scenario {
        new: 0.2,
        bad_from: 3,
        outage_from: Some(1),
        look_every: BLOCK.as_secs_f64(),
        ..equal(0.001)
    };
    vec![
        row("equal, errors 0.1 %", equal(0.001), RarelyRolledBack),
        row(
            "equal, errors 1 % (min 95)",
            equal(0.01).min(950_000),
            RarelyRolledBack,
        ),
        row(
            "equal, 0.1 %, maxDrop 0",
            equal(0.001).max_drop(0),
            RarelyRolledBack,
        ),
        row(
            "equal, 1 %, maxDrop 0 (min 95)",
            equal(0.01).max_drop(0).min(950_000),
            RarelyRolledBack,
        ),
        row(
            "equal, latency sigma 0.6",
            equal(0.001).latency(0.6, 1.0),
            RarelyRolledBack,
        ),
        row(
            "equal, latency sigma 1.2",
            equal(0.001).latency(1.2, 1.0),
            RarelyRolledBack,
        ),
        row(
            "worse by just the margin (min 0)",
            at_margin,
            RarelyRolledBack,
        ),
        row(
            "both fail alike (20 %) from step 2 on",
            outage,
            RarelyBlamed,
        ),
    ]
}

fn with_more_errors() -> Vec<Row> {
    use Demand::{AlwaysCaught, CaughtWithin};
    let worse = Scenario::worse;
    let late = |bad_from, scenario| Scenario {
        bad_from,
        pace: 0.5,
        ..scenario
    };
    vec![
        row(
            "0.1 % -> 1 %, maxDrop 0",
            worse(0.001, 0.01).max_drop(0),
            CaughtWithin(600),
        ),
        row("0.1 % -> 1 %", worse(0.001, 0.01), CaughtWithin(6000)),
        row(
            "0.1 % -> 1 %, drop alone (min 0)",
            worse(0.001, 0.01).min(0),
            CaughtWithin(6000),
        ),
        row("0.1 % -> 5 %", worse(0.001, 0.05), CaughtWithin(150)),
        row("0.1 % -> 100 %", worse(0.001, 1.0), CaughtWithin(50)),
        row(
            "0.1 % -> 1 % in step 3",
            late(2, worse(0.001, 0.01)),
            AlwaysCaught,
        ),
        row(
            "0.1 % -> 5 % in step 3",
            late(2, worse(0.001, 0.05)),
            AlwaysCaught,
        ),
        row(
            "0.1 % -> 1 % at 100 %",
            late(3, worse(0.001, 0.01)),
            AlwaysCaught,
        ),
    ]
}

fn with_slower_answers() -> Vec<Row> {
    use Demand::AlwaysCaught;
    let slower = |sigma, by| Scenario::worse(0.001, 0.001).latency(sigma, by);
    vec![
        row("latency x1.5, sigma 0.6", slower(0.6, 1.5), AlwaysCaught),
        row("latency x2, sigma 0.6", slower(0.6, 2.0), AlwaysCaught),
        row("latency x2, sigma 1.2", slower(1.2, 2.0), AlwaysCaught),
    ]
}

/// Where the old version has no traffic any more, and what was measured stands for it.
fn at_full_weight() -> Vec<Row> {
    use Demand::{AlwaysCaught, CaughtWithin, RarelyRolledBack};
    let slower = |by| Scenario {
        bad_from: 3,
        look_every: BLOCK.as_secs_f64(),
        ..Scenario::equal(0.001).latency(0.6, by)
    };
    let hiccups = |rate| Scenario {
        rate,
        pace: 0.2,
        ..Scenario::equal(0.001).with_hiccups()
    };
    vec![
        row(
            "equal, hiccups",
            hiccups(1000.0).latency(0.6, 1.0),
            RarelyRolledBack,
        ),
        row(
            "equal, hiccups, 85 requests/s",
            hiccups(85.0).latency(0.6, 1.0),
            RarelyRolledBack,
        ),
        row(
            "equal, hiccups, 85 requests/s of 2 ms, p90",
            p90(hiccups(85.0).latency_around(2000.0, 0.6, 1.0)),
            RarelyRolledBack,
        ),
        row("latency x1.15 at 100 %", slower(1.15), RarelyRolledBack),
        row("latency x2 at 100 %", slower(2.0), AlwaysCaught),
        row(
            "latency x2 at 100 %, hiccups, p90",
            Scenario {
                bad_from: 3,
                look_every: BLOCK.as_secs_f64(),
                ..p90(hiccups(1000.0).latency(0.6, 2.0))
            },
            AlwaysCaught,
        ),
        row(
            "0.1 % -> 5 % at 100 %",
            Scenario {
                bad_from: 3,
                pace: 0.2,
                ..Scenario::worse(0.001, 0.05)
            },
            CaughtWithin(15_000),
        ),
    ]
}

fn p90(mut scenario: Scenario) -> Scenario {
    scenario.policy.latency.quantile = Ppm(900_000);
    scenario
}

fn at_other_rates() -> Vec<Row> {
    use Demand::{CaughtWithin, Finishes, NeverGuessed, RarelySteppedUp};
    let at = |rate, scenario: Scenario| Scenario {
        rate,
        pace: 1.0,
        look_every: 5.0,
        ..scenario
    };
    let often = |rate| Scenario {
        rate,
        look_every: 1.0,
        ..Scenario::equal(0.001).latency(0.6, 1.0)
    };
    vec![
        row(
            "4 requests/s, equal",
            at(4.0, Scenario::equal(0.001)),
            NeverGuessed,
        ),
        row(
            "4 requests/s, 0.1 % -> 1 %",
            at(4.0, Scenario::worse(0.001, 0.01)),
            RarelySteppedUp,
        ),
        row(
            "4 requests/s, 0.1 % -> 5 %",
            at(4.0, Scenario::worse(0.001, 0.05)),
            CaughtWithin(200),
        ),
        row("100 requests/s, equal", often(100.0), Finishes),
        row("1,000 requests/s, equal", often(1000.0), Finishes),
        row("5,000 requests/s, equal", often(5000.0), Finishes),
    ]
}

/// What a row showed.
pub(crate) struct Summary(Vec<Outcome>);

impl Summary {
    pub(crate) fn new(outcomes: Vec<Outcome>) -> Self {
        Self(outcomes)
    }

    /// The share of upgrades of which this is true.
    pub(crate) fn share(&self, of: impl Fn(&Outcome) -> bool) -> f64 {
        real(self.0.iter().filter(|outcome| of(outcome)).count() as u64) / self.runs()
    }

    /// The quantile of a value that those without one come after; None where it falls to them.
    pub(crate) fn quantile<T: PartialOrd + Copy>(
        &self,
        percent: usize,
        value: impl Fn(&Outcome) -> Option<T>,
    ) -> Option<T> {
        let mut values: Vec<T> = self.0.iter().filter_map(value).collect();
        values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        values.get(self.0.len() * percent / 100).copied()
    }

    fn runs(&self) -> f64 {
        real(self.0.len() as u64)
    }

    /// 1 %; of few upgrades, so much that a true 1 % is rarely above it.
    fn one_percent(&self) -> f64 {
        let runs = self.runs();
        if runs >= 10_000.0 {
            0.01
        } else {
            0.01 + 2.0 * (0.01 * 0.99 / runs).sqrt()
        }
    }

    /// The demand is met.
    pub(crate) fn meets(&self, demand: Demand) -> bool {
        let worse = self.share(|o| o.worse.is_some());
        let up = self.share(|o| o.steps_up_while_bad > 0);
        match demand {
            Demand::RarelyRolledBack => worse < self.one_percent(),
            Demand::RarelyBlamed => self.share(|o| o.blamed) < self.one_percent(),
            Demand::CaughtWithin(most) => self
                .quantile(50, |o| o.worse.map(|(requests, _)| requests))
                .is_some_and(|median| median <= most),
            Demand::AlwaysCaught => worse > 0.99 && up <= 0.01,
            Demand::RarelySteppedUp => up <= 0.01,
            Demand::NeverGuessed => {
                self.share(|o| o.worse.is_some() || o.first_not_worse.is_some()) <= 0.0
            }
            Demand::Finishes => self.share(|o| o.finished) > 0.99,
        }
    }
}
