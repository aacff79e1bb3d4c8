use super::{Choice, Conditions, pick};
use crate::model::{
    Cluster, Discovery, Endpoint, EndpointId, EndpointState, Health, UpstreamProtocol,
};
use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};
use std::{sync::Arc, time::Duration};

fn endpoint(id: u32, priority: u32, health: Health, weight: u32) -> Endpoint {
    Endpoint {
        id: EndpointId(id),
        address: ([127, 0, 0, 1], 8080).into(),
        weight,
        priority,
        health,
        version: None,
        state: Arc::new(EndpointState::default()),
    }
}

fn cluster(endpoints: Vec<Endpoint>, factor: u32) -> Cluster {
    Cluster {
        name: "c".into(),
        version: None,
        discovery: Discovery::Endpoints,
        endpoints,
        overprovisioning_factor: factor,
        protocol: UpstreamProtocol::Http1,
        connect_timeout: Duration::from_secs(1),
        outlier_detection: None,
    }
}

fn shares(cluster: &Cluster, choice: Choice, tried: &[EndpointId]) -> Vec<u32> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut shares = vec![0; cluster.endpoints.len()];
    for _ in 0..10_000 {
        let conditions = Conditions {
            now: 0,
            tried,
            draw: &mut |below| random.u64(..below),
            active: |_| 0,
            trials: None,
        };
        if let Some(endpoint) = pick(cluster, choice, conditions) {
            shares[endpoint.id.0 as usize] += 1;
        }
    }
    shares
}

use Health::{Draining, Healthy, Unhealthy};

#[test]
fn one_healthy_endpoint_keeps_all_traffic_when_overprovisioned() {
    let endpoints = vec![
        endpoint(0, 0, Unhealthy, 1),
        endpoint(1, 0, Healthy, 1),
        endpoint(2, 0, Draining, 1),
        endpoint(3, 1, Healthy, 1),
    ];
    let shares = shares(&cluster(endpoints, 300), Choice::LeastRequest, &[]);
    assert_eq!(shares, [0, 10_000, 0, 0]);
}

#[test]
fn what_a_priority_cannot_bear_goes_to_the_next() {
    let endpoints = vec![
        endpoint(0, 0, Healthy, 1),
        endpoint(1, 0, Unhealthy, 1),
        endpoint(2, 1, Healthy, 1),
    ];
    // 140 % of one half: 70 % stay.
    let shares = shares(&cluster(endpoints, 140), Choice::LeastRequest, &[]);
    assert!((6_800..=7_200).contains(&shares[0]), "{shares:?}");
    assert_eq!(shares[0] + shares[2], 10_000);
}

#[test]
fn without_an_available_endpoint_nothing_is_picked() {
    let dead = cluster(
        vec![endpoint(0, 0, Unhealthy, 1), endpoint(1, 1, Draining, 1)],
        140,
    );
    assert_eq!(shares(&dead, Choice::LeastRequest, &[]), [0, 0]);
    assert_eq!(shares(&cluster(vec![], 140), Choice::Weighted, &[]), [0; 0]);
}

#[test]
fn an_ejected_endpoint_is_passed_over_until_its_time_is_up() {
    let cluster = cluster(
        vec![endpoint(0, 0, Healthy, 1), endpoint(1, 1, Healthy, 1)],
        140,
    );
    cluster.endpoints[0].state.eject(50);
    let at = |now| {
        let conditions = Conditions {
            now,
            tried: &[],
            draw: &mut |_| 0,
            active: |_| 0,
            trials: None,
        };
        pick(&cluster, Choice::LeastRequest, conditions).unwrap().id
    };
    assert_eq!((at(49), at(50)), (EndpointId(1), EndpointId(0)));
}

#[test]
fn the_less_loaded_of_two_is_taken() {
    let cluster = cluster(
        vec![endpoint(0, 0, Healthy, 1), endpoint(1, 0, Healthy, 1)],
        140,
    );
    let mut draws = [0, 1].into_iter();
    let conditions = Conditions {
        now: 0,
        tried: &[],
        draw: &mut |_| draws.next().unwrap(),
        active: |id: EndpointId| if id == EndpointId(0) { 5 } else { 4 },
        trials: None,
    };
    let picked = pick(&cluster, Choice::LeastRequest, conditions).unwrap();
    assert_eq!(picked.id, EndpointId(1));
}

#[test]
fn weights_are_the_split_of_opaque_connections() {
    let endpoints = vec![endpoint(0, 0, Healthy, 5), endpoint(1, 0, Healthy, 95)];
    for choice in [Choice::Weighted, Choice::LeastRequest] {
        let shares = shares(&cluster(endpoints.clone(), 140), choice, &[]);
        assert!((400..=600).contains(&shares[0]), "{choice:?} {shares:?}");
    }
}

#[test]
fn a_tried_endpoint_is_taken_again_only_where_nothing_else_is_left() {
    let endpoints = vec![endpoint(0, 0, Healthy, 1), endpoint(1, 1, Healthy, 1)];
    let cluster = cluster(endpoints, 140);
    let tried = [EndpointId(0)];
    assert_eq!(shares(&cluster, Choice::LeastRequest, &tried), [0, 10_000]);
    let all = [EndpointId(0), EndpointId(1)];
    assert_eq!(shares(&cluster, Choice::LeastRequest, &all), [10_000, 0]);
}

fn endpoints() -> impl Strategy<Value = Vec<Endpoint>> {
    let health = prop_oneof![
        proptest::prelude::Just(Healthy),
        proptest::prelude::Just(Unhealthy),
        proptest::prelude::Just(Draining)
    ];
    prop::collection::vec((0_u32..3, health, 1_u32..9), 0..12).prop_map(|mut all| {
        all.sort_by_key(|(priority, _, _)| *priority);
        (0..)
            .zip(all)
            .map(|(id, (priority, health, weight))| endpoint(id, priority, health, weight))
            .collect()
    })
}

proptest! {
    #[test]
    fn a_pick_is_healthy_and_exists_iff_any_is(
        endpoints in endpoints(),
        factor in 1_u32..2_000,
        seed in any::<u64>(),
        tried in prop::collection::vec(0_u32..12, 0..4),
    ) {
        let cluster = cluster(endpoints, factor);
        let mut random = fastrand::Rng::with_seed(seed);
        let tried: Vec<_> = tried.into_iter().map(EndpointId).collect();
        for choice in [Choice::LeastRequest, Choice::Weighted] {
            let conditions = Conditions {
                now: 0,
                tried: &tried,
                draw: &mut |below| random.u64(..below),
                active: |id: EndpointId| u64::from(id.0),
                trials: None,
            };
            let picked = pick(&cluster, choice, conditions);
            assert_eq!(picked.is_some(), cluster.has_healthy_endpoint());
            assert!(picked.is_none_or(|endpoint| endpoint.health == Healthy));
        }
    }
}
