//! Clients: sessions that carry their cookie from request to request, and clients without one.

use super::{
    checks::Violation,
    instance::Instance,
    proxy::WORKERS,
    queue::{Event, Ms},
    route::{self, End, InFlight},
    simulation::{Simulation, Step},
};
use segue_sidecar::model::ErrorClass;

/// Clients are there from now on.
const BEGIN: Ms = 2_000;
/// A version that turns bad is known to be bad by then, where nothing else breaks.
const KNOWN_WITHIN: Ms = 2_000;
/// How long a request waits at most for an answer of the control plane.
const ON_DEMAND: Ms = 100;

/// One session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Its cookie jar.
    pub(crate) cookie: Option<String>,
    /// The version that answered last.
    pub(crate) version: Option<String>,
    left: u32,
}

impl Simulation {
    pub(crate) fn begin_workload(&mut self) {
        for index in 0..self.scenario.sessions {
            self.sessions.push(Session::default());
            let at = BEGIN + self.rng.u64(0..500);
            self.queue.push(at, Event::Request(Some(index)));
        }
        let others = if self.scenario.quality.is_for_analysis() {
            40
        } else {
            4
        };
        for _ in 0..others {
            let at = BEGIN + self.rng.u64(0..500);
            self.queue.push(at, Event::Request(None));
        }
    }

    pub(crate) fn request(&mut self, session: Option<usize>) -> Step {
        let clients: Vec<String> = self
            .proxies
            .iter()
            .filter(|(_, proxy)| proxy.is_client() && proxy.alive)
            .map(|(name, _)| name.clone())
            .collect();
        if clients.is_empty() {
            self.next_request(session);
            return Ok(());
        }
        let name = clients
            .get(self.rng.usize(..clients.len()))
            .cloned()
            .unwrap_or_default();
        let worker = self.rng.usize(..WORKERS);
        if let Some(index) = session
            && let Some(session) = self.sessions.get_mut(index)
        {
            if session.left == 0 {
                *session = Session {
                    left: self.rng.u32(3..40),
                    ..Session::default()
                };
            }
            session.left -= 1;
        }
        let Some(proxy) = self.proxies.get_mut(&name) else {
            return Ok(());
        };
        let snapshot = proxy.snapshot(worker);
        let Some(host) = route::find(&snapshot) else {
            if proxy.knew_host {
                return Err(Violation {
                    invariant: "what is in force never shrinks",
                    what: format!("{name} no longer knows {}", route::HOST),
                });
            }
            // It has just begun, and the control plane has not said anything yet.
            self.checks.excused += 1;
            self.within(ON_DEMAND, 2 * ON_DEMAND, Event::Request(session));
            return Ok(());
        };
        proxy.knew_host = true;
        let cookie = session
            .and_then(|index| self.sessions.get(index))
            .and_then(|session| session.cookie.clone());
        let placed = route::place(host, cookie.as_deref(), &mut self.rng);
        let Some(mut request) = placed else {
            let why = format!("{name}: no route, or one that names no cluster");
            self.next_request(session);
            return self.failed(None, &why);
        };
        request.session = session;
        request.fenced = proxy.is_fenced(self.now);
        request.started = self.now;
        request.proxy = name;
        self.check_placement(&request, cookie.as_deref())?;
        self.attempt(request)
    }

    /// One try.
    fn attempt(&mut self, mut request: InFlight) -> Step {
        let now = self.now;
        let Some(proxy) = self.proxies.get_mut(&request.proxy) else {
            return Ok(());
        };
        if !proxy.pick(&mut request, now, &mut self.rng) {
            let why = format!(
                "{}: no healthy endpoint in {}",
                request.proxy, request.cluster.name
            );
            self.next_request(request.session);
            return self.failed(Some(&request), &why);
        }
        self.numbered += 1;
        let number = self.numbered;
        self.requests.insert(number, request);
        self.within(1, 6, Event::Arrive(number));
        Ok(())
    }

    pub(crate) fn arrive(&mut self, number: u64) -> Step {
        let now = self.now;
        let Some(request) = self.requests.get_mut(&number) else {
            return Ok(());
        };
        let Some(address) = request.endpoint.as_ref().map(|endpoint| endpoint.address) else {
            return Ok(());
        };
        let found = self
            .instances
            .iter_mut()
            .find(|(_, instance)| instance.address() == address);
        if let Some((name, instance)) = found {
            request.met_fault |= instance.faulty;
            if instance.stopped && !request.fenced {
                return Err(Violation {
                    invariant: "no request is sent to an instance that was called drained",
                    what: format!("{} to {name}", request.proxy),
                });
            }
            if instance.up {
                instance.active += 1;
                instance.last_begin = Some(now);
                request.serving = Some((name.clone(), instance.process));
                let (name, version) = (name.clone(), instance.version);
                self.inbound(&name, true, true);
                let latency = self.answers_after(version);
                self.queue.push(now + latency, Event::Finish(number));
                return Ok(());
            }
        }
        let Some(mut request) = self.requests.remove(&number) else {
            return Ok(());
        };
        if let Some(proxy) = self.proxies.get_mut(&request.proxy) {
            proxy.ended(&mut request, End::NoConnection, now);
            proxy.count(&request, |load| load.connected(false));
        }
        request
            .tried
            .extend(request.endpoint.take().map(|one| one.id));
        let tries = u32::try_from(request.tried.len()).unwrap_or(u32::MAX);
        if request.host.retry.connect_failure && tries <= request.host.retry.num_retries {
            return self.attempt(request);
        }
        self.next_request(request.session);
        self.failed(Some(&request), "no connection came about")
    }

