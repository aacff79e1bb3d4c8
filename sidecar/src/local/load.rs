//! A worker's numbers, by endpoint.

use crate::model::{Cluster, Endpoint, EndpointId, EndpointLoad, Snapshot, WorkerLoad};
use segue_proto::names::PASSTHROUGH_CLUSTER;
use std::{collections::HashMap, net::SocketAddr, sync::Arc};

/// Whose numbers: kept by whoever adds to them, as long as something is active there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// An endpoint's.
    Endpoint(EndpointId),
    /// An original destination's.
    Address(usize),
}

impl Slot {
    /// The endpoint; None for an original destination.
    pub(crate) const fn id(self) -> Option<EndpointId> {
        match self {
            Self::Endpoint(id) => Some(id),
            Self::Address(_) => None,
        }
    }
}

struct Numbers {
    cluster: Arc<str>,
    address: SocketAddr,
    load: EndpointLoad,
}

/// A worker's numbers.
#[derive(Default)]
pub(crate) struct Load {
    /// By endpoint id.
    endpoints: Vec<Option<Box<Numbers>>>,
    /// Of clusters whose endpoint is the original destination.
    addresses: Vec<Option<Box<Numbers>>>,
    /// Cluster and address to a place in `addresses`.
    places: HashMap<Arc<str>, HashMap<SocketAddr, usize>>,
}

impl Load {
    /// The numbers of a cluster's endpoint.
    pub(crate) fn endpoint(&mut self, cluster: &Cluster, endpoint: &Endpoint) -> Slot {
        let index = usize::try_from(endpoint.id.0).unwrap_or(usize::MAX);
        if index >= self.endpoints.len() {
            self.endpoints.resize_with(index.saturating_add(1), || None);
        }
        if let Some(place) = self.endpoints.get_mut(index) {
            place.get_or_insert_with(|| numbers(&cluster.name, endpoint.address));
        }
        Slot::Endpoint(endpoint.id)
    }

    /// The numbers of an original destination.
    pub(crate) fn address(&mut self, cluster: &Cluster, address: SocketAddr) -> Slot {
        let known = self.places.get(&cluster.name).and_then(|c| c.get(&address));
        if let Some(place) = known {
            return Slot::Address(*place);
        }
        let fresh = Some(numbers(&cluster.name, address));
        let place = if let Some(free) = self.addresses.iter().position(Option::is_none) {
            if let Some(slot) = self.addresses.get_mut(free) {
                *slot = fresh;
            }
            free
        } else {
            self.addresses.push(fresh);
            self.addresses.len() - 1
        };
        let cluster = self.places.entry(Arc::clone(&cluster.name)).or_default();
        cluster.insert(address, place);
        Slot::Address(place)
    }

    /// Adds to numbers.
    pub(crate) fn update(&mut self, slot: Slot, change: impl FnOnce(&mut EndpointLoad)) {
        let numbers = match slot {
            Slot::Endpoint(id) => usize::try_from(id.0)
                .ok()
                .and_then(|index| self.endpoints.get_mut(index)),
            Slot::Address(place) => self.addresses.get_mut(place),
        };
        if let Some(Some(numbers)) = numbers {
            change(&mut numbers.load);
        }
    }

    /// Requests under way at an endpoint.
    pub(crate) fn active(&self, id: EndpointId) -> u64 {
        let numbers = usize::try_from(id.0)
            .ok()
            .and_then(|index| self.endpoints.get(index)?.as_ref());
        numbers.map_or(0, |numbers| numbers.load.requests_active)
    }

    /// What was measured since the last time. Endpoints of the snapshot's clusters stay known, so
    /// that "nothing active, nothing new" is said explicitly; others are forgotten once idle.
    pub(crate) fn collect(&mut self, snapshot: &Snapshot, now: u64) -> WorkerLoad {
        let mut collected = WorkerLoad::default();
        let mut current = vec![false; self.endpoints.len()];
        for cluster in snapshot.clusters.values() {
            for endpoint in &cluster.endpoints {
                if let Ok(index) = usize::try_from(endpoint.id.0)
                    && let Some(flag) = current.get_mut(index)
                {
                    *flag = true;
                }
                if endpoint.state.is_ejected(now) {
                    let name = Arc::clone(&cluster.name);
                    collected
                        .ejected
                        .push((name, endpoint.address, endpoint.id));
                }
            }
        }
        for (place, current) in self.endpoints.iter_mut().zip(current) {
            hand_over(place, current, &mut collected);
        }
        for place in &mut self.addresses {
            let current = place.as_ref().is_some_and(|numbers| {
                &*numbers.cluster != PASSTHROUGH_CLUSTER
                    && snapshot.clusters.contains_key(&numbers.cluster)
            });
            if let Some((cluster, address)) = hand_over(place, current, &mut collected)
                && let Some(cluster) = self.places.get_mut(&cluster)
            {
                cluster.remove(&address);
            }
        }
        collected
    }
}

