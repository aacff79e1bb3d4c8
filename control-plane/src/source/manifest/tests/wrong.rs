//! Folders that are refused, and what is said of them.

use super::{MESH, POLICY, SERVICE, UPGRADE, WORKLOAD, bad};
use crate::source::manifest::read;
use std::fs;

#[test]
fn every_document_of_a_file_has_its_own_lines() {
    let file = format!(
        "# The first.\n---\n{SERVICE}--- # The second.\n\n{POLICY}  strategy:\n    steps:\n      - weight: 120\n"
    );
    assert_eq!(
        bad(&[("checkout.yaml", &file)]),
        ["checkout.yaml:19: spec.strategy.steps[0].weight: 120 is not between 0 and 100"]
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let first = SERVICE
        .replace("name: checkout", "name: Check_out")
        .replace("8080", "web");
    let second = format!(
        "{WORKLOAD}  version: a|b\n  address: nowhere\n  probes: {{readiness: {{periodSeconds: 1}}}}\n"
    );
    let wrong = bad(&[("a.yaml", &first), ("b.yaml", &second)]);
    assert_eq!(wrong.len(), 5, "{wrong:#?}");
    assert!(
        wrong[0].starts_with("a.yaml:3: metadata.name: \"Check_out\" is not a name"),
        "{}",
        wrong[0]
    );
    assert!(
        wrong[1].starts_with("a.yaml:7: spec.ports[0].targetPort: \"web\" is a name"),
        "{}",
        wrong[1]
    );
    assert!(
        wrong[2].starts_with("b.yaml:5: spec.version: \"a|b\" is not a version id"),
        "{}",
        wrong[2]
    );
    assert!(
        wrong[3].starts_with("b.yaml:6: spec.address: \"nowhere\""),
        "{}",
        wrong[3]
    );
    assert!(
        wrong[4].starts_with("b.yaml:7: spec.probes.readiness: it needs exactly one"),
        "{}",
        wrong[4]
    );
}

/// Each with what is said of it.
const WRONG: &[(&str, &str, &str)] = &[
    (
        POLICY,
        "  strategie: {}\n",
        "a.yaml:6: spec.strategie: unknown field `strategie`, expected one of",
    ),
    (
        POLICY,
        "  strategy: {steps: [{weight: 50}, {weight: 25}, {weight: 100}]}\n",
        "a.yaml:6: spec.strategy.steps[1].weight: 25 is less than the step before (50)",
    ),
    (
        POLICY,
        "  strategy: {steps: [{weight: 50}]}\n",
        "spec.strategy.steps[0].weight: 50 is the last step; the last one is 100",
    ),
    (
        POLICY,
        "  strategy: {steps: []}\n",
        "spec.strategy.steps: there is no step",
    ),
    (
        POLICY,
        "  strategy: {type: BlueGreen, steps: [{weight: 100}]}\n",
        "spec.strategy.steps: BlueGreen has one step",
    ),
    (
        POLICY,
        "  strategy: {type: Rolling}\n",
        "spec.strategy.type: unknown variant `Rolling`",
    ),
    (
        POLICY,
        "  analysis: {interval: 1ms}\n",
        "a.yaml:6: spec.analysis.interval: 1ms is less than 250ms",
    ),
    (
        POLICY,
        "  health: {interval: 249ms}\n",
        "a.yaml:6: spec.health.interval: 249ms is less than 250ms",
    ),
    (
        POLICY,
        "  drain: {timeout: 60}\n",
        "a.yaml:6: spec.drain.timeout: 60 lacks a unit: write 60s",
    ),
    (
        POLICY,
        "  drain: {timeout: soon}\n",
        "spec.drain.timeout: \"soon\" is not a duration",
    ),
    (
        POLICY,
        "  sessionAffinity: {type: Token}\n",
        "spec.sessionAffinity.type: Token is not available yet; choose None, Cookie, Header or",
    ),
    (
        POLICY,
        "  sessionAffinity: {type: Header}\n",
        "spec.sessionAffinity.header: is missing: type Header needs the name beside it",
    ),
    (
        POLICY,
        "  sessionAffinity: {type: Header, header: {name: 'x user'}}\n",
        "spec.sessionAffinity.header.name: \"x user\" is not a header name",
    ),
    (
        POLICY,
        "  sessionAffinity: {type: SourceIP, onStep: Pin}\n",
        "spec.sessionAffinity.onStep: SourceIP can't hold a session on its version; choose Shift",
    ),
    (
        POLICY,
        "  sessionAffinity: {type: None, onStep: Shift}\n",
        "spec.sessionAffinity.onStep: Shift needs to tell users apart",
    ),
    (
        POLICY,
        "  balancing: {algorithm: Maglev}\n",
        "spec.balancing.algorithm: needs a key to hash: a sessionAffinity with onStep: Shift",
    ),
    (
        POLICY,
        "  sessionAffinity: {type: SourceIP}\n  balancing: {algorithm: RingHash, slowStart: 9s}\n",
        "spec.balancing.slowStart: where a hash decides",
    ),
    (
        POLICY,
        "  balancing: {circuitBreaker: {maxRequests: 0}}\n",
        "spec.balancing.circuitBreaker.maxRequests: 0 lets nothing through",
    ),
    (
        POLICY,
        "  sessionAffinity: {type: Cookie, scope: Endpoint}\n",
        "spec.sessionAffinity.scope: Endpoint is not available yet",
    ),
    (
        POLICY,
        "  sessionAffinity: {cookie: {sameSite: None}}\n",
        "spec.sessionAffinity.cookie.sameSite: None needs secure: true",
    ),
    (
        POLICY,
        "  sessionAffinity: {cookie: {name: 'a b'}}\n",
        "spec.sessionAffinity.cookie.name: \"a b\" is not a cookie name",
    ),
    (
        POLICY,
        "  sessionAffinity: {cookie: {path: '/;x'}}\n",
        "spec.sessionAffinity.cookie.path: \"/;x\" is not a path",
    ),
    (
        POLICY,
        "  sessionAffinity: {cookie: {secure: maybe}}\n",
        "spec.sessionAffinity.cookie.secure: \"maybe\" is not true, false or Auto",
    ),
    (
        POLICY,
        "  analysis: {confidence: 1.5}\n",
        "spec.analysis.confidence: 1.5 is not between 0.5 and 0.9999",
    ),
    (
        POLICY,
        "  analysis: {confidence: 99}\n",
        "a.yaml:6: spec.analysis.confidence: 99 is not between 0.5 and 0.9999",
    ),
    (
        POLICY,
        "  analysis: {successRate: {min: 101}}\n",
        "spec.analysis.successRate.min: 101 is not between 0 and 100",
    ),
    (
        POLICY,
        "  analysis: {successRate: {maxDrop: a lot}}\n",
        "spec.analysis.successRate.maxDrop: \"a lot\" is not a number of 0 or above",
    ),
    (
        POLICY,
        "  analysis: {latency: {quantile: 99}}\n",
        "spec.analysis.latency.quantile: 99 is not between 0.01 and 0.9999",
    ),
    (
        POLICY,
        "  analysis: {maxWait: 0s}\n",
        "spec.analysis.maxWait: 0s is not above 0",
    ),
    (
        POLICY,
        "  analysis: {onLowTraffic: Panic}\n",
        "spec.analysis.onLowTraffic: unknown variant `Panic`",
    ),
    (
        POLICY,
        "  analysis: {metrics: [{name: errors}]}\n",
        "spec.analysis.metrics[0]: there must be one of prometheus and webhook",
    ),
    (
        POLICY,
        "  analysis: {metrics: [{name: errors, webhook: {url: http://x}}, {name: errors, webhook: {url: http://y}}]}\n",
        "spec.analysis.metrics[1].name: \"errors\" is the name of another one",
    ),
    (
        POLICY,
        "  analysis: {metrics: [{name: errors, prometheus: {address: http://p, query: 'up{v=\"{{version}}\"}', max: 1}}]}\n",
        "spec.analysis.metrics[0].prometheus.query: \"{{version}}\" is filled in by nothing",
    ),
    (
        POLICY,
        "  analysis: {metrics: [{name: errors, prometheus: {address: http://p, query: up}}]}\n",
        "spec.analysis.metrics[0].prometheus: there must be min, max or both",
    ),
    (
        POLICY,
        "  analysis: {metrics: [{name: errors, prometheus: {address: http://p, query: up, min: 2, max: 1}}]}\n",
        "spec.analysis.metrics[0].prometheus.min: 2 is more than max (1)",
    ),
    (
        POLICY,
        "  analysis: {metrics: [{name: errors, interval: 10ms, webhook: {url: http://x}}]}\n",
        "spec.analysis.metrics[0].interval: 10ms is less than 1s",
    ),
    (
        POLICY,
        "  analysis: {metrics: [{name: errors, webhook: {url: 'http://me:pass@x/'}}]}\n",
        "spec.analysis.metrics[0].webhook.url: there are credentials before \"x\"",
    ),
    (
        POLICY,
        "  health: {failureThreshold: 0}\n",
        "spec.health.failureThreshold: 0 is not at least 1",
    ),
    (
        POLICY,
        "  health: {failureThreshold: many}\n",
        "spec.health.failureThreshold: invalid type: string \"many\", expected u32",
    ),
    (
        POLICY,
        "  notify: [{cloudEvents: {sink: ftp://x}}]\n",
        "spec.notify[0].cloudEvents.sink: \"ftp://x\" does not begin with http:// or https://",
    ),
    (
        POLICY,
        "  notify: [{}]\n",
        "a.yaml:6: spec.notify[0]: there must be one of cloudEvents and nats",
    ),
    (
        POLICY,
        "  notify: [{cloudEvents: {sink: http://x, mode: batched}}]\n",
        "spec.notify[0].cloudEvents.mode: unknown variant `batched`, expected `structured` or `binary`",
    ),
    (
        POLICY,
        "  notify: [{nats: {server: http://n, subject: a}}]\n",
        "spec.notify[0].nats.server: \"http://n\" does not begin with nats:// or tls://",
    ),
    (
        POLICY,
        "  notify: [{nats: {server: 'nats://n:4222', subject: 'a.>'}}]\n",
        "spec.notify[0].nats.subject: \"a.>\" is not a subject to publish to",
    ),
    (
        UPGRADE,
        "  targetRef: {kind: Service, name: checkout}\n  from: v1\n  to: v1\n",
        "a.yaml:7: spec.to: v1 is where it comes from",
    ),
    (
        UPGRADE,
        "  targetRef: {kind: Gateway, name: checkout}\n  from: v1\n  to: v2\n",
        "spec.targetRef.kind: \"Gateway\" is none of",
    ),
    (
        UPGRADE,
        "  from: v1\n  to: v2\n",
        "a.yaml:4: spec: missing field `targetRef`",
    ),
    (
        WORKLOAD,
        "  version: 1\n  address: 10.0.0.1\n",
        "a.yaml:5: spec.version: invalid type: integer `1`, expected a string",
    ),
    (
        WORKLOAD,
        "  version: v1\n  address: 0.0.0.0\n",
        "spec.address: \"0.0.0.0\" is not the IP address",
    ),
    (
        WORKLOAD,
        "  version: v1\n  address: 10.0.0.1\n  ports: {http: 70000}\n",
        "a.yaml:7: spec.ports.http: invalid value: integer `70000`, expected u16",
    ),
    (
        WORKLOAD,
        "  version: v1\n  address: 10.0.0.1\n  probes: {readiness: {httpGet: {port: 1, path: x}}}\n",
        "spec.probes.readiness.httpGet.path: \"x\" is not a path",
    ),
    ("kind: Service\n", "", "a.yaml:1: apiVersion: it is missing"),
    (
        "apiVersion: segue.dev/v1\nkind: Workload\n",
        "",
        "a.yaml:1: apiVersion: \"segue.dev/v1\" is not known; write segue.dev/v1alpha1",
    ),
    (
        "apiVersion: segue.dev/v1alpha1\nkind: Worklod\n",
        "",
        "a.yaml:2: kind: \"Worklod\" is none of Workload",
    ),
    ("a: [1, 2\n", "b: 3\n", "a.yaml:"),
    ("", "", "a.yaml: it is empty"),
];

#[test]
fn what_is_wrong_is_said_with_file_line_and_field() {
    for (head, tail, expected) in WRONG {
        let wrong = bad(&[("a.yaml", &format!("{head}{tail}"))]);
        assert_eq!(wrong.len(), 1, "{tail}: {wrong:#?}");
        assert!(
            wrong[0].contains(expected),
            "{}\n  is not\n{expected}",
            wrong[0]
        );
    }
}

#[test]
fn services_are_checked_port_by_port() {
    let several =
        SERVICE.to_owned() + "    - {name: http, port: 80}\n    - {port: 53, protocol: UDP}\n";
    let wrong = bad(&[("a.yaml", &several)]);
    assert_eq!(
        wrong,
        [
            "a.yaml:8: spec.ports[1].port: 80 stands there twice",
            "a.yaml:8: spec.ports[1].name: \"http\" stands there twice",
            "a.yaml:9: spec.ports[2].protocol: UDP is not carried; only TCP is",
            "a.yaml:9: spec.ports[2].name: a Service of several ports needs a name for each",
        ]
    );
}

#[test]
fn duplicates_are_named_with_the_place_of_the_first() {
    assert_eq!(
        bad(&[
            ("a.yaml", SERVICE),
            ("b.yaml", &format!("# again\n{SERVICE}"))
        ]),
        [
            "b.yaml:4: metadata.name: a second Service shop/checkout; the first one stands in a.yaml:1"
        ]
    );
}

#[test]
fn a_missing_folder_is_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = read(&dir.path().join("nothing")).unwrap_err();
    assert_eq!(wrong.len(), 1);
    assert!(
        wrong[0]
            .to_string()
            .ends_with("nothing: there is no such folder of manifests")
    );
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(
        read(&file).unwrap_err()[0]
            .to_string()
            .ends_with("this is not a folder of manifests")
    );
}

#[test]
fn limits_refuse_a_policy_that_crosses_them() {
    let mesh = format!("{MESH}  limits: {{maxFirstWeight: 5, minRollbackWindow: 30m}}\n");
    let own = format!(
        "{POLICY}  strategy:\n    steps:\n      - {{weight: 10}}\n      - {{weight: 100}}\n  rollback: {{window: 1m}}\n"
    );
    assert_eq!(
        bad(&[("a.yaml", SERVICE), ("m.yaml", &mesh), ("o.yaml", &own)]),
        [
            "o.yaml:8: spec.strategy.steps[0].weight: 10 is more than maxFirstWeight of ClusterUpgradePolicy mesh (5)",
            "o.yaml:10: spec.rollback.window: 1m is less than minRollbackWindow of ClusterUpgradePolicy mesh (30m)",
        ]
    );
}
