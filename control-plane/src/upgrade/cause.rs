//! What speaks for going back: what is seen of the new version's instances, of proxies, of analysis.
//!
//! An instance whose machine is lost says nothing about its version, so it neither fails nor counts
//! (see [`super::lost`] for where all of them are).
//! "Alike" is what the old version suffers in the same seconds: going back would not help there. It
//! takes half of the old instances, or an error rate at least half as high; one old instance that
//! has been broken for long must not keep a bad version in place.

use super::{capacity, judgement, limits, lost, run::Run};
use crate::model::{InstanceObservation, Phase, Share};

/// The least number of errors in a second that is a burst.
const BURST_ERRORS: u64 = 5;

/// A cause to go back.
#[derive(Debug)]
pub(super) struct Cause {
    pub(super) rule: &'static str,
    /// A sentence that names who and what.
    pub(super) reason: String,
    /// The new version must not keep what it has: no session stays for the old version's sake.
    pub(super) hard: bool,
    /// The old version suffers it too.
    pub(super) alike: bool,
}

/// The first cause there is, the surest and most telling before the others.
pub(super) fn find(run: &Run<'_>) -> Option<Cause> {
    if run.status.phase == Phase::Preparing {
        // What fails there has no traffic yet; the deadline is for it. A crash loop was ready once.
        return crash_loop(run).or_else(|| refused(run));
    }
    let gone = (run.status.weight > Share::ZERO)
        .then(|| gone(run))
        .flatten();
    gone.or_else(|| broken(run))
        .or_else(|| worse(run))
        .or_else(|| refused(run))
}

/// The new version can't be left what it has, on the way back neither.
pub(super) fn hard(run: &Run<'_>) -> Option<Cause> {
    gone(run)
        .or_else(|| lost::of_new(run))
        .or_else(|| broken(run))
}

fn broken(run: &Run<'_>) -> Option<Cause> {
    unhealthy(run)
        .or_else(|| crash_loop(run))
        .or_else(|| ejected(run))
        .or_else(|| burst(run))
}

fn gone(run: &Run<'_>) -> Option<Cause> {
    run.seen.new.is_empty().then(|| Cause {
        rule: "NewVersionGone",
        reason: "every instance of the new version is gone".to_owned(),
        hard: true,
        alike: false,
    })
}

fn unhealthy(run: &Run<'_>) -> Option<Cause> {
    let failing = present(&run.seen.new, |i| is_failing(run, i));
    failing.first().map(|_| Cause {
        rule: "HealthFailed",
        reason: format!(
            "{} failed {} in a row",
            capacity::names(&failing),
            capacity::count(limits::failure_threshold(run.policy), "health check")
        ),
        hard: true,
        alike: old_fails_alike(run),
    })
}

fn crash_loop(run: &Run<'_>) -> Option<Cause> {
    let crashing = present(&run.seen.new, |i| is_crashing(run, i));
    let most = crashing.iter().map(|i| restarts(run, i)).max()?;
    Some(Cause {
        rule: "CrashLoop",
        reason: format!(
            "{} turned ready and failed again, {} since the upgrade began",
            capacity::names(&crashing),
            capacity::count(most, "time")
        ),
        hard: true,
        alike: old_fails_alike(run),
    })
}

/// Whoever's requests fail first blows it, so one error of the old version in the same second at a
/// rate like the new one's keeps it from going back at once; while only the new one fails, the next
/// second goes back.
fn ejected(run: &Run<'_>) -> Option<Cause> {
    let ejected = present(&run.seen.new, |i| i.ejected_by > 0);
    let (new, old) = (Recent::of(&run.seen.new), Recent::of(&run.seen.old));
    ejected.first().map(|_| Cause {
        rule: "FuseBlown",
        reason: format!(
            "proxies saw {} fail and no longer send requests there",
            capacity::names(&ejected)
        ),
        hard: true,
        alike: old_fails_alike(run) || old.is_half_as_bad_as(&new),
    })
}

