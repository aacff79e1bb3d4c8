//! How many instances of the new version a weight needs, and whether they are there.

use super::run::Run;
use crate::model::{Capacity, InstanceObservation, Share};

/// How many new instances must be ready before the new version may have this weight.
pub(super) fn required(run: &Run<'_>, weight: Share) -> u32 {
    let share = match run.policy.capacity {
        Capacity::Match => weight,
        Capacity::Full => Share::ALL,
    };
    share.of_ceil(run.status.old_instances).max(1)
}

/// How many new instances are ready.
pub(super) fn ready(run: &Run<'_>) -> u32 {
    ready_of(&run.seen.new)
}

/// How many of them are ready, their machines being there.
pub(super) fn ready_of(instances: &[InstanceObservation]) -> u32 {
    number(instances.iter().filter(|i| i.ready && !i.lost).count())
}

/// How many old instances are ready, but for those that may be stopped.
pub(super) fn ready_of_old(run: &Run<'_>) -> u32 {
    let drained = &run.status.drained;
    let left = run
        .seen
        .old
        .iter()
        .filter(|i| !drained.contains(&i.workload));
    number(left.filter(|i| i.ready && !i.lost).count())
}

/// The share of everything that the old version's ready instances can carry: it served with as
/// many as there were when the upgrade began.
pub(super) fn of_old(run: &Run<'_>) -> Share {
    let (ready, all) = (ready_of_old(run), run.status.old_instances);
    if ready >= all {
        return Share::ALL;
    }
    let points = 10_000 * u64::from(ready) / u64::from(all);
    let points = u16::try_from(points).ok();
    points
        .and_then(Share::from_basis_points)
        .unwrap_or(Share::ALL)
}

/// True where enough would be ready, were it not for machines that are lost.
pub(super) fn lacks_only_lost(run: &Run<'_>, weight: Share) -> bool {
    let lost = number(run.seen.new.iter().filter(|i| i.lost).count());
    ready(run).saturating_add(lost) >= required(run, weight)
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// True where as many are ready as the weight needs.
pub(super) fn suffices(run: &Run<'_>, weight: Share) -> bool {
    ready(run) >= required(run, weight)
}

/// `2 of 3 new instances needed are ready, not: shop/checkout-v2-2`.
pub(super) fn describe(run: &Run<'_>, weight: Share) -> String {
    let (ready, required) = (ready(run), required(run, weight));
    let missing: Vec<&InstanceObservation> =
        run.seen.new.iter().filter(|i| !i.ready || i.lost).collect();
    let names = names(&missing);
    let mut tail = if names.is_empty() {
        String::new()
    } else {
        format!(", not: {names}")
    };
    if let Some(InstanceObservation { workload, .. }) =
        missing.iter().find(|i| !i.checked && !i.lost)
    {
        tail = format!("{tail} (no sidecar has reported a check of {workload} yet)");
    }
    if let Some(InstanceObservation { workload, .. }) = missing.iter().find(|i| i.lost) {
        tail = format!("{tail} (the machine of {workload} is lost)");
    }
    let are = if required == 1 { "is" } else { "are" };
    let required = count(required, "new instance");
    format!("{ready} of {required} needed {are} ready{tail}")
}

/// `1 new instance`, `3 new instances`.
pub(super) fn count(number: u32, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// The first few names, for a sentence.
pub(super) fn names(instances: &[&InstanceObservation]) -> String {
    let mut names: Vec<String> = instances
        .iter()
        .take(3)
        .map(|i| i.workload.to_string())
        .collect();
    if instances.len() > names.len() {
        names.push(format!("{} more", instances.len() - names.len()));
    }
    names.join(", ")
}
