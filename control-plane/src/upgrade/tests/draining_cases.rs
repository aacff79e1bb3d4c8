//! The end of the old version.

use super::world::{World, cookie, policy, seconds};
use crate::model::{Command, Drain, Phase, Policy, Side};

fn with_cookie() -> Policy {
    Policy {
        affinity: cookie(),
        drain: Drain {
            timeout: seconds(30),
            session_timeout: seconds(15),
        },
        ..policy()
    }
}

#[test]
fn sessions_of_the_old_version_end_before_its_instances_drain() {
    let mut world = World::in_window(with_cookie());
    world.now = world.now.after(seconds(20));
    world.last_old_session = Some(world.now);
    world.look();
    world.stands_at(Phase::Draining, 100);
    assert_eq!(world.status.traffic.draining, None);
    world.pass(14);
    assert!(world.status.traffic.old_sessions_held);
    world.pass(1);
    assert_eq!(world.status.traffic.draining, Some(Side::Old));
    assert_eq!(world.status.sessions_released_at, Some(world.now));
    assert!(world.rules().contains(&"SessionsEnded"));
}

#[test]
fn a_session_that_never_ends_is_held_for_the_session_timeout_only() {
    let mut world = World::in_window(with_cookie());
    world.last_old_session = Some(world.now.after(seconds(20)));
    world.pass(20);
    for _ in 0..15 {
        assert!(world.status.traffic.old_sessions_held);
        world.last_old_session = Some(world.now.after(seconds(1)));
        world.pass(1);
    }
    assert_eq!(world.status.traffic.draining, Some(Side::Old));
    assert!(world.rules().contains(&"SessionTimeout"));
}

#[test]
fn without_affinity_instances_drain_at_once() {
    let world = World::draining(policy());
    assert_eq!(world.status.traffic.draining, Some(Side::Old));
    assert!(!world.status.traffic.old_sessions_held);
}

#[test]
fn an_instance_is_drained_a_second_after_the_last_ack_and_the_last_activity() {
    let mut world = World::draining(policy());
    world.pass(0);
    world.report_quiet();
    world.look();
    assert!(world.status.drained.is_empty(), "the second is not over");
    world.now = world.now.after(seconds(1));
    world.report_quiet();
    world.old[1].last_activity = Some(world.now);
    world.old[2].active = 1;
    world.look();
    assert_eq!(world.status.drained.len(), 1);
    assert!(
        world
            .status
            .message
            .contains("1 of 3 old instances drained")
    );
}

#[test]
fn reports_that_have_ceased_prove_nothing() {
    let mut world = World::in_window(policy());
    world.report_quiet();
    world.pass(20);
    world.pass(10);
    assert!(world.status.drained.is_empty());
}

#[test]
fn nothing_is_drained_before_every_proxy_knows() {
    let mut world = World::in_window(policy());
    world.acks = false;
    world.pass(20);
    for _ in 0..100 {
        world.now = world.now.after(seconds(1));
        world.report_quiet();
        world.look();
    }
    assert!(world.status.drained.is_empty(), "{}", world.status.message);
}

#[test]
fn the_drain_timeout_frees_an_instance_that_stays_active() {
    let mut world = World::draining(policy());
    for instance in &mut world.old {
        instance.active = 7;
    }
    world.pass(59);
    assert!(world.status.drained.is_empty());
    world.pass(1);
    assert_eq!(world.status.drained.len(), 3);
    assert!(world.rules().contains(&"DrainTimeout"));
}

#[test]
fn it_has_succeeded_when_the_old_instances_are_gone() {
    let mut world = World::draining(policy());
    world.now = world.now.after(seconds(1));
    world.report_quiet();
    world.look();
    world.stands_at(Phase::Draining, 100);
    world.old.clear();
    world.look();
    world.stands_at(Phase::Succeeded, 100);
    assert_eq!(world.notices.last().map(String::as_str), Some("Succeeded"));
}

#[test]
fn pausing_keeps_the_old_instances() {
    let mut world = World::draining(policy());
    world.command(Command::Pause);
    world.report_quiet();
    world.pass(1_000);
    assert!(world.status.drained.is_empty());
}

#[test]
fn a_service_without_any_instance_has_not_succeeded() {
    let mut world = World::draining(policy());
    let new = std::mem::take(&mut world.new);
    world.old.clear();
    world.look();
    world.stands_at(Phase::Draining, 100);
    world.new = new;
    world.look();
    world.stands_at(Phase::Succeeded, 100);
}

#[test]
fn after_a_restart_nothing_goes_on_before_the_proxies_have_reported() {
    for (mut world, phase, weight) in [
        (World::warmed_up(policy()), Phase::WarmUp, 5),
        (World::in_window(policy()), Phase::RollbackWindow, 100),
        (World::draining(policy()), Phase::Draining, 100),
    ] {
        world.reports_pending = 3;
        let drains = world.status.traffic.draining;
        world.report_quiet();
        world.pass(1_000);
        world.stands_at(phase, weight);
        assert!(world.status.drained.is_empty());
        assert_eq!(world.status.traffic.draining, drains);
        assert!(
            world
                .status
                .message
                .contains("waits for the reports of 3 proxies"),
            "{}",
            world.status.message
        );
        let mut other = world.clone();
        other.new[0].ejected_by = 1;
        other.look();
        assert_eq!(
            other.status.phase,
            Phase::RollingBack,
            "going back never waits"
        );
        world.reports_pending = 0;
        world.report_quiet();
        world.pass(2);
        world.pass(60);
        assert!(
            (world.status.weight.basis_points() > weight * 100)
                || world.status.phase > phase
                || !world.status.drained.is_empty()
        );
    }
}
