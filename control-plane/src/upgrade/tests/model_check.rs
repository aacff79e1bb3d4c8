//! Every order of events in a small world: one old and one new instance, two steps.
//!
//! The shipped [`advance`] is the model. Time is kept relative: all that lies further back than
//! the longest duration of the policy looks alike, so that there are finitely many states.

use super::world::{START, World, cookie, instances, seconds, step};
use crate::model::{
    Capacity, Command, Drain, Health, Phase, Policy, Rollback, Share, Timestamp, UpgradeStatus,
};
use stateright::{Checker, Model, Property};
use std::hash::{Hash, Hasher};

/// Further back than any duration of the policy below.
const LONG_AGO: u64 = 4_000;
const STEPS: [u16; 2] = [50, 100];

fn small_policy() -> Policy {
    Policy {
        steps: STEPS.iter().map(|weight| step(*weight, 1)).collect(),
        capacity: Capacity::Match,
        affinity: cookie(),
        drain: Drain {
            timeout: seconds(2),
            session_timeout: seconds(1),
        },
        health: Health {
            interval: seconds(1),
            failure_threshold: 1,
        },
        rollback: Rollback { window: seconds(1) },
        progress_deadline: seconds(2),
        ..Policy::default()
    }
}

#[derive(Clone, Debug)]
struct State {
    world: World,
    /// The weights that were applied since the last start, in order.
    applied: Vec<Share>,
    /// An old instance was called drained before 100 % was applied.
    drained_early: bool,
}

impl State {
    /// All that the future depends on, as text; what is for people alone left out.
    fn essence(&self) -> String {
        let w = &self.world;
        serde_json::to_string(&(
            &w.status,
            &w.old,
            &w.new,
            w.status.generation.is_some_and(|g| w.acked < g.0),
            &w.nack,
            &w.last_old_session,
            &self.applied,
            self.drained_early,
        ))
        .unwrap()
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.essence() == other.essence()
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.essence().hash(state);
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Tick,
    Ack,
    Nack,
    Ready,
    Fail,
    Crash,
    Stop,
    Command(Command),
}

struct SmallWorld;

impl Model for SmallWorld {
    type State = State;
    type Action = Event;

    fn init_states(&self) -> Vec<State> {
        let mut world = World::new(small_policy());
        world.status.old_instances = 1;
        world.old = instances("v1", 1, true);
        world.new = instances("v2", 1, false);
        world.acks = false;
        let mut state = State {
            world,
            applied: Vec::new(),
            drained_early: false,
        };
        settle(&mut state, None);
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Event>) {
        let w = &state.world;
        actions.push(Event::Tick);
        if w.status.generation.is_some_and(|g| w.acked < g.0) {
            actions.extend([Event::Ack, Event::Nack]);
        }
        if let Some(new) = w.new.first() {
            actions.push(if new.ready { Event::Fail } else { Event::Ready });
            actions.push(Event::Crash);
        }
        if w.old.iter().any(|i| w.status.drained.contains(&i.workload)) {
            actions.push(Event::Stop);
        }
        actions.extend(
            [
                Command::Pause,
                Command::Resume,
                Command::Promote { full: false },
                Command::Rollback {
                    reason: String::new(),
                },
            ]
            .map(Event::Command),
        );
    }

