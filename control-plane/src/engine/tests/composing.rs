//! Services as proxies are told of them.

use super::support::Mesh;
use crate::model::{InstanceState, Phase};

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
    mesh.now = mesh.now.after(std::time::Duration::from_secs(900));
    mesh.tick();
    assert_eq!(epoch(&mesh), before + 1);
    assert_eq!(mesh.view().affinity.as_ref().unwrap().name.len(), 14);
}
