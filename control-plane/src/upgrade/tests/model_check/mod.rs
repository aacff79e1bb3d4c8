//! Every order of events in a small world: an old and a new instance, one or two proxies, analysis, people, the
//! control plane's own death, and the clock.
//!
//! The shipped `advance` is the model. What may go wrong and what people may ask is bounded by a
//! budget; what heals is not. `SEGUE_MODEL=large` checks larger budgets. With `--nocapture` each
//! check prints its number of states.

mod ending;
mod event;
mod laws;
mod state;

use super::world::{START, cookie, percent, seconds, step};
use crate::{
    model::{
        Affinity, Capacity, Drain, Health, Limits, OnLowTraffic, Phase, Policy, Rollback, Start,
    },
    upgrade,
};
use event::Event;
use parking_lot::Mutex;
use state::{Being, Burst, Env, Essence, Ghost, Proxy, Said, State};
use stateright::{Checker, Model, Property};
use std::{collections::HashSet, fmt::Write as _, io::Write as _, time::Instant};

/// A small world under one policy.
struct SmallWorld {
    policy: Policy,
    /// Analysis speaks.
    analysed: bool,
    two_proxies: bool,
    faults: u8,
    verbs: u8,
    ending: Mutex<HashSet<Essence>>,
}

impl Model for SmallWorld {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        let mut state = State {
            status: upgrade::begin(&self.policy, 1, START),
            env: Env {
                old: Being::Ready,
                new: Being::Starting,
                restarts: 0,
                ready_for: 0,
                third: false,
                proxies: [self.two_proxies.then_some(Proxy::Lags), Some(Proxy::Lags)],
                said: Said::NotYet,
                burst: Burst::None,
                busy: true,
                quiet_for: 0,
                sessionless_for: 0,
                faults: self.faults,
                verbs: self.verbs,
            },
            ghost: Ghost::default(),
        };
        event::settle(&self.policy, self.analysed, &mut state, None, START);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Event>) {
        actions.extend(event::possible(state, self.analysed));
    }

    fn next_state(&self, last: &State, event: Event) -> Option<State> {
        let state = event::happen(&self.policy, self.analysed, last, &event);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = vec![
            Property::always("no law is broken", |_, s: &State| s.ghost.broken.is_none()),
            Property::always("every run can end", ending::is_reached),
            Property::sometimes("it succeeds", |_, s: &State| {
                s.status.phase == Phase::Succeeded
            }),
            Property::sometimes("it goes back", |_, s: &State| {
                s.status.phase == Phase::RolledBack
            }),
            Property::sometimes("it goes back from 100 %", |_, s: &State| {
                s.ghost.all_applied && s.status.phase == Phase::RollingBack
            }),
        ];
        if self.analysed {
            all.push(Property::sometimes(
                "it pauses by itself",
                |_, s: &State| s.ghost.paused_itself,
            ));
        }
        if self.policy.affinity != Affinity::None && self.faults > 0 && self.verbs > 0 {
            all.push(Property::sometimes(
                "it holds sessions on the way back",
                |_, s: &State| {
                    s.status.phase == Phase::RollingBack && s.status.traffic.new_sessions_held
                },
            ));
        }
        all
    }
}

fn small_policy() -> Policy {
    let mut policy = Policy {
        steps: vec![step(50, 1), step(100, 1)],
        capacity: Capacity::Match,
        affinity: cookie(),
        drain: Drain {
            timeout: seconds(2),
            session_timeout: seconds(2),
        },
        health: Health {
            interval: seconds(1),
            failure_threshold: 2,
        },
        rollback: Rollback { window: seconds(1) },
        progress_deadline: seconds(2),
        ..Policy::default()
    };
    policy.analysis.max_wait = seconds(2);
    policy.analysis.warm_up = seconds(1);
    policy
}

/// How much may go wrong and may be asked.
#[derive(Clone, Copy)]
struct Budget {
    faults: u8,
    verbs: u8,
}

fn budget(faults: u8, verbs: u8) -> Budget {
    Budget { faults, verbs }
}

/// A policy, and whether analysis speaks of it.
struct Case {
    name: &'static str,
    policy: Policy,
    analysed: bool,
    two_proxies: bool,
}

