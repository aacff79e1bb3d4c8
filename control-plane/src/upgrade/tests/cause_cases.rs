//! What rolls back, what does not, and what is only told.

use super::world::{World, cookie, instances, policy, seconds};
use crate::model::{Command, InstanceObservation, Phase, Policy, Side};

fn burst(instances: &mut [InstanceObservation], errors: u64, requests: u64) {
    instances[0].recent_errors = errors;
    instances[0].recent_requests = requests;
}

fn reason(world: &World) -> String {
    world.status.rollback_reason.clone().unwrap_or_default()
}

#[test]
fn a_burst_takes_five_errors_and_half_of_a_seconds_requests() {
    for (errors, requests, back) in [
        (4, 4, false),
        (5, 5, true),
        (5, 10, true),
        (5, 11, false),
        (500, 1_000, true),
        (499, 1_000, false),
    ] {
        let mut world = World::warmed_up(policy());
        world.acks = false;
        burst(&mut world.new, errors, requests);
        world.look();
        let went = world.status.phase == Phase::RollingBack;
        assert_eq!(went, back, "{errors} of {requests}");
        assert_eq!(world.rules().contains(&"ErrorBurst"), back);
    }
}

#[test]
fn a_burst_counts_over_all_new_instances() {
    let mut world = World::warmed_up(policy());
    for new in &mut world.new {
        (new.recent_errors, new.recent_requests) = (2, 3);
    }
    world.look();
    assert!(world.rules().contains(&"ErrorBurst"));
    let reason = reason(&world);
    assert!(reason.contains("6 of 9 requests"), "{reason}");
}

#[test]
fn a_burst_of_both_versions_stands_still() {
    let mut world = World::warmed_up(policy());
    burst(&mut world.new, 10, 10);
    burst(&mut world.old, 50, 100);
    world.look();
    world.stands_at(Phase::WarmUp, 5);
    assert!(world.status.conditions["BothVersionsFailing"].status);
    burst(&mut world.old, 49, 100);
    world.look();
    assert_eq!(world.status.phase, Phase::RollingBack);
}

#[test]
fn a_fuse_that_blows_first_is_no_cause_where_the_old_version_errs_alike() {
    let mut world = World::warmed_up(policy());
    world.new[0].ejected_by = 1;
    burst(&mut world.new, 3, 40);
    let mut rare = world.clone();
    burst(&mut world.old, 1, 20);
    world.look();
    world.stands_at(Phase::WarmUp, 5);
    assert!(world.status.conditions["BothVersionsFailing"].status);
    // Three of many are no failure like it.
    burst(&mut rare.old, 3, 900);
    rare.look();
    assert_eq!(rare.status.phase, Phase::RollingBack);
}

#[test]
fn numbers_that_come_and_go_are_told_once() {
    let mut world = World::warmed_up(policy());
    for n in 0..10 {
        burst(&mut world.new, 10 + n, 10 + n);
        burst(&mut world.old, 90 + n, 100 + n);
        world.look();
        burst(&mut world.new, 0, 10);
        world.look();
    }
    assert!(world.status.paused);
    assert!(!world.status.conditions["BothVersionsFailing"].status);
    let told = world.notices.iter().filter(|n| *n == "BothVersionsFailing");
    assert_eq!(told.count(), 1);
}

#[test]
fn an_instance_that_crashes_again_and_again_rolls_back() {
    let mut world = World::warmed_up(policy());
    world.new[2].restarts = 2;
    world.look();
    world.stands_at(Phase::WarmUp, 5);
    world.new[2].restarts = 3;
    world.look();
    assert!(world.rules().contains(&"CrashLoop"));
    let reason = reason(&world);
    assert!(reason.contains("shop/checkout-v2-2"), "{reason}");
    assert!(reason.contains("3 times"), "{reason}");
}

#[test]
fn an_instance_that_stays_up_has_left_its_crashes_behind() {
    let mut world = World::warmed_up(policy());
    world.old.clear();
    world.new[0].restarts = 3;
    world.new[0].ready_since = Some(world.now);
    world.pass(29);
    world.stands_at(Phase::WarmUp, 5);
    assert!(world.status.conditions["RollbackRefused"].status);
    world.pass(1);
    world.stands_at(Phase::Shifting, 50);
}

