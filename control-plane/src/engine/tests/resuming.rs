//! The control plane is killed and comes back.

use super::support::Mesh;
use crate::{
    engine::{Journal, JournalError},
    model::{Command, EndpointSample, InstanceState, Phase, ProxyId, UpgradeStatus},
};
use std::{fs, sync::Arc};

const V1: [(&str, &str); 2] = [("a-0", "v1"), ("a-1", "v1")];
const BOTH: [(&str, &str); 4] = [("a-0", "v1"), ("a-1", "v1"), ("b-0", "v2"), ("b-1", "v2")];

#[test]
fn a_run_goes_on_from_every_phase() {
    for phase in [
        Phase::Preparing,
        Phase::WarmUp,
        Phase::RollbackWindow,
        Phase::Draining,
    ] {
        let mut mesh = Mesh::new(&V1);
        mesh.tick();
        mesh.set(&BOTH);
        mesh.until_phase(phase);
        mesh.turn();
        let (before, shares) = (mesh.run().unwrap().clone(), mesh.shares());
        let versions = mesh.view().versions.clone();
        mesh.kill();
        mesh.start();
        let after = mesh.run().unwrap();
        assert_eq!(after.spec, before.spec);
        assert_eq!(after.status.weight, before.status.weight, "{phase}");
        assert_eq!(mesh.shares(), shares, "{phase}");
        assert_eq!(
            mesh.view().versions,
            versions,
            "tokens and fuses too: {phase}"
        );
        mesh.finish();
        assert_eq!(mesh.phase(), Some(Phase::Succeeded), "{phase}");
    }
}

#[test]
fn a_run_killed_at_every_tick_still_succeeds() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    for _ in 0..2_000 {
        if mesh.phase() == Some(Phase::Succeeded) {
            break;
        }
        if let Some(status) = mesh.status() {
            let drained = status.drained.clone();
            mesh.catalog
                .workloads
                .retain(|key, _| !drained.contains(key));
        }
        mesh.kill();
        mesh.start();
        mesh.tick();
        mesh.tick();
    }
    assert_eq!(mesh.phase(), Some(Phase::Succeeded), "{:#?}", mesh.status());
    assert_eq!(mesh.shares(), [("v2".to_owned(), 10_000)]);
}

#[test]
fn a_rollback_goes_on_and_its_end_is_remembered() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    mesh.command(Command::Rollback {
        reason: "test".to_owned(),
    })
    .unwrap();
    assert_eq!(mesh.phase(), Some(Phase::RollingBack));
    mesh.kill();
    mesh.start();
    mesh.until_phase(Phase::RolledBack);
    mesh.kill();
    mesh.start();
    for _ in 0..20 {
        mesh.tick();
    }
    assert_eq!(mesh.phase(), Some(Phase::RolledBack));
    assert_eq!(mesh.shares()[1], ("v1".to_owned(), 10_000));
}

#[test]
fn after_a_restart_a_step_waits_for_the_proxies_that_were_there_before() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    mesh.tick();
    let weight = mesh.status().unwrap().weight;
    mesh.kill();
    mesh.proxies.clear();
    mesh.start();
    mesh.command(Command::Promote { full: true }).unwrap();
    mesh.tick();
    let status = mesh.status().unwrap();
    assert_eq!(status.applied.lagging[0].proxy, ProxyId::from("shop/web"));
    assert_eq!(status.weight, weight, "what it saw meanwhile is not known");
    let since = mesh.now;
    mesh.until_phase(Phase::RollbackWindow);
    let waited = mesh.now.since(since);
    assert!(waited.as_secs() >= 14, "its lease protects it: {waited:?}");
}

#[test]
fn after_a_restart_nothing_irrevocable_happens_before_the_proxies_have_reported() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::RollbackWindow);
    mesh.tick();
    mesh.kill();
    mesh.start();
    mesh.owes_reports = false;
    mesh.ticks(100);
    assert_eq!(mesh.phase(), Some(Phase::RollbackWindow));
    let message = &mesh.status().unwrap().message;
    assert!(
        message.contains("waits for the reports of 1 proxy"),
        "{message}"
    );
    mesh.report("shop/web", vec![blown_fuse()]);
    mesh.tick();
    assert_eq!(
        mesh.phase(),
        Some(Phase::RollingBack),
        "{:#?}",
        mesh.status()
    );
}

/// A client's fuse has ejected an instance of the new version.
fn blown_fuse() -> EndpointSample {
    EndpointSample {
        cluster: "outbound|80|v2|checkout.shop.svc.cluster.local".to_owned(),
        address: Some("10.0.0.3:8080".parse().unwrap()),
        ejected: true,
        ..EndpointSample::default()
    }
}

