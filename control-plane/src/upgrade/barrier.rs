//! The ACK barrier: a step is applied when no proxy concerned lags behind its generation.
//!
//! Nobody concerned counts as applied; the engine waits for the proxies it knew before a restart.
//! A way back waits for a proxy that refuses its configuration no longer than for an instance that
//! drains: such a proxy never ACKs, and nothing more can be asked of a run that goes back.

use super::run::Run;
use crate::model::{Applied, Lagging, Phase, Timestamp};
use std::time::Duration;

/// A proxy that has not applied what it was told for so long is worth a word.
const LAGS: Duration = Duration::from_secs(5);
/// Proxies that an event names.
const NAMED: usize = 10;
/// Characters of each one's NACK.
const LONGEST_NACK: usize = 200;

/// Notes how far the present generation has come, and when it came all the way.
pub(super) fn look(run: &mut Run<'_>) {
    if run.status.generation.is_none() {
        return;
    }
    if run.status.applied != run.seen.applied {
        run.status.applied = run.seen.applied.clone();
    }
    name_lagging(run);
    let complete = run.seen.applied.is_complete();
    if run.status.applied_at.is_some() || !(complete || is_only_refused(run)) {
        return;
    }
    run.status.applied_at = Some(run.now);
    if let Some(line) = run.status.history.last_mut()
        && line.applied_at.is_none()
    {
        line.applied_at = Some(run.now);
    }
    let verdict = format!(
        "{}/{} proxies have applied {} for the new version",
        run.seen.applied.acked, run.seen.applied.total, run.status.weight
    );
    run.record(if complete { "Applied" } else { "Refused" }, verdict);
}

/// True where it must not go on because proxies have not said yet what they saw of the new version
/// while the control plane was away. Going back does not wait for that.
pub(super) fn awaits_reports(run: &mut Run<'_>) -> bool {
    let pending = run.seen.reports_pending;
    let serves = matches!(
        run.status.phase,
        Phase::WarmUp | Phase::Shifting | Phase::RollbackWindow | Phase::Draining
    );
    let is_on_its_way = run.status.generation.is_some() && run.status.applied_at.is_none();
    if pending == 0 || !serves || run.status.paused || is_on_its_way {
        return false;
    }
    let proxies = if pending == 1 {
        "1 proxy".to_owned()
    } else {
        format!("{pending} proxies")
    };
    run.say(format!(
        "waits for the reports of {proxies} after a restart of the control plane"
    ));
    run.status.next_at = None;
    true
}

/// Tells of each proxy that lags for long, once for each generation.
fn name_lagging(run: &mut Run<'_>) {
    if run.status.phase.is_final() {
        return;
    }
    let told = &run.status.notes.lagging_told;
    let late: Vec<Lagging> = run
        .seen
        .applied
        .lagging
        .iter()
        .filter(|l| run.now.since(l.since) >= LAGS && !told.contains(&l.proxy))
        .cloned()
        .collect();
    if late.is_empty() {
        return;
    }
    let told = late.iter().map(|l| l.proxy.clone());
    run.status.notes.lagging_told.extend(told);
    let message = format!(
        "not applied for {} s, waits for: {}",
        LAGS.as_secs(),
        first_names(&late)
    );
    run.record("ProxyLagging", message.clone());
    run.notify("ProxyLagging", message);
}

/// On the way back, whoever lags refuses, and has had the time that a drain gets.
fn is_only_refused(run: &Run<'_>) -> bool {
    run.status.phase == Phase::RollingBack
        && run.now >= run.status.phase_since.after(run.policy.drain.timeout)
        && run.seen.applied.lagging.iter().all(|l| l.nack.is_some())
}

/// `37/38 applied, 1 lagging 4 s: shop/web-2`.
pub(super) fn describe(applied: &Applied, now: Timestamp) -> String {
    let progress = format!("{}/{} applied", applied.acked, applied.total);
    let Some(longest) = applied.lagging.iter().map(|l| now.since(l.since)).max() else {
        return progress;
    };
    let mut names: Vec<String> = applied.lagging.iter().take(3).map(name).collect();
    if applied.lagging.len() > names.len() {
        names.push("…".to_owned());
    }
    format!(
        "{progress}, {} lagging {} s: {}",
        applied.lagging.len(),
        longest.as_secs(),
        names.join(", ")
    )
}

/// The first few, and how many more there are: where a fleet lags nobody reads all of it.
fn first_names(late: &[Lagging]) -> String {
    let mut names: Vec<String> = late.iter().take(NAMED).map(name).collect();
    let more = late.len() - names.len();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names.join(", ")
}

fn name(lagging: &Lagging) -> String {
    match &lagging.nack {
        Some(nack) => format!("{} refused: {}", lagging.proxy, clipped(nack)),
        None => lagging.proxy.to_string(),
    }
}

/// A proxy's message, as much as is needed to know which one it is.
fn clipped(nack: &str) -> String {
    match nack.char_indices().nth(LONGEST_NACK) {
        Some((end, _)) => format!("{}…", nack.get(..end).unwrap_or_default()),
        None => nack.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_fleet_that_lags_the_first_few_are_named_and_long_refusals_cut_off() {
        let lagging = |number: usize| Lagging {
            proxy: format!("shop/web-{number}").as_str().into(),
            since: Timestamp(0),
            nack: (number == 0).then(|| "é".repeat(100_000).into()),
        };
        let named = |count: usize| first_names(&(0..count).map(lagging).collect::<Vec<_>>());
        let first = format!("shop/web-0 refused: {}…", "é".repeat(LONGEST_NACK));
        assert_eq!(named(1), first);
        assert_eq!(named(2), format!("{first}, shop/web-1"));
        assert!(named(10).ends_with(", shop/web-9"));
        let many = named(1_000);
        assert!(many.ends_with("shop/web-9, and 990 more"), "{many}");
    }
}
