//! Verbs and their refusals.

use super::support::{Mesh, checkout};
use crate::{
    engine::{Refusal, Request, Target},
    model::{Command, Limits, Phase, Policy, Share, Start, UpgradeKey},
};
use std::{sync::Arc, time::Duration};

const V1: [(&str, &str); 2] = [("a-0", "v1"), ("a-1", "v1")];
const BOTH: [(&str, &str); 4] = [("a-0", "v1"), ("a-1", "v1"), ("b-0", "v2"), ("b-1", "v2")];

fn upgrading() -> Mesh {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    mesh
}

fn request(command: Command, id: &str) -> Request {
    Request {
        target: Target::Named(UpgradeKey::new("shop", "checkout-v2-1")),
        command,
        reason: String::new(),
        request_id: id.to_owned(),
        resource_version: None,
    }
}

#[test]
fn a_paused_upgrade_stands_still_until_it_is_resumed() {
    let mut mesh = upgrading();
    assert!(mesh.command(Command::Pause).unwrap().status.paused);
    for _ in 0..100 {
        mesh.tick();
    }
    assert_eq!(mesh.phase(), Some(Phase::WarmUp));
    mesh.command(Command::Resume).unwrap();
    mesh.until_phase(Phase::RollbackWindow);
}

#[test]
fn the_same_request_id_gets_the_same_answer_and_is_obeyed_once() {
    let mut mesh = upgrading();
    let now = mesh.now;
    let promote = request(Command::Promote { full: false }, "r1");
    let (first, _) = mesh.engine().command(&promote, now);
    mesh.until_phase(Phase::RollbackWindow);
    let now = mesh.now;
    let (second, _) = mesh.engine().command(&promote, now);
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(mesh.phase(), Some(Phase::RollbackWindow));
}

#[test]
fn a_verb_for_a_state_that_has_moved_on_is_refused() {
    let mut mesh = upgrading();
    let now = mesh.now;
    let mut pause = request(Command::Pause, "");
    let version = mesh.run().unwrap().resource_version;
    pause.resource_version = Some(version - 1);
    let (answer, _) = mesh.engine().command(&pause, now);
    assert!(matches!(answer, Err(Refusal::MovedOn(_))), "{answer:?}");
    pause.resource_version = Some(version);
    let (answer, _) = mesh.engine().command(&pause, now);
    assert!(answer.unwrap().resource_version > version);
}

#[test]
fn refusals_name_what_exists_and_what_is_possible() {
    let mut mesh = upgrading();
    let unknown = mesh.ask(Target::Named(UpgradeKey::new("shop", "x")), Command::Pause);
    let Err(Refusal::NotFound(message)) = unknown else {
        panic!("{unknown:?}");
    };
    assert!(message.contains("shop/checkout-v2-1"), "{message}");
    let retry = mesh.command(Command::Retry);
    let Err(Refusal::NotNow(message)) = retry else {
        panic!("{retry:?}");
    };
    assert!(message.contains("promote"), "{message}");
}

#[test]
fn an_upgrade_that_waits_for_a_start_begins_when_started() {
    let mut mesh = Mesh::new(&V1);
    let policy = Policy {
        start: Start::Manual,
        ..super::support::quick()
    };
    mesh.catalog.policies.insert(checkout(), Arc::new(policy));
    mesh.set(&BOTH);
    for _ in 0..50 {
        mesh.tick();
    }
    assert_eq!(mesh.phase(), Some(Phase::Pending));
    mesh.command(Command::Start).unwrap();
    mesh.finish();
    assert_eq!(mesh.phase(), Some(Phase::Succeeded));
}

#[test]
fn an_upgrade_can_be_made_by_hand_before_its_instances_are_there() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    let to = |version: &str| Target::To {
        service: checkout(),
        version: version.into(),
    };
    let made = mesh.ask(to("v2"), Command::Start).unwrap();
    assert_eq!(made.status.phase, Phase::Preparing);
    let again = mesh.ask(to("v2"), Command::Start).unwrap();
    assert_eq!(again.spec, made.spec);
    let other = mesh.ask(to("v3"), Command::Start);
    assert!(matches!(other, Err(Refusal::NotNow(_))), "{other:?}");
    mesh.set(&BOTH);
    mesh.finish();
    assert_eq!(mesh.phase(), Some(Phase::Succeeded));
    let already = mesh.ask(to("v2"), Command::Start);
    assert!(matches!(already, Err(Refusal::Exists(_))), "{already:?}");
}

#[test]
fn what_an_earlier_run_called_drained_may_not_be_stopped_once_a_new_run_uses_it() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    let command = Command::Rollback {
        reason: "not today".to_owned(),
    };
    mesh.command(command).unwrap();
    mesh.until_phase(Phase::RolledBack);
    let earlier = mesh.run().unwrap().spec.key.clone();
    let drained = |mesh: &mut Mesh| {
        let now = mesh.now;
        let board = mesh.engine().board(now);
        board.upgrades[&earlier].status.drained.len()
    };
    assert_ne!(drained(&mut mesh), 0);
    let to = Target::To {
        service: checkout(),
        version: "v2".into(),
    };
    let made = mesh.ask(to, Command::Start).unwrap();
    assert_ne!(made.spec.key, earlier);
    mesh.tick();
    assert_eq!(drained(&mut mesh), 0);
}

#[test]
fn every_decision_is_logged_with_its_inputs() {
    let mut mesh = upgrading();
    mesh.finish();
    let key = mesh.run().unwrap().spec.key.clone();
    let log: Vec<_> = mesh
        .engine()
        .decisions()
        .read(&key)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(log.len() > 4);
    assert!(log.iter().all(|line| line.inputs.get("new").is_some()));
    assert!(log.is_sorted_by_key(|line| line.decision.at));
}

