//! Upgrades without a fault or with one that is not the point: low traffic, two services, three versions, strategies.

use super::{
    mesh::{brief, is_applied},
    outcome::Outcome,
    policy::{self, NO_ERRORS, Policy, WIDE},
    traffic::{Load, Traffic},
};
use segue_cli::lab::Mode;
use segue_proto::control::Transition;
use std::time::Duration;

/// Nothing of this may fail, in whatever way.
fn clean(outcome: Outcome) -> Outcome {
    assert_eq!(outcome.by_bad, 0, "{outcome:?}");
    outcome
}

/// All phases by itself, with sessions, streams and TCP connections; old instances stop as they are drained.
pub(super) async fn good(mode: Mode) -> Outcome {
    let policy = Policy {
        strategy: policy::canary(&[5, 20, 50]),
        affinity: "Cookie",
        drain_timeout: "20s",
        ..Policy::default()
    };
    let load = Load {
        channels: 3,
        ..Load::of(120)
    };
    let mut traffic = Traffic::start(mode, policy, load).await;
    traffic.version("checkout", "v2", &[]).await;
    let status = traffic.phase("v2", "Succeeded").await;
    let phases: Vec<&str> = status
        .history
        .iter()
        .map(|line| line.phase.as_str())
        .collect();
    for phase in [
        "Preparing",
        "WarmUp",
        "Shifting",
        "RollbackWindow",
        "Draining",
        "Succeeded",
    ] {
        assert!(phases.contains(&phase), "{phases:?}");
    }
    clean(traffic.finish("Succeeded").await)
}

/// One request a second.
const TRICKLE: Load = Load {
    rate: 1,
    sessions: 3,
    new_sessions: 0,
    channels: 0,
};

/// The upgrade under one request a second, until it is at its first weight.
async fn trickle(mode: Mode, max_wait: &str, then: &str) -> Traffic {
    let policy = Policy {
        strategy: policy::canary(&[20]),
        analysis: policy::waiting(WIDE, max_wait, then),
        ..Policy::default()
    };
    let mut traffic = Traffic::start(mode, policy, TRICKLE).await;
    traffic.version("checkout", "v2", &[]).await;
    traffic.phase("v2", "WarmUp").await;
    traffic
}

/// The hold is over, and there is too little to know: it waits and says so.
pub(super) async fn low_traffic_waits(mode: Mode) -> Outcome {
    let mut traffic = trickle(mode, "5m", "Pause").await;
    traffic
        .until("v2", "at its first verdict", |status| {
            status
                .judgement
                .as_ref()
                .is_some_and(|judgement| judgement.verdict == "NotYet")
        })
        .await;
    traffic
        .stays("v2", "at 20 %", Duration::from_secs(5), |status| {
            status.phase == "WarmUp" && status.weight == 2_000 && !status.paused
        })
        .await;
    clean(traffic.finish("WarmUp").await)
}

pub(super) async fn low_traffic_proceed(mode: Mode) -> Outcome {
    let mut traffic = trickle(mode, "3s", "Proceed").await;
    traffic.phase("v2", "Succeeded").await;
    clean(traffic.finish("Succeeded").await)
}

pub(super) async fn low_traffic_roll_back(mode: Mode) -> Outcome {
    let mut traffic = trickle(mode, "3s", "RollBack").await;
    traffic.phase("v2", "RolledBack").await;
    clean(traffic.finish("RolledBack").await)
}

pub(super) async fn low_traffic_pause(mode: Mode) -> Outcome {
    let mut traffic = trickle(mode, "3s", "Pause").await;
    let status = traffic.until("v2", "paused", |status| status.paused).await;
    assert_eq!((status.phase.as_str(), status.weight), ("WarmUp", 2_000));
    clean(traffic.finish("paused").await)
}

/// One service goes back, and the other one goes on as if nothing were.
pub(super) async fn two_services(mode: Mode) -> Outcome {
    let services = [
        ("checkout", "v1", Policy::default()),
        (
            "cart",
            "c1",
            Policy {
                strategy: policy::by_hand(&[50]),
                ..Policy::default()
            },
        ),
    ];
    let mut traffic = Traffic::start_all(mode, &services, Load::of(60)).await;
    traffic.version("cart", "c2", &["--fault", "errors"]).await;
    traffic.version("checkout", "v2", &[]).await;
    traffic.climb("c2", 5_000).await;
    traffic.turn_bad("c2").await;
    traffic.phase("c2", "RolledBack").await;
    let status = traffic.phase("v2", "Succeeded").await;
    let back = |line: &Transition| line.phase == "RollingBack";
    assert!(!status.history.iter().any(back), "{}", brief(&status));
    traffic.finish("Succeeded").await
}

