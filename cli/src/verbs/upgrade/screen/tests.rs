//! Screens as they are drawn.

use super::*;
use segue_proto::control::{
    Applied, Event, Finding, Judgement, LaggingProxy, PolicyField, TargetRef, UpgradeSpec,
    VersionStatus,
};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(43_200 + seconds)
}

fn version(id: &str, ready: u32, new_sessions: u64) -> VersionStatus {
    VersionStatus {
        id: id.to_owned(),
        instances: 3,
        ready,
        requests_per_second: 75.0,
        errors_per_second: 1.5,
        active_requests: 4,
        active_connections: 2,
        latency_us: Some(12_150),
        new_sessions,
        last_session: Some(at(98).into()),
    }
}

fn field(path: &str, value: &str) -> PolicyField {
    PolicyField {
        path: path.to_owned(),
        value: value.to_owned(),
        source: "built-in".to_owned(),
    }
}

fn event(second: u64, reason: &str, message: &str) -> Event {
    Event {
        at: Some(at(second).into()),
        reason: reason.to_owned(),
        message: message.to_owned(),
        ..Event::default()
    }
}

fn judgement() -> Judgement {
    Judgement {
        verdict: "NotYet".to_owned(),
        requests: 812,
        eta: Some(prost_types::Duration {
            seconds: 250,
            nanos: 0,
        }),
        findings: vec![Finding {
            test: "SuccessDrop".to_owned(),
            verdict: "NotWorse".to_owned(),
            new: Some(1_200),
            old: Some(1_100),
            text: "errors 0.12 % against 0.11 %: not worse".to_owned(),
            ..Finding::default()
        }],
    }
}

fn shifting() -> Upgrade {
    Upgrade {
        namespace: "shop".to_owned(),
        name: "checkout-v2-1".to_owned(),
        spec: Some(UpgradeSpec {
            target_ref: Some(TargetRef {
                kind: "Service".to_owned(),
                name: "checkout".to_owned(),
                ..TargetRef::default()
            }),
            from: "v1".to_owned(),
            to: "v2".to_owned(),
            paused: false,
        }),
        status: Some(UpgradeStatus {
            phase: "Shifting".to_owned(),
            weight: 2_500,
            measured_weight: Some(2_410),
            step: 2,
            steps: 4,
            applied: Some(Applied {
                acked: 37,
                total: 38,
                lagging: vec![LaggingProxy {
                    proxy: "shop/web-2".to_owned(),
                    since: Some(prost_types::Duration {
                        seconds: 4,
                        nanos: 0,
                    }),
                    nack: String::new(),
                }],
            }),
            message: "at 25 %".to_owned(),
            next_at: Some(at(400).into()),
            judgement: Some(judgement()),
            policy: vec![
                field("analysis.latency.quantile", "0.99"),
                field("rollback.window", "30m"),
            ],
            old: Some(version("v1", 3, 812)),
            new: Some(version("v2", 2, 255)),
            events: vec![
                event(1, "WarmUp", "5 % goes to the new version"),
                event(
                    5,
                    "Shifting",
                    "the hold is over: 25 % goes to the new version",
                ),
            ],
            ..UpgradeStatus::default()
        }),
        ..Upgrade::default()
    }
}

fn text(lines: &[Line]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    lines.join("\n")
}

#[test]
fn one_screen_says_it_all() {
    let shown = text(&lines(&shifting(), &Contact::Live, at(100)));
    let expected = "\
shop/checkout-v2-1   Service checkout   v1 -> v2   12:01:40 UTC
Phase        Shifting, step 2/4
Weight       25 % set, 24.10 % measured in this step
Applied      37/38 applied, 1 lagging 4 s: shop/web-2
Now          at 25 %
Until        12:06:40 UTC (in 5m00s)
Verdict      not yet after 812 requests in this step, about 4m10s to go
  SuccessDrop  errors 0.12 % against 0.11 %: not worse

             v1 (old)                v2 (new)
Ready        3/3                     2/3
Requests/s   75.0                    75.0
Errors       0.11 %                  0.12 %
p99          12.1 ms                 12.1 ms
Under way    4 req, 2 conn           4 req, 2 conn
Sessions     812 begun, last 2s ago  255 begun, last 2s ago

Old version  kept until 30m after 100 %, and until its last session ends
Rollback     ready: v1 warm, 3/3 instances
Next         segue upgrade promote|pause|rollback shop/checkout-v2-1
Events       12:00:05 UTC Shifting the hold is over: 25 % goes to the new version
             12:00:01 UTC WarmUp 5 % goes to the new version";
    assert_eq!(shown, expected);
}

#[test]
fn what_is_old_is_never_shown_as_fresh() {
    let lost = Contact::Lost {
        since: at(90),
        reason: "connection refused".to_owned(),
    };
    let lines = lines(&shifting(), &lost, at(100));
    assert_eq!(
        lines[2].text,
        "NOT UP TO DATE: no control plane answers since 12:01:30 UTC (10s): connection refused"
    );
    assert_eq!(lines[2].tone, Tone::Bad);
    let table = table(&[&shifting()], &lost, at(100));
    assert!(table[1].text.starts_with("NOT UP TO DATE"), "{table:?}");
}

#[test]
fn a_rollback_that_is_over_reads_as_a_healthy_service() {
    let mut upgrade = shifting();
    let status = upgrade.status.as_mut().unwrap();
    status.phase = "RolledBack".to_owned();
    status.rollback_reason = "3 failed checks in a row: shop/checkout-v2-0".to_owned();
    status.message = format!("healthy on the old version: {}", status.rollback_reason);
    let shown = text(&lines(&upgrade, &Contact::Live, at(100)));
    assert!(
        shown.contains("Phase        RolledBack: healthy on v1, the upgrade to v2 failed"),
        "{shown}"
    );
    assert!(shown.contains("Because      3 failed checks"), "{shown}");
    assert!(!shown.contains("\nNow "), "{shown}");
    // What analysis said before is no verdict on how things are.
    assert!(
        shown.contains("Last verdict not yet after 812 requests; nothing is analysed now"),
        "{shown}"
    );
    assert!(!shown.contains("SuccessDrop"), "{shown}");
    assert!(shown.contains("Errors       2.00 %"), "{shown}");
    assert!(
        shown.contains("segue upgrade explain|retry shop/checkout-v2-1"),
        "{shown}"
    );
}

#[test]
fn nothing_to_roll_back_to_is_said_loudly() {
    let mut upgrade = shifting();
    upgrade.status.as_mut().unwrap().old = Some(version("v1", 0, 0));
    let lines = lines(&upgrade, &Contact::Live, at(100));
    let line = lines
        .iter()
        .find(|line| line.text.starts_with("Rollback"))
        .unwrap();
    assert_eq!(line.tone, Tone::Bad);
}

#[test]
fn a_screen_of_next_to_nothing_is_drawn_all_the_same() {
    let shown = text(&lines(&Upgrade::default(), &Contact::Live, at(0)));
    assert!(shown.contains("Weight       0 %\n"), "{shown}");
    let mut begun = shifting();
    begun.status.as_mut().unwrap().measured_weight = None;
    let shown = text(&lines(&begun, &Contact::Live, at(0)));
    assert!(shown.contains("25 % set, nothing measured yet"), "{shown}");
}