    fn next_state(&self, last: &State, event: Event) -> Option<State> {
        let mut state = last.clone();
        let w = &mut state.world;
        let mut command = None;
        match event {
            Event::Tick => {
                w.now = w.now.after(seconds(1));
                w.report_quiet();
            }
            Event::Ack => {
                w.ack();
                w.nack = None;
            }
            Event::Nack => w.nack = Some("no".to_owned()),
            Event::Ready => {
                for new in &mut w.new {
                    new.ready = true;
                    new.consecutive_failures = 0;
                }
            }
            Event::Fail => {
                for new in &mut w.new {
                    new.ready = false;
                    new.consecutive_failures = 1;
                }
            }
            Event::Crash => w.new.clear(),
            Event::Stop => w.old.clear(),
            Event::Command(asked) => command = Some(asked),
        }
        settle(&mut state, command);
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "100 % only after each earlier step was applied",
                |_, s: &State| {
                    s.world.status.weight < Share::ALL
                        || s.world.status.phase < Phase::WarmUp
                        || s.applied.contains(&Share::from_percent(STEPS[0]).unwrap())
                },
            ),
            Property::always(
                "no old instance is drained before 100 % was applied",
                |_, s: &State| !s.drained_early,
            ),
            Property::always("going back means weight 0", |_, s: &State| {
                s.world.status.phase < Phase::RollingBack || s.world.status.weight == Share::ZERO
            }),
            Property::always("success means 100 %", |_, s: &State| {
                s.world.status.phase != Phase::Succeeded || s.world.status.weight == Share::ALL
            }),
            Property::sometimes("it succeeds", |_, s: &State| {
                s.world.status.phase == Phase::Succeeded
            }),
            Property::sometimes("it goes back", |_, s: &State| {
                s.world.status.phase == Phase::RolledBack
            }),
            Property::sometimes("it goes back from the window", |_, s: &State| {
                s.world.status.phase == Phase::RolledBack && s.applied.contains(&Share::ALL)
            }),
        ]
    }
}

/// Lets the engine look until nothing changes, then forgets what no longer matters.
fn settle(state: &mut State, command: Option<Command>) {
    let before = state.world.status.drained.clone();
    let phase = state.world.status.phase;
    match command {
        Some(command) => state.world.command(command),
        None => state.world.look(),
    }
    let status = &state.world.status;
    let old_drained = status
        .drained
        .iter()
        .any(|w| !before.contains(w) && state.world.old.iter().any(|i| i.workload == *w));
    for line in &status.history {
        if line.applied_at.is_some() && !state.applied.contains(&line.weight) {
            state.applied.push(line.weight);
        }
    }
    state.drained_early |= old_drained && !state.applied.contains(&Share::ALL);
    assert!(
        phase.is_final() || phase <= status.phase,
        "phases go one way"
    );
    rebase(&mut state.world);
}

/// Moves all times so that now is always the same, and drops what is for people.
fn rebase(world: &mut World) {
    let now = world.now;
    let move_one = |at: &mut Timestamp| {
        let age = now.0.saturating_sub(at.0).min(LONG_AGO);
        *at = Timestamp(START.0 - age);
    };
    let move_some = |at: &mut Option<Timestamp>| {
        if let Some(at) = at {
            move_one(at);
        }
    };
    forget(&mut world.status);
    move_one(&mut world.status.phase_since);
    move_some(&mut world.status.applied_at);
    move_some(&mut world.last_old_session);
    for line in &mut world.status.history {
        line.at = START;
        line.applied_at = line.applied_at.map(|_| START);
    }
    for instance in world.old.iter_mut().chain(&mut world.new) {
        move_some(&mut instance.last_activity);
        move_some(&mut instance.last_report);
    }
    world.now = START;
    let acked = world.status.generation.is_none_or(|g| world.acked >= g.0);
    world.published = 1;
    world.acked = u64::from(acked);
    if let Some(generation) = &mut world.status.generation {
        generation.0 = 1;
    }
    world.decisions.clear();
    world.notices.clear();
}

fn forget(status: &mut UpgradeStatus) {
    let keep = status.history.len().saturating_sub(1);
    drop(status.history.drain(..keep));
    for line in &mut status.history {
        line.reason.clear();
    }
    status.message.clear();
    status.next_at = None;
    status.sessions_released_at = None;
    status.rollback_reason = None;
    status.token_epoch = 0;
    for lagging in &mut status.applied.lagging {
        lagging.since = START;
    }
    status.conditions.clear();
}

#[test]
fn no_order_of_events_breaks_an_upgrade() {
    let checker = SmallWorld.checker().spawn_bfs().join();
    checker.assert_properties();
    assert!(
        checker.unique_state_count() > 100,
        "the world is too small to prove anything"
    );
}
