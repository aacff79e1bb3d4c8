//! Which evidence counts, for whom, and that it outlives a restart.

use super::support::{Mesh, checkout, quick, workload};
use crate::model::{
    Affinity, EndpointSample, ErrorClasses, Evidence, ExtraMetric, Key, MetricOutcome,
    MetricSample, MetricSource, Observed, Phase, Policy, Ppm, ServiceKey, Share, Step, SuccessRate,
    VersionId,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const V1: [(&str, &str); 2] = [("a-0", "v1"), ("a-1", "v1")];
const BOTH: [(&str, &str); 4] = [("a-0", "v1"), ("a-1", "v1"), ("b-0", "v2"), ("b-1", "v2")];

const OLD: &str = "outbound|80|v1|checkout.shop.svc.cluster.local";
pub(super) const CONTROL: &str = "outbound|80|v1.control|checkout.shop.svc.cluster.local";
pub(super) const NEW: &str = "outbound|80|v2|checkout.shop.svc.cluster.local";
const INBOUND: &str = "inbound|8080||";

/// Steps of a minute, no line in the decision log but of decisions, and limits so wide that no
/// evidence of these tests proves anything: that is the business of `analysis`.
pub(super) fn patient(affinity: bool) -> Policy {
    let mut policy = quick();
    policy.steps = [25, 50, 100]
        .map(|percent| Step {
            weight: Share::from_percent(percent).unwrap(),
            hold: Duration::from_secs(60),
            manual: false,
        })
        .to_vec();
    policy.analysis.interval = Duration::from_secs(3_600);
    policy.analysis.min_requests = u64::MAX;
    policy.analysis.success_rate = SuccessRate {
        min: Ppm(0),
        max_drop: Ppm::ONE,
    };
    policy.analysis.latency.max_increase = Ppm(10_000_000);
    policy.rollback.window = Duration::from_secs(60);
    if !affinity {
        policy.affinity = Affinity::None;
    }
    policy
}

/// `requests` on 10.0.0.`host`, `errors` of them failed.
pub(super) fn served(cluster: &str, host: u8, requests: u64, errors: u64) -> EndpointSample {
    EndpointSample {
        cluster: cluster.to_owned(),
        address: Some(format!("10.0.0.{host}:8080").parse().unwrap()),
        succeeded: requests - errors,
        errors,
        error_classes: ErrorClasses {
            response: errors,
            ..ErrorClasses::default()
        },
        latency: BTreeMap::from([(1_024, requests)]),
        ..EndpointSample::default()
    }
}

/// The first step of an upgrade is applied, and this proxy has reported before.
pub(super) fn on_trial(policy: Policy, proxy: &str) -> Mesh {
    let mut mesh = Mesh::first_step(&V1, &BOTH, policy);
    mesh.report(proxy, vec![]);
    mesh.ticks(3);
    mesh
}

/// What is taken in of a report: (requests, errors) of the new and the old version.
pub(super) fn taken(
    mesh: &mut Mesh,
    proxy: &str,
    endpoints: Vec<EndpointSample>,
) -> [(u64, u64); 2] {
    let before = evidence(mesh);
    mesh.report(proxy, endpoints);
    mesh.ticks(3);
    let after = evidence(mesh);
    let of = |e: &Evidence| {
        [
            (e.new.requests, e.new.errors),
            (e.old.requests, e.old.errors),
        ]
    };
    let (before, after) = (of(&before), of(&after));
    [0, 1].map(|i: usize| (after[i].0 - before[i].0, after[i].1 - before[i].1))
}

fn evidence(mesh: &Mesh) -> Evidence {
    mesh.run().unwrap().unlogged.clone()
}

#[test]
fn with_affinity_the_old_group_is_the_control_cluster_as_clients_see_it() {
    let mut mesh = on_trial(patient(true), "shop/web");
    let endpoints = vec![
        served(NEW, 3, 10, 2),
        served(CONTROL, 1, 30, 1),
        served(OLD, 2, 500, 100),
    ];
    assert_eq!(taken(&mut mesh, "shop/web", endpoints), [(10, 2), (30, 1)]);
    // What the instances say of the same requests is not counted once more.
    let own = vec![served(INBOUND, 3, 10, 2)];
    assert_eq!(taken(&mut mesh, "shop/b-0", own), [(0, 0), (0, 0)]);
    let seen = evidence(&mesh);
    assert_eq!(seen.new.classes.response, 2);
    assert_eq!(seen.old.latency, BTreeMap::from([(1_024, 30)]));
}

#[test]
fn a_request_counts_for_the_version_whose_endpoint_served_it() {
    let mut mesh = on_trial(patient(true), "shop/web");
    let failed_over = vec![served(CONTROL, 3, 7, 2), served(NEW, 1, 9, 0)];
    assert_eq!(taken(&mut mesh, "shop/web", failed_over), [(7, 2), (0, 0)]);
    let mut mesh = on_trial(patient(false), "shop/web");
    mesh.silent
        .extend(["a-0", "a-1", "b-0", "b-1"].map(str::to_owned));
    mesh.kill();
    mesh.start();
    mesh.ticks(2);
    mesh.report("shop/web", vec![]);
    mesh.ticks(3);
    let failed_over = vec![served(OLD, 3, 7, 2), served(NEW, 1, 9, 0)];
    assert_eq!(taken(&mut mesh, "shop/web", failed_over), [(7, 2), (9, 0)]);
}

#[test]
fn without_affinity_instances_that_report_themselves_are_believed_else_the_clients() {
    let mut mesh = on_trial(patient(false), "shop/web");
    let clients = || vec![served(NEW, 3, 10, 0), served(OLD, 1, 30, 0)];
    assert_eq!(taken(&mut mesh, "shop/web", clients()), [(0, 0), (0, 0)]);
    mesh.report("shop/a-0", vec![served(INBOUND, 1, 40, 4)]);
    let new = vec![served(INBOUND, 3, 20, 1)];
    assert_eq!(taken(&mut mesh, "shop/b-0", new), [(20, 1), (40, 4)]);

    // One version's alone would compare two places.
    mesh.silent.extend(["a-0", "a-1"].map(str::to_owned));
    mesh.kill();
    mesh.start();
    mesh.ticks(2);
    mesh.report("shop/web", vec![]);
    mesh.ticks(3);
    mesh.report("shop/b-0", vec![served(INBOUND, 3, 20, 1)]);
    assert_eq!(taken(&mut mesh, "shop/web", clients()), [(10, 0), (30, 0)]);
}

#[test]
fn with_affinity_and_no_client_that_reports_the_instances_are_compared() {
    let mut mesh = on_trial(patient(true), "shop/web");
    mesh.report("shop/a-0", vec![served(INBOUND, 1, 40, 4)]);
    let new = vec![served(INBOUND, 3, 20, 1)];
    assert_eq!(taken(&mut mesh, "shop/b-0", new), [(20, 1), (40, 4)]);
}

#[test]
fn what_an_instance_answers_on_another_port_is_not_the_services() {
    let mut mesh = on_trial(patient(true), "shop/web");
    let other = vec![served("inbound|9090||", 3, 20, 2)];
    assert_eq!(taken(&mut mesh, "shop/b-0", other), [(0, 0), (0, 0)]);
}

#[test]
fn a_third_version_that_arrives_midway_is_no_ones_evidence() {
    let mut mesh = on_trial(patient(true), "shop/web");
    let mut three = BOTH.to_vec();
    three.push(("c-0", "v3"));
    mesh.set(&three);
    mesh.ticks(3);
    let third = NEW.replace("v2", "v3");
    let endpoints = vec![
        served(NEW, 3, 10, 2),
        served(&third, 5, 50, 4),
        served(NEW, 5, 50, 4),
        served(CONTROL, 1, 30, 1),
    ];
    assert_eq!(taken(&mut mesh, "shop/web", endpoints), [(10, 2), (30, 1)]);
    assert_eq!(mesh.phase(), Some(Phase::WarmUp));
}

#[test]
fn a_report_that_began_before_the_step_was_applied_does_not_count() {
    let mut mesh = Mesh::first_step(&V1, &BOTH, patient(true));
    // The first report of a proxy: it is not known when it began.
    let some = || vec![served(NEW, 3, 10, 2)];
    assert_eq!(taken(&mut mesh, "shop/web", some()), [(0, 0), (0, 0)]);
    assert_eq!(taken(&mut mesh, "shop/web", some()), [(10, 2), (0, 0)]);
    mesh.command(crate::model::Command::Promote { full: false })
        .unwrap();
    mesh.until("the second step is applied", |mesh| {
        let status = mesh.status().unwrap();
        status.weight.basis_points() == 5_000 && status.applied_at.is_some()
    });
    assert_eq!(taken(&mut mesh, "shop/web", some()), [(0, 0), (0, 0)]);
    assert_eq!(taken(&mut mesh, "shop/web", some()), [(10, 2), (0, 0)]);
}

#[test]
fn instances_count_after_their_warm_up_on_both_sides() {
    let mut policy = patient(true);
    policy.analysis.warm_up = Duration::from_secs(10);
    let mut mesh = on_trial(policy, "shop/web");
    let both = || vec![served(NEW, 3, 10, 2), served(CONTROL, 1, 30, 1)];
    assert_eq!(taken(&mut mesh, "shop/web", both()), [(0, 0), (0, 0)]);
    mesh.ticks(100);
    mesh.report("shop/web", vec![]);
    mesh.tick();
    assert_eq!(taken(&mut mesh, "shop/web", both()), [(10, 2), (30, 1)]);
    let mut grown = BOTH.to_vec();
    grown.push(("b-2", "v2"));
    mesh.set(&grown);
    mesh.ticks(3);
    let cold = vec![served(NEW, 5, 99, 4), served(NEW, 4, 1, 0)];
    assert_eq!(taken(&mut mesh, "shop/web", cold), [(1, 0), (0, 0)]);
}

#[test]
fn an_instance_that_has_ceased_to_be_ready_counts_on() {
    let mut mesh = on_trial(patient(true), "shop/web");
    mesh.failing.insert("a-1".to_owned());
    mesh.ticks(5);
    let failing = vec![served(CONTROL, 2, 8, 8)];
    assert_eq!(taken(&mut mesh, "shop/web", failing), [(0, 0), (8, 8)]);
}

#[test]
fn a_judgement_is_given_from_the_moment_a_step_is_applied_and_not_before() {
    let mut mesh = Mesh::new(&V1);
    mesh.catalog
        .policies
        .insert(checkout(), Arc::new(patient(true)));
    mesh.tell();
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    mesh.until("applied", |mesh| {
        mesh.status().unwrap().applied_at.is_some()
    });
    let run = mesh.run().unwrap();
    assert!(run.is_on_trial() && run.trial.is_some());
    let key = run.spec.key.clone();
    let log = mesh.engine().decisions().read(&key).unwrap();
    for line in log.map(Result::unwrap) {
        let judged = line.inputs.get("judgement").is_some();
        assert!(
            !judged,
            "{}: the barrier was not met before",
            line.decision.rule
        );
    }
    assert!(mesh.engine().judged.contains_key(&key));
}

#[test]
fn all_evidence_stands_in_the_decision_log_once() {
    let mut policy = patient(true);
    policy.analysis.interval = Duration::from_secs(1);
    let mut mesh = on_trial(policy, "shop/web");
    for _ in 0..20 {
        mesh.report(
            "shop/web",
            vec![served(NEW, 3, 10, 2), served(CONTROL, 1, 30, 1)],
        );
        mesh.ticks(3);
    }
    let key = mesh.run().unwrap().spec.key.clone();
    let mut sum = evidence(&mesh);
    let (mut looks, mut rules) = (0, Vec::new());
    for line in mesh.engine().decisions().read(&key).unwrap() {
        let line = line.unwrap();
        if let Some(evidence) = line.inputs.get("evidence") {
            let evidence: Evidence = serde_json::from_value(evidence.clone()).unwrap();
            sum.add(&evidence);
        }
        looks +=
            usize::from(line.decision.rule == "Looked" && line.inputs.get("judgement").is_some());
        rules.push(line.decision.rule);
    }
    assert_eq!((sum.new.requests, sum.new.errors), (200, 40));
    assert_eq!((sum.old.requests, sum.old.errors), (600, 20));
    assert!((5..=8).contains(&looks), "one a second: {rules:?}");
}

#[test]
fn evidence_outlives_a_restart_in_every_phase_that_is_analysed() {
    for phase in [Phase::WarmUp, Phase::Shifting, Phase::RollbackWindow] {
        let mut policy = patient(true);
        policy.analysis.interval = Duration::from_secs(1);
        let mut mesh = on_trial(policy, "shop/web");
        while mesh.phase() != Some(phase) {
            mesh.command(crate::model::Command::Promote { full: false })
                .unwrap();
            mesh.ticks(3);
        }
        mesh.until("applied", |mesh| mesh.run().unwrap().is_on_trial());
        mesh.report("shop/web", vec![]);
        mesh.ticks(3);
        mesh.report("shop/web", vec![served(NEW, 3, 10, 0)]);
        // Longer than an interval: it is on disk by then.
        mesh.ticks(15);
        let before = mesh.run().unwrap().clone();
        mesh.kill();
        mesh.start();
        let after = mesh.run().unwrap().clone();
        let requests = |run: &crate::engine::run::Run| {
            let trial = run.trial.as_ref().unwrap();
            trial
                .judge(&patient(true).analysis, Duration::ZERO)
                .requests
        };
        assert_eq!((requests(&before), requests(&after)), (10, 10), "{phase}");
        assert_eq!(after.trial_weight, before.trial_weight, "{phase}");
        assert_eq!(after.status.applied_at, before.status.applied_at, "{phase}");
        assert_eq!(taken(&mut mesh, "shop/web", vec![]), [(0, 0), (0, 0)]);
        assert_eq!(requests(mesh.run().unwrap()), 10, "{phase}");
    }
}

#[test]
fn evidence_alone_is_no_change_of_the_upgrade_and_is_not_written_with_every_report() {
    let mut mesh = on_trial(patient(true), "shop/web");
    let path = mesh.state.path().join("upgrades/shop/checkout-v2-1.json");
    let (version, file) = (
        mesh.run().unwrap().resource_version,
        std::fs::read(&path).unwrap(),
    );
    for _ in 0..10 {
        mesh.report("shop/web", vec![served(NEW, 3, 10, 0)]);
        mesh.ticks(3);
    }
    assert_eq!(evidence(&mesh).new.requests, 100);
    assert_eq!(mesh.run().unwrap().resource_version, version);
    assert_eq!(std::fs::read(&path).unwrap(), file);
}

#[test]
fn a_retry_begins_without_what_was_held_against_the_version() {
    let mut mesh = on_trial(patient(true), "shop/web");
    taken(&mut mesh, "shop/web", vec![served(NEW, 3, 10, 2)]);
    mesh.command(crate::model::Command::Rollback {
        reason: String::new(),
    })
    .unwrap();
    mesh.until_phase(Phase::RolledBack);
    assert!(mesh.run().unwrap().trial.is_some());
    mesh.command(crate::model::Command::Retry).unwrap();
    mesh.ticks(2);
    mesh.until("the first step is applied", |mesh| {
        mesh.run().unwrap().is_on_trial()
    });
    let trial = serde_json::to_value(mesh.run().unwrap().trial.as_ref().unwrap()).unwrap();
    assert_eq!(trial["drop"]["alarm"]["steps"], 1);
    assert_eq!(trial["step"]["new"]["requests"], 0);
}

#[test]
fn an_extra_metrics_answer_reaches_the_trial_of_its_upgrade() {
    let mut policy = patient(true);
    policy.analysis.metrics = vec![ExtraMetric {
        name: "orders".to_owned(),
        interval: Duration::from_secs(1),
        failure_threshold: 3,
        source: MetricSource::Prometheus {
            address: "http://127.0.0.1:9090".to_owned(),
            query: "orders".to_owned(),
            min: None,
            max: Some("2".to_owned()),
        },
    }];
    let mut mesh = on_trial(policy, "shop/web");
    let before = mesh.run().unwrap().trial.clone();
    let answer = |mesh: &Mesh, name: &str| MetricSample {
        upgrade: Key::new("shop", name),
        name: "orders".to_owned(),
        at: mesh.now,
        outcome: MetricOutcome::Bad("3 > 2".to_owned()),
    };
    let now = mesh.now;
    let other = answer(&mesh, "cart-v2-1");
    mesh.engine().observed(Observed::Metric(other), now);
    assert_eq!(mesh.run().unwrap().trial, before);
    let own = answer(&mesh, "checkout-v2-1");
    mesh.engine().observed(Observed::Metric(own), now);
    assert_ne!(mesh.run().unwrap().trial, before);
}

#[test]
fn people_see_how_the_traffic_splits_since_the_weight_was_applied() {
    let mut mesh = on_trial(patient(true), "shop/web");
    let session = |cluster: &str, host, sessions| EndpointSample {
        new_sessions: sessions,
        ..served(cluster, host, 10, 0)
    };
    mesh.report("shop/web", vec![session(NEW, 3, 1), session(CONTROL, 1, 3)]);
    mesh.ticks(3);
    let (key, now) = (mesh.run().unwrap().spec.key.clone(), mesh.now);
    let view = mesh.engine().view(&key, now).unwrap();
    assert_eq!(view.measured, Share::from_percent(25));
    assert_eq!((view.new.new_sessions, view.old.new_sessions), (1, 3));
    assert!(view.new.last_session.is_some() && view.old.last_session.is_some());
    // Of the bucket up to 1,024 us.
    let latency = view.new.latency_us.unwrap();
    assert!((725..=1_024).contains(&latency), "{latency} us");
    mesh.command(crate::model::Command::Promote { full: false })
        .unwrap();
    mesh.until("applied", |mesh| mesh.run().unwrap().is_on_trial());
    let now = mesh.now;
    let view = mesh.engine().view(&key, now).unwrap();
    assert_eq!(view.measured, None);
    assert_eq!((view.new.new_sessions, view.old.new_sessions), (1, 3));
}

#[test]
fn two_services_upgraded_at_once_are_judged_each_by_its_own_requests() {
    let mut mesh = Mesh::new(&V1);
    let cart = ServiceKey::new("shop", "cart");
    let both = |mesh: &mut Mesh, versions: &[(&str, &str)]| {
        mesh.set(versions);
        let mut service = (*mesh.catalog.services[&checkout()]).clone();
        service.key = cart.clone();
        service.selector = BTreeMap::from([("app".to_owned(), "cart".to_owned())]);
        mesh.catalog
            .services
            .insert(cart.clone(), Arc::new(service));
        for (host, (_, version)) in (101..).zip(versions) {
            let mut instance = workload(&format!("cart-{host}"), version, host);
            instance.labels = BTreeMap::from([("app".to_owned(), "cart".to_owned())]);
            mesh.catalog
                .workloads
                .insert(instance.key.clone(), Arc::new(instance));
        }
        mesh.tell();
    };
    for service in [checkout(), cart.clone()] {
        mesh.catalog
            .policies
            .insert(service, Arc::new(patient(true)));
    }
    both(&mut mesh, &V1);
    mesh.ticks(2);
    both(&mut mesh, &BOTH);
    let run_of = |mesh: &Mesh, service: &ServiceKey| {
        let engine = mesh.engine.as_ref().unwrap();
        engine
            .current
            .get(service)
            .map(|key| engine.runs[key].clone())
    };
    mesh.until("both are on trial", |mesh| {
        [checkout(), cart.clone()]
            .iter()
            .all(|service| run_of(mesh, service).is_some_and(|run| run.is_on_trial()))
    });
    mesh.report("shop/web", vec![]);
    mesh.ticks(3);
    let cart_new = NEW.replace("checkout", "cart");
    let endpoints = vec![served(NEW, 3, 10, 2), served(&cart_new, 103, 50, 4)];
    assert_eq!(taken(&mut mesh, "shop/web", endpoints), [(10, 2), (0, 0)]);
    let other = run_of(&mesh, &cart).unwrap();
    assert_eq!(
        (other.unlogged.new.requests, other.unlogged.new.errors),
        (50, 4)
    );
    mesh.command(crate::model::Command::Rollback {
        reason: String::new(),
    })
    .unwrap();
    mesh.until_phase(Phase::RolledBack);
    let other = run_of(&mesh, &cart).unwrap();
    assert_eq!(other.status.phase, Phase::WarmUp, "it goes on by itself");
    let weights = &mesh.world.services[&cart].versions;
    assert_eq!(weights[0].id, VersionId::from("v2"));
    assert_eq!(weights[0].weight.basis_points(), 2_500);
}