#[test]
fn a_crash_loop_rolls_back_before_the_first_weight_too() {
    let mut world = World::new(policy());
    world.new[0].restarts = 3;
    world.look();
    assert!(world.rules().contains(&"CrashLoop"));
    assert_ne!(world.status.phase, Phase::WarmUp);
}

#[test]
fn retry_forgives_the_crashes_before_it() {
    let mut world = World::warmed_up(policy());
    world.new[0].restarts = 3;
    let new = world.new.clone();
    world.new.clear();
    world.look();
    world.stands_at(Phase::RolledBack, 0);
    world.new = new;
    world.command(Command::Retry);
    world.stands_at(Phase::WarmUp, 5);
    world.new[0].restarts = 5;
    world.look();
    world.stands_at(Phase::WarmUp, 5);
    world.new[0].restarts = 6;
    world.look();
    assert_eq!(world.status.phase, Phase::RollingBack);
}

#[test]
fn a_lost_machine_is_no_fault_of_its_version() {
    let mut world = World::warmed_up(policy());
    let lost = &mut world.new[0];
    lost.lost = true;
    lost.ready = false;
    lost.consecutive_failures = 50;
    lost.restarts = 50;
    lost.ejected_by = 3;
    burst(&mut world.new, 50, 50);
    world.look();
    world.stands_at(Phase::WarmUp, 5);
    world.pass(10);
    world.stands_at(Phase::Shifting, 50);
}

#[test]
fn a_lost_old_machine_does_not_keep_a_bad_version_in_place() {
    let mut world = World::warmed_up(policy());
    for old in &mut world.old[..2] {
        old.lost = true;
        old.consecutive_failures = 50;
        old.ejected_by = 3;
    }
    world.new[0].consecutive_failures = 3;
    world.look();
    assert_eq!(world.status.phase, Phase::RollingBack);
}

fn lose_all(instances: &mut [InstanceObservation], lost: bool) {
    for instance in instances {
        (instance.lost, instance.ready) = (lost, !lost);
    }
}

/// 5 % of up to twenty instances is one.
#[test]
fn the_loss_of_the_only_new_machine_is_waited_for_and_the_upgrade_goes_on() {
    let mut world = World::warmed_up(policy());
    world.new.truncate(1);
    lose_all(&mut world.new, true);
    world.new[0].ejected_by = 3;
    world.look();
    assert_eq!(world.rules().last(), Some(&"MachinesLost"));
    assert_eq!(world.status.next_at, Some(world.now.after(seconds(60))));
    world.command(Command::Promote { full: false });
    world.pass(59);
    world.stands_at(Phase::WarmUp, 5);
    let message = world.status.message.clone();
    assert!(message.contains("lost: shop/checkout-v2-0"), "{message}");
    let told = world.notices.iter().filter(|n| *n == "MachinesLost");
    assert_eq!(told.count(), 1);
    world.new = instances("v2", 3, true);
    world.look();
    world.stands_at(Phase::Shifting, 50);
    assert!(!world.status.conditions["MachinesLost"].status);
    assert_eq!(world.status.notes.lost_since, None);
}

#[test]
fn machines_that_do_not_come_back_are_given_up_at_the_deadline() {
    let mut world = World::warmed_up(policy());
    lose_all(&mut world.new, true);
    world.look();
    world.pass(59);
    lose_all(&mut world.new, false);
    world.look();
    lose_all(&mut world.new, true);
    world.look();
    world.pass(59);
    world.stands_at(Phase::Shifting, 50);
    world.pass(1);
    assert_eq!(world.status.phase, Phase::RollingBack);
    let reason = reason(&world);
    assert!(reason.contains("not back within 60 s"), "{reason}");
}

#[test]
fn the_old_version_neither_ends_its_standby_nor_drains_while_the_new_one_is_lost() {
    let with_sessions = Policy {
        affinity: cookie(),
        ..policy()
    };
    let mut world = World::in_window(with_sessions);
    lose_all(&mut world.new, true);
    world.pass(30);
    world.stands_at(Phase::RollbackWindow, 100);
    lose_all(&mut world.new, false);
    world.last_old_session = Some(world.now);
    world.look();
    world.stands_at(Phase::Draining, 100);
    lose_all(&mut world.new, true);
    world.look();
    world.pass(59);
    world.stands_at(Phase::Draining, 100);
    assert_eq!(world.status.traffic.draining, None);
    world.pass(1);
    assert_eq!(world.status.phase, Phase::RollingBack);
}

