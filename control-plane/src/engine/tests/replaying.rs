//! The decision log of whole upgrades, read from disk and replayed.

use super::{
    proving::{CONTROL, NEW, on_trial, patient, served},
    support::Mesh,
};
use crate::{
    model::{Command, Phase, Policy, Ppm, SuccessRate, Timestamp},
    replay::{Line, Replay, replay},
};
use std::time::Duration;

/// Short steps that evidence decides; the log shows it each second.
fn judged() -> Policy {
    let mut policy = patient(true);
    for step in &mut policy.steps {
        step.hold = Duration::from_secs(2);
    }
    policy.rollback.window = Duration::from_secs(10);
    policy.analysis.interval = Duration::from_secs(1);
    policy.analysis.min_requests = 100;
    policy.analysis.max_wait = Duration::from_secs(600);
    policy.analysis.success_rate = SuccessRate {
        min: Ppm(900_000),
        max_drop: Ppm(20_000),
    };
    policy
}

/// So many seconds of traffic, a quarter of a second each report.
fn traffic(mesh: &mut Mesh, seconds: usize, errors: u64) {
    for _ in 0..4 * seconds {
        let reports = vec![served(NEW, 3, 100, errors), served(CONTROL, 1, 100, 0)];
        mesh.report("shop/web", reports);
        mesh.ticks(3);
    }
}

fn lines(mesh: &mut Mesh) -> Vec<Line> {
    let key = mesh.run().unwrap().spec.key.clone();
    let log = mesh.engine().decisions().read(&key).unwrap();
    log.map(|line| {
        let line = line.unwrap();
        let inputs = line.inputs.to_string();
        let decision = &line.decision;
        Line::read(decision.at, &decision.rule, &inputs, &line.context()).unwrap()
    })
    .collect()
}

fn replayed(mesh: &mut Mesh, policy: &Policy) -> Replay {
    let lines = lines(mesh);
    replay(&lines, policy).unwrap()
}

fn decides_the_same(mesh: &mut Mesh, policy: &Policy) {
    let replay = replayed(mesh, policy);
    assert_eq!(replay.notes, Vec::<String>::new());
    assert_eq!(replay.diverged, None::<Timestamp>, "{replay:#?}");
    let status = mesh.status().unwrap();
    assert_eq!(
        (replay.otherwise.phase, replay.otherwise.weight),
        (status.phase, status.weight)
    );
}

#[test]
fn an_upgrade_that_evidence_led_to_its_end_is_replayed_as_it_was() {
    let mut mesh = on_trial(judged(), "shop/web");
    traffic(&mut mesh, 40, 0);
    mesh.finish();
    assert_eq!(mesh.phase(), Some(Phase::Succeeded));
    decides_the_same(&mut mesh, &judged());
}

#[test]
fn one_that_evidence_sent_back_is_replayed_as_it_was_and_a_stricter_judge_parts_earlier() {
    let mut mesh = on_trial(judged(), "shop/web");
    traffic(&mut mesh, 4, 0);
    traffic(&mut mesh, 20, 8);
    assert!(mesh.status().unwrap().rollback_reason.is_some());
    mesh.finish();
    decides_the_same(&mut mesh, &judged());
    let mut blind = judged();
    blind.analysis.success_rate = SuccessRate {
        min: Ppm(0),
        max_drop: Ppm(500_000),
    };
    let replay = replayed(&mut mesh, &blind);
    assert!(replay.diverged.is_some());
    assert!(replay.otherwise.rollback_reason.is_none(), "{replay:#?}");
}

#[test]
fn what_people_asked_and_restarts_are_replayed_as_they_were() {
    let mut mesh = on_trial(judged(), "shop/web");
    traffic(&mut mesh, 1, 0);
    mesh.command(Command::Pause).unwrap();
    traffic(&mut mesh, 3, 0);
    mesh.kill();
    mesh.start();
    mesh.ticks(3);
    mesh.command(Command::Resume).unwrap();
    mesh.command(Command::Promote { full: false }).unwrap();
    traffic(&mut mesh, 2, 0);
    let reason = "enough".to_owned();
    mesh.command(Command::Rollback { reason }).unwrap();
    mesh.finish();
    assert_eq!(mesh.phase(), Some(Phase::RolledBack));
    decides_the_same(&mut mesh, &judged());
}