/// v3 comes while v2 is at 50 %: it waits until v2 is the stable one.
pub(super) async fn third_after_good(mode: Mode) -> Outcome {
    let policy = Policy {
        strategy: policy::by_hand(&[50]),
        window: "300ms",
        ..Policy::default()
    };
    let mut traffic = Traffic::start(mode, policy, Load::of(60)).await;
    traffic.version("checkout", "v2", &[]).await;
    traffic.climb("v2", 5_000).await;
    traffic.version("checkout", "v3", &[]).await;
    traffic
        .stays("v2", "at 50 %", Duration::from_secs(1), |status| {
            status.weight == 5_000
        })
        .await;
    assert_eq!(traffic.seen("v3").len(), 0, "v3 served out of turn");
    traffic.promote("v2", false, "").await;
    traffic.phase("v2", "Succeeded").await;
    traffic.climb("v3", 5_000).await;
    traffic.promote("v3", false, "").await;
    traffic.phase("v3", "Succeeded").await;
    let from = traffic.upgrade("v3").await.unwrap().spec.unwrap().from;
    assert_eq!(from, "v2");
    clean(traffic.finish("Succeeded").await)
}

/// v3 comes while v2 is about to fail: it upgrades from v1.
pub(super) async fn third_after_bad(mode: Mode) -> Outcome {
    let policy = Policy {
        strategy: policy::by_hand(&[50]),
        window: "300ms",
        ..Policy::default()
    };
    let mut traffic = Traffic::start(mode, policy, Load::of(60)).await;
    traffic
        .version("checkout", "v2", &["--fault", "errors"])
        .await;
    traffic.climb("v2", 5_000).await;
    traffic.version("checkout", "v3", &[]).await;
    traffic.turn_bad("v2").await;
    let status = traffic.phase("v2", "RolledBack").await;
    traffic.stop(&status.drained);
    traffic.climb("v3", 5_000).await;
    traffic.promote("v3", false, "").await;
    traffic.phase("v3", "Succeeded").await;
    let from = traffic.upgrade("v3").await.unwrap().spec.unwrap().from;
    assert_eq!(from, "v1");
    traffic.finish("Succeeded").await
}

pub(super) async fn blue_green(mode: Mode) -> Outcome {
    let policy = Policy {
        strategy: "{type: BlueGreen, capacity: Full}".to_owned(),
        ..Policy::default()
    };
    let mut traffic = Traffic::start(mode, policy, Load::of(60)).await;
    traffic.version("checkout", "v2", &[]).await;
    let status = traffic.phase("v2", "Succeeded").await;
    let between = |weight| weight != 0 && weight != 10_000;
    assert!(
        !status.history.iter().any(|line| between(line.weight)),
        "{}",
        brief(&status)
    );
    clean(traffic.finish("Succeeded").await)
}

/// With half of the instances half of the traffic, and no more until the others are ready.
pub(super) async fn capacity_match(mode: Mode) -> Outcome {
    let policy = Policy {
        strategy: policy::canary(&[50]).replace("capacity: Full", "capacity: Match"),
        ..Policy::default()
    };
    let mut traffic = Traffic::start(mode, policy, Load::of(60)).await;
    traffic.instance("checkout", "v2", 0, &[]).await;
    traffic
        .until("v2", "at 50 %", |status| {
            status.weight == 5_000 && is_applied(status)
        })
        .await;
    traffic
        .stays("v2", "at 50 %", Duration::from_secs(3), |status| {
            status.weight == 5_000
        })
        .await;
    traffic.instance("checkout", "v2", 1, &[]).await;
    traffic.phase("v2", "Succeeded").await;
    clean(traffic.finish("Succeeded").await)
}

/// A step that waits for a person waits, however good the numbers are.
pub(super) async fn manual_step(mode: Mode) -> Outcome {
    let policy = Policy {
        strategy:
            "{type: Canary, capacity: Full, steps: [{weight: 20, manual: true}, {weight: 100}]}"
                .to_owned(),
        analysis: policy::analysis(NO_ERRORS),
        ..Policy::default()
    };
    let mut traffic = Traffic::start(mode, policy, Load::of(60)).await;
    traffic.version("checkout", "v2", &[]).await;
    traffic
        .until("v2", "at 20 %", |status| {
            status.weight == 2_000 && is_applied(status)
        })
        .await;
    traffic
        .stays("v2", "at 20 %", Duration::from_secs(3), |status| {
            status.weight == 2_000 && !status.paused
        })
        .await;
    traffic.promote("v2", false, "").await;
    traffic.phase("v2", "Succeeded").await;
    clean(traffic.finish("Succeeded").await)
}
