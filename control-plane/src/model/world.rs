//! Everything that proxies are told, at one moment.

use super::{Balancing, Generation, Service, ServiceKey, Share, VersionId, Workload, WorkloadKey};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Everything that proxies are told. Immutable; only the engine makes one.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Counts up with every world.
    pub generation: Generation,
    /// The services, each shared with the world before where nothing about it changed
    /// (`Arc::ptr_eq`), so that work is proportional to the change.
    pub services: BTreeMap<ServiceKey, Arc<ServiceView>>,
    /// All instances, for what a proxy needs to know of its own Pod.
    pub workloads: BTreeMap<WorkloadKey, Arc<Workload>>,
}

/// One service with its instances and how its traffic is split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// The Service.
    pub service: Arc<Service>,
    /// The instances it selects.
    pub instances: Vec<Instance>,
    /// Its live versions, new before old; at least one where there are instances. The shares sum
    /// to [`Share::ALL`].
    pub versions: Vec<VersionView>,
    /// How often instances without a probe of their own are checked, by the policy.
    pub check_every: Duration,
    /// Session affinity, where a policy asks for it.
    pub affinity: Option<CookieAffinity>,
    /// Its instances' sidecars place requests that no mesh proxy has placed: those of clients
    /// without a sidecar.
    pub placed: bool,
    /// By what users are told apart whose version is told by a hash, where a policy asks for that.
    /// Never together with `affinity`.
    pub shift: Option<ShiftBy>,
    /// How the instances of a version share its requests.
    pub balancing: Balancing,
}

/// By what users are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShiftBy {
    /// A request header.
    Header(String),
    /// The client's IP address.
    SourceIp,
    /// A cookie of a random value. It is not renewed: its epoch is 0.
    Cookie(CookieAffinity),
}

/// One instance as proxies are to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// What it is.
    pub workload: Arc<Workload>,
    /// Whether it may be picked.
    pub state: InstanceState,
}

/// Whether an instance may be picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// HEALTHY
    Ready,
    /// UNHEALTHY
    NotReady,
    /// DRAINING: about to be stopped.
    Draining,
}

/// One version of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionView {
    /// Its id.
    pub id: VersionId,
    /// Its share of new sessions, or of requests where there is no affinity.
    pub weight: Share,
    /// The session token that names it, and whether it still holds sessions. None: sessions of
    /// this version are drawn anew (it was rolled back, or is about to go).
    pub token: Option<SessionToken>,
    /// The mark of its control group, where there is one: sessions drawn for this version carry it
    /// beside the token, and go to a cluster of their own (`<id>.control`). The token alone decides
    /// on which version a session stays.
    pub control: Option<Arc<str>>,
    /// The share of its sessions that is let go to `fallback`, request by request: a way back that
    /// the old version can carry.
    pub released: Share,
    /// The version whose endpoints serve (priority 1) where this one has no healthy endpoint.
    pub fallback: Option<VersionId>,
    /// Outlier detection on this version's clusters.
    pub fuse: Option<Fuse>,
}

/// An unguessable name of a version: the same on every replica, neither chosen nor forged by
/// clients.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionToken(pub Arc<str>);

/// The session cookie of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieAffinity {
    /// The cookie's name.
    pub name: String,
    /// Its `Path`.
    pub path: String,
    /// Its `Max-Age`.
    pub ttl: Duration,
    /// Its `SameSite`.
    pub same_site: SameSite,
    /// Its `Secure`.
    pub secure: bool,
    /// Which quarter of `ttl` it is (time / (ttl / 4)): stands in the cookie's value after the
    /// token, so that a pinned route can tell that a cookie is due for renewal.
    pub epoch: u64,
}

/// The `SameSite` attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum SameSite {
    /// Sent along with top-level navigations from other sites.
    Lax,
    /// Sent from the same site alone.
    Strict,
    /// Sent always; needs `Secure`.
    None,
}

impl SameSite {
    /// As the cookie's attribute has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}

/// The fuse: outlier detection that goes back to the old version without the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fuse {
    /// Consecutive gateway failures (502, 503, 504, failed connects) that eject.
    pub consecutive_gateway_failure: u32,
    /// Consecutive 5xx that eject.
    pub consecutive_5xx: u32,
    /// How long an ejection lasts: as long as the rollback window.
    pub ejection: Duration,
}
