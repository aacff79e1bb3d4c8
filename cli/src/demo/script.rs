//! What the demo does to the cluster, and when: the new version, the fault, the kills. Pure.

use super::{Timing, course::Course};

/// Something to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Start the new version's Pods.
    StartNew,
    /// Make the new version bad.
    BreakNew,
    /// Kill the control plane.
    Kill,
    /// Start it again.
    Restart,
    /// The upgrade is over and its end was watched for a while.
    Finish,
}

/// How long the end is watched, and how long a killed control plane stays away.
const AFTERWARDS_MS: u64 = 2_000;
const AWAY_MS: u64 = 1_000;

/// Weights at whose middle the control plane is killed.
pub(super) const KILLS: [u32; 2] = [2_500, 5_000];

/// The script and how far it was played. Times are milliseconds since the Unix epoch.
#[derive(Debug)]
pub(super) struct Script {
    begun: u64,
    baseline_ms: u64,
    hold_ms: u64,
    started_new: bool,
    /// The fault is still to come.
    fault: bool,
    /// Those of [`KILLS`] that are still to come.
    kills: Vec<u32>,
    killed: Option<u64>,
    ended: Option<u64>,
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Script {
    pub(super) fn new(timing: &Timing, fault: bool, kill: bool, begun: u64) -> Self {
        Self {
            begun,
            baseline_ms: millis(timing.baseline),
            hold_ms: millis(timing.hold),
            started_new: false,
            fault,
            kills: if kill { KILLS.to_vec() } else { Vec::new() },
            killed: None,
            ended: None,
        }
    }

    /// False between a kill and the restart.
    pub(super) fn control_plane_is_up(&self) -> bool {
        self.killed.is_none()
    }

    /// The next thing to do, if its time has come. Each is told once.
    pub(super) fn next(&mut self, course: &Course, now: u64) -> Option<Act> {
        if !self.started_new {
            self.started_new = now >= self.begun + self.baseline_ms;
            return self.started_new.then_some(Act::StartNew);
        }
        if self.killed.is_some_and(|at| now >= at + AWAY_MS) {
            self.killed = None;
            return Some(Act::Restart);
        }
        if self.fault && is_into(course, 2_500, self.hold_ms / 4, now) {
            self.fault = false;
            return Some(Act::BreakNew);
        }
        let kill = self.kills.first().copied();
        if kill.is_some_and(|weight| is_into(course, weight, self.hold_ms / 2, now)) {
            self.kills.remove(0);
            self.killed = Some(now);
            return Some(Act::Kill);
        }
        if course.end.is_some() && self.killed.is_none() {
            let ended = *self.ended.get_or_insert(now);
            return (now >= ended + AFTERWARDS_MS).then_some(Act::Finish);
        }
        None
    }
}

/// The new version has had this weight everywhere for so long, and still has it.
fn is_into(course: &Course, weight: u32, for_ms: u64, now: u64) -> bool {
    course.steps.last().is_some_and(|step| {
        step.weight == weight
            && step.until.is_none()
            && step.applied.is_some_and(|applied| now >= applied + for_ms)
    })
}

#[cfg(test)]
mod tests {
    use super::{Act, Script, Timing};
    use crate::demo::course::{Course, End, Step};
    use std::time::Duration;

    fn at(weight: u32, applied: u64) -> Course {
        Course {
            steps: vec![Step {
                weight,
                at: applied,
                applied: Some(applied),
                until: None,
            }],
            ..Course::default()
        }
    }

    fn script(fault: bool, kill: bool) -> Script {
        let timing = Timing {
            baseline: Duration::from_secs(5),
            hold: Duration::from_secs(8),
            ..Timing::default()
        };
        Script::new(&timing, fault, kill, 1_000)
    }

    #[test]
    fn the_new_version_comes_once_after_the_baseline() {
        let mut script = script(false, false);
        assert_eq!(script.next(&Course::default(), 5_999), None);
        assert_eq!(script.next(&Course::default(), 6_000), Some(Act::StartNew));
        assert_eq!(script.next(&at(2_500, 7_000), 60_000), None);
    }

    #[test]
    fn kills_come_in_the_middle_of_two_steps_and_each_ends() {
        let mut script = script(false, true);
        script.next(&Course::default(), 6_000);
        assert_eq!(script.next(&at(2_500, 10_000), 13_999), None);
        assert_eq!(script.next(&at(2_500, 10_000), 14_000), Some(Act::Kill));
        assert_eq!(script.next(&at(2_500, 10_000), 14_999), None);
        assert_eq!(script.next(&at(2_500, 10_000), 15_000), Some(Act::Restart));
        assert_eq!(script.next(&at(5_000, 20_000), 24_000), Some(Act::Kill));
        assert_eq!(script.next(&at(10_000, 24_500), 25_000), Some(Act::Restart));
        assert_eq!(script.next(&at(10_000, 24_500), 99_000), None);
    }

    #[test]
    fn the_fault_comes_into_the_second_step_and_the_end_is_watched() {
        let mut script = script(true, false);
        script.next(&Course::default(), 6_000);
        assert_eq!(script.next(&at(500, 7_000), 14_000), None);
        assert_eq!(script.next(&at(2_500, 15_000), 17_000), Some(Act::BreakNew));
        let over = Course {
            end: Some(End::RolledBack),
            ..Course::default()
        };
        assert_eq!(script.next(&over, 20_000), None);
        assert_eq!(script.next(&over, 22_000), Some(Act::Finish));
    }
}
