//! The instances: applications that come up, answer, turn bad, crash.

use super::{
    queue::{Event, Ms},
    scenario::Quality,
    simulation::{Simulation, service},
};
use segue_control_plane::model::{
    AppProtocol, Catalog, Check, Probe, Service, ServicePort, Workload, WorkloadKey,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

/// Where applications listen.
pub(crate) const PORT: u16 = 8080;

/// One instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) version: &'static str,
    pub(crate) workload: Arc<Workload>,
    pub(crate) listed: bool,
    pub(crate) up: bool,
    fails_checks: bool,
    /// Counts its processes.
    pub(crate) process: u32,
    /// The orchestrator stopped it, since the control plane called it drained.
    pub(crate) stopped: bool,
    /// Something broke here once, which no mesh can hide wholly.
    pub(crate) faulty: bool,
    /// Its machine is gone.
    pub(crate) vanished: bool,
    pub(crate) active: u64,
    pub(crate) last_begin: Option<u64>,
}

impl Instance {
    pub(crate) fn passes_checks(&self) -> bool {
        self.up && !self.fails_checks
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.workload.address, PORT)
    }
}

impl Simulation {
    /// Instances of a version appear.
    pub(crate) fn deploy(&mut self, version: &'static str) {
        let block = match version {
            "v1" => 1,
            "v2" => 2,
            _ => 3,
        };
        for number in 0..self.scenario.instances {
            let address = Ipv4Addr::new(10, 0, block, number + 1).into();
            let name = format!("checkout-{version}-{number}");
            self.add_instance(version, &name, address);
        }
        self.catalog_changed();
    }

    pub(crate) fn add_instance(&mut self, version: &'static str, name: &str, address: IpAddr) {
        let instance = Instance {
            version,
            workload: Arc::new(workload(name, version, address)),
            listed: true,
            up: false,
            fails_checks: false,
            process: 0,
            stopped: false,
            faulty: false,
            vanished: false,
            active: 0,
            last_begin: None,
        };
        self.note(&format!("{name} appears"));
        self.instances.insert(name.to_owned(), instance);
        self.add_proxy(name, Some(name.to_owned()));
        let never = version == "v2" && self.scenario.quality == Quality::NewNeverReady;
        if !never {
            let longest = if version == "v1" { 100 } else { 3_000 };
            self.within(0, longest, Event::Ready(name.to_owned(), 0));
        }
    }

    pub(crate) fn comes_up(&mut self, name: &str, process: u32) {
        let bad = self.turned_bad.is_some();
        let quality = self.scenario.quality;
        let Some(instance) = self.instances.get_mut(name) else {
            return;
        };
        if instance.process != process || instance.stopped || instance.vanished {
            return;
        }
        instance.up = true;
        if bad && fails_checks(quality, instance.version) {
            instance.fails_checks = true;
            instance.faulty = true;
        }
        self.note(&format!("{name} is up"));
    }

    pub(crate) fn turn_bad(&mut self) {
        self.turned_bad = Some(self.now);
        let quality = self.scenario.quality;
        for instance in self.instances.values_mut() {
            if fails_checks(quality, instance.version) {
                instance.fails_checks = true;
                instance.faulty = true;
            }
        }
        self.note(&format!("from now on {quality:?}"));
    }

    /// What the application of a version answers now.
    pub(crate) fn status(&mut self, version: &str) -> http::StatusCode {
        let tenths = match self.scenario.quality {
            Quality::NewTurnsBad => 8,
            Quality::NewIsWorse => 4,
            _ => 0,
        };
        let bad = self.turned_bad.is_some() && version == "v2" && tenths > 0;
        if bad && self.rng.u8(..10) < tenths {
            http::StatusCode::INTERNAL_SERVER_ERROR
        } else {
            http::StatusCode::OK
        }
    }

    /// How long the application of a version takes.
    pub(crate) fn answers_after(&mut self, version: &str) -> Ms {
        let slow = self.turned_bad.is_some()
            && version == "v2"
            && self.scenario.quality == Quality::NewIsSlow;
        if self.one_in(25) {
            self.rng.u64(2..=1_500)
        } else if slow {
            self.rng.u64(400..=800)
        } else {
            self.rng.u64(2..=40)
        }
    }

    /// The wanted state as a source would read it now.
    pub(crate) fn catalog(&self) -> Catalog {
        let service = Service {
            key: service(),
            selector: BTreeMap::from([("app".to_owned(), "checkout".to_owned())]),
            ports: vec![ServicePort {
                name: "http".to_owned(),
                port: 80,
                target_port: PORT,
                protocol: AppProtocol::Http,
            }],
            cluster_ip: None,
            place: false,
        };
        let listed = self.instances.values().filter(|instance| instance.listed);
        let clients = self.proxies.iter().filter(|(_, proxy)| proxy.is_client());
        let client = |name: &String, host: u8| {
            let address = Ipv4Addr::new(10, 0, 9, host).into();
            let mut workload = workload(name, "1", address);
            workload.labels.clear();
            workload.readiness = None;
            Arc::new(workload)
        };
        Catalog {
            services: BTreeMap::from([(service.key.clone(), Arc::new(service.clone()))]),
            workloads: listed
                .map(|instance| Arc::clone(&instance.workload))
                .chain(clients.zip(1..).map(|((name, _), host)| client(name, host)))
                .map(|workload| (workload.key.clone(), workload))
                .collect(),
            policies: BTreeMap::from([(service.key, Arc::new(self.scenario.policy.clone()))]),
            ..Catalog::default()
        }
    }
}

fn fails_checks(quality: Quality, version: &str) -> bool {
    match quality {
        Quality::NewFailsChecks => version == "v2",
        Quality::BothFailChecks => version != "v3",
        Quality::Good
        | Quality::NewTurnsBad
        | Quality::NewIsWorse
        | Quality::NewIsSlow
        | Quality::NewNeverReady => false,
    }
}

fn workload(name: &str, version: &str, address: IpAddr) -> Workload {
    Workload {
        key: WorkloadKey::new("shop", name),
        labels: BTreeMap::from([("app".to_owned(), "checkout".to_owned())]),
        version: version.into(),
        address,
        ports: BTreeMap::new(),
        zone: None,
        readiness: Some(Probe {
            check: Check::Tcp { port: PORT },
            period: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            failure_threshold: 3,
            success_threshold: 1,
        }),
        place: true,
    }
}
