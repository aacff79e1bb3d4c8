//! What may happen in a state, and what comes of it.

use super::{
    laws,
    state::{Being, Burst, Proxy, Said, State, is_judged, name},
};
use crate::{
    model::{Action, Command, Generation, Phase, Policy, Share, Side, Timestamp, UpgradeStatus},
    upgrade,
};

/// Something that happens.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// A second passes.
    Tick,
    /// One of the proxies answers.
    Proxy(usize, Proxy),
    New(Being),
    /// The new instance ends and starts again.
    Restart,
    Old(Being),
    Third,
    Says(Said),
    Fail(Burst),
    Busy(bool),
    /// A session is seen at the old version.
    Session,
    Asked(Command),
    /// The control plane is killed: commands under way are lost, the status is read from disk,
    /// and its generation is published and to be ACKed anew.
    Killed,
}

/// All that may happen in a state.
pub(super) fn possible(state: &State, analysed: bool) -> Vec<Event> {
    let (env, status) = (&state.env, &state.status);
    let mut events = vec![Event::Tick];
    if status.generation.is_some() {
        let behind = proxies(state, |proxy| proxy != Proxy::Acked);
        events.extend(behind.map(|n| Event::Proxy(n, Proxy::Acked)));
    }
    if env.burst != Burst::None {
        events.push(Event::Fail(Burst::None));
    }
    events.extend(
        match env.new {
            Being::Gone => Some(Being::Starting),
            Being::Ready => None,
            Being::Starting | Being::Failing | Being::Lost => Some(Being::Ready),
        }
        .map(Event::New),
    );
    if matches!(env.old, Being::Failing | Being::Lost) {
        events.push(Event::Old(Being::Ready));
    }
    if status.drained.contains(&name(Side::Old)) && env.old != Being::Gone {
        events.push(Event::Old(Being::Gone));
    }
    if status.drained.contains(&name(Side::New)) && env.new != Being::Gone {
        events.push(Event::New(Being::Gone));
    }
    if env.old == Being::Gone && env.new == Being::Gone && !env.third {
        events.push(Event::Third);
    }
    if status.traffic.draining.is_some() {
        events.push(Event::Busy(!env.busy));
    }
    if status.phase == Phase::Draining && env.sessionless_for > 0 {
        events.push(Event::Session);
    }
    if analysed && is_judged(status) {
        let all = [Said::NotYet, Said::NotWorse, Said::Worse, Said::Shared];
        events.extend(all.into_iter().filter(|s| *s != env.said).map(Event::Says));
    }
    if env.faults > 0 {
        faults(state, &mut events);
    }
    if env.verbs > 0 {
        verbs(&mut events);
    }
    events
}

/// Those of the proxies of which it holds; of two that are alike, one.
fn proxies(state: &State, holds: impl Fn(Proxy) -> bool) -> impl Iterator<Item = usize> {
    let [first, second] = state.env.proxies;
    let second = second.filter(|_| first != second);
    [first, second]
        .into_iter()
        .enumerate()
        .filter(move |(_, proxy)| proxy.is_some_and(&holds))
        .map(|(n, _)| n)
}

fn faults(state: &State, events: &mut Vec<Event>) {
    let (env, status) = (&state.env, &state.status);
    if status.generation.is_some() {
        let asked = proxies(state, |proxy| proxy == Proxy::Lags);
        events.extend(asked.map(|n| Event::Proxy(n, Proxy::Refused)));
    }
    if env.new == Being::Ready {
        events.extend([Event::New(Being::Failing), Event::Restart]);
    }
    if env.new != Being::Gone {
        events.extend([Event::New(Being::Gone), Event::New(Being::Lost)]);
    }
    if env.old == Being::Ready {
        events.push(Event::Old(Being::Failing));
    }
    if env.old != Being::Gone {
        events.extend([Event::Old(Being::Gone), Event::Old(Being::Lost)]);
    }
    if env.burst == Burst::None {
        events.extend([Event::Fail(Burst::New), Event::Fail(Burst::Both)]);
    }
    if !status.phase.is_final() {
        events.push(Event::Killed);
    }
}

