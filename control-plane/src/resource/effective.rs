//! The effective policy of a service: merged, defaults filled in, limits applied.

use super::{CapacitySpec, LimitsOf, NotifySpec, Period, PolicySpec, StartSpec};
use crate::model::{Affinity, Capacity, Drain, Health, Limits, Policy, Rollback, Start};
use std::time::Duration;

/// The policy that these layers make, the nearest last, within the limits.
pub fn effective<'a>(
    layers: impl IntoIterator<Item = &'a PolicySpec>,
    limits: Option<&LimitsOf<'_>>,
) -> Policy {
    let spec = layers
        .into_iter()
        .fold(PolicySpec::default(), |base, nearer| {
            nearer.clone().over(base)
        });
    let norms = Policy::default();
    let strategy = spec.strategy.unwrap_or_default();
    let drain = spec.drain.unwrap_or_default();
    let health = spec.health.unwrap_or_default();
    let affinity = spec
        .session_affinity
        .map_or(norms.affinity, |affinity| affinity.read());
    let is_hashed = matches!(affinity, Affinity::Shift(_));
    let mut policy = Policy {
        steps: strategy.read_steps().unwrap_or(norms.steps),
        capacity: match strategy.capacity {
            Some(CapacitySpec::Match) => Capacity::Match,
            Some(CapacitySpec::Full) => Capacity::Full,
            None => norms.capacity,
        },
        affinity,
        balancing: spec.balancing.unwrap_or_default().read(is_hashed),
        drain: Drain {
            timeout: or(drain.timeout, norms.drain.timeout),
            session_timeout: or(drain.session_timeout, norms.drain.session_timeout),
        },
        health: Health {
            interval: or(health.interval, norms.health.interval),
            failure_threshold: health
                .failure_threshold
                .unwrap_or(norms.health.failure_threshold),
        },
        analysis: spec.analysis.map_or_else(
            || norms.analysis.clone(),
            |analysis| analysis.read(&norms.analysis),
        ),
        rollback: Rollback {
            window: or(
                spec.rollback.and_then(|rollback| rollback.window),
                norms.rollback.window,
            ),
        },
        start: match spec.start {
            Some(StartSpec::Auto) => Start::Auto,
            Some(StartSpec::Manual) => Start::Manual,
            None => norms.start,
        },
        progress_deadline: or(spec.progress_deadline, norms.progress_deadline),
        notify: spec.notify.map_or(norms.notify, |sinks| {
            sinks.iter().filter_map(NotifySpec::read).collect()
        }),
        limits: Limits::default(),
    };
    if let Some(limits) = limits {
        limits.bring_within(&mut policy, strategy.kind);
    }
    policy
}

fn or(period: Option<Period>, norm: Duration) -> Duration {
    period.map_or(norm, |period| period.0)
}
