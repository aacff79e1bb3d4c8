//! Operators at awkward moments. Nothing fails in any of these.

use super::{
    mesh::{brief, is_applied},
    outcome::Outcome,
    policy::{self, Policy},
    traffic::{Load, Traffic, Verb},
};
use nix::libc::{SIGCONT, SIGSTOP};
use segue_cli::lab::Mode;
use segue_proto::control::{Condition, UpgradeStatus};
use std::time::Duration;
use tonic::Code;

/// v1 serves, v2 is there, and every step waits for a person.
async fn by_hand(mode: Mode, policy: Policy) -> Traffic {
    let policy = Policy {
        strategy: policy::by_hand(&[20, 50]),
        ..policy
    };
    let mut traffic = Traffic::start(mode, policy, Load::of(60)).await;
    traffic.version("checkout", "v2", &[]).await;
    traffic
}

async fn finish(traffic: Traffic, ended: &str) -> Outcome {
    let outcome = traffic.finish(ended).await;
    assert_eq!(outcome.by_bad, 0, "{outcome:?}");
    outcome
}

/// To the end, whatever waits for a person.
async fn succeed(traffic: &mut Traffic) {
    traffic.climb("v2", 5_000).await;
    traffic.promote("v2", false, "").await;
    traffic.phase("v2", "Succeeded").await;
}

/// A proxy that stands still holds the barrier up; the pause comes meanwhile and holds at that step.
pub(super) async fn pause_during_the_barrier(mode: Mode) -> Outcome {
    let mut traffic = by_hand(mode, Policy::default()).await;
    traffic.climb("v2", 2_000).await;
    traffic.client_pod().signal_sidecar(SIGSTOP).await.unwrap();
    traffic.promote("v2", false, "").await;
    let status = traffic
        .until("v2", "at 50 %", |status| status.weight == 5_000)
        .await;
    assert!(!is_applied(&status), "{}", brief(&status));
    traffic.command("v2", Verb::Pause).await.unwrap();
    traffic.client_pod().signal_sidecar(SIGCONT).await.unwrap();
    let paused = |status: &UpgradeStatus| status.paused && status.weight == 5_000;
    traffic
        .until("v2", "applied", |status| {
            let Some(applied) = &status.applied else {
                return false;
            };
            applied.acked == applied.total
        })
        .await;
    traffic
        .stays("v2", "paused", Duration::from_secs(1), paused)
        .await;
    traffic.command("v2", Verb::Resume).await.unwrap();
    traffic.promote("v2", false, "").await;
    traffic.phase("v2", "Succeeded").await;
    finish(traffic, "Succeeded").await
}

/// Nothing is ready yet: it goes to 100 % once all of it is, and not before.
pub(super) async fn promote_full_in_preparing(mode: Mode) -> Outcome {
    let policy = Policy {
        strategy: policy::by_hand(&[20, 50]),
        ..Policy::default()
    };
    let mut traffic = Traffic::start(mode, policy, Load::of(60)).await;
    let bad = ["--fault", "errors", "--fault-after", "0"];
    traffic.version("checkout", "v2", &bad).await;
    traffic.phase("v2", "Preparing").await;
    traffic.promote("v2", true, "").await;
    traffic
        .stays("v2", "at 0", Duration::from_secs(2), |status| {
            status.phase == "Preparing" && status.weight == 0
        })
        .await;
    traffic.heal("v2").await;
    let status = traffic.phase("v2", "Succeeded").await;
    let between = |weight| weight != 0 && weight != 10_000;
    assert!(
        !status.history.iter().any(|line| between(line.weight)),
        "{}",
        brief(&status)
    );
    finish(traffic, "Succeeded").await
}

pub(super) async fn roll_back_at_100(mode: Mode) -> Outcome {
    let policy = Policy {
        window: "60s",
        ..Policy::default()
    };
    let mut traffic = by_hand(mode, policy).await;
    traffic.climb("v2", 5_000).await;
    traffic.promote("v2", false, "").await;
    traffic.phase("v2", "RollbackWindow").await;
    traffic.roll_back("v2").await.unwrap();
    let status = traffic.phase("v2", "RolledBack").await;
    assert!(status.message.contains("asked by the scenario"));
    finish(traffic, "RolledBack").await
}

