use super::{Bench, Choice, Conditions, pick};
use crate::model::{
    Balancing, Cluster, Discovery, Endpoint, EndpointId, EndpointState, Health, Locality, Policy,
    SlowStart, Table, UpstreamProtocol,
};
use proptest::prelude::{Strategy, any, prop, prop_oneof, proptest};
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

fn endpoint(id: u32, priority: u32, health: Health, weight: u32) -> Endpoint {
    Endpoint {
        id: EndpointId(id),
        address: ([127, 0, 0, 1], 8080).into(),
        weight,
        priority,
        locality: Locality::default(),
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
        balancing: Balancing::default(),
        tables: Arc::default(),
        protocol: UpstreamProtocol::Http1,
        connect_timeout: Duration::from_secs(1),
        outlier_detection: None,
    }
}

/// As the cluster says, without a hash.
const BALANCED: Choice = Choice::Balanced(None);

/// A worker: its random numbers, what runs at endpoints, what it owes.
#[derive(Default)]
struct Desk {
    random: RefCell<fastrand::Rng>,
    draws: RefCell<VecDeque<u64>>,
    active: BTreeMap<u32, u64>,
    owed: RefCell<BTreeMap<u32, i64>>,
}

impl Desk {
    fn seeded(seed: u64) -> Self {
        Self {
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            ..Self::default()
        }
    }
}

impl Bench for Desk {
    fn draw(&self, below: u64) -> u64 {
        let given = self.draws.borrow_mut().pop_front();
        given.unwrap_or_else(|| self.random.borrow_mut().u64(..below))
    }

    fn active(&self, id: EndpointId) -> u64 {
        self.active.get(&id.0).copied().unwrap_or(0)
    }

    fn owed(&self, id: EndpointId, change: i64, first: u64) -> i64 {
        let begin = || i64::try_from(self.draw(first)).unwrap();
        let mut owed = self.owed.borrow_mut();
        let owed = owed.entry(id.0).or_insert_with(begin);
        *owed += change;
        *owed
    }
}

const fn conditions<'a>(
    bench: &'a Desk,
    tried: &'a [EndpointId],
    now: u64,
) -> Conditions<'a, Desk> {
    Conditions {
        now,
        tried,
        bench,
        trials: None,
    }
}

fn shares_at(cluster: &Cluster, choice: Choice, tried: &[EndpointId], now: u64) -> Vec<u32> {
    let desk = Desk::seeded(7);
    let mut shares = vec![0; cluster.endpoints.len()];
    for _ in 0..10_000 {
        if let Some(endpoint) = pick(cluster, choice, &conditions(&desk, tried, now)) {
            shares[endpoint.id.0 as usize] += 1;
        }
    }
    shares
}

fn shares(cluster: &Cluster, choice: Choice, tried: &[EndpointId]) -> Vec<u32> {
    shares_at(cluster, choice, tried, 0)
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
    let shares = shares(&cluster(endpoints, 300), BALANCED, &[]);
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
    let shares = shares(&cluster(endpoints, 140), BALANCED, &[]);
    assert!((6_800..=7_200).contains(&shares[0]), "{shares:?}");
    assert_eq!(shares[0] + shares[2], 10_000);
}

#[test]
fn without_an_available_endpoint_nothing_is_picked() {
    let dead = cluster(
        vec![endpoint(0, 0, Unhealthy, 1), endpoint(1, 1, Draining, 1)],
        140,
    );
    assert_eq!(shares(&dead, BALANCED, &[]), [0, 0]);
    assert_eq!(shares(&cluster(vec![], 140), Choice::Weighted, &[]), [0; 0]);
}

#[test]
fn an_ejected_endpoint_is_passed_over_until_its_time_is_up() {
    let cluster = cluster(
        vec![endpoint(0, 0, Healthy, 1), endpoint(1, 1, Healthy, 1)],
        140,
    );
    cluster.endpoints[0].state.eject(50);
    let desk = Desk::seeded(1);
    let at = |now| {
        let conditions = conditions(&desk, &[], now);
        pick(&cluster, BALANCED, &conditions).unwrap().id
    };
    assert_eq!((at(49), at(50)), (EndpointId(1), EndpointId(0)));
}

