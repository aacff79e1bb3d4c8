//! What the engine shows to the control API and the metrics: a picture of everything, made anew
//! when something changed and shared by all who look.

use super::{ends::Ends, proxies::ProxyView, served::Reported};
use crate::model::{
    Event, Generation, Policy, PolicyField, ProxyId, Share, Timestamp, UpgradeKey, UpgradeSpec,
    UpgradeStatus, VersionId,
};
use std::{collections::BTreeMap, sync::Arc};

/// Everything that can be seen of the engine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Board {
    /// The runs, those that ended too.
    pub upgrades: BTreeMap<UpgradeKey, Arc<UpgradeView>>,
    /// The proxies that are connected.
    pub proxies: Arc<BTreeMap<ProxyId, ProxyView>>,
    /// The newest world's generation.
    pub generation: Generation,
    /// How upgrades have ended since this process began.
    pub ends: Ends,
    /// Why the state folder can't be written; nothing is decided meanwhile but to go back.
    pub journal_error: Option<String>,
}

/// One run as people see it.
#[derive(Clone, Debug, PartialEq)]
pub struct UpgradeView {
    /// What was asked.
    pub spec: UpgradeSpec,
    /// Where it stands.
    pub status: UpgradeStatus,
    /// When it was made.
    pub created: Timestamp,
    /// Grows with every change of what was asked and where it stands.
    pub resource_version: u64,
    /// How many steps its policy has.
    pub steps: usize,
    /// The old version's instances and traffic.
    pub old: VersionNumbers,
    /// The new version's.
    pub new: VersionNumbers,
    /// The new version's share of the sessions (of the requests, where there is no affinity) that
    /// began since the present weight was applied; None: none has.
    pub measured: Option<Share>,
    /// The effective policy.
    pub effective: Arc<Policy>,
    /// The effective policy, field by field, with where each value comes from.
    pub policy: Arc<[PolicyField]>,
    /// The last events, oldest first.
    pub events: Arc<[Event]>,
}

/// One version's instances and present traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionNumbers {
    /// Its id.
    pub id: VersionId,
    /// Instances.
    pub instances: u32,
    /// Those that pass their checks.
    pub ready: u32,
    /// From the load reports of the last seconds.
    pub requests_per_second: f64,
    /// Those that failed.
    pub errors_per_second: f64,
    /// Requests under way.
    pub active_requests: u64,
    /// Opaque connections open.
    pub active_connections: u64,
    /// The analysed quantile of the latency over the present step, in microseconds.
    pub latency_us: Option<u64>,
    /// Sessions that began since the upgrade did, as far as this process saw.
    pub new_sessions: u64,
    /// When a session of it last made a request.
    pub last_session: Option<Timestamp>,
    /// What the load reports said since the upgrade began, as far as this process saw.
    pub reported: Reported,
}

impl VersionNumbers {
    /// A version of which nothing is known yet.
    pub fn new(id: VersionId) -> Self {
        Self {
            id,
            instances: 0,
            ready: 0,
            requests_per_second: 0.0,
            errors_per_second: 0.0,
            active_requests: 0,
            active_connections: 0,
            latency_us: None,
            new_sessions: 0,
            last_session: None,
            reported: Reported::default(),
        }
    }
}
