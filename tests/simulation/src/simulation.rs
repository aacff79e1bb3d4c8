//! One run: takes event after event until the upgrades are over, checking after every step.

use super::{
    checks::{Checks, Violation},
    control_plane::ControlPlane,
    disk,
    instance::Instance,
    network::Connection,
    proxy::Proxy,
    queue::{ConnectionId, Event, Ms, Queue},
    route::InFlight,
    scenario::Scenario,
    trace::Trace,
    workload::Session,
};
use segue_control_plane::model::{ServiceKey, Timestamp};
use std::collections::BTreeMap;

/// What a step may find.
pub(crate) type Step<T = ()> = Result<T, Violation>;

/// When the first instances of the new version appear.
const DEPLOYED: Ms = 4_000;
/// No run takes longer once nothing breaks any more.
const BOUND: Ms = 120_000;
/// After the last run's end, so that a third version's has begun.
const REST: Ms = 3_000;
/// The Unix time at which the virtual clock begins.
const EPOCH: u64 = 1_750_000_000_000;

/// How one run went.
#[derive(Debug)]
pub struct Outcome {
    /// What was violated, if anything.
    pub violation: Option<Violation>,
    /// The last lines of what happened, or all.
    pub trace: Vec<String>,
    /// The same for two runs of one seed.
    pub hash: u64,
    /// Virtual milliseconds.
    pub took: u64,
    /// Requests that an application answered.
    pub answered: u64,
    /// Requests that failed for a fault, which no mesh can prevent.
    pub excused: u64,
    /// Phases in which runs ended or stood still at last, by name.
    pub ends: Vec<String>,
    /// Kills of the control plane, and how many of them within a turn's writes.
    pub kills: (u32, u32),
    /// Runs of which analysis said that the new version is worse.
    pub worse: usize,
}

/// Everything that is simulated.
#[derive(Debug)]
pub(crate) struct Simulation {
    pub(crate) now: Ms,
    pub(crate) queue: Queue,
    pub(crate) rng: fastrand::Rng,
    pub(crate) trace: Trace,
    pub(crate) scenario: Scenario,
    pub(crate) plane: ControlPlane,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    pub(crate) proxies: BTreeMap<String, Proxy>,
    pub(crate) instances: BTreeMap<String, Instance>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) requests: BTreeMap<u64, InFlight>,
    pub(crate) numbered: u64,
    pub(crate) checks: Checks,
    pub(crate) healed: bool,
    pub(crate) turned_bad: Option<Ms>,
}

/// Runs the scenario of a seed; `keeps_all`: with its whole trace.
pub fn run(seed: u64, keeps_all: bool) -> Outcome {
    run_scenario(Scenario::of(seed), keeps_all)
}

/// Runs a scenario.
pub fn run_scenario(scenario: Scenario, keeps_all: bool) -> Outcome {
    let folders = disk::folder().and_then(|state| Ok((state, disk::folder()?)));
    let plane = match folders {
        Ok((state, copy)) => ControlPlane::new(state, copy),
        Err(error) => return unable(Violation::simulator(&error)),
    };
    let mut simulation = Simulation {
        now: 0,
        queue: Queue::default(),
        rng: fastrand::Rng::with_seed(scenario.seed),
        trace: Trace::new(keeps_all),
        plane,
        connections: BTreeMap::new(),
        proxies: BTreeMap::new(),
        instances: BTreeMap::new(),
        sessions: Vec::new(),
        requests: BTreeMap::new(),
        numbered: 0,
        checks: Checks::default(),
        healed: false,
        turned_bad: None,
        scenario,
    };
    let violation = simulation.go().err();
    if let Some(violation) = &violation {
        let line = format!("VIOLATED {violation}");
        simulation.note(&line);
    }
    let ends = simulation.checks.ends();
    Outcome {
        violation,
        hash: simulation.trace.hash(),
        took: simulation.now,
        answered: simulation.checks.answered,
        excused: simulation.checks.excused,
        ends,
        kills: (simulation.plane.kills, simulation.plane.kills_within),
        worse: simulation.checks.worse.len(),
        trace: simulation.trace.into_lines(),
    }
}

fn unable(violation: Violation) -> Outcome {
    Outcome {
        violation: Some(violation),
        trace: Vec::new(),
        hash: 0,
        took: 0,
        answered: 0,
        excused: 0,
        ends: Vec::new(),
        kills: (0, 0),
        worse: 0,
    }
}

