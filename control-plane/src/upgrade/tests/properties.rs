//! What holds whatever happens, in whatever order.

use super::world::{World, cookie, judged, policy, seconds};
use crate::model::{Command, Limits, Phase, Policy, Share, Side, Verdict};
use proptest::prelude::{
    Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

#[derive(Clone, Debug)]
enum Event {
    Pass(u64),
    Ack,
    Nack(bool),
    Ready(usize, bool),
    Fail(Side, usize, u32),
    Eject(Side, usize, u32),
    Active(Side, usize, u64),
    Restarts(Side, usize, u32),
    Lost(Side, usize, bool),
    Errors(Side, usize, u64),
    Says(Option<Verdict>, bool),
    Report,
    Session,
    Remove(Side),
    Command(Command),
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Old), Just(Side::New)]
}

fn verdicts() -> impl Strategy<Value = Option<Verdict>> {
    prop_oneof![
        1 => Just(None),
        2 => Just(Some(Verdict::NotYet)),
        4 => Just(Some(Verdict::NotWorse)),
        1 => Just(Some(Verdict::Worse)),
    ]
}

fn commands() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => Just(Command::Start),
        1 => Just(Command::Pause),
        3 => Just(Command::Resume),
        3 => any::<bool>().prop_map(|full| Command::Promote { full }),
        1 => Just(Command::Rollback { reason: String::new() }),
        1 => Just(Command::Retry),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..30_u64).prop_map(Event::Pass),
        8 => Just(Event::Ack),
        1 => any::<bool>().prop_map(Event::Nack),
        2 => (0..3_usize, any::<bool>()).prop_map(|(i, ready)| Event::Ready(i, ready)),
        1 => (side(), 0..3_usize, 0..4_u32).prop_map(|(s, i, n)| Event::Fail(s, i, n)),
        1 => (side(), 0..3_usize, 0..2_u32).prop_map(|(s, i, n)| Event::Eject(s, i, n)),
        2 => (side(), 0..3_usize, 0..3_u64).prop_map(|(s, i, n)| Event::Active(s, i, n)),
        1 => (side(), 0..3_usize, 0..5_u32).prop_map(|(s, i, n)| Event::Restarts(s, i, n)),
        1 => (side(), 0..3_usize, any::<bool>()).prop_map(|(s, i, l)| Event::Lost(s, i, l)),
        1 => (side(), 0..3_usize, 0..11_u64).prop_map(|(s, i, n)| Event::Errors(s, i, n)),
        6 => (verdicts(), any::<bool>()).prop_map(|(v, shared)| Event::Says(v, shared)),
        4 => Just(Event::Report),
        2 => Just(Event::Session),
        1 => side().prop_map(Event::Remove),
        2 => commands().prop_map(Event::Command),
    ]
}

fn apply(world: &mut World, event: &Event) {
    match event {
        Event::Pass(n) => world.now = world.now.after(seconds(*n)),
        Event::Ack => {
            world.ack();
            world.nack = None;
        }
        Event::Nack(on) => world.nack = on.then(|| "no".into()),
        Event::Ready(i, ready) => {
            if let Some(instance) = world.new.get_mut(*i) {
                instance.ready = *ready;
            }
        }
        Event::Fail(side, i, n) => with(world, *side, *i, |o| o.consecutive_failures = *n),
        Event::Eject(side, i, n) => with(world, *side, *i, |o| o.ejected_by = *n),
        Event::Active(side, i, n) => {
            let now = world.now;
            with(world, *side, *i, |o| {
                o.active = *n;
                o.last_activity = Some(now);
            });
        }
        Event::Restarts(side, i, n) => with(world, *side, *i, |o| o.restarts = *n),
        Event::Lost(side, i, lost) => with(world, *side, *i, |o| o.lost = *lost),
        Event::Errors(side, i, n) => with(world, *side, *i, |o| {
            (o.recent_requests, o.recent_errors) = (10, *n);
        }),
        Event::Says(verdict, shared) => {
            world.judgement = verdict.map(|verdict| judged(verdict, *shared));
        }
        Event::Report => world.report_quiet(),
        Event::Session => world.last_old_session = Some(world.now),
        Event::Remove(Side::Old) => drop(world.old.pop()),
        Event::Remove(Side::New) => drop(world.new.pop()),
        Event::Command(command) => return world.command(command.clone()),
    }
    world.look();
}

fn with(
    world: &mut World,
    side: Side,
    index: usize,
    change: impl FnOnce(&mut crate::model::InstanceObservation),
) {
    let instances = match side {
        Side::Old => &mut world.old,
        Side::New => &mut world.new,
    };
    if let Some(instance) = instances.get_mut(index) {
        change(instance);
    }
}

fn worlds() -> impl Strategy<Value = World> {
    (any::<bool>(), any::<bool>()).prop_map(|(affinity, acks)| {
        let mut world = World::new(Policy {
            affinity: if affinity {
                cookie()
            } else {
                policy().affinity
            },
            ..policy()
        });
        world.acks = acks;
        world
    })
}

fn was_asked(event: &Event, wanted: &Command) -> bool {
    matches!(event, Event::Command(command) if command == wanted)
}

