//! At 100 %, where what was measured before stands for the old version.

use super::{begun, evidence, feed, finding, policy, verdict, with_latency};
use crate::{
    analysis::Trial,
    model::{Analysis, Evidence, Ppm, Tally, Test, Verdict},
};

#[test]
fn at_full_weight_the_last_baseline_is_compared_with() {
    let mut policy = policy();
    policy.success_rate.min = Ppm(0);
    let mut trial = begun(&policy);
    feed(&mut trial, &policy, &evidence((250, 0), (250, 1)), 200);
    trial.begin_step(&policy);
    feed(&mut trial, &policy, &evidence((500, 2), (0, 0)), 100);
    assert_eq!(verdict(&trial, &policy), Verdict::NotWorse);
    feed(&mut trial, &policy, &evidence((500, 20), (0, 0)), 60);
    let drop = finding(&trial, &policy, &Test::SuccessDrop);
    assert_eq!((drop.verdict, drop.old), (Verdict::Worse, Some(4000)));
}

#[test]
fn without_any_old_traffic_the_floor_alone_judges() {
    let policy = policy();
    let mut trial = begun(&policy);
    trial.begin_step(&policy);
    feed(&mut trial, &policy, &evidence((500, 0), (0, 0)), 30);
    assert_eq!(verdict(&trial, &policy), Verdict::NotWorse);
    feed(&mut trial, &policy, &evidence((500, 50), (0, 0)), 40);
    assert_eq!(verdict(&trial, &policy), Verdict::Worse);
}

/// A step beside the old version, then the window: both answer in 8 ms at most but for 1 %.
fn at_full_weight(policy: &Analysis) -> Trial {
    let both = Evidence {
        new: with_latency(250, 2, (8192, 16_384)),
        old: with_latency(250, 2, (8192, 16_384)),
    };
    let mut trial = begun(policy);
    feed(&mut trial, policy, &both, 200);
    trial.begin_step(policy);
    trial
}

fn alone(new: Tally) -> Evidence {
    Evidence {
        new,
        ..Evidence::default()
    }
}

#[test]
fn one_bad_second_at_full_weight_is_not_worse() {
    let policy = policy();
    let mut trial = at_full_weight(&policy);
    let mut hiccup = with_latency(500, 400, (8192, 524_288));
    hiccup.errors = 300;
    feed(&mut trial, &policy, &alone(hiccup), 2);
    assert_ne!(verdict(&trial, &policy), Verdict::Worse);
    let good = alone(with_latency(500, 4, (8192, 16_384)));
    feed(&mut trial, &policy, &good, 200);
    assert_ne!(verdict(&trial, &policy), Verdict::Worse);
}

#[test]
fn a_lasting_slowdown_at_full_weight_is_worse_and_says_what_was_seen() {
    let policy = policy();
    let mut trial = at_full_weight(&policy);
    let good = alone(with_latency(500, 4, (8192, 16_384)));
    feed(&mut trial, &policy, &good, 200);
    let slow = alone(with_latency(500, 100, (8192, 65_536)));
    feed(&mut trial, &policy, &slow, 60);
    let then = finding(&trial, &policy, &Test::Latency);
    assert_eq!(then.verdict, Verdict::Worse, "{}", then.text);
    assert!(then.new > then.limit, "{}", then.text);
    assert!(then.text.contains("20.00 % of requests took more than"));
    // The step looks good again: the finding is still about what made it worse.
    feed(&mut trial, &policy, &good, 20_000);
    let now = finding(&trial, &policy, &Test::Latency);
    assert_eq!(now, then);
}

#[test]
fn a_few_milliseconds_more_than_a_baseline_are_noise() {
    let policy = policy();
    let spread = |slow, bounds| with_latency(500, slow, bounds);
    let mut trial = begun(&policy);
    let both = Evidence {
        new: spread(5, (1024, 2048)),
        old: spread(5, (1024, 2048)),
    };
    feed(&mut trial, &policy, &both, 200);
    trial.begin_step(&policy);
    feed(&mut trial, &policy, &alone(spread(50, (1024, 5793))), 400);
    let latency = finding(&trial, &policy, &Test::Latency);
    assert_ne!(latency.verdict, Verdict::Worse, "{}", latency.text);
    feed(&mut trial, &policy, &alone(spread(50, (1024, 16_384))), 400);
    let latency = finding(&trial, &policy, &Test::Latency);
    assert_eq!(latency.verdict, Verdict::Worse, "{}", latency.text);
}

#[test]
fn what_the_old_version_did_at_its_worst_is_allowed_at_full_weight() {
    let mut policy = policy();
    policy.success_rate.min = Ppm(0);
    let bad_spell = |old_errors| {
        let mut trial = begun(&policy);
        feed(&mut trial, &policy, &evidence((25, 0), (475, 0)), 1000);
        feed(
            &mut trial,
            &policy,
            &evidence((25, 1), (475, old_errors)),
            20,
        );
        feed(&mut trial, &policy, &evidence((25, 0), (475, 0)), 1000);
        trial.begin_step(&policy);
        feed(&mut trial, &policy, &evidence((500, 20), (0, 0)), 40);
        finding(&trial, &policy, &Test::SuccessDrop)
    };
    assert_eq!(bad_spell(0).verdict, Verdict::Worse);
    let allowed = bad_spell(24);
    assert_ne!(allowed.verdict, Verdict::Worse, "{}", allowed.text);
}
