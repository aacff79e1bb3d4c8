//! Folders that are read, and what they mean.

use super::{MESH, POLICY, SERVICE, UPGRADE, WORKLOAD, checkout, good, percent, policy_of};
use crate::{
    model::{
        Affinity, Analysis, AppProtocol, Catalog, Check, ContentMode, ExtraMetric, Key, Latency,
        MetricSource, OnLowTraffic, Policy, Ppm, SameSite, Share, Sink, Start, SuccessRate,
    },
    source::manifest::read,
};
use std::{path::Path, time::Duration};

#[test]
fn the_samples_are_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/samples/standalone");
    let catalog = read(&dir).unwrap_or_else(|wrong| panic!("{wrong:#?}"));
    assert_eq!(catalog.warnings, Vec::<String>::new());
    let service = &catalog.services[&checkout()];
    assert_eq!(service.ports[0].protocol, AppProtocol::Http);
    assert_eq!(catalog.workloads.len(), 3);
    let workload = &catalog.workloads[&Key::new("shop", "checkout-v1-0")];
    assert_eq!(workload.port_of(&service.ports[0]), 9001);
    let probe = workload.readiness.clone().unwrap();
    assert_eq!(
        probe.check,
        Check::HttpGet {
            path: "/ready".to_owned(),
            port: 9001
        }
    );
    let policy = &catalog.policies[&checkout()];
    let weights: Vec<Share> = policy.steps.iter().map(|s| s.weight).collect();
    assert_eq!(
        weights,
        [percent(5), percent(25), percent(50), percent(100)]
    );
    assert_eq!(policy.rollback.window, Duration::from_secs(600));
    assert_eq!(
        policy.affinity,
        Affinity::Cookie {
            name: None,
            ttl: Duration::from_secs(3600),
            path: "/".to_owned(),
            same_site: SameSite::Lax,
            secure: false,
        }
    );
}

#[test]
fn the_samples_show_blue_green_a_step_by_hand_metrics_and_sinks() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/samples/standalone");
    let catalog = read(&dir).unwrap_or_else(|wrong| panic!("{wrong:#?}"));
    let blue_green = &catalog.policies[&Key::new("shop", "payments")];
    assert_eq!(blue_green.steps.len(), 1);
    assert_eq!(blue_green.steps[0].weight, Share::ALL);
    assert_eq!(blue_green.start, Start::Manual);
    assert_eq!(blue_green.notify.len(), 3);
    let by_hand = &catalog.policies[&Key::new("shop", "search")];
    assert!(by_hand.steps[1].manual);
    let names = by_hand.analysis.metrics.iter().map(|metric| &*metric.name);
    assert!(names.eq(["empty-results", "relevance"]));
}

#[test]
fn without_any_policy_the_norms_hold() {
    assert_eq!(policy_of(&[("a.yaml", SERVICE)]), Policy::default());
}

#[test]
fn the_nearest_policy_wins_field_by_field() {
    let mesh = format!(
        "{MESH}  defaults: {{start: Manual, drain: {{timeout: 9s, sessionTimeout: 8s}}}}\n"
    );
    let namespace = "\
apiVersion: segue.dev/v1alpha1
kind: UpgradePolicy
metadata: {name: all, namespace: shop}
spec: {drain: {timeout: 7s}, rollback: {window: 5m}}
";
    let own = format!("{POLICY}  rollback: {{window: 1m}}\n");
    let policy = policy_of(&[
        ("a.yaml", SERVICE),
        ("m.yaml", &mesh),
        ("n.yaml", namespace),
        ("o.yaml", &own),
    ]);
    assert_eq!(policy.start, Start::Manual);
    assert_eq!(policy.drain.session_timeout, Duration::from_secs(8));
    assert_eq!(policy.drain.timeout, Duration::from_secs(7));
    assert_eq!(policy.rollback.window, Duration::from_secs(60));
}

#[test]
fn steps_nearby_win_over_blue_green_far_away_and_the_other_way_round() {
    let mesh = format!("{MESH}  defaults: {{strategy: {{type: BlueGreen}}}}\n");
    let steps = format!("{POLICY}  strategy: {{steps: [{{weight: 20}}, {{weight: 100}}]}}\n");
    let policy = policy_of(&[("a.yaml", SERVICE), ("m.yaml", &mesh), ("o.yaml", &steps)]);
    assert_eq!(policy.steps.len(), 2);
    let mesh =
        format!("{MESH}  defaults: {{strategy: {{steps: [{{weight: 20}}, {{weight: 100}}]}}}}\n");
    let all = format!("{POLICY}  strategy: {{type: BlueGreen}}\n");
    let policy = policy_of(&[("a.yaml", SERVICE), ("m.yaml", &mesh), ("o.yaml", &all)]);
    assert_eq!(policy.steps.len(), 1);
}

