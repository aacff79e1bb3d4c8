//! Sessions of the new version on the way back.

use super::world::{World, cookie, policy};
use crate::model::{Command, Phase, Policy, Share, Side, Verdict};

/// At 50 %, sessions on both sides; `ready` of three old instances are ready.
fn halfway(ready: usize) -> World {
    let mut world = World::warmed_up(Policy {
        affinity: cookie(),
        ..policy()
    });
    world.pass(10);
    world.stands_at(Phase::Shifting, 50);
    for old in &mut world.old[ready..] {
        old.ready = false;
    }
    world.acks = false;
    world
}

fn rollback() -> Command {
    Command::Rollback {
        reason: String::new(),
    }
}

fn points(points: u16) -> Share {
    Share::from_basis_points(points).unwrap()
}

#[test]
fn sessions_go_back_as_the_old_version_has_room() {
    let mut world = halfway(1);
    world.command(rollback());
    world.stands_at(Phase::RollingBack, 0);
    let traffic = world.status.traffic;
    assert!(traffic.new_sessions_held);
    assert_eq!(traffic.new_sessions_released, points(3_333));
    assert_eq!(world.status.token_epoch, 0, "tokens still hold");
    world.old[1].ready = true;
    world.look();
    let released = world.status.traffic.new_sessions_released;
    assert_eq!(released, points(3_333), "waits for the barrier");
    world.ack();
    world.look();
    let released = world.status.traffic.new_sessions_released;
    assert_eq!(released, points(6_666));
    world.ack();
    world.old[0].ready = false;
    world.look();
    let released = world.status.traffic.new_sessions_released;
    assert_eq!(released, points(6_666), "never taken again");
    world.old[0].ready = true;
    world.old[2].ready = true;
    world.look();
    let traffic = world.status.traffic;
    assert!(!traffic.new_sessions_held);
    assert_eq!(traffic.draining, None);
    assert_eq!(world.status.token_epoch, 1);
    assert_eq!(world.status.sessions_released_at, Some(world.now));
    world.ack();
    world.look();
    assert_eq!(world.status.traffic.draining, Some(Side::New));
    assert_eq!(world.status.token_epoch, 1);
}

#[test]
fn with_room_for_all_nothing_is_held() {
    let mut world = halfway(3);
    world.command(rollback());
    assert!(!world.status.traffic.new_sessions_held);
    assert_eq!(world.status.token_epoch, 1);
}

#[test]
fn worse_is_gentle_and_a_hard_failure_is_not() {
    let mut world = halfway(1);
    world.ack();
    world.look();
    let mut hard = world.clone();
    world.judge(Verdict::Worse);
    assert!(world.status.traffic.new_sessions_held);
    hard.new[0].consecutive_failures = 3;
    hard.look();
    assert_eq!(hard.status.phase, Phase::RollingBack);
    assert!(!hard.status.traffic.new_sessions_held);
}

#[test]
fn a_hard_failure_on_the_way_back_lets_all_go_at_once() {
    let mut world = halfway(1);
    world.command(rollback());
    world.new[0].ejected_by = 1;
    world.look();
    assert!(!world.status.traffic.new_sessions_held);
    assert_eq!(world.status.token_epoch, 1);
    world.stands_at(Phase::RollingBack, 0);
}

#[test]
fn after_the_time_of_a_drain_all_are_let_go() {
    let mut world = halfway(0);
    world.command(rollback());
    assert!(world.status.traffic.new_is_fallback, "it stands in");
    assert_eq!(world.status.traffic.new_sessions_released, Share::ZERO);
    world.pass(59);
    assert!(world.status.traffic.new_sessions_held);
    world.pass(1);
    assert!(!world.status.traffic.new_sessions_held);
    assert!(!world.status.traffic.new_is_fallback);
}

#[test]
fn lost_old_machines_carry_nothing() {
    let mut world = halfway(3);
    world.old[0].lost = true;
    world.command(rollback());
    assert_eq!(world.status.traffic.new_sessions_released, points(6_666));
}

#[test]
fn before_the_first_weight_there_are_no_sessions_to_hold() {
    let mut world = World::new(Policy {
        affinity: cookie(),
        ..policy()
    });
    world.new[0].ready = false;
    world.old[0].ready = false;
    world.acks = false;
    world.command(rollback());
    assert!(!world.status.traffic.new_sessions_held);
}
