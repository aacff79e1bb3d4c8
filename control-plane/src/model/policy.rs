//! How an upgrade of a service is to go: the effective policy, all fields filled in.

use super::{
    Analysis, Balancing, Latency, MetricSource, OnLowTraffic, Ppm, SameSite, Share, SuccessRate,
    is_default, shown,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An effective policy: the built-in norms, overridden field by field by the mesh-wide policy, the
/// namespace's and the workload's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// `strategy.steps`, at least one, weights growing, the last 100 %. Blue/green: that one alone.
    pub steps: Vec<Step>,
    /// `strategy.capacity`
    pub capacity: Capacity,
    /// `sessionAffinity`
    pub affinity: Affinity,
    /// `drain`
    pub drain: Drain,
    /// `health`
    pub health: Health,
    /// `analysis`
    pub analysis: Analysis,
    /// `rollback`
    pub rollback: Rollback,
    /// `spec.start`
    pub start: Start,
    /// How long `Preparing` may take until the upgrade is given up.
    pub progress_deadline: Duration,
    /// `notify`
    pub notify: Vec<Sink>,
    /// `balancing`
    #[serde(default, skip_serializing_if = "is_default")]
    pub balancing: Balancing,
    /// What neither a verb nor an edit of the policy may cross.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: Limits,
}

/// The guard rails of the mesh-wide policy in force: `ClusterUpgradePolicy.spec.limits`. What the
/// documents say is brought within before it gets here; the engine holds them once more, against
/// verbs, and against policies that come another way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Who sets them, `ClusterUpgradePolicy mesh`; empty where nobody does.
    pub owner: String,
    /// The most that the first of several steps may weigh. Blue/green has but one.
    pub max_first_weight: Option<Share>,
    /// The least time that the old version stands by at 100 %.
    pub min_rollback_window: Option<Duration>,
    /// The most consecutive failures of one new instance that may pass before a rollback.
    pub max_failure_threshold: Option<u32>,
}

/// Who is told of events: `notify[]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Sink {
    /// CloudEvents 1.0 over HTTP.
    CloudEvents {
        /// Where to.
        sink: String,
        /// `structured` or `binary`.
        mode: ContentMode,
    },
    /// CloudEvents 1.0 as NATS messages.
    Nats {
        /// `nats://nats.ops:4222`
        server: String,
        /// The subject.
        subject: String,
        /// Published to a JetStream stream, whose acknowledgement is waited for; else flushed to
        /// the server.
        jet_stream: bool,
    },
}

/// How a CloudEvent stands in an HTTP message.
///
/// Source: CloudEvents HTTP Protocol Binding 1.0.2, section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ContentMode {
    /// As one JSON body.
    Structured,
    /// Attributes as headers, data as the body.
    Binary,
}

/// One step up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The new version's weight.
    pub weight: Share,
    /// The least time at this weight, from the moment it is applied everywhere.
    pub hold: Duration,
    /// Waits for `promote`.
    pub manual: bool,
}

/// When the new version's instances must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Capacity {
    /// As many as the next weight needs, Ready before it rises.
    Match,
    /// All of them before the first step.
    Full,
}

/// Session affinity. `Token` is refused until the sidecar has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Affinity {
    /// Each request is drawn by itself.
    None,
    /// A cookie holds a session on its version (`onStep: Pin`, `scope: Version`).
    Cookie {
        /// The cookie's name; None: `segue-` and 8 hex digits of namespace/service.
        name: Option<String>,
        /// `Max-Age`
        ttl: Duration,
        /// `Path`
        path: String,
        /// `SameSite`
        same_site: SameSite,
        /// `Secure` (`Auto` counts as false on cleartext listeners)
        secure: bool,
    },
    /// The hash of a key tells a user's version (`onStep: Shift`): as the weight grows users move
    /// to the new version and none back.
    Shift(ShiftKey),
}

/// By what users are told apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShiftKey {
    /// The value of a request header of this name, lower case.
    Header(String),
    /// The client's IP address.
    SourceIp,
    /// A cookie of a random value, set where a request has none.
    Cookie(CookieAttributes),
}

