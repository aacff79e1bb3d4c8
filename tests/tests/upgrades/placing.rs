//! Half of the clients have no sidecar.

use super::{
    outcome::Outcome,
    policy::{self, Policy, WIDE},
    traffic::{Load, Traffic},
};
use segue_cli::lab::Mode;
use std::collections::BTreeMap;

/// Enough sessions begin in it to tell a share.
const STRATEGY: &str = "{type: Canary, capacity: Full, steps: [{weight: 10, hold: 5s}, {weight: 50, hold: 5s}, {weight: 100}]}";

async fn half_outside(mode: Mode) -> Traffic {
    let policy = Policy {
        strategy: STRATEGY.to_owned(),
        affinity: "Cookie",
        drain_timeout: "20s",
        ..Policy::default()
    };
    let mut traffic = Traffic::start(mode, policy, Load::of(120)).await;
    traffic.outside().await;
    traffic
}

/// All phases; the shares of sessions that begin outside the mesh are as set, and none of them moves.
pub(super) async fn good(mode: Mode) -> Outcome {
    let mut traffic = half_outside(mode).await;
    traffic.version("checkout", "v2", &[]).await;
    let status = traffic.phase("v2", "Succeeded").await;
    let outcome = traffic
        .finish_outside("Succeeded", |mesh, account| {
            account.check_once(&mesh.seen_by_all());
            account.check_direct();
            let told = account.check_shares(&status, "v2");
            let by_weight: BTreeMap<u32, u32> = told.iter().map(|(w, all, _)| (*w, *all)).collect();
            for weight in [1_000, 5_000, 10_000] {
                assert!(
                    by_weight.get(&weight) >= Some(&50),
                    "too few to tell: {told:?}"
                );
            }
        })
        .await;
    assert_eq!(outcome.by_bad, 0, "{outcome:?}");
    outcome
}

/// v2 turns bad at 50 %, and everybody goes back.
pub(super) async fn back(mode: Mode) -> Outcome {
    let policy = Policy {
        strategy: policy::by_hand(&[50]),
        affinity: "Cookie",
        analysis: policy::analysis(WIDE),
        ..Policy::default()
    };
    let mut traffic = Traffic::start(mode, policy, Load::of(120)).await;
    traffic.outside().await;
    traffic
        .version("checkout", "v2", &["--fault", "errors"])
        .await;
    traffic.climb("v2", 5_000).await;
    traffic.turn_bad("v2").await;
    traffic.phase("v2", "RolledBack").await;
    traffic
        .finish_outside("RolledBack", |mesh, account| {
            account.check_once(&mesh.seen_by_all());
        })
        .await
}
