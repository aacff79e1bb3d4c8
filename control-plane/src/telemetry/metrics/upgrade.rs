//! The metrics of each upgrade.

use super::text::{
    Family,
    Kind::{Counter, Gauge, Histogram},
    Samples,
};
use crate::{
    engine::{Served, UpgradeView, VersionNumbers},
    model::{Finding, Phase, Test, Timestamp, Verdict},
};
use std::{sync::Arc, time::Duration};

/// An upgrade, and when it is looked at.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) view: Arc<UpgradeView>,
    pub(super) now: Timestamp,
}

/// A person paused it.
const BY_HAND: &str = "Person";
/// What else pauses an upgrade: the conditions of the status that say so.
const PAUSES: [&str; 2] = ["BothVersionsFailing", "LowTraffic"];

/// The metrics of an upgrade as a whole.
#[rustfmt::skip]
pub(super) const UPGRADE: &[Family<Shown>] = &[
    Family { name: "segue_upgrade_start_timestamp_seconds", kind: Gauge, show: |samples, of| samples.put(seconds_of(of.view.created)),
        help: "When the upgrade was made, in Unix time. An upgrade that is far older than its policy's steps and window together waits for something." },
    Family { name: "segue_upgrade_phase", kind: Gauge, show: phase,
        help: "1 for the phase that the upgrade is in, 0 for the others. RollingBack and RolledBack tell that the new version failed." },
    Family { name: "segue_upgrade_phase_start_timestamp_seconds", kind: Gauge, show: |samples, of| samples.put(seconds_of(of.view.status.phase_since)),
        help: "Since when the upgrade has been in its phase, in Unix time. Preparing or RollingBack for long means that instances or proxies do not follow." },
    Family { name: "segue_upgrade_step", kind: Gauge, show: |samples, of| samples.put(of.view.status.step.saturating_add(1).min(of.view.steps.max(1))),
        help: "Which step of the policy runs or ran last; the first is 1." },
    Family { name: "segue_upgrade_steps", kind: Gauge, show: |samples, of| samples.put(of.view.steps),
        help: "How many steps the policy has." },
    Family { name: "segue_upgrade_weight_ratio", kind: Gauge, show: |samples, of| samples.put(f64::from(of.view.status.weight.basis_points()) / 10_000.0),
        help: "The new version's share as it is set, 0 to 1: of new sessions, or of requests where there is no affinity." },
    Family { name: "segue_upgrade_measured_weight_ratio", kind: Gauge, show: measured,
        help: "The new version's share of what began since the weight was applied, 0 to 1; absent while nothing has. Far from the set weight over many requests means that clients go past the mesh." },
    Family { name: "segue_upgrade_next_timestamp_seconds", kind: Gauge, show: next,
        help: "When the running hold, window or deadline ends, in Unix time; absent where nothing but an event is waited for." },
    Family { name: "segue_upgrade_paused", kind: Gauge, show: paused,
        help: "1 while the upgrade stands still, by who or what paused it. BothVersionsFailing and LowTraffic wait for a person." },
    Family { name: "segue_upgrade_condition", kind: Gauge, show: conditions,
        help: "1 for each condition of the status that holds. JournalUnwritable and RollbackRefused want a person at once." },
    Family { name: "segue_upgrade_verdict", kind: Gauge, show: verdict,
        help: "1 for what analysis says, 0 for the others; absent before the first look. Worse is followed by a rollback unless the upgrade is paused." },
    Family { name: "segue_upgrade_verdict_eta_seconds", kind: Gauge, show: eta,
        help: "The expected time to a verdict at the present rate; absent where it is unknown or decided. More than maxWait means that traffic is too low." },
    Family { name: "segue_upgrade_analysed_requests", kind: Gauge, show: analysed,
        help: "Requests of the new version that counted in this step; begins anew with each step." },
    Family { name: "segue_upgrade_test_verdict", kind: Gauge, show: test_verdicts,
        help: "1 for what each test says: SuccessDrop, SuccessFloor, Latency, or an extra metric by name. Tells which of them holds an upgrade up." },
    Family { name: "segue_upgrade_test_error_ratio", kind: Gauge, show: test_errors,
        help: "Error rates as a test of success compares them, 0 to 1: the new version's, the old one's, and the most that is allowed." },
    Family { name: "segue_upgrade_test_latency_seconds", kind: Gauge, show: test_latency,
        help: "The analysed quantile of the latency as the test compares it: the new version's, the old one's, and the most that is allowed." },
    Family { name: "segue_upgrade_proxies", kind: Gauge, show: proxies,
        help: "Proxies concerned, by what they did with the present step: applied, lagging, or refused (NACK). A step is not over before all have applied it." },
    Family { name: "segue_upgrade_proxy_lag_seconds", kind: Gauge, show: lag,
        help: "How long the proxy that lags most has not applied the present step; 0 where none lags. More than a few seconds: see which by segue upgrade get." },
    Family { name: "segue_upgrade_rollback", kind: Gauge, show: rollback,
        help: "1 with the rule by which the upgrade goes or went back; absent where it does not." },
    Family { name: "segue_upgrade_drained_instances", kind: Gauge, show: |samples, of| samples.put(of.view.status.drained.len()),
        help: "Instances that met the drain barrier, and so may be stopped." },
];