fn numbers(cluster: &Arc<str>, address: SocketAddr) -> Box<Numbers> {
    Box::new(Numbers {
        cluster: Arc::clone(cluster),
        address,
        load: EndpointLoad::default(),
    })
}

/// Moves one endpoint's counts into the report. Some: it was forgotten.
fn hand_over(
    place: &mut Option<Box<Numbers>>,
    current: bool,
    collected: &mut WorkerLoad,
) -> Option<(Arc<str>, SocketAddr)> {
    let numbers = place.as_mut()?;
    let levels = EndpointLoad {
        requests_active: numbers.load.requests_active,
        connections_active: numbers.load.connections_active,
        ..EndpointLoad::default()
    };
    let idle = levels.requests_active == 0 && levels.connections_active == 0;
    let measured = std::mem::replace(&mut numbers.load, levels);
    let cluster = collected
        .clusters
        .entry(Arc::clone(&numbers.cluster))
        .or_default();
    cluster.entry(numbers.address).or_default().merge(&measured);
    if idle && !current {
        let forgotten = place.take()?;
        return Some((forgotten.cluster, forgotten.address));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::Load;
    use crate::{
        local::passthrough_cluster,
        model::{Cluster, Endpoint, EndpointId, EndpointState, Health, Snapshot},
    };
    use std::sync::Arc;

    fn cluster() -> Cluster {
        let endpoint = Endpoint {
            id: EndpointId(3),
            address: ([127, 0, 0, 1], 8080).into(),
            weight: 1,
            priority: 0,
            locality: crate::model::Locality::default(),
            health: Health::Healthy,
            version: None,
            state: Arc::new(EndpointState::default()),
        };
        Cluster {
            name: "c".into(),
            endpoints: vec![endpoint],
            ..(*passthrough_cluster()).clone()
        }
    }

    fn snapshot(cluster: &Cluster) -> Snapshot {
        let clusters = [(Arc::clone(&cluster.name), Arc::new(cluster.clone()))];
        Snapshot {
            clusters: clusters.into(),
            endpoint_ids: 4,
            ..Snapshot::default()
        }
    }

    #[test]
    fn counts_are_handed_over_once_and_levels_stay() {
        let (mut load, cluster) = (Load::default(), cluster());
        let slot = load.endpoint(&cluster, &cluster.endpoints[0]);
        load.update(slot, |load| {
            load.issued += 1;
            load.requests_active += 1;
        });
        assert_eq!(load.active(EndpointId(3)), 1);
        let snapshot = snapshot(&cluster);
        let address = cluster.endpoints[0].address;
        let first = load.collect(&snapshot, 0).clusters["c"][&address].clone();
        let second = load.collect(&snapshot, 0).clusters["c"][&address].clone();
        assert_eq!((first.issued, first.requests_active), (1, 1));
        assert_eq!((second.issued, second.requests_active), (0, 1));
    }

    #[test]
    fn an_idle_endpoint_is_reported_while_it_is_current_and_forgotten_after() {
        let (mut load, cluster) = (Load::default(), cluster());
        load.endpoint(&cluster, &cluster.endpoints[0]);
        let reported =
            |load: &mut Load, snapshot: &Snapshot| load.collect(snapshot, 0).clusters.len();
        assert_eq!(reported(&mut load, &snapshot(&cluster)), 1);
        assert_eq!(reported(&mut load, &snapshot(&cluster)), 1);
        assert_eq!(reported(&mut load, &Snapshot::default()), 1);
        assert_eq!(reported(&mut load, &Snapshot::default()), 0);
    }

    #[test]
    fn original_destinations_have_numbers_of_their_own_and_give_their_place_back() {
        let (mut load, cluster) = (Load::default(), passthrough_cluster());
        let (one, other) = (([10, 0, 0, 1], 80).into(), ([10, 0, 0, 2], 80).into());
        let first = load.address(&cluster, one);
        assert_eq!(load.address(&cluster, one), first);
        assert_ne!(load.address(&cluster, other), first);
        load.update(first, |load| load.connections_active += 1);
        assert_eq!(load.collect(&Snapshot::default(), 0).clusters.len(), 1);
        load.update(first, |load| load.connections_active -= 1);
        load.collect(&Snapshot::default(), 0);
        assert_eq!(load.address(&cluster, other), first);
    }

    #[test]
    fn endpoints_ejected_now_are_reported() {
        let (mut load, cluster) = (Load::default(), cluster());
        cluster.endpoints[0].state.eject(10);
        assert_eq!(load.collect(&snapshot(&cluster), 9).ejected.len(), 1);
        assert_eq!(load.collect(&snapshot(&cluster), 10).ejected.len(), 0);
    }
}
