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
    u32::try_from(run.seen.new.iter().filter(|i| i.ready).count()).unwrap_or(u32::MAX)
}

/// True where as many are ready as the weight needs.
pub(super) fn suffices(run: &Run<'_>, weight: Share) -> bool {
    ready(run) >= required(run, weight)
}

/// `2 of 3 new instances are ready, not: shop/checkout-v2-2`.
pub(super) fn describe(run: &Run<'_>, weight: Share) -> String {
    let (ready, required) = (ready(run), required(run, weight));
    let missing: Vec<&InstanceObservation> = run.seen.new.iter().filter(|i| !i.ready).collect();
    let names = names(&missing);
    let mut tail = if names.is_empty() {
        String::new()
    } else {
        format!(", not: {names}")
    };
    if let Some(InstanceObservation { workload, .. }) = missing.iter().find(|i| !i.checked) {
        tail = format!("{tail} (no sidecar has reported a check of {workload} yet)");
    }
    format!("{ready} of {required} new instances needed are ready{tail}")
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
