//! All resources of one world, looked up by who asks.
//!
//! Decides which resources exist for a client. What they say is [`super::translate`]'s; when they
//! are sent, [`super::stream`]'s. A service that did not change keeps its encoded resources from the
//! snapshot before; what depends on who asks (the namespace, the client's kind, its own workload) is
//! made at the first question and kept.

mod service;

use super::translate::{
    ClientKind, Node, Resource, ResourceType, cluster, health,
    listener::{self, Destinations},
    placing, route,
};
use crate::model::{Generation, ServiceKey, ServicePort, ServiceView, WorkloadKey, World};
use envoy_types::pb::envoy::service::health::v3::HealthCheckSpecifier;
use parking_lot::Mutex;
use segue_proto::names::{self, ClusterName};
use service::{ServiceResources, http_ports};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// Everything that can be asked for at one generation. Immutable.
#[derive(Debug)]
pub struct Snapshot {
    world: Arc<World>,
    services: BTreeMap<ServiceKey, Arc<ServiceResources>>,
    destinations: Destinations,
    /// The services by their address.
    by_ip: BTreeMap<IpAddr, ServiceKey>,
    /// The services that select a workload.
    selected_by: BTreeMap<WorkloadKey, Vec<ServiceKey>>,
    passthrough: Arc<Resource>,
    black_hole: Arc<Resource>,
    shaped: Mutex<BTreeMap<Shaped, Arc<Resource>>>,
}

/// What a resource that depends on the asker depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shaped {
    Outbound(ClientKind),
    Inbound(WorkloadKey),
    InboundRoutes(WorkloadKey, u16),
    Api(ServiceKey, u16),
    Routes { port: u16, namespace: String },
    GrpcRoutes(ServiceKey, u16),
}

impl Snapshot {
    /// Encodes what changed since the snapshot before.
    pub fn build(world: Arc<World>, previous: Option<&Self>) -> Self {
        let mut snapshot = Self {
            services: BTreeMap::new(),
            destinations: Destinations::default(),
            by_ip: BTreeMap::new(),
            selected_by: BTreeMap::new(),
            passthrough: previous.map_or_else(cluster::passthrough, |p| p.passthrough.clone()),
            black_hole: previous.map_or_else(cluster::black_hole, |p| p.black_hole.clone()),
            shaped: Mutex::default(),
            world,
        };
        let world = snapshot.world.clone();
        for (key, view) in &world.services {
            let kept = previous
                .and_then(|previous| previous.services.get(key))
                .filter(|kept| Arc::ptr_eq(&kept.view, view));
            let resources =
                kept.map_or_else(|| Arc::new(ServiceResources::build(view)), Arc::clone);
            snapshot.index(key, view);
            snapshot.services.insert(key.clone(), resources);
        }
        snapshot
    }

    fn index(&mut self, key: &ServiceKey, view: &ServiceView) {
        let to = &mut self.destinations;
        for port in &view.service.ports {
            let address = view.service.cluster_ip.map(|ip| (ip, port.port));
            if port.protocol.is_http() {
                to.http_ports.insert(port.port);
                to.http.extend(address);
            } else if let Some(address) = address {
                let name = cluster::tcp_name(&view.service, port);
                to.tcp.insert(address, name.into());
            }
        }
        if let Some(ip) = view.service.cluster_ip {
            self.by_ip.insert(ip, key.clone());
        }
        for instance in &view.instances {
            self.selected_by
                .entry(instance.workload.key.clone())
                .or_default()
                .push(key.clone());
        }
    }

    /// The world it was made from.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// The world's generation.
    pub fn generation(&self) -> Generation {
        self.world.generation
    }

    /// The resource of a name, for one client. Its own name differs from the one asked for where
    /// that is an alias.
    pub fn find(&self, node: &Node, kind: ResourceType, name: &str) -> Option<Arc<Resource>> {
        match kind {
            ResourceType::Cluster => self.cluster(node, name),
            ResourceType::Endpoints => match name.parse().ok()? {
                ClusterName::Outbound { host, .. } => {
                    let service = self.by_host(&host)?;
                    match service.zoned(self.zone(node)) {
                        Some(zoned) => zoned.get(name).cloned(),
                        None => service.endpoints.get(name).cloned(),
                    }
                }
                _ => None,
            },
            ResourceType::Listener => self.listener(node, name),
            ResourceType::Route => self.routes(node, name),
            ResourceType::VirtualHost => self.virtual_host(node, name),
        }
    }