/// The old version still has its sessions.
pub(super) async fn roll_back_in_draining(mode: Mode) -> Outcome {
    let policy = Policy {
        window: "200ms",
        affinity: "Cookie",
        session_timeout: "40s",
        ..Policy::default()
    };
    let mut traffic = by_hand(mode, policy).await;
    traffic.climb("v2", 5_000).await;
    traffic.promote("v2", false, "").await;
    traffic.phase("v2", "Draining").await;
    traffic.roll_back("v2").await.unwrap();
    traffic.phase("v2", "RolledBack").await;
    finish(traffic, "RolledBack").await
}

/// Every old instance may be stopped at any moment: it is refused and says why.
pub(super) async fn roll_back_after_old_is_gone(mode: Mode) -> Outcome {
    let policy = Policy {
        window: "200ms",
        ..Policy::default()
    };
    let mut traffic = by_hand(mode, policy).await;
    traffic.stops_drained = false;
    traffic.climb("v2", 5_000).await;
    traffic.promote("v2", false, "").await;
    let status = traffic
        .until("v2", "drained", |status| status.drained.len() == 2)
        .await;
    let refusal = traffic.roll_back("v2").await.unwrap_err();
    assert_eq!(refusal.code(), Code::FailedPrecondition, "{refusal}");
    assert!(refusal.message().starts_with("rollback"), "{refusal}");
    traffic
        .until("v2", "refused", |status| {
            let refused = |condition: &Condition| {
                condition.r#type == "CommandRefused" && condition.reason == "NoOldInstance"
            };
            status.conditions.iter().any(refused)
        })
        .await;
    traffic.stop(&status.drained);
    traffic.phase("v2", "Succeeded").await;
    finish(traffic, "Succeeded").await
}

pub(super) async fn retry_after_rollback(mode: Mode) -> Outcome {
    let mut traffic = by_hand(mode, Policy::default()).await;
    traffic.climb("v2", 2_000).await;
    traffic.roll_back("v2").await.unwrap();
    traffic.phase("v2", "RolledBack").await;
    traffic.command("v2", Verb::Retry).await.unwrap();
    traffic
        .until("v2", "tried again", |status| status.phase != "RolledBack")
        .await;
    succeed(&mut traffic).await;
    finish(traffic, "Succeeded").await
}

/// The second one finds that it is so already: it is answered as the first, and changes nothing.
pub(super) async fn resume_twice(mode: Mode) -> Outcome {
    let mut traffic = by_hand(mode, Policy::default()).await;
    traffic.climb("v2", 2_000).await;
    traffic.command("v2", Verb::Pause).await.unwrap();
    traffic.until("v2", "paused", |status| status.paused).await;
    traffic.command("v2", Verb::Resume).await.unwrap();
    traffic.command("v2", Verb::Resume).await.unwrap();
    traffic
        .until("v2", "resumed", |status| {
            !status.paused && status.weight == 2_000
        })
        .await;
    succeed(&mut traffic).await;
    finish(traffic, "Succeeded").await
}

/// The same request twice is one step.
pub(super) async fn request_id_twice(mode: Mode) -> Outcome {
    let mut traffic = by_hand(mode, Policy::default()).await;
    traffic.climb("v2", 2_000).await;
    traffic.promote("v2", false, "step-one").await;
    repeated_in_vain(traffic).await
}

/// What was answered is not lost with the control plane, and repeating it does nothing twice.
pub(super) async fn killed_after_a_verb(mode: Mode) -> Outcome {
    let mut traffic = by_hand(mode, Policy::default()).await;
    traffic.climb("v2", 2_000).await;
    traffic.promote("v2", false, "step-one").await;
    traffic.control_plane.kill().await.unwrap();
    traffic.control_plane.restart().await.unwrap();
    repeated_in_vain(traffic).await
}

/// The promotion `step-one` has its effect, and asked once more it has no other.
async fn repeated_in_vain(mut traffic: Traffic) -> Outcome {
    traffic
        .until("v2", "at 50 %", |status| {
            status.weight == 5_000 && is_applied(status)
        })
        .await;
    traffic.promote("v2", false, "step-one").await;
    traffic
        .stays("v2", "at 50 %", Duration::from_secs(2), |status| {
            status.weight == 5_000
        })
        .await;
    succeed(&mut traffic).await;
    finish(traffic, "Succeeded").await
}
