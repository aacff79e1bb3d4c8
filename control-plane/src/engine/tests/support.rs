//! A service `shop/checkout` with instances, a fake mesh around the engine, and a clock.

use crate::{
    engine::{Answer, Engine, Journal, Request, Target, run::Run},
    model::{
        Affinity, Analysis, AppProtocol, Capacity, Catalog, Check, Command, Drain, EndpointSample,
        Event, Generation, HealthSample, Key, LoadSample, Observed, OnLowTraffic, Phase, Policy,
        Probe, ProxyId, ProxyState, Rollback, SameSite, Service, ServiceKey, ServicePort,
        ServiceView, Share, Sink, Step, Timestamp, UpgradeStatus, VersionView, Workload,
        WorkloadKey, World,
    },
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;

/// So many seconds after the beginning of time.
pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp(1_000_000 + seconds * 1_000)
}

pub(crate) fn checkout() -> ServiceKey {
    Key::new("shop", "checkout")
}

pub(crate) fn workload(name: &str, version: &str, host: u8) -> Workload {
    Workload {
        key: WorkloadKey::new("shop", name),
        labels: BTreeMap::from([("app".to_owned(), "checkout".to_owned())]),
        version: version.into(),
        address: Ipv4Addr::new(10, 0, 0, host).into(),
        ports: BTreeMap::new(),
        zone: None,
        readiness: Some(Probe {
            check: Check::Tcp { port: 8080 },
            period: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            failure_threshold: 3,
            success_threshold: 1,
        }),
        place: true,
    }
}

/// `shop/checkout` with these instances (name, version), at 10.0.0.1 and on.
pub(crate) fn catalog(instances: &[(&str, &str)]) -> Catalog {
    let service = Service {
        key: checkout(),
        selector: BTreeMap::from([("app".to_owned(), "checkout".to_owned())]),
        ports: vec![ServicePort {
            name: "http".to_owned(),
            port: 80,
            target_port: 8080,
            protocol: AppProtocol::Http,
        }],
        cluster_ip: None,
        place: true,
    };
    let workloads = instances.iter().zip(1_u8..).map(|((name, version), host)| {
        let workload = workload(name, version, host);
        (workload.key.clone(), Arc::new(workload))
    });
    Catalog {
        services: BTreeMap::from([(checkout(), Arc::new(service))]),
        workloads: workloads.collect(),
        ..Catalog::default()
    }
}

pub(crate) fn sample(name: &str, healthy: bool) -> HealthSample {
    HealthSample {
        workload: WorkloadKey::new("shop", name),
        at: at(0),
        healthy,
    }
}

/// A proxy subscribed to `shop/checkout` that has ACKed a generation.
pub(crate) fn proxy(id: &str, acked: u64) -> ProxyState {
    ProxyState {
        proxy: id.into(),
        user_agent: "segue-sidecar".to_owned(),
        address: None,
        interest: BTreeSet::from([checkout()]),
        acked: Generation(acked),
        sent: Generation(acked),
        nacks: BTreeMap::new(),
        types: Vec::new(),
    }
}

/// A policy that is quick: 25 % for 2 s, then 100 %; 3 s of window. It goes on where there is too
/// little traffic to know.
pub(crate) fn quick() -> Policy {
    let step = |percent, seconds| Step {
        weight: Share::from_percent(percent).unwrap(),
        hold: Duration::from_secs(seconds),
        manual: false,
    };
    Policy {
        steps: vec![step(25, 2), step(100, 0)],
        capacity: Capacity::Full,
        affinity: Affinity::Cookie {
            name: None,
            ttl: Duration::from_secs(3600),
            path: "/".to_owned(),
            same_site: SameSite::Lax,
            secure: false,
        },
        drain: Drain {
            timeout: Duration::from_secs(20),
            session_timeout: Duration::from_secs(5),
        },
        rollback: Rollback {
            window: Duration::from_secs(3),
        },
        analysis: Analysis {
            warm_up: Duration::ZERO,
            max_wait: Duration::from_secs(1),
            on_low_traffic: OnLowTraffic::Proceed,
            ..Policy::default().analysis
        },
        ..Policy::default()
    }
}