    /// All that a subscription to everything covers.
    pub fn all(&self, node: &Node, kind: ResourceType) -> Vec<Arc<Resource>> {
        let services = self.services.values();
        match kind {
            ResourceType::Cluster => {
                let own = self.own_ports(node).into_iter();
                services
                    .flat_map(|service| service.clusters(node.kind).values().cloned())
                    .chain([self.passthrough.clone(), self.black_hole.clone()])
                    .chain(own.filter_map(|(port, _)| self.inbound(node, port)))
                    .collect()
            }
            ResourceType::Endpoints => services
                .flat_map(|service| match service.zoned(self.zone(node)) {
                    Some(zoned) => zoned.values().cloned().collect::<Vec<_>>(),
                    None => service.endpoints.values().cloned().collect(),
                })
                .collect(),
            ResourceType::Listener => [names::VIRTUAL_OUTBOUND, names::VIRTUAL_INBOUND]
                .into_iter()
                .filter_map(|name| self.listener(node, name))
                .collect(),
            ResourceType::Route => self
                .destinations
                .http_ports
                .iter()
                .map(u16::to_string)
                .chain(
                    self.own_ports(node)
                        .into_iter()
                        .filter(|(_, http)| *http)
                        .map(|(port, _)| ClusterName::Inbound { port }.to_string()),
                )
                .filter_map(|name| self.routes(node, &name))
                .collect(),
            ResourceType::VirtualHost => Vec::new(),
        }
    }

    /// The service that a resource's name speaks of, whether or not the resource exists.
    pub fn service_of(&self, node: &Node, kind: ResourceType, name: &str) -> Option<ServiceKey> {
        let service = match kind {
            ResourceType::Cluster | ResourceType::Endpoints => match name.parse().ok()? {
                ClusterName::Outbound { host, .. } => self.by_host(&host)?,
                ClusterName::OutboundAddress { address, .. } => {
                    self.services.get(self.by_ip.get(&address)?)?
                }
                _ => return None,
            },
            ResourceType::Listener | ResourceType::Route => {
                self.by_host(name.rsplit_once(':')?.0)?
            }
            ResourceType::VirtualHost => self.by_short_host(node, name.split_once('/')?.1)?,
        };
        Some(service.view.service.key.clone())
    }

    /// What the sidecar of a workload is to check; None where the workload is not known.
    pub fn health_checks(&self, node: &Node) -> Option<HealthCheckSpecifier> {
        let workload = self.world.workloads.get(node.workload.as_ref()?)?;
        let ports = self.own_ports(node);
        let services = self.selected_by.get(&workload.key).into_iter().flatten();
        let every = services
            .filter_map(|key| Some(self.services.get(key)?.view.check_every))
            .min();
        Some(health::specifier(workload, ports.into_keys(), every))
    }

    /// Where the asker is: as its workload says, else as it says itself.
    fn zone<'a>(&'a self, node: &'a Node) -> Option<&'a str> {
        let workload = node.workload.as_ref();
        let workload = workload.and_then(|key| self.world.workloads.get(key));
        let zone = workload.and_then(|workload| workload.zone.as_deref());
        zone.or(node.zone.as_deref())
    }

    fn cluster(&self, node: &Node, name: &str) -> Option<Arc<Resource>> {
        match name.parse().ok()? {
            ClusterName::Outbound { host, .. } => {
                self.by_host(&host)?.clusters(node.kind).get(name).cloned()
            }
            ClusterName::OutboundAddress { port, address } => {
                let canonical = self.destinations.tcp.get(&(address, port))?;
                self.cluster(node, canonical)
            }
            ClusterName::Inbound { port } => self.inbound(node, port),
            ClusterName::Passthrough => Some(self.passthrough.clone()),
            ClusterName::BlackHole => Some(self.black_hole.clone()),
        }
    }

    fn inbound(&self, node: &Node, port: u16) -> Option<Arc<Resource>> {
        let http = *self.own_ports(node).get(&port)?;
        let workload = self.world.workloads.get(node.workload.as_ref()?)?;
        Some(cluster::inbound(port, http, &workload.version))
    }

    fn listener(&self, node: &Node, name: &str) -> Option<Arc<Resource>> {
        match name {
            names::VIRTUAL_OUTBOUND => Some(self.shaped(Shaped::Outbound(node.kind), || {
                listener::outbound(node.kind, &self.destinations)
            })),
            names::VIRTUAL_INBOUND => {
                let ports = self.own_ports(node);
                let workload = node.workload.clone().filter(|_| !ports.is_empty())?;
                Some(self.shaped(Shaped::Inbound(workload), || listener::inbound(&ports)))
            }
            _ => {
                let (service, port) = self.grpc_target(name)?;
                let key = &service.view.service.key;
                Some(self.shaped(Shaped::Api(key.clone(), port.port), || {
                    listener::api(name, key.clone())
                }))
            }
        }
    }

