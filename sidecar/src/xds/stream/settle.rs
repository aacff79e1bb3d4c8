//! Make before break, on the client's side: what is sent is in force once what it names is there.
//!
//! A route that names a cluster whose endpoints have not come yet waits for them, and the route
//! before it stays in force (gRFC A74); a cluster that was removed stays while a route in force
//! names it. Both wait [`HOLD`] at most, then what was sent is taken as it is.

use super::{
    Stream,
    known::{Key, Known, Slot, destination},
};
use crate::{store::resource::Name, xds::decode::Kind};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// The longest that a resource is held back.
pub(super) const HOLD: Duration = Duration::from_secs(15);

/// What is referred to comes before what refers to it.
const ORDER: [Kind; 5] = [
    Kind::Assignment,
    Kind::Cluster,
    Kind::RouteConfiguration,
    Kind::VirtualHost,
    Kind::Listener,
];

impl Stream {
    /// Brings into force what is complete or has waited long enough. True where that changed
    /// anything.
    pub(super) fn settle(&mut self, now: Duration) -> bool {
        let mut changed = false;
        for kind in ORDER {
            let ripe: Vec<(Key, Arc<Known>)> = self
                .waiting()
                .filter(|(key, known, slot)| {
                    key.0 == kind && (self.is_complete(key, known) || slot.since + HOLD <= now)
                })
                .map(|(key, known, _)| (key.clone(), Arc::clone(known)))
                .collect();
            changed |= !ripe.is_empty();
            self.in_force.extend(ripe);
        }
        for kind in ORDER.into_iter().rev() {
            let gone: Vec<Key> = self
                .removed()
                .filter(|(key, since)| key.0 == kind && !self.is_kept(key, *since, now))
                .map(|(key, _)| key.clone())
                .collect();
            changed |= !gone.is_empty();
            for key in gone {
                self.in_force.remove(&key);
            }
        }
        changed
    }

    /// When something that is held back has waited long enough, if nothing comes before.
    pub fn deadline(&self) -> Option<Duration> {
        let waiting = self.waiting().map(|(_, _, slot)| slot.since + HOLD);
        let removed = self.removed().filter_map(|(_, since)| Some(since? + HOLD));
        waiting.chain(removed).min()
    }

    /// True where the newest of it is not in force.
    pub(super) fn is_held(&self, key: &Key) -> bool {
        self.latest
            .get(key)
            .and_then(|slot| slot.known.as_ref())
            .is_some_and(|known| !self.is_in_force(key, known))
    }

    pub(super) fn is_in_force(&self, key: &Key, known: &Arc<Known>) -> bool {
        self.in_force
            .get(key)
            .is_some_and(|other| Arc::ptr_eq(other, known))
    }

    /// What was accepted and is not in force.
    fn waiting(&self) -> impl Iterator<Item = (&Key, &Arc<Known>, &Slot)> {
        self.latest.iter().filter_map(|(key, slot)| {
            let known = slot.known.as_ref()?;
            (!self.is_in_force(key, known)).then_some((key, known, slot))
        })
    }

    /// What is in force and was removed, and when.
    fn removed(&self) -> impl Iterator<Item = (&Key, Option<Duration>)> {
        self.in_force
            .keys()
            .filter_map(|key| match self.latest.get(key) {
                Some(slot) if slot.known.is_some() => None,
                Some(slot) => Some((key, Some(slot.since))),
                None => Some((key, None)),
            })
    }

    fn is_complete(&self, key: &Key, known: &Known) -> bool {
        let routes = known.route_configurations.iter().all(|name| {
            let routes = (Kind::RouteConfiguration, Arc::clone(name));
            self.in_force.contains_key(&routes) || self.is_absent(&routes)
        });
        let clusters = known.clusters.iter().all(|name| {
            let cluster = (Kind::Cluster, Arc::clone(name));
            match self.latest.get(&cluster).map(|slot| &slot.known) {
                None => false,
                Some(None) => true,
                Some(Some(cluster)) => self.has_endpoints(cluster),
            }
        });
        // Only here does a cluster route traffic by itself.
        let endpoints = destination(key.0, &key.1).is_none() || self.has_endpoints(known);
        routes && clusters && endpoints
    }

    /// True where the cluster's endpoints were answered.
    fn has_endpoints(&self, cluster: &Known) -> bool {
        cluster.assignment().is_none_or(|name| {
            self.latest
                .contains_key(&(Kind::Assignment, Name::clone(name)))
        })
    }

    fn is_absent(&self, key: &Key) -> bool {
        self.latest
            .get(key)
            .is_some_and(|slot| slot.known.is_none())
    }

    /// True where something removed is still needed.
    fn is_kept(&self, key: &Key, since: Option<Duration>, now: Duration) -> bool {
        let Some(since) = since else {
            return false;
        };
        since + HOLD > now
            && match key.0 {
                Kind::Cluster => self.clusters_in_force().contains(&key.1),
                Kind::Assignment => self
                    .in_force
                    .values()
                    .any(|known| known.assignment() == Some(&key.1)),
                _ => false,
            }
    }

    fn clusters_in_force(&self) -> BTreeSet<&Name> {
        self.in_force
            .values()
            .flat_map(|known| &known.clusters)
            .collect()
    }
}