    pub(crate) fn finish(&mut self, number: u64) -> Step {
        let now = self.now;
        let Some(mut request) = self.requests.remove(&number) else {
            return Ok(());
        };
        let Some((name, process)) = request.serving.take() else {
            return Ok(());
        };
        let version = request.served().unwrap_or_default().to_owned();
        let status = self.status(&version);
        let Some(instance) = self.instances.get_mut(&name) else {
            return Ok(());
        };
        let broken = instance.process != process || !instance.up;
        request.met_fault |= broken && instance.faulty;
        if !broken {
            instance.active -= 1;
            self.inbound(&name, false, status.is_success());
        }
        let (cookie, began) = request.decorate();
        let end = if broken {
            End::BrokeOff
        } else {
            End::Answered(status)
        };
        if let Some(proxy) = self.proxies.get_mut(&request.proxy) {
            proxy.ended(&mut request, end, now);
            proxy.count(&request, |load| {
                load.connected(true);
                load.new_sessions += u64::from(began && !broken);
                load.pinned_requests += u64::from(request.pinned);
            });
        }
        self.next_request(request.session);
        if broken {
            return self.failed(Some(&request), &format!("broke off at {name}"));
        }
        self.checks.answered += 1;
        let pinned = if request.pinned { ", pinned" } else { "" };
        let line = format!("{} -> {name} {}{pinned}", request.proxy, status.as_u16());
        self.note(&line);
        if let Some(session) = request
            .session
            .and_then(|index| self.sessions.get_mut(index))
        {
            if cookie.is_some() {
                session.cookie = cookie;
            }
            session.version = Some(version);
        }
        Ok(())
    }

    /// Counts a request at the instance's own sidecar.
    fn inbound(&mut self, name: &str, begins: bool, succeeded: bool) {
        let Some(address) = self.instances.get(name).map(Instance::address) else {
            return;
        };
        let Some(proxy) = self.proxies.get_mut(name) else {
            return;
        };
        let key = (format!("inbound|{}||", address.port()).into(), address);
        let load = proxy.loads.entry(key).or_default();
        if begins {
            load.issued += 1;
            load.requests_active += 1;
        } else {
            load.requests_active = load.requests_active.saturating_sub(1);
            if succeeded {
                load.succeeded += 1;
            } else {
                load.errors.count(ErrorClass::Response);
            }
        }
    }

    fn next_request(&mut self, session: Option<usize>) {
        self.within(60, 900, Event::Request(session));
    }

    /// A request that no application answered. That is right only where it was sent to what was
    /// broken, or where nothing that its sidecar knows of could have answered.
    fn failed(&mut self, request: Option<&InFlight>, why: &str) -> Step {
        self.note(&format!("a request fails: {why}"));
        let excused = request.is_some_and(|request| {
            request.fenced || request.met_fault || !self.has_somebody(request)
        });
        if excused {
            self.checks.excused += 1;
            return Ok(());
        }
        Err(Violation {
            invariant: "no request fails but by a fault of what it was meant for",
            what: why.to_owned(),
        })
    }

    /// An instance of the request's version, or of the one that stands in for it, is well, and no
    /// fault has been there of which its sidecar or the control plane may not know the end. A request
    /// for the new version is served whatever becomes of that, while the old one stands by unharmed.
    fn has_somebody(&self, request: &InFlight) -> bool {
        let version = route::version_of(&request.cluster);
        let faulty = |version: &str| {
            let mut instances = self.instances.values();
            instances.any(|one| one.faulty && one.version == version)
        };
        let own = version.is_some_and(faulty);
        if faulty("v1") || (own && (version != Some("v2") || !self.old_stands_by())) {
            return false;
        }
        !self.is_blown_too_late(request)
    }

    /// The first version serves as it always did: an instance of it is known to be well.
    fn old_stands_by(&self) -> bool {
        let well = |(name, one): (&String, &Instance)| {
            let known = self.proxies.get(name);
            let is_known = known.is_some_and(|proxy| proxy.alive && !proxy.is_fenced(self.now));
            one.version == "v1" && one.listed && one.passes_checks() && is_known
        };
        self.checks.old_drains.is_none() && self.instances.iter().any(well)
    }

    /// The version turned bad when the old one was going already, and nobody is left to go back to.
    fn is_blown_too_late(&self, request: &InFlight) -> bool {
        let (Some(bad), Some(drains)) = (self.turned_bad, self.checks.old_drains) else {
            return false;
        };
        let Some(proxy) = self.proxies.get(&request.proxy) else {
            return false;
        };
        let now = u64::try_from(proxy.age(self.now).as_millis()).unwrap_or(u64::MAX);
        let mut own = request.cluster.endpoints.iter();
        drains < bad + KNOWN_WITHIN && own.any(|endpoint| endpoint.state.is_ejected(now))
    }
}