#[test]
fn the_less_loaded_of_two_is_taken() {
    let cluster = cluster(
        vec![endpoint(0, 0, Healthy, 1), endpoint(1, 0, Healthy, 1)],
        140,
    );
    let desk = Desk {
        draws: RefCell::new([0, 1].into()),
        active: [(0, 5), (1, 4)].into(),
        ..Desk::default()
    };
    let picked = pick(&cluster, BALANCED, &conditions(&desk, &[], 0)).unwrap();
    assert_eq!(picked.id, EndpointId(1));
}

#[test]
fn weights_are_the_split_of_opaque_connections() {
    let endpoints = vec![endpoint(0, 0, Healthy, 5), endpoint(1, 0, Healthy, 95)];
    for choice in [Choice::Weighted, BALANCED] {
        let shares = shares(&cluster(endpoints.clone(), 140), choice, &[]);
        assert!((400..=600).contains(&shares[0]), "{choice:?} {shares:?}");
    }
}

#[test]
fn a_tried_endpoint_is_taken_again_only_where_nothing_else_is_left() {
    let endpoints = vec![endpoint(0, 0, Healthy, 1), endpoint(1, 1, Healthy, 1)];
    let cluster = cluster(endpoints, 140);
    let tried = [EndpointId(0)];
    assert_eq!(shares(&cluster, BALANCED, &tried), [0, 10_000]);
    let all = [EndpointId(0), EndpointId(1)];
    assert_eq!(shares(&cluster, BALANCED, &all), [10_000, 0]);
}

/// The same cluster, balanced so.
fn balanced(endpoints: Vec<Endpoint>, balancing: Balancing) -> Cluster {
    Cluster {
        balancing,
        ..cluster(endpoints, 140)
    }
}

const IN_TURN: Balancing = Balancing {
    policy: Policy::RoundRobin,
    panic_threshold: 0,
    slow_start: None,
    by_locality: false,
    breaker: None,
};

#[test]
fn of_more_choices_the_least_loaded_is_taken() {
    let endpoints = (0..4).map(|id| endpoint(id, 0, Healthy, 1)).collect();
    let policy = Policy::LeastRequest { choices: 3 };
    let balancing = Balancing {
        policy,
        ..Balancing::default()
    };
    let desk = Desk {
        draws: RefCell::new([0, 3, 2].into()),
        active: [(0, 5), (1, 0), (2, 3), (3, 4)].into(),
        ..Desk::default()
    };
    let cluster = balanced(endpoints, balancing);
    let picked = pick(&cluster, BALANCED, &conditions(&desk, &[], 0)).unwrap();
    assert_eq!(picked.id, EndpointId(2));
}

#[test]
fn in_turn_means_that_heavy_ones_do_not_come_in_a_row() {
    let endpoints = vec![endpoint(0, 0, Healthy, 2), endpoint(1, 0, Healthy, 2)];
    let cluster = balanced(endpoints, IN_TURN);
    let desk = Desk::seeded(3);
    let picks: Vec<u32> = (0..6)
        .map(|_| pick(&cluster, BALANCED, &conditions(&desk, &[], 0)))
        .map(|picked| picked.unwrap().id.0)
        .collect();
    assert!(picks.windows(2).all(|two| two[0] != two[1]), "{picks:?}");
}

#[test]
fn a_hash_goes_to_its_own_and_else_to_the_next_that_is_up() {
    let endpoints = (0..3).map(|id| endpoint(id, 0, Healthy, 1)).collect();
    let cluster = Cluster {
        tables: [Table::Ring([(10, 2), (20, 0), (30, 1)].into())].into(),
        ..cluster(endpoints, 140)
    };
    let desk = Desk::seeded(1);
    let to = |hash, tried: &[EndpointId]| {
        let choice = Choice::Balanced(Some(hash));
        let picked = pick(&cluster, choice, &conditions(&desk, tried, 0));
        picked.unwrap().id.0
    };
    assert_eq!([to(10, &[]), to(11, &[]), to(31, &[])], [2, 0, 2]);
    assert_eq!(to(11, &[EndpointId(0)]), 1);
    cluster.endpoints[0].state.eject(9);
    assert_eq!([to(10, &[]), to(11, &[])], [2, 1]);
    cluster.endpoints[2].state.eject(9);
    assert_eq!([to(10, &[]), to(31, &[])], [1, 1]);
}

