//! Runs from beginning to end.

use super::support::{Mesh, checkout};
use crate::model::{Generation, InstanceState, Phase, UpgradeKey, UpgradeSpec};

const V1: [(&str, &str); 2] = [("a-0", "v1"), ("a-1", "v1")];
const BOTH: [(&str, &str); 4] = [("a-0", "v1"), ("a-1", "v1"), ("b-0", "v2"), ("b-1", "v2")];

#[test]
fn an_upgrade_begins_by_itself_and_succeeds_when_the_old_instances_have_gone() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    assert_eq!(mesh.shares(), [("v1".to_owned(), 10_000)]);
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    assert_eq!(
        mesh.run().unwrap().spec.key,
        UpgradeKey::new("shop", "checkout-v2-1")
    );
    assert_eq!(
        mesh.shares(),
        [("v2".to_owned(), 2_500), ("v1".to_owned(), 7_500)]
    );
    mesh.until_phase(Phase::RollbackWindow);
    mesh.until_phase(Phase::Draining);
    mesh.until("an old instance drains", |mesh| {
        mesh.view()
            .instances
            .iter()
            .any(|instance| instance.state == InstanceState::Draining)
    });
    mesh.finish();
    assert_eq!(mesh.phase(), Some(Phase::Succeeded));
    assert_eq!(mesh.shares(), [("v2".to_owned(), 10_000)]);
    let weights: Vec<u16> = mesh
        .status()
        .unwrap()
        .history
        .iter()
        .map(|line| line.weight.basis_points())
        .collect();
    assert!(weights.is_sorted(), "{weights:?}");
}

#[test]
fn no_step_is_taken_while_a_proxy_lags() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    mesh.proxies.clear();
    let generation = mesh.status().unwrap().generation;
    for _ in 0..300 {
        mesh.tick();
    }
    let status = mesh.status().unwrap();
    assert_eq!(
        (status.phase, status.generation),
        (Phase::WarmUp, generation)
    );
    assert_eq!(status.applied.lagging.len(), 1);
    mesh.proxies.push("shop/web".to_owned());
    // A world for a reason of its own, which the proxy ACKs.
    mesh.failing.insert("a-0".to_owned());
    mesh.until_phase(Phase::RollbackWindow);
}

#[test]
fn a_failing_new_instance_takes_everything_back_and_is_not_tried_again_until_asked() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    let token = |mesh: &Mesh| mesh.view().versions[0].token.clone();
    let before = token(&mesh);
    assert!(before.is_some());
    mesh.failing.insert("b-0".to_owned());
    mesh.until_phase(Phase::RollingBack);
    assert_eq!(mesh.shares()[0], ("v2".to_owned(), 0));
    assert_eq!(token(&mesh), None);
    mesh.until_phase(Phase::RolledBack);
    mesh.failing.clear();
    for _ in 0..50 {
        mesh.tick();
    }
    assert_eq!(mesh.phase(), Some(Phase::RolledBack));
    assert!(mesh.view().versions[0].fuse.is_none());
    assert_eq!(mesh.shares()[1], ("v1".to_owned(), 10_000));

    mesh.command(crate::model::Command::Retry).unwrap();
    mesh.until_phase(Phase::WarmUp);
    let after = token(&mesh);
    assert!(after.is_some());
    assert_ne!(
        after, before,
        "tokens of what was rolled back never hold again"
    );
    mesh.finish();
    assert_eq!(mesh.phase(), Some(Phase::Succeeded));
    assert_eq!(token(&mesh), after, "the token outlives the upgrade");
}

#[test]
fn a_version_that_was_rolled_back_is_upgraded_to_again_once_it_left_and_came_back() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    mesh.failing.insert("b-0".to_owned());
    mesh.until_phase(Phase::RolledBack);
    mesh.failing.clear();
    mesh.set(&V1);
    mesh.tick();
    assert_eq!(mesh.shares(), [("v1".to_owned(), 10_000)]);
    mesh.set(&BOTH);
    mesh.tick();
    assert_eq!(
        mesh.run().unwrap().spec.key,
        UpgradeKey::new("shop", "checkout-v2-2")
    );
    mesh.finish();
    assert_eq!(mesh.phase(), Some(Phase::Succeeded));
}

