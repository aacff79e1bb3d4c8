//! What became of a scenario's requests, and who is to blame for those that failed.

use segue_cli::demo::load::{Event, Known, Report};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Different losses that are told.
const EXAMPLES: usize = 5;

/// What is printed of a scenario.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// The phase in which the upgrade (or the last of them) ended.
    pub(super) ended: String,
    /// Requests sent.
    pub(super) requests: u64,
    /// Failed by a version that was bad.
    pub(super) by_bad: u64,
    /// Failed in any other way, or lost: sessions moved against their promise, streams cut.
    pub(super) otherwise: u64,
    /// From the first bad answer to the last request on the bad version.
    pub(super) rollback_ms: Option<u64>,
    /// Some of what went wrong otherwise.
    pub(super) examples: Vec<String>,
}

/// All that clients and instances said, and what was done to them.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Every client's last report, with the events of all its reports.
    pub(super) clients: Vec<Report>,
    /// The version of the instance that a request reached last.
    pub(super) seen: BTreeMap<String, String>,
    /// Versions by the addresses of their instances.
    pub(super) addresses: BTreeMap<String, String>,
    /// When a version turned bad.
    pub(super) bad: BTreeMap<String, u64>,
    /// A bad version that no other can stand in for: a proxy that finds no healthy endpoint speaks for it.
    pub(super) alone: Option<String>,
    /// Whether a policy holds sessions on their version.
    pub(super) sessions_held: bool,
    /// From when on each version's sessions may go elsewhere.
    pub(super) released: BTreeMap<String, u64>,
}

impl Evidence {
    /// Who is to blame for what.
    pub(super) fn judge(&self, ended: String) -> Outcome {
        let mut outcome = Outcome {
            ended,
            requests: self.clients.iter().map(|report| report.sent).sum(),
            ..Outcome::default()
        };
        let mut examples = BTreeMap::new();
        let (mut first_bad, mut failed) = (None, 0);
        for event in self.clients.iter().flat_map(|report| &report.events) {
            failed += u64::from(matches!(event, Event::Failed { .. }));
            match self.bad_answer(event) {
                Some(at) => {
                    outcome.by_bad += u64::from(matches!(event, Event::Failed { .. }));
                    first_bad = Some(first_bad.map_or(at, |first: u64| first.min(at)));
                }
                None if self.is_promised(event) => {}
                None => {
                    outcome.otherwise += 1;
                    *examples.entry(self.describe(event)).or_insert(0_u32) += 1;
                }
            }
        }
        let counted: u64 = self.clients.iter().map(|report| report.failed).sum();
        if counted != failed {
            outcome.otherwise += counted.abs_diff(failed);
            examples.insert(format!("of {counted} failures {failed} were told"), 1);
        }
        let told = examples.into_iter().take(EXAMPLES);
        outcome.examples = told.map(|(what, n)| format!("{n} x {what}")).collect();
        outcome.rollback_ms =
            first_bad.and_then(|first| Some(self.last_on_bad()?.saturating_sub(first)));
        outcome
    }

    /// When a bad version's answer (or its silence, or its end) was noticed, if the event is that.
    fn bad_answer(&self, event: &Event) -> Option<u64> {
        let (at, version) = match event {
            Event::Failed {
                at,
                request,
                version,
                known,
                detail,
                ..
            } => (
                at,
                self.went_to(request, version.as_deref(), *known, detail)?,
            ),
            Event::Cut { at, version, .. } => (at, version.clone()?),
            Event::Moved { .. } => return None,
        };
        (*at >= *self.bad.get(&version)?).then_some(*at)
    }

    /// The version that failed a request: it said so; or an answer names its address; or it keeps the request's id.
    fn went_to(
        &self,
        request: &str,
        version: Option<&str>,
        known: Known,
        detail: &str,
    ) -> Option<String> {
        if known == Known::Answer {
            return version.map(str::to_owned);
        }
        let without = |version: &String| {
            detail.contains(&format!("no healthy endpoint in outbound|80|{version}|"))
        };
        if let Some(version) = self.alone.as_ref().filter(|version| without(version)) {
            return Some(version.clone());
        }
        let named = self.addresses.iter().find(|(address, _)| {
            detail
                .match_indices(address.as_str())
                .any(|(at, _)| !continues(detail, at + address.len()))
        });
        named
            .map(|(_, version)| version)
            .or_else(|| self.seen.get(request))
            .cloned()
    }

    /// A session may leave a version that is bad, that was taken back, or that goes after its release.
    fn is_promised(&self, event: &Event) -> bool {
        match event {
            Event::Moved { at, from, .. } => {
                let since =
                    |times: &BTreeMap<String, u64>| times.get(from).is_some_and(|time| at >= time);
                !self.sessions_held || since(&self.bad) || since(&self.released)
            }
            Event::Failed { .. } | Event::Cut { .. } => false,
        }
    }

    fn last_on_bad(&self) -> Option<u64> {
        let bad: BTreeSet<&String> = self.bad.keys().collect();
        let newest = self.clients.iter().flat_map(|report| &report.newest);
        newest
            .filter(|(version, _)| bad.contains(version))
            .map(|(_, sent)| *sent)
            .max()
    }

    fn describe(&self, event: &Event) -> String {
        match event {
            Event::Moved { from, to, .. } => format!("a session moved from {from} to {to}"),
            Event::Failed {
                request,
                version,
                known,
                kind,
                detail,
                ..
            } => {
                let to = self.went_to(request, version.as_deref(), *known, detail);
                let to = to.unwrap_or_else(|| "nobody who noted it".to_owned());
                format!("a request to {to} failed ({}): {detail}", kind.label())
            }
            Event::Cut {
                channel,
                version,
                detail,
                ..
            } => format!("a {channel:?} to {version:?} was cut: {detail}"),
        }
    }
}

/// True where an address goes on here: 10.77.1.1 is not in 10.77.1.12.
fn continues(text: &str, at: usize) -> bool {
    text[at..].starts_with(|next: char| next.is_ascii_digit())
}
