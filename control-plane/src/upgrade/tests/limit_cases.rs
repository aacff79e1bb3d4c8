//! Limits against every verb, every edit of a policy, and policies that cross them.

use super::world::{World, instances, percent, policy, seconds, step};
use crate::{
    model::{Command, Health, Limits, Phase, Policy, Rollback, Start},
    upgrade,
};

const PROMOTE: Command = Command::Promote { full: false };
const PROMOTE_FULL: Command = Command::Promote { full: true };

fn limits() -> Limits {
    Limits {
        owner: "ClusterUpgradePolicy mesh".to_owned(),
        max_first_weight: Some(percent(5)),
        min_rollback_window: Some(seconds(15)),
        max_failure_threshold: Some(2),
    }
}

fn limited() -> Policy {
    Policy {
        limits: limits(),
        ..policy()
    }
}

/// A policy that a document could not ask for.
fn crossing() -> Policy {
    Policy {
        steps: vec![step(10, 10), step(50, 10), step(100, 0)],
        rollback: Rollback { window: seconds(1) },
        health: Health {
            failure_threshold: 9,
            ..policy().health
        },
        ..limited()
    }
}

fn preparing(policy: Policy) -> World {
    let mut world = World::new(policy);
    world.new.clear();
    world.look();
    world.stands_at(Phase::Preparing, 0);
    world
}

/// What the refusal says.
fn refusal(world: &World, command: &Command) -> String {
    let condition = upgrade::refused(&world.status, command).unwrap();
    assert_eq!(condition.reason, "LimitCrossed");
    condition.message.clone()
}

#[test]
fn everything_is_no_first_weight_where_that_is_limited() {
    let mut world = preparing(limited());
    world.command(PROMOTE_FULL);
    assert_eq!(
        refusal(&world, &PROMOTE_FULL),
        "promote --full: a first weight of 100 % is more than maxFirstWeight of \
         ClusterUpgradePolicy mesh (5 %); promote once the first step has begun, or have that limit raised"
    );
    assert!(!world.status.promoted_full);
    world.acks = false;
    world.new = instances("v2", 3, true);
    world.look();
    world.ack();
    world.look();
    world.stands_at(Phase::WarmUp, 5);
    // Not applied yet, so the first step is yet to be had.
    world.command(PROMOTE_FULL);
    world.stands_at(Phase::WarmUp, 5);
    world.ack();
    world.look();
    world.stands_at(Phase::Shifting, 100);
}

#[test]
fn blue_green_and_wide_limits_bind_no_promotion() {
    let all_at_once = Policy {
        steps: vec![step(100, 0)],
        ..limited()
    };
    let mut wide = limited();
    wide.limits.max_first_weight = Some(percent(100));
    for policy in [all_at_once, wide] {
        let mut world = preparing(policy);
        world.command(PROMOTE_FULL);
        assert!(upgrade::refused(&world.status, &PROMOTE_FULL).is_none());
        world.new = instances("v2", 3, true);
        world.acks = false;
        world.look();
        world.ack();
        world.look();
        world.stands_at(Phase::WarmUp, 100);
    }
}

#[test]
fn the_window_ends_by_hand_no_sooner_than_the_limit_allows() {
    let mut world = World::in_window(limited());
    world.pass(14);
    world.command(PROMOTE);
    world.stands_at(Phase::RollbackWindow, 100);
    // 1,000 s and two steps of 10 s into 1970, and 15 s of window.
    assert_eq!(
        refusal(&world, &PROMOTE),
        "promote: the old version stands by for at least 15 s by minRollbackWindow of \
         ClusterUpgradePolicy mesh; promote from 1970-01-01T00:17:15Z, roll back, or have that limit lowered"
    );
    assert!(!world.status.promoted);
    world.pass(1);
    world.stands_at(Phase::RollbackWindow, 100);
    world.command(PROMOTE);
    world.stands_at(Phase::Draining, 100);
}

