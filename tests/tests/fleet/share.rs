//! Did a client obey the weights? What it drew at each step, against the exact binomial region.

use segue_cli::demo::{interval, load::Begun};
use segue_proto::control::{Transition, UpgradeStatus};

/// What one client drew at one weight.
#[derive(Debug)]
pub(crate) struct Step {
    /// Basis points.
    weight: u32,
    draws: u32,
    on_new: u32,
    region: (u32, u32),
}

impl Step {
    pub(crate) fn holds(&self) -> bool {
        (self.region.0..=self.region.1).contains(&self.on_new)
    }

    pub(crate) fn is_partial(&self) -> bool {
        (1..10_000).contains(&self.weight)
    }

    pub(crate) fn draws(&self) -> u32 {
        self.draws
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |part: u32| f64::from(part) * 100.0 / f64::from(self.draws.max(1));
        let (low, high) = self.region;
        write!(
            f,
            "{:>3} %: {:>5.1} % of {:>4} (99.99 %: {:.1} to {:.1})",
            self.weight / 100,
            percent(self.on_new),
            self.draws,
            percent(low),
            percent(high)
        )
    }
}

/// Of each weight, from when every client had it until the next was decided: what was both sent and answered then.
pub(crate) fn steps(draws: &[Begun], status: &UpgradeStatus, new: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for pair in status.history.windows(2) {
        let [line, next] = pair else { unreachable!() };
        let (Some(from), Some(until)) = (ms(line.applied_at.as_ref()), ms(next.at.as_ref())) else {
            continue;
        };
        let during: Vec<&Begun> = draws
            .iter()
            .filter(|one| one.sent >= from && one.at < until)
            .collect();
        let on_new = during.iter().filter(|one| one.version == new).count();
        let draws = u32::try_from(during.len()).unwrap();
        steps.push(Step {
            weight: line.weight,
            draws,
            on_new: u32::try_from(on_new).unwrap(),
            region: interval::region(draws, line.weight),
        });
    }
    steps
}

fn ms(at: Option<&prost_types::Timestamp>) -> Option<u64> {
    at.map(super::traffic::ms)
}

/// The phases with their weights, for a failure.
pub(crate) fn course(status: &UpgradeStatus) -> Vec<String> {
    let line = |line: &Transition| format!("{} {}", line.phase, line.weight);
    status.history.iter().map(line).collect()
}
