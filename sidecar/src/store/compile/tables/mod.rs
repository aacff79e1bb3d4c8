//! Builds the tables that a request's hash is looked up in, as Envoy builds them, so that a fleet of
//! both kinds of proxies sends one user to one endpoint.
//!
//! An endpoint keeps its places while it is not healthy: what belongs to it goes to others meanwhile,
//! what belongs to others stays where it is, and nothing is built anew.

use crate::{
    model::{Policy, Table},
    store::resource::{Assignment, Endpoint, Name},
};
use std::{collections::HashMap, io::Write as _, sync::Arc};
use twox_hash::XxHash64;

/// A weight of 1 where localities bear on it, so that parts of it can be told apart.
const UNIT: u128 = 1 << 20;

/// What a cluster's tables depend on.
#[derive(Debug, Clone)]
pub(super) struct Basis {
    pub(super) policy: Policy,
    pub(super) by_locality: bool,
    pub(super) assignment: Arc<Assignment>,
}

impl PartialEq for Basis {
    /// Health does not matter.
    fn eq(&self, other: &Self) -> bool {
        let places = |endpoint: &Endpoint| {
            let Endpoint {
                address,
                weight,
                priority,
                locality,
                ..
            } = *endpoint;
            (address, weight, priority, locality)
        };
        let mine = self.assignment.endpoints.iter().map(places);
        self.policy == other.policy
            && self.by_locality == other.by_locality
            && (Arc::ptr_eq(&self.assignment, &other.assignment)
                || mine.eq(other.assignment.endpoints.iter().map(places)))
    }
}

/// The tables of all clusters that have some, by cluster: kept from one snapshot to the next.
#[derive(Debug, Default)]
pub(super) struct Kept(HashMap<Name, (Basis, Arc<[Table]>)>);

impl Kept {
    /// A cluster's tables: those that it had, where they fit still.
    pub(super) fn tables(
        &mut self,
        cluster: &Name,
        basis: Basis,
        before: &mut Self,
    ) -> Arc<[Table]> {
        if !matches!(
            basis.policy,
            Policy::RingHash { .. } | Policy::Maglev { .. }
        ) {
            return Arc::default();
        }
        let had = before.0.remove(cluster).filter(|(had, _)| *had == basis);
        let tables = had.map_or_else(|| build(&basis), |(_, tables)| tables);
        self.0
            .insert(Arc::clone(cluster), (basis, Arc::clone(&tables)));
        tables
    }
}

/// A table for each priority.
fn build(basis: &Basis) -> Arc<[Table]> {
    let endpoints = &basis.assignment.endpoints;
    let groups = endpoints.chunk_by(|one, other| one.priority == other.priority);
    let table = |group: &[Endpoint]| {
        let weights = weights(group, basis.by_locality);
        match basis.policy {
            Policy::Maglev { size } => Table::Maglev(maglev(group, &weights, size)),
            Policy::RingHash { min_size, max_size } => {
                Table::Ring(ring(group, &weights, min_size, max_size))
            }
            Policy::LeastRequest { .. } | Policy::RoundRobin => Table::Ring(Box::default()),
        }
    };
    groups.map(table).collect()
}

/// The endpoints' shares. By locality, each locality's weight is shared out among its own.
fn weights(group: &[Endpoint], by_locality: bool) -> Vec<u128> {
    let own = |endpoint: &Endpoint| u128::from(endpoint.weight.max(1));
    if !by_locality {
        return group.iter().map(own).collect();
    }
    let localities = group.chunk_by(|a, b| a.locality.number == b.locality.number);
    let shares = localities.flat_map(|members| {
        let total: u128 = members.iter().map(own).sum();
        members.iter().map(move |endpoint| {
            let locality = u128::from(endpoint.locality.weight);
            locality * own(endpoint) * UNIT / total.max(1)
        })
    });
    shares.collect()
}

/// Ketama: each endpoint stands at many places on a ring, by the hashes of `address_0`, `address_1`
/// and so on. The lightest has a whole number of places, and all together at least `min_size`, unless
/// that is more than `max_size`.
///
/// Source: Envoy's `RingHashLoadBalancer::Ring`.
fn ring(group: &[Endpoint], weights: &[u128], min_size: u64, max_size: u64) -> Box<[(u64, u32)]> {
    let total: u128 = weights.iter().sum();
    let Some(least) = weights.iter().copied().filter(|weight| *weight > 0).min() else {
        return Box::default();
    };
    let (min_size, max_size) = (u128::from(min_size), u128::from(max_size));
    let places = (least * min_size).div_ceil(total).max(1);
    // The ring's size is `scale / of`.
    let (scale, of) = if places * total > max_size * least {
        (max_size, 1)
    } else {
        (places * total, least)
    };
    let mut ring = Vec::with_capacity(usize::try_from(scale.div_ceil(of)).unwrap_or(0));
    let (mut weight_so_far, mut places_so_far) = (0, 0);
    let mut text = Vec::new();
    for ((index, endpoint), weight) in (0..).zip(group).zip(weights) {
        weight_so_far += weight;
        let until = (scale * weight_so_far).div_ceil(of * total);
        for number in 0..until - places_so_far {
            text.clear();
            // Writing to memory does not fail.
            write!(text, "{}_{number}", endpoint.address).ok();
            ring.push((XxHash64::oneshot(0, &text), index));
        }
        places_so_far = until;
    }
    ring.sort_unstable();
    ring.into_boxed_slice()
}

/// One endpoint's order of preference among the places, and how far it has come.
struct Preference {
    offset: u64,
    skip: u64,
    next: u64,
    weight: u128,
    target: u128,
}

/// Each endpoint in turn takes the next place it prefers that is free, until none is; a lighter one
/// sits out turns.
///
/// Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer" (NSDI 2016),
/// 3.4; hashes and weights as in Envoy's `MaglevTable`.
fn maglev(group: &[Endpoint], weights: &[u128], size: u32) -> Box<[u32]> {
    const FREE: u32 = u32::MAX;
    let most = weights.iter().copied().max().unwrap_or(0);
    if most == 0 {
        return Box::default();
    }
    let length = u64::from(size.max(2));
    let preference = |(endpoint, weight): (&Endpoint, &u128)| {
        let text = endpoint.address.to_string();
        Preference {
            offset: XxHash64::oneshot(0, text.as_bytes()) % length,
            skip: XxHash64::oneshot(1, text.as_bytes()) % (length - 1) + 1,
            next: 0,
            weight: *weight,
            target: 0,
        }
    };
    let mut preferences: Vec<_> = group.iter().zip(weights).map(preference).collect();
    let mut places = vec![FREE; usize::try_from(length).unwrap_or(0)];
    let mut left = places.len();
    let mut turn: u128 = 0;
    while left > 0 {
        turn += 1;
        for (index, preference) in (0_u32..).zip(&mut preferences) {
            if left == 0 {
                break;
            }
            if preference.weight == 0 || turn * preference.weight < preference.target {
                continue;
            }
            preference.target += most;
            while let Some(place) = preference.place(length, &mut places) {
                if *place == FREE {
                    *place = index;
                    left -= 1;
                    break;
                }
            }
        }
    }
    places.into_boxed_slice()
}

impl Preference {
    /// The next place it would like. All of them come up, since the table's length is a prime.
    fn place<'p>(&mut self, length: u64, places: &'p mut [u32]) -> Option<&'p mut u32> {
        let place = (self.offset + self.skip * self.next) % length;
        self.next += 1;
        places.get_mut(usize::try_from(place).ok()?)
    }
}

#[cfg(test)]
mod tests;
