//! The journal alone.

use super::{Journal, Line};
use crate::model::{Decision, Observation, Phase, Timestamp, UpgradeKey};
use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _};

fn line(key: &UpgradeKey, rule: &str, verdict: String) -> Line {
    Line {
        key: key.clone(),
        decision: Decision {
            at: Timestamp(1),
            phase: Phase::WarmUp,
            rule: rule.to_owned(),
            verdict,
        },
        inputs: Observation::default(),
        policy: None,
        began: None,
    }
}

#[test]
fn the_token_key_is_made_once_and_nobody_else_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    drop(Journal::open(folder.path()).unwrap());
    let path = folder.path().join("token-key");
    let key = fs::read(&path).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    drop(Journal::open(folder.path()).unwrap());
    assert_eq!(fs::read(&path).unwrap(), key);
}

#[test]
fn a_decision_that_was_cut_off_is_skipped_and_the_next_one_stands_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path()).unwrap();
    let key = UpgradeKey::new("shop", "checkout-v2-1");
    journal.record(&line(&key, "A", String::new())).unwrap();
    let path = folder.path().join("decisions/shop/checkout-v2-1.jsonl");
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(b"{\"at\":2,\"pha").unwrap();
    journal.record(&line(&key, "B", String::new())).unwrap();
    let rules: Vec<String> = journal
        .decisions()
        .read(&key)
        .unwrap()
        .map(|line| line.unwrap().decision.rule)
        .collect();
    assert_eq!(rules, ["A", "B"]);
}

#[test]
fn an_upgrade_without_decisions_has_an_empty_log() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path()).unwrap();
    let key = UpgradeKey::new("shop", "none");
    assert_eq!(journal.decisions().read(&key).unwrap().count(), 0);
}

#[test]
fn a_log_that_grows_for_months_keeps_its_first_and_its_newest_lines() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path()).unwrap();
    let key = UpgradeKey::new("shop", "checkout-v2-1");
    for rule in ["first", "second", "third", "fourth", "fifth"] {
        journal
            .record(&line(&key, rule, "x".repeat(3 << 20)))
            .unwrap();
    }
    let log = journal.decisions().read(&key).unwrap();
    let rules: Vec<String> = log.map(|line| line.unwrap().decision.rule).collect();
    assert_eq!(rules, ["first", "third", "fourth", "fifth"]);
    journal.decisions().remove(&key).unwrap();
    let left = fs::read_dir(folder.path().join("decisions/shop")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn a_run_in_the_place_of_another_is_refused() {
    let mut mesh = crate::engine::tests::support::Mesh::new(&[("a-0", "v1")]);
    mesh.tick();
    mesh.set(&[("a-0", "v1"), ("b-0", "v2")]);
    mesh.tick();
    mesh.kill();
    let folder = mesh.state.path().join("upgrades/shop");
    fs::copy(
        folder.join("checkout-v2-1.json"),
        folder.join("cart-v2-1.json"),
    )
    .unwrap();
    let refused = Journal::open(mesh.state.path()).unwrap_err().to_string();
    assert!(refused.contains("cart-v2-1.json"), "{refused}");
    assert!(refused.contains("shop/checkout-v2-1"), "{refused}");
}
