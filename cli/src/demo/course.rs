//! What an upgrade did and when, read from its status. Pure.

use segue_proto::control::{Transition, Upgrade};

/// An upgrade's way until now, in milliseconds since the Unix epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Course {
    /// The version that serves before.
    pub(super) old: String,
    /// The version that is to serve after.
    pub(super) new: String,
    /// The weights that the new version had, above zero.
    pub(super) steps: Vec<Step>,
    /// From when on sessions of the old version are no longer held.
    pub(super) released: Option<u64>,
    /// When it was decided to go back.
    pub(super) back: Option<u64>,
    /// When every proxy had applied that.
    pub(super) back_applied: Option<u64>,
    /// How it ended; None: not yet.
    pub(super) end: Option<End>,
}

/// The new version at one weight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// In basis points.
    pub(super) weight: u32,
    /// When it was decided.
    pub(super) at: u64,
    /// When every proxy had applied it.
    pub(super) applied: Option<u64>,
    /// When another weight was decided.
    pub(super) until: Option<u64>,
}

/// How an upgrade ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The new version serves.
    Succeeded,
    /// The old version serves.
    RolledBack,
}

/// A timestamp in milliseconds.
pub(super) fn unix_ms(at: &prost_types::Timestamp) -> u64 {
    let seconds = u64::try_from(at.seconds).unwrap_or(0);
    let millis = u64::try_from(at.nanos / 1_000_000).unwrap_or(0);
    seconds * 1_000 + millis
}

fn ms(at: Option<&prost_types::Timestamp>) -> Option<u64> {
    at.map(unix_ms)
}

impl Course {
    pub(super) fn of(upgrade: &Upgrade) -> Self {
        let spec = upgrade.spec.as_ref();
        let mut course = Self {
            old: spec.map(|spec| spec.from.clone()).unwrap_or_default(),
            new: spec.map(|spec| spec.to.clone()).unwrap_or_default(),
            ..Self::default()
        };
        let Some(status) = &upgrade.status else {
            return course;
        };
        for transition in &status.history {
            course.enter(transition);
        }
        if course.back.is_none() {
            course.released = ms(status.sessions_released_at.as_ref());
        }
        course.end = match status.phase.as_str() {
            "Succeeded" => Some(End::Succeeded),
            "RolledBack" => Some(End::RolledBack),
            _ => None,
        };
        course
    }

    fn enter(&mut self, transition: &Transition) {
        let at = ms(transition.at.as_ref()).unwrap_or(0);
        let applied = ms(transition.applied_at.as_ref());
        if transition.phase == "RollingBack" && self.back.is_none() {
            self.back = Some(at);
        }
        if self.back.is_some() {
            self.back_applied = self.back_applied.or(applied);
        }
        match self.steps.last_mut() {
            Some(step) if step.weight == transition.weight && step.until.is_none() => {
                step.applied = step.applied.or(applied);
                return;
            }
            Some(step) => step.until = step.until.or(Some(at)),
            None => {}
        }
        if transition.weight > 0 {
            self.steps.push(Step {
                weight: transition.weight,
                at,
                applied,
                until: None,
            });
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Course, End, Step};
    use segue_proto::control::{Transition, Upgrade, UpgradeSpec, UpgradeStatus};

    pub(in super::super) fn timestamp(ms: u64) -> prost_types::Timestamp {
        prost_types::Timestamp {
            seconds: i64::try_from(ms / 1_000).unwrap(),
            nanos: i32::try_from(ms % 1_000).unwrap() * 1_000_000,
        }
    }

    /// An upgrade with this phase and these (phase, weight, at, applied) lines of history.
    pub(in super::super) fn upgrade(
        phase: &str,
        history: &[(&str, u32, u64, Option<u64>)],
    ) -> Upgrade {
        Upgrade {
            spec: Some(UpgradeSpec {
                from: "v1".into(),
                to: "v2".into(),
                ..UpgradeSpec::default()
            }),
            status: Some(UpgradeStatus {
                phase: phase.into(),
                history: history
                    .iter()
                    .map(|(phase, weight, at, applied)| Transition {
                        phase: (*phase).into(),
                        weight: *weight,
                        at: Some(timestamp(*at)),
                        applied_at: applied.map(timestamp),
                        ..Transition::default()
                    })
                    .collect(),
                ..UpgradeStatus::default()
            }),
            ..Upgrade::default()
        }
    }

    #[test]
    fn phases_of_the_same_weight_are_one_step() {
        let mut upgrade = upgrade(
            "Draining",
            &[
                ("Preparing", 0, 1_000, Some(1_100)),
                ("WarmUp", 500, 2_000, Some(2_050)),
                ("Shifting", 10_000, 3_000, Some(3_010)),
                ("RollbackWindow", 10_000, 4_000, None),
                ("Draining", 10_000, 5_000, None),
            ],
        );
        upgrade.status.as_mut().unwrap().sessions_released_at = Some(timestamp(6_000));
        let course = Course::of(&upgrade);
        assert_eq!(
            course.steps,
            [
                Step {
                    weight: 500,
                    at: 2_000,
                    applied: Some(2_050),
                    until: Some(3_000)
                },
                Step {
                    weight: 10_000,
                    at: 3_000,
                    applied: Some(3_010),
                    until: None
                },
            ]
        );
        assert_eq!(course.released, Some(6_000));
        assert_eq!((course.back, course.end), (None, None));
    }

    #[test]
    fn going_back_ends_the_step_and_releases_nobody_of_the_old_version() {
        let mut upgrade = upgrade(
            "RolledBack",
            &[
                ("WarmUp", 500, 2_000, Some(2_050)),
                ("RollingBack", 0, 3_000, Some(3_040)),
                ("RolledBack", 0, 4_000, None),
            ],
        );
        upgrade.status.as_mut().unwrap().sessions_released_at = Some(timestamp(3_000));
        let course = Course::of(&upgrade);
        assert_eq!(course.steps[0].until, Some(3_000));
        assert_eq!(
            (course.back, course.back_applied),
            (Some(3_000), Some(3_040))
        );
        assert_eq!(course.released, None);
        assert_eq!(course.end, Some(End::RolledBack));
    }
}