#[test]
fn limits_bring_the_norms_within() {
    let mesh = format!(
        "{MESH}  limits: {{maxFirstWeight: 1, minRollbackWindow: 2h, maxFailureThreshold: 2}}\n"
    );
    let policy = policy_of(&[("a.yaml", SERVICE), ("m.yaml", &mesh)]);
    assert_eq!(policy.steps[0].weight, percent(1));
    assert_eq!(policy.steps[1].weight, percent(5));
    assert_eq!(policy.rollback.window, Duration::from_secs(7200));
    assert_eq!(policy.health.failure_threshold, 2);
}

#[test]
fn limits_of_the_first_weight_leave_blue_green_alone() {
    let mesh = format!("{MESH}  limits: {{maxFirstWeight: 1}}\n");
    let own = format!("{POLICY}  strategy: {{type: BlueGreen}}\n");
    let policy = policy_of(&[("a.yaml", SERVICE), ("m.yaml", &mesh), ("o.yaml", &own)]);
    assert_eq!(policy.steps[0].weight, Share::ALL);
}

#[test]
fn of_several_mesh_wide_policies_the_lowest_name_wins_and_the_others_say_so() {
    let later = MESH.replace("mesh", "zebra") + "  defaults: {start: Manual}\n";
    let mesh = format!("{MESH}  defaults: {{drain: {{timeout: 1s}}}}\n");
    let catalog = good(&[("a.yaml", SERVICE), ("l.yaml", &later), ("m.yaml", &mesh)]);
    assert_eq!(catalog.policies[&checkout()].start, Start::Auto);
    assert_eq!(
        catalog.warnings,
        ["ClusterUpgradePolicy zebra has no effect in shop: mesh has the lower name"]
    );
}

#[test]
fn a_mesh_wide_policy_may_select_namespaces() {
    let mesh = format!(
        "{MESH}  selector: {{matchLabels: {{kubernetes.io/metadata.name: other}}}}\n  defaults: {{start: Manual}}\n"
    );
    let catalog = good(&[("a.yaml", SERVICE), ("m.yaml", &mesh)]);
    assert_eq!(catalog.policies[&checkout()].start, Start::Auto);
    assert_eq!(catalog.warnings.len(), 1);
}

#[test]
fn an_upgrade_is_matched_by_its_services_name() {
    let upgrade = format!(
        "{UPGRADE}  targetRef: {{kind: Service, name: checkout}}\n  from: v1\n  to: v2\nstatus: {{phase: Shifting}}\n"
    );
    let catalog = good(&[("a.yaml", SERVICE), ("u.yaml", &upgrade)]);
    let upgrade = &catalog.upgrades[&Key::new("shop", "checkout-v2")];
    assert_eq!(upgrade.service, checkout());
    assert_eq!((&*upgrade.from.0, &*upgrade.to.0), ("v1", "v2"));
    assert!(!upgrade.paused);
}

#[test]
fn what_matches_nothing_is_reported() {
    let policy = format!("{POLICY}  start: Manual\n").replace("name: checkout}\n", "name: cart}\n");
    let upgrade =
        format!("{UPGRADE}  targetRef: {{kind: Service, name: cart}}\n  from: v1\n  to: v2\n");
    let workload = format!("{WORKLOAD}  version: v1\n  address: 10.0.0.1\n")
        .replace("app: checkout", "app: cart");
    let catalog = good(&[
        ("a.yaml", SERVICE),
        ("p.yaml", &policy),
        ("u.yaml", &upgrade),
        ("w.yaml", &workload),
        (
            "x.yaml",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n",
        ),
    ]);
    assert!(catalog.upgrades.is_empty());
    assert_eq!(
        catalog.warnings,
        [
            "x.yaml:1: apps/v1 Deployment is not for Segue standalone and was left out",
            "UpgradePolicy shop/checkout matches no Service",
            "Workload shop/checkout-v1-0 is selected by no Service",
            "Upgrade shop/checkout-v2 has no effect: there is no Service shop/cart",
        ]
    );
}

