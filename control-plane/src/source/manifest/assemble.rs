//! Documents -> one catalog, or all that does not fit together.

use super::{
    Invalid,
    document::{Document, Resource},
    policies::Policies,
};
use crate::{
    model::{Catalog, Key},
    resource::FieldError,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The catalog that these documents make.
pub(super) fn catalog(documents: &[Document]) -> Result<Catalog, Vec<Invalid>> {
    let mut wrong = duplicates(documents);
    let policies = policies(documents);
    for document in documents {
        if let Resource::Policy(policy) = &document.resource {
            wrong.append(&mut policies.crossings(document, policy));
        }
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let mut catalog = Catalog::default();
    for document in documents {
        add(&mut catalog, document, &policies);
    }
    let known: BTreeSet<Key> = catalog.services.keys().cloned().collect();
    catalog.warnings.append(&mut policies.warnings(&known));
    warn(&mut catalog);
    Ok(catalog)
}

/// The policies among these documents.
pub(super) fn policies(documents: &[Document]) -> Policies<'_> {
    let mut policies = Policies::default();
    for document in documents {
        match &document.resource {
            Resource::Policy(policy) => policies.add(policy),
            Resource::ClusterPolicy(policy) => policies.add_cluster(policy),
            _ => {}
        }
    }
    policies
}

fn add(catalog: &mut Catalog, document: &Document, policies: &Policies<'_>) {
    match &document.resource {
        Resource::Service(service) => {
            let (policy, fields) = policies.of(&service.key);
            catalog
                .policies
                .insert(service.key.clone(), Arc::new(policy));
            catalog
                .policy_fields
                .insert(service.key.clone(), fields.into());
            catalog
                .services
                .insert(service.key.clone(), Arc::new(service.clone()));
        }
        Resource::Workload(workload) => {
            catalog
                .workloads
                .insert(workload.key.clone(), Arc::new(workload.clone()));
        }
        Resource::Upgrade(upgrade) => {
            catalog
                .upgrades
                .insert(upgrade.key.clone(), upgrade.clone());
        }
        Resource::Foreign(what) => catalog.warnings.push(format!(
            "{}: {what} is not for Segue standalone and was left out",
            document.place()
        )),
        Resource::Policy(_) | Resource::ClusterPolicy(_) => {}
    }
}

/// What stands there twice.
fn duplicates(documents: &[Document]) -> Vec<Invalid> {
    let mut seen: BTreeMap<(&str, String), &Document> = BTreeMap::new();
    let mut wrong = Vec::new();
    for document in documents {
        let Some(id) = identity(&document.resource) else {
            continue;
        };
        let (kind, name) = id.clone();
        match seen.get(&id) {
            Some(first) => wrong.push(document.invalid(FieldError {
                field: "metadata.name".to_owned(),
                message: format!(
                    "a second {kind} {name}; the first one stands in {}",
                    first.place()
                ),
            })),
            None => {
                seen.insert(id, document);
            }
        }
    }
    wrong
}

fn identity(resource: &Resource) -> Option<(&'static str, String)> {
    Some(match resource {
        Resource::Service(service) => ("Service", service.key.to_string()),
        Resource::Workload(workload) => ("Workload", workload.key.to_string()),
        Resource::Policy(policy) => ("UpgradePolicy", policy.metadata.key().to_string()),
        Resource::ClusterPolicy(policy) => ("ClusterUpgradePolicy", policy.metadata.name.clone()),
        Resource::Upgrade(upgrade) => ("Upgrade", upgrade.key.to_string()),
        Resource::Foreign(_) => return None,
    })
}

/// What is valid but has no effect.
fn warn(catalog: &mut Catalog) {
    for (key, service) in &catalog.services {
        if service.selector.is_empty() {
            catalog
                .warnings
                .push(format!("Service {key} has no selector and so no instances"));
        }
    }
    for (key, workload) in &catalog.workloads {
        if !catalog
            .services
            .values()
            .any(|s| workload.is_selected_by(s))
        {
            catalog
                .warnings
                .push(format!("Workload {key} is selected by no Service"));
        }
    }
    let services = &catalog.services;
    let unknown: Vec<Key> = catalog
        .upgrades
        .iter()
        .filter(|(_, upgrade)| !services.contains_key(&upgrade.service))
        .map(|(key, _)| key.clone())
        .collect();
    for key in unknown {
        if let Some(upgrade) = catalog.upgrades.remove(&key) {
            catalog.warnings.push(format!(
                "Upgrade {key} has no effect: there is no Service {}",
                upgrade.service
            ));
        }
    }
}
