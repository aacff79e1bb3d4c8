//! The way back.

use super::world::{World, cookie, instances, policy, seconds};
use crate::model::{Command, Phase, Policy, Side};

fn rollback() -> Command {
    Command::Rollback {
        reason: "looks odd".to_owned(),
    }
}

#[test]
fn consecutive_failures_of_one_new_instance_roll_back() {
    let mut world = World::warmed_up(policy());
    world.new[1].consecutive_failures = 2;
    world.look();
    world.stands_at(Phase::WarmUp, 5);
    world.new[1].consecutive_failures = 3;
    world.acks = false;
    world.look();
    world.stands_at(Phase::RollingBack, 0);
    assert_eq!(
        world.status.rollback_reason.as_deref(),
        Some("shop/checkout-v2-1 failed 3 health checks in a row")
    );
    assert_eq!(world.status.token_epoch, 1);
    assert!(!world.status.traffic.new_sessions_held);
    assert_eq!(world.status.sessions_released_at, Some(world.now));
}

#[test]
fn a_blown_fuse_rolls_back() {
    let mut world = World::in_window(policy());
    world.new[0].ejected_by = 1;
    world.look();
    assert_eq!(world.status.phase, Phase::RollingBack);
    assert!(world.rules().contains(&"FuseBlown"));
}

#[test]
fn a_nack_of_an_unapplied_step_rolls_back_with_the_proxys_words() {
    let mut world = World::warmed_up(policy());
    world.acks = false;
    world.pass(10);
    world.nack = Some("route.cluster: unknown".into());
    world.look();
    world.stands_at(Phase::RollingBack, 0);
    let reason = world.status.rollback_reason.clone().unwrap();
    assert!(reason.contains("shop/web-0") && reason.contains("route.cluster: unknown"));
}

#[test]
fn failures_during_preparing_count_through_the_deadline_only() {
    let mut world = World::new(policy());
    world.new = instances("v2", 3, false);
    world.new[0].consecutive_failures = 50;
    world.pass(59);
    world.stands_at(Phase::Preparing, 0);
    world.pass(1);
    assert_eq!(world.status.phase, Phase::RollingBack);
    let reason = world.status.rollback_reason.clone().unwrap();
    assert!(reason.contains("0 of 1 new instance "), "{reason}");
    assert!(reason.contains("shop/checkout-v2-0"), "{reason}");
}

#[test]
fn a_new_version_that_is_gone_rolls_back() {
    let mut world = World::warmed_up(policy());
    world.new.clear();
    world.look();
    world.stands_at(Phase::RolledBack, 0);
    assert!(world.rules().contains(&"NewVersionGone"));
}

#[test]
fn two_versions_that_fail_alike_stand_still() {
    let mut world = World::warmed_up(policy());
    world.new[0].ejected_by = 1;
    world.old[0].consecutive_failures = 3;
    world.old[1].consecutive_failures = 3;
    world.pass(100);
    world.stands_at(Phase::WarmUp, 5);
    assert!(world.status.paused);
    assert!(world.status.conditions["BothVersionsFailing"].status);
    world.old[0].consecutive_failures = 0;
    world.look();
    assert_eq!(
        world.status.phase,
        Phase::RollingBack,
        "the old one is well again"
    );
    assert!(!world.status.conditions["BothVersionsFailing"].status);
}

#[test]
fn a_person_rolls_back_even_where_both_fail() {
    let mut world = World::warmed_up(policy());
    world.new[0].ejected_by = 1;
    world.old[0].ejected_by = 1;
    world.old[1].ejected_by = 1;
    world.look();
    world.command(rollback());
    assert_eq!(world.status.phase, Phase::RollingBack);
    assert_eq!(world.status.rollback_reason.as_deref(), Some("looks odd"));
}

#[test]
fn a_paused_upgrade_still_rolls_back() {
    let mut world = World::warmed_up(policy());
    world.command(Command::Pause);
    world.new[0].consecutive_failures = 3;
    world.look();
    assert_eq!(world.status.phase, Phase::RollingBack);
    assert!(!world.status.paused);
}

#[test]
fn new_instances_drain_after_every_proxy_has_gone_back() {
    let mut world = World::warmed_up(policy());
    world.acks = false;
    world.command(rollback());
    world.pass(100);
    assert_eq!(world.status.traffic.draining, None);
    world.ack();
    world.look();
    assert_eq!(world.status.traffic.draining, Some(Side::New));
    world.now = world.now.after(seconds(100));
    world.report_quiet();
    world.look();
    world.stands_at(Phase::RollingBack, 0);
    world.ack();
    world.look();
    world.now = world.now.after(seconds(1));
    world.report_quiet();
    world.look();
    world.stands_at(Phase::RolledBack, 0);
    assert_eq!(world.status.drained.len(), 3);
}

