//! The tests' sentences.

use super::seen::Seen;
use crate::model::{Finding, Test, Verdict};
use std::time::Duration;

/// Parts per million as percent: `1.02 %`.
pub(super) fn percent(ppm: u64) -> String {
    let hundredths = ppm.saturating_add(50) / 100;
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// Microseconds as milliseconds or seconds: `12.3 ms`, `1.20 s`.
pub(super) fn latency(us: u64) -> String {
    if us < 1_000_000 {
        let tenths = us.saturating_add(50) / 100;
        format!("{}.{} ms", tenths / 10, tenths % 10)
    } else {
        let hundredths = us.saturating_add(5_000) / 10_000;
        format!("{}.{:02} s", hundredths / 100, hundredths % 100)
    }
}

/// About so long: `4 min`.
pub(super) fn about(time: Duration) -> String {
    match time.as_secs() {
        0 => "1 s".to_owned(),
        s @ 1..120 => format!("{s} s"),
        s @ 120..7200 => format!("{} min", s.saturating_add(30) / 60),
        s @ 7200..172_800 => format!("{} h", s.saturating_add(1800) / 3600),
        s => format!("{} days", s.saturating_add(43_200) / 86_400),
    }
}

/// What a test's sentences are made of.
pub(super) struct Words<'a> {
    /// `errors`, `p99`
    pub(super) what: &'a str,
    /// Shows its values.
    pub(super) show: fn(u64) -> String,
    /// Requests of the new version in the step, and how many come per second.
    pub(super) so_far: (u64, f64),
}

/// A finding as a sentence. One that is *worse* says, in its numbers too, what was `seen` when it
/// turned so, not what is measured since.
pub(super) fn sentence(finding: &mut Finding, seen: Option<&Seen>, words: &Words<'_>) -> String {
    let seen = seen.filter(|_| finding.verdict == Verdict::Worse);
    if let Some(seen) = seen {
        seen.show_in(finding);
    }
    let measured = measured(finding, words);
    match finding.verdict {
        Verdict::Worse => {
            let detail = seen.and_then(|seen| seen.detail.as_ref());
            let detail = detail.map_or_else(String::new, |detail| format!(", {detail}"));
            let over = seen.map_or_else(String::new, |seen| {
                format!(" (seen over {})", about(seen.over))
            });
            let shared = if finding.shared {
                ", but so is the old version"
            } else {
                ""
            };
            format!("{measured}{detail}: worse{shared}{over}")
        }
        Verdict::NotWorse => format!("{measured}: not worse"),
        Verdict::NotYet => format!("{measured}: undecided, {}", undecided(finding, words)),
    }
}

/// `p99 12.3 ms against 11.9 ms (limit 14.3 ms)`. The floor is compared with itself alone.
fn measured(finding: &Finding, words: &Words<'_>) -> String {
    let mut text = words.what.to_owned();
    if let Some(new) = finding.new {
        text = format!("{text} {}", (words.show)(new));
    }
    let old = finding.old.filter(|_| finding.test != Test::SuccessFloor);
    if let (Some(_), Some(old)) = (finding.new, old) {
        text = format!("{text} against {}", (words.show)(old));
    }
    match finding.limit {
        Some(limit) => format!("{text} (limit {})", (words.show)(limit)),
        None => text,
    }
}

fn undecided(finding: &Finding, words: &Words<'_>) -> String {
    let (requests, per_second) = words.so_far;
    let mut text = format!("{requests} requests so far");
    if let Some(eta) = finding.eta {
        text = format!(
            "{text}, about {} more at {per_second:.1} requests/s",
            about(eta)
        );
    } else if requests > 0 {
        text = format!("{text} at {per_second:.1} requests/s");
    }
    match finding.smallest_visible {
        Some(visible) => format!(
            "{text}; by the end of the step {} or more would show",
            (words.show)(visible)
        ),
        None => format!("{text}; too few to tell by the end of the step"),
    }
}
