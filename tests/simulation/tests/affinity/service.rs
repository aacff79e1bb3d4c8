//! The service as the control plane would tell of it, and what happens to it.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, prop_oneof},
};
use segue_control_plane::model::{
    AppProtocol, Balancing, CookieAffinity, Generation, Instance, InstanceState, Key, SameSite,
    Service, ServicePort, ServiceView, SessionToken, Share, ShiftBy, VersionView, Workload, World,
};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// The new version's weight, in basis points.
    Weight(u16),
    /// Instances of the new and of the old version.
    Scale(u8, u8),
    /// A sidecar begins anew: all that it kept in memory is gone.
    Restart,
    /// Weight 0, and the new version's sessions are void.
    Rollback,
    /// Weight 100 %, and the old version's sessions are void.
    Finish,
}

pub(crate) fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0_u16..=10_000).prop_map(Event::Weight),
        1 => prop_oneof![Just(0_u16), Just(1), Just(9_999), Just(10_000)].prop_map(Event::Weight),
        3 => (0_u8..3, 1_u8..4).prop_map(|(new, old)| Event::Scale(new, old)),
        2 => Just(Event::Restart),
        1 => Just(Event::Rollback),
        1 => Just(Event::Finish),
    ];
    vec(event, 1..12)
}

/// What holds or tells apart.
#[derive(Clone, Debug)]
pub(crate) enum By {
    Pin,
    Shift(ShiftBy),
}

pub(crate) fn cookie() -> CookieAffinity {
    CookieAffinity {
        name: "segue-1".to_owned(),
        path: "/".to_owned(),
        ttl: Duration::from_secs(3_600),
        same_site: SameSite::Lax,
        secure: false,
        epoch: 0,
    }
}

/// Where the upgrade stands.
#[derive(Debug)]
pub(crate) struct State {
    by: By,
    generation: u64,
    /// Of the new version, in basis points.
    pub(crate) weight: u16,
    pub(crate) new: u8,
    old: u8,
    /// How often the new version was rolled back: its token changes with it.
    rollbacks: u32,
    finished: bool,
}

impl State {
    pub(crate) fn new(by: By) -> Self {
        Self {
            by,
            generation: 0,
            weight: 0,
            new: 2,
            old: 2,
            rollbacks: 0,
            finished: false,
        }
    }

    /// False: nothing more happens after the end.
    pub(crate) fn happens(&mut self, event: Event) -> bool {
        if self.finished {
            return matches!(event, Event::Restart);
        }
        match event {
            Event::Weight(weight) => self.weight = weight,
            Event::Scale(new, old) => (self.new, self.old) = (new, old),
            Event::Restart => {}
            Event::Rollback => {
                self.weight = 0;
                self.rollbacks += 1;
            }
            Event::Finish => {
                self.weight = 10_000;
                self.new = self.new.max(1);
                self.finished = true;
            }
        }
        true
    }

    /// A version that sessions can't stay on: it was let go, or has no instance.
    pub(crate) fn is_gone(&self, version: &str) -> bool {
        if version == "v2" {
            self.new == 0
        } else {
            self.finished
        }
    }

    pub(crate) fn world(&mut self) -> Arc<World> {
        self.generation += 1;
        let view = Arc::new(self.view());
        let instances = view.instances.iter().map(|one| &one.workload);
        Arc::new(World {
            generation: Generation(self.generation),
            workloads: instances
                .map(|workload| (workload.key.clone(), Arc::clone(workload)))
                .collect(),
            services: BTreeMap::from([(view.service.key.clone(), view)]),
        })
    }

    fn view(&self) -> ServiceView {
        let pin = matches!(self.by, By::Pin);
        let token = |text: String| pin.then(|| SessionToken(text.into()));
        let version = |id: &str, weight, token| VersionView {
            id: id.into(),
            weight: Share::from_basis_points(weight).unwrap(),
            token,
            control: None,
            released: Share::ZERO,
            fallback: None,
            fuse: None,
        };
        let new = VersionView {
            fallback: Some("v1".into()),
            ..version("v2", self.weight, token(format!("new{}", self.rollbacks)))
        };
        let held = token("old".to_owned()).filter(|_| !self.finished);
        let old = VersionView {
            control: (pin && !self.finished).then(|| "c0ffee00".into()),
            ..version("v1", 10_000 - self.weight, held)
        };
        let instances = (0..self.new).map(|n| instance("v2", n, InstanceState::Ready));
        let state = if self.finished {
            InstanceState::Draining
        } else {
            InstanceState::Ready
        };
        let instances = instances.chain((0..self.old).map(|n| instance("v1", n, state)));
        ServiceView {
            placed: false,
            service: Arc::new(service()),
            instances: instances.collect(),
            versions: vec![new, old],
            check_every: Duration::from_secs(5),
            affinity: pin.then(cookie),
            balancing: Balancing::default(),
            shift: match &self.by {
                By::Pin => None,
                By::Shift(by) => Some(by.clone()),
            },
        }
    }
}

fn service() -> Service {
    Service {
        place: false,
        key: Key::new("shop", "checkout"),
        selector: BTreeMap::from([("app".to_owned(), "checkout".to_owned())]),
        ports: vec![ServicePort {
            name: "http".to_owned(),
            port: 80,
            target_port: 8080,
            protocol: AppProtocol::Http,
        }],
        cluster_ip: Some(IpAddr::from([10, 96, 0, 1])),
    }
}

fn instance(version: &str, number: u8, state: InstanceState) -> Instance {
    let third = u8::from(version == "v2");
    Instance {
        workload: Arc::new(Workload {
            place: true,
            key: Key::new("shop", &format!("checkout-{version}-{number}")),
            labels: BTreeMap::from([("app".to_owned(), "checkout".to_owned())]),
            version: version.into(),
            address: IpAddr::from([10, 0, third, number]),
            ports: BTreeMap::new(),
            zone: None,
            readiness: None,
        }),
        state,
    }
}
