//! An effective policy as a document would write it: the way back from the model to the notation.
//!
//! What stands here is in force, whatever a document says. A field that the model gets and this
//! page does not know is an error of the compiler.

use super::Period;
use crate::model::{
    Affinity, Algorithm, Analysis, Balancing, Capacity, ContentMode, CookieAttributes, ExtraMetric,
    Limits, MetricSource, OnLowTraffic, Policy, Ppm, Share, ShiftKey, Sink, Start, Step, Zones,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The `spec` that asks for exactly this policy, and the limits that hold for it (which stand in a
/// `ClusterUpgradePolicy`).
pub fn written(policy: &Policy) -> Value {
    let Policy {
        steps,
        capacity,
        affinity,
        drain,
        health,
        analysis,
        rollback,
        start,
        progress_deadline,
        notify,
        limits,
        balancing,
    } = policy;
    let mut written = json!({
        "strategy": strategy(steps, *capacity),
        "sessionAffinity": affinity_of(affinity),
        "balancing": balancing_of(balancing),
        "drain": {
            "timeout": period(drain.timeout),
            "sessionTimeout": period(drain.session_timeout),
        },
        "health": {
            "interval": period(health.interval),
            "failureThreshold": health.failure_threshold,
        },
        "analysis": analysis_of(analysis),
        "rollback": {"window": period(rollback.window)},
        "start": match start {
            Start::Auto => "Auto",
            Start::Manual => "Manual",
        },
        "progressDeadline": period(*progress_deadline),
        "notify": notify.iter().map(sink).collect::<Vec<_>>(),
    });
    if *limits != Limits::default() {
        set(&mut written, "limits", limits_of(limits));
    }
    written
}

fn limits_of(limits: &Limits) -> Value {
    let Limits {
        owner: _,
        max_first_weight,
        min_rollback_window,
        max_failure_threshold,
    } = limits;
    let mut written = json!({});
    let values = [
        ("maxFirstWeight", max_first_weight.map(share)),
        ("minRollbackWindow", min_rollback_window.map(period)),
        (
            "maxFailureThreshold",
            max_failure_threshold.map(Value::from),
        ),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            set(&mut written, name, value);
        }
    }
    written
}

fn strategy(steps: &[Step], capacity: Capacity) -> Value {
    let all_at_once = matches!(steps, [only] if only.hold.is_zero() && !only.manual);
    let mut strategy = json!({
        "type": if all_at_once { "BlueGreen" } else { "Canary" },
        "capacity": match capacity {
            Capacity::Match => "Match",
            Capacity::Full => "Full",
        },
    });
    // BlueGreen has its one step by its name.
    if !all_at_once {
        set(
            &mut strategy,
            "steps",
            steps.iter().map(step).collect::<Value>(),
        );
    }
    strategy
}

fn step(step: &Step) -> Value {
    let mut written = json!({"weight": share(step.weight)});
    if !step.hold.is_zero() {
        set(&mut written, "hold", period(step.hold));
    }
    if step.manual {
        set(&mut written, "manual", true.into());
    }
    written
}

fn affinity_of(affinity: &Affinity) -> Value {
    match affinity {
        Affinity::None => json!({"type": "None"}),
        Affinity::Cookie {
            name,
            ttl,
            path,
            same_site,
            secure,
        } => {
            let cookie = CookieAttributes {
                name: name.clone(),
                ttl: *ttl,
                path: path.clone(),
                same_site: *same_site,
                secure: *secure,
            };
            let cookie = cookie_of(&cookie);
            json!({"type": "Cookie", "cookie": cookie, "scope": "Version", "onStep": "Pin"})
        }
        Affinity::Shift(ShiftKey::Cookie(cookie)) => {
            let cookie = cookie_of(cookie);
            json!({"type": "Cookie", "cookie": cookie, "scope": "Version", "onStep": "Shift"})
        }
        Affinity::Shift(ShiftKey::Header(name)) => {
            let header = json!({"name": name});
            json!({"type": "Header", "header": header, "scope": "Version", "onStep": "Shift"})
        }
        Affinity::Shift(ShiftKey::SourceIp) => {
            json!({"type": "SourceIP", "scope": "Version", "onStep": "Shift"})
        }
    }
}

fn balancing_of(balancing: &Balancing) -> Value {
    let Balancing {
        algorithm,
        zones,
        slow_start,
        circuit_breaker,
    } = balancing;
    let mut written = json!({
        "algorithm": match algorithm {
            Algorithm::LeastRequest => "LeastRequest",
            Algorithm::RoundRobin => "RoundRobin",
            Algorithm::RingHash => "RingHash",
            Algorithm::Maglev => "Maglev",
        },
        "zones": match zones {
            Zones::Any => "Any",
            Zones::Prefer => "Prefer",
        },
        "slowStart": period(*slow_start),
    });
    let mut breaker = json!({});
    for (name, limit) in [
        ("maxRequests", circuit_breaker.max_requests),
        ("maxRetries", circuit_breaker.max_retries),
    ] {
        if let Some(limit) = limit {
            set(&mut breaker, name, limit.into());
            set(&mut written, "circuitBreaker", breaker.clone());
        }
    }
    written
}

fn cookie_of(cookie: &CookieAttributes) -> Value {
    let mut written = json!({
        "ttl": period(cookie.ttl),
        "path": cookie.path,
        "sameSite": cookie.same_site,
        "secure": if cookie.secure { json!(true) } else { json!("Auto") },
    });
    if let Some(name) = &cookie.name {
        set(&mut written, "name", name.as_str().into());
    }
    written
}

fn analysis_of(analysis: &Analysis) -> Value {
    let Analysis {
        interval,
        warm_up,
        min_requests,
        max_wait,
        on_low_traffic,
        confidence,
        success_rate,
        latency,
        metrics,
    } = analysis;
    let mut written = json!({
        "interval": period(*interval),
        "warmUp": period(*warm_up),
        "minRequests": min_requests,
        "maxWait": period(*max_wait),
        "onLowTraffic": match on_low_traffic {
            OnLowTraffic::Proceed => "Proceed",
            OnLowTraffic::RollBack => "RollBack",
            OnLowTraffic::Pause => "Pause",
        },
        "confidence": fraction(*confidence),
        "successRate": {
            "min": percent(success_rate.min),
            "maxDrop": percent(success_rate.max_drop),
        },
        "latency": {
            "quantile": fraction(latency.quantile),
            "maxIncrease": format!("{}%", percent(latency.max_increase)),
        },
    });
    if !metrics.is_empty() {
        set(
            &mut written,
            "metrics",
            metrics.iter().map(metric).collect::<Value>(),
        );
    }
    written
}

fn metric(metric: &ExtraMetric) -> Value {
    let mut written = json!({
        "name": metric.name,
        "interval": period(metric.interval),
        "failureThreshold": metric.failure_threshold,
    });
    match &metric.source {
        MetricSource::Prometheus {
            address,
            query,
            min,
            max,
        } => {
            let mut source = json!({"address": address, "query": query});
            for (name, bound) in [("min", min), ("max", max)] {
                if let Some(bound) = bound {
                    set(&mut source, name, bound.as_str().into());
                }
            }
            set(&mut written, "prometheus", source);
        }
        MetricSource::Webhook { url, timeout } => set(
            &mut written,
            "webhook",
            json!({"url": url, "timeout": period(*timeout)}),
        ),
    }
    written
}

fn sink(sink: &Sink) -> Value {
    match sink {
        Sink::CloudEvents { sink, mode } => json!({"cloudEvents": {
            "sink": sink,
            "mode": match mode {
                ContentMode::Structured => "structured",
                ContentMode::Binary => "binary",
            },
        }}),
        Sink::Nats {
            server,
            subject,
            jet_stream,
        } => json!({"nats": {"server": server, "subject": subject, "jetStream": jet_stream}}),
    }
}

fn set(object: &mut Value, field: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(field.to_owned(), value);
    }
}

