//! That every run can end: from each state, once faults cease and people answer what they are asked,
//! it ends within a bounded time.

use super::{
    SmallWorld, event,
    state::{Being, Burst, Essence, Proxy, Said, State, name},
};
use crate::model::{Command, Phase, Side};

/// Seconds within which everything ends that meets no obstacle any more.
const ENOUGH: usize = 60;

/// True where it ends. States known to end are kept, since most ways meet soon.
pub(super) fn is_reached(model: &SmallWorld, state: &State) -> bool {
    let mut state = state.clone();
    let mut way: Vec<Essence> = Vec::new();
    for _ in 0..ENOUGH {
        let essence = state.essence();
        if state.status.phase.is_final() || model.ending.lock().contains(&essence) {
            model.ending.lock().extend(way);
            return true;
        }
        way.push(essence);
        state = go_on(model, state);
    }
    false
}

/// A second in a world where all is well.
fn go_on(model: &SmallWorld, mut state: State) -> State {
    let env = &mut state.env;
    if env.new != Being::Ready {
        (env.new, env.ready_for) = (Being::Ready, 0);
    }
    if matches!(env.old, Being::Failing | Being::Lost) {
        env.old = Being::Ready;
    }
    if state.status.drained.contains(&name(Side::Old)) {
        env.old = Being::Gone;
    }
    if state.status.drained.contains(&name(Side::New)) {
        env.new = Being::Gone;
    }
    for proxy in env.proxies.iter_mut().flatten() {
        *proxy = Proxy::Acked;
    }
    (env.burst, env.said) = (Burst::None, Said::NotWorse);
    (env.verbs, env.busy) = (1, false);
    let asked = match state.status.phase {
        Phase::Pending => Some(Command::Start),
        _ if state.status.paused => Some(Command::Resume),
        Phase::WarmUp | Phase::Shifting
            if state.status.message.contains("segue upgrade promote") =>
        {
            Some(Command::Promote { full: false })
        }
        _ => None,
    };
    let happen = |state: &State, event: &event::Event| {
        event::happen(&model.policy, model.analysed, state, event)
    };
    if let Some(command) = asked {
        state = happen(&state, &event::Event::Asked(command));
    }
    let mut next = happen(&state, &event::Event::Tick);
    (next.env.verbs, next.env.faults) = (0, 0);
    next
}
