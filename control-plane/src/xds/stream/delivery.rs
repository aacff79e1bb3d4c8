//! What is sent now, and what waits: make before break.

use super::{
    super::{
        snapshot::Snapshot,
        translate::{Resource, ResourceType},
    },
    client::{Batch, Client, Variant},
    diff::Diff,
    subscription::Subscription,
};
use crate::xds::translate::content_hash;
use segue_proto::names::ClusterName;
use std::{collections::BTreeMap, sync::Arc};

/// Routes let go of clusters before clusters do of endpoints.
const ORDER_OF_REMOVAL: [ResourceType; 5] = [
    ResourceType::Listener,
    ResourceType::VirtualHost,
    ResourceType::Route,
    ResourceType::Cluster,
    ResourceType::Endpoints,
];

impl Client {
    /// All that may be sent now.
    pub(super) fn deliver(&mut self, snapshot: &Arc<Snapshot>) -> Vec<Batch> {
        self.snapshot = snapshot.clone();
        let mut batches = Vec::new();
        // Something of an earlier type is still to be sent, or to be ACKed.
        let (mut waiting, mut unacked) = (false, false);
        let mut gone = BTreeMap::new();
        for kind in ResourceType::ALL {
            let Some(subscription) = self.types.get_mut(&kind) else {
                continue;
            };
            let diff = subscription.diff(snapshot, &self.node, kind);
            let idle = subscription.outstanding.is_empty();
            let early = matches!(kind, ResourceType::Cluster | ResourceType::Endpoints);
            let may_answer = early || !waiting;
            let may_push = idle && !waiting && !unacked;
            let batch = self.make(kind, &diff, may_answer, may_push, &mut waiting);
            batches.extend(batch);
            if let Some(subscription) = self.types.get(&kind) {
                unacked |= !subscription.outstanding.is_empty();
            }
            if kind == ResourceType::Endpoints {
                waiting |= self.awaits_endpoints();
            }
            gone.insert(kind, diff);
        }
        if !waiting && !unacked && batches.is_empty() {
            batches.extend(self.take_away(&gone));
        }
        batches
    }

    /// Answers, additions and changes of one type.
    fn make(
        &mut self,
        kind: ResourceType,
        diff: &Diff,
        may_answer: bool,
        may_push: bool,
        waiting: &mut bool,
    ) -> Option<Batch> {
        let variant = self.variant;
        let subscription = self.subscription(kind);
        let asks = subscription.asked_all || !diff.answers.is_empty() || !diff.denials.is_empty();
        let changes = !diff.changes.is_empty();
        *waiting |= (asks && !may_answer) || (changes && !may_push);
        let answer = asks && may_answer;
        let push = changes && may_push;
        if !answer && !push {
            return None;
        }
        let mut resources = BTreeMap::new();
        let removed = if answer {
            diff.denials.clone()
        } else {
            Vec::new()
        };
        if variant == Variant::StateOfTheWorld && kind.is_full_state() {
            resources = subscription.full_state(diff);
            let refused = subscription.refused_sets.contains(&set_version(&resources));
            if refused && !answer {
                return None;
            }
        } else {
            if answer {
                resources.extend(diff.answers.clone());
            }
            if push {
                resources.extend(diff.changes.clone());
            }
        }
        if answer {
            subscription.asked.clear();
            subscription.asked_all = false;
        }
        if push {
            subscription.forced.clear();
        }
        subscription
            .forced
            .retain(|name| !resources.contains_key(name));
        self.batch(kind, resources, removed)
    }

    /// What is no more, one type at a time.
    fn take_away(&mut self, diffs: &BTreeMap<ResourceType, Diff>) -> Option<Batch> {
        let routes_known = self.routes_known();
        for kind in ORDER_OF_REMOVAL {
            let Some(diff) = diffs.get(&kind) else {
                continue;
            };
            // Until a client that came back has said which routes it has, they may name them.
            let gone: Vec<Arc<str>> = diff
                .gone
                .iter()
                .filter(|name| routes_known || !is_routed_to(name))
                .cloned()
                .collect();
            if gone.is_empty() {
                continue;
            }
            let full = self.variant == Variant::StateOfTheWorld && kind.is_full_state();
            let resources = if full {
                diff.wanted.clone()
            } else {
                BTreeMap::new()
            };
            let subscription = self.subscription(kind);
            if full && subscription.refused_sets.contains(&set_version(&resources)) {
                continue;
            }
            let batch = self.batch(kind, resources, gone);
            if batch.is_some() {
                return batch;
            }
        }
        None
    }

