//! The control API's messages as Kubernetes-shaped objects.

use segue_proto::control::{
    Condition, Decision, Event, EventSink, Finding, Judgement, PolicyField, Proxy, ProxyConfig,
    Transition, Upgrade, UpgradeStatus, VersionStatus,
};
use serde_json::{Map, Value, json};

const API_VERSION: &str = "segue.dev/v1alpha1";

/// A list of objects.
pub(super) fn list(kind: &str, items: impl Iterator<Item = Value>) -> Value {
    let items: Vec<Value> = items.collect();
    json!({"apiVersion": API_VERSION, "kind": kind, "items": items})
}

/// An `Upgrade`. What is not set is left out.
pub(super) fn upgrade(upgrade: &Upgrade) -> Value {
    let spec = upgrade.spec.clone().unwrap_or_default();
    let target = spec.target_ref.unwrap_or_default();
    present(json!({
        "apiVersion": API_VERSION,
        "kind": "Upgrade",
        "metadata": present(json!({
            "namespace": upgrade.namespace,
            "name": upgrade.name,
            "creationTimestamp": upgrade.created.map(|at| at.to_string()),
            "resourceVersion": upgrade.resource_version.to_string(),
        })),
        "spec": {
            "targetRef": {
                "apiVersion": target.api_version,
                "kind": target.kind,
                "name": target.name,
            },
            "from": spec.from,
            "to": spec.to,
            "paused": spec.paused,
        },
        "status": upgrade.status.as_ref().map(status),
    }))
}

fn status(status: &UpgradeStatus) -> Value {
    let applied = status.applied.clone().unwrap_or_default();
    let lagging: Vec<Value> = applied
        .lagging
        .iter()
        .map(|lagging| {
            present(json!({
                "proxy": lagging.proxy,
                "since": lagging.since.map(|since| since.to_string()),
                "nack": some(&lagging.nack),
            }))
        })
        .collect();
    present(json!({
        "phase": status.phase,
        "weight": percent(status.weight),
        "measuredWeight": status.measured_weight.map(percent),
        "generation": status.generation,
        "applied": {"acked": applied.acked, "total": applied.total, "lagging": lagging},
        "message": status.message,
        "step": status.step,
        "steps": status.steps,
        "paused": status.paused,
        "nextAt": status.next_at.map(|at| at.to_string()),
        "sessionsReleasedAt": status.sessions_released_at.map(|at| at.to_string()),
        "old": status.old.as_ref().map(version),
        "new": status.new.as_ref().map(version),
        "drained": status.drained,
        "rollbackReason": some(&status.rollback_reason),
        "judgement": status.judgement.as_ref().map(judgement),
        "conditions": status.conditions.iter().map(condition).collect::<Vec<_>>(),
        "history": status.history.iter().map(transition).collect::<Vec<_>>(),
        "events": status.events.iter().map(event).collect::<Vec<_>>(),
        "sinks": status.sinks.iter().map(sink).collect::<Vec<_>>(),
        "policy": status.policy.iter().map(policy_field).collect::<Vec<_>>(),
    }))
}

fn judgement(judgement: &Judgement) -> Value {
    present(json!({
        "verdict": judgement.verdict,
        "requests": judgement.requests,
        "eta": judgement.eta.map(|eta| eta.to_string()),
        "findings": judgement.findings.iter().map(finding).collect::<Vec<_>>(),
    }))
}

fn finding(finding: &Finding) -> Value {
    present(json!({
        "test": finding.test,
        "verdict": finding.verdict,
        "new": finding.new,
        "old": finding.old,
        "limit": finding.limit,
        "smallestVisible": finding.smallest_visible,
        "eta": finding.eta.map(|eta| eta.to_string()),
        "shared": finding.shared,
        "text": finding.text,
    }))
}

fn event(event: &Event) -> Value {
    present(json!({
        "id": event.id,
        "at": event.at.map(|at| at.to_string()),
        "reason": event.reason,
        "message": event.message,
        "phase": event.phase,
        "weight": percent(event.weight),
    }))
}

fn sink(sink: &EventSink) -> Value {
    present(json!({
        "address": sink.address,
        "waiting": sink.waiting,
        "delivered": sink.delivered,
        "refused": sink.refused,
        "dropped": sink.dropped,
        "failure": some(&sink.failure),
    }))
}

