//! What a source has read: the wanted state, valid as a whole.

use super::{
    Policy, PolicyField, Service, ServiceKey, UpgradeKey, UpgradeSpec, Workload, WorkloadKey,
};
use std::{collections::BTreeMap, sync::Arc};

/// Everything a source knows, checked; the last good one stays in force while a newer one is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// The services.
    pub services: BTreeMap<ServiceKey, Arc<Service>>,
    /// The instances.
    pub workloads: BTreeMap<WorkloadKey, Arc<Workload>>,
    /// The effective policy of each service: merged, limits applied.
    pub policies: BTreeMap<ServiceKey, Arc<Policy>>,
    /// The same field by field, for people.
    pub policy_fields: BTreeMap<ServiceKey, Arc<[PolicyField]>>,
    /// Upgrades asked for by name.
    pub upgrades: BTreeMap<UpgradeKey, UpgradeSpec>,
    /// What is valid but has no effect, for people (a policy that matches nothing).
    pub warnings: Vec<String>,
}