impl Case {
    fn new(name: &'static str, policy: Policy) -> Self {
        Self {
            name,
            policy,
            analysed: true,
            two_proxies: false,
        }
    }
}

fn check(case: Case, small: Budget, large: Budget) {
    let name = case.name;
    let is_large = std::env::var("SEGUE_MODEL").is_ok_and(|size| size == "large");
    let Budget { faults, verbs } = if is_large { large } else { small };
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = SmallWorld {
        policy: case.policy,
        analysed: case.analysed,
        two_proxies: case.two_proxies,
        faults,
        verbs,
        ending: Mutex::default(),
    }
    .checker()
    .threads(threads)
    .spawn_bfs()
    .join();
    let states = checker.unique_state_count();
    let mut line = format!(
        "{name}: {states} states, {} steps, {} deep, at most {faults} faults and {verbs} verbs, {} s",
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs()
    );
    for law in laws::ALL {
        write!(line, "\n  law: {law}").unwrap();
    }
    for property in checker.model().properties() {
        write!(line, "\n  {:?}: {}", property.expectation, property.name).unwrap();
    }
    writeln!(std::io::stdout(), "{line}").unwrap();
    if let Some(path) = checker.discovery("no law is broken") {
        let broken = path.last_state().ghost.broken;
        panic!(
            "{name}: broken: {broken:?} after {:#?}",
            path.into_actions()
        );
    }
    if let Some(path) = checker.discovery("every run can end") {
        let state = path.last_state().clone();
        panic!(
            "{name}: no end of {state:#?} after {:#?}",
            path.into_actions()
        );
    }
    checker.assert_properties();
}

#[test]
fn canary_with_sessions() {
    let case = Case::new("canary with sessions", small_policy());
    check(case, budget(1, 1), budget(2, 1));
}

#[test]
fn canary_with_two_proxies() {
    let case = Case {
        two_proxies: true,
        ..Case::new("canary with two proxies", small_policy())
    };
    check(case, budget(1, 0), budget(1, 1));
}

#[test]
fn blue_green_without_sessions_started_by_hand() {
    let mut policy = Policy {
        steps: vec![step(100, 0)],
        capacity: Capacity::Full,
        affinity: Affinity::None,
        start: Start::Manual,
        ..small_policy()
    };
    policy.analysis.on_low_traffic = OnLowTraffic::RollBack;
    let case = Case::new("blue/green", policy);
    check(case, budget(1, 2), budget(2, 2));
}

#[test]
fn steps_that_wait_for_a_person() {
    let mut policy = small_policy();
    policy.steps = vec![step(5, 1), step(50, 0), step(100, 0)];
    policy.steps[0].manual = true;
    policy.analysis.on_low_traffic = OnLowTraffic::RollBack;
    let case = Case::new("manual step", policy);
    check(case, budget(0, 1), budget(1, 2));
}

#[test]
fn nothing_is_analysed() {
    let mut policy = small_policy();
    policy.analysis.on_low_traffic = OnLowTraffic::Proceed;
    let case = Case {
        analysed: false,
        ..Case::new("without analysis", policy)
    };
    check(case, budget(1, 1), budget(2, 2));
}

#[test]
fn low_traffic_that_goes_on() {
    let mut policy = small_policy();
    policy.affinity = Affinity::None;
    policy.analysis.on_low_traffic = OnLowTraffic::Proceed;
    let case = Case::new("low traffic goes on", policy);
    check(case, budget(1, 0), budget(2, 1));
}

/// The window may end early by hand, but not before its second second; the policy asks for more
/// failures than the limit allows.
#[test]
fn limits_of_the_mesh() {
    let mut policy = small_policy();
    policy.affinity = Affinity::None;
    policy.rollback.window = seconds(2);
    policy.health.failure_threshold = 3;
    policy.limits = Limits {
        owner: "ClusterUpgradePolicy mesh".to_owned(),
        max_first_weight: Some(percent(50)),
        min_rollback_window: Some(seconds(1)),
        max_failure_threshold: Some(2),
    };
    let case = Case {
        analysed: false,
        ..Case::new("limits of the mesh", policy)
    };
    check(case, budget(0, 3), budget(1, 3));
}
