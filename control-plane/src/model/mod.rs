//! The nouns of the control plane.
//!
//! ```text
//! source --Catalog--> engine --World--> xds --Observed--> engine
//!                       |  ^
//!        Observation    v  |   (UpgradeStatus, Action)
//!                    upgrade::advance
//! ```
//!
//! Pure: no tokio, no socket, no file, no clock.

mod address;
mod analysis;
mod balancing;
mod catalog;
mod event;
mod ids;
mod observed;
mod policy;
mod service;
mod share;
mod upgrade;
mod world;

pub use address::{origin, shown};
pub use analysis::{
    Analysis, Evidence, ExtraMetric, Finding, Judgement, Latency, MetricSource, OnLowTraffic, Ppm,
    SuccessRate, Tally, Test, Verdict,
};
pub use balancing::{Algorithm, Balancing, CircuitBreaker, Zones};
pub use catalog::Catalog;
pub use event::Event;
pub use ids::{
    Generation, Key, ProxyId, ServiceKey, Timestamp, UpgradeKey, VersionId, WorkloadKey,
};
pub use observed::{
    EndpointSample, ErrorClasses, HealthSample, LoadSample, MetricOutcome, MetricSample, Observed,
    ProxyState, ResourceState, TypeState,
};
pub use policy::{
    Affinity, Capacity, ContentMode, CookieAttributes, Drain, Health, Limits, Policy, PolicyField,
    Rollback, ShiftKey, Sink, Start, Step,
};
pub use service::{AppProtocol, Check, Probe, Service, ServicePort, Workload};
pub use share::Share;
pub use upgrade::{
    Action, Applied, Command, Condition, Decision, InstanceObservation, LOOKED, LOOKS_LET_GO,
    Lagging, Notes, Observation, Phase, ROLLBACK_RULES, Side, Traffic, Transition, UpgradeSpec,
    UpgradeStatus,
};
pub use world::{
    CookieAffinity, Fuse, Instance, InstanceState, SameSite, ServiceView, SessionToken, ShiftBy,
    VersionView, World,
};

/// Left out of what is written: a reader puts it back.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
