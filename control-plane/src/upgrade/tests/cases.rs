//! The way up.

use super::world::{START, World, instances, percent, policy, step};
use crate::{
    model::{Capacity, Command, Phase, Policy, Share, Start, Transition},
    upgrade::{begin, shares},
};

#[test]
fn a_manual_start_waits_for_a_person() {
    let mut world = World::new(Policy {
        start: Start::Manual,
        ..policy()
    });
    world.pass(1_000);
    world.stands_at(Phase::Pending, 0);
    assert_eq!(world.published, 0);
    world.command(Command::Start);
    world.stands_at(Phase::WarmUp, 5);
}

#[test]
fn preparing_waits_for_as_many_instances_as_the_first_step_needs() {
    let mut world = World::new(policy());
    world.new = instances("v2", 3, false);
    world.look();
    world.stands_at(Phase::Preparing, 0);
    assert_eq!(world.published, 0, "nothing to learn of yet");
    assert!(
        world.status.message.contains("0 of 1"),
        "{}",
        world.status.message
    );
    world.new[0].ready = true;
    world.look();
    world.stands_at(Phase::WarmUp, 5);
}

#[test]
fn full_capacity_waits_for_all_instances() {
    let mut world = World::new(Policy {
        capacity: Capacity::Full,
        ..policy()
    });
    world.new[2].ready = false;
    world.look();
    world.stands_at(Phase::Preparing, 0);
    world.new[2].ready = true;
    world.look();
    world.stands_at(Phase::WarmUp, 5);
}

#[test]
fn the_first_weight_follows_only_when_every_proxy_knows_the_new_instances() {
    let mut world = World::new(policy());
    world.acks = false;
    world.pass(5);
    world.stands_at(Phase::Preparing, 0);
    assert_eq!(world.published, 1);
    assert!(world.status.message.contains("0/1 applied"));
    world.ack();
    world.look();
    world.stands_at(Phase::WarmUp, 5);
}

#[test]
fn preparing_publishes_again_when_the_new_instances_had_gone() {
    let mut world = World::new(policy());
    world.acks = false;
    world.look();
    world.new = instances("v2", 3, false);
    world.look();
    assert_eq!(world.status.generation, None);
    world.ack();
    world.look();
    world.stands_at(Phase::Preparing, 0);
    world.new = instances("v2", 3, true);
    world.look();
    assert_eq!(world.published, 2);
}

#[test]
fn the_hold_counts_from_the_moment_the_step_is_applied() {
    let mut world = World::warmed_up(policy());
    world.acks = false;
    world.pass(10);
    world.stands_at(Phase::Shifting, 50);
    world.pass(100);
    world.stands_at(Phase::Shifting, 50);
    world.ack();
    world.pass(9);
    world.pass(9);
    world.stands_at(Phase::Shifting, 50);
    world.pass(1);
    world.stands_at(Phase::Shifting, 100);
}

#[test]
fn a_step_waits_for_the_instances_that_its_weight_needs() {
    let mut world = World::warmed_up(policy());
    world.new[1].ready = false;
    world.new[2].ready = false;
    world.pass(10);
    world.stands_at(Phase::WarmUp, 5);
    assert!(
        world.status.message.contains("1 of 2"),
        "{}",
        world.status.message
    );
    world.new[1].ready = true;
    world.look();
    world.stands_at(Phase::Shifting, 50);
}

#[test]
fn the_new_version_stands_in_for_the_old_one_after_warm_up_only() {
    let mut world = World::warmed_up(policy());
    assert!(!world.status.traffic.new_is_fallback);
    world.pass(10);
    assert!(world.status.traffic.new_is_fallback);
}

#[test]
fn the_window_begins_when_all_traffic_is_applied_and_then_old_instances_drain() {
    let mut world = World::in_window(policy());
    world.pass(19);
    world.stands_at(Phase::RollbackWindow, 100);
    world.pass(1);
    world.stands_at(Phase::Draining, 100);
    let line = world
        .status
        .history
        .iter()
        .find(|line| line.phase == Phase::RollbackWindow)
        .unwrap();
    assert_eq!(line.applied_at, Some(line.at));
}

#[test]
fn blue_green_goes_to_everything_in_one_step() {
    let mut world = World::new(Policy {
        steps: vec![step(100, 0)],
        ..policy()
    });
    world.look();
    world.stands_at(Phase::RollbackWindow, 100);
    let phases: Vec<Phase> = world.status.history.iter().map(|t| t.phase).collect();
    assert_eq!(
        phases,
        [Phase::Preparing, Phase::WarmUp, Phase::RollbackWindow]
    );
}