/// The attributes of a cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CookieAttributes {
    /// The cookie's name; None: `segue-` and 8 hex digits of namespace/service.
    pub name: Option<String>,
    /// `Max-Age`
    pub ttl: Duration,
    /// `Path`
    pub path: String,
    /// `SameSite`
    pub same_site: SameSite,
    /// `Secure`
    pub secure: bool,
}

impl Affinity {
    /// True where a session stays on its version whatever the weights: there are sessions to count,
    /// to wait for and to let go.
    pub const fn holds_sessions(&self) -> bool {
        matches!(self, Self::Cookie { .. })
    }
}

/// How the old version is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// How long one draining instance may keep what is active.
    pub timeout: Duration,
    /// A session ends after so long without a request; in `Draining` no session is held longer.
    pub session_timeout: Duration,
}

/// When the new version's health rolls back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// How often an instance without a probe of its own is checked.
    pub interval: Duration,
    /// Consecutive failures of one new instance.
    pub failure_threshold: u32,
}

/// How going back works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// The old version on standby for so long at 100 %.
    pub window: Duration,
}

/// Whether upgrades begin by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// When instances of a new version appear.
    Auto,
    /// With `segue upgrade start`.
    Manual,
}

const fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

impl Policy {
    /// The policy as it may be shown and logged: without what may be secret in addresses.
    pub fn shown(&self) -> Self {
        let mut policy = self.clone();
        for metric in &mut policy.analysis.metrics {
            match &mut metric.source {
                MetricSource::Prometheus { address: of, .. }
                | MetricSource::Webhook { url: of, .. } => *of = shown(of),
            }
        }
        for sink in &mut policy.notify {
            match sink {
                Sink::CloudEvents { sink: of, .. } | Sink::Nats { server: of, .. } => {
                    *of = shown(of);
                }
            }
        }
        policy
    }
}

impl Default for Policy {
    /// The norms: 5 % first, then 25, 50, 100; 30 minutes of rollback window; three consecutive
    /// failures roll back; no affinity until a policy asks for it.
    fn default() -> Self {
        let step = |percent, hold| Step {
            weight: Share::from_percent(percent).unwrap_or(Share::ALL),
            hold,
            manual: false,
        };
        Self {
            steps: vec![
                step(5, minutes(10)),
                step(25, minutes(5)),
                step(50, minutes(5)),
                step(100, Duration::ZERO),
            ],
            capacity: Capacity::Match,
            affinity: Affinity::None,
            drain: Drain {
                timeout: minutes(1),
                session_timeout: minutes(30),
            },
            health: Health {
                interval: Duration::from_secs(5),
                failure_threshold: 3,
            },
            analysis: Analysis {
                interval: Duration::from_secs(5),
                warm_up: Duration::from_secs(30),
                min_requests: 100,
                max_wait: minutes(30),
                on_low_traffic: OnLowTraffic::Pause,
                confidence: Ppm(990_000),
                success_rate: SuccessRate {
                    min: Ppm(995_000),
                    max_drop: Ppm(5_000),
                },
                latency: Latency {
                    quantile: Ppm(990_000),
                    max_increase: Ppm(200_000),
                },
                metrics: Vec::new(),
            },
            rollback: Rollback {
                window: minutes(30),
            },
            start: Start::Auto,
            progress_deadline: minutes(10),
            notify: Vec::new(),
            limits: Limits::default(),
            balancing: Balancing::default(),
        }
    }
}

/// One field of an effective policy, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyField {
    /// As in the document: `analysis.successRate.min`; limits: `limits.maxFirstWeight`.
    pub path: String,
    /// The value in force, as a document would write it.
    pub value: String,
    /// Which document says so: `UpgradePolicy shop/checkout`, `ClusterUpgradePolicy mesh`,
    /// `limits of ClusterUpgradePolicy mesh`, `built-in`.
    pub source: String,
}
