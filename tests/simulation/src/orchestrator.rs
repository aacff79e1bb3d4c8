//! Whoever runs the instances: stops what is called drained, restarts what crashed, replaces what
//! is lost.

use super::{
    queue::{Event, Ms},
    simulation::Simulation,
};

/// It looks so often.
const EVERY: Ms = 100;

impl Simulation {
    pub(crate) fn orchestrate(&mut self) {
        self.queue.push(self.now + EVERY, Event::Orchestrate);
        let stops: Vec<String> = self
            .checks
            .drained()
            .into_iter()
            .filter(|name| {
                let instance = self.instances.get(name);
                instance.is_some_and(|instance| instance.listed && !instance.stopped)
            })
            .collect();
        // It reads the control API: who is not there says nothing.
        if self.plane.engine.is_some() {
            for name in stops {
                let delay = self.scenario.stop_delay;
                if delay == 0 || self.rng.u64(..delay.div_ceil(EVERY)) == 0 {
                    self.stop(&name);
                }
            }
        }
    }

    /// Stops an instance: it, its sidecar, and its place in the catalog.
    fn stop(&mut self, name: &str) {
        self.note(&format!("{name} is stopped"));
        if let Some(instance) = self.instances.get_mut(name) {
            instance.stopped = true;
            instance.up = false;
            instance.process += 1;
            instance.active = 0;
        }
        if let Some(proxy) = self.proxies.get_mut(name) {
            let connection = proxy.connection.take();
            proxy.alive = false;
            if let Some(id) = connection {
                self.send_up(id, super::network::Up::Goodbye);
            }
        }
        self.within(0, 1_000, Event::Remove(name.to_owned()));
    }

    /// An instance leaves the catalog.
    pub(crate) fn remove(&mut self, name: &str) {
        let Some(instance) = self.instances.get_mut(name).filter(|one| one.listed) else {
            return;
        };
        instance.listed = false;
        let (vanished, version) = (instance.vanished, instance.version);
        let address = instance.workload.address;
        self.note(&format!("{name} leaves the catalog"));
        self.catalog_changed();
        let wanted = vanished && self.checks.wants(version);
        if wanted && let std::net::IpAddr::V4(address) = address {
            let [a, b, c, d] = address.octets();
            let again = format!("{name}r");
            let address = std::net::Ipv4Addr::new(a, b, c, d.saturating_add(50));
            self.add_instance(version, &again, address.into());
            self.catalog_changed();
        }
    }
}