#[test]
fn a_third_version_waits_at_weight_0_and_is_upgraded_to_next() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    let mut three = BOTH.to_vec();
    three.extend([("c-0", "v3"), ("c-1", "v3")]);
    mesh.set(&three);
    mesh.tick();
    assert_eq!(mesh.shares()[2], ("v3".to_owned(), 0));
    assert!(mesh.status().unwrap().conditions["Superseded"].status);
    mesh.until("v3 is upgraded to", |mesh| {
        mesh.run().unwrap().spec.to == "v3".into()
            || mesh.status().unwrap().phase == Phase::Draining
    });
    mesh.finish();
    mesh.until("v3 is upgraded to", |mesh| {
        mesh.run().unwrap().spec.to == "v3".into()
    });
    mesh.finish();
    assert_eq!(mesh.phase(), Some(Phase::Succeeded));
    assert_eq!(mesh.shares(), [("v3".to_owned(), 10_000)]);
}

#[test]
fn a_run_that_ends_as_the_next_one_begins_is_shown_as_ended() {
    let mut mesh = Mesh::new(&[("a-0", "v1")]);
    mesh.set(&[("a-0", "v1"), ("b-0", "v2"), ("c-0", "v3")]);
    mesh.until_phase(Phase::WarmUp);
    let first = mesh.run().unwrap().spec.key.clone();
    let now = mesh.now;
    mesh.engine().board(now);
    mesh.failing.insert("b-0".to_owned());
    mesh.until("v3 is upgraded to", |mesh| {
        mesh.run().unwrap().spec.to == "v3".into()
    });
    let now = mesh.now;
    let board = mesh.engine().board(now);
    let shown = board.upgrades.get(&first).unwrap();
    assert_eq!(shown.status.phase, Phase::RolledBack);
}

#[test]
fn an_upgrade_asked_for_by_name_takes_that_name_and_waits_for_its_instances() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    let spec = UpgradeSpec {
        key: UpgradeKey::new("shop", "to-v2"),
        service: checkout(),
        from: "v1".into(),
        to: "v2".into(),
        paused: false,
    };
    mesh.catalog.upgrades.insert(spec.key.clone(), spec.clone());
    mesh.tell();
    mesh.tick();
    assert_eq!(mesh.run().unwrap().spec, spec);
    assert_eq!(mesh.phase(), Some(Phase::Preparing));
    mesh.set(&BOTH);
    mesh.finish();
    assert_eq!(mesh.phase(), Some(Phase::Succeeded));
    for _ in 0..20 {
        mesh.tick();
    }
    assert_eq!(
        mesh.run().unwrap().spec,
        spec,
        "the manifest that stays starts nothing"
    );
}

#[test]
fn where_nothing_changes_nothing_is_published() {
    let mut mesh = Mesh::new(&V1);
    for _ in 0..20 {
        mesh.tick();
    }
    let generation = mesh.world.generation;
    assert!(generation > Generation(0));
    for _ in 0..200 {
        mesh.tick();
    }
    assert_eq!(mesh.world.generation, generation);
}

#[test]
fn services_that_did_not_change_are_shared_with_the_world_before() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    let mut other = (*mesh.catalog.services[&checkout()]).clone();
    other.key = crate::model::ServiceKey::new("shop", "cart");
    mesh.catalog
        .services
        .insert(other.key.clone(), std::sync::Arc::new(other));
    let before = std::sync::Arc::clone(&mesh.world.services[&checkout()]);
    mesh.tell();
    mesh.tick();
    assert_eq!(mesh.world.services.len(), 2);
    assert!(std::sync::Arc::ptr_eq(
        &before,
        &mesh.world.services[&checkout()]
    ));
}

