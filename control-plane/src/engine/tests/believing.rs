//! What of a load report is believed, and over how long it counts.

use super::proving::{CONTROL, NEW, on_trial, patient, served, taken};
use crate::model::{EndpointSample, Phase, Timestamp, WorkloadKey};

#[test]
fn a_proxy_tells_only_of_services_that_it_is_subscribed_to() {
    let mut mesh = on_trial(patient(true), "shop/stranger");
    let mut bad = served(NEW, 3, 500, 500);
    bad.ejected = true;
    bad.requests_active = 7;
    let answer = taken(&mut mesh, "shop/stranger", vec![bad]);
    assert_eq!(answer, [(0, 0), (0, 0)]);
    assert_eq!(mesh.phase(), Some(Phase::WarmUp));
    // What it says is under way is not forgotten: an instance that is told to stop waits for it.
    let instance = WorkloadKey::new("shop", "b-0");
    let usage = mesh
        .engine()
        .loads
        .activity(&instance, false, Timestamp(u64::MAX));
    assert_eq!((usage.active, usage.ejected_by), (7, 0));
}

#[test]
fn more_requests_than_a_proxy_can_serve_are_no_evidence() {
    for (requests, errors) in [(5_000_000_000, 5_000_000_000), (5_000_000_000, 0)] {
        let mut mesh = on_trial(patient(true), "shop/web");
        let nonsense = vec![
            served(NEW, 3, requests, errors),
            served(CONTROL, 1, 30, 1),
            EndpointSample {
                succeeded: u64::MAX,
                errors: u64::MAX,
                ..served(NEW, 4, 1, 0)
            },
        ];
        let answer = taken(&mut mesh, "shop/web", nonsense);
        assert_eq!(answer, [(0, 0), (0, 0)]);
        assert_eq!(mesh.phase(), Some(Phase::WarmUp));
        // It is heard again as soon as it talks sense.
        let sense = vec![served(NEW, 3, 10, 2)];
        assert_eq!(taken(&mut mesh, "shop/web", sense), [(10, 2), (0, 0)]);
    }
}

#[test]
fn seconds_without_requests_count_as_seconds_of_the_step() {
    let mut mesh = on_trial(patient(true), "shop/web");
    taken(&mut mesh, "shop/web", vec![served(NEW, 3, 100, 0)]);
    mesh.ticks(100);
    let trial = serde_json::to_value(mesh.run().unwrap().trial.as_ref().unwrap()).unwrap();
    let step = &trial["step"];
    assert_eq!(step["new"]["requests"], 100);
    let elapsed = step["elapsed"]["secs"].as_u64().unwrap();
    assert!((10..=11).contains(&elapsed), "{step}");
}

#[test]
fn the_first_step_is_a_step_of_the_trial() {
    let mesh = on_trial(patient(true), "shop/web");
    let trial = serde_json::to_value(mesh.run().unwrap().trial.as_ref().unwrap()).unwrap();
    assert_eq!(trial["drop"]["alarm"]["steps"], 1);
}
