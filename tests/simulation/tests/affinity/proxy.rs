//! A sidecar that is given the control plane's resources: its real decoder, compiler and choice.

use http::{HeaderMap, HeaderValue, header};
use segue_control_plane::{
    model::World,
    xds::{
        snapshot::Snapshot as Told,
        translate::{ClientKind, Node, ResourceType},
    },
};
use segue_sidecar::{
    affinity,
    balance::{self, Bench, Choice, Conditions},
    http::matching,
    model::{EndpointId, NetworkFilter, Snapshot, VirtualHost},
    store::{Compiler, resource::Resources},
    xds::decode::{self, Decoded, Kind},
};
use std::{cell::RefCell, net::IpAddr, sync::Arc, time::Duration};

const HOST: &str = "checkout.shop";

/// A worker at which nothing is under way.
struct Idle<'a>(RefCell<&'a mut fastrand::Rng>);

impl Bench for Idle<'_> {
    fn draw(&self, below: u64) -> u64 {
        self.0.borrow_mut().u64(..below.max(1))
    }

    fn active(&self, _: EndpointId) -> u64 {
        0
    }

    fn owed(&self, _: EndpointId, change: i64, _: u64) -> i64 {
        change
    }
}

/// Who sends a request.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) id: u32,
    /// The cookie that it was given.
    pub(crate) cookie: Option<String>,
}

/// Where a request went.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The version of the cluster that was chosen.
    pub(crate) chosen: String,
    /// The version that served.
    pub(crate) served: String,
}

/// One sidecar.
#[derive(Debug, Default)]
pub(crate) struct Proxy {
    compiler: Compiler,
    snapshot: Snapshot,
}

impl Proxy {
    /// Takes a world as the control plane translates it.
    pub(crate) fn learn(&mut self, world: &Arc<World>) {
        let told = Told::build(Arc::clone(world), None);
        let node = Node {
            id: "shop/web-0".into(),
            namespace: "shop".to_owned(),
            workload: None,
            zone: None,
            kind: ClientKind::Sidecar,
            user_agent: "segue-sidecar".to_owned(),
        };
        let mut resources = Resources::default();
        let mut resources_of: Vec<_> = [
            ResourceType::Cluster,
            ResourceType::Endpoints,
            ResourceType::Listener,
            ResourceType::Route,
        ]
        .into_iter()
        .flat_map(|kind| told.all(&node, kind))
        .collect();
        let host = format!("80/{HOST}");
        resources_of.extend(told.find(&node, ResourceType::VirtualHost, &host));
        for resource in resources_of {
            let kind = Kind::of_type_url(&resource.body.type_url).unwrap();
            let named = decode::name(kind, &resource.body).unwrap();
            let name = Arc::clone(named.name());
            match named.content().unwrap() {
                Decoded::Cluster(one) => drop(resources.clusters.insert(name, one)),
                Decoded::Assignment(one) => drop(resources.assignments.insert(name, one)),
                Decoded::Listener(one) => drop(resources.listeners.insert(name, one)),
                Decoded::RouteConfiguration(one) => {
                    drop(resources.route_configurations.insert(name, one));
                }
                Decoded::VirtualHost(one) => {
                    drop(
                        resources
                            .virtual_hosts
                            .insert(host.as_str().into(), Some(one)),
                    );
                }
            }
        }
        self.snapshot = self.compiler.compile(&resources, Duration::ZERO);
    }

    fn host(&self) -> &VirtualHost {
        let listener = self.snapshot.outbound.as_ref().unwrap();
        let chains = listener.chains.iter();
        let routes = chains
            .filter(|chain| chain.matches.destination_port == Some(80))
            .find_map(|chain| match &chain.filter {
                NetworkFilter::Http(manager) => Some(&manager.routes),
                NetworkFilter::Tcp(_) => None,
            });
        routes.unwrap().hosts[HOST].as_ref().unwrap()
    }

    /// A user's request; the user keeps the cookie of the answer.
    pub(crate) fn serve(&self, user: &mut User, rng: &mut fastrand::Rng) -> Answer {
        let host = self.host();
        let mut headers = HeaderMap::new();
        headers.insert("x-user", HeaderValue::from(user.id));
        if let Some(cookie) = &user.cookie {
            headers.insert(header::COOKIE, HeaderValue::from_str(cookie).unwrap());
        }
        let mut draw = |below: u64| rng.u64(..below.max(1));
        let route = matching::route(host, "/", &headers).unwrap();
        let client = IpAddr::from(user.id.to_be_bytes());
        let key = affinity::key(&route.hash, &headers, client, &mut draw);
        let placement = affinity::place(host, route, key, &mut draw).unwrap();
        let conditions = Conditions {
            now: 0,
            tried: &[],
            bench: &Idle(RefCell::new(rng)),
            trials: None,
        };
        let endpoint =
            balance::pick(placement.cluster, Choice::Balanced(None), &conditions).unwrap();
        let served = endpoint.version.as_deref().unwrap().to_owned();
        let mut response = HeaderMap::new();
        affinity::decorate(&mut response, host, route, &placement, Some(&served));
        if let Some(cookie) = response.get(header::SET_COOKIE) {
            let pair = cookie.to_str().unwrap().split(';').next().unwrap();
            user.cookie = Some(pair.to_owned());
        }
        Answer {
            chosen: placement.cluster.version.as_deref().unwrap().to_owned(),
            served,
        }
    }
}
