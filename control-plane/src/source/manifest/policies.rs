//! Which policies hold for a service.

use super::{Invalid, document::Document};
use crate::{
    model::{Key, Policy, Service},
    resource::{ClusterUpgradePolicy, Limits, PolicySpec, UpgradePolicy, effective},
};
use std::collections::{BTreeMap, BTreeSet};

/// The policies of a folder.
#[derive(Debug, Default)]
pub(super) struct Policies<'a> {
    /// By name.
    cluster: BTreeMap<String, &'a ClusterUpgradePolicy>,
    /// By namespace and name.
    namespaced: BTreeMap<Key, &'a UpgradePolicy>,
}

impl<'a> Policies<'a> {
    pub(super) fn add_cluster(&mut self, policy: &'a ClusterUpgradePolicy) {
        self.cluster.insert(policy.metadata.name.clone(), policy);
    }

    pub(super) fn add(&mut self, policy: &'a UpgradePolicy) {
        self.namespaced.insert(policy.metadata.key(), policy);
    }

    /// The mesh-wide policy of a namespace: of several the lowest name wins.
    fn mesh_wide(&self, namespace: &str) -> Option<&'a ClusterUpgradePolicy> {
        self.cluster
            .values()
            .copied()
            .find(|policy| policy.selects(namespace))
    }

    /// Where a policy crosses the limits of its namespace.
    pub(super) fn crossings(&self, document: &Document, policy: &UpgradePolicy) -> Vec<Invalid> {
        let key = policy.metadata.key();
        let Some(cluster) = self.mesh_wide(&key.namespace) else {
            return Vec::new();
        };
        let owner = format!("ClusterUpgradePolicy {}", cluster.metadata.name);
        cluster
            .spec
            .limits
            .crossed_by(&policy.spec, &owner)
            .into_iter()
            .map(|error| document.invalid(error))
            .collect()
    }

    /// The effective policy of a service.
    pub(super) fn of(&self, service: &Service) -> Policy {
        let namespace = &service.key.namespace;
        let cluster = self.mesh_wide(namespace);
        let mine = |target: Option<&str>| {
            self.namespaced
                .iter()
                .find(|(key, policy)| key.namespace == *namespace && target_of(policy) == target)
                .map(|(_, policy)| &policy.spec)
        };
        let layers: [Option<&PolicySpec>; 3] = [
            cluster.map(|policy| &policy.spec.defaults),
            mine(None),
            mine(Some(&service.key.name)),
        ];
        let limits = cluster.map_or_else(Limits::default, |policy| policy.spec.limits);
        effective(layers.into_iter().flatten(), limits)
    }

    /// What is valid but has no effect.
    pub(super) fn warnings(&self, services: &BTreeSet<Key>) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut taken: BTreeMap<(&str, Option<&str>), &Key> = BTreeMap::new();
        for (key, policy) in &self.namespaced {
            let target = target_of(policy);
            let matches = target.map_or_else(
                || services.iter().any(|s| s.namespace == key.namespace),
                |name| services.contains(&Key::new(&key.namespace, name)),
            );
            if !matches {
                warnings.push(format!("UpgradePolicy {key} matches no Service"));
            }
            let first = *taken.entry((&key.namespace, target)).or_insert(key);
            if first != key {
                warnings.push(format!(
                    "UpgradePolicy {key} has no effect: {first} is for the same and has the lower name"
                ));
            }
            for field in policy.spec.without_effect() {
                warnings.push(format!(
                    "UpgradePolicy {key}: spec.{field} has no effect yet"
                ));
            }
        }
        self.warn_of_cluster_policies(services, &mut warnings);
        warnings
    }

    fn warn_of_cluster_policies(&self, services: &BTreeSet<Key>, warnings: &mut Vec<String>) {
        let namespaces: BTreeSet<&str> = services.iter().map(|key| &*key.namespace).collect();
        for (name, policy) in &self.cluster {
            let selected: Vec<&str> = namespaces
                .iter()
                .copied()
                .filter(|namespace| policy.selects(namespace))
                .collect();
            if selected.is_empty() {
                warnings.push(format!(
                    "ClusterUpgradePolicy {name} selects no namespace of a Service"
                ));
            }
            for namespace in selected {
                if let Some(first) = self.mesh_wide(namespace)
                    && first.metadata.name != *name
                {
                    warnings.push(format!(
                        "ClusterUpgradePolicy {name} has no effect in {namespace}: {} has the lower name",
                        first.metadata.name
                    ));
                }
            }
            for field in policy.spec.defaults.without_effect() {
                warnings.push(format!(
                    "ClusterUpgradePolicy {name}: spec.defaults.{field} has no effect yet"
                ));
            }
        }
    }
}

fn target_of(policy: &UpgradePolicy) -> Option<&str> {
    policy
        .spec
        .target_ref
        .as_ref()
        .map(|target| target.name.as_str())
}
