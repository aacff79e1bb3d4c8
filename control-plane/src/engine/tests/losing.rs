//! Instances that crash, and instances whose machine is lost.

use super::{
    proving::served,
    support::{Mesh, proxy},
};
use crate::model::{
    EndpointSample, InstanceObservation, InstanceState, Observed, Phase, ProxyId, Timestamp,
    WorkloadKey,
};

const V1: [(&str, &str); 2] = [("a-0", "v1"), ("a-1", "v1")];
const OLD: &str = "outbound|80|v1|checkout.shop.svc.cluster.local";
const BOTH: [(&str, &str); 4] = [("a-0", "v1"), ("a-1", "v1"), ("b-0", "v2"), ("b-1", "v2")];

/// The last look in the decision log, and what it saw of an instance.
fn seen(mesh: &mut Mesh, name: &str) -> InstanceObservation {
    let run = mesh.run().unwrap().clone();
    let now = mesh.now;
    let observation = mesh.engine().eyes().observe(&run, now, None, now);
    let key = WorkloadKey::new("shop", name);
    let mut all = observation.new.into_iter().chain(observation.old);
    all.find(|instance| instance.workload == key).unwrap()
}

fn state(mesh: &Mesh, name: &str) -> InstanceState {
    let instances = &mesh.view().instances;
    let found = instances.iter().find(|i| *i.workload.key.name == *name);
    found.unwrap().state
}

/// The sidecar of an instance says something, or its stream breaks.
fn sidecar(mesh: &mut Mesh, name: &str, connected: bool) {
    let (id, now) = (format!("shop/{name}"), mesh.now);
    let acked = mesh.world.generation.0;
    let observed = if connected {
        let mut state = proxy(&id, acked);
        state.interest.clear();
        Observed::Proxy(state)
    } else {
        Observed::ProxyGone {
            proxy: ProxyId::from(id.as_str()),
            clean: false,
        }
    };
    mesh.engine().observed(observed, now);
}

#[test]
fn an_instance_is_lost_when_its_sidecar_is_gone_for_a_lease_and_nobody_checks_it() {
    let mut mesh = Mesh::new(&V1);
    mesh.ticks(2);
    sidecar(&mut mesh, "a-0", true);
    mesh.tick();
    sidecar(&mut mesh, "a-0", false);
    mesh.lost.insert("a-0".to_owned());
    mesh.ticks(140);
    assert_eq!(state(&mesh, "a-0"), InstanceState::Ready);
    mesh.ticks(15);
    assert_eq!(state(&mesh, "a-0"), InstanceState::NotReady);
    mesh.kill();
    mesh.start();
    assert_eq!(
        state(&mesh, "a-0"),
        InstanceState::NotReady,
        "a restart knows it"
    );
    sidecar(&mut mesh, "a-0", true);
    mesh.turn();
    assert_eq!(state(&mesh, "a-0"), InstanceState::Ready);
}

#[test]
fn where_all_instances_are_lost_they_stay_in_service() {
    let mut mesh = Mesh::new(&V1);
    mesh.ticks(2);
    for name in ["a-0", "a-1"] {
        sidecar(&mut mesh, name, true);
        sidecar(&mut mesh, name, false);
        mesh.lost.insert(name.to_owned());
    }
    mesh.ticks(160);
    assert_eq!(state(&mesh, "a-0"), InstanceState::Ready);
    assert_eq!(state(&mesh, "a-1"), InstanceState::Ready);
}

#[test]
fn one_that_is_checked_though_its_stream_broke_is_not_lost() {
    let mut mesh = Mesh::new(&V1);
    mesh.ticks(2);
    sidecar(&mut mesh, "a-0", true);
    sidecar(&mut mesh, "a-0", false);
    mesh.ticks(160);
    assert_eq!(state(&mesh, "a-0"), InstanceState::Ready);
}

#[test]
fn a_lost_instance_is_seen_as_lost_and_not_as_ready() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.tick();
    sidecar(&mut mesh, "b-0", true);
    mesh.until_phase(Phase::Draining);
    let before = seen(&mut mesh, "b-0");
    assert!(before.ready && !before.lost && before.ready_since.is_some());
    sidecar(&mut mesh, "b-0", false);
    mesh.lost.insert("b-0".to_owned());
    mesh.ticks(160);
    let after = seen(&mut mesh, "b-0");
    assert!(!after.ready && after.lost && after.ready_since.is_none());
    assert_eq!(after.restarts, 0);
}

