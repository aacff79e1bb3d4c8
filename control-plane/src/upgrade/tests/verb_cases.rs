//! Every verb in every phase, and verbs at awkward moments.

use super::world::{World, policy, seconds};
use crate::{
    model::{Command, Phase, Policy, Share, Side, Start, Verdict},
    upgrade,
};
use std::mem::discriminant;

/// A run in that phase. Proxies do not ACK from then on, so that what a verb does stays to be seen.
fn run_in(phase: Phase) -> World {
    let mut world = match phase {
        Phase::Pending => World::new(Policy {
            start: Start::Manual,
            ..policy()
        }),
        Phase::Preparing => {
            let mut world = World::new(policy());
            world.new[0].ready = false;
            world.new.truncate(1);
            world
        }
        Phase::WarmUp => World::warmed_up(policy()),
        Phase::Shifting => {
            let mut world = World::warmed_up(policy());
            world.pass(10);
            world
        }
        Phase::RollbackWindow => World::in_window(policy()),
        Phase::Draining => World::draining(policy()),
        Phase::Succeeded => {
            let mut world = World::draining(policy());
            world.old.clear();
            world
        }
        Phase::RollingBack | Phase::RolledBack => {
            let mut world = World::warmed_up(policy());
            world.acks = false;
            world.command(rollback());
            world
        }
    };
    if phase == Phase::RolledBack {
        world.new.clear();
        world.ack();
    }
    world.look();
    world.acks = false;
    assert_eq!(world.status.phase, phase, "{}", world.status.message);
    world
}

fn rollback() -> Command {
    Command::Rollback {
        reason: "looks odd".to_owned(),
    }
}

/// What a verb leads to: another phase, or why it is refused, or nothing but a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Goes(Phase),
    Stays,
    Refused(&'static str),
}
use To::{Goes, Refused, Stays};

const PHASES: [Phase; 9] = [
    Phase::Pending,
    Phase::Preparing,
    Phase::WarmUp,
    Phase::Shifting,
    Phase::RollbackWindow,
    Phase::Draining,
    Phase::Succeeded,
    Phase::RollingBack,
    Phase::RolledBack,
];

fn outcome(command: &Command, phase: Phase) -> To {
    use Phase::{
        Draining, Pending, Preparing, RollbackWindow, RolledBack, RollingBack, Shifting, Succeeded,
        WarmUp,
    };
    match (command, phase) {
        (Command::Start, Pending) | (Command::Retry, RolledBack) => Goes(Preparing),
        (Command::Start, _) => Refused("AlreadyStarted"),
        (Command::Pause, RollingBack | RolledBack | Succeeded) => Refused("NothingToPause"),
        (Command::Resume, RollingBack | RolledBack | Succeeded) => Refused("NothingToResume"),
        (Command::Pause | Command::Resume, _) | (Command::Promote { full: true }, Preparing) => {
            Stays
        }
        (Command::Promote { .. }, WarmUp | Shifting) => Goes(Shifting),
        (Command::Promote { full: false }, RollbackWindow) => Goes(Draining),
        (Command::Promote { .. }, _) => Refused("NothingToPromote"),
        (Command::Rollback { .. }, RollingBack | RolledBack | Succeeded) => {
            Refused("NothingToRollBack")
        }
        (Command::Rollback { .. }, _) => Goes(RollingBack),
        (Command::Retry, _) => Refused("NothingToRetry"),
    }
}

