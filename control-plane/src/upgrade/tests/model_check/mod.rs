//! Every order of events in a small world: an old and a new instance, a proxy, analysis, people, the
//! control plane's own death, and the clock.
//!
//! The shipped `advance` is the model. What may go wrong and what people may ask is bounded by a
//! budget; what heals is not. `SEGUE_MODEL=large` checks larger budgets. With `--nocapture` each
//! check prints its number of states.

mod ending;
mod event;
mod laws;
mod state;

use super::world::{START, cookie, seconds, step};
use crate::{
    model::{Affinity, Capacity, Drain, Health, OnLowTraffic, Phase, Policy, Rollback, Start},
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
                proxy: Proxy::Lags,
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
        if self.policy.affinity != Affinity::None && self.faults > 0 {
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

fn check(name: &str, policy: Policy, analysed: bool, small: (u8, u8), large: (u8, u8)) {
    let is_large = std::env::var("SEGUE_MODEL").is_ok_and(|size| size == "large");
    let (faults, verbs) = if is_large { large } else { small };
    let began = Instant::now();
    let checker = SmallWorld {
        policy,
        analysed,
        faults,
        verbs,
        ending: Mutex::default(),
    }
    .checker()
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
    check("canary with sessions", small_policy(), true, (1, 1), (2, 2));
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
    check("blue/green", policy, true, (1, 2), (2, 3));
}

#[test]
fn steps_that_wait_for_a_person() {
    let mut policy = small_policy();
    policy.steps = vec![step(5, 1), step(50, 0), step(100, 0)];
    policy.steps[0].manual = true;
    policy.analysis.on_low_traffic = OnLowTraffic::RollBack;
    check("manual step", policy, true, (0, 1), (1, 2));
}

#[test]
fn nothing_is_analysed() {
    let mut policy = small_policy();
    policy.analysis.on_low_traffic = OnLowTraffic::Proceed;
    check("without analysis", policy, false, (1, 1), (3, 2));
}

#[test]
fn low_traffic_that_goes_on() {
    let mut policy = small_policy();
    policy.affinity = Affinity::None;
    policy.analysis.on_low_traffic = OnLowTraffic::Proceed;
    check("low traffic goes on", policy, true, (1, 0), (2, 1));
}
