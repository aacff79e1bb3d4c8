//! How upgrades end, counted since the process began.

use crate::model::{Phase, UpgradeStatus};
use std::collections::BTreeMap;

/// Counts for the metrics, which only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Upgrades that ended on the new version.
    pub succeeded: u64,
    /// Upgrades that ended on the old version.
    pub rolled_back: u64,
    /// Upgrades that began to go back, by rule.
    pub rollbacks: BTreeMap<String, u64>,
}

impl Ends {
    /// Counts what has happened between two sights of one upgrade.
    pub(super) fn note(&mut self, before: Option<&UpgradeStatus>, after: &UpgradeStatus) {
        let was = |phase| before.is_some_and(|before| before.phase == phase);
        match after.phase {
            Phase::Succeeded if !was(Phase::Succeeded) => self.succeeded += 1,
            Phase::RolledBack if !was(Phase::RolledBack) => self.rolled_back += 1,
            _ => {}
        }
        let back = matches!(after.phase, Phase::RollingBack | Phase::RolledBack);
        if back
            && !was(Phase::RollingBack)
            && !was(Phase::RolledBack)
            && let Some(rule) = &after.notes.rollback_rule
        {
            *self.rollbacks.entry(rule.clone()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Timestamp, upgrade};

    fn status(phase: Phase, rule: Option<&str>) -> UpgradeStatus {
        let mut status = upgrade::begin(&crate::model::Policy::default(), 1, Timestamp(0));
        status.phase = phase;
        status.notes.rollback_rule = rule.map(str::to_owned);
        status
    }

    #[test]
    fn each_end_and_each_way_back_counts_once() {
        let mut ends = Ends::default();
        let lives = [
            vec![
                status(Phase::Shifting, None),
                status(Phase::RollingBack, Some("FuseBlown")),
                status(Phase::RolledBack, Some("FuseBlown")),
                status(Phase::RolledBack, Some("FuseBlown")),
                // Tried once more.
                status(Phase::Preparing, None),
                status(Phase::RolledBack, Some("Commanded")),
            ],
            vec![
                status(Phase::Draining, None),
                status(Phase::Succeeded, None),
                status(Phase::Succeeded, None),
            ],
        ];
        for life in &lives {
            let mut before = None;
            for after in life {
                ends.note(before, after);
                before = Some(after);
            }
        }
        assert_eq!((ends.succeeded, ends.rolled_back), (1, 2));
        let expected = [("Commanded", 1), ("FuseBlown", 1)];
        let expected = expected.map(|(rule, count)| (rule.to_owned(), count));
        assert_eq!(ends.rollbacks, BTreeMap::from(expected));
    }
}
