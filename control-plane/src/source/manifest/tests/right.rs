//! Folders that are read, and what they mean.

use super::{MESH, POLICY, SERVICE, UPGRADE, WORKLOAD, checkout, good, percent, policy_of};
use crate::{
    model::{Affinity, AppProtocol, Catalog, Check, Key, Policy, SameSite, Share, Start},
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
fn what_has_no_effect_yet_is_reported() {
    let own = format!(
        "{POLICY}  analysis: {{warmUp: 5s, confidence: 0.99, latency: {{quantile: 0.99, maxIncrease: 20%}}}}\n"
    );
    let catalog = good(&[("a.yaml", SERVICE), ("o.yaml", &own)]);
    assert_eq!(
        catalog.policies[&checkout()].analysis.warm_up,
        Duration::from_secs(5)
    );
    assert_eq!(
        catalog.warnings,
        [
            "UpgradePolicy shop/checkout: spec.analysis.confidence has no effect yet",
            "UpgradePolicy shop/checkout: spec.analysis.latency has no effect yet",
        ]
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