#[test]
fn analysis_is_read_and_merged_field_by_field() {
    let mesh = format!(
        "{MESH}  defaults:
    analysis:
      confidence: 0.95
      successRate: {{min: 99.995, maxDrop: 0.25}}
      latency: {{quantile: 0.95}}
"
    );
    let own = format!(
        "{POLICY}  analysis:
    interval: 1s
    warmUp: 5s
    minRequests: 50
    maxWait: 10m
    onLowTraffic: RollBack
    successRate: {{maxDrop: 0}}
    latency: {{maxIncrease: 150%}}
    metrics:
      - name: errors
        prometheus: {{address: 'http://prometheus:9090', query: 'sum(rate(x{{v=\"{{{{to}}}}\"}}[1m]))', max: 0.01}}
      - {{name: smoke, interval: 1m, failureThreshold: 1, webhook: {{url: 'https://smoke/', timeout: 5s}}}}
"
    );
    let files = [("a.yaml", SERVICE), ("m.yaml", &mesh), ("o.yaml", &own)];
    let policy = policy_of(&files);
    assert_eq!(good(&files).warnings, Vec::<String>::new());
    assert_eq!(
        policy.analysis,
        Analysis {
            interval: Duration::from_secs(1),
            warm_up: Duration::from_secs(5),
            min_requests: 50,
            max_wait: Duration::from_secs(600),
            on_low_traffic: OnLowTraffic::RollBack,
            confidence: Ppm(950_000),
            success_rate: SuccessRate {
                min: Ppm(999_950),
                max_drop: Ppm(0),
            },
            latency: Latency {
                quantile: Ppm(950_000),
                max_increase: Ppm(1_500_000),
            },
            metrics: extra_metrics(),
        }
    );
}

fn extra_metrics() -> Vec<ExtraMetric> {
    let metric = |name: &str, interval, failure_threshold, source| ExtraMetric {
        name: name.to_owned(),
        interval: Duration::from_secs(interval),
        failure_threshold,
        source,
    };
    let prometheus = MetricSource::Prometheus {
        address: "http://prometheus:9090".to_owned(),
        query: "sum(rate(x{v=\"{{to}}\"}[1m]))".to_owned(),
        min: None,
        max: Some("0.01".to_owned()),
    };
    let webhook = MetricSource::Webhook {
        url: "https://smoke/".to_owned(),
        timeout: Duration::from_secs(5),
    };
    vec![
        metric("errors", 30, 3, prometheus),
        metric("smoke", 60, 1, webhook),
    ]
}

#[test]
fn sinks_are_read_and_the_nearest_list_is_all_of_it() {
    let mesh = format!(
        "{MESH}  defaults: {{notify: [{{cloudEvents: {{sink: 'http://events.ops.svc/'}}}}]}}\n"
    );
    let own = format!(
        "{POLICY}  notify:
    - nats: {{server: 'nats://me:word@nats:4222', subject: segue.upgrades, jetStream: true}}
    - cloudEvents: {{sink: 'https://bus/in', mode: binary}}
"
    );
    let files = [("a.yaml", SERVICE), ("m.yaml", &mesh), ("o.yaml", &own)];
    let policy = policy_of(&files);
    let nats = Sink::Nats {
        server: "nats://me:word@nats:4222".to_owned(),
        subject: "segue.upgrades".to_owned(),
        jet_stream: true,
    };
    let http = |sink: &str, mode| Sink::CloudEvents {
        sink: sink.to_owned(),
        mode,
    };
    assert_eq!(
        policy.notify,
        [nats, http("https://bus/in", ContentMode::Binary)]
    );
    let meshs = policy_of(&files[..2]).notify;
    assert_eq!(
        meshs,
        [http("http://events.ops.svc/", ContentMode::Structured)]
    );
}

#[test]
fn json_is_read_as_yaml_is() {
    let json = r#"{
  "apiVersion": "v1", "kind": "Service",
  "metadata": {"name": "checkout", "namespace": "shop"},
  "spec": {"clusterIP": "10.0.0.9", "ports": [{"port": 50051, "appProtocol": "grpc"}]}
}"#;
    let catalog = good(&[("a.json", json)]);
    let service = &catalog.services[&checkout()];
    assert_eq!(service.cluster_ip, Some("10.0.0.9".parse().unwrap()));
    assert_eq!(service.ports[0].target_port, 50051);
    assert_eq!(service.ports[0].protocol, AppProtocol::Http2);
}

#[test]
fn an_empty_folder_is_an_empty_catalog() {
    assert_eq!(
        good(&[("README.md", "nothing"), (".x.yaml.swp", "{")]),
        Catalog::default()
    );
}