fn verbs(events: &mut Vec<Event>) {
    let all = [
        Command::Start,
        Command::Pause,
        Command::Resume,
        Command::Promote { full: false },
        Command::Promote { full: true },
        Command::Rollback {
            reason: String::new(),
        },
        Command::Retry,
    ];
    events.extend(all.map(Event::Asked));
}

/// What comes of it.
pub(super) fn happen(policy: &Policy, analysed: bool, last: &State, event: &Event) -> State {
    let mut state = last.clone();
    let mut now = super::super::world::START;
    let mut command = None;
    let fault = is_fault(last, event);
    let env = &mut state.env;
    env.faults -= u8::from(fault);
    match event {
        Event::Tick => {
            now = now.after(super::super::world::seconds(1));
            state.age(&policy.limits);
        }
        Event::Proxy(n, proxy) => env.proxies[*n] = Some(*proxy),
        Event::New(being) => {
            env.new = *being;
            env.ready_for = 0;
        }
        Event::Restart => {
            env.new = Being::Starting;
            env.restarts = u8::min(env.restarts + 1, 2);
        }
        Event::Old(being) => env.old = *being,
        Event::Third => env.third = true,
        Event::Says(said) => env.said = *said,
        Event::Fail(burst) => env.burst = *burst,
        Event::Busy(busy) => (env.busy, env.quiet_for) = (*busy, 0),
        Event::Session => env.sessionless_for = 0,
        Event::Asked(asked) => {
            env.verbs -= 1;
            command = Some(asked.clone());
        }
        Event::Killed => {
            let text = serde_json::to_string(&state.status).unwrap();
            state.status = serde_json::from_str(&text).unwrap();
            env.tell();
        }
    }
    settle(policy, analysed, &mut state, command, now);
    state
}

fn is_fault(last: &State, event: &Event) -> bool {
    let stopped = |side| last.status.drained.contains(&name(side));
    match event {
        Event::Proxy(_, Proxy::Refused) | Event::Restart | Event::Killed => true,
        Event::New(Being::Gone) => !stopped(Side::New),
        Event::Old(Being::Gone) => !stopped(Side::Old),
        Event::New(being) | Event::Old(being) => matches!(being, Being::Failing | Being::Lost),
        Event::Fail(burst) => *burst != Burst::None,
        _ => false,
    }
}

/// Does what the engine does: looks until nothing changes. Each look is judged.
pub(super) fn settle(
    policy: &Policy,
    analysed: bool,
    state: &mut State,
    mut command: Option<Command>,
    now: Timestamp,
) {
    for _ in 0..50 {
        let mut seen = state.observation(now, analysed);
        seen.commands.extend(command.take());
        let before = state.status.clone();
        let (after, actions) = upgrade::advance(policy, &before, &seen, now);
        laws::judge_look(policy, analysed, state, &after, &seen, now);
        let asked = seen.commands.contains(&Command::Pause);
        take(state, after, &actions, asked);
        if state.status == before && actions.is_empty() {
            laws::judge_rest(policy, state, now);
            state.rebase(now);
            return;
        }
    }
    state.ghost.broken = Some("looks come to an end");
}

fn take(state: &mut State, after: UpgradeStatus, actions: &[Action], pause_asked: bool) {
    let ghost = &mut state.ghost;
    if after.generation.is_none() {
        ghost.drain_known = false;
    }
    if after.phase < state.status.phase {
        ghost.all_applied = false;
    }
    if after.phase != Phase::RollbackWindow {
        ghost.standby = 0;
    }
    let paused_now = !state.status.paused && !pause_asked;
    ghost.paused_itself = after.paused && (ghost.paused_itself || paused_now);
    if after.weight != state.status.weight {
        state.env.said = Said::NotYet;
    }
    state.status = after;
    if actions.contains(&Action::Publish) {
        state.status.generation = Some(Generation(1));
        state.env.tell();
    }
    let acked = state.status.generation.is_some() && state.env.all_acked();
    ghost.drain_known |= acked && state.status.traffic.draining.is_some();
    ghost.all_applied |= state.status.applied_at.is_some() && state.status.weight == Share::ALL;
}
