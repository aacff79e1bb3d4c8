//! Services as proxies are told of them.

use super::support::{Mesh, checkout, quick};
use crate::{
    engine::compose::released,
    model::{
        Affinity, Command, CookieAttributes, InstanceState, Phase, Policy, SameSite, Share,
        ShiftBy, ShiftKey,
    },
};
use std::{sync::Arc, time::Duration};

#[test]
fn where_no_version_is_known_to_be_stable_each_gets_the_share_of_its_instances() {
    let mut mesh = Mesh::new(&[("a-0", "v1"), ("a-1", "v1"), ("b-0", "v2")]);
    mesh.tick();
    assert_eq!(
        mesh.shares(),
        [("v1".to_owned(), 6_667), ("v2".to_owned(), 3_333)]
    );
    mesh.set(&[("a-0", "v1"), ("a-1", "v1")]);
    mesh.set(&[("a-0", "v1"), ("a-1", "v1")]);
    mesh.tick();
    assert_eq!(mesh.shares(), [("v1".to_owned(), 10_000)]);
}

#[test]
fn the_new_version_falls_back_to_the_old_and_the_old_to_the_new_only_after_the_warm_up() {
    let mut mesh = Mesh::new(&[("a-0", "v1")]);
    mesh.tick();
    mesh.set(&[("a-0", "v1"), ("b-0", "v2")]);
    mesh.until_phase(Phase::WarmUp);
    let fallbacks = |mesh: &Mesh| {
        let versions = &mesh.view().versions;
        (versions[0].fallback.clone(), versions[1].fallback.clone())
    };
    assert_eq!(fallbacks(&mesh), (Some("v1".into()), None));
    assert!(mesh.view().versions[0].fuse.is_some());
    mesh.until_phase(Phase::RollbackWindow);
    assert_eq!(fallbacks(&mesh), (Some("v1".into()), Some("v2".into())));
}

#[test]
fn the_old_version_has_a_control_group_while_a_run_lasts() {
    let mut mesh = Mesh::new(&[("a-0", "v1")]);
    mesh.tick();
    let control = |mesh: &Mesh| -> Vec<Option<String>> {
        let versions = mesh.view().versions.iter();
        versions
            .map(|version| version.control.as_deref().map(str::to_owned))
            .collect()
    };
    assert_eq!(control(&mesh), [None]);
    mesh.set(&[("a-0", "v1"), ("b-0", "v2")]);
    mesh.until_phase(Phase::Preparing);
    let preparing = control(&mesh);
    assert!(preparing[0].is_none() && preparing[1].is_some());
    mesh.until_phase(Phase::WarmUp);
    mesh.turn();
    let shifting = control(&mesh);
    assert!(shifting[0].is_none() && shifting[1].is_some());
    // Who was drawn before the first step is not of the group.
    assert_ne!(preparing, shifting);
    mesh.kill();
    mesh.start();
    assert_eq!(control(&mesh), shifting);
    mesh.until_phase(Phase::RollbackWindow);
    assert_eq!(control(&mesh), shifting);
    mesh.until_phase(Phase::Draining);
    assert_eq!(control(&mesh), shifting);
    mesh.finish();
    mesh.tick();
    assert!(control(&mesh).iter().all(Option::is_none));
}

#[test]
fn a_run_that_is_tried_again_has_another_control_group() {
    let mut mesh = Mesh::new(&[("a-0", "v1")]);
    mesh.tick();
    mesh.set(&[("a-0", "v1"), ("b-0", "v2")]);
    mesh.until_phase(Phase::WarmUp);
    let control = |mesh: &Mesh| mesh.view().versions[1].control.clone();
    let first = control(&mesh);
    mesh.command(Command::Rollback {
        reason: String::new(),
    })
    .unwrap();
    assert_eq!(mesh.phase(), Some(Phase::RollingBack));
    assert_eq!(control(&mesh), first);
    mesh.until_phase(Phase::RolledBack);
    assert_eq!(control(&mesh), None);
    mesh.command(Command::Retry).unwrap();
    mesh.until_phase(Phase::WarmUp);
    assert!(control(&mesh).is_some());
    assert_ne!(control(&mesh), first);
}

