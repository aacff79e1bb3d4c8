//! The client's side of delta ADS as a state machine: it is told what happened and says what to
//! send and when to publish.
//!
//! Subscriptions follow from what came: the wildcard of LDS names route configurations, routes
//! name clusters, clusters name their endpoints; virtual hosts and TCP destinations are asked for
//! when a request needs them. A good resource of a refused response is taken, a bad one leaves its
//! old copy in force (gRFC A46). What is referred to comes into force before what refers to it
//! (`settle`), and a response is acknowledged only once all workers serve by it (`acks`).
//!
//! The invariant: what is in force never shrinks because the control plane is away.
//!
//! Pure: no tokio, no tonic, no socket; `now` is an argument, counted from the process's start.

mod acks;
mod known;
mod on_demand;
mod saved;
mod settle;
mod subscriptions;

#[cfg(test)]
mod tests;

pub use saved::{ResourceState, ResourceStatus};

use super::decode::Kind;
use crate::store::{Question, resource::Name};
use acks::Acks;
use envoy_types::pb::{
    envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource},
    },
    google::rpc::Status,
};
use known::{Key, Known, Refused, Slot, destination};
use on_demand::OnDemand;
use segue_proto::names::{ClusterName, virtual_host_name};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// How many virtual hosts, and how many destinations, are kept subscribed at most.
const ON_DEMAND_LIMIT: usize = 4096;
/// gRPC's code for what the peer should not have sent.
const INVALID_ARGUMENT: i32 = 3;

/// The state machine of one client, over all its streams.
#[derive(Debug)]
pub struct Stream {
    node: Node,
    /// What the control plane last said, where it was acceptable.
    latest: BTreeMap<Key, Slot>,
    /// What requests are served by.
    in_force: BTreeMap<Key, Arc<Known>>,
    /// Why the newest version of a resource was refused.
    refused: BTreeMap<Key, String>,
    subscribed: BTreeMap<Kind, BTreeSet<Name>>,
    /// The virtual hosts that requests asked for.
    hosts: OnDemand,
    /// The destinations that connections asked for, by the names of their clusters.
    destinations: OnDemand,
    /// Something that requests asked for turned out not to exist.
    absent_changed: bool,
    /// Counts the changes of `in_force`.
    revision: u64,
    acks: Acks,
    connected: bool,
    /// The kinds that this stream has asked for.
    opened: BTreeSet<Kind>,
    /// Goes out with the next request of this stream.
    introduction: Option<Node>,
}

/// What to do next.
#[derive(Debug, Default)]
pub struct Step {
    /// To send, in this order. Empty while there is no stream.
    pub requests: Vec<DeltaDiscoveryRequest>,
    /// What is in force changed: compile [`Stream::resources`], hand it to all workers, then call
    /// [`Stream::applied`] with this number.
    pub publish: Option<u64>,
    /// Why resources were refused, for the log.
    pub refused: Vec<String>,
}

impl Stream {
    /// A client that has asked for nothing yet but all Listeners.
    pub fn new(node: Node) -> Self {
        let mut stream = Self {
            node,
            latest: BTreeMap::new(),
            in_force: BTreeMap::new(),
            refused: BTreeMap::new(),
            subscribed: BTreeMap::new(),
            hosts: OnDemand::new(ON_DEMAND_LIMIT),
            destinations: OnDemand::new(ON_DEMAND_LIMIT),
            absent_changed: false,
            revision: 0,
            acks: Acks::default(),
            connected: false,
            opened: BTreeSet::new(),
            introduction: None,
        };
        stream.subscribe();
        stream
    }

    /// A stream opens: what to send first.
    pub fn connected(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.disconnected();
        self.connected = true;
        self.introduction = Some(self.node.clone());
        self.resubscribe()
    }