/// The metrics of each of the two versions.
#[rustfmt::skip]
pub(super) const VERSION: &[Family<VersionNumbers>] = &[
    Family { name: "segue_upgrade_version_instances", kind: Gauge, show: |samples, of| samples.put(of.instances),
        help: "Instances of the version." },
    Family { name: "segue_upgrade_version_ready_instances", kind: Gauge, show: |samples, of| samples.put(of.ready),
        help: "Instances that pass their checks. No ready instance of the old version means that there is no way back." },
    Family { name: "segue_upgrade_version_requests_total", kind: Counter, show: |samples, of| by_reporter(of, |by, sums| samples.put_with(&[by], sums.requests)),
        help: "Requests that ended since the upgrade began, by whose load reports counted them: the instances' own proxies, or the clients'." },
    Family { name: "segue_upgrade_version_errors_total", kind: Counter, show: errors,
        help: "Requests that were errors, by class: response (the application's), timeout, reset, connect, other. Compare the two versions over the same minutes." },
    Family { name: "segue_upgrade_version_request_duration_seconds", kind: Histogram, show: durations,
        help: "Latency of requests by the load reports, in buckets a factor of the square root of 2 apart." },
    Family { name: "segue_upgrade_version_active_requests", kind: Gauge, show: |samples, of| samples.put(of.active_requests),
        help: "Requests under way. What stays on a version that drains is what the drain waits for." },
    Family { name: "segue_upgrade_version_active_connections", kind: Gauge, show: |samples, of| samples.put(of.active_connections),
        help: "Opaque TCP connections open." },
    Family { name: "segue_upgrade_version_sessions_total", kind: Counter, show: |samples, of| samples.put(of.new_sessions),
        help: "Sessions that began since the upgrade did." },
    Family { name: "segue_upgrade_version_last_session_timestamp_seconds", kind: Gauge, show: last_session,
        help: "When a session of the version last made a request, in Unix time; absent where none has. The old version stays until its sessions have ended." },
];

fn phase(samples: &mut Samples<'_>, of: &Shown) {
    for phase in Phase::ALL {
        let is = u8::from(of.view.status.phase == phase);
        samples.put_with(&[("phase", &phase.to_string())], is);
    }
}

fn measured(samples: &mut Samples<'_>, of: &Shown) {
    if let Some(share) = of.view.measured {
        samples.put(f64::from(share.basis_points()) / 10_000.0);
    }
}

fn next(samples: &mut Samples<'_>, of: &Shown) {
    if let Some(at) = of.view.status.next_at {
        samples.put(seconds_of(at));
    }
}

fn paused(samples: &mut Samples<'_>, of: &Shown) {
    let status = &of.view.status;
    let holds = |kind: &str| status.conditions.get(kind).is_some_and(|c| c.status);
    let by = PAUSES.map(|kind| (kind, status.paused && holds(kind)));
    let by_hand = status.paused && !by.iter().any(|(_, is)| *is);
    samples.put_set("by", [(BY_HAND, by_hand)].into_iter().chain(by));
}

fn conditions(samples: &mut Samples<'_>, of: &Shown) {
    for (kind, condition) in &of.view.status.conditions {
        if condition.status {
            samples.put_with(&[("type", kind), ("reason", &condition.reason)], 1);
        }
    }
}

fn verdict(samples: &mut Samples<'_>, of: &Shown) {
    if let Some(judgement) = &of.view.status.judgement {
        put_verdicts(samples, &[], judgement.verdict);
    }
}

fn eta(samples: &mut Samples<'_>, of: &Shown) {
    let judgement = of.view.status.judgement.as_ref();
    if let Some(eta) = judgement.and_then(|judgement| judgement.eta) {
        samples.put(eta.as_secs_f64());
    }
}

fn analysed(samples: &mut Samples<'_>, of: &Shown) {
    if let Some(judgement) = &of.view.status.judgement {
        samples.put(judgement.requests);
    }
}