#[test]
fn where_the_old_version_drains_the_loss_of_the_new_one_goes_back_at_once() {
    let mut world = World::draining(policy());
    assert_eq!(world.status.traffic.draining, Some(Side::Old));
    lose_all(&mut world.new, true);
    world.acks = false;
    world.look();
    world.stands_at(Phase::RollingBack, 0);
    assert_eq!(world.status.traffic.draining, None);
}

#[test]
fn where_both_versions_machines_are_lost_nothing_goes_back() {
    let mut world = World::warmed_up(policy());
    for i in world.new.iter_mut().chain(&mut world.old) {
        i.lost = true;
    }
    world.pass(200);
    world.stands_at(Phase::WarmUp, 5);
    world.old[0].lost = false;
    world.look();
    world.stands_at(Phase::WarmUp, 5);
    world.pass(60);
    assert_eq!(world.status.phase, Phase::RollingBack);
}

#[test]
fn it_does_not_go_back_to_lost_machines() {
    let mut world = World::warmed_up(policy());
    for old in &mut world.old {
        old.lost = true;
    }
    world.new[0].consecutive_failures = 3;
    world.pass(100);
    world.stands_at(Phase::WarmUp, 5);
    let condition = &world.status.conditions["RollbackRefused"];
    assert!(condition.message.contains("machines"), "{condition:?}");
}

#[test]
fn instances_that_never_turn_ready_roll_back_with_their_names() {
    let mut world = World::warmed_up(policy());
    world.new[1].ready = false;
    world.new[2].ready = false;
    world.pass(10);
    world.pass(59);
    world.stands_at(Phase::WarmUp, 5);
    assert!(world.status.next_at.is_some());
    world.pass(1);
    assert!(world.rules().contains(&"NeverReady"));
    let reason = reason(&world);
    assert!(
        reason.contains("shop/checkout-v2-1, shop/checkout-v2-2"),
        "{reason}"
    );
}

#[test]
fn the_wait_for_instances_counts_anew_after_a_pause() {
    let mut world = World::warmed_up(policy());
    world.new.truncate(1);
    world.pass(10);
    world.pass(50);
    world.command(Command::Pause);
    world.pass(1_000);
    world.stands_at(Phase::WarmUp, 5);
    world.command(Command::Resume);
    world.pass(59);
    world.stands_at(Phase::WarmUp, 5);
    world.pass(1);
    assert!(world.rules().contains(&"NeverReady"));
}

#[test]
fn lost_machines_are_waited_for() {
    let mut world = World::warmed_up(policy());
    for new in &mut world.new[1..] {
        new.lost = true;
    }
    world.pass(10_000);
    world.stands_at(Phase::WarmUp, 5);
    let message = world.status.message.clone();
    assert!(message.contains("is lost"), "{message}");
    world.new[1].lost = false;
    world.look();
    world.stands_at(Phase::Shifting, 50);
}

#[test]
fn a_proxy_that_lags_for_five_seconds_is_named_once_for_each_generation() {
    let told = |world: &World| {
        let named = world.notices.iter().filter(|n| *n == "ProxyLagging");
        named.count()
    };
    let mut world = World::warmed_up(policy());
    world.acks = false;
    world.pass(10);
    world.lags_since = Some(world.now);
    world.pass(4);
    assert_eq!(told(&world), 0);
    world.pass(1);
    world.pass(1);
    assert_eq!(told(&world), 1);
    world.ack();
    world.lags_since = None;
    world.look();
    world.pass(10);
    world.stands_at(Phase::Shifting, 100);
    world.lags_since = Some(world.now);
    world.pass(5);
    assert_eq!(told(&world), 2, "another generation");
}

#[test]
fn messages_count_in_plain_english() {
    let mut world = World::new(policy());
    world.new = instances("v2", 1, true);
    world.look();
    let reason = &world.status.history.last().unwrap().reason;
    assert!(reason.starts_with("1 new instance is ready"), "{reason}");
    let mut world = World::new(Policy {
        health: crate::model::Health {
            failure_threshold: 1,
            ..policy().health
        },
        ..policy()
    });
    world.look();
    world.new[0].consecutive_failures = 1;
    world.look();
    assert!(
        world
            .status
            .rollback_reason
            .as_ref()
            .unwrap()
            .ends_with("failed 1 health check in a row")
    );
}