#[test]
fn without_a_hash_any_place_of_the_table_will_do() {
    let endpoints = (0..2).map(|id| endpoint(id, 0, Healthy, 1)).collect();
    let cluster = Cluster {
        tables: [Table::Maglev([0, 1, 1].into())].into(),
        ..cluster(endpoints, 140)
    };
    let shares = shares(&cluster, BALANCED, &[]);
    assert!(shares[0].abs_diff(3_333) < 200, "{shares:?}");
}

#[test]
fn far_from_any_that_is_up_a_hash_still_has_one_endpoint() {
    let mut endpoints: Vec<_> = (0..4).map(|id| endpoint(id, 0, Unhealthy, 1)).collect();
    endpoints[1].health = Healthy;
    endpoints[2].health = Healthy;
    let mut places = vec![0; 5_000];
    places.push(1);
    let cluster = Cluster {
        tables: [Table::Maglev(places.into())].into(),
        ..cluster(endpoints, 200)
    };
    let desk = Desk::seeded(1);
    for hash in 0..20 {
        let to = || {
            let choice = Choice::Balanced(Some(hash));
            pick(&cluster, choice, &conditions(&desk, &[], 0))
                .unwrap()
                .id
        };
        assert_eq!(to(), EndpointId(1 + u32::try_from(hash % 2).unwrap()));
    }
}

#[test]
fn one_that_has_just_become_ready_is_led_up_to_its_share() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest { choices: 2 }] {
        let slow = SlowStart {
            window: Duration::from_secs(10),
            aggression: 1.0,
            least: 0.1,
        };
        let balancing = Balancing {
            policy,
            slow_start: Some(slow),
            ..Balancing::default()
        };
        let endpoints = vec![endpoint(0, 0, Healthy, 1), endpoint(1, 0, Healthy, 1)];
        let cluster = balanced(endpoints, balancing);
        let since = &cluster.endpoints[1].state.ready_since;
        since.store(20_000, Ordering::Relaxed);
        let part = |now| shares_at(&cluster, BALANCED, &[], now)[1];
        // One tenth against one, a half against one, one against one.
        for (now, expected) in [(20_000, 909), (25_000, 3_333), (30_000, 5_000)] {
            let part = part(now);
            assert!(part.abs_diff(expected) < 200, "{policy:?} {now}: {part}");
        }
    }
}

#[test]
fn a_locality_gets_its_weight_as_far_as_its_healthy_endpoints_bear_it() {
    let at = |id, number, health| Endpoint {
        locality: Locality {
            number,
            weight: [3, 1, 0][number as usize],
        },
        ..endpoint(id, 0, health, 1)
    };
    let balancing = Balancing {
        by_locality: true,
        ..IN_TURN
    };
    let zones = |healths: [Health; 5]| {
        let numbers = [0, 0, 1, 1, 2];
        let endpoints = (0..).zip(numbers).zip(healths);
        let endpoints = endpoints.map(|((id, number), health)| at(id, number, health));
        let cluster = Cluster {
            overprovisioning_factor: 100,
            ..balanced(endpoints.collect(), balancing)
        };
        let shares = shares(&cluster, BALANCED, &[]);
        [shares[0] + shares[1], shares[2] + shares[3], shares[4]]
    };
    let near = |shares: [u32; 3], expected: [u32; 3]| {
        let off = shares
            .iter()
            .zip(expected)
            .any(|(a, b)| a.abs_diff(b) > 250);
        assert!(!off, "{shares:?}, not {expected:?}");
    };
    near(zones([Healthy; 5]), [7_500, 2_500, 0]);
    let half = [Healthy, Unhealthy, Healthy, Healthy, Healthy];
    near(zones(half), [6_000, 4_000, 0]);
    let none = [Unhealthy, Draining, Healthy, Unhealthy, Healthy];
    near(zones(none), [0, 10_000, 0]);
    let last = [Unhealthy, Unhealthy, Unhealthy, Unhealthy, Healthy];
    near(zones(last), [0, 0, 10_000]);
}