fn test_verdicts(samples: &mut Samples<'_>, of: &Shown) {
    for finding in findings(of) {
        let test = match &finding.test {
            Test::Metric(name) => name.clone(),
            test => format!("{test:?}"),
        };
        put_verdicts(samples, &[("test", &test)], finding.verdict);
    }
}

fn put_verdicts(samples: &mut Samples<'_>, labels: &[(&str, &str)], said: Verdict) {
    for verdict in [Verdict::NotYet, Verdict::NotWorse, Verdict::Worse] {
        let name = format!("{verdict:?}");
        let labels: Vec<_> = labels
            .iter()
            .copied()
            .chain([("verdict", name.as_str())])
            .collect();
        samples.put_with(&labels, u8::from(said == verdict));
    }
}

fn test_errors(samples: &mut Samples<'_>, of: &Shown) {
    for finding in findings(of) {
        let test = match finding.test {
            Test::SuccessDrop => "SuccessDrop",
            Test::SuccessFloor => "SuccessFloor",
            Test::Latency | Test::Metric(_) => continue,
        };
        for (which, value) in compared(finding) {
            samples.put_with(&[("test", test), ("of", which)], millionths(value));
        }
    }
}

fn test_latency(samples: &mut Samples<'_>, of: &Shown) {
    for finding in findings(of).filter(|finding| finding.test == Test::Latency) {
        for (which, value) in compared(finding) {
            samples.put_with(&[("of", which)], millionths(value));
        }
    }
}

fn findings(of: &Shown) -> impl Iterator<Item = &Finding> {
    let judgement = of.view.status.judgement.as_ref();
    judgement.into_iter().flat_map(|said| &said.findings)
}

fn compared(finding: &Finding) -> impl Iterator<Item = (&'static str, u64)> {
    [
        ("new", finding.new),
        ("old", finding.old),
        ("limit", finding.limit),
    ]
    .into_iter()
    .filter_map(|(which, value)| Some((which, value?)))
}

fn proxies(samples: &mut Samples<'_>, of: &Shown) {
    let applied = &of.view.status.applied;
    let refused = applied.lagging.iter().filter(|l| l.nack.is_some()).count();
    samples.put_with(&[("state", "applied")], applied.acked);
    samples.put_with(&[("state", "lagging")], applied.lagging.len() - refused);
    samples.put_with(&[("state", "refused")], refused);
}

fn lag(samples: &mut Samples<'_>, of: &Shown) {
    let lagging = &of.view.status.applied.lagging;
    let longest = lagging.iter().map(|l| of.now.since(l.since)).max();
    samples.put(longest.unwrap_or(Duration::ZERO).as_secs_f64());
}

fn rollback(samples: &mut Samples<'_>, of: &Shown) {
    if let Some(rule) = &of.view.status.notes.rollback_rule {
        samples.put_with(&[("rule", rule)], 1);
    }
}

fn by_reporter(of: &VersionNumbers, mut put: impl FnMut((&str, &str), &Served)) {
    put(("reported_by", "instances"), &of.reported.by_instances);
    put(("reported_by", "clients"), &of.reported.by_clients);
}

fn errors(samples: &mut Samples<'_>, of: &VersionNumbers) {
    by_reporter(of, |by, sums| {
        let classes = sums.classes;
        let known = [
            ("response", classes.response),
            ("timeout", classes.timeout),
            ("reset", classes.reset),
            ("connect", classes.connect),
        ];
        let told = known
            .iter()
            .fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        let other = ("other", sums.errors.saturating_sub(told));
        for (class, count) in known.into_iter().chain([other]) {
            samples.put_with(&[by, ("class", class)], count);
        }
    });
}

fn durations(samples: &mut Samples<'_>, of: &VersionNumbers) {
    by_reporter(of, |by, sums| {
        let mut below = 0_u64;
        for bound in segue_proto::names::metric::LATENCY_BOUNDS_US {
            below = below.saturating_add(sums.latency.get(&bound).copied().unwrap_or(0));
            let bound = millionths(bound).to_string();
            samples.put_part("_bucket", &[by, ("le", &bound)], below);
        }
        samples.put_part("_bucket", &[by, ("le", "+Inf")], below);
        samples.put_part("_sum", &[by], millionths(sums.latency_sum_us));
        samples.put_part("_count", &[by], below);
    });
}

fn last_session(samples: &mut Samples<'_>, of: &VersionNumbers) {
    if let Some(at) = of.last_session {
        samples.put(seconds_of(at));
    }
}

/// In seconds of Unix time.
fn seconds_of(at: Timestamp) -> f64 {
    Duration::from_millis(at.0).as_secs_f64()
}

/// Microseconds in seconds, or parts per million in parts of 1.
fn millionths(count: u64) -> f64 {
    Duration::from_micros(count).as_secs_f64()
}
