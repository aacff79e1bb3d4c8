//! The catalog by the questions that the engine asks: which instances does a service have, whose
//! address is this. Made anew with every catalog, read many times.

use crate::model::{Catalog, Service, ServiceKey, ServicePort, VersionId, Workload, WorkloadKey};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

/// What is looked up in a catalog.
#[derive(Debug, Default)]
pub(super) struct Index {
    instances: BTreeMap<ServiceKey, Vec<Arc<Workload>>>,
    addresses: BTreeMap<SocketAddr, WorkloadKey>,
    services: BTreeMap<WorkloadKey, Vec<ServiceKey>>,
    ports: BTreeMap<ServiceKey, Vec<ServicePort>>,
}

impl Index {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let by_label = by_label(catalog);
        let mut index = Self::default();
        for (key, service) in &catalog.services {
            let instances = selected(service, &by_label);
            for workload in &instances {
                index
                    .services
                    .entry(workload.key.clone())
                    .or_default()
                    .push(key.clone());
                for port in &service.ports {
                    let address = SocketAddr::new(workload.address, workload.port_of(port));
                    index.addresses.insert(address, workload.key.clone());
                }
            }
            index.instances.insert(key.clone(), instances);
            index.ports.insert(key.clone(), service.ports.clone());
        }
        index
    }

    /// The instances that a service selects, by key.
    pub(super) fn instances(&self, service: &ServiceKey) -> &[Arc<Workload>] {
        self.instances.get(service).map_or(&[], Vec::as_slice)
    }

    /// Those of one version.
    pub(super) fn of_version<'a>(
        &'a self,
        service: &ServiceKey,
        version: &'a VersionId,
    ) -> impl Iterator<Item = &'a Arc<Workload>> {
        self.instances(service)
            .iter()
            .filter(move |workload| workload.version == *version)
    }

    /// True where a service has instances of a version.
    pub(super) fn has(&self, service: &ServiceKey, version: &VersionId) -> bool {
        self.of_version(service, version).next().is_some()
    }

    /// The versions of which a service has instances.
    pub(super) fn versions(&self, service: &ServiceKey) -> BTreeSet<VersionId> {
        self.instances(service)
            .iter()
            .map(|workload| workload.version.clone())
            .collect()
    }

    /// Whose address it is.
    pub(super) fn owner(&self, address: &SocketAddr) -> Option<&WorkloadKey> {
        self.addresses.get(address)
    }

    /// True where what a workload answers on a port is a service's traffic.
    pub(super) fn serves_on(
        &self,
        service: &ServiceKey,
        workload: &WorkloadKey,
        port: u16,
    ) -> bool {
        let ports = self.ports.get(service).map_or(&[][..], Vec::as_slice);
        self.instances(service)
            .iter()
            .find(|instance| instance.key == *workload)
            .is_some_and(|instance| ports.iter().any(|p| instance.port_of(p) == port))
    }

    /// The services whose traffic a workload answers on a port, each with the workload's version.
    pub(super) fn served_on(
        &self,
        workload: &WorkloadKey,
        port: u16,
    ) -> impl Iterator<Item = (ServiceKey, VersionId)> {
        let services = self.services_of(workload).iter();
        services.filter_map(move |service| {
            let mut instances = self.instances(service).iter();
            let instance = instances.find(|instance| instance.key == *workload)?;
            self.serves_on(service, workload, port)
                .then(|| (service.clone(), instance.version.clone()))
        })
    }

    /// The services that select a workload.
    pub(super) fn services_of(&self, workload: &WorkloadKey) -> &[ServiceKey] {
        self.services.get(workload).map_or(&[], Vec::as_slice)
    }
}

type Label<'a> = (&'a str, &'a str, &'a str);

/// Workloads by namespace and label, so that a selector looks at few of them.
fn by_label(catalog: &Catalog) -> BTreeMap<Label<'_>, Vec<&Arc<Workload>>> {
    let mut by_label: BTreeMap<Label<'_>, Vec<&Arc<Workload>>> = BTreeMap::new();
    for workload in catalog.workloads.values() {
        for (name, value) in &workload.labels {
            by_label
                .entry((&workload.key.namespace, name, value))
                .or_default()
                .push(workload);
        }
    }
    by_label
}

fn selected(
    service: &Service,
    by_label: &BTreeMap<Label<'_>, Vec<&Arc<Workload>>>,
) -> Vec<Arc<Workload>> {
    let Some((name, value)) = service.selector.first_key_value() else {
        return Vec::new();
    };
    by_label
        .get(&(&*service.key.namespace, name.as_str(), value.as_str()))
        .into_iter()
        .flatten()
        .filter(|workload| workload.is_selected_by(service))
        .map(|workload| Arc::clone(workload))
        .collect()
}