    fn routes(&self, node: &Node, name: &str) -> Option<Arc<Resource>> {
        if let Ok(port) = name.parse::<u16>() {
            if !self.destinations.http_ports.contains(&port) || port.to_string() != name {
                return None;
            }
            return Some(match node.kind {
                ClientKind::Sidecar => route::on_demand(name),
                ClientKind::Envoy | ClientKind::Grpc => {
                    let namespace = node.namespace.clone();
                    self.shaped(Shaped::Routes { port, namespace }, || {
                        self.full_routes(node, port)
                    })
                }
            });
        }
        if let Ok(ClusterName::Inbound { port }) = name.parse() {
            return self.inbound_routes(node, port);
        }
        let (service, port) = self.grpc_target(name)?;
        let key = &service.view.service.key;
        Some(self.shaped(Shaped::GrpcRoutes(key.clone(), port.port), || {
            let shape = route::Shape {
                short_name: false,
                sessions: false,
            };
            let mut host = route::virtual_host(&service.view, port, shape);
            host.routes.extend(route::ahead(&service.view, port));
            let message = route::configuration(name, vec![host]);
            Resource::new(name, &message, vec![key.clone()])
        }))
    }

    /// The routes of the asker's own application.
    fn inbound_routes(&self, node: &Node, port: u16) -> Option<Arc<Resource>> {
        if !*self.own_ports(node).get(&port)? {
            return None;
        }
        let workload = self.world.workloads.get(node.workload.as_ref()?)?;
        let shape = Shaped::InboundRoutes(workload.key.clone(), port);
        Some(self.shaped(shape, || {
            let services = self.selected_by.get(&workload.key).into_iter().flatten();
            let served: Vec<placing::Served<'_>> = services
                .filter_map(|key| {
                    let view = &*self.services.get(key)?.view;
                    let port = http_ports(view).find(|p| workload.port_of(p) == port)?;
                    Some((view, port))
                })
                .collect();
            placing::inbound(workload, port, &served)
        }))
    }

    fn full_routes(&self, node: &Node, port: u16) -> Arc<Resource> {
        let mut hosts = Vec::new();
        let mut services = Vec::new();
        for (key, service) in &self.services {
            let Some(port) = http_ports(&service.view).find(|p| p.port == port) else {
                continue;
            };
            let shape = route::Shape {
                short_name: *key.namespace == *node.namespace,
                sessions: true,
            };
            hosts.push(route::virtual_host(&service.view, port, shape));
            services.push(key.clone());
        }
        hosts.push(route::passthrough());
        let name = port.to_string();
        Resource::new(&name, &route::configuration(&name, hosts), services)
    }

    fn virtual_host(&self, node: &Node, name: &str) -> Option<Arc<Resource>> {
        let (port, host) = name.split_once('/')?;
        let service = self.by_short_host(node, host)?;
        let (same_namespace, other) = service.hosts.get(&port.parse().ok()?)?;
        let key = &service.view.service.key;
        Some(if *key.namespace == *node.namespace {
            same_namespace.clone()
        } else {
            other.clone()
        })
    }

    /// `checkout.shop.svc.cluster.local:80`
    fn grpc_target(&self, name: &str) -> Option<(&ServiceResources, &ServicePort)> {
        let (host, port) = name.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        let service = self.by_host(host)?;
        let port = http_ports(&service.view).find(|p| p.port == port)?;
        Some((service, port))
    }

    fn by_host(&self, host: &str) -> Option<&ServiceResources> {
        let (name, namespace) = host.strip_suffix(".svc.cluster.local")?.split_once('.')?;
        self.by_key(namespace, name)
    }

    /// As a client may write it: `checkout` (of the asker's namespace), `checkout.shop`,
    /// `checkout.shop.svc`, the full name, or the address.
    fn by_short_host(&self, node: &Node, host: &str) -> Option<&ServiceResources> {
        if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
            return self.services.get(self.by_ip.get(&ip)?).map(AsRef::as_ref);
        }
        let short = [".svc.cluster.local", ".svc"]
            .into_iter()
            .find_map(|suffix| host.strip_suffix(suffix))
            .filter(|short| short.contains('.'))
            .unwrap_or(host);
        let (name, namespace) = short.split_once('.').unwrap_or((short, &node.namespace));
        self.by_key(namespace, name)
    }

    fn by_key(&self, namespace: &str, name: &str) -> Option<&ServiceResources> {
        self.services
            .get(&ServiceKey::new(namespace, name))
            .map(AsRef::as_ref)
    }

    /// What the asker's own Pod serves, and whether that is HTTP.
    fn own_ports(&self, node: &Node) -> BTreeMap<u16, bool> {
        let mut ports = BTreeMap::new();
        let Some(key) = &node.workload else {
            return ports;
        };
        let (Some(workload), Some(services)) =
            (self.world.workloads.get(key), self.selected_by.get(key))
        else {
            return ports;
        };
        for service in services.iter().filter_map(|key| self.services.get(key)) {
            for port in &service.view.service.ports {
                *ports.entry(workload.port_of(port)).or_default() |= port.protocol.is_http();
            }
        }
        ports
    }

    fn shaped(&self, key: Shaped, make: impl FnOnce() -> Arc<Resource>) -> Arc<Resource> {
        if let Some(resource) = self.shaped.lock().get(&key) {
            return resource.clone();
        }
        // Made outside the lock; two that make the same at once make equal things.
        let resource = make();
        self.shaped.lock().entry(key).or_insert(resource).clone()
    }
}
