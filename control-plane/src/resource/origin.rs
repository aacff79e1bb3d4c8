//! Where each value of an effective policy comes from.
//!
//! The layers are put on one after the other, the nearest last, then the limits. Whoever states a
//! field, or changes its value (`type: BlueGreen` takes the steps away), is its source; what nobody
//! touched is built in. So a field that is new needs no line here.

use super::{
    LimitsOf, PolicySpec, effective,
    written::{flow, written},
};
use crate::model::{Policy, PolicyField};
use serde_json::Value;
use std::collections::BTreeMap;

/// The source of what no document says.
const BUILT_IN: &str = "built-in";

/// A policy's `spec`, and the document in which it stands.
#[derive(Clone, Debug)]
pub struct Layer<'a> {
    /// `UpgradePolicy shop/checkout`
    pub source: String,
    /// What it says.
    pub spec: &'a PolicySpec,
}

/// The policy that these layers make, the nearest last, and each of its fields with its source, in
/// the order of their names.
pub fn effective_with_sources(
    layers: &[Layer<'_>],
    limits: Option<&LimitsOf<'_>>,
) -> (Policy, Vec<PolicyField>) {
    let mut fields = leaves(&written(&Policy::default()))
        .into_iter()
        .map(|(path, value)| (path, (value, BUILT_IN.to_owned())))
        .collect();
    let mut below = Vec::new();
    for layer in layers {
        below.push(layer.spec);
        let policy = effective(below.iter().copied(), None);
        let mut stated = leaves(&serde_json::to_value(layer.spec).unwrap_or_default());
        stated.retain(|path, _| !path.starts_with("targetRef"));
        put_on(&mut fields, &policy, &stated, &layer.source);
    }
    let policy = effective(below.iter().copied(), limits);
    if let Some(of) = limits {
        let source = format!("limits of {}", of.owner);
        put_on(&mut fields, &policy, &BTreeMap::new(), &source);
    }
    let fields = fields
        .into_iter()
        .map(|(path, (value, source))| PolicyField {
            path,
            value,
            source,
        })
        .collect();
    (policy, fields)
}

/// The fields as a layer leaves them.
fn put_on(
    fields: &mut BTreeMap<String, (String, String)>,
    policy: &Policy,
    stated: &BTreeMap<String, String>,
    source: &str,
) {
    let now = leaves(&written(&policy.shown()));
    let known = leaves(&written(&Policy::default()));
    fields.retain(|path, _| now.contains_key(path) || !known.contains_key(path));
    for (path, value) in &now {
        let changed = fields.get(path).is_none_or(|(before, _)| before != value);
        if changed || stated.contains_key(path) {
            fields.insert(path.clone(), (value.clone(), source.to_owned()));
        }
    }
    // Stated, but not for here: `rollback.workload` is for Kubernetes, a cookie needs `type: Cookie`.
    for (path, value) in stated {
        if !now.contains_key(path) && !known.contains_key(path) {
            fields.insert(path.clone(), (value.clone(), source.to_owned()));
        }
    }
}

/// The values of a document by their paths; a list is one value.
fn leaves(document: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk("", document, &mut found);
    found
}

fn walk(path: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let inner = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                walk(&inner, value, found);
            }
        }
        Value::Null => {}
        other => {
            found.insert(path.to_owned(), flow(other));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sink;
    use serde_json::json;

    fn spec(json: Value) -> PolicySpec {
        serde_json::from_value(json).unwrap()
    }

    fn layer<'a>(source: &str, spec: &'a PolicySpec) -> Layer<'a> {
        Layer {
            source: source.to_owned(),
            spec,
        }
    }

    fn field<'a>(fields: &'a [PolicyField], path: &str) -> (&'a str, &'a str) {
        let field = fields.iter().find(|field| field.path == path);
        let field = field.unwrap_or_else(|| panic!("no {path} in {fields:#?}"));
        (&field.value, &field.source)
    }

    #[test]
    fn without_documents_everything_is_built_in() {
        let (policy, fields) = effective_with_sources(&[], None);
        assert_eq!(policy, Policy::default());
        assert!(fields.iter().all(|field| field.source == "built-in"));
        assert_eq!(field(&fields, "analysis.successRate.min").0, "99.5");
        assert_eq!(field(&fields, "analysis.latency.maxIncrease").0, "20%");
        assert_eq!(field(&fields, "notify").0, "[]");
    }

    #[test]
    fn each_field_names_the_nearest_document_that_states_it() {
        let mesh = spec(json!({"drain": {"timeout": "9s", "sessionTimeout": "8s"}}));
        let near = spec(json!({"drain": {"timeout": "9s"}, "rollback": {"workload": "Keep"}}));
        let layers = [
            layer("ClusterUpgradePolicy mesh", &mesh),
            layer("UpgradePolicy shop/checkout", &near),
        ];
        let (_, fields) = effective_with_sources(&layers, None);
        // The same value, but stated nearer.
        assert_eq!(
            field(&fields, "drain.timeout"),
            ("9s", "UpgradePolicy shop/checkout")
        );
        assert_eq!(
            field(&fields, "drain.sessionTimeout"),
            ("8s", "ClusterUpgradePolicy mesh")
        );
        assert_eq!(
            field(&fields, "rollback.workload"),
            ("Keep", "UpgradePolicy shop/checkout")
        );
        assert_eq!(field(&fields, "rollback.window"), ("30m", "built-in"));
    }

    #[test]
    fn limits_are_the_source_of_what_they_change() {
        let limits =
            serde_json::from_value(json!({"minRollbackWindow": "1h", "maxFirstWeight": 2}));
        let of = LimitsOf {
            owner: "ClusterUpgradePolicy mesh",
            limits: limits.unwrap(),
        };
        let (_, fields) = effective_with_sources(&[], Some(&of));
        let limited = "limits of ClusterUpgradePolicy mesh";
        assert_eq!(field(&fields, "rollback.window"), ("1h", limited));
        let (steps, source) = field(&fields, "strategy.steps");
        assert!(
            steps.starts_with("[{weight: 2, hold: 10m}, {weight: 5"),
            "{steps}"
        );
        assert_eq!(source, limited);
        assert_eq!(field(&fields, "health.failureThreshold"), ("3", "built-in"));
    }

    #[test]
    fn limits_in_force_are_shown_with_their_source() {
        let limits =
            serde_json::from_value(json!({"minRollbackWindow": "1m", "maxFailureThreshold": 5}));
        let of = LimitsOf {
            owner: "ClusterUpgradePolicy mesh",
            limits: limits.unwrap(),
        };
        let (_, fields) = effective_with_sources(&[], Some(&of));
        let limited = "limits of ClusterUpgradePolicy mesh";
        assert_eq!(field(&fields, "rollback.window"), ("30m", "built-in"));
        assert_eq!(field(&fields, "limits.minRollbackWindow"), ("1m", limited));
        assert_eq!(field(&fields, "limits.maxFailureThreshold"), ("5", limited));
        assert!(
            fields
                .iter()
                .all(|field| field.path != "limits.maxFirstWeight")
        );
    }

    #[test]
    fn what_may_be_secret_in_an_address_is_not_shown() {
        let near = spec(json!({
            "notify": [
                {"nats": {"server": "nats://me:word@nats.ops:4222", "subject": "s"}},
                {"cloudEvents": {"sink": "https://hooks.example/T0/word?token=word"}},
            ],
            "analysis": {"metrics": [
                {"name": "a", "webhook": {"url": "http://carts.ops/?token=word"}},
                {"name": "b", "prometheus": {"address": "http://p:9090/word", "query": "q", "min": 1}},
            ]},
        }));
        let (policy, fields) = effective_with_sources(&[layer("near", &near)], None);
        assert!(
            fields.iter().all(|field| !field.value.contains("word")),
            "{fields:#?}"
        );
        let (notify, source) = field(&fields, "notify");
        assert!(notify.contains("nats://…@nats.ops:4222"), "{notify}");
        assert!(notify.contains("https://hooks.example/…"), "{notify}");
        assert_eq!(source, "near");
        assert!(
            field(&fields, "analysis.metrics")
                .0
                .contains("http://carts.ops/…")
        );
        assert!(
            matches!(&policy.notify[..], [Sink::Nats { server, .. }, _] if server.contains("word"))
        );
    }

    #[test]
    fn blue_green_takes_the_steps_of_others_away() {
        let far = spec(json!({"strategy": {"steps": [{"weight": 50}, {"weight": 100}]}}));
        let near = spec(json!({"strategy": {"type": "BlueGreen"}}));
        let layers = [layer("far", &far), layer("near", &near)];
        let (_, fields) = effective_with_sources(&layers, None);
        assert_eq!(field(&fields, "strategy.type"), ("BlueGreen", "near"));
        assert!(fields.iter().all(|field| field.path != "strategy.steps"));
    }

    #[test]
    fn a_cookie_brings_its_attributes() {
        let near = spec(json!({"sessionAffinity": {"type": "Cookie", "cookie": {"ttl": "2h"}}}));
        let (_, fields) = effective_with_sources(&[layer("near", &near)], None);
        assert_eq!(field(&fields, "sessionAffinity.cookie.ttl"), ("2h", "near"));
        assert_eq!(field(&fields, "sessionAffinity.cookie.path"), ("/", "near"));
    }
}
