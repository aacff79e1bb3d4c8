//! Merging and limits, for any policy.

use super::{Limits, LimitsOf, Percent, Period, PolicySpec, effective};
use crate::model::{Policy, Share, Step};
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use serde_json::json;
use std::time::Duration;

/// A valid policy of which any field may be absent.
fn specs() -> impl Strategy<Value = PolicySpec> {
    let steps = prop::option::of(prop::collection::btree_set(1..100_u16, 0..4));
    let number = || prop::option::of(1..5_000_u32);
    (steps, number(), number(), number(), any::<bool>()).prop_map(
        |(steps, window, timeout, threshold, cookie)| {
            let mut spec = json!({});
            if let Some(weights) = steps {
                let steps: Vec<_> = weights
                    .into_iter()
                    .chain([100])
                    .map(|weight| json!({"weight": weight, "hold": "1s"}))
                    .collect();
                spec["strategy"] = json!({ "steps": steps });
            }
            if let Some(window) = window {
                spec["rollback"] = json!({"window": format!("{window}s")});
            }
            if let Some(timeout) = timeout {
                spec["drain"] = json!({"timeout": format!("{timeout}ms")});
            }
            if let Some(threshold) = threshold {
                spec["health"] = json!({"failureThreshold": threshold});
            }
            if let Some(seconds) = window {
                spec["analysis"] = json!({
                    "warmUp": format!("{seconds}s"),
                    "successRate": {"min": 99.5},
                    "latency": {"maxIncrease": "20%"},
                });
            }
            if let Some(millis) = timeout {
                let sink = format!("http://events:{millis}/");
                spec["analysis"]["successRate"]["maxDrop"] = json!(0.25);
                spec["notify"] = json!([{"cloudEvents": {"sink": sink}}]);
            }
            if cookie {
                spec["sessionAffinity"] = json!({"type": "Cookie"});
            }
            serde_json::from_value(spec).unwrap()
        },
    )
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        prop::option::of(1..=100_u16),
        prop::option::of(0..5_000_u64),
        prop::option::of(1..10_u32),
    )
        .prop_map(|(weight, window, threshold)| Limits {
            max_first_weight: weight.and_then(Share::from_percent).map(Percent),
            min_rollback_window: window.map(|s| Period(Duration::from_secs(s))),
            max_failure_threshold: threshold,
        })
}

fn is_sound(steps: &[Step]) -> bool {
    steps.windows(2).all(|pair| pair[0].weight < pair[1].weight)
        && steps.first().is_some_and(|s| s.weight > Share::ZERO)
        && steps.last().is_some_and(|s| s.weight == Share::ALL)
}

proptest! {
    #[test]
    fn an_effective_policy_is_sound_and_within_the_limits(
        layers in prop::collection::vec(specs(), 0..4),
        limits in limits(),
    ) {
        let of = LimitsOf { owner: "ClusterUpgradePolicy mesh", limits };
        let policy = effective(&layers, Some(&of));
        prop_assert!(is_sound(&policy.steps), "{:?}", policy.steps);
        if let Some(most) = limits.max_first_weight {
            prop_assert!(policy.steps[0].weight <= most.0);
        }
        if let Some(least) = limits.min_rollback_window {
            prop_assert!(policy.rollback.window >= least.0);
        }
        if let Some(most) = limits.max_failure_threshold {
            prop_assert!(policy.health.failure_threshold <= most);
        }
        let carried = policy.limits;
        prop_assert_eq!(carried.max_first_weight, limits.max_first_weight.map(|most| most.0));
        prop_assert_eq!(carried.min_rollback_window, limits.min_rollback_window.map(|least| least.0));
        prop_assert_eq!(carried.max_failure_threshold, limits.max_failure_threshold);
    }

    #[test]
    fn merging_is_associative(a in specs(), b in specs(), c in specs()) {
        let left = a.clone().over(b.clone()).over(c.clone());
        let right = a.over(b.over(c));
        prop_assert_eq!(effective([&left], None), effective([&right], None));
    }

    #[test]
    fn an_empty_layer_changes_nothing(a in specs()) {
        let empty = PolicySpec::default();
        prop_assert_eq!(effective([&empty, &a, &empty], None), effective([&a], None));
    }

    #[test]
    fn a_policy_survives_writing_and_reading(a in specs()) {
        let text = serde_json::to_string(&a).unwrap();
        prop_assert_eq!(serde_json::from_str::<PolicySpec>(&text).unwrap(), a);
    }
}

#[test]
fn no_layer_means_the_norms() {
    assert_eq!(effective([], None), Policy::default());
}