    /// The stream is gone. Everything stays in force.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.opened.clear();
        self.acks.forget();
    }

    /// The number of the newest state, as in [`Step::publish`].
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A response came.
    pub fn receive(&mut self, response: DeltaDiscoveryResponse, now: Duration) -> Step {
        let Some(kind) = Kind::of_type_url(&response.type_url) else {
            let reason = format!("type {:?} was not asked for", response.type_url);
            let nack = nack(response.type_url, response.nonce, &reason);
            return Step {
                requests: vec![nack],
                publish: None,
                refused: vec![reason],
            };
        };
        let mut changed = BTreeSet::new();
        let mut refused = Vec::new();
        for resource in response.resources {
            match self.accept(kind, resource, now) {
                Ok(keys) => changed.extend(keys),
                Err(error) => {
                    self.refused.insert(
                        (error.kind, Arc::clone(&error.name)),
                        error.error.to_string(),
                    );
                    refused.push(error.to_string());
                }
            }
        }
        for name in response.removed_resources {
            self.remove(kind, &name, now);
        }
        let nack = if refused.is_empty() {
            self.acks.add(kind, response.nonce, changed);
            None
        } else {
            Some(nack(response.type_url, response.nonce, &refused.join("; ")))
        };
        let mut step = self.step(now);
        step.requests.splice(0..0, nack);
        step.refused = refused;
        step
    }

    /// A request needs something that no snapshot holds.
    pub fn ask(&mut self, question: &Question, now: Duration) -> Step {
        match question {
            Question::VirtualHost {
                route_configuration,
                host,
            } => {
                let name = virtual_host_name(route_configuration, host);
                if self.hosts.contains(&name) {
                    return Step::default();
                }
                let in_force = &self.in_force;
                self.hosts.insert(Name::from(name), |name| {
                    in_force.contains_key(&(Kind::VirtualHost, Arc::clone(name)))
                });
            }
            Question::Destination(destination) => {
                let name = ClusterName::OutboundAddress {
                    port: destination.port(),
                    address: destination.ip(),
                }
                .to_string();
                if self.destinations.contains(&name) {
                    return Step::default();
                }
                let in_force = &self.in_force;
                self.destinations.insert(Name::from(name), |name| {
                    in_force.contains_key(&(Kind::Cluster, Arc::clone(name)))
                });
            }
        }
        self.step(now)
    }

    /// Time has passed, see [`Stream::deadline`].
    pub fn tick(&mut self, now: Duration) -> Step {
        self.step(now)
    }

    /// All workers serve by this revision.
    pub fn applied(&mut self, revision: u64) -> Vec<DeltaDiscoveryRequest> {
        self.acks.applied(revision);
        self.acknowledge()
    }

    fn step(&mut self, now: Duration) -> Step {
        let mut changed = self.settle(now);
        let before = self.in_force.len();
        let mut requests = self.subscribe();
        changed |= self.in_force.len() != before;
        // Answers that say "there is none" change no resource, but the snapshot.
        changed |= std::mem::take(&mut self.absent_changed);
        if changed {
            self.revision += 1;
        }
        let mut acks = std::mem::take(&mut self.acks);
        acks.settle(self.revision, |key| self.is_held(key));
        self.acks = acks;
        requests.extend(self.acknowledge());
        Step {
            requests,
            publish: changed.then_some(self.revision),
            refused: Vec::new(),
        }
    }

    fn acknowledge(&mut self) -> Vec<DeltaDiscoveryRequest> {
        self.acks
            .due()
            .into_iter()
            .map(|(kind, nonce)| DeltaDiscoveryRequest {
                response_nonce: nonce,
                ..self.request(kind)
            })
            .collect()
    }

    /// Takes a resource in; returns what it changed.
    fn accept(
        &mut self,
        kind: Kind,
        resource: Resource,
        now: Duration,
    ) -> Result<Vec<Key>, Refused> {
        // Without a body it only prolongs a time to live, which we don't use.
        let Some(any) = resource.resource else {
            return Ok(Vec::new());
        };
        let asked = Some(resource.name.as_str()).filter(|name| !name.is_empty());
        let (name, known) = Known::decode(kind, asked, &resource.version, any)?;
        let known = Arc::new(known);
        let aliases = resource
            .aliases
            .iter()
            .map(|alias| Name::from(alias.as_str()));
        let keys: Vec<Key> = std::iter::once(name)
            .chain(aliases)
            .filter(|name| self.is_subscribed(kind, name))
            .map(|name| (kind, name))
            .collect();
        for key in &keys {
            self.insert(key.clone(), &known, now);
        }
        Ok(keys)
    }

    fn insert(&mut self, key: Key, known: &Arc<Known>, now: Duration) {
        self.refused.remove(&key);
        let before = self.latest.get(&key);
        let is_same = before
            .and_then(|slot| slot.known.as_ref())
            .is_some_and(|before| before.version == known.version && before.body == known.body);
        if is_same {
            return;
        }
        // What replaces something held back has waited as long as that.
        let since = match before {
            Some(slot) if self.is_held(&key) => slot.since,
            _ => now,
        };
        let slot = Slot {
            known: Some(Arc::clone(known)),
            since,
        };
        self.latest.insert(key, slot);
    }

    fn remove(&mut self, kind: Kind, name: &str, now: Duration) {
        let key = (kind, Name::from(name));
        self.refused.remove(&key);
        if kind == Kind::Listener {
            self.latest.remove(&key);
            return;
        }
        if !self.is_subscribed(kind, name) {
            return;
        }
        let was_absent = self
            .latest
            .get(&key)
            .is_some_and(|slot| slot.known.is_none());
        if !was_absent {
            self.absent_changed |= kind == Kind::VirtualHost || destination(kind, name).is_some();
            self.latest.insert(
                key,
                Slot {
                    known: None,
                    since: now,
                },
            );
        }
    }
}

fn nack(type_url: String, nonce: String, reason: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url,
        response_nonce: nonce,
        error_detail: Some(Status {
            code: INVALID_ARGUMENT,
            message: reason.to_owned(),
            details: Vec::new(),
        }),
        ..DeltaDiscoveryRequest::default()
    }
}
