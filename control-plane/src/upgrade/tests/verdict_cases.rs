//! What analysis says, and what comes of it.

use super::world::{World, judged, policy, seconds, step};
use crate::{
    model::{Command, OnLowTraffic, Phase, Policy, Test, Verdict},
    upgrade,
};

/// At 5 %, hold over, nothing known; a step waits a minute for a verdict.
fn undecided(on_low_traffic: OnLowTraffic) -> World {
    let mut policy = policy();
    policy.analysis.max_wait = seconds(60);
    policy.analysis.on_low_traffic = on_low_traffic;
    let mut world = World::warmed_up(policy);
    world.judge(Verdict::NotYet);
    world.pass(10);
    world.stands_at(Phase::WarmUp, 5);
    world
}

fn told(world: &World, reason: &str) -> usize {
    world.notices.iter().filter(|n| *n == reason).count()
}

#[test]
fn a_step_ends_after_its_hold_with_the_first_not_worse() {
    let mut world = World::warmed_up(policy());
    world.judge(Verdict::NotWorse);
    world.pass(9);
    world.stands_at(Phase::WarmUp, 5);
    world.judge(Verdict::NotYet);
    world.pass(1);
    world.stands_at(Phase::WarmUp, 5);
    let message = world.status.message.clone();
    assert!(message.contains("waits for a verdict"), "{message}");
    assert!(message.contains("about 4 min"), "{message}");
    assert!(message.contains("errors undecided"), "{message}");
    world.judge(Verdict::NotWorse);
    world.stands_at(Phase::Shifting, 50);
    assert!(world.rules().contains(&"NotWorse"));
}

#[test]
fn a_step_without_a_hold_waits_for_its_verdict_too() {
    let mut world = World::new(Policy {
        steps: vec![step(5, 0), step(100, 0)],
        ..policy()
    });
    world.judge(Verdict::NotYet);
    world.stands_at(Phase::WarmUp, 5);
    world.judge(Verdict::NotWorse);
    world.stands_at(Phase::RollbackWindow, 100);
}

#[test]
fn all_traffic_is_held_by_time_and_taken_back_by_worse() {
    let mut world = World::new(Policy {
        steps: vec![step(100, 10)],
        ..policy()
    });
    world.judge(Verdict::NotYet);
    world.pass(10);
    world.stands_at(Phase::RollbackWindow, 100);
    world.pass(19);
    world.stands_at(Phase::RollbackWindow, 100);
    let mut worse = world.clone();
    worse.judge(Verdict::Worse);
    assert_eq!(worse.status.phase, Phase::RollingBack);
    world.pass(1);
    world.stands_at(Phase::Draining, 100);
}

#[test]
fn worse_goes_back_from_every_phase_that_is_analysed() {
    let mut mid = World::warmed_up(policy());
    mid.pass(10);
    mid.stands_at(Phase::Shifting, 50);
    let early = World::warmed_up(policy());
    let (window, draining) = (World::in_window(policy()), World::draining(policy()));
    for mut world in [early, mid, window, draining] {
        world.acks = false;
        world.judge(Verdict::Worse);
        world.stands_at(Phase::RollingBack, 0);
        assert!(world.rules().contains(&"AnalysisWorse"));
        assert_eq!(
            world.status.rollback_reason.as_deref(),
            Some("errors 3.00 % against 0.10 % (limit 0.60 %)")
        );
        let verdict = world.status.judgement.as_ref().map(|j| j.verdict);
        assert_eq!(verdict, Some(Verdict::Worse));
    }
}

#[test]
fn what_the_old_version_suffers_too_stands_still() {
    let mut world = World::warmed_up(policy());
    world.judgement = Some(judged(Verdict::Worse, true));
    world.pass(100);
    world.stands_at(Phase::WarmUp, 5);
    assert!(world.status.paused);
    assert!(world.status.conditions["BothVersionsFailing"].status);
    world.command(Command::Resume);
    assert!(world.status.paused, "they fail as before");
    let mut own = judged(Verdict::Worse, true);
    own.findings.extend(judged(Verdict::Worse, false).findings);
    own.findings[1].test = Test::Latency;
    own.findings[1].text = "p99 900 ms against 100 ms".to_owned();
    world.judgement = Some(own);
    world.look();
    assert_eq!(world.status.phase, Phase::RollingBack);
    let reason = world.status.rollback_reason.clone().unwrap();
    assert_eq!(reason, "p99 900 ms against 100 ms");
}