    /// Makes a response, notes it, and gives it a nonce. None where this variant has no words for
    /// it: the state of the world can't say that endpoints or routes are no more.
    fn batch(
        &mut self,
        kind: ResourceType,
        resources: BTreeMap<Arc<str>, Arc<Resource>>,
        removed: Vec<Arc<str>>,
    ) -> Option<Batch> {
        let partial = self.variant == Variant::StateOfTheWorld && !kind.is_full_state();
        let set_version = match self.variant {
            Variant::StateOfTheWorld => self.state_version(kind, &resources),
            Variant::Delta => content_hash([]),
        };
        let now = self.snapshot.generation();
        let subscription = self.subscription(kind);
        let removed = if partial {
            subscription.tell_silently(&removed, now);
            Vec::new()
        } else {
            removed
        };
        if partial && resources.is_empty() {
            return None;
        }
        let batch = Batch {
            kind,
            nonce: self.next_nonce(),
            set_version,
            resources,
            removed,
        };
        self.record(&batch);
        Some(batch)
    }

    /// The version of all that the client has of a type once it took `resources`.
    fn state_version(
        &mut self,
        kind: ResourceType,
        resources: &BTreeMap<Arc<str>, Arc<Resource>>,
    ) -> Arc<str> {
        if kind.is_full_state() {
            return set_version(resources);
        }
        let mut all: BTreeMap<Arc<str>, Arc<Resource>> = self
            .subscription(kind)
            .held
            .iter()
            .filter_map(|(name, held)| Some((name.clone(), held.resource.clone()?)))
            .collect();
        all.extend(resources.clone());
        set_version(&all)
    }

    /// True while an Envoy has taken a new cluster and not yet asked for its endpoints: until they
    /// come it is cold, and a route to it would fail.
    fn awaits_endpoints(&self) -> bool {
        let (Some(clusters), Some(endpoints)) = (
            self.types.get(&ResourceType::Cluster),
            self.types.get(&ResourceType::Endpoints),
        ) else {
            return false;
        };
        let of_envoy = clusters.wildcard && self.node.user_agent == "envoy";
        of_envoy
            && clusters.held.iter().any(|(name, held)| {
                held.exists()
                    && held.acked == held.sent
                    && !endpoints.names.contains(name)
                    && !endpoints.wildcard
                    && self
                        .snapshot
                        .find(&self.node, ResourceType::Endpoints, name)
                        .is_some()
            })
    }

    /// False while a client that came back has clusters and has not said which routes. Our sidecar
    /// names its virtual hosts before the route configurations that they are of, so that it has named
    /// all routes once it has named these.
    pub(super) fn routes_known(&self) -> bool {
        let resumed = self
            .types
            .get(&ResourceType::Cluster)
            .is_some_and(|s| s.resumed && s.held.keys().any(|name| is_routed_to(name)));
        let route_configurations = self.types.get(&ResourceType::Route);
        !resumed || route_configurations.is_some_and(|s| s.seen)
    }
}

impl Subscription {
    /// All there is, and what was and no route may name any more: that goes later.
    fn full_state(&self, diff: &Diff) -> BTreeMap<Arc<str>, Arc<Resource>> {
        let mut all = diff.wanted.clone();
        for name in &diff.gone {
            let resource = self.held.get(name).and_then(|held| held.resource.clone());
            if let Some(resource) = resource {
                all.insert(name.clone(), resource);
            }
        }
        all
    }

    fn tell_silently(&mut self, names: &[Arc<str>], now: crate::model::Generation) {
        for name in names {
            if let Some(held) = self.held.get_mut(name) {
                held.send(None, None, now);
                held.acked = Some(None);
                held.acked_through = now;
            }
        }
    }
}

/// The version of a set: changes exactly when a member does.
pub(super) fn set_version(resources: &BTreeMap<Arc<str>, Arc<Resource>>) -> Arc<str> {
    content_hash(
        resources
            .iter()
            .flat_map(|(name, resource)| [name.as_bytes(), resource.version.as_bytes()]),
    )
}

/// True for a version's cluster.
fn is_routed_to(name: &str) -> bool {
    matches!(name.parse(), Ok(ClusterName::Outbound { version, .. }) if !version.is_empty())
}
