//! What breaks, and when it is over.

use super::{
    network::Break,
    queue::{Event, Ms},
    simulation::Simulation,
};

impl Simulation {
    pub(crate) fn fault(&mut self) {
        if self.healed {
            return;
        }
        let faults = self.scenario.faults;
        self.within(1, 2 * faults.every, Event::Fault);
        match self.rng.u8(..12) {
            0..=2 if faults.network => self.break_a_connection(),
            3 | 4 if faults.network => self.partition(),
            5 | 6 if faults.control_plane => self.kill_control_plane(),
            7 | 8 if faults.control_plane => self.plane.armed = self.plane.engine.is_some(),
            9 if faults.sidecars => self.restart_a_sidecar(),
            10 if faults.instances => self.crash(),
            11 if faults.instances && self.one_in(3) => self.vanish(),
            _ => {}
        }
    }

    fn break_a_connection(&mut self) {
        let ids: Vec<u64> = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.proxy_open && connection.server_open)
            .map(|(id, _)| *id)
            .collect();
        if ids.is_empty() {
            return;
        }
        let how = match self.rng.u8(..4) {
            0 => Break::Reset,
            1 => Break::ProxyOnly,
            2 => Break::ServerOnly,
            _ => Break::Silent,
        };
        if let Some(id) = ids.get(self.rng.usize(..ids.len())) {
            self.break_off(*id, how);
        }
    }

    /// Nothing passes for a while. Beyond the keepalive both sides give up.
    fn partition(&mut self) {
        let Some(name) = self.a_proxy(|_| true) else {
            return;
        };
        let lasts: Ms = match self.rng.u8(..4) {
            0 => self.rng.u64(6_000..26_000),
            _ => self.rng.u64(100..5_000),
        };
        self.note(&format!("{name} is cut off for {lasts} ms"));
        let now = self.now;
        let Some(proxy) = self.proxies.get_mut(&name) else {
            return;
        };
        proxy.partitioned_until = proxy.partitioned_until.max(now + lasts);
        if lasts > 5_000
            && let Some(id) = proxy.connection
        {
            self.within(5_000, lasts.min(10_000), Event::ProxyLoses(id));
            self.within(5_000, lasts.min(10_000), Event::ServerLoses(id));
        }
    }

    fn restart_a_sidecar(&mut self) {
        let Some(name) = self.a_proxy(|proxy| proxy.alive && proxy.is_client()) else {
            return;
        };
        self.kill_proxy(&name, false);
        self.within(50, 1_500, Event::StartProxy(name));
    }

    /// An application crashes and is started again.
    fn crash(&mut self) {
        let Some(name) = self.an_instance() else {
            return;
        };
        self.note(&format!("{name} crashes"));
        let Some(instance) = self.instances.get_mut(&name) else {
            return;
        };
        instance.up = false;
        instance.faulty = true;
        instance.process += 1;
        instance.active = 0;
        let process = instance.process;
        self.within(500, 5_000, Event::Ready(name.clone(), process));
        self.forget_inbound(&name);
    }

    /// A machine is lost with all that ran there; the orchestrator notices and replaces it.
    fn vanish(&mut self) {
        let Some(name) = self.an_instance() else {
            return;
        };
        self.note(&format!("{name} vanishes"));
        if let Some(instance) = self.instances.get_mut(&name) {
            instance.up = false;
            instance.faulty = true;
            instance.vanished = true;
            instance.process += 1;
            instance.active = 0;
        }
        self.kill_proxy(&name, true);
        self.within(3_000, 20_000, Event::Remove(name));
    }

    /// What was under way ended with the process.
    fn forget_inbound(&mut self, name: &str) {
        if let Some(proxy) = self.proxies.get_mut(name) {
            for load in proxy.loads.values_mut() {
                load.requests_active = 0;
            }
        }
    }

    fn a_proxy(&mut self, fits: impl Fn(&super::proxy::Proxy) -> bool) -> Option<String> {
        let names: Vec<String> = self
            .proxies
            .iter()
            .filter(|(_, proxy)| fits(proxy))
            .map(|(name, _)| name.clone())
            .collect();
        self.one_of(names)
    }

    fn an_instance(&mut self) -> Option<String> {
        let names: Vec<String> = self
            .instances
            .iter()
            .filter(|(_, instance)| instance.up && instance.listed)
            .map(|(name, _)| name.clone())
            .collect();
        self.one_of(names)
    }

    fn one_of(&mut self, names: Vec<String>) -> Option<String> {
        if names.is_empty() {
            return None;
        }
        let index = self.rng.usize(..names.len());
        names.into_iter().nth(index)
    }

    /// From now on nothing breaks any more.
    pub(crate) fn heal(&mut self) -> super::simulation::Step {
        if !self.healed {
            self.note("all is healed");
            self.healed = true;
            self.plane.armed = false;
            for proxy in self.proxies.values_mut() {
                proxy.partitioned_until = proxy.partitioned_until.min(self.now);
            }
        }
        if self.scenario.attended {
            self.queue.push(self.now + 5_000, Event::Heal);
            self.attend()?;
        }
        Ok(())
    }
}
