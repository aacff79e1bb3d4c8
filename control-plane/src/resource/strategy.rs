//! `spec.strategy`: the steps, and when capacity must be there.

use super::{Percent, Period, check::Checks};
use crate::model::{Share, Step};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// `spec.strategy`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StrategySpec {
    /// Canary where absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<StrategyType>,
    /// The weights of the new version, growing, the last 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<StepSpec>>,
    /// When the new version's instances must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacitySpec>,
}

/// `type`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StrategyType {
    /// Step by step.
    Canary,
    /// All at once.
    BlueGreen,
}

/// `steps[]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepSpec {
    /// The new version's weight, in percent.
    pub weight: Percent,
    /// The least time at it; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Period>,
    /// Waits for a person.
    #[serde(default)]
    pub manual: bool,
}

/// `capacity`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CapacitySpec {
    /// As many as the next weight needs.
    Match,
    /// All of them first.
    Full,
}

impl StrategySpec {
    /// The strategy in which this one's fields win over the other's. Steps mean Canary, so they
    /// win over a BlueGreen from further away, and the other way round.
    pub(super) fn over(self, base: Self) -> Self {
        let (ours, theirs) = (self.kind_or_implied(), base.kind_or_implied());
        let steps = match ours {
            Some(StrategyType::BlueGreen) => None,
            Some(StrategyType::Canary) | None => self.steps.or(base.steps),
        };
        Self {
            kind: ours.or(theirs),
            steps,
            capacity: self.capacity.or(base.capacity),
        }
    }

    fn kind_or_implied(&self) -> Option<StrategyType> {
        self.kind
            .or_else(|| self.steps.as_ref().map(|_| StrategyType::Canary))
    }

    /// The steps, if it says any.
    pub(super) fn read_steps(&self) -> Option<Vec<Step>> {
        let step = |weight, hold: Option<Period>, manual| Step {
            weight,
            hold: hold.map_or(Duration::ZERO, |hold| hold.0),
            manual,
        };
        if self.kind == Some(StrategyType::BlueGreen) {
            return Some(vec![step(Share::ALL, None, false)]);
        }
        let steps = self.steps.as_ref()?;
        Some(
            steps
                .iter()
                .map(|s| step(s.weight.0, s.hold, s.manual))
                .collect(),
        )
    }

    pub(super) fn check(&self, field: &str, checks: &mut Checks) {
        let Some(steps) = &self.steps else { return };
        if self.kind == Some(StrategyType::BlueGreen) {
            return checks.fail(
                format!("{field}.steps"),
                "BlueGreen has one step, 100; for others choose Canary",
            );
        }
        let mut before: Option<Percent> = None;
        for (index, step) in steps.iter().enumerate() {
            let weight = step.weight;
            let field = format!("{field}.steps[{index}].weight");
            match before {
                _ if weight.0 == Share::ZERO => checks.fail(field, "0 is no step up"),
                Some(before) if weight == before => {
                    checks.fail(field, format!("{weight} is the step before once more"));
                }
                Some(before) if weight < before => checks.fail(
                    field,
                    format!("{weight} is less than the step before ({before})"),
                ),
                _ => {}
            }
            before = Some(weight);
        }
        let last = steps.len().saturating_sub(1);
        match before {
            None => checks.fail(format!("{field}.steps"), "there is no step"),
            Some(weight) if weight.0 != Share::ALL => checks.fail(
                format!("{field}.steps[{last}].weight"),
                format!("{weight} is the last step; the last one is 100"),
            ),
            Some(_) => {}
        }
    }
}