fn period(duration: Duration) -> Value {
    Period(duration).to_string().into()
}

fn share(share: Share) -> Value {
    number(share.basis_points().into(), 100)
}

fn percent(ppm: Ppm) -> Value {
    number(ppm.0, 10_000)
}

fn fraction(ppm: Ppm) -> Value {
    number(ppm.0, 1_000_000)
}

/// `parts / of`, whole where it is whole.
fn number(parts: u32, of: u32) -> Value {
    if parts.is_multiple_of(of) {
        (parts / of).into()
    } else {
        (f64::from(parts) / f64::from(of)).into()
    }
}

/// A value in YAML's flow style, on one line: `[{weight: 5, hold: 10m}, {weight: 100}]`.
pub(super) fn flow(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(flow).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) => format!("{{{}}}", flow_fields(fields)),
        Value::String(text) if is_plain(text) => text.clone(),
        other => other.to_string(),
    }
}

fn flow_fields(fields: &Map<String, Value>) -> String {
    // Steps read as people write them: the weight before the hold.
    let (first, rest): (Vec<_>, Vec<_>) = fields
        .iter()
        .partition(|(name, _)| matches!(name.as_str(), "weight" | "name"));
    let fields: Vec<String> = first
        .into_iter()
        .chain(rest)
        .map(|(name, value)| format!("{name}: {}", flow(value)))
        .collect();
    fields.join(", ")
}