#[test]
fn without_sessions_there_is_no_control_group() {
    let mut mesh = Mesh::new(&[("a-0", "v1")]);
    let policy = Policy {
        affinity: Affinity::None,
        ..quick()
    };
    mesh.catalog.policies.insert(checkout(), Arc::new(policy));
    mesh.tell();
    mesh.tick();
    mesh.set(&[("a-0", "v1"), ("b-0", "v2")]);
    mesh.until_phase(Phase::WarmUp);
    assert!(mesh.view().versions.iter().all(|one| one.control.is_none()));
}

#[test]
fn where_a_hash_tells_the_version_nothing_holds_a_session_on_it() {
    let mut mesh = Mesh::new(&[("a-0", "v1")]);
    let cookie = CookieAttributes {
        name: None,
        ttl: Duration::from_secs(60),
        path: "/".to_owned(),
        same_site: SameSite::Lax,
        secure: false,
    };
    let policy = Policy {
        affinity: Affinity::Shift(ShiftKey::Cookie(cookie)),
        ..quick()
    };
    mesh.catalog.policies.insert(checkout(), Arc::new(policy));
    mesh.tell();
    mesh.tick();
    mesh.set(&[("a-0", "v1"), ("b-0", "v2")]);
    mesh.until_phase(Phase::WarmUp);
    let view = mesh.view();
    assert!(matches!(&view.shift, Some(ShiftBy::Cookie(cookie)) if !cookie.name.is_empty()));
    assert_eq!(view.affinity, None);
    let ids: Vec<&str> = view.versions.iter().map(|one| &*one.id.0).collect();
    assert_eq!(ids, ["v2", "v1"], "the one whose weight grows stands first");
    for version in &view.versions {
        assert_eq!((&version.token, &version.control), (&None, &None));
    }
}

#[test]
fn on_the_way_back_sessions_are_let_go_by_the_share_that_the_run_says() {
    let mut mesh = Mesh::new(&[("a-0", "v1")]);
    mesh.tick();
    mesh.set(&[("a-0", "v1"), ("b-0", "v2")]);
    mesh.until_phase(Phase::WarmUp);
    let mut run = mesh.run().unwrap().clone();
    let share = Share::from_percent(40).unwrap();
    run.status.traffic.new_sessions_released = share;
    assert_eq!(released(&run), Share::ZERO);
    run.status.phase = Phase::RollingBack;
    run.status.traffic.new_sessions_held = true;
    assert_eq!(released(&run), share);
    run.status.traffic.new_sessions_held = false;
    assert_eq!(released(&run), Share::ZERO);
}

#[test]
fn instances_are_ready_by_their_checks() {
    let mut mesh = Mesh::new(&[("a-0", "v1"), ("a-1", "v1")]);
    let states = |mesh: &Mesh| -> Vec<InstanceState> {
        mesh.view().instances.iter().map(|i| i.state).collect()
    };
    assert_eq!(states(&mesh), [InstanceState::NotReady; 2]);
    mesh.failing.insert("a-1".to_owned());
    mesh.tick();
    assert_eq!(
        states(&mesh),
        [InstanceState::Ready, InstanceState::NotReady]
    );
}

#[test]
fn the_session_cookie_is_renewed_by_quarters_of_its_lifetime() {
    let mut mesh = Mesh::new(&[("a-0", "v1")]);
    mesh.tick();
    let epoch = |mesh: &Mesh| mesh.view().affinity.as_ref().unwrap().epoch;
    let before = epoch(&mesh);
    mesh.now = mesh.now.after(Duration::from_secs(900));
    mesh.tick();
    assert_eq!(epoch(&mesh), before + 1);
    assert_eq!(mesh.view().affinity.as_ref().unwrap().name.len(), 14);
}