#[test]
fn an_instance_that_still_comes_up_does_not_take_the_upgrade_back() {
    let mut mesh = Mesh::new(&V1);
    let policy = crate::model::Policy {
        capacity: crate::model::Capacity::Match,
        ..super::support::quick()
    };
    mesh.catalog
        .policies
        .insert(checkout(), std::sync::Arc::new(policy));
    mesh.tick();
    mesh.failing.insert("b-1".to_owned());
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    for _ in 0..100 {
        mesh.tick();
    }
    assert_eq!(mesh.phase(), Some(Phase::WarmUp), "it waits for b-1");
    mesh.failing.clear();
    mesh.until_phase(Phase::RollbackWindow);
    mesh.failing.insert("b-1".to_owned());
    mesh.until_phase(Phase::RollingBack);
}

#[test]
fn both_versions_replaced_by_a_third_in_mid_run_lose_no_traffic() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    mesh.set(&[("c-0", "v3")]);
    mesh.tick();
    assert_eq!(mesh.phase(), Some(Phase::RolledBack));
    assert_eq!(mesh.shares(), [("v3".to_owned(), 10_000)]);
}

#[test]
fn a_service_that_is_away_for_a_moment_ends_no_run() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::Draining);
    let services = std::mem::take(&mut mesh.catalog.services);
    mesh.tell();
    mesh.tick();
    assert_eq!(mesh.phase(), Some(Phase::Draining));
    mesh.catalog.services = services;
    mesh.tell();
    mesh.finish();
    assert_eq!(mesh.phase(), Some(Phase::Succeeded));
}

#[test]
fn an_unrelated_edit_of_the_manifests_does_not_undo_a_pause_by_hand() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    let mut spec = UpgradeSpec {
        key: UpgradeKey::new("shop", "to-v2"),
        service: checkout(),
        from: "v1".into(),
        to: "v2".into(),
        paused: false,
    };
    mesh.catalog.upgrades.insert(spec.key.clone(), spec.clone());
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    mesh.command(crate::model::Command::Pause).unwrap();
    mesh.tell();
    mesh.tick();
    assert!(mesh.status().unwrap().paused);
    mesh.kill();
    mesh.start();
    mesh.tick();
    assert!(mesh.status().unwrap().paused, "nor does a restart");
    for paused in [true, false] {
        spec.paused = paused;
        mesh.catalog.upgrades.insert(spec.key.clone(), spec.clone());
        mesh.tell();
        mesh.tick();
        assert_eq!(mesh.status().unwrap().paused, paused, "a change counts");
    }
}

#[test]
fn instances_that_nobody_checks_go_on_serving_but_no_upgrade_goes_to_them() {
    let mut mesh = Mesh::new(&V1);
    let states = |mesh: &Mesh| -> Vec<InstanceState> {
        let instances = mesh.view().instances.iter();
        instances.map(|instance| instance.state).collect()
    };
    let wait = |mesh: &mut Mesh| {
        for _ in 0..3 {
            mesh.now = mesh.now.after(std::time::Duration::from_secs(8));
            mesh.turn();
        }
    };
    mesh.turn();
    assert_eq!(states(&mesh), [InstanceState::NotReady; 2]);
    wait(&mut mesh);
    assert_eq!(states(&mesh), [InstanceState::Ready; 2]);
    mesh.kill();
    mesh.start();
    assert_eq!(states(&mesh), [InstanceState::Ready; 2]);
    mesh.set(&BOTH);
    wait(&mut mesh);
    assert_eq!(mesh.phase(), Some(Phase::Preparing));
    let (old, new) = (InstanceState::Ready, InstanceState::NotReady);
    assert_eq!(states(&mesh), [old, old, new, new]);
    let message = &mesh.status().unwrap().message;
    assert!(
        message.contains("no sidecar has reported a check of shop/b-0"),
        "{message}"
    );
    mesh.failing.insert("a-0".to_owned());
    mesh.tick();
    assert_eq!(states(&mesh)[0], InstanceState::NotReady, "a check counts");
}
