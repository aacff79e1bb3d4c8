//! Both versions side by side.

use super::{LABEL, Page};
use crate::verbs::{
    time,
    upgrade::{terminal::Tone, text},
};
use segue_proto::control::{Finding, UpgradeStatus, VersionStatus};
use std::time::SystemTime;

/// The width of a version's column.
const COLUMN: usize = 24;

/// Both versions side by side.
pub(super) fn show(page: &mut Page, status: &UpgradeStatus, now: SystemTime) {
    let (Some(old), Some(new)) = (&status.old, &status.new) else {
        return;
    };
    let row = |label: &str, value: &dyn Fn(&VersionStatus) -> String| {
        format!("{label:<LABEL$}{:<COLUMN$}{}", value(old), value(new))
            .trim_end()
            .to_owned()
    };
    page.line(
        Tone::Strong,
        format!(
            "{:<LABEL$}{:<COLUMN$}{}",
            "",
            format!("{} (old)", old.id),
            format_args!("{} (new)", new.id)
        ),
    );
    let errors = errors_of_step(status);
    let (old_errors, new_errors) = match errors {
        Some((old, new)) => (parts(old), parts(new)),
        None => (errors_now(old), errors_now(new)),
    };
    let quantile = quantile(status);
    page.line(
        Tone::Plain,
        row("Ready", &|v| format!("{}/{}", v.ready, v.instances)),
    );
    page.line(
        Tone::Plain,
        row("Requests/s", &|v| format!("{:.1}", v.requests_per_second)),
    );
    page.line(
        Tone::Plain,
        format!("{:<LABEL$}{old_errors:<COLUMN$}{new_errors}", "Errors"),
    );
    page.line(Tone::Plain, row(&quantile, &|v| latency(v.latency_us)));
    page.line(
        Tone::Plain,
        row("Under way", &|v| {
            format!("{} req, {} conn", v.active_requests, v.active_connections)
        }),
    );
    page.line(Tone::Plain, row("Sessions", &|v| sessions(v, now)));
}

/// What began, and how long ago one of them was last seen.
fn sessions(version: &VersionStatus, now: SystemTime) -> String {
    let last = version
        .last_session
        .and_then(|at| SystemTime::try_from(at).ok())
        .map(|at| now.duration_since(at).unwrap_or_default());
    match last {
        Some(ago) => format!(
            "{} begun, last {} ago",
            version.new_sessions,
            time::short(ago)
        ),
        None => format!("{} begun", version.new_sessions),
    }
}

/// Old and new error rate of the step, in parts per million, where analysis has them.
fn errors_of_step(status: &UpgradeStatus) -> Option<(u64, u64)> {
    let judgement = status
        .judgement
        .as_ref()
        .filter(|_| text::is_judged(status));
    let findings: &[Finding] = &judgement?.findings;
    let drop = findings
        .iter()
        .find(|finding| finding.test == "SuccessDrop")?;
    Some((drop.old?, drop.new?))
}

/// `0.12 %`
fn parts(ppm: u64) -> String {
    format!("{}.{:02} %", ppm / 10_000, ppm % 10_000 / 100)
}

fn errors_now(version: &VersionStatus) -> String {
    if version.requests_per_second > 0.0 {
        let share = version.errors_per_second / version.requests_per_second * 100.0;
        format!("{share:.2} %")
    } else {
        "-".to_owned()
    }
}

/// `p99`, by the policy.
fn quantile(status: &UpgradeStatus) -> String {
    text::policy_value(status, "analysis.latency.quantile")
        .and_then(|value| value.strip_prefix("0."))
        .map_or_else(|| "Latency".to_owned(), |digits| format!("p{digits:0<2}"))
}

/// `12.1 ms`
fn latency(us: Option<u64>) -> String {
    match us {
        None => "-".to_owned(),
        Some(us) => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
    }
}