#[test]
fn draining_is_taken_back_while_an_old_instance_is_left() {
    let mut world = World::draining(policy());
    world.pass(0);
    world.now = world.now.after(seconds(1));
    world.report_quiet();
    world.old[2].active = 1;
    world.look();
    assert_eq!(world.status.drained.len(), 2);
    world.acks = false;
    world.command(rollback());
    world.stands_at(Phase::RollingBack, 0);
    assert!(world.status.traffic.old_sessions_held);
    assert_eq!(world.status.traffic.draining, None);
    assert_eq!(
        world.status.drained.len(),
        2,
        "they may be stopping already"
    );
    world.old.remove(0);
    world.look();
    assert_eq!(
        world.status.drained.len(),
        1,
        "another one of that name is new"
    );
}

#[test]
fn drained_old_instances_are_no_room_for_sessions() {
    let mut world = World::draining(Policy {
        affinity: cookie(),
        ..policy()
    });
    world.pass(0);
    world.now = world.now.after(seconds(1));
    world.report_quiet();
    world.old[1].active = 1;
    world.old[2].active = 1;
    world.look();
    assert_eq!(world.status.drained.len(), 1);
    world.command(rollback());
    world.stands_at(Phase::RollingBack, 0);
    let released = world.status.traffic.new_sessions_released;
    assert!(world.status.traffic.new_sessions_held);
    assert_eq!(released.basis_points(), 6_666, "2 of 3");
}

#[test]
fn a_rollback_without_an_old_instance_is_refused() {
    let mut world = World::draining(policy());
    world.now = world.now.after(seconds(1));
    world.report_quiet();
    world.look();
    assert_eq!(world.status.drained.len(), 3);
    world.command(rollback());
    world.stands_at(Phase::Draining, 100);
    assert!(
        world.status.conditions["CommandRefused"]
            .message
            .contains("looks odd")
    );
    world.new[0].consecutive_failures = 9;
    world.look();
    world.stands_at(Phase::Draining, 100);
    world.old.clear();
    world.look();
    world.stands_at(Phase::Succeeded, 100);
}

#[test]
fn a_deadline_without_a_way_back_is_told_once() {
    let mut world = World::new(policy());
    world.old.clear();
    world.new = instances("v2", 3, false);
    world.pass(60);
    world.pass(1);
    world.stands_at(Phase::Preparing, 0);
    assert!(world.status.conditions["RollbackRefused"].status);
    let told = world.notices.iter().filter(|n| *n == "RollbackRefused");
    assert_eq!(told.count(), 1);
}

#[test]
fn a_failing_version_without_a_way_back_goes_no_further_up() {
    let mut world = World::warmed_up(policy());
    world.old.clear();
    world.new[0].consecutive_failures = 3;
    world.pass(1_000);
    world.stands_at(Phase::WarmUp, 5);
    assert!(world.status.conditions["RollbackRefused"].status);
    world.new[0].consecutive_failures = 0;
    world.look();
    assert!(!world.status.conditions["RollbackRefused"].status);
}

#[test]
fn retry_prepares_anew_and_keeps_the_token_epoch() {
    let mut world = World::warmed_up(policy());
    world.command(rollback());
    world.now = world.now.after(seconds(2));
    world.report_quiet();
    world.look();
    world.stands_at(Phase::RolledBack, 0);
    world.pass(10_000);
    world.stands_at(Phase::RolledBack, 0);
    let lines = world.status.history.len();
    world.command(Command::Retry);
    world.stands_at(Phase::WarmUp, 5);
    assert_eq!(world.status.token_epoch, 1);
    assert!(world.status.traffic.new_sessions_held);
    assert!(world.status.drained.is_empty());
    assert!(world.status.history.len() > lines);
}

#[test]
fn a_rollback_after_the_end_is_refused() {
    let mut world = World::draining(policy());
    world.old.clear();
    world.look();
    world.command(rollback());
    world.stands_at(Phase::Succeeded, 100);
    assert_eq!(
        world.status.conditions["CommandRefused"].reason,
        "NothingToRollBack"
    );
}

#[test]
fn one_old_instance_that_is_broken_for_long_keeps_no_bad_version_in_place() {
    let mut world = World::warmed_up(policy());
    world.old[0].consecutive_failures = 10_000;
    world.new[0].consecutive_failures = 3;
    world.acks = false;
    world.look();
    world.stands_at(Phase::RollingBack, 0);
}

#[test]
fn a_proxy_that_refuses_the_way_back_does_not_hold_it_up_for_ever() {
    let mut world = World::warmed_up(policy());
    world.acks = false;
    world.pass(10);
    world.nack = Some("route.cluster: unknown".into());
    world.look();
    world.pass(59);
    assert_eq!(world.status.applied_at, None);
    world.pass(1);
    assert!(world.status.applied_at.is_some());
    assert!(world.rules().contains(&"Refused"));
    world.pass(60);
    assert_eq!(world.status.phase, Phase::RolledBack);
}

#[test]
fn a_run_whose_two_versions_are_gone_gives_way_to_a_third() {
    let mut world = World::warmed_up(policy());
    world.old.clear();
    world.new.clear();
    world.look();
    world.stands_at(Phase::WarmUp, 5);
    world.others = 1;
    world.look();
    world.stands_at(Phase::RolledBack, 0);
    assert!(world.rules().contains(&"Superseded"));
}