#[test]
fn failures_count_from_the_beginning_of_the_run_and_over_a_restart() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    let fail_once = |mesh: &mut Mesh| {
        mesh.failing.insert("a-1".to_owned());
        mesh.ticks(4);
        mesh.failing.clear();
        mesh.ticks(2);
    };
    fail_once(&mut mesh);
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    assert_eq!(seen(&mut mesh, "a-1").restarts, 0);
    fail_once(&mut mesh);
    assert_eq!(seen(&mut mesh, "a-1").restarts, 1);
    mesh.kill();
    mesh.start();
    assert_eq!(seen(&mut mesh, "a-1").restarts, 1);
    fail_once(&mut mesh);
    assert_eq!(seen(&mut mesh, "a-1").restarts, 2);
}

/// What is known of the traffic of `a-0`.
fn usage(mesh: &mut Mesh) -> (u64, Option<Timestamp>, u32) {
    let instance = WorkloadKey::new("shop", "a-0");
    let now = mesh.now;
    let engine = mesh.engine();
    let expects_own = engine.proxies.contains(&instance);
    let usage = engine.loads.activity(&instance, expects_own, now);
    (usage.active, usage.last_report, usage.ejected_by)
}

/// A client that keeps `a-0` out and has something under way there.
fn keeps_out() -> EndpointSample {
    EndpointSample {
        ejected: true,
        requests_active: 1,
        ..served(OLD, 1, 10, 10)
    }
}

#[test]
fn a_report_that_comes_after_its_proxy_went_does_not_count_for_good() {
    let mut mesh = Mesh::new(&V1);
    mesh.ticks(2);
    mesh.report("shop/web", vec![keeps_out()]);
    let (proxy, now) = (ProxyId::from("shop/web"), mesh.now);
    let gone = Observed::ProxyGone {
        proxy,
        clean: false,
    };
    mesh.engine().observed(gone, now);
    mesh.report("shop/web", vec![keeps_out()]);
    mesh.ticks(140);
    assert_eq!((usage(&mut mesh).0, usage(&mut mesh).2), (1, 1));
    mesh.ticks(30);
    let now = mesh.now;
    assert_eq!(usage(&mut mesh), (0, Some(now), 0));
}

#[test]
fn a_proxy_that_still_reports_is_heard_though_its_stream_broke() {
    let mut mesh = Mesh::new(&V1);
    mesh.ticks(2);
    let (proxy, now) = (ProxyId::from("shop/web"), mesh.now);
    let gone = Observed::ProxyGone {
        proxy,
        clean: false,
    };
    mesh.engine().observed(gone, now);
    for _ in 0..100 {
        mesh.report("shop/web", vec![keeps_out()]);
        mesh.ticks(3);
    }
    let (active, _, ejected_by) = usage(&mut mesh);
    assert_eq!(active, 1, "what is under way is believed of anybody");
    assert_eq!(ejected_by, 0, "its lease has run out");
}

#[test]
fn an_instance_whose_own_proxy_is_cut_off_is_not_quiet_before_the_lease_is_over() {
    let mut mesh = Mesh::new(&V1);
    mesh.ticks(2);
    sidecar(&mut mesh, "a-0", true);
    mesh.tick();
    mesh.lost.insert("a-0".to_owned());
    sidecar(&mut mesh, "a-0", false);
    let said = mesh.now;
    mesh.ticks(145);
    assert_eq!(usage(&mut mesh).1, Some(said));
    mesh.ticks(15);
    assert_eq!(usage(&mut mesh).1, None, "nobody says anything of it");
}

#[test]
fn a_connected_proxy_that_falls_silent_is_still_waited_for() {
    let mut mesh = Mesh::new(&V1);
    mesh.ticks(2);
    mesh.report("shop/web", vec![keeps_out()]);
    let said = mesh.now;
    mesh.ticks(700);
    assert_eq!(usage(&mut mesh), (1, Some(said), 1));
}

#[test]
fn strangers_that_fall_silent_are_forgotten_and_only_so_many_are_heard() {
    let mut mesh = Mesh::new(&V1);
    mesh.ticks(2);
    let before = mesh.engine().loads.reporters();
    for n in 0..12_000 {
        let sample = served(OLD, 1, 10, 10);
        mesh.report(&format!("stranger-{n}"), vec![sample]);
    }
    assert_eq!(mesh.engine().loads.reporters(), 10_000);
    mesh.report("shop/web", vec![keeps_out()]);
    assert_eq!(usage(&mut mesh).2, 1, "who is connected is heard");
    mesh.ticks(170);
    assert_eq!(mesh.engine().loads.reporters(), before + 1);
    assert_eq!(mesh.engine().disbelieved.len(), 0);
}
