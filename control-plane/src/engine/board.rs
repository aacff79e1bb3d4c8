//! What the engine shows to the control API and the metrics: a picture of everything, made anew
//! when something changed and shared by all who look.

use super::proxies::ProxyView;
use crate::model::{
    Generation, ProxyId, Timestamp, UpgradeKey, UpgradeSpec, UpgradeStatus, VersionId,
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
    /// Why the state folder can't be written; nothing is decided meanwhile.
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
}
