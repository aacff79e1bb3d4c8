//! Sessions and users over arbitrary sequences of weight changes, scale events, restarts of sidecars
//! and rollbacks, through the control plane's translation and the sidecar's decoder, compiler and
//! choice.
//!
//! The sequences and the draws are the same at every run: what is found is found again.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail as tests do"
)]

mod proxy;
mod service;

use proptest::{
    prelude::ProptestConfig,
    test_runner::{RngSeed, TestRunner},
};
use proxy::{Proxy, User};
use segue_control_plane::model::ShiftBy;
use service::{By, Event, State, cookie, events};
use std::collections::BTreeMap;

/// Two sidecars, so that what one user sees does not hang on one of them.
const PROXIES: usize = 2;
/// Users that stay all along.
const USERS: u32 = 120;
/// New ones after each event.
const FRESH: u32 = 400;
/// What is left out at each end of an interval: 99.999 % in all.
const TAIL: f64 = 0.5e-5;

/// The mesh under one sequence.
struct Run {
    state: State,
    proxies: Vec<Proxy>,
    rng: fastrand::Rng,
    next_user: u32,
}

impl Run {
    fn new(by: By, seed: u64) -> Self {
        let mut run = Self {
            state: State::new(by),
            proxies: (0..PROXIES).map(|_| Proxy::default()).collect(),
            rng: fastrand::Rng::with_seed(seed),
            next_user: 0,
        };
        run.tell();
        run
    }

    fn users(&mut self, number: u32) -> Vec<User> {
        let first = self.next_user;
        self.next_user += number;
        (first..self.next_user)
            .map(|id| User { id, cookie: None })
            .collect()
    }

    fn tell(&mut self) {
        let world = self.state.world();
        for proxy in &mut self.proxies {
            proxy.learn(&world);
        }
    }

    fn happens(&mut self, event: Event) -> bool {
        let happens = self.state.happens(event);
        if matches!(event, Event::Restart) {
            self.proxies[0] = Proxy::default();
        }
        self.tell();
        happens
    }

    /// Which version is chosen for a user, and which serves it, by one of the sidecars.
    fn serve(&mut self, user: &mut User) -> (String, String) {
        let proxy = &self.proxies[self.rng.usize(..PROXIES)];
        let answer = proxy.serve(user, &mut self.rng);
        (answer.chosen, answer.served)
    }

    /// The share of new users, or of new sessions, is the weight.
    fn check_share(&mut self) {
        let mut fresh = self.users(FRESH);
        let chosen = fresh.iter_mut().map(|user| self.serve(user).0);
        let new = u32::try_from(chosen.filter(|version| version == "v2").count()).unwrap();
        let weight = f64::from(self.state.weight) / 10_000.0;
        assert!(
            is_within(new, FRESH, weight),
            "{new} of {FRESH} at {weight}"
        );
    }
}

/// `P(X <= k)` and `P(X >= k)` are both above the tail, where X is binomial.
fn is_within(k: u32, n: u32, p: f64) -> bool {
    let point = |i: u32| -> f64 {
        let choose: f64 = (0..i)
            .map(|j| (f64::from(n - j) / f64::from(j + 1)).ln())
            .sum();
        let power = |base: f64, times: u32| {
            if times == 0 {
                0.0
            } else {
                f64::from(times) * base.ln()
            }
        };
        (choose + power(p, i) + power(1.0 - p, n - i)).exp()
    };
    let below: f64 = (0..=k).map(point).sum();
    let above: f64 = (k..=n).map(point).sum();
    below > TAIL && above > TAIL
}

fn for_sequences(check: impl Fn(Vec<Event>)) {
    let config = ProptestConfig {
        cases: 96,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(3),
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&events(), |events| {
            check(events);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn under_pin_a_session_changes_its_version_only_when_that_is_gone() {
    for_sequences(|events| {
        let mut run = Run::new(By::Pin, 1);
        let mut sessions: Vec<(User, String)> = Vec::new();
        for event in events {
            let rolled_back = run.happens(event) && matches!(event, Event::Rollback);
            for (user, version) in &mut sessions {
                let gone = run.state.is_gone(version) || (rolled_back && version == "v2");
                let (_, served) = run.serve(user);
                assert!(
                    served == *version || gone,
                    "{event:?} moved a session from {version} to {served}"
                );
                // Wherever it went, there it stays.
                let (_, again) = run.serve(user);
                assert_eq!(again, served, "moved twice for one {event:?}");
                *version = served;
            }
            run.check_share();
            for mut user in run.users(USERS / 4) {
                let version = run.serve(&mut user).1;
                sessions.push((user, version));
            }
        }
    });
}

#[test]
fn under_shift_users_move_one_way_as_the_weight_does_and_back_the_same_way() {
    let keys = [
        ShiftBy::Header("x-user".to_owned()),
        ShiftBy::SourceIp,
        ShiftBy::Cookie(cookie()),
    ];
    for key in keys {
        for_sequences(|events| {
            let mut run = Run::new(By::Shift(key.clone()), 1);
            let mut users = run.users(USERS);
            let mut at = vec![String::from("v1"); users.len()];
            for user in &mut users {
                run.serve(user);
            }
            let mut seen = BTreeMap::new();
            for event in events {
                let before = run.state.weight;
                run.happens(event);
                let weight = run.state.weight;
                let now: Vec<String> = users
                    .iter_mut()
                    .map(|user| {
                        let (chosen, served) = run.serve(user);
                        assert!(chosen == served || run.state.is_gone(&chosen));
                        chosen
                    })
                    .collect();
                for (was, is) in at.iter().zip(&now) {
                    let moved = (was.as_str(), is.as_str());
                    assert!(moved != ("v2", "v1") || weight < before, "{event:?}");
                    assert!(moved != ("v1", "v2") || weight > before, "{event:?}");
                }
                let known = seen.entry(weight).or_insert_with(|| now.clone());
                assert_eq!(*known, now, "the same weight, the same users");
                at = now;
                run.check_share();
            }
        });
    }
}

#[test]
fn the_interval_is_that_of_the_binomial_distribution() {
    assert!(is_within(0, 400, 0.0) && !is_within(1, 400, 0.0));
    assert!(is_within(400, 400, 1.0) && !is_within(399, 400, 1.0));
    // P(X <= 155) = 3.95e-6 and P(X <= 156) = 6.31e-6, summed exactly.
    assert!(!is_within(155, 400, 0.5) && is_within(156, 400, 0.5));
}