#[test]
fn pausing_holds_the_weight_and_the_window() {
    let mut world = World::warmed_up(policy());
    world.command(Command::Pause);
    world.pass(1_000);
    world.stands_at(Phase::WarmUp, 5);
    world.command(Command::Resume);
    world.stands_at(Phase::Shifting, 50);
    world.pass(10);
    world.command(Command::Pause);
    world.pass(1_000);
    world.stands_at(Phase::RollbackWindow, 100);
}

#[test]
fn an_upgrade_made_paused_stays_before_its_first_weight() {
    let mut world = World::new(policy());
    world.status.paused = true;
    world.pass(1_000);
    world.stands_at(Phase::Preparing, 0);
    world.command(Command::Resume);
    world.stands_at(Phase::WarmUp, 5);
}

#[test]
fn promoting_ends_one_hold() {
    let mut world = World::warmed_up(policy());
    world.command(Command::Promote { full: false });
    world.stands_at(Phase::Shifting, 50);
    world.pass(9);
    world.stands_at(Phase::Shifting, 50);
}

#[test]
fn promoting_fully_goes_straight_to_everything() {
    let mut world = World::warmed_up(policy());
    world.command(Command::Promote { full: true });
    world.stands_at(Phase::RollbackWindow, 100);
    assert_eq!(world.status.step, 2);
    world.command(Command::Promote { full: false });
    world.stands_at(Phase::Draining, 100);
}

#[test]
fn promoting_still_waits_until_the_present_step_is_applied() {
    let mut world = World::new(policy());
    world.look();
    world.acks = false;
    world.pass(10);
    world.command(Command::Promote { full: false });
    world.stands_at(Phase::Shifting, 50);
    world.ack();
    world.look();
    world.stands_at(Phase::Shifting, 100);
}

#[test]
fn a_manual_step_waits_for_promote() {
    let mut manual = policy();
    manual.steps[0].manual = true;
    let mut world = World::warmed_up(manual);
    world.pass(1_000);
    world.stands_at(Phase::WarmUp, 5);
    world.command(Command::Promote { full: false });
    world.stands_at(Phase::Shifting, 50);
}

#[test]
fn a_command_out_of_place_is_refused_with_a_condition() {
    let mut world = World::new(policy());
    world.new = instances("v2", 3, false);
    world.command(Command::Promote { full: false });
    let condition = &world.status.conditions["CommandRefused"];
    assert_eq!(condition.reason, "NothingToPromote");
    world.command(Command::Retry);
    assert_eq!(
        world.status.conditions["CommandRefused"].reason,
        "NothingToRetry"
    );
}

#[test]
fn a_policy_edited_midway_goes_on_from_the_present_weight() {
    let mut world = World::warmed_up(policy());
    world.policy.steps = vec![step(1, 10), step(2, 10), step(30, 5), step(100, 0)];
    world.pass(10);
    world.stands_at(Phase::Shifting, 30);
    assert_eq!(world.status.step, 2);
}

#[test]
fn a_control_plane_killed_before_it_published_asks_again() {
    let mut world = World::warmed_up(policy());
    world.status.generation = None;
    world.status.applied_at = None;
    let before = world.published;
    world.look();
    assert_eq!(world.published, before + 1);
    world.stands_at(Phase::WarmUp, 5);
}

#[test]
fn every_change_of_weight_is_a_line_with_the_time_it_was_applied() {
    let world = World::in_window(policy());
    let weights: Vec<(Phase, Share)> = world
        .status
        .history
        .iter()
        .map(|t| (t.phase, t.weight))
        .collect();
    assert_eq!(
        weights,
        [
            (Phase::Preparing, Share::ZERO),
            (Phase::WarmUp, percent(5)),
            (Phase::Shifting, percent(50)),
            (Phase::Shifting, Share::ALL),
            (Phase::RollbackWindow, Share::ALL),
        ]
    );
    let all_applied = world
        .status
        .history
        .iter()
        .all(|t: &Transition| t.applied_at.is_some());
    assert!(all_applied, "{:#?}", world.status.history);
}

#[test]
fn an_idle_look_decides_nothing() {
    let mut world = World::warmed_up(policy());
    let before = world.decisions.len();
    world.pass(1);
    world.pass(1);
    assert_eq!(world.decisions.len(), before);
}

#[test]
fn shares_add_up_to_everything() {
    let world = World::warmed_up(policy());
    assert_eq!(shares(&world.status), (percent(5), percent(95)));
    assert_eq!(
        shares(&begin(&policy(), 3, START)),
        (Share::ZERO, Share::ALL)
    );
}

#[test]
fn a_policy_edited_midway_ends_no_hold_early() {
    let mut world = World::warmed_up(policy());
    world.policy.steps = vec![step(2, 10), step(10, 10), step(100, 0)];
    world.pass(9);
    world.stands_at(Phase::WarmUp, 5);
    world.pass(1);
    world.stands_at(Phase::Shifting, 10);
}
