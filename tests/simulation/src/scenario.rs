//! What a seed stands for: the service, its policy, how good the new version is, what breaks.

use super::queue::Ms;
use segue_control_plane::model::{
    Affinity, Analysis, Balancing, Capacity, Drain, Health, Limits, OnLowTraffic, Policy, Ppm,
    Rollback, SameSite, Share, Start, Step, SuccessRate,
};
use std::time::Duration;

/// How the versions behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// All answer well.
    Good,
    /// The new version answers with errors from some moment on.
    NewTurnsBad,
    /// The new version answers with some errors from some moment on: too few in a row for a fuse.
    NewIsWorse,
    /// The new version turns slow at some moment.
    NewIsSlow,
    /// The new version's instances stop passing their checks at some moment.
    NewFailsChecks,
    /// The new version never comes up.
    NewNeverReady,
    /// From some moment on both versions' instances fail their checks.
    BothFailChecks,
}

impl Quality {
    /// Nothing but analysis sees it.
    pub(crate) fn is_for_analysis(self) -> bool {
        matches!(self, Self::NewIsWorse | Self::NewIsSlow)
    }
}

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The mean time between two faults; 0: nothing breaks.
    pub every: Ms,
    /// Streams are cut and networks partitioned, reports come late and twice.
    pub network: bool,
    /// The control plane is killed: between two turns, and at any write within one.
    pub control_plane: bool,
    /// Sidecars are killed and start again.
    pub sidecars: bool,
    /// Instances crash, and vanish with their sidecar.
    pub instances: bool,
}

/// One run to be simulated.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// All chance comes from it.
    pub seed: u64,
    /// How the upgrade is to go.
    pub policy: Policy,
    /// How the versions behave.
    pub quality: Quality,
    /// What breaks.
    pub faults: Faults,
    /// Instances of each version.
    pub instances: u8,
    /// Sidecars of clients.
    pub clients: u8,
    /// Sessions at a time.
    pub sessions: usize,
    /// When a third version arrives.
    pub third_version: Option<Ms>,
    /// Verbs that somebody asks for at random moments.
    pub verbs: u32,
    /// How long the orchestrator takes at most from reading that an instance is drained to
    /// stopping it.
    pub stop_delay: Ms,
    /// From when on nothing breaks any more.
    pub heal: Ms,
    /// Somebody answers a run that waits for a person once all is healed.
    pub attended: bool,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5e67_0e5e_ed00_0001);
        let quality = match rng.u8(..20) {
            0..=5 => Quality::Good,
            6 | 7 => Quality::NewIsWorse,
            8 | 9 => Quality::NewIsSlow,
            10..=12 => Quality::NewTurnsBad,
            13..=15 => Quality::NewFailsChecks,
            16..=17 => Quality::NewNeverReady,
            _ => Quality::BothFailChecks,
        };
        let calm = rng.u8(..8) == 0;
        let faults = Faults {
            every: if calm { 0 } else { rng.u64(400..6_000) },
            network: rng.u8(..4) > 0,
            control_plane: rng.u8(..4) > 0,
            sidecars: rng.u8(..4) == 0,
            instances: rng.u8(..4) == 0,
        };
        Self {
            seed,
            policy: policy(quality, &mut rng),
            quality,
            faults,
            instances: rng.u8(1..4),
            clients: rng.u8(2..5),
            sessions: rng.usize(4..14),
            third_version: (rng.u8(..5) == 0).then(|| rng.u64(4_000..25_000)),
            verbs: if rng.bool() { rng.u32(1..6) } else { 0 },
            stop_delay: if rng.bool() { 0 } else { rng.u64(50..1_500) },
            heal: 30_000,
            attended: rng.u8(..5) > 0,
        }
    }
}

/// Short holds, so that a run is over within a minute of virtual time.
fn policy(quality: Quality, rng: &mut fastrand::Rng) -> Policy {
    let mut step = |percent, longest: u64| Step {
        weight: Share::from_percent(percent).unwrap_or(Share::ALL),
        hold: Duration::from_millis(rng.u64(0..=longest)),
        manual: false,
    };
    let mut steps = vec![step(20, 3_000), step(60, 3_000), step(100, 1_500)];
    if rng.u8(..4) == 0 && !quality.is_for_analysis() {
        steps.drain(..2);
    }
    if rng.u8(..8) == 0
        && let Some(first) = steps.first_mut()
    {
        first.manual = true;
    }
    let ttl = if rng.u8(..3) == 0 { 30 } else { 3_600 };
    Policy {
        steps,
        capacity: if rng.bool() {
            Capacity::Full
        } else {
            Capacity::Match
        },
        affinity: if rng.u8(..5) == 0 {
            Affinity::None
        } else {
            Affinity::Cookie {
                name: None,
                ttl: Duration::from_secs(ttl),
                path: "/".to_owned(),
                same_site: SameSite::Lax,
                secure: false,
            }
        },
        drain: Drain {
            timeout: Duration::from_secs(12),
            session_timeout: Duration::from_secs(4),
        },
        health: Health {
            interval: Duration::from_secs(1),
            failure_threshold: 3,
        },
        analysis: analysis(quality),
        rollback: Rollback {
            window: Duration::from_millis(rng.u64(500..4_000)),
        },
        start: if rng.u8(..8) == 0 {
            Start::Manual
        } else {
            Start::Auto
        },
        progress_deadline: Duration::from_secs(25),
        notify: Vec::new(),
        limits: Limits::default(),
        balancing: Balancing::default(),
    }
}

/// Analysis that is content with a few requests, and no stricter than the applications are good.
fn analysis(quality: Quality) -> Analysis {
    Analysis {
        interval: Duration::from_millis(500),
        warm_up: Duration::ZERO,
        min_requests: 5,
        max_wait: Duration::from_secs(if quality.is_for_analysis() { 20 } else { 4 }),
        on_low_traffic: OnLowTraffic::Proceed,
        success_rate: SuccessRate {
            min: Ppm(500_000),
            max_drop: Ppm(200_000),
        },
        ..Policy::default().analysis
    }
}