#[test]
fn a_window_that_no_proxy_has_applied_has_not_begun() {
    let mut world = World::warmed_up(limited());
    world.pass(10);
    world.acks = false;
    world.pass(10);
    world.ack();
    world.look();
    world.status.applied_at = None;
    world.acked = 0;
    world.look();
    world.stands_at(Phase::RollbackWindow, 100);
    world.pass(1_000);
    world.command(PROMOTE);
    let said = refusal(&world, &PROMOTE);
    assert!(said.contains("once every proxy has applied it"), "{said}");
}

#[test]
fn a_pause_does_not_shorten_the_window() {
    let mut world = World::in_window(limited());
    world.command(Command::Pause);
    world.command(PROMOTE);
    refusal(&world, &PROMOTE);
    world.pass(15);
    world.command(PROMOTE);
    world.stands_at(Phase::RollbackWindow, 100);
    world.command(Command::Resume);
    world.stands_at(Phase::Draining, 100);
}

#[test]
fn what_was_promoted_before_the_limits_were_set_keeps_within_them() {
    let mut world = preparing(policy());
    world.command(PROMOTE_FULL);
    world.policy = limited();
    world.new = instances("v2", 3, true);
    world.acks = false;
    world.look();
    world.ack();
    world.look();
    world.stands_at(Phase::WarmUp, 5);
    world.ack();
    world.look();
    world.stands_at(Phase::Shifting, 100);

    let mut world = World::in_window(policy());
    world.command(Command::Pause);
    world.command(PROMOTE);
    world.policy = limited();
    world.command(Command::Resume);
    world.stands_at(Phase::RollbackWindow, 100);
    assert_eq!(world.status.next_at, Some(world.now.after(seconds(15))));
    world.pass(14);
    world.stands_at(Phase::RollbackWindow, 100);
    world.pass(1);
    world.stands_at(Phase::Draining, 100);
}

#[test]
fn a_policy_that_crosses_is_kept_within() {
    let mut world = World::new(crossing());
    world.look();
    world.stands_at(Phase::WarmUp, 5);
    world.pass(10);
    world.stands_at(Phase::Shifting, 10);
    world.pass(10);
    world.stands_at(Phase::Shifting, 50);
    world.pass(10);
    world.stands_at(Phase::RollbackWindow, 100);
    assert_eq!(
        upgrade::time_left(&world.policy, &world.status, world.now),
        seconds(15)
    );
    world.pass(14);
    world.stands_at(Phase::RollbackWindow, 100);
    world.new[0].consecutive_failures = 1;
    world.look();
    world.stands_at(Phase::RollbackWindow, 100);
    world.new[0].consecutive_failures = 2;
    world.look();
    assert!(world.rules().contains(&"HealthFailed"));
}

#[test]
fn no_edit_in_the_middle_gets_past_the_limits() {
    let mut world = preparing(limited());
    world.policy.steps = crossing().steps;
    world.new = instances("v2", 3, true);
    world.look();
    world.stands_at(Phase::WarmUp, 5);
    let mut world = World::in_window(limited());
    world.policy.rollback.window = seconds(0);
    world.pass(14);
    world.stands_at(Phase::RollbackWindow, 100);
    world.pass(1);
    world.stands_at(Phase::Draining, 100);
}

#[test]
fn a_retry_and_a_start_by_hand_begin_with_the_first_step() {
    let mut world = World::in_window(limited());
    world.command(Command::Rollback {
        reason: String::new(),
    });
    world.new.clear();
    world.look();
    world.command(Command::Retry);
    world.stands_at(Phase::Preparing, 0);
    world.command(PROMOTE_FULL);
    refusal(&world, &PROMOTE_FULL);
    world.new = instances("v2", 3, true);
    world.look();
    world.stands_at(Phase::WarmUp, 5);

    let mut world = World::new(Policy {
        start: Start::Manual,
        ..crossing()
    });
    world.command(Command::Start);
    world.stands_at(Phase::WarmUp, 5);
}

#[test]
fn a_policy_survives_writing_and_reading_with_limits_and_without() {
    let text = serde_json::to_string(&policy()).unwrap();
    assert!(!text.contains("limits"), "{text}");
    assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), policy());
    let text = serde_json::to_string(&limited()).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&text).unwrap(), limited());
}
