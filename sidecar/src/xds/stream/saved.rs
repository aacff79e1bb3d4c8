//! What is in force, as others see it: to compile, to keep on disk, to look at.

use super::{
    Stream,
    known::{Known, Slot, destination},
};
use crate::{
    store::{
        disk::SavedResource,
        resource::{Name, Resources},
    },
    xds::decode::{Decoded, Kind},
};
use envoy_types::pb::google::protobuf::Any;
use std::{sync::Arc, time::Duration};

/// One resource as the configuration dump shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceStatus {
    /// The message's name, `Cluster`.
    pub kind: &'static str,
    /// The name it was asked for by.
    pub name: Name,
    /// The newest accepted version, where there is one.
    pub version: Option<String>,
    /// How it stands.
    pub state: ResourceState,
    /// Why the newest version was refused, where it was.
    pub refused: Option<String>,
    /// When the newest came, from the process's start.
    pub since: Option<Duration>,
}

/// How a resource stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceState {
    /// Asked for, no answer yet.
    Requested,
    /// Accepted, and waits for what it names.
    Held,
    /// Requests are served by it.
    InForce,
    /// The control plane says that there is none.
    Absent,
}

impl Stream {
    /// What is in force, to compile.
    pub fn resources(&self) -> Resources {
        let mut resources = Resources::default();
        for ((_, name), known) in &self.in_force {
            let name = Arc::clone(name);
            match &known.content {
                Decoded::Listener(listener) => {
                    resources.listeners.insert(name, Arc::clone(listener));
                }
                Decoded::RouteConfiguration(routes) => {
                    resources
                        .route_configurations
                        .insert(name, Arc::clone(routes));
                }
                Decoded::VirtualHost(host) => {
                    resources.virtual_hosts.insert(name, Some(Arc::clone(host)));
                }
                Decoded::Cluster(cluster) => {
                    if let Some(address) = destination(Kind::Cluster, &name) {
                        resources
                            .destinations
                            .insert(address, Some(Arc::clone(&cluster.name)));
                    }
                    resources.clusters.insert(name, Arc::clone(cluster));
                }
                Decoded::Assignment(assignment) => {
                    resources.assignments.insert(name, Arc::clone(assignment));
                }
            }
        }
        for ((kind, name), slot) in &self.latest {
            if slot.known.is_some() {
                continue;
            }
            if *kind == Kind::VirtualHost {
                resources.virtual_hosts.insert(Arc::clone(name), None);
            } else if let Some(address) = destination(*kind, name) {
                resources.destinations.insert(address, None);
            }
        }
        resources
    }

    /// What is in force, to keep on disk.
    pub fn saved(&self) -> Vec<SavedResource> {
        self.in_force
            .iter()
            .map(|((kind, name), known)| SavedResource {
                type_url: kind.type_url().to_owned(),
                name: name.to_string(),
                version: known.version.clone(),
                body: known.body.clone(),
            })
            .collect()
    }

    /// Takes over what an earlier process had in force. What can't be read any more is left out;
    /// the reasons are returned.
    pub fn restore(&mut self, saved: Vec<SavedResource>, now: Duration) -> Vec<String> {
        let mut refused = Vec::new();
        for resource in saved {
            let Some(kind) = Kind::of_type_url(&resource.type_url) else {
                refused.push(format!("{}: unknown type", resource.type_url));
                continue;
            };
            let any = Any {
                type_url: resource.type_url,
                value: resource.body,
            };
            match Known::decode(kind, Some(&resource.name), &resource.version, any) {
                Ok((name, known)) => self.restore_one(kind, name, known, now),
                Err(error) => refused.push(error.to_string()),
            }
        }
        self.settle(now);
        self.subscribe();
        self.revision += 1;
        refused
    }

    fn restore_one(&mut self, kind: Kind, name: Name, known: Known, now: Duration) {
        match kind {
            Kind::VirtualHost => self.hosts.insert(Arc::clone(&name), |_| true),
            Kind::Cluster if destination(kind, &name).is_some() => {
                self.destinations.insert(Arc::clone(&name), |_| true);
            }
            _ => {}
        }
        if kind != Kind::Listener {
            self.subscribed
                .entry(kind)
                .or_default()
                .insert(Arc::clone(&name));
        }
        let slot = Slot {
            known: Some(Arc::new(known)),
            since: now,
        };
        self.latest.insert((kind, name), slot);
    }

    /// Every resource that was asked for, and how it stands.
    pub fn status(&self) -> Vec<ResourceStatus> {
        let requested = self.subscribed.iter().flat_map(|(kind, names)| {
            names
                .iter()
                .filter(|name| &***name != "*")
                .map(|name| (*kind, Arc::clone(name)))
        });
        let mut keys: Vec<_> = requested.chain(self.latest.keys().cloned()).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter()
            .map(|key| {
                let slot = self.latest.get(&key);
                let known = slot.and_then(|slot| slot.known.as_ref());
                let state = match (slot, known) {
                    (None, _) => ResourceState::Requested,
                    (Some(_), None) => ResourceState::Absent,
                    (Some(_), Some(known)) if self.is_in_force(&key, known) => {
                        ResourceState::InForce
                    }
                    (Some(_), Some(_)) => ResourceState::Held,
                };
                ResourceStatus {
                    kind: key.0.label(),
                    version: known.map(|known| known.version.clone()),
                    state,
                    refused: self.refused.get(&key).cloned(),
                    since: slot.map(|slot| slot.since),
                    name: key.1,
                }
            })
            .collect()
    }
}