proptest! {
    #[test]
    fn weights_rise_by_one_step_and_only_from_what_is_applied(
        mut world in worlds(),
        events in prop::collection::vec(events(), 1..80),
    ) {
        world.acks = false;
        let mut full = false;
        for event in &events {
            let before = world.status.clone();
            full |= was_asked(event, &Command::Promote { full: true });
            apply(&mut world, event);
            let after = &world.status;
            if after.weight > before.weight {
                let lines: Vec<_> = after.history[before.history.len()..].to_vec();
                let index = |w: Share| world.policy.steps.iter().position(|s| s.weight == w);
                let from = index(before.weight).map_or(0, |i| i + 1);
                prop_assert!(full || index(after.weight) == Some(from), "{lines:?}");
                let applied = before.applied_at.is_some() || before.phase == Phase::Preparing
                    || before.generation.is_some_and(|g| world.acked >= g.0);
                prop_assert!(applied, "{before:?}");
            }
        }
    }

    #[test]
    fn once_going_back_the_weight_stays_zero_until_retry(
        mut world in worlds(),
        events in prop::collection::vec(events(), 1..80),
    ) {
        for event in &events {
            let before = world.status.phase;
            apply(&mut world, event);
            if matches!(before, Phase::RollingBack | Phase::RolledBack)
                && !was_asked(event, &Command::Retry)
            {
                prop_assert_eq!(world.status.weight, Share::ZERO);
                prop_assert!(matches!(world.status.phase, Phase::RollingBack | Phase::RolledBack));
            }
        }
    }

    #[test]
    fn a_version_without_a_ready_instance_gets_no_more_weight(
        mut world in worlds(),
        events in prop::collection::vec(events(), 1..80),
    ) {
        for event in &events {
            let before = world.status.weight;
            apply(&mut world, event);
            if world.status.weight > before {
                prop_assert!(world.new.iter().any(|i| i.ready && !i.lost));
            }
        }
    }

    #[test]
    fn weight_never_rises_while_the_verdict_is_worse(
        mut world in worlds(),
        events in prop::collection::vec(events(), 1..80),
    ) {
        for event in &events {
            let before = world.status.weight;
            apply(&mut world, event);
            let worse = world.judgement.as_ref().is_some_and(|j| j.verdict == Verdict::Worse);
            // The first weight comes before anything is judged.
            if worse && before > Share::ZERO {
                prop_assert!(world.status.weight <= before);
            }
        }
    }

    #[test]
    fn a_paused_upgrade_moves_back_or_not_at_all(
        mut world in worlds(),
        events in prop::collection::vec(events(), 1..80),
    ) {
        for event in &events {
            let before = world.status.clone();
            apply(&mut world, event);
            let after = &world.status;
            let person = matches!(event, Event::Command(Command::Resume | Command::Start));
            if before.paused && !person && after.phase != Phase::Succeeded {
                let back = matches!(after.phase, Phase::RollingBack | Phase::RolledBack);
                prop_assert!(back || (after.phase, after.weight) == (before.phase, before.weight));
            }
        }
    }

    #[test]
    fn no_verb_and_no_edit_crosses_a_limit(
        mut world in worlds(),
        events in prop::collection::vec(events(), 1..80),
        edit in 0..80_usize,
    ) {
        let policy = Policy {
            limits: Limits {
                owner: "ClusterUpgradePolicy mesh".to_owned(),
                max_first_weight: Share::from_percent(5),
                min_rollback_window: Some(seconds(20)),
                max_failure_threshold: Some(3),
            },
            ..world.policy.clone()
        };
        world.policy = policy;
        let mut full_since = None;
        for (n, event) in events.iter().enumerate() {
            if n == edit {
                world.policy.steps.remove(0);
                world.policy.rollback.window = seconds(1);
            }
            let before = world.status.clone();
            apply(&mut world, event);
            let after = &world.status;
            if before.weight == Share::ZERO {
                let lines = &after.history[before.history.len()..];
                let first = lines.iter().map(|line| line.weight).find(|w| *w > Share::ZERO);
                prop_assert!(first <= Share::from_percent(5), "{lines:?}");
            }
            if before.phase < Phase::Draining && after.phase == Phase::Draining {
                let stood_by = full_since.map(|at| world.now.since(at));
                prop_assert!(stood_by >= Some(seconds(20)), "{stood_by:?}");
            }
            full_since = (after.phase == Phase::RollbackWindow && after.applied_at.is_some())
                .then(|| full_since.unwrap_or(world.now));
        }
    }

    #[test]
    fn what_stands_in_the_history_stays_there(
        mut world in worlds(),
        events in prop::collection::vec(events(), 1..80),
    ) {
        for event in &events {
            let before = world.status.history.clone();
            apply(&mut world, event);
            let after = &world.status.history[..before.len()];
            for (old, new) in before.iter().zip(after) {
                prop_assert_eq!((old.phase, old.weight, old.at, &old.reason),
                    (new.phase, new.weight, new.at, &new.reason));
            }
        }
    }

    #[test]
    fn an_instance_is_drained_only_after_every_proxy_knows_that_it_drains(
        mut world in worlds(),
        events in prop::collection::vec(events(), 1..80),
    ) {
        world.acks = false;
        for event in &events {
            let before = world.status.drained.clone();
            apply(&mut world, event);
            if world.status.drained.iter().any(|w| !before.contains(w)) {
                prop_assert!(world.status.traffic.draining.is_some());
                let refused = world.status.phase == Phase::RollingBack && world.nack.is_some();
                let known = world.status.generation.is_some_and(|g| world.acked >= g.0);
                prop_assert!(known || refused || world.rules().contains(&"Refused"));
            }
        }
    }

    #[test]
    fn a_status_survives_writing_and_reading(
        mut world in worlds(),
        events in prop::collection::vec(events(), 1..40),
    ) {
        for event in &events {
            apply(&mut world, event);
        }
        let text = serde_json::to_string(&world.status).unwrap();
        let read: crate::model::UpgradeStatus = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(read, world.status);
    }
}
