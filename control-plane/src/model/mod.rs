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

mod catalog;
mod ids;
mod observed;
mod policy;
mod service;
mod share;
mod upgrade;
mod world;

pub use catalog::Catalog;
pub use ids::{
    Generation, Key, ProxyId, ServiceKey, Timestamp, UpgradeKey, VersionId, WorkloadKey,
};
pub use observed::{
    EndpointSample, HealthSample, LoadSample, Observed, ProxyState, ResourceState, TypeState,
};
pub use policy::{Affinity, Capacity, Drain, Health, Policy, Rollback, Start, Step};
pub use service::{AppProtocol, Check, Probe, Service, ServicePort, Workload};
pub use share::Share;
pub use upgrade::{
    Action, Applied, Command, Condition, Decision, InstanceObservation, Lagging, Observation,
    Phase, Side, Traffic, Transition, UpgradeSpec, UpgradeStatus,
};
pub use world::{
    CookieAffinity, Fuse, Instance, InstanceState, SameSite, ServiceView, SessionToken,
    VersionView, World,
};