#[test]
fn worse_while_the_old_instances_fail_stands_still() {
    let mut world = World::warmed_up(policy());
    for old in &mut world.old {
        old.ejected_by = 2;
    }
    world.judge(Verdict::Worse);
    world.stands_at(Phase::WarmUp, 5);
    assert!(world.status.conditions["BothVersionsFailing"].status);
}

#[test]
fn worse_without_a_way_back_goes_no_further_up_and_is_told_once() {
    let mut world = World::warmed_up(policy());
    world.old.clear();
    world.judge(Verdict::Worse);
    for n in 0..20 {
        let mut judgement = judged(Verdict::Worse, false);
        judgement.findings[0].text = format!("errors {n} %");
        world.judgement = Some(judgement);
        world.pass(100);
        world.command(Command::Promote { full: n > 10 });
    }
    world.stands_at(Phase::WarmUp, 5);
    assert_eq!(told(&world, "RollbackRefused"), 1);
}

#[test]
fn promote_overrules_not_yet_and_never_worse() {
    let mut world = undecided(OnLowTraffic::Pause);
    world.command(Command::Promote { full: false });
    world.stands_at(Phase::Shifting, 50);
    world.judgement = Some(judged(Verdict::Worse, true));
    world.command(Command::Promote { full: true });
    world.stands_at(Phase::Shifting, 50);
    assert_eq!(
        world.status.conditions["CommandRefused"].reason,
        "VerdictIsWorse"
    );
    assert!(!world.status.promoted_full);
}

#[test]
fn a_promote_is_void_when_both_versions_fail() {
    let mut world = World::warmed_up(policy());
    world.acks = false;
    world.pass(10);
    world.command(Command::Promote { full: false });
    world.judgement = Some(judged(Verdict::Worse, true));
    world.ack();
    world.look();
    assert!(world.status.paused && !world.status.promoted);
    world.judgement = Some(judged(Verdict::NotYet, false));
    world.command(Command::Resume);
    world.stands_at(Phase::Shifting, 50);
}

#[test]
fn a_manual_step_needs_promote_and_not_worse() {
    let mut manual = policy();
    manual.steps[0].manual = true;
    let mut world = World::warmed_up(manual);
    world.judge(Verdict::NotWorse);
    world.pass(10_000);
    world.stands_at(Phase::WarmUp, 5);
    let mut worse = world.clone();
    world.command(Command::Promote { full: false });
    world.stands_at(Phase::Shifting, 50);
    worse.judgement = Some(judged(Verdict::Worse, false));
    worse.command(Command::Promote { full: false });
    assert_eq!(worse.status.phase, Phase::RollingBack);
}

#[test]
fn a_manual_step_is_no_case_of_low_traffic() {
    let mut manual = policy();
    manual.steps[0].manual = true;
    manual.analysis.on_low_traffic = OnLowTraffic::RollBack;
    let mut world = World::warmed_up(manual);
    world.judge(Verdict::NotYet);
    world.pass(1_000_000);
    world.stands_at(Phase::WarmUp, 5);
}

#[test]
fn low_traffic_pauses_and_resume_waits_anew() {
    let mut world = undecided(OnLowTraffic::Pause);
    world.pass(49);
    assert!(!world.status.paused);
    world.pass(1);
    assert!(world.status.paused && world.status.low_traffic);
    assert!(world.status.conditions["LowTraffic"].status);
    assert_eq!(told(&world, "LowTraffic"), 1);
    let message = world.status.message.clone();
    assert!(message.contains("too little is known"), "{message}");
    world.pass(10_000);
    world.command(Command::Resume);
    world.stands_at(Phase::WarmUp, 5);
    assert!(!world.status.paused && !world.status.low_traffic);
    world.pass(59);
    assert!(!world.status.paused);
    world.pass(1);
    assert!(world.status.paused);
    assert_eq!(told(&world, "LowTraffic"), 2);
    world.command(Command::Promote { full: false });
    world.stands_at(Phase::WarmUp, 5);
    world.command(Command::Resume);
    world.stands_at(Phase::Shifting, 50);
    assert!(!world.status.low_traffic);
    assert!(!world.status.conditions["LowTraffic"].status);
}

#[test]
fn a_verdict_that_comes_while_paused_counts_after_resume() {
    let mut world = undecided(OnLowTraffic::Pause);
    world.pass(60);
    world.judge(Verdict::NotWorse);
    world.pass(100);
    world.stands_at(Phase::WarmUp, 5);
    world.command(Command::Resume);
    world.stands_at(Phase::Shifting, 50);
}

