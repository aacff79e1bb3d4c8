//! The decision log's frame, and the events.

use super::support::{Mesh, checkout, quick};
use crate::{
    engine::LoggedDecision,
    model::{Command, Event, Phase, Policy, UpgradeSpec, UpgradeStatus},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const V1: [(&str, &str); 2] = [("a-0", "v1"), ("a-1", "v1")];
const BOTH: [(&str, &str); 4] = [("a-0", "v1"), ("a-1", "v1"), ("b-0", "v2"), ("b-1", "v2")];

fn upgrading() -> Mesh {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    mesh.set(&BOTH);
    mesh.until_phase(Phase::WarmUp);
    mesh
}

fn log(mesh: &mut Mesh) -> Vec<LoggedDecision> {
    let key = mesh.run().unwrap().spec.key.clone();
    let lines = mesh.engine().decisions().read(&key).unwrap();
    lines.map(Result::unwrap).collect()
}

#[test]
fn the_first_line_says_where_a_replay_starts_and_later_ones_when_the_policy_changed() {
    let mut mesh = upgrading();
    let changed = Policy {
        drain: crate::model::Drain {
            timeout: Duration::from_secs(7),
            ..quick().drain
        },
        ..quick()
    };
    mesh.catalog
        .policies
        .insert(checkout(), Arc::new(changed.clone()));
    mesh.tell();
    mesh.tick();
    mesh.kill();
    mesh.start();
    mesh.ticks(5);
    let log = log(&mut mesh);
    let parsed = |line: &LoggedDecision| -> Policy {
        serde_json::from_value(line.more["policy"].clone()).unwrap()
    };
    assert_eq!(log[0].decision.rule, "Began");
    assert_eq!(parsed(&log[0]), quick());
    let spec: UpgradeSpec = serde_json::from_value(log[0].more["spec"].clone()).unwrap();
    assert_eq!(spec, mesh.run().unwrap().spec);
    let status: UpgradeStatus = serde_json::from_value(log[0].more["status"].clone()).unwrap();
    assert_eq!((status.phase, status.old_instances), (Phase::Preparing, 2));
    let with_policy: Vec<_> = log
        .iter()
        .filter(|line| line.more.contains_key("policy"))
        .collect();
    assert_eq!(with_policy.len(), 2, "not after a restart");
    assert_eq!(with_policy[1].decision.rule, "PolicyChanged");
    assert_eq!(parsed(with_policy[1]), changed);
    assert!(log[0].context().contains("\"old_instances\":2"));
    let quiet = log.iter().filter(|line| line.context().is_empty());
    assert_eq!(quiet.count(), log.len() - 2);
}

#[test]
fn the_lines_of_one_look_show_the_same_inputs_and_a_command_shows_at_one_look() {
    let mut mesh = upgrading();
    mesh.ticks(3);
    mesh.command(Command::Promote { full: true }).unwrap();
    mesh.finish();
    let log = log(&mut mesh);
    let asked: Vec<_> = log
        .iter()
        .filter(|line| line.inputs.get("commands").is_some())
        .collect();
    let rules: Vec<&str> = asked
        .iter()
        .map(|line| line.decision.rule.as_str())
        .collect();
    assert_eq!(rules.first(), Some(&"Promoted"));
    assert!(asked.len() > 1, "asked, and stepped up by it: {rules:?}");
    assert!(asked.iter().all(|line| line.inputs == asked[0].inputs));
}

/// The events of one run by number; what came twice came with the same content.
fn told(mesh: &Mesh) -> BTreeMap<u64, Event> {
    let mut told = BTreeMap::new();
    for event in mesh.told.lock().iter() {
        let (run, number) = event.id.rsplit_once('/').unwrap();
        assert!(run.starts_with("shop/checkout-v2-1/"), "{}", event.id);
        let before = told.insert(number.parse().unwrap(), event.clone());
        assert!(before.is_none_or(|before| before == *event), "{event:?}");
    }
    told
}

fn reasons(told: &BTreeMap<u64, Event>) -> Vec<&str> {
    told.values().map(|event| event.reason.as_str()).collect()
}

#[test]
fn every_transition_is_told_with_a_number_of_its_own() {
    let mut mesh = upgrading();
    mesh.finish();
    let told = told(&mesh);
    let numbers: Vec<u64> = told.keys().copied().collect();
    let all: Vec<u64> = (1..=mesh.run().unwrap().events_count).collect();
    assert_eq!(numbers, all);
    let reasons = reasons(&told);
    assert_eq!(reasons.first(), Some(&"Began"));
    assert_eq!(reasons.last(), Some(&"Succeeded"));
    for phase in ["WarmUp", "Shifting", "RollbackWindow", "Draining"] {
        assert!(reasons.contains(&phase), "{reasons:?}");
    }
    assert_eq!(mesh.told.lock().len(), told.len(), "each of them once");
    let (key, now) = (mesh.run().unwrap().spec.key.clone(), mesh.now);
    let shown = mesh.engine().view(&key, now).unwrap().events;
    assert_eq!(shown.last().unwrap().reason, "Succeeded");
}

#[test]
fn a_control_plane_killed_at_every_tick_leaves_no_event_out_and_changes_none() {
    let mut mesh = upgrading();
    for _ in 0..2_000 {
        if mesh.phase() == Some(Phase::Succeeded) {
            break;
        }
        let drained = mesh.status().unwrap().drained.clone();
        mesh.catalog
            .workloads
            .retain(|key, _| !drained.contains(key));
        mesh.kill();
        mesh.start();
        mesh.ticks(2);
    }
    let told = told(&mesh);
    let numbers: Vec<u64> = told.keys().copied().collect();
    let all: Vec<u64> = (1..=mesh.run().unwrap().events_count).collect();
    assert_eq!(numbers, all);
    assert_eq!(reasons(&told).last(), Some(&"Succeeded"));
}

#[test]
fn what_the_outbox_refuses_holds_nothing_up_and_comes_later_in_order() {
    let mut mesh = Mesh::new(&V1);
    mesh.tick();
    *mesh.outbox_refuses.lock() = true;
    mesh.set(&BOTH);
    mesh.until_phase(Phase::RollbackWindow);
    assert!(mesh.told.lock().is_empty());
    mesh.kill();
    mesh.start();
    *mesh.outbox_refuses.lock() = false;
    mesh.tick();
    let order: Vec<String> = mesh
        .told
        .lock()
        .iter()
        .map(|event| event.reason.clone())
        .collect();
    let position = |reason: &str| order.iter().position(|told| told == reason);
    assert!(position("Began") < position("WarmUp"), "{order:?}");
    assert!(position("WarmUp") < position("RollbackWindow"), "{order:?}");
    assert_eq!(told(&mesh).len(), order.len());
    mesh.finish();
    // The last ones were taken; a restart does not tell them again.
    mesh.tick();
    let count = mesh.told.lock().len();
    mesh.kill();
    mesh.start();
    mesh.tick();
    assert_eq!(mesh.told.lock().len(), count);
}
