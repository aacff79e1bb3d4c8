//! The resources as people write them, and what they mean.
//!
//! A document is read into the types here (unknown fields of ours are refused), checked with
//! messages that name the field, merged field by field and turned into the nouns of the model:
//!
//! ```text
//! built-in norms < ClusterUpgradePolicy.defaults < UpgradePolicy of the namespace < of the target
//!                                    \_ limits: what none of those below may cross
//! ```
//!
//! Knows neither files nor Kubernetes: whoever reads documents gives them here. Pure.

mod address;
mod affinity;
mod analysis;
mod balancing;
mod check;
mod effective;
mod limits;
mod metadata;
mod metric;
mod origin;
mod policy;
mod probe;
mod rate;
mod scalar;
mod service;
mod sink;
mod strategy;
mod upgrade;
mod workload;
mod written;

#[cfg(test)]
mod tests;

pub use affinity::{
    AffinityType, CookieSpec, HeaderSpec, OnStep, Scope, Secure, SessionAffinitySpec,
};
pub use analysis::{AnalysisSpec, LatencySpec, OnLowTraffic, SuccessRateSpec};
pub use balancing::{BalancingSpec, CircuitBreakerSpec};
pub use check::FieldError;
pub use effective::effective;
pub use limits::{Limits, LimitsOf};
pub use metadata::Metadata;
pub use metric::{MetricSpec, PrometheusSpec, WebhookSpec};
pub use origin::{Layer, effective_with_sources};
pub use policy::{
    ClusterUpgradePolicy, ClusterUpgradePolicySpec, DrainSpec, HealthSpec, NamespaceSelector,
    PolicySpec, RollbackSpec, StartSpec, TargetRef, UndoOrKeep, UpgradePolicy,
};
pub use probe::{GrpcSpec, HttpGetSpec, ProbeSpec, ProbesSpec, TcpSocketSpec};
pub use rate::{Fraction, Number, Rate};
pub use scalar::{Percent, Period, Seconds};
pub use service::{PortOrName, ServiceDocument, ServicePortSpec, ServiceSpec};
pub use sink::{ModeSpec, NatsSpec, NotifySpec, SinkSpec};
pub use strategy::{CapacitySpec, StepSpec, StrategySpec, StrategyType};
pub use upgrade::{UpgradeDocument, UpgradeDocumentSpec};
pub use workload::{WorkloadDocument, WorkloadSpec};
pub use written::written;

/// The group and version of our resources.
pub const API_VERSION: &str = "segue.dev/v1alpha1";