#[test]
fn low_traffic_goes_on_where_the_policy_says_so() {
    let mut world = undecided(OnLowTraffic::Proceed);
    world.new.truncate(1);
    world.pass(50);
    world.stands_at(Phase::WarmUp, 5);
    assert_eq!(told(&world, "LowTraffic"), 1);
    world.pass(1);
    assert_eq!(told(&world, "LowTraffic"), 1, "once for each step");
    world.new = super::world::instances("v2", 3, true);
    world.look();
    world.stands_at(Phase::Shifting, 50);
    world.pass(60);
    world.stands_at(Phase::RollbackWindow, 100);
    assert_eq!(told(&world, "LowTraffic"), 2);
}

#[test]
fn low_traffic_goes_back_where_the_policy_says_so() {
    let mut world = undecided(OnLowTraffic::RollBack);
    world.pass(50);
    assert_eq!(world.status.phase, Phase::RollingBack);
    assert!(world.rules().contains(&"LowTraffic"));
}

#[test]
fn a_hold_longer_than_the_longest_wait_is_held() {
    let mut policy = policy();
    policy.steps[0].hold = seconds(100);
    policy.analysis.max_wait = seconds(60);
    let mut world = World::warmed_up(policy);
    world.judge(Verdict::NotYet);
    world.pass(99);
    assert!(!world.status.paused);
    world.pass(1);
    assert!(world.status.paused);
}

#[test]
fn a_change_of_verdict_is_told_and_a_look_is_not() {
    let mut world = World::warmed_up(policy());
    world.judge(Verdict::NotYet);
    assert_eq!(told(&world, "VerdictChanged"), 0, "a step begins with it");
    world.judge(Verdict::NotWorse);
    let mut judgement = judged(Verdict::NotWorse, false);
    judgement.requests = 300;
    world.judgement = Some(judgement.clone());
    world.look();
    assert_eq!(told(&world, "VerdictChanged"), 1);
    assert_eq!(world.status.judgement, Some(judgement));
    world.judge(Verdict::NotYet);
    assert_eq!(told(&world, "VerdictChanged"), 2);
}

#[test]
fn retry_forgets_the_verdict() {
    let mut world = undecided(OnLowTraffic::RollBack);
    world.pass(50);
    world.new.clear();
    world.look();
    world.stands_at(Phase::RolledBack, 0);
    world.new = super::world::instances("v2", 3, false);
    world.command(Command::Retry);
    assert_eq!(world.status.judgement, None);
    assert!(!world.status.low_traffic);
    world.stands_at(Phase::Preparing, 0);
}

#[test]
fn an_outage_at_100_percent_goes_back_unless_half_of_the_old_instances_fail_their_checks_too() {
    let worse = |failing: usize| {
        let mut world = World::in_window(policy());
        for old in world.old.iter_mut().take(failing) {
            old.ready = false;
            old.consecutive_failures = world.policy.health.failure_threshold;
        }
        world.judge(Verdict::Worse);
        world
    };
    for failing in [0, 1] {
        let world = worse(failing);
        assert_eq!(world.status.phase, Phase::RollingBack, "{failing}");
    }
    let world = worse(2);
    world.stands_at(Phase::RollbackWindow, 100);
    assert!(world.status.paused);
    assert_eq!(told(&world, "BothVersionsFailing"), 1);
}

#[test]
fn what_is_left_of_a_step_is_its_hold_then_the_longest_wait_and_of_the_window_that() {
    let left = |world: &World| upgrade::time_left(&world.policy, &world.status, world.now);
    let mut world = undecided(OnLowTraffic::Pause);
    assert_eq!(
        left(&world),
        seconds(50),
        "of the minute, ten seconds are over"
    );
    world.pass(45);
    world.command(Command::Pause);
    world.command(Command::Resume);
    assert_eq!(left(&world), seconds(60), "each resume waits anew");
    let fresh = World::warmed_up(policy());
    assert_eq!(left(&fresh), seconds(10), "its hold");
    let mut window = World::in_window(policy());
    let whole = left(&window);
    assert_eq!(whole, window.policy.rollback.window);
    window.pass(1);
    assert_eq!(left(&window), whole.saturating_sub(seconds(1)));
    assert_eq!(
        left(&World::new(policy())),
        seconds(0),
        "nothing is applied"
    );
}