/// An engine with a mesh around it that does as it is told: proxies ACK, checks pass, reports say
/// that nothing is active.
pub(crate) struct Mesh {
    pub(crate) state: TempDir,
    pub(crate) engine: Option<Engine>,
    pub(crate) now: Timestamp,
    pub(crate) catalog: Catalog,
    /// The sidecars that ACK what is published.
    pub(crate) proxies: Vec<String>,
    /// Instances whose checks fail.
    pub(crate) failing: BTreeSet<String>,
    /// Instances without a sidecar of their own: nothing is reported of them but by clients.
    pub(crate) silent: BTreeSet<String>,
    /// Instances whose machine is lost: neither reports nor checks come of them.
    pub(crate) lost: BTreeSet<String>,
    pub(crate) world: Arc<World>,
    /// What the outbox was handed, over all lives of the control plane.
    pub(crate) told: Arc<Mutex<Vec<Event>>>,
    pub(crate) outbox_refuses: Arc<Mutex<bool>>,
    pub(crate) last_acked: Generation,
    /// It was killed, and the proxies have not reported since.
    pub(crate) owes_reports: bool,
}

impl Mesh {
    pub(crate) fn new(instances: &[(&str, &str)]) -> Self {
        let mut mesh = Self {
            state: TempDir::new().unwrap(),
            engine: None,
            now: at(0),
            catalog: catalog(&[]),
            proxies: vec!["shop/web".to_owned()],
            failing: BTreeSet::new(),
            silent: BTreeSet::new(),
            lost: BTreeSet::new(),
            world: Arc::new(World::default()),
            told: Arc::default(),
            outbox_refuses: Arc::default(),
            last_acked: Generation(0),
            owes_reports: false,
        };
        mesh.set(instances);
        mesh.start();
        mesh
    }

    /// Starts the control plane on what is on disk.
    pub(crate) fn start(&mut self) {
        let journal = Journal::open(self.state.path()).unwrap();
        let lease = Duration::from_secs(15);
        let told = Arc::clone(&self.told);
        let refuses = Arc::clone(&self.outbox_refuses);
        let events = move |event: &Event, _: &[Sink]| {
            if *refuses.lock() {
                return Err(std::io::Error::other("the outbox is full"));
            }
            told.lock().push(event.clone());
            Ok(())
        };
        let (catalog, now) = (self.catalog.clone(), self.now);
        self.engine = Some(Engine::new(journal, catalog, lease, Box::new(events), now));
        self.last_acked = Generation(0);
        self.turn();
    }

    /// Kills it: whatever is not on disk is lost.
    pub(crate) fn kill(&mut self) {
        self.engine = None;
        self.owes_reports = true;
    }

