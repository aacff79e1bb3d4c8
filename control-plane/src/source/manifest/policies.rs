//! Which policies hold for a service.

use super::{Invalid, document::Document};
use crate::{
    model::{Key, Policy, PolicyField, ServiceKey},
    resource::{ClusterUpgradePolicy, Layer, LimitsOf, UpgradePolicy, effective_with_sources},
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
        let owner = name_of(cluster);
        cluster
            .spec
            .limits
            .crossed_by(&policy.spec, &owner)
            .into_iter()
            .map(|error| document.invalid(error))
            .collect()
    }

    /// The effective policy of a service, and its fields with their sources.
    pub(super) fn of(&self, service: &ServiceKey) -> (Policy, Vec<PolicyField>) {
        let namespace = &service.namespace;
        let cluster = self.mesh_wide(namespace);
        let mine = |target: Option<&str>| {
            self.namespaced
                .iter()
                .find(|(key, policy)| key.namespace == *namespace && target_of(policy) == target)
                .map(|(key, policy)| Layer {
                    source: format!("UpgradePolicy {key}"),
                    spec: &policy.spec,
                })
        };
        let owner = cluster.map_or_else(String::new, name_of);
        let mesh_wide = cluster.map(|policy| Layer {
            source: owner.clone(),
            spec: &policy.spec.defaults,
        });
        let layers: Vec<Layer<'_>> = [mesh_wide, mine(None), mine(Some(&service.name))]
            .into_iter()
            .flatten()
            .collect();
        let limits = cluster.map(|policy| LimitsOf {
            owner: &owner,
            limits: policy.spec.limits,
        });
        effective_with_sources(&layers, limits.as_ref())
    }

    /// The services that policies name, whether they exist or not.
    pub(super) fn targets(&self) -> impl Iterator<Item = ServiceKey> {
        self.namespaced.iter().filter_map(|(key, policy)| {
            target_of(policy).map(|name| Key::new(&key.namespace, name))
        })
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
        }
    }
}

fn name_of(policy: &ClusterUpgradePolicy) -> String {
    format!("ClusterUpgradePolicy {}", policy.metadata.name)
}

fn target_of(policy: &UpgradePolicy) -> Option<&str> {
    policy
        .spec
        .target_ref
        .as_ref()
        .map(|target| target.name.as_str())
}