/// Where the process dies between writing and publishing.
fn killed_before_publishing(phase: Phase) -> Mesh {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    let is_decided = |status: &UpgradeStatus| {
        let draining = phase == Phase::Draining;
        status.phase == phase && status.traffic.draining.is_some() == draining
    };
    for _ in 0..2_000 {
        let (world, acked) = (Arc::clone(&mesh.world), mesh.last_acked);
        mesh.tick();
        if mesh.status().is_some_and(is_decided) {
            assert!(mesh.world.generation > world.generation);
            mesh.kill();
            (mesh.world, mesh.last_acked) = (world, acked);
            return mesh;
        }
    }
    panic!("never in {phase}");
}

#[test]
fn after_a_restart_what_was_not_published_waits_for_the_reports_too() {
    for phase in [Phase::WarmUp, Phase::Shifting, Phase::Draining] {
        let mut mesh = killed_before_publishing(phase);
        let versions = mesh.view().versions.clone();
        let states = |mesh: &Mesh| -> Vec<InstanceState> {
            let instances = mesh.view().instances.iter();
            instances.map(|instance| instance.state).collect()
        };
        let before = states(&mesh);
        mesh.start();
        mesh.owes_reports = false;
        mesh.ticks(20);
        assert_eq!(mesh.view().versions, versions, "{phase}");
        assert_eq!(states(&mesh), before, "{phase}");
        let message = &mesh.status().unwrap().message;
        assert!(
            message.contains("waits for the reports of 1 proxy"),
            "{phase}: {message}"
        );
        let mut well = mesh;
        well.report("shop/web", Vec::new());
        well.tick();
        assert_ne!(well.view().versions, versions, "{phase}: published now");
        well.finish();
        assert_eq!(well.phase(), Some(Phase::Succeeded));
    }
}

#[test]
fn after_a_restart_what_was_not_published_never_is_where_the_new_version_turned_bad() {
    let mut mesh = killed_before_publishing(Phase::Draining);
    mesh.start();
    mesh.owes_reports = false;
    mesh.tick();
    mesh.report("shop/web", vec![blown_fuse()]);
    mesh.tick();
    assert_eq!(mesh.phase(), Some(Phase::RollingBack));
    assert_eq!(
        mesh.shares(),
        [("v2".to_owned(), 0), ("v1".to_owned(), 10_000)],
        "published at once"
    );
}

#[test]
fn a_proxy_that_never_reports_is_waited_for_as_long_as_its_lease() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::RollbackWindow);
    mesh.kill();
    mesh.start();
    mesh.owes_reports = false;
    let since = mesh.now;
    mesh.until_phase(Phase::Draining);
    let waited = mesh.now.since(since).as_secs();
    assert!((14..=19).contains(&waited), "{waited}");
}

#[test]
fn generations_and_readiness_outlive_the_process() {
    let mut mesh = Mesh::new(&V1);
    mesh.until("ready", |mesh| {
        mesh.view()
            .instances
            .iter()
            .all(|instance| instance.state == InstanceState::Ready)
    });
    let (generation, view) = (mesh.world.generation, mesh.view().clone());
    mesh.kill();
    mesh.start();
    assert!(mesh.world.generation > generation);
    assert_eq!(*mesh.view(), view);
}

#[test]
fn a_second_control_plane_on_the_same_folder_is_refused() {
    let mesh = Mesh::new(&V1);
    let refused = Journal::open(mesh.state.path()).unwrap_err();
    assert!(matches!(refused, JournalError::Locked(_)), "{refused}");
}

#[test]
fn a_damaged_file_is_refused_with_its_name() {
    let mut mesh = Mesh::new(&V1);
    mesh.set(&BOTH);
    mesh.tick();
    mesh.kill();
    let path = mesh.state.path().join("upgrades/shop/checkout-v2-1.json");
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    let refused = Journal::open(mesh.state.path()).unwrap_err().to_string();
    assert!(refused.contains("checkout-v2-1.json"), "{refused}");
}

#[test]
fn what_a_cut_off_write_left_is_ignored() {
    let mut mesh = Mesh::new(&V1);
    mesh.set(&BOTH);
    mesh.tick();
    let run = mesh.run().unwrap().clone();
    mesh.kill();
    let path = mesh.state.path().join("upgrades/shop/checkout-v2-1.tmp");
    fs::write(&path, "{\"spec\"").unwrap();
    mesh.start();
    assert_eq!(mesh.run().unwrap().spec, run.spec);
    assert!(!path.exists());
}

#[test]
fn where_the_disk_refuses_nothing_is_published_and_it_goes_on_later() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    let upgrades = mesh.state.path().join("upgrades");
    fs::write(&upgrades, "in the way").unwrap();
    mesh.set(&BOTH);
    let generation = mesh.world.generation;
    for _ in 0..5 {
        mesh.tick();
    }
    assert_eq!(mesh.world.generation, generation);
    assert!(mesh.run().is_none());
    let now = mesh.now;
    assert!(mesh.engine().board(now).journal_error.is_some());
    fs::remove_file(&upgrades).unwrap();
    mesh.finish();
    mesh.until("it begins", |mesh| mesh.run().is_some());
    mesh.finish();
    assert_eq!(mesh.phase(), Some(Phase::Succeeded));
}
