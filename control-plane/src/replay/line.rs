//! The decision log's lines, and the looks that they are of.

use crate::model::{Evidence, LOOKED, LOOKS_LET_GO, Observation, Policy, Timestamp, UpgradeSpec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The rule of a run's first line.
pub(super) const BEGAN: &str = "Began";
/// Lines that the engine writes by itself: no rule of `upgrade` decided.
const NOT_DECIDED: [&str; 3] = [BEGAN, LOOKED, "PolicyChanged"];

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// Which rule decided.
    pub rule: String,
    /// What was seen.
    pub inputs: Observation,
    /// What else it carries.
    pub context: Context,
}

/// What some lines carry beside the inputs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Context {
    /// The policy in force from here on.
    #[serde(default)]
    pub policy: Option<Policy>,
    /// What was asked.
    #[serde(default)]
    pub spec: Option<UpgradeSpec>,
    /// How many instances of the old version served.
    #[serde(default)]
    pub old_instances: Option<u32>,
    /// So many looks were let go in this line's place.
    #[serde(default)]
    pub let_go: Option<u64>,
}

impl Line {
    /// Reads a line's JSON parts; an empty context is none. The error names the part.
    pub fn read(at: Timestamp, rule: &str, inputs: &str, context: &str) -> Result<Self, String> {
        Ok(Self {
            at,
            rule: rule.to_owned(),
            inputs: part("inputs", inputs)?.unwrap_or_default(),
            context: part("context", context)?.unwrap_or_default(),
        })
    }
}

fn part<T: DeserializeOwned>(name: &str, json: &str) -> Result<Option<T>, String> {
    match json {
        "" | "null" | "{}" => Ok(None),
        json => serde_json::from_str(json)
            .map(Some)
            .map_err(|error| format!("{name}: {error}")),
    }
}

/// One look of the engine: the lines that it left have the same time and the same inputs.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) at: Timestamp,
    /// The rules that decided, in order.
    pub(super) rules: Vec<String>,
    pub(super) seen: Observation,
    pub(super) policy: Option<Policy>,
}

impl Look {
    /// All looks of a log.
    pub(super) fn all(lines: &[Line]) -> Vec<Self> {
        let mut looks: Vec<Self> = Vec::new();
        let kept = |line: &&Line| line.rule != LOOKS_LET_GO;
        for line in lines.iter().filter(kept) {
            let decided = !NOT_DECIDED.contains(&line.rule.as_str());
            let rules = decided.then(|| line.rule.clone());
            match looks.last_mut().filter(|look| look.is_of(line)) {
                Some(look) => {
                    look.seen.evidence.add(&line.inputs.evidence);
                    look.rules.extend(rules);
                    look.policy = line.context.policy.clone().or_else(|| look.policy.take());
                }
                None => looks.push(Self {
                    at: line.at,
                    rules: rules.into_iter().collect(),
                    seen: line.inputs.clone(),
                    policy: line.context.policy.clone(),
                }),
            }
        }
        looks
    }

    fn is_of(&self, line: &Line) -> bool {
        let without = |seen: &Observation| Observation {
            evidence: Evidence::default(),
            ..seen.clone()
        };
        self.at == line.at && without(&self.seen) == without(&line.inputs)
    }

    /// Its lines say that a generation was found applied.
    pub(super) fn found_applied(&self) -> bool {
        let is_barrier = |rule: &String| matches!(rule.as_str(), "Applied" | "Refused");
        self.rules.iter().any(is_barrier)
    }
}