/// Half of a second's requests and at least [`BURST_ERRORS`] failed.
fn burst(run: &Run<'_>) -> Option<Cause> {
    let (new, old) = (Recent::of(&run.seen.new), Recent::of(&run.seen.old));
    new.is_burst().then(|| Cause {
        rule: "ErrorBurst",
        reason: format!(
            "{new} of the new version failed within a second; of the old version, {old} did"
        ),
        hard: true,
        alike: old_fails_alike(run) || old.is_half_as_bad_as(&new),
    })
}

fn worse(run: &Run<'_>) -> Option<Cause> {
    if !judgement::is_worse(run) {
        return None;
    }
    let (reason, shared) = judgement::worse(judgement::present(run)?);
    Some(Cause {
        rule: "AnalysisWorse",
        reason,
        hard: false,
        alike: shared || old_fails_alike(run),
    })
}

/// A proxy refuses what it has not applied yet.
fn refused(run: &Run<'_>) -> Option<Cause> {
    if run.status.generation.is_none() || run.status.applied_at.is_some() {
        return None;
    }
    run.status.applied.lagging.iter().find_map(|lagging| {
        lagging.nack.as_ref().map(|nack| Cause {
            rule: "Nacked",
            reason: format!("{} refused its configuration: {nack}", lagging.proxy),
            hard: true,
            alike: false,
        })
    })
}

/// Those whose machine is there and of which `is` holds.
fn present(
    instances: &[InstanceObservation],
    is: impl Fn(&InstanceObservation) -> bool,
) -> Vec<&InstanceObservation> {
    instances.iter().filter(|i| !i.lost && is(i)).collect()
}

fn is_failing(run: &Run<'_>, instance: &InstanceObservation) -> bool {
    instance.consecutive_failures >= limits::failure_threshold(run.policy)
}

/// It went down too often, and has not stayed up since for as long as it takes to count.
fn is_crashing(run: &Run<'_>, instance: &InstanceObservation) -> bool {
    let settled = instance.ready
        && instance
            .ready_since
            .is_some_and(|since| run.now.since(since) >= run.policy.analysis.warm_up);
    restarts(run, instance) >= limits::failure_threshold(run.policy) && !settled
}

fn restarts(run: &Run<'_>, instance: &InstanceObservation) -> u32 {
    let forgiven = run.status.notes.restarts_forgiven.get(&instance.workload);
    let all = instance.restarts;
    // Fewer than there were: another instance of that name, counted anew.
    all.checked_sub(forgiven.copied().unwrap_or(0))
        .unwrap_or(all)
}

fn old_fails_alike(run: &Run<'_>) -> bool {
    let there = present(&run.seen.old, |_| true).len();
    let failing = present(&run.seen.old, |i| {
        is_failing(run, i) || is_crashing(run, i) || i.ejected_by > 0
    });
    (!failing.is_empty() && 2 * failing.len() >= there) || Recent::of(&run.seen.old).is_burst()
}

/// What a version's instances answered in the last second.
struct Recent {
    requests: u64,
    errors: u64,
}

impl Recent {
    fn of(instances: &[InstanceObservation]) -> Self {
        let there = || instances.iter().filter(|i| !i.lost);
        let sum = |numbers: &mut dyn Iterator<Item = u64>| numbers.fold(0, u64::saturating_add);
        Self {
            requests: sum(&mut there().map(|i| i.recent_requests)),
            errors: sum(&mut there().map(|i| i.recent_errors)),
        }
    }

    fn is_burst(&self) -> bool {
        self.errors >= BURST_ERRORS && self.errors >= self.requests.div_ceil(2)
    }

    /// The share of errors is at least half of the other's.
    fn is_half_as_bad_as(&self, other: &Self) -> bool {
        let wide = u128::from;
        self.errors > 0
            && other.errors > 0
            && 2 * wide(self.errors) * wide(other.requests)
                >= wide(other.errors) * wide(self.requests)
    }
}

impl std::fmt::Display for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {} requests", self.errors, self.requests)
    }
}
