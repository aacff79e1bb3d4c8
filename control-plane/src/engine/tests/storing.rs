//! The disk: files that are refused, a disk that refuses, requests that outlive the process.

use super::support::Mesh;
use crate::{
    engine::{Journal, Refusal, Request, Target},
    model::{Command, Phase, UpgradeKey},
};
use std::{fs, path::PathBuf};

const V1: [(&str, &str); 2] = [("a-0", "v1"), ("a-1", "v1")];
const BOTH: [(&str, &str); 4] = [("a-0", "v1"), ("a-1", "v1"), ("b-0", "v2"), ("b-1", "v2")];

fn upgrading() -> Mesh {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    mesh.ticks(3);
    mesh
}

#[test]
fn every_file_of_the_state_is_refused_with_its_name_where_a_byte_of_it_changed() {
    let mut mesh = upgrading();
    mesh.kill();
    let root = mesh.state.path().to_owned();
    let mut files: Vec<PathBuf> = ["services", "health", "proxies", "generation"]
        .map(|name| root.join(format!("{name}.json")))
        .to_vec();
    files.push(root.join("token-key"));
    files.push(root.join("upgrades/shop/checkout-v2-1.json"));
    for path in files {
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        for damaged in [&changed[..], &whole[..whole.len() - 1], &[], b"{}"] {
            fs::write(&path, damaged).unwrap();
            let refused = Journal::open(&root).unwrap_err().to_string();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(refused.contains(name), "{refused}");
        }
        fs::write(&path, &whole).unwrap();
    }
    drop(Journal::open(&root).unwrap());
}

/// The folder of the runs takes nothing more.
fn refuse_writes(mesh: &Mesh) -> impl FnOnce() + use<> {
    let folder = mesh.state.path().join("upgrades/shop");
    let aside = mesh.state.path().join("upgrades/aside");
    fs::rename(&folder, &aside).unwrap();
    fs::write(&folder, "in the way").unwrap();
    move || {
        fs::remove_file(&folder).unwrap();
        fs::rename(&aside, &folder).unwrap();
    }
}

#[test]
fn a_bad_version_goes_back_though_the_disk_refuses_and_nothing_else_is_done() {
    let mut mesh = upgrading();
    let heal = refuse_writes(&mesh);
    mesh.failing.insert("b-0".to_owned());
    mesh.ticks(10);
    assert_eq!(mesh.phase(), Some(Phase::RollingBack));
    assert_eq!(mesh.shares()[0], ("v2".to_owned(), 0));
    let conditions = &mesh.status().unwrap().conditions;
    assert!(conditions["JournalUnwritable"].status);
    let generation = mesh.world.generation;
    mesh.ticks(50);
    assert_eq!(
        mesh.world.generation, generation,
        "its instances do not drain"
    );
    let reasons = |mesh: &Mesh| -> Vec<String> {
        mesh.told
            .lock()
            .iter()
            .map(|event| event.reason.clone())
            .collect()
    };
    assert!(reasons(&mesh).contains(&"RollingBack".to_owned()));

    heal();
    mesh.tick();
    assert!(
        !mesh
            .status()
            .unwrap()
            .conditions
            .contains_key("JournalUnwritable")
    );
    mesh.until_phase(Phase::RolledBack);
    let key = UpgradeKey::new("shop", "checkout-v2-1");
    let log = mesh.engine().decisions().read(&key).unwrap();
    let rules: Vec<String> = log.map(|line| line.unwrap().decision.rule).collect();
    let failed = rules.iter().filter(|rule| *rule == "HealthFailed").count();
    assert_eq!(failed, 1, "{rules:?}");
    mesh.kill();
    mesh.start();
    mesh.ticks(5);
    assert_eq!(mesh.phase(), Some(Phase::RolledBack));
    assert_eq!(mesh.shares()[1], ("v1".to_owned(), 10_000));
}

#[test]
fn killed_before_the_way_back_was_written_it_decides_anew() {
    let mut mesh = upgrading();
    let heal = refuse_writes(&mesh);
    mesh.failing.insert("b-0".to_owned());
    mesh.ticks(10);
    assert_eq!(mesh.phase(), Some(Phase::RollingBack));
    mesh.kill();
    heal();
    mesh.start();
    assert_eq!(mesh.phase(), Some(Phase::WarmUp), "as the disk has it");
    mesh.until_phase(Phase::RollingBack);
    mesh.until_phase(Phase::RolledBack);
}

#[test]
fn a_rollback_by_hand_is_obeyed_though_the_disk_refuses_and_other_verbs_are_not() {
    let mut mesh = upgrading();
    let heal = refuse_writes(&mesh);
    let paused = mesh.command(Command::Pause);
    assert!(matches!(paused, Err(Refusal::Unavailable(_))), "{paused:?}");
    let reason = "it is slow".to_owned();
    let view = mesh.command(Command::Rollback { reason }).unwrap();
    assert_eq!(view.status.phase, Phase::RollingBack);
    assert!(view.status.conditions["JournalUnwritable"].status);
    assert_eq!(mesh.shares()[0], ("v2".to_owned(), 0));
    heal();
    mesh.until_phase(Phase::RolledBack);
}

fn promote(id: &str) -> Request {
    Request {
        target: Target::Named(UpgradeKey::new("shop", "checkout-v2-1")),
        command: Command::Promote { full: false },
        reason: String::new(),
        request_id: id.to_owned(),
        resource_version: None,
    }
}

#[test]
fn what_was_obeyed_under_an_id_is_not_obeyed_again_after_a_restart() {
    let mut mesh = upgrading();
    mesh.request(&promote("r1")).unwrap();
    mesh.until_phase(Phase::RollbackWindow);
    mesh.kill();
    mesh.start();
    let view = mesh.request(&promote("r1")).unwrap();
    assert_eq!(view.status.phase, Phase::RollbackWindow);
    mesh.tick();
    assert_eq!(mesh.phase(), Some(Phase::RollbackWindow));
    let other = Request {
        command: Command::Pause,
        ..promote("r1")
    };
    let refused = mesh.request(&other);
    assert!(matches!(refused, Err(Refusal::NotNow(_))), "{refused:?}");
    mesh.request(&promote("r2")).unwrap();
    assert_eq!(mesh.phase(), Some(Phase::Draining));
}
