//! The journal alone.

use super::{DecisionLog, Journal, Line};
use crate::model::{
    Decision, InstanceObservation, LOOKED, LOOKS_LET_GO, Observation, Phase, Timestamp, UpgradeKey,
};
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

fn rules(log: &DecisionLog, key: &UpgradeKey) -> Vec<String> {
    let log = log.read(key).unwrap();
    log.map(|line| line.unwrap().decision.rule).collect()
}

#[test]
fn what_was_decided_is_kept_however_many_looks_of_large_services_are_let_go() {
    const EVERY: u64 = 150;
    const LINES: u64 = 601;
    let folder = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(folder.path()).unwrap();
    let key = UpgradeKey::new("shop", "checkout-v2-1");
    for number in 0..LINES {
        let rule = if number % EVERY == 0 {
            "HoldIsOver"
        } else {
            LOOKED
        };
        let looked = Line {
            inputs: of_instances(200),
            ..line(&key, rule, number.to_string())
        };
        journal.record(&looked).unwrap();
        if number == LINES / 2 {
            // A restart goes on counting.
            drop(journal);
            (journal, _) = Journal::open(folder.path()).unwrap();
        }
    }
    let log = journal.decisions().read(&key).unwrap();
    let (mut next, mut decided, mut let_go) = (0, 0, 0);
    for line in log.map(Result::unwrap) {
        assert_eq!(line.number, next);
        if line.decision.rule == LOOKS_LET_GO {
            let gone = line.more["let_go"].as_u64().unwrap();
            assert!(line.decision.verdict.contains(&format!("{gone} looks")));
            next += gone;
            let_go += gone;
            continue;
        }
        assert_eq!(line.decision.verdict, next.to_string());
        assert_eq!(line.inputs["old"].as_array().unwrap().len(), 200);
        decided += u64::from(line.decision.rule != LOOKED);
        next += 1;
    }
    assert_eq!((next, decided), (LINES, LINES.div_ceil(EVERY)));
    assert!(let_go > EVERY, "{let_go}");
    let shop = folder.path().join("decisions/shop");
    let sizes = fs::read_dir(&shop).unwrap();
    let size: u64 = sizes
        .map(|one| one.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size < 9 << 20, "{size}");
    journal.decisions().remove(&key).unwrap();
    assert_eq!(fs::read_dir(&shop).unwrap().count(), 0);
}

fn of_instances(count: usize) -> Observation {
    let instances = |version: &str| {
        let one = |number| InstanceObservation {
            workload: UpgradeKey::new("shop", &format!("{version}-{number}")),
            ready: true,
            checked: true,
            consecutive_failures: 0,
            ejected_by: 0,
            active: 12,
            last_activity: Some(Timestamp(1_764_000_000_000)),
            last_report: Some(Timestamp(1_764_000_000_000)),
            ready_since: Some(Timestamp(1_764_000_000_000)),
            restarts: 0,
            lost: false,
            recent_requests: 100,
            recent_errors: 1,
        };
        (0..count).map(one).collect()
    };
    Observation {
        old: instances("v1"),
        new: Vec::new(),
        ..Observation::default()
    }
}

/// Three decisions and between them two looks, closed.
fn written(folder: &std::path::Path) -> UpgradeKey {
    let (journal, _) = Journal::open(folder).unwrap();
    let key = UpgradeKey::new("shop", "checkout-v2-1");
    for rule in ["Began", LOOKED, "NotWorse", LOOKED, "HoldIsOver"] {
        journal.record(&line(&key, rule, String::new())).unwrap();
    }
    key
}

#[test]
fn a_log_with_any_byte_changed_is_refused_or_lacks_its_torn_last_line_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let key = written(folder.path());
    for name in ["checkout-v2-1.jsonl", "checkout-v2-1.looks"] {
        let path = folder.path().join("decisions/shop").join(name);
        let whole = fs::read(&path).unwrap();
        let end = whole.len() - 1;
        let last = whole[..end]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .unwrap();
        for at in (0..whole.len()).step_by(7).chain([last, end]) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            fs::write(&path, &changed).unwrap();
            match Journal::open(folder.path()) {
                Err(refused) => assert!(refused.to_string().contains(name), "{refused}"),
                Ok((journal, _)) => {
                    assert_eq!(at, end);
                    assert_eq!(
                        rules(journal.decisions(), &key).len(),
                        4 + usize::from(name.ends_with("looks"))
                    );
                }
            }
        }
        fs::write(&path, &whole).unwrap();
    }
    let (journal, _) = Journal::open(folder.path()).unwrap();
    let path = folder.path().join("decisions/shop/checkout-v2-1.jsonl");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] = 0xff;
    fs::write(&path, &bytes).unwrap();
    let mut log = journal.decisions().read(&key).unwrap();
    let refused = log.next().unwrap().unwrap_err().to_string();
    assert!(refused.contains("checkout-v2-1.jsonl"), "{refused}");
    assert!(log.next().is_none(), "and nothing of it is told");
}

#[test]
fn foreign_logs_are_refused_with_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let key = written(folder.path());
    let shop = folder.path().join("decisions/shop");
    let own = shop.join(format!("{}.jsonl", key.name));
    let other = shop.join("cart-v2-1.jsonl");
    fs::copy(&own, &other).unwrap();
    let refused = Journal::open(folder.path()).unwrap_err().to_string();
    assert!(
        refused.contains("log of upgrade shop/checkout-v2-1"),
        "{refused}"
    );
    fs::remove_file(other).unwrap();
    fs::write(&own, "{\"at\":1,\"phase\":\"WarmUp\"}\n").unwrap();
    let refused = Journal::open(folder.path()).unwrap_err().to_string();
    assert!(
        refused.contains("does not begin as a segue-decisions"),
        "{refused}"
    );
    fs::copy(shop.join(format!("{}.looks", key.name)), &own).unwrap();
    let refused = Journal::open(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("segue-looks"), "{refused}");
}

#[test]
fn looks_that_move_while_they_are_read_are_all_read() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(folder.path()).unwrap();
    let key = UpgradeKey::new("shop", "checkout-v2-1");
    journal.record(&line(&key, "Began", String::new())).unwrap();
    let large = |verdict: &str| line(&key, LOOKED, verdict.repeat(3 << 20));
    for verdict in ["a", "b"] {
        journal.record(&large(verdict)).unwrap();
    }
    let log = journal.decisions().read(&key).unwrap();
    for verdict in ["c", "d", "e"] {
        journal.record(&large(verdict)).unwrap();
    }
    let seen: Vec<_> = log.map(|line| line.unwrap().decision.verdict).collect();
    let seen: Vec<_> = seen.iter().map(|verdict| verdict.get(..1)).collect();
    assert_eq!(seen, [None, Some("a"), Some("b")]);
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
