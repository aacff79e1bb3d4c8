//! The pick: priorities first, then a locality where the cluster draws by it, then one endpoint.

mod choose;

use crate::model::{Cluster, Endpoint, EndpointId, Health};
use choose::Choosing;
use std::fmt;

/// How to choose within a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// As the cluster says; by the request's hash where it says so and the request has one.
    Balanced(Option<u64>),
    /// By weight alone: opaque TCP, where the weights are the split.
    Weighted,
}

/// What a pick needs of the worker it is made for.
pub trait Bench {
    /// A random number below `below`, which is at least 1.
    fn draw(&self, below: u64) -> u64;
    /// Requests under way at an endpoint.
    fn active(&self, id: EndpointId) -> u64;
    /// What is owed to an endpoint in round robin, after `change` was added to it. An endpoint that
    /// has none yet begins below `first`, so that not all workers begin with the same.
    fn owed(&self, id: EndpointId, change: i64, first: u64) -> i64;
}

/// What a pick depends on besides the cluster.
pub struct Conditions<'a, B> {
    /// Milliseconds since the process's start.
    pub now: u64,
    /// Already tried by this request; taken again only where nothing else is left.
    pub tried: &'a [EndpointId],
    /// The worker.
    pub bench: &'a B,
    /// How many requests an endpoint of the first priority may get before its first good answer.
    pub trials: Option<u32>,
}

impl<B> fmt::Debug for Conditions<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conditions")
            .field("now", &self.now)
            .field("tried", &self.tried)
            .finish_non_exhaustive()
    }
}

/// The endpoints of one priority.
#[derive(Clone, Copy)]
struct Group<'c> {
    /// Which one, counted from the preferred.
    index: usize,
    endpoints: &'c [Endpoint],
    /// Its health is not looked at.
    panic: bool,
}

/// Picks an endpoint. None: no priority has one that may serve.
pub fn pick<'c, B: Bench>(
    cluster: &'c Cluster,
    choice: Choice,
    conditions: &Conditions<'_, B>,
) -> Option<&'c Endpoint> {
    let Conditions {
        now,
        tried,
        bench,
        trials,
    } = *conditions;
    let available = |endpoint: &Endpoint| {
        endpoint.health == Health::Healthy
            && !endpoint.state.is_ejected(now)
            && (endpoint.priority > 0
                || trials.is_none_or(|limit| endpoint.state.has_trial_left(limit)))
    };
    // Who looks at trials asks again without them before nothing is left.
    let may_panic = trials.is_none();
    let chosen = choose_priority(cluster, &available, may_panic, bench)?;
    let up = |endpoint: &Endpoint| {
        (chosen.panic && endpoint.health != Health::Draining) || available(endpoint)
    };
    let untried = |endpoint: &Endpoint| up(endpoint) && !tried.contains(&endpoint.id);
    let mut group = chosen;
    if !tried.is_empty() && !chosen.endpoints.iter().any(untried) {
        match priorities(cluster).find(|group| group.endpoints.iter().any(untried)) {
            Some(other) => group = other,
            None => return Choosing::new(cluster, now, bench, up).choose(chosen, choice),
        }
    }
    Choosing::new(cluster, now, bench, untried).choose(group, choice)
}

/// The priorities, preferred first.
fn priorities(cluster: &Cluster) -> impl Iterator<Item = Group<'_>> {
    let groups = cluster
        .endpoints
        .chunk_by(|one, other| one.priority == other.priority);
    groups.enumerate().map(|(index, endpoints)| Group {
        index,
        endpoints,
        panic: false,
    })
}

/// Envoy's rule: a priority bears `min(100, factor * available / all)` percent; what it can't bear
/// goes to the next. Where all together bear less than 100, in proportion, and health is not looked
/// at in priorities of which less than the panic threshold is up. An endpoint that drains is never
/// among them: it is about to stop.
fn choose_priority<'c>(
    cluster: &'c Cluster,
    available: &impl Fn(&Endpoint) -> bool,
    may_panic: bool,
    bench: &impl Bench,
) -> Option<Group<'c>> {
    let factor = u64::from(cluster.overprovisioning_factor);
    let up = |group: Group<'_>| count(group.endpoints.iter().filter(|e| available(e)));
    let health = |group: Group<'_>| -> u64 {
        let up = up(group);
        let scaled = factor.saturating_mul(up) / count(group.endpoints.iter()).max(1);
        // One that is up bears something, however low the factor.
        scaled.clamp(u64::from(up > 0), 100)
    };
    let first = priorities(cluster).next()?;
    if health(first) == 100 {
        return Some(first);
    }
    let total = priorities(cluster).map(health).sum::<u64>();
    let threshold = u64::from(cluster.balancing.panic_threshold);
    let panics = |group: Group<'_>| {
        let all = count(group.endpoints.iter());
        may_panic && total < 100 && up(group) * 100 < threshold * all
    };
    let marked = |group: Group<'c>| Group {
        panic: panics(group),
        ..group
    };
    if total > 0 {
        return draw(
            priorities(cluster).map(marked),
            health,
            total.min(100),
            bench,
        );
    }
    // Nobody is up: by how many there are, where that may be tried.
    let there = |group: Group<'_>| {
        let left = group.endpoints.iter();
        count(left.filter(|e| panics(group) && e.health != Health::Draining))
    };
    let total = priorities(cluster).map(there).sum();
    draw(priorities(cluster).map(marked), there, total, bench)
}

/// One of the groups by their weights.
fn draw<'c>(
    mut groups: impl Iterator<Item = Group<'c>>,
    weight: impl Fn(Group<'c>) -> u64,
    total: u64,
    bench: &impl Bench,
) -> Option<Group<'c>> {
    if total == 0 {
        return None;
    }
    let mut rest = bench.draw(total);
    groups.find(|group| {
        let weight = weight(*group);
        let found = rest < weight;
        rest = rest.saturating_sub(weight);
        found
    })
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.fold(0, |number, _| number + 1)
}

#[cfg(test)]
mod tests;
