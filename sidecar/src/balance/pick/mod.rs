//! The pick: priorities first, then one endpoint of the chosen priority.

use crate::model::{Cluster, Endpoint, EndpointId, Health};
use std::fmt;

/// How to choose within a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The less loaded of two drawn ones; by weight over load where weights differ.
    LeastRequest,
    /// By weight alone: opaque TCP, where the weights are the split.
    Weighted,
}

/// What a pick depends on besides the cluster.
pub struct Conditions<'a, D, A> {
    /// Milliseconds since the process's start.
    pub now: u64,
    /// Already tried by this request; taken again only where nothing else is left.
    pub tried: &'a [EndpointId],
    /// Gives a number below its argument (which is at least 1).
    pub draw: &'a mut D,
    /// Requests under way at an endpoint.
    pub active: A,
    /// How many requests an endpoint of the first priority may get before its first good answer.
    pub trials: Option<u32>,
}

impl<D, A> fmt::Debug for Conditions<'_, D, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conditions")
            .field("now", &self.now)
            .field("tried", &self.tried)
            .finish_non_exhaustive()
    }
}

/// Picks an endpoint. None: no priority has one that may serve.
pub fn pick<'c, D: FnMut(u64) -> u64, A: Fn(EndpointId) -> u64>(
    cluster: &'c Cluster,
    choice: Choice,
    conditions: Conditions<'_, D, A>,
) -> Option<&'c Endpoint> {
    let Conditions {
        now,
        tried,
        draw,
        active,
        trials,
    } = conditions;
    let available = |endpoint: &Endpoint| {
        endpoint.health == Health::Healthy
            && !endpoint.state.is_ejected(now)
            && (endpoint.priority > 0
                || trials.is_none_or(|limit| endpoint.state.has_trial_left(limit)))
    };
    let untried = |endpoint: &Endpoint| available(endpoint) && !tried.contains(&endpoint.id);
    let chosen = choose_priority(cluster, &available, draw)?;
    if chosen.iter().any(untried) {
        return choose_endpoint(chosen, choice, &untried, draw, &active);
    }
    let other = priorities(cluster).find(|group| group.iter().any(untried));
    match other {
        Some(group) => choose_endpoint(group, choice, &untried, draw, &active),
        None => choose_endpoint(chosen, choice, &available, draw, &active),
    }
}

/// The endpoints of each priority, preferred first.
fn priorities(cluster: &Cluster) -> impl Iterator<Item = &[Endpoint]> {
    cluster
        .endpoints
        .chunk_by(|one, other| one.priority == other.priority)
}

/// Envoy's rule: a priority bears `min(100, factor * available / all)` percent; what it can't bear
/// goes to the next. Where all together bear less than 100, in proportion.
fn choose_priority<'c>(
    cluster: &'c Cluster,
    available: &impl Fn(&Endpoint) -> bool,
    draw: &mut impl FnMut(u64) -> u64,
) -> Option<&'c [Endpoint]> {
    let factor = u64::from(cluster.overprovisioning_factor);
    let health = |group: &[Endpoint]| -> u64 {
        let up = count(group.iter().filter(|endpoint| available(endpoint)));
        let scaled = factor.saturating_mul(up) / count(group.iter()).max(1);
        // One that is up bears something, however low the factor.
        scaled.clamp(u64::from(up > 0), 100)
    };
    let first = priorities(cluster).next()?;
    if health(first) == 100 {
        return Some(first);
    }
    let total = priorities(cluster).map(health).sum::<u64>().min(100);
    if total == 0 {
        return None;
    }
    let mut rest = draw(total);
    for group in priorities(cluster) {
        let health = health(group);
        if rest < health {
            return Some(group);
        }
        rest -= health;
    }
    None
}

fn choose_endpoint<'c>(
    group: &'c [Endpoint],
    choice: Choice,
    eligible: &impl Fn(&Endpoint) -> bool,
    draw: &mut impl FnMut(u64) -> u64,
    active: &impl Fn(EndpointId) -> u64,
) -> Option<&'c Endpoint> {
    let candidates = || group.iter().filter(|endpoint| eligible(endpoint));
    let first = candidates().next()?;
    let number = count(candidates());
    if number == 1 {
        return Some(first);
    }
    let equal = candidates().all(|endpoint| endpoint.weight == first.weight);
    match choice {
        Choice::LeastRequest if equal => {
            let one = nth(candidates(), draw(number))?;
            let other = nth(candidates(), draw(number))?;
            Some(if active(other.id) < active(one.id) {
                other
            } else {
                one
            })
        }
        Choice::LeastRequest => weighted(candidates, draw, |endpoint| {
            (u64::from(endpoint.weight.max(1)) << 16) / (active(endpoint.id) + 1)
        }),
        Choice::Weighted => weighted(candidates, draw, |endpoint| u64::from(endpoint.weight)),
    }
}

fn weighted<'c, I: Iterator<Item = &'c Endpoint>>(
    candidates: impl Fn() -> I,
    draw: &mut impl FnMut(u64) -> u64,
    weight: impl Fn(&Endpoint) -> u64,
) -> Option<&'c Endpoint> {
    let total: u64 = candidates().map(|endpoint| weight(endpoint).max(1)).sum();
    let mut rest = draw(total.max(1));
    for endpoint in candidates() {
        let weight = weight(endpoint).max(1);
        if rest < weight {
            return Some(endpoint);
        }
        rest -= weight;
    }
    None
}

fn nth<'c>(mut endpoints: impl Iterator<Item = &'c Endpoint>, index: u64) -> Option<&'c Endpoint> {
    endpoints.nth(usize::try_from(index).ok()?)
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.fold(0, |number, _| number + 1)
}

#[cfg(test)]
mod tests;
