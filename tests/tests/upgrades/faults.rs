//! The new version turns bad, in each way and in each phase.

use super::{
    mesh::{brief, is_applied},
    outcome::Outcome,
    policy::{self, Margins, NO_ERRORS, Policy, WIDE},
    traffic::{Load, Traffic},
};
use segue_cli::lab::Mode;

/// How a version is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ill {
    Errors,
    FewErrors,
    Slow,
    Crash,
    Hang,
}

impl Ill {
    pub(super) const ALL: [Self; 5] = [
        Self::FewErrors,
        Self::Slow,
        Self::Hang,
        Self::Errors,
        Self::Crash,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Errors => "errors",
            Self::FewErrors => "few-errors",
            Self::Slow => "slow",
            Self::Crash => "crash",
            Self::Hang => "hang",
        }
    }

    /// As the application takes it.
    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Errors => &["--fault", "errors"],
            Self::FewErrors => &["--fault", "errors", "--errors-fraction", "0.05"],
            Self::Slow => &["--fault", "slow", "--slow-by", "400"],
            Self::Crash => &["--fault", "crash"],
            Self::Hang => &["--fault", "hang"],
        }
    }

    const fn margins(self) -> Margins {
        match self {
            Self::FewErrors => NO_ERRORS,
            Self::Slow => policy::NOT_SLOWER,
            Self::Errors | Self::Crash | Self::Hang => WIDE,
        }
    }

    /// True where only the numbers tell.
    const fn is_subtle(self) -> bool {
        matches!(self, Self::FewErrors | Self::Slow)
    }
}

/// When a version turns bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// From its start.
    Preparing,
    /// At the first weight.
    WarmUp,
    /// At 50 %.
    Shifting,
    /// At 100 %, with the old version on standby.
    Window,
    /// While the old version's sessions end.
    Draining,
}

impl When {
    pub(super) const ALL: [Self; 5] = [
        Self::Draining,
        Self::Window,
        Self::Preparing,
        Self::WarmUp,
        Self::Shifting,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::WarmUp => "warm-up",
            Self::Shifting => "shifting",
            Self::Window => "window",
            Self::Draining => "draining",
        }
    }
}

/// How the upgrade goes until it is bad: by hand, so that it waits wherever the fault is to come.
fn policy_of(ill: Ill, when: When) -> Policy {
    // What only numbers tell takes some dozens of requests.
    let first = if ill.is_subtle() { 20 } else { 5 };
    let (window, affinity) = match when {
        When::Draining => ("200ms", "Cookie"),
        When::Preparing | When::WarmUp | When::Shifting | When::Window => ("60s", "None"),
    };
    Policy {
        strategy: policy::by_hand(&[first, 50]),
        affinity,
        session_timeout: "40s",
        window,
        progress_deadline: if when == When::Preparing { "4s" } else { "20s" },
        analysis: policy::analysis(ill.margins()),
        ..Policy::default()
    }
}

/// Plays one of them. It ends `RolledBack`, and nothing fails but by the bad version.
pub(super) async fn play(mode: Mode, ill: Ill, when: When) -> Outcome {
    let load = Load::of(if ill.is_subtle() { 150 } else { 100 });
    let mut traffic = Traffic::start(mode, policy_of(ill, when), load).await;
    let mut flags = ill.flags().to_vec();
    if when == When::Preparing {
        flags.extend(["--fault-after", "0"]);
        traffic.begins_bad("v2");
    }
    traffic.version("checkout", "v2", &flags).await;
    match when {
        When::Preparing => {}
        When::WarmUp => drop(traffic.climb("v2", 1).await),
        When::Shifting => drop(traffic.climb("v2", 5_000).await),
        When::Window | When::Draining => {
            traffic.climb("v2", 5_000).await;
            if ill.is_subtle() {
                baseline(&mut traffic).await;
            }
            traffic.promote("v2", false, "").await;
            let phase = if when == When::Window {
                "RollbackWindow"
            } else {
                "Draining"
            };
            traffic
                .until("v2", phase, |status| {
                    status.phase == phase && is_applied_or_needs_not(status)
                })
                .await;
        }
    }
    if when != When::Preparing {
        traffic.turn_bad("v2").await;
    }
    let status = traffic.phase("v2", "RolledBack").await;
    assert!(
        status.message.contains("the upgrade failed: "),
        "{}",
        brief(&status)
    );
    let outcome = traffic.finish("RolledBack").await;
    let never_served = when == When::Preparing && !ill.is_subtle();
    assert!(
        !never_served || outcome.by_bad == 0,
        "what was never ready served: {outcome:?}"
    );
    outcome
}

/// Stays at this weight until the old version is known well enough to compare with afterwards, when
/// it has no traffic any more.
async fn baseline(traffic: &mut Traffic) {
    traffic
        .until("v2", "measured at 50 %", |status| {
            let judgement = status.judgement.as_ref();
            status.weight == 5_000 && judgement.is_some_and(|judgement| judgement.requests >= 300)
        })
        .await;
}

/// `Draining` begins with nothing to apply.
fn is_applied_or_needs_not(status: &segue_proto::control::UpgradeStatus) -> bool {
    status.phase == "Draining" || is_applied(status)
}

/// There is nothing to go back to: it says so, and ends with the new version.
pub(super) async fn after_old_is_gone(mode: Mode) -> Outcome {
    let policy = Policy {
        window: "200ms",
        ..Policy::default()
    };
    let mut traffic = Traffic::start(mode, policy, Load::of(100)).await;
    traffic.stops_drained = false;
    traffic.version("checkout", "v2", Ill::Errors.flags()).await;
    let status = traffic
        .until("v2", "drained", |status| status.drained.len() == 2)
        .await;
    traffic.alone = Some("v2");
    traffic.turn_bad("v2").await;
    traffic
        .until("v2", "refused the way back", |status| {
            let refused = |condition: &segue_proto::control::Condition| {
                condition.r#type == "RollbackRefused" && condition.status
            };
            status.conditions.iter().any(refused)
        })
        .await;
    traffic.stop(&status.drained);
    traffic.phase("v2", "Succeeded").await;
    traffic.finish("Succeeded").await
}

/// Going back would help nobody: it stands still and says why.
pub(super) async fn both_versions(mode: Mode) -> Outcome {
    let policy = policy_of(Ill::Errors, When::Shifting);
    let mut traffic = Traffic::start(mode, policy, Load::of(100)).await;
    traffic.version("checkout", "v2", Ill::Errors.flags()).await;
    traffic.climb("v2", 5_000).await;
    // Rates are of the last second: both versions have served for longer.
    let serves = |status: &segue_proto::control::UpgradeStatus| {
        let new = status.new.as_ref();
        new.is_some_and(|new| new.requests_per_second > 40.0)
    };
    traffic
        .until("v2", "served by v2 for seconds", serves)
        .await;
    traffic.alone = Some("v2");
    traffic.turn_bad("v1").await;
    traffic.turn_bad("v2").await;
    let status = traffic.until("v2", "paused", |status| status.paused).await;
    assert_eq!((status.phase.as_str(), status.weight), ("Shifting", 5_000));
    let both = |condition: &segue_proto::control::Condition| {
        condition.r#type == "BothVersionsFailing" && condition.status
    };
    assert!(status.conditions.iter().any(both), "{}", brief(&status));
    traffic.finish("paused").await
}