/// True where YAML reads the text back as the same text without quotes.
fn is_plain(text: &str) -> bool {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./%".contains(c);
    let looks_typed = text.parse::<f64>().is_ok()
        || ["true", "false", "null", "yes", "no", "on", "off", "~", "-"]
            .contains(&text.to_ascii_lowercase().as_str());
    !text.is_empty() && text.chars().all(harmless) && !looks_typed && !text.starts_with(['%', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CircuitBreaker, SameSite};
    use crate::{
        model::{Drain, Health, Latency, Rollback, SuccessRate},
        resource::{PolicySpec, effective},
    };

    #[test]
    fn the_norms_written_and_read_are_the_norms() {
        let norms = Policy::default();
        let spec: PolicySpec = serde_json::from_value(written(&norms)).unwrap();
        assert_eq!(effective([&spec], None), norms);
    }

    #[test]
    fn blue_green_with_a_cookie_survives_writing_and_reading() {
        let policy = Policy {
            steps: vec![Step {
                weight: Share::ALL,
                hold: Duration::ZERO,
                manual: false,
            }],
            affinity: Affinity::Cookie {
                name: Some("cart".to_owned()),
                ttl: Duration::from_secs(90),
                path: "/shop".to_owned(),
                same_site: SameSite::Strict,
                secure: true,
            },
            start: Start::Manual,
            ..Policy::default()
        };
        let spec: PolicySpec = serde_json::from_value(written(&policy)).unwrap();
        assert_eq!(effective([&spec], None), policy);
    }

    #[test]
    fn what_tells_users_apart_survives_writing_and_reading() {
        let cookie = CookieAttributes {
            name: None,
            ttl: seconds(90),
            path: "/shop".to_owned(),
            same_site: SameSite::Lax,
            secure: false,
        };
        for key in [
            ShiftKey::Header("x-user".to_owned()),
            ShiftKey::SourceIp,
            ShiftKey::Cookie(cookie),
        ] {
            let policy = Policy {
                affinity: Affinity::Shift(key),
                balancing: Balancing {
                    algorithm: Algorithm::Maglev,
                    ..Balancing::default()
                },
                ..Policy::default()
            };
            let spec: PolicySpec = serde_json::from_value(written(&policy)).unwrap();
            assert_eq!(effective([&spec], None), policy);
        }
    }

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn every_source() -> Vec<ExtraMetric> {
        let prometheus = |min: Option<&str>, max: Option<&str>| MetricSource::Prometheus {
            address: "http://prometheus.ops:9090".to_owned(),
            query: r#"rate(x{ns="{{namespace}}"}[1m])"#.to_owned(),
            min: min.map(str::to_owned),
            max: max.map(str::to_owned),
        };
        let webhook = MetricSource::Webhook {
            url: "https://smoke.ops/check".to_owned(),
            timeout: seconds(9),
        };
        [
            ("rate", prometheus(Some("-0.5"), Some("1e3"))),
            ("least", prometheus(Some("1"), None)),
            ("smoke", webhook),
        ]
        .map(|(name, source)| ExtraMetric {
            name: name.to_owned(),
            interval: seconds(7),
            failure_threshold: 2,
            source,
        })
        .into()
    }

    fn every_sink() -> Vec<Sink> {
        let over_http = |mode| Sink::CloudEvents {
            sink: "https://events.ops.svc/in?token=a".to_owned(),
            mode,
        };
        let nats = |jet_stream| Sink::Nats {
            server: "nats://me:word@nats.ops:4222".to_owned(),
            subject: "segue.upgrades".to_owned(),
            jet_stream,
        };
        vec![
            over_http(ContentMode::Structured),
            over_http(ContentMode::Binary),
            nats(false),
            nats(true),
        ]
    }

    fn other_analysis() -> Analysis {
        Analysis {
            interval: seconds(3),
            warm_up: seconds(4),
            min_requests: 77,
            max_wait: seconds(600),
            on_low_traffic: OnLowTraffic::RollBack,
            confidence: Ppm(999_000),
            success_rate: SuccessRate {
                min: Ppm(991_500),
                max_drop: Ppm(2_500),
            },
            latency: Latency {
                quantile: Ppm(995_000),
                max_increase: Ppm(125_000),
            },
            metrics: every_source(),
        }
    }

    const fn other_balancing() -> Balancing {
        Balancing {
            algorithm: Algorithm::RoundRobin,
            zones: Zones::Prefer,
            slow_start: seconds(30),
            circuit_breaker: CircuitBreaker {
                max_requests: Some(100),
                max_retries: Some(0),
            },
        }
    }

    fn other_steps() -> Vec<Step> {
        let step = |basis_points, hold, manual| Step {
            weight: Share::from_basis_points(basis_points).unwrap(),
            hold: seconds(hold),
            manual,
        };
        vec![
            step(150, 90, false),
            step(3_000, 30, true),
            step(10_000, 5, false),
        ]
    }

    #[test]
    fn a_policy_with_every_field_set_survives_writing_and_reading() {
        let policy = Policy {
            steps: other_steps(),
            capacity: Capacity::Full,
            affinity: Affinity::Cookie {
                name: Some("cart".to_owned()),
                ttl: seconds(7_200),
                path: "/shop".to_owned(),
                same_site: SameSite::None,
                secure: true,
            },
            drain: Drain {
                timeout: seconds(11),
                session_timeout: seconds(12),
            },
            health: Health {
                interval: seconds(2),
                failure_threshold: 4,
            },
            analysis: other_analysis(),
            rollback: Rollback {
                window: seconds(3_601),
            },
            start: Start::Manual,
            progress_deadline: seconds(61),
            notify: every_sink(),
            limits: Limits::default(),
            balancing: other_balancing(),
        };
        let spec: PolicySpec = serde_json::from_value(written(&policy)).unwrap();
        assert_eq!(effective([&spec], None), policy);
    }

    #[test]
    fn values_stand_on_one_line_as_people_write_them() {
        let steps = written(&Policy::default())["strategy"]["steps"].clone();
        assert_eq!(
            flow(&steps),
            "[{weight: 5, hold: 10m}, {weight: 25, hold: 5m}, {weight: 50, hold: 5m}, {weight: 100}]"
        );
        assert_eq!(
            flow(&json!([{"cloudEvents": {"sink": "http://events.ops.svc/"}}])),
            "[{cloudEvents: {sink: \"http://events.ops.svc/\"}}]"
        );
        for (text, shown) in [
            ("20%", "20%"),
            ("true", "\"true\""),
            ("0.5", "\"0.5\""),
            ("", "\"\""),
        ] {
            assert_eq!(flow(&json!(text)), shown);
        }
    }
}
