//! One endpoint among those of a priority.

use super::{Bench, Choice, Group, count};
use crate::model::{Cluster, Endpoint, Policy};
use std::{sync::atomic::Ordering, time::Duration};

/// A weight of 1, so that parts of it can be told apart.
const UNIT: u64 = 1 << 10;
/// How far a table is followed past endpoints that can't serve.
const WALK: usize = 1_024;

/// A choice to be made.
pub(super) struct Choosing<'a, 'c, B, E> {
    cluster: &'c Cluster,
    /// Milliseconds since the process's start.
    now: u64,
    bench: &'a B,
    /// Which endpoints may be chosen.
    eligible: E,
}

impl<'a, 'c, B: Bench, E: Fn(&Endpoint) -> bool> Choosing<'a, 'c, B, E> {
    pub(super) const fn new(cluster: &'c Cluster, now: u64, bench: &'a B, eligible: E) -> Self {
        Self {
            cluster,
            now,
            bench,
            eligible,
        }
    }

    /// None: none may be chosen.
    pub(super) fn choose(&self, group: Group<'c>, choice: Choice) -> Option<&'c Endpoint> {
        let hash = match choice {
            Choice::Weighted => {
                return self.weighted(group.endpoints, |e| u64::from(e.weight.max(1)));
            }
            Choice::Balanced(hash) => hash,
        };
        if let Some(table) = self.cluster.tables.get(group.index) {
            // A request without a hash may go to any, by the shares of the table.
            let hash = hash.unwrap_or_else(|| self.bench.draw(u64::MAX));
            let mut walk = table.walk(hash).take(WALK);
            let found = walk.find_map(|index| {
                let endpoint = group.endpoints.get(index)?;
                (self.eligible)(endpoint).then_some(endpoint)
            });
            return found.or_else(|| {
                let number = count(self.candidates(group.endpoints));
                self.nth(group.endpoints, hash.checked_rem(number)?)
            });
        }
        let endpoints = if self.cluster.balancing.by_locality {
            self.locality(group.endpoints)
        } else {
            group.endpoints
        };
        match self.cluster.balancing.policy {
            Policy::RoundRobin => self.in_turn(endpoints),
            Policy::LeastRequest { choices } => self.least_request(endpoints, choices),
            // Their tables are missing only where there is no endpoint.
            Policy::RingHash { .. } | Policy::Maglev { .. } => None,
        }
    }

    fn candidates(&self, endpoints: &'c [Endpoint]) -> impl Iterator<Item = &'c Endpoint> {
        endpoints
            .iter()
            .filter(|endpoint| (self.eligible)(endpoint))
    }

    fn nth(&self, endpoints: &'c [Endpoint], index: u64) -> Option<&'c Endpoint> {
        self.candidates(endpoints).nth(usize::try_from(index).ok()?)
    }

    /// A locality by its weight, of which it keeps what its healthy endpoints bear: Envoy's
    /// `weight * min(100 %, factor * available)`.
    fn locality(&self, endpoints: &'c [Endpoint]) -> &'c [Endpoint] {
        let factor = u64::from(self.cluster.overprovisioning_factor);
        let localities = || endpoints.chunk_by(|a, b| a.locality.number == b.locality.number);
        let weight = |members: &[Endpoint]| {
            let up = count(members.iter().filter(|e| (self.eligible)(e)));
            let all = count(members.iter()).max(1);
            let weight = members.first().map_or(0, |first| first.locality.weight);
            u64::from(weight)
                * factor
                    .saturating_mul(up)
                    .saturating_mul(100)
                    .div_ceil(all)
                    .min(10_000)
        };
        let total: u64 = localities().map(weight).sum();
        if total == 0 {
            return endpoints;
        }
        let mut rest = self.bench.draw(total);
        let drawn = localities().find(|members| {
            let weight = weight(members);
            let found = rest < weight;
            rest = rest.saturating_sub(weight);
            found
        });
        drawn.unwrap_or(endpoints)
    }

    /// The least loaded of so many drawn ones; by weight over load where weights differ.
    fn least_request(&self, endpoints: &'c [Endpoint], choices: u32) -> Option<&'c Endpoint> {
        let mut candidates = self.candidates(endpoints);
        let first = candidates.next()?;
        let (mut number, weight) = (1, self.weight(first));
        let mut equal = true;
        for endpoint in candidates {
            number += 1;
            equal = equal && self.weight(endpoint) == weight;
        }
        if number == 1 {
            return Some(first);
        }
        if !equal {
            return self.weighted(endpoints, |endpoint| {
                (self.weight(endpoint) << 6) / (self.bench.active(endpoint.id) + 1)
            });
        }
        let mut best = self.nth(endpoints, self.bench.draw(number))?;
        for _ in 1..choices {
            let other = self.nth(endpoints, self.bench.draw(number))?;
            if self.bench.active(other.id) < self.bench.active(best.id) {
                best = other;
            }
        }
        Some(best)
    }

    /// Smooth weighted round robin: each is owed its weight at every pick; who is owed most is
    /// picked and pays for all.
    ///
    /// Source: nginx, `ngx_http_upstream_get_peer`.
    fn in_turn(&self, endpoints: &'c [Endpoint]) -> Option<&'c Endpoint> {
        let mut total = 0_i64;
        let mut best: Option<(&Endpoint, i64)> = None;
        for endpoint in self.candidates(endpoints) {
            let weight = self.weight(endpoint);
            let signed = i64::try_from(weight).unwrap_or(i64::MAX);
            let owed = self.bench.owed(endpoint.id, signed, weight);
            total = total.saturating_add(signed);
            if best.is_none_or(|(_, most)| owed > most) {
                best = Some((endpoint, owed));
            }
        }
        let (endpoint, _) = best?;
        self.bench.owed(endpoint.id, -total, 1);
        Some(endpoint)
    }

    /// In proportion to their weights.
    fn weighted(
        &self,
        endpoints: &'c [Endpoint],
        weight: impl Fn(&Endpoint) -> u64,
    ) -> Option<&'c Endpoint> {
        let total: u64 = self.candidates(endpoints).map(|e| weight(e).max(1)).sum();
        let mut rest = self.bench.draw(total.max(1));
        self.candidates(endpoints).find(|endpoint| {
            let weight = weight(endpoint).max(1);
            let found = rest < weight;
            rest = rest.saturating_sub(weight);
            found
        })
    }

    /// An endpoint's weight in [`UNIT`]s, less while it starts slowly.
    fn weight(&self, endpoint: &Endpoint) -> u64 {
        let whole = u64::from(endpoint.weight.max(1)) * UNIT;
        let Some(slow) = &self.cluster.balancing.slow_start else {
            return whole;
        };
        let since = endpoint.state.ready_since.load(Ordering::Relaxed);
        let age = Duration::from_millis(self.now.saturating_sub(since));
        slow.factor(age).map_or(whole, |factor| part(whole, factor))
    }
}

/// At least 1.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a weight is below 2^42, exact in a double; its part is not negative and not more"
)]
fn part(whole: u64, factor: f64) -> u64 {
    ((whole as f64 * factor) as u64).max(1)
}