impl Simulation {
    fn go(&mut self) -> Step {
        self.set_up()?;
        let mut quiet_since = None;
        while let Some((at, event)) = self.queue.pop() {
            self.now = at;
            self.happens(event)?;
            let over = self.healed && self.plane.engine.is_some() && self.checks.all_over();
            if !over {
                quiet_since = None;
            } else if self.now >= *quiet_since.get_or_insert(self.now) + REST {
                break;
            }
            if self.now > self.scenario.heal + BOUND {
                self.checks.at_the_bound(self.now)?;
                break;
            }
        }
        self.checks.at_the_end()
    }

    fn set_up(&mut self) -> Step {
        let line = format!("scenario {:?}", self.scenario);
        self.note(&line);
        self.deploy("v1");
        for number in 0..self.scenario.clients {
            self.add_proxy(&format!("web-{number}"), None);
        }
        self.start_control_plane()?;
        self.queue.push(DEPLOYED, Event::Deploy("v2"));
        if let Some(at) = self.scenario.third_version {
            self.queue.push(DEPLOYED + at, Event::Deploy("v3"));
        }
        let latest = if self.scenario.quality.is_for_analysis() {
            DEPLOYED + 4_000
        } else {
            24_000
        };
        let turns_bad = self.rng.u64(DEPLOYED..latest);
        self.queue.push(turns_bad, Event::TurnBad);
        self.queue.push(100, Event::Orchestrate);
        self.queue.push(self.scenario.heal, Event::Heal);
        if self.scenario.faults.every > 0 {
            self.queue.push(DEPLOYED - 1_000, Event::Fault);
        }
        for _ in 0..self.scenario.verbs {
            let at = self.rng.u64(DEPLOYED..self.scenario.heal);
            self.queue.push(at, Event::Operate);
        }
        self.begin_workload();
        Ok(())
    }

    fn happens(&mut self, event: Event) -> Step {
        match event {
            Event::ToServer(connection, stream) => self.reaches_server(connection, stream),
            Event::ToProxy(connection) => self.reaches_proxy(connection),
            Event::ServerLoses(connection) => self.server_loses(connection),
            Event::ProxyLoses(connection) => self.proxy_loses(connection),
            Event::Connect(proxy, process) => self.connect(&proxy, process),
            Event::StreamSnapshot(connection) => self.stream_snapshot(connection),
            Event::Introduced(connection) => self.introduced(connection),
            Event::Wake(process) => return self.wake(process),
            Event::Tick(process) => return self.tick(process),
            Event::StartControlPlane => return self.start_control_plane(),
            Event::Swap(proxy, process, worker) => self.swap(&proxy, process, worker),
            Event::Deadline(proxy, process) => self.deadline(&proxy, process),
            Event::Save(proxy, process) => self.save(&proxy, process),
            Event::Report(proxy, process) => self.report(&proxy, process),
            Event::LateReport(sample, process) => self.late_report(*sample, process),
            Event::Check(proxy, process) => self.check(&proxy, process),
            Event::StartProxy(proxy) => self.start_proxy(&proxy),
            Event::Request(session) => return self.request(session),
            Event::Arrive(request) => return self.arrive(request),
            Event::Finish(request) => return self.finish(request),
            Event::Deploy(version) => self.deploy(version),
            Event::Ready(instance, process) => self.comes_up(&instance, process),
            Event::TurnBad => self.turn_bad(),
            Event::Orchestrate => self.orchestrate(),
            Event::Remove(instance) => self.remove(&instance),
            Event::Fault => self.fault(),
            Event::Heal => return self.heal(),
            Event::Operate => return self.operate(),
            Event::Aimed(command) => return self.aimed(command),
            Event::Repeat(request, left) => return self.ask(*request, left),
        }
        Ok(())
    }

    pub(crate) fn note(&mut self, what: &str) {
        self.trace.note(self.now, what);
    }

    /// The virtual time as the control plane reads it.
    pub(crate) fn timestamp(&self) -> Timestamp {
        Timestamp(EPOCH + self.now)
    }

    /// True with a probability of one in so many.
    pub(crate) fn one_in(&mut self, number: u32) -> bool {
        self.rng.u32(..number.max(1)) == 0
    }

    /// Puts an event off by a random time.
    pub(crate) fn within(&mut self, from: Ms, to: Ms, event: Event) {
        let at = self.now + self.rng.u64(from..=to);
        self.queue.push(at, event);
    }
}

/// The service that is upgraded.
pub(crate) fn service() -> ServiceKey {
    ServiceKey::new("shop", "checkout")
}