#[test]
fn every_verb_in_every_phase() {
    let verbs = [
        Command::Start,
        Command::Pause,
        Command::Resume,
        Command::Promote { full: false },
        Command::Promote { full: true },
        rollback(),
        Command::Retry,
    ];
    for command in verbs.clone() {
        for phase in PHASES {
            let to = outcome(&command, phase);
            let mut world = run_in(phase);
            let weight = world.status.weight;
            world.command(command.clone());
            let status = &world.status;
            let at = format!("{command:?} in {phase}: {}", status.message);
            let refused = status
                .conditions
                .get("CommandRefused")
                .map(|c| c.reason.as_str());
            for other in &verbs {
                let says_so = upgrade::refused(status, other).is_some();
                let same = discriminant(other) == discriminant(&command);
                assert_eq!(says_so, refused.is_some() && same, "{other:?}, not {at}");
            }
            match to {
                Goes(next) => assert_eq!((status.phase, refused), (next, None), "{at}"),
                Stays => assert_eq!((status.phase, refused), (phase, None), "{at}"),
                Refused(reason) => {
                    assert_eq!((status.phase, refused), (phase, Some(reason)), "{at}");
                    assert_eq!(status.weight, weight, "{at}");
                }
            }
            assert_eq!(status.paused, command == Command::Pause && to == Stays);
        }
    }
}

#[test]
fn every_phase_goes_back_from_a_pause_too() {
    for phase in &PHASES[..6] {
        let mut world = run_in(*phase);
        world.command(Command::Pause);
        world.command(Command::Pause);
        assert!(world.status.paused);
        world.command(rollback());
        world.stands_at(Phase::RollingBack, 0);
        assert!(!world.status.paused);
    }
}

#[test]
fn a_promote_with_the_rollback_is_of_no_use() {
    for full in [false, true] {
        let mut world = run_in(Phase::Shifting);
        world.new[0].consecutive_failures = 3;
        world.command(Command::Promote { full });
        world.stands_at(Phase::RollingBack, 0);
        assert!(!world.status.promoted && !world.status.promoted_full);
        world.command(Command::Promote { full });
        world.stands_at(Phase::RollingBack, 0);
    }
}

#[test]
fn a_rollback_right_after_everything_was_given_goes_back() {
    let mut world = World::warmed_up(policy());
    world.acks = false;
    world.command(Command::Promote { full: true });
    world.stands_at(Phase::Shifting, 100);
    world.command(rollback());
    world.stands_at(Phase::RollingBack, 0);
    world.ack();
    world.look();
    assert_eq!(world.status.traffic.draining, Some(Side::New));
}

#[test]
fn a_pause_in_draining_keeps_what_is_left_until_resume() {
    let mut world = World::draining(policy());
    world.now = world.now.after(seconds(1));
    world.report_quiet();
    world.old[2].active = 1;
    world.look();
    assert_eq!(world.status.drained.len(), 2);
    world.command(Command::Pause);
    world.pass(10_000);
    assert_eq!(world.status.drained.len(), 2);
    world.command(Command::Resume);
    world.pass(59);
    world.command(Command::Resume);
    assert_eq!(world.status.drained.len(), 2, "its time counts anew");
    world.pass(1);
    assert_eq!(world.status.drained.len(), 3);
    world.stands_at(Phase::Draining, 100);
    assert!(!world.status.conditions.contains_key("CommandRefused"));
}

#[test]
fn pausing_at_a_stroke_with_a_step_wins_over_it() {
    let mut world = World::warmed_up(policy());
    world.judgement = Some(super::world::judged(Verdict::NotWorse, false));
    world.now = world.now.after(seconds(10));
    world.command(Command::Pause);
    world.stands_at(Phase::WarmUp, 5);
    world.command(Command::Promote { full: true });
    world.stands_at(Phase::WarmUp, 5);
    world.command(Command::Resume);
    world.stands_at(Phase::RollbackWindow, 100);
}

#[test]
fn a_retry_while_the_old_version_is_gone_waits_for_the_new_one() {
    let mut world = run_in(Phase::RolledBack);
    world.old.clear();
    world.command(Command::Retry);
    world.stands_at(Phase::Preparing, 0);
    assert_eq!(world.status.old_instances, 0);
    world.acks = true;
    world.new = super::world::instances("v2", 1, true);
    world.look();
    assert!(world.status.weight > Share::ZERO);
}