    pub(crate) fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().unwrap()
    }

    /// The folder of manifests now says this.
    pub(crate) fn set(&mut self, instances: &[(&str, &str)]) {
        let policies = std::mem::take(&mut self.catalog.policies);
        let upgrades = std::mem::take(&mut self.catalog.upgrades);
        self.catalog = catalog(instances);
        self.catalog.policies = policies;
        self.catalog.upgrades = upgrades;
        self.catalog
            .policies
            .entry(checkout())
            .or_insert_with(|| Arc::new(quick()));
        self.tell();
    }

    /// The engine reads the catalog.
    pub(crate) fn tell(&mut self) {
        let catalog = self.catalog.clone();
        if let Some(engine) = &mut self.engine {
            engine.catalog_changed(catalog);
        }
    }

    pub(crate) fn turn(&mut self) {
        let now = self.now;
        if let Some(world) = self.engine().turn(now).world {
            assert!(
                world.generation > self.world.generation,
                "generations only grow"
            );
            self.world = world;
        }
    }

    /// 100 ms pass: checks are made, proxies ACK and report.
    pub(crate) fn tick(&mut self) {
        self.now = self.now.after(Duration::from_millis(100));
        let now = self.now;
        let workloads: Vec<WorkloadKey> = self.catalog.workloads.keys().cloned().collect();
        for workload in workloads {
            if self.lost.contains(&*workload.name) {
                continue;
            }
            let healthy = !self.failing.contains(&*workload.name);
            let own = ProxyId::from(workload.to_string().as_str());
            self.engine().observed(
                Observed::Health(HealthSample {
                    workload: workload.clone(),
                    at: now,
                    healthy,
                }),
                now,
            );
            let idle = EndpointSample {
                cluster: "inbound|8080||".to_owned(),
                ..EndpointSample::default()
            };
            if !self.silent.contains(&*workload.name) {
                self.report(&own.0, vec![idle]);
            }
        }
        if self.last_acked != self.world.generation {
            self.last_acked = self.world.generation;
            for id in self.proxies.clone() {
                let state = ProxyState {
                    interest: self.catalog.services.keys().cloned().collect(),
                    ..proxy(&id, self.last_acked.0)
                };
                self.engine().observed(Observed::Proxy(state), now);
                if self.owes_reports {
                    self.report(&id, Vec::new());
                }
            }
        }
        self.owes_reports = false;
        self.turn();
    }

    /// A load report of a proxy; one that is named like a workload is its sidecar.
    pub(crate) fn report(&mut self, proxy: &str, endpoints: Vec<EndpointSample>) {
        let now = self.now;
        let workload = Key::try_from(proxy.to_owned()).ok();
        let sample = LoadSample {
            proxy: proxy.into(),
            workload: workload.filter(|key| self.catalog.workloads.contains_key(key)),
            at: now,
            endpoints,
        };
        self.engine().observed(Observed::Load(sample), now);
    }

    /// So many ticks.
    pub(crate) fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.tick();
        }
    }

    /// Begins the upgrade of these instances under a policy and waits until the first step is
    /// applied.
    pub(crate) fn first_step(from: &[(&str, &str)], to: &[(&str, &str)], policy: Policy) -> Self {
        let mut mesh = Self::new(from);
        mesh.catalog.policies.insert(checkout(), Arc::new(policy));
        mesh.tell();
        mesh.tick();
        mesh.set(to);
        mesh.until("the first step is applied", |mesh| {
            mesh.status()
                .is_some_and(|status| status.phase == Phase::WarmUp && status.applied_at.is_some())
        });
        mesh
    }

    /// Ticks until something holds.
    pub(crate) fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if holds(self) {
                return;
            }
            self.tick();
        }
        let runs = &self.engine.as_ref().unwrap().runs;
        panic!("never: {what}\n{runs:#?}");
    }

    pub(crate) fn until_phase(&mut self, phase: Phase) {
        self.until(&phase.to_string(), |mesh| mesh.phase() == Some(phase));
    }

    /// Stops what is drained, as the lab does, until the run is over.
    pub(crate) fn finish(&mut self) {
        for _ in 0..2_000 {
            if self.phase().is_none_or(Phase::is_final) {
                return;
            }
            let drained = self.status().unwrap().drained.clone();
            let before = self.catalog.workloads.len();
            self.catalog
                .workloads
                .retain(|key, _| !drained.contains(key));
            if self.catalog.workloads.len() != before {
                self.tell();
            }
            self.tick();
        }
        panic!("never over: {:#?}", self.status());
    }

    pub(in crate::engine) fn run(&self) -> Option<&Run> {
        let engine = self.engine.as_ref().unwrap();
        engine.runs.get(engine.current.get(&checkout())?)
    }

    pub(crate) fn status(&self) -> Option<&UpgradeStatus> {
        self.run().map(|run| &run.status)
    }

    pub(crate) fn phase(&self) -> Option<Phase> {
        self.status().map(|status| status.phase)
    }

    pub(crate) fn view(&self) -> &ServiceView {
        self.world.services.get(&checkout()).unwrap()
    }

    /// The shares by version, in order.
    pub(crate) fn shares(&self) -> Vec<(String, u16)> {
        let share = |v: &VersionView| (v.id.to_string(), v.weight.basis_points());
        self.view().versions.iter().map(share).collect()
    }

    pub(crate) fn command(&mut self, command: Command) -> Answer {
        let key = self.run().unwrap().spec.key.clone();
        self.ask(Target::Named(key), command)
    }

    pub(crate) fn ask(&mut self, target: Target, command: Command) -> Answer {
        self.request(&Request {
            target,
            command,
            reason: String::new(),
            request_id: String::new(),
            resource_version: None,
        })
    }

    pub(crate) fn request(&mut self, request: &Request) -> Answer {
        let now = self.now;
        let (answer, turn) = self.engine().command(request, now);
        if let Some(world) = turn.world {
            self.world = world;
        }
        answer
    }
}