#[test]
fn a_request_id_used_for_something_else_is_refused() {
    let mut mesh = upgrading();
    let now = mesh.now;
    let (first, _) = mesh.engine().command(&request(Command::Pause, "r1"), now);
    first.unwrap();
    let (other, _) = mesh.engine().command(&request(Command::Resume, "r1"), now);
    assert!(matches!(other, Err(Refusal::NotNow(_))), "{other:?}");
    assert!(mesh.status().unwrap().paused);
}

#[test]
fn why_people_asked_stands_in_the_decision_log_the_events_and_the_history() {
    let mut mesh = upgrading();
    mesh.until("applied", |mesh| {
        mesh.status().unwrap().applied_at.is_some()
    });
    let asked = |command, reason: &str| Request {
        reason: reason.to_owned(),
        ..request(command, "")
    };
    for (command, reason) in [
        (Command::Pause, "INC-7 is open"),
        (Command::Resume, "INC-7 is closed"),
        (Command::Promote { full: true }, "the fix is urgent"),
    ] {
        mesh.request(&asked(command, reason)).unwrap();
    }
    mesh.until_phase(Phase::Shifting);
    mesh.request(&asked(
        Command::Rollback {
            reason: "it was not".to_owned(),
        },
        "",
    ))
    .unwrap();
    mesh.until_phase(Phase::RolledBack);
    mesh.request(&asked(Command::Retry, "with INC-8 fixed"))
        .unwrap();
    let key = UpgradeKey::new("shop", "checkout-v2-1");
    let log = mesh.engine().decisions().read(&key).unwrap();
    let log: Vec<String> = log.map(|line| line.unwrap().decision.verdict).collect();
    let history = &mesh.status().unwrap().history;
    let history: Vec<&str> = history.iter().map(|line| line.reason.as_str()).collect();
    let says = |all: &[&str], text: &str| all.iter().any(|line| line.contains(text));
    let log: Vec<&str> = log.iter().map(String::as_str).collect();
    assert!(says(&log, "paused by hand: INC-7 is open"), "{log:#?}");
    assert!(says(&log, "resumed by hand: INC-7 is closed"), "{log:#?}");
    assert!(
        says(&history, "promoted: the fix is urgent"),
        "{history:#?}"
    );
    assert!(says(&history, "it was not"), "{history:#?}");
    assert!(
        says(&history, "tried once more by hand: with INC-8 fixed"),
        "{history:#?}"
    );
    let told = mesh.told.lock();
    let paused = told.iter().find(|event| event.reason == "Paused").unwrap();
    assert_eq!(paused.message, "paused by hand: INC-7 is open");
}

/// An upgrade in that phase, under limits.
fn limited(phase: Phase) -> Mesh {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    let policy = Policy {
        limits: Limits {
            owner: "ClusterUpgradePolicy mesh".to_owned(),
            max_first_weight: Share::from_percent(25),
            min_rollback_window: Some(Duration::from_secs(3)),
            max_failure_threshold: None,
        },
        ..super::support::quick()
    };
    mesh.catalog.policies.insert(checkout(), Arc::new(policy));
    mesh.failing.extend(["b-0".to_owned(), "b-1".to_owned()]);
    mesh.set(&BOTH);
    mesh.until_phase(Phase::Preparing);
    if phase > Phase::Preparing {
        mesh.failing.clear();
        mesh.until_phase(phase);
    }
    mesh
}

fn refused_by_limit(mesh: &mut Mesh, command: Command, limit: &str) {
    let answer = mesh.command(command);
    let Err(Refusal::NotNow(message)) = answer else {
        panic!("{answer:?}");
    };
    let names = format!("{limit} of ClusterUpgradePolicy mesh");
    assert!(message.contains(&names), "{message}");
    let conditions = &mesh.status().unwrap().conditions;
    assert_eq!(conditions["CommandRefused"].reason, "LimitCrossed");
}

#[test]
fn promotions_that_would_cross_a_limit_are_refused_and_the_upgrade_goes_on() {
    let full = Command::Promote { full: true };
    let mut mesh = limited(Phase::Preparing);
    refused_by_limit(&mut mesh, full, "maxFirstWeight");
    mesh.failing.clear();
    mesh.until_phase(Phase::WarmUp);
    let weights = |mesh: &Mesh| -> Vec<u16> {
        let history = &mesh.status().unwrap().history;
        history.iter().map(|l| l.weight.basis_points()).collect()
    };
    assert_eq!(weights(&mesh), [0, 2_500]);
    mesh.until_phase(Phase::RollbackWindow);
    refused_by_limit(
        &mut mesh,
        Command::Promote { full: false },
        "minRollbackWindow",
    );
    mesh.ticks(31);
    mesh.finish();
    assert_eq!(mesh.phase(), Some(Phase::Succeeded));
}

#[test]
fn limits_hold_for_a_run_whose_service_is_out_of_the_catalog() {
    let mut mesh = limited(Phase::RollbackWindow);
    let whole = mesh.catalog.clone();
    mesh.catalog.services.clear();
    mesh.catalog.policies.clear();
    mesh.tell();
    mesh.tick();
    let promote = Command::Promote { full: false };
    refused_by_limit(&mut mesh, promote, "minRollbackWindow");
    mesh.catalog = whole;
    mesh.tell();
    mesh.finish();
    assert_eq!(mesh.phase(), Some(Phase::Succeeded));
    let key = mesh.run().unwrap().spec.key.clone();
    let mut lines = mesh.engine().decisions().read(&key).unwrap();
    assert!(lines.all(|line| line.unwrap().decision.rule != "PolicyChanged"));
}
