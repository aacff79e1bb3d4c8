//! What is encoded of one service, and kept as long as it does not change.

use crate::{
    model::{ServicePort, ServiceView},
    xds::translate::{
        ClientKind, Resource,
        cluster::{self, Dialect},
        endpoints, route,
    },
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

/// Resources by name.
pub(super) type Named = BTreeMap<Arc<str>, Arc<Resource>>;

/// The resources of one service, encoded.
#[derive(Debug)]
pub(super) struct ServiceResources {
    pub(super) view: Arc<ServiceView>,
    clusters: Named,
    grpc_clusters: OnceLock<Named>,
    pub(super) endpoints: Named,
    /// By the zone of who asks, where they depend on it.
    zoned_endpoints: Mutex<BTreeMap<String, Arc<Named>>>,
    /// By port: for askers of the same namespace, and for others.
    pub(super) hosts: BTreeMap<u16, (Arc<Resource>, Arc<Resource>)>,
}

impl ServiceResources {
    /// Encodes them.
    pub(super) fn build(view: &Arc<ServiceView>) -> Self {
        let services = vec![view.service.key.clone()];
        let host = |port: &ServicePort, short_name| {
            let shape = route::Shape {
                short_name,
                sessions: true,
            };
            let message = route::virtual_host(view, port, shape);
            Resource::new(&message.name, &message, services.clone())
        };
        Self {
            clusters: named(cluster::of_service(view, Dialect::Proxy)),
            grpc_clusters: OnceLock::new(),
            endpoints: named(endpoints::of_service(view, None)),
            zoned_endpoints: Mutex::default(),
            hosts: http_ports(view)
                .map(|port| (port.port, (host(port, true), host(port, false))))
                .collect(),
            view: view.clone(),
        }
    }

    /// The endpoints for a client in `zone`, where they depend on that: one that no instance is in is as
    /// good as none.
    pub(super) fn zoned(&self, zone: Option<&str>) -> Option<Arc<Named>> {
        let zone = zone.filter(|zone| {
            let mut workloads = self.view.instances.iter().map(|one| &one.workload);
            endpoints::depend_on_zone(&self.view)
                && workloads.any(|workload| workload.zone.as_deref() == Some(zone))
        })?;
        let mut zoned = self.zoned_endpoints.lock();
        let build = || Arc::new(named(endpoints::of_service(&self.view, Some(zone))));
        Some(Arc::clone(
            zoned.entry(zone.to_owned()).or_insert_with(build),
        ))
    }

    /// The clusters, as a kind of client understands them.
    pub(super) fn clusters(&self, kind: ClientKind) -> &Named {
        match kind {
            ClientKind::Sidecar | ClientKind::Envoy => &self.clusters,
            ClientKind::Grpc => self
                .grpc_clusters
                .get_or_init(|| named(cluster::of_service(&self.view, Dialect::Grpc))),
        }
    }
}

fn named(resources: Vec<Arc<Resource>>) -> Named {
    resources
        .into_iter()
        .map(|resource| (resource.name.clone(), resource))
        .collect()
}

/// The ports whose requests are routed.
pub(super) fn http_ports(view: &ServiceView) -> impl Iterator<Item = &ServicePort> {
    view.service
        .ports
        .iter()
        .filter(|port| port.protocol.is_http())
}
