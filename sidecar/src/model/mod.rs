//! The nouns of the data plane: what a request reads.
//!
//! Everything here is immutable once built, resolved (a route holds its clusters, not their names)
//! and free of Envoy's messages. The one exception is [`EndpointState`], the few numbers about an
//! endpoint that all workers share; they are written only when something goes wrong.
//!
//! ```text
//! Snapshot -> Listener -> FilterChain -> RouteConfiguration (by name) -> VirtualHost -> Route
//!          -> Cluster  -> Endpoint -> EndpointState                        |             |
//!                ^---------------------------------------------------------+-------------+
//! ```
//!
//! Pure: no tokio, no socket, no clock.

mod balancing;
mod breaker;
mod chain;
mod cluster;
mod endpoint;
mod listener;
mod load;
mod record;
mod route;
mod snapshot;
mod table;

pub use balancing::{Balancing, Policy, SlowStart};
pub use breaker::{Breaker, Limits, Retries};
pub use cluster::{Cluster, Discovery, OutlierDetection, UpstreamProtocol};
pub use endpoint::{Endpoint, EndpointId, EndpointState, Health, Locality, Trial};
pub use listener::{ChainMatch, FilterChain, HttpConnectionManager, Listener, NetworkFilter};
pub use load::{
    ClusterLoad, EndpointLoad, ErrorClass, ErrorCounts, LATENCY_BUCKETS, LatencyHistogram,
    WorkerLoad,
};
pub use record::{Ended, Record, Span};
pub use route::{
    Action, HashPolicy, HashSource, Header, HeaderMatch, HeaderMatcher, PathMatch, RetryPolicy,
    Route, RouteConfiguration, VirtualHost, WeightedCluster,
};
pub use snapshot::Snapshot;
pub use table::Table;
