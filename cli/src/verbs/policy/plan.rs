//! What an upgrade under a policy would do, in sentences.

use segue_control_plane::{
    model::{Affinity, Capacity, OnLowTraffic, Policy, Ppm, ShiftKey, Sink, Start, shown},
    resource::Period,
};
use std::time::Duration;

/// One line: `5 % for 10m, 25 % for 5m, 100 %; then 30m of rollback window`.
pub(in crate::verbs) fn in_short(policy: &Policy) -> String {
    let steps: Vec<String> = policy
        .steps
        .iter()
        .map(|step| match (step.manual, step.hold) {
            (true, _) => format!("{} until promoted", step.weight),
            (false, Duration::ZERO) => step.weight.to_string(),
            (false, hold) => format!("{} for {}", step.weight, Period(hold)),
        })
        .collect();
    format!(
        "{}; then {} of rollback window",
        steps.join(", "),
        Period(policy.rollback.window)
    )
}

/// All of it. `instances`: how many the old version has; 0: not known.
pub(super) fn lines(policy: &Policy, instances: u32) -> Vec<String> {
    let mut lines = vec![match policy.start {
        Start::Auto => "starts by itself when instances of a new version appear".to_owned(),
        Start::Manual => "waits for `segue upgrade start`".to_owned(),
    }];
    steps(policy, instances, &mut lines);
    lines.push(least(policy));
    lines.push(match &policy.affinity {
        Affinity::None => "draws each request by itself (no session affinity)".to_owned(),
        Affinity::Cookie { ttl, .. } => format!(
            "keeps each session on its version by a cookie ({})",
            Period(*ttl)
        ),
        Affinity::Shift(key) => format!(
            "tells each user's version by {}: as the weight grows users move to the new version, none back; \
             analysis compares with all requests to the old one",
            match key {
                ShiftKey::Header(name) => format!("the header {name}"),
                ShiftKey::SourceIp => "the client's address".to_owned(),
                ShiftKey::Cookie(cookie) => format!("a cookie ({})", Period(cookie.ttl)),
            }
        ),
    });
    back(policy, &mut lines);
    lines.push(told(policy));
    lines
}

fn steps(policy: &Policy, instances: u32, lines: &mut Vec<String>) {
    for (number, step) in (1_usize..).zip(&policy.steps) {
        let carried = match (policy.capacity, instances) {
            (_, 0) => String::new(),
            (Capacity::Full, n) => format!(", with {n} of {n} new instances ready"),
            (Capacity::Match, n) => {
                format!(
                    ", with {} of {n} new instances ready",
                    step.weight.of_ceil(n)
                )
            }
        };
        let hold = match (step.manual, step.hold) {
            (true, _) => ", until a person promotes it".to_owned(),
            (false, Duration::ZERO) => String::new(),
            (false, hold) => format!(", for {} at least", Period(hold)),
        };
        lines.push(format!(
            "step {number}: {} of new traffic{carried}{hold}",
            step.weight
        ));
    }
}

fn least(policy: &Policy) -> String {
    let holds: Duration = policy.steps.iter().map(|step| step.hold).sum();
    let by_hand = if policy.steps.iter().any(|step| step.manual) {
        ", and what people take"
    } else {
        ""
    };
    format!(
        "takes {} at least to 100 %{by_hand}, and keeps the old version {} more",
        Period(holds),
        Period(policy.rollback.window)
    )
}

fn back(policy: &Policy, lines: &mut Vec<String>) {
    let analysis = &policy.analysis;
    lines.push(format!(
        "steps up when analysis says not worse (confidence {}), after {} requests to the new version",
        percent(analysis.confidence),
        analysis.min_requests
    ));
    lines.push(format!(
        "with too little traffic for {}: {}",
        Period(analysis.max_wait),
        match analysis.on_low_traffic {
            OnLowTraffic::Proceed => "goes on",
            OnLowTraffic::RollBack => "goes back",
            OnLowTraffic::Pause => "pauses for a person",
        }
    ));
    lines.push(format!(
        "goes back where successes are under {} or more than {} points under the old version's, or {} latency more than {} above it",
        percent(analysis.success_rate.min),
        percent(analysis.success_rate.max_drop).trim_end_matches(" %"),
        quantile(analysis.latency.quantile),
        percent(analysis.latency.max_increase)
    ));
    lines.push(format!(
        "goes back after {} failed checks in a row of a new instance, or where new instances are not ready within {}",
        policy.health.failure_threshold,
        Period(policy.progress_deadline)
    ));
    for metric in &analysis.metrics {
        lines.push(format!(
            "goes back after {} bad answers in a row of the metric {} (asked every {})",
            metric.failure_threshold,
            metric.name,
            Period(metric.interval)
        ));
    }
}

fn told(policy: &Policy) -> String {
    let sinks: Vec<String> = policy
        .notify
        .iter()
        .map(|sink| match sink {
            Sink::CloudEvents { sink, .. } => format!("CloudEvents to {}", shown(sink)),
            Sink::Nats {
                server, subject, ..
            } => format!("NATS subject {subject} at {}", shown(server)),
        })
        .collect();
    match sinks.as_slice() {
        [] => "tells nobody (no `notify`)".to_owned(),
        sinks => format!("tells {}", sinks.join(", ")),
    }
}

fn percent(ppm: Ppm) -> String {
    format!("{} %", f64::from(ppm.0) / 10_000.0)
}

/// `p99`
fn quantile(ppm: Ppm) -> String {
    format!("p{}", f64::from(ppm.0) / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use segue_control_plane::model::ContentMode;

    #[test]
    fn the_norms_in_sentences() {
        let expected = "\
starts by itself when instances of a new version appear
step 1: 5 % of new traffic, with 1 of 10 new instances ready, for 10m at least
step 2: 25 % of new traffic, with 3 of 10 new instances ready, for 5m at least
step 3: 50 % of new traffic, with 5 of 10 new instances ready, for 5m at least
step 4: 100 % of new traffic, with 10 of 10 new instances ready
takes 20m at least to 100 %, and keeps the old version 30m more
draws each request by itself (no session affinity)
steps up when analysis says not worse (confidence 99 %), after 100 requests to the new version
with too little traffic for 30m: pauses for a person
goes back where successes are under 99.5 % or more than 0.5 points under the old version's, or p99 latency more than 20 % above it
goes back after 3 failed checks in a row of a new instance, or where new instances are not ready within 10m
tells nobody (no `notify`)";
        assert_eq!(lines(&Policy::default(), 10).join("\n"), expected);
    }

    #[test]
    fn passwords_of_sinks_are_not_shown() {
        let policy = Policy {
            notify: vec![
                Sink::Nats {
                    server: "nats://me:secret@nats.ops:4222".to_owned(),
                    subject: "upgrades".to_owned(),
                    jet_stream: false,
                },
                Sink::CloudEvents {
                    sink: "http://events.ops.svc/a@b".to_owned(),
                    mode: ContentMode::Binary,
                },
            ],
            ..Policy::default()
        };
        assert_eq!(
            told(&policy),
            "tells NATS subject upgrades at nats://…@nats.ops:4222, CloudEvents to http://events.ops.svc/…"
        );
    }
}