#[test]
fn below_the_panic_threshold_health_is_not_looked_at() {
    let panicking = |healths: &[(u32, Health)], threshold| {
        let endpoints = (0..).zip(healths);
        let endpoints =
            endpoints.map(|(id, (priority, health))| endpoint(id, *priority, *health, 1));
        let balancing = Balancing {
            panic_threshold: threshold,
            ..IN_TURN
        };
        shares(&balanced(endpoints.collect(), balancing), BALANCED, &[])
    };
    let one = [(0, Healthy), (0, Unhealthy), (0, Draining), (0, Unhealthy)];
    let shares = panicking(&one, 50);
    assert!(
        [0, 1, 3].iter().all(|i| shares[*i].abs_diff(3_333) < 2),
        "{shares:?}"
    );
    assert_eq!(panicking(&one, 25), [10_000, 0, 0, 0]);
    assert_eq!(panicking(&one, 0), [10_000, 0, 0, 0]);
    // Another priority bears it all: nobody panics.
    let second = [(0, Unhealthy), (0, Unhealthy), (1, Healthy)];
    assert_eq!(panicking(&second, 50), [0, 0, 10_000]);
    let none = [(0, Unhealthy), (1, Unhealthy), (1, Draining)];
    let shares = panicking(&none, 50);
    assert!(
        shares[0].abs_diff(5_000) < 250 && shares[2] == 0,
        "{shares:?}"
    );
    assert_eq!(panicking(&none, 0), [0; 3]);
    assert_eq!(panicking(&[(0, Draining)], 50), [0]);
}

#[test]
fn who_looks_at_trials_does_not_panic() {
    let balancing = Balancing {
        panic_threshold: 50,
        ..IN_TURN
    };
    let cluster = balanced(vec![endpoint(0, 0, Healthy, 1)], balancing);
    let desk = Desk::seeded(1);
    let with = |trials| Conditions {
        trials,
        ..conditions(&desk, &[], 0)
    };
    assert!(pick(&cluster, BALANCED, &with(Some(0))).is_none());
    assert!(pick(&cluster, BALANCED, &with(None)).is_some());
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
    /// Over any number of picks nobody has more than two more or fewer than its weight's share.
    #[test]
    fn in_turn_each_has_the_share_of_its_weight(
        weights in prop::collection::vec(1_u32..9, 1..9),
        seed in any::<u64>(),
        picks in 1_u32..200,
    ) {
        let endpoints = (0..).zip(&weights).map(|(id, weight)| endpoint(id, 0, Healthy, *weight));
        let cluster = balanced(endpoints.collect(), IN_TURN);
        let desk = Desk::seeded(seed);
        let mut had = vec![0_u32; weights.len()];
        for _ in 0..picks {
            let picked = pick(&cluster, BALANCED, &conditions(&desk, &[], 0)).unwrap();
            had[picked.id.0 as usize] += 1;
        }
        let total: u32 = weights.iter().sum();
        for (had, weight) in had.iter().zip(&weights) {
            let due = f64::from(picks * weight) / f64::from(total);
            assert!((f64::from(*had) - due).abs() <= 2.0, "{had} of {due}");
        }
    }

    #[test]
    fn a_pick_is_healthy_and_exists_iff_any_is(
        endpoints in endpoints(),
        factor in 1_u32..2_000,
        seed in any::<u64>(),
        tried in prop::collection::vec(0_u32..12, 0..4),
    ) {
        let cluster = cluster(endpoints, factor);
        let desk = Desk {
            active: (0..12).map(|id| (id, u64::from(id))).collect(),
            ..Desk::seeded(seed)
        };
        let tried: Vec<_> = tried.into_iter().map(EndpointId).collect();
        for choice in [BALANCED, Choice::Weighted] {
            let picked = pick(&cluster, choice, &conditions(&desk, &tried, 0));
            assert_eq!(picked.is_some(), cluster.has_healthy_endpoint());
            assert!(picked.is_none_or(|endpoint| endpoint.health == Healthy));
        }
    }
}
