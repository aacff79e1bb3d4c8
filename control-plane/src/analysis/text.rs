//! The tests' sentences.

use crate::model::{Finding, Verdict};
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

/// A finding as a sentence. `what`: `errors`, `p99`; `show` shows its values; `so_far`: requests of
/// the new version in the step, and how many come per second.
pub(super) fn sentence(
    finding: &Finding,
    what: &str,
    show: fn(u64) -> String,
    so_far: (u64, f64),
) -> String {
    let mut text = what.to_owned();
    if let Some(new) = finding.new {
        text = format!("{text} {}", show(new));
    }
    if let (Some(_), Some(old)) = (finding.new, finding.old) {
        text = format!("{text} against {}", show(old));
    }
    if let Some(limit) = finding.limit {
        text = format!("{text} (limit {})", show(limit));
    }
    match finding.verdict {
        Verdict::Worse if finding.shared => {
            format!("{text}: worse, but so is the old version")
        }
        Verdict::Worse => format!("{text}: worse"),
        Verdict::NotWorse => format!("{text}: not worse"),
        Verdict::NotYet => format!("{text}: undecided, {}", undecided(finding, show, so_far)),
    }
}

fn undecided(finding: &Finding, show: fn(u64) -> String, so_far: (u64, f64)) -> String {
    let (requests, per_second) = so_far;
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
        Some(visible) => format!("{text}; would see {} by the end of the step", show(visible)),
        None => format!("{text}; would see no difference by the end of the step"),
    }
}
