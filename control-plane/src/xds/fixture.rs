//! Worlds to test with.

use super::{
    snapshot::Snapshot,
    translate::{ClientKind, Node},
};
use crate::model::{
    AppProtocol, Balancing, CookieAffinity, Fuse, Generation, Instance, InstanceState, Key,
    ProxyId, SameSite, Service, ServicePort, ServiceView, SessionToken, Share, ShiftBy,
    VersionView, Workload, World,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

/// A service to be.
#[derive(Clone, Debug)]
pub(crate) struct Make {
    pub(crate) name: String,
    pub(crate) ip: u8,
    pub(crate) ports: Vec<(u16, u16, AppProtocol)>,
    /// Version, basis points, instances.
    pub(crate) versions: Vec<(String, u16, u8)>,
    pub(crate) sessions: bool,
    pub(crate) fuse: bool,
    /// The last version has a control group.
    pub(crate) control: bool,
    /// Basis points of the first version's sessions that are let go.
    pub(crate) released: u16,
    pub(crate) states: Vec<InstanceState>,
    /// Instances' sidecars place requests.
    pub(crate) placed: bool,
    pub(crate) shift: Option<ShiftBy>,
    pub(crate) balancing: Balancing,
}

impl Make {
    pub(crate) fn http(name: &str, ip: u8, versions: &[(&str, u16, u8)]) -> Self {
        Self {
            name: name.to_owned(),
            ip,
            ports: vec![(80, 8080, AppProtocol::Http)],
            versions: versions
                .iter()
                .map(|(id, weight, n)| ((*id).to_owned(), *weight, *n))
                .collect(),
            sessions: false,
            fuse: false,
            control: false,
            released: 0,
            states: Vec::new(),
            placed: false,
            shift: None,
            balancing: Balancing::default(),
        }
    }

    pub(crate) fn tcp(name: &str, ip: u8, versions: &[(&str, u16, u8)]) -> Self {
        Self {
            ports: vec![(3306, 3306, AppProtocol::Tcp)],
            ..Self::http(name, ip, versions)
        }
    }

    pub(crate) fn view(&self) -> Arc<ServiceView> {
        let key = Key::new("shop", &self.name);
        let service = Service {
            key,
            selector: BTreeMap::from([("app".to_owned(), self.name.clone())]),
            ports: self
                .ports
                .iter()
                .map(|(port, target_port, protocol)| ServicePort {
                    name: format!("p{port}"),
                    port: *port,
                    target_port: *target_port,
                    protocol: *protocol,
                })
                .collect(),
            cluster_ip: Some(Ipv4Addr::new(10, 96, 0, self.ip).into()),
            place: true,
        };
        let ids: Vec<&String> = self.versions.iter().map(|(id, ..)| id).collect();
        Arc::new(ServiceView {
            service: Arc::new(service),
            instances: self.instances(),
            check_every: Duration::from_secs(2),
            versions: (0_usize..)
                .zip(&self.versions)
                .map(|(i, (id, weight, _))| VersionView {
                    id: id.as_str().into(),
                    weight: Share::from_basis_points(*weight).unwrap(),
                    token: self
                        .sessions
                        .then(|| SessionToken(format!("token-{id}").into())),
                    control: (self.control && i + 1 == ids.len()).then(|| "c0ffee00".into()),
                    released: match i {
                        0 => Share::from_basis_points(self.released).unwrap(),
                        _ => Share::ZERO,
                    },
                    fallback: ids.get(i + 1).map(|id| id.as_str().into()),
                    fuse: (self.fuse && i == 0).then_some(Fuse {
                        consecutive_gateway_failure: 3,
                        consecutive_5xx: 5,
                        ejection: Duration::from_secs(1800),
                    }),
                })
                .collect(),
            placed: self.placed,
            affinity: self.sessions.then(|| CookieAffinity {
                name: "segue-1".to_owned(),
                path: "/".to_owned(),
                ttl: Duration::from_secs(3600),
                same_site: SameSite::Lax,
                secure: false,
                epoch: 7,
            }),
            shift: self.shift.clone(),
            balancing: self.balancing,
        })
    }

    fn instances(&self) -> Vec<Instance> {
        let mut instances = Vec::new();
        for (id, _, count) in &self.versions {
            let v = id.bytes().last().unwrap_or_default();
            for n in 0..*count {
                let state = self.states.get(instances.len()).copied();
                instances.push(Instance {
                    workload: Arc::new(Workload {
                        key: Key::new("shop", &format!("{}-{id}-{n}", self.name)),
                        labels: BTreeMap::from([("app".to_owned(), self.name.clone())]),
                        version: id.as_str().into(),
                        address: IpAddr::from([10, self.ip, v, n]),
                        ports: BTreeMap::new(),
                        zone: Some("a".to_owned()),
                        readiness: None,
                        place: true,
                    }),
                    state: state.unwrap_or(InstanceState::Ready),
                });
            }
        }
        instances
    }
}

pub(crate) fn world(generation: u64, views: &[Arc<ServiceView>]) -> Arc<World> {
    Arc::new(World {
        generation: Generation(generation),
        services: views
            .iter()
            .map(|view| (view.service.key.clone(), view.clone()))
            .collect(),
        workloads: views
            .iter()
            .flat_map(|view| &view.instances)
            .map(|instance| (instance.workload.key.clone(), instance.workload.clone()))
            .collect(),
    })
}

pub(crate) fn snapshot(generation: u64, services: &[Make]) -> Arc<Snapshot> {
    let views: Vec<_> = services.iter().map(Make::view).collect();
    Arc::new(Snapshot::build(world(generation, &views), None))
}

pub(crate) fn node(kind: ClientKind, id: &str) -> Node {
    Node {
        id: ProxyId::from(id),
        namespace: "shop".to_owned(),
        workload: Key::try_from(id.to_owned()).ok(),
        zone: None,
        kind,
        user_agent: match kind {
            ClientKind::Sidecar => "segue-sidecar".to_owned(),
            ClientKind::Envoy => "envoy".to_owned(),
            ClientKind::Grpc => "gRPC Go".to_owned(),
        },
    }
}