/// A field of an effective policy.
pub(super) fn policy_field(field: &PolicyField) -> Value {
    json!({"path": field.path, "value": field.value, "source": field.source})
}

fn version(version: &VersionStatus) -> Value {
    present(json!({
        "id": version.id,
        "instances": version.instances,
        "ready": version.ready,
        "requestsPerSecond": rounded(version.requests_per_second),
        "errorsPerSecond": rounded(version.errors_per_second),
        "activeRequests": version.active_requests,
        "activeConnections": version.active_connections,
        "latencyUs": version.latency_us,
        "newSessions": version.new_sessions,
        "lastSession": version.last_session.map(|at| at.to_string()),
    }))
}

fn condition(condition: &Condition) -> Value {
    present(json!({
        "type": condition.r#type,
        "status": if condition.status { "True" } else { "False" },
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.at.map(|at| at.to_string()),
    }))
}

fn transition(transition: &Transition) -> Value {
    present(json!({
        "phase": transition.phase,
        "weight": percent(transition.weight),
        "at": transition.at.map(|at| at.to_string()),
        "reason": transition.reason,
        "appliedAt": transition.applied_at.map(|at| at.to_string()),
    }))
}

/// One line of the decision log.
pub(super) fn decision(decision: &Decision) -> Value {
    let json = |text: &str| match text {
        "" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
    };
    present(json!({
        "at": decision.at.map(|at| at.to_string()),
        "phase": decision.phase,
        "rule": decision.rule,
        "verdict": decision.verdict,
        "inputs": json(&decision.inputs),
        "context": json(&decision.context),
    }))
}

/// A proxy.
pub(super) fn proxy(proxy: &Proxy) -> Value {
    let (namespace, name) = proxy.id.split_once('/').unwrap_or(("", &proxy.id));
    let resources: Vec<Value> = proxy
        .resources
        .iter()
        .map(|of| {
            present(json!({
                "typeUrl": of.type_url,
                "subscribed": of.subscribed,
                "wildcard": of.wildcard,
                "acked": of.acked,
                "pending": of.pending,
                "nack": some(&of.nack),
            }))
        })
        .collect();
    json!({
        "apiVersion": API_VERSION,
        "kind": "Proxy",
        "metadata": present(json!({"namespace": some(namespace), "name": name})),
        "status": present(json!({
            "id": proxy.id,
            "userAgent": proxy.user_agent,
            "address": proxy.address,
            "connectedAt": proxy.connected.map(|at| at.to_string()),
            "ackedGeneration": proxy.acked_generation,
            "sentGeneration": proxy.sent_generation,
            "resources": resources,
        })),
    })
}

/// A proxy with every resource it has.
pub(super) fn proxy_config(config: &ProxyConfig) -> Value {
    let resources: Vec<Value> = config
        .resources
        .iter()
        .map(|resource| {
            present(json!({
                "typeUrl": resource.type_url,
                "name": resource.name,
                "version": some(&resource.version),
                "state": resource.state,
            }))
        })
        .collect();
    let mut object = proxy(&config.proxy.clone().unwrap_or_default());
    if let Some(object) = object.as_object_mut() {
        object.insert("config".to_owned(), Value::Array(resources));
    }
    object
}

/// Basis points as percent: 500 is 5, 1,250 is 12.5.
fn percent(basis_points: u32) -> Value {
    if basis_points.is_multiple_of(100) {
        json!(basis_points / 100)
    } else {
        json!(f64::from(basis_points) / 100.0)
    }
}

fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// An object without the fields that are null.
fn present(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: Map<String, Value> = fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .collect();
            Value::Object(fields)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_has_the_shape_of_a_kubernetes_object() {
        let object = upgrade(&Upgrade {
            namespace: "shop".to_owned(),
            name: "checkout-v2-1".to_owned(),
            resource_version: 7,
            status: Some(UpgradeStatus {
                phase: "WarmUp".to_owned(),
                weight: 500,
                ..UpgradeStatus::default()
            }),
            ..Upgrade::default()
        });
        assert_eq!(object["kind"], "Upgrade");
        assert_eq!(object["metadata"]["resourceVersion"], "7");
        assert_eq!(object["status"]["weight"], 5);
        assert!(object["status"].get("nextAt").is_none());
    }

    #[test]
    fn weights_are_percent() {
        assert_eq!(percent(10_000), json!(100));
        assert_eq!(percent(1_250), json!(12.5));
    }
}
