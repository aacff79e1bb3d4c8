//! What is asked for: everything follows from the listeners and from what requests asked for.

use super::{
    Stream,
    known::{Key, Known},
};
use crate::{store::resource::Name, xds::decode::Kind};
use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// All Listeners.
const WILDCARD: &str = "*";

impl Stream {
    /// Brings the subscriptions in line with what is wanted; what is not wanted any more is
    /// forgotten.
    pub(super) fn subscribe(&mut self) -> Vec<DeltaDiscoveryRequest> {
        let wanted = self.wanted();
        let mut requests = Vec::new();
        for kind in Kind::ALL {
            let new = wanted.get(&kind).cloned().unwrap_or_default();
            let old = self
                .subscribed
                .insert(kind, new.clone())
                .unwrap_or_default();
            let unsubscribed: Vec<Name> = old.difference(&new).cloned().collect();
            for name in &unsubscribed {
                self.forget(&(kind, Arc::clone(name)));
            }
            if !self.connected {
                continue;
            }
            let subscribed: Vec<Name> = new.difference(&old).cloned().collect();
            if subscribed.is_empty() && unsubscribed.is_empty() {
                continue;
            }
            let mut request = self.request(kind);
            // The first request of a kind that names nothing would ask for everything.
            if self.opened.insert(kind) {
                request.initial_resource_versions = self.versions(kind);
                request.resource_names_subscribe = texts(&new);
            } else {
                request.resource_names_subscribe = texts(&subscribed);
                request.resource_names_unsubscribe = texts(&unsubscribed);
            }
            requests.push(request);
        }
        requests
    }

    /// The first requests of a new stream: everything that is subscribed, with the versions at
    /// hand, so that only what changed meanwhile is sent.
    pub(super) fn resubscribe(&mut self) -> Vec<DeltaDiscoveryRequest> {
        let mut requests = Vec::new();
        for kind in Kind::ALL {
            let names = texts(self.subscribed.get(&kind).into_iter().flatten());
            if names.is_empty() {
                continue;
            }
            self.opened.insert(kind);
            let mut request = self.request(kind);
            request.initial_resource_versions = self.versions(kind);
            request.resource_names_subscribe = names;
            requests.push(request);
        }
        requests
    }

    /// True where a resource of that name was asked for.
    pub(super) fn is_subscribed(&self, kind: Kind, name: &str) -> bool {
        self.subscribed
            .get(&kind)
            .is_some_and(|names| names.contains(name) || names.contains(WILDCARD))
    }

    /// An empty request; the first one of a stream says who asks.
    pub(super) fn request(&mut self, kind: Kind) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            node: self.introduction.take(),
            type_url: kind.type_url().to_owned(),
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn forget(&mut self, key: &Key) {
        self.latest.remove(key);
        self.in_force.remove(key);
        self.refused.remove(key);
    }

    /// What is in force: a server takes a version that it is told for acknowledged, so what is held
    /// back must not be among them. It is sent again.
    fn versions(&self, kind: Kind) -> HashMap<String, String> {
        self.in_force
            .iter()
            .filter(|((of, _), _)| *of == kind)
            .map(|((_, name), known)| (name.to_string(), known.version.clone()))
            .collect()
    }

    fn wanted(&self) -> BTreeMap<Kind, BTreeSet<Name>> {
        let mut route_configurations = BTreeSet::new();
        let mut clusters: BTreeSet<Name> = self.destinations.iter().cloned().collect();
        for (_, known) in self.all_known() {
            route_configurations.extend(known.route_configurations.iter().cloned());
            clusters.extend(known.clusters.iter().cloned());
        }
        let assignments = self
            .all_known()
            .filter(|((_, name), _)| clusters.contains(name))
            .filter_map(|(_, known)| known.assignment().cloned())
            .collect();
        BTreeMap::from([
            (Kind::Listener, BTreeSet::from([Name::from(WILDCARD)])),
            (Kind::RouteConfiguration, route_configurations),
            (Kind::VirtualHost, self.hosts.iter().cloned().collect()),
            (Kind::Cluster, clusters),
            (Kind::Assignment, assignments),
        ])
    }

    /// The newest of everything, and what is in force in its stead.
    fn all_known(&self) -> impl Iterator<Item = (&Key, &Arc<Known>)> {
        let latest = self
            .latest
            .iter()
            .filter_map(|(key, slot)| Some((key, slot.known.as_ref()?)));
        latest.chain(&self.in_force)
    }
}

fn texts<'a>(names: impl IntoIterator<Item = &'a Name>) -> Vec<String> {
    names.into_iter().map(ToString::to_string).collect()
}
