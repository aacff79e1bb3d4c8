//! The room as its users see it. What happens over many upgrades: `tests/analysis_simulation.rs`.

mod full_weight;

use super::Trial;
use crate::model::{
    Analysis, Evidence, ExtraMetric, Finding, MetricOutcome, MetricSource, Policy, Ppm, Tally,
    Test, Verdict,
};
use proptest::prelude::{ProptestConfig, Strategy, any, prop, proptest};
use std::time::Duration;

const BLOCK: Duration = Duration::from_millis(500);

fn policy() -> Analysis {
    Policy::default().analysis
}

fn tally(requests: u64, errors: u64) -> Tally {
    Tally {
        requests,
        errors,
        ..Tally::default()
    }
}

/// Requests all of one latency bucket but so many of a slower one.
fn with_latency(requests: u64, slow: u64, bounds: (u64, u64)) -> Tally {
    let mut tally = tally(requests, 0);
    tally.latency.insert(bounds.0, requests - slow);
    tally.latency.insert(bounds.1, slow);
    tally
}

fn evidence(new: (u64, u64), old: (u64, u64)) -> Evidence {
    Evidence {
        new: tally(new.0, new.1),
        old: tally(old.0, old.1),
    }
}

/// The same block over and over.
fn feed(trial: &mut Trial, policy: &Analysis, block: &Evidence, times: u32) {
    for _ in 0..times {
        trial.take_in(policy, block, BLOCK);
    }
}

fn begun(policy: &Analysis) -> Trial {
    let mut trial = Trial::begin(policy);
    trial.begin_step(policy);
    trial
}

fn finding(trial: &Trial, policy: &Analysis, test: &Test) -> Finding {
    let judgement = trial.judge(policy, Duration::from_secs(600));
    let mut found = judgement.findings.into_iter();
    found.find(|finding| finding.test == *test).unwrap()
}

fn verdict(trial: &Trial, policy: &Analysis) -> Verdict {
    trial.judge(policy, Duration::from_secs(600)).verdict
}

#[test]
fn nothing_seen_is_not_yet() {
    let policy = policy();
    let judgement = begun(&policy).judge(&policy, Duration::from_secs(600));
    assert_eq!(judgement.verdict, Verdict::NotYet);
    assert_eq!((judgement.requests, judgement.eta), (0, None));
}

#[test]
fn clearly_more_errors_are_worse_and_stay_so() {
    let policy = policy();
    let mut trial = begun(&policy);
    feed(&mut trial, &policy, &evidence((25, 5), (475, 0)), 10);
    let drop = finding(&trial, &policy, &Test::SuccessDrop);
    assert_eq!(drop.verdict, Verdict::Worse);
    assert!(!drop.shared);
    assert_eq!(
        drop.text,
        "errors 20.00 % against 0.00 % (limit 0.50 %): worse (seen over 1 s)"
    );
    feed(&mut trial, &policy, &evidence((25, 0), (475, 0)), 2000);
    trial.begin_step(&policy);
    assert_eq!(verdict(&trial, &policy), Verdict::Worse);
}

#[test]
fn not_worse_is_to_be_shown_anew_in_each_step() {
    let policy = policy();
    let mut trial = begun(&policy);
    feed(&mut trial, &policy, &evidence((25, 0), (475, 0)), 300);
    assert_eq!(verdict(&trial, &policy), Verdict::NotWorse);
    trial.begin_step(&policy);
    assert_eq!(verdict(&trial, &policy), Verdict::NotYet);
    feed(&mut trial, &policy, &evidence((25, 0), (475, 0)), 300);
    assert_eq!(verdict(&trial, &policy), Verdict::NotWorse);
}

#[test]
fn no_step_up_before_the_least_number_of_requests() {
    let mut policy = policy();
    policy.min_requests = 100_000;
    let mut trial = begun(&policy);
    feed(&mut trial, &policy, &evidence((25, 0), (475, 0)), 1000);
    let judgement = trial.judge(&policy, Duration::from_secs(600));
    assert_eq!(judgement.verdict, Verdict::NotYet);
    // 75,000 more at 50 per second.
    assert_eq!(judgement.eta, Some(Duration::from_secs(1500)));
}

#[test]
fn few_requests_are_not_yet_with_a_forecast() {
    let policy = policy();
    let mut trial = begun(&policy);
    feed(&mut trial, &policy, &evidence((25, 0), (475, 0)), 8);
    let before = finding(&trial, &policy, &Test::SuccessDrop);
    assert_eq!(before.verdict, Verdict::NotYet);
    assert!(before.smallest_visible > before.limit, "{before:?}");
    // The forecast comes true, to the order of magnitude.
    let eta = before.eta.unwrap();
    let blocks = |part: f64| {
        let blocks = (eta.as_secs_f64() * part / BLOCK.as_secs_f64()).round();
        (0..5000).find(|n| f64::from(*n) >= blocks).unwrap()
    };
    let mut early = trial.clone();
    feed(
        &mut early,
        &policy,
        &evidence((25, 0), (475, 0)),
        blocks(0.3),
    );
    let of = |trial: &Trial| finding(trial, &policy, &Test::SuccessDrop).verdict;
    assert_eq!(of(&early), Verdict::NotYet);
    feed(
        &mut trial,
        &policy,
        &evidence((25, 0), (475, 0)),
        blocks(3.0),
    );
    assert_eq!(of(&trial), Verdict::NotWorse);
}

#[test]
fn more_time_makes_smaller_regressions_visible() {
    let policy = policy();
    let mut trial = begun(&policy);
    feed(&mut trial, &policy, &evidence((25, 0), (475, 1)), 8);
    let visible = |minutes: u64| {
        let judgement = trial.judge(&policy, Duration::from_secs(60 * minutes));
        judgement.findings[0].smallest_visible.unwrap()
    };
    assert!(visible(1) > visible(10) && visible(10) > visible(100));
    let none = trial.judge(&policy, Duration::ZERO).findings[0].smallest_visible;
    assert!(none.is_none_or(|least| least > visible(1)));
}

#[test]
fn both_versions_below_the_floor_is_shared() {
    let policy = policy();
    let mut trial = begun(&policy);
    feed(&mut trial, &policy, &evidence((25, 0), (475, 0)), 600);
    feed(&mut trial, &policy, &evidence((25, 5), (475, 95)), 20);
    let floor = finding(&trial, &policy, &Test::SuccessFloor);
    assert_eq!((floor.verdict, floor.shared), (Verdict::Worse, true));
    let drop = finding(&trial, &policy, &Test::SuccessDrop);
    assert_ne!(drop.verdict, Verdict::Worse);
}

#[test]
fn the_new_version_alone_below_the_floor_is_not_shared() {
    let mut policy = policy();
    policy.success_rate.max_drop = Ppm(900_000);
    let mut trial = begun(&policy);
    feed(&mut trial, &policy, &evidence((25, 1), (475, 0)), 60);
    let floor = finding(&trial, &policy, &Test::SuccessFloor);
    assert_eq!((floor.verdict, floor.shared), (Verdict::Worse, false));
}

#[test]
fn latency_that_nobody_reports_holds_nothing_up() {
    let policy = policy();
    let mut trial = begun(&policy);
    feed(&mut trial, &policy, &evidence((25, 0), (475, 0)), 300);
    let latency = finding(&trial, &policy, &Test::Latency);
    assert_eq!(latency.verdict, Verdict::NotYet);
    assert!(latency.text.contains("not judged"), "{}", latency.text);
    assert_eq!(verdict(&trial, &policy), Verdict::NotWorse);
}

#[test]
fn a_slower_tail_is_worse_and_an_equal_one_is_not() {
    let policy = policy();
    let block = |slow, bound| Evidence {
        new: with_latency(25, slow, (8192, bound)),
        old: with_latency(475, 10, (8192, 16_384)),
    };
    let mut trial = begun(&policy);
    feed(&mut trial, &policy, &block(0, 16_384), 600);
    let latency = finding(&trial, &policy, &Test::Latency);
    assert_eq!(latency.verdict, Verdict::NotWorse, "{}", latency.text);
    let mut trial = begun(&policy);
    feed(&mut trial, &policy, &block(5, 65_536), 40);
    let latency = finding(&trial, &policy, &Test::Latency);
    assert_eq!(latency.verdict, Verdict::Worse, "{}", latency.text);
    let (new, old) = trial.latencies(&policy);
    assert!(new > Some(46_341) && old > Some(11_585) && old <= Some(16_384));
}

#[test]
fn what_was_shown_does_not_flap() {
    let policy = policy();
    let mut trial = begun(&policy);
    let (mut said, mut changes) = (Verdict::NotYet, 0);
    for second in 0..1200 {
        let errors = u64::from(second % 13 == 12);
        feed(&mut trial, &policy, &evidence((50, errors), (950, 5)), 1);
        let now = finding(&trial, &policy, &Test::SuccessDrop).verdict;
        changes += u32::from(now != said);
        said = now;
    }
    assert!(changes <= 1, "{changes}");
}

#[test]
fn sentences_name_what_they_compare() {
    let policy = policy();
    let mut trial = begun(&policy);
    feed(&mut trial, &policy, &evidence((1, 0), (19, 0)), 1);
    let texts = |left| {
        let judgement = trial.judge(&policy, Duration::from_secs(left));
        let texts = judgement.findings.into_iter().map(|finding| finding.text);
        texts.collect::<Vec<_>>()
    };
    let floor = &texts(0)[1];
    assert_eq!(
        floor,
        "errors by the floor 0.00 % (limit 0.50 %): not worse"
    );
    let drop = &texts(0)[0];
    assert!(
        drop.ends_with("; too few to tell by the end of the step"),
        "{drop}"
    );
    let drop = &texts(600)[0];
    assert!(drop.ends_with(" or more would show"), "{drop}");
}

fn webhook(name: &str) -> ExtraMetric {
    ExtraMetric {
        name: name.to_owned(),
        interval: Duration::from_secs(10),
        failure_threshold: 3,
        source: MetricSource::Webhook {
            url: "http://gate.ops/".to_owned(),
            timeout: Duration::from_secs(1),
        },
    }
}

#[test]
fn an_extra_metric_is_worse_after_so_many_bad_answers_in_a_row() {
    let mut policy = policy();
    policy.metrics.push(webhook("gate"));
    let mut trial = begun(&policy);
    let bad = MetricOutcome::Bad("503".to_owned());
    let good = MetricOutcome::Good("200".to_owned());
    let unknown = MetricOutcome::Unknown("no route".to_owned());
    let test = Test::Metric("gate".to_owned());
    let of = |trial: &Trial| finding(trial, &policy, &test).verdict;
    for (answer, expected) in [
        (&unknown, Verdict::NotYet),
        (&bad, Verdict::NotYet),
        (&bad, Verdict::NotYet),
        (&good, Verdict::NotWorse),
        (&unknown, Verdict::NotWorse),
        (&bad, Verdict::NotYet),
        (&bad, Verdict::NotYet),
        (&unknown, Verdict::NotYet),
        (&bad, Verdict::Worse),
        (&good, Verdict::Worse),
    ] {
        trial.take_in_metric(&policy, "gate", answer);
        assert_eq!(of(&trial), expected, "{answer:?}");
    }
    assert_eq!(verdict(&trial, &policy), Verdict::Worse);
    trial.take_in_metric(&policy, "another", &bad);
}

#[test]
fn an_edited_policy_begins_only_the_tests_it_concerns_anew() {
    let strict = policy();
    let mut trial = begun(&strict);
    feed(&mut trial, &strict, &evidence((25, 1), (475, 0)), 100);
    let mut lax = strict.clone();
    lax.success_rate.max_drop = Ppm(100_000);
    let of = |policy: &Analysis, test: &Test| finding(&trial, policy, test).verdict;
    assert_eq!(of(&strict, &Test::SuccessDrop), Verdict::Worse);
    assert_ne!(of(&lax, &Test::SuccessDrop), Verdict::Worse);
    assert_eq!(of(&lax, &Test::SuccessFloor), Verdict::Worse);
    assert_eq!(trial.judge(&lax, Duration::ZERO).requests, 2500);
}

#[test]
fn a_slow_trickle_counts() {
    let policy = policy();
    let mut trial = begun(&policy);
    // One request of each in two seconds, the new version's all bad.
    for _ in 0..60 {
        feed(&mut trial, &policy, &evidence((1, 1), (1, 0)), 1);
        feed(&mut trial, &policy, &evidence((0, 0), (0, 0)), 3);
    }
    assert_eq!(verdict(&trial, &policy), Verdict::Worse);
}

fn any_tally() -> impl Strategy<Value = Tally> {
    let count = || prop::sample::select(vec![0, 1, 2, 30, 1000, 1 << 40, u64::MAX]);
    let bounds = prop::collection::btree_map(any::<u64>(), count(), 0..4);
    (count(), count(), bounds).prop_map(|(requests, errors, latency)| Tally {
        requests,
        errors,
        latency,
        ..Tally::default()
    })
}

fn any_policy() -> impl Strategy<Value = Analysis> {
    let ppm = || prop::sample::select(vec![0, 1, 5000, 500_000, 1_000_000, u32::MAX]).prop_map(Ppm);
    (ppm(), ppm(), ppm(), ppm(), ppm()).prop_map(|(confidence, min, drop, quantile, increase)| {
        let mut policy = policy();
        policy.confidence = confidence;
        policy.success_rate.min = min;
        policy.success_rate.max_drop = drop;
        policy.latency.quantile = quantile;
        policy.latency.max_increase = increase;
        policy
    })
}

/// A step begins, the window begins, or a block with its time in milliseconds.
fn any_course() -> impl Strategy<Value = Vec<(u8, Tally, Tally, u64)>> {
    let millis = prop::sample::select(vec![0, 1, 250, 10_000, u64::MAX]);
    prop::collection::vec((0..12u8, any_tally(), any_tally(), millis), 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_is_borne_and_survives_json(policy in any_policy(), course in any_course()) {
        let mut trial = Trial::begin(&policy);
        for (what, new, old, millis) in course {
            match what {
                0 | 1 => trial.begin_step(&policy),
                _ => trial.take_in(&policy, &Evidence { new, old }, Duration::from_millis(millis)),
            }
            let judgement = trial.judge(&policy, Duration::from_millis(millis));
            assert_eq!(judgement.findings.len(), 3);
        }
        let text = serde_json::to_string(&trial).unwrap();
        assert!(text.len() < 20_000 && !text.contains("null,null"), "{}", text.len());
        let back: Trial = serde_json::from_str(&text).unwrap();
        assert_eq!(back, trial);
        assert_eq!(back.judge(&policy, BLOCK), trial.judge(&policy, BLOCK));
    }

    #[test]
    fn more_errors_never_look_better(fewer in 0..25u64, more in 0..25u64) {
        let (fewer, more) = (fewer.min(more), fewer.max(more));
        let policy = policy();
        let worth = |errors| {
            let mut trial = begun(&policy);
            feed(&mut trial, &policy, &evidence((25, 0), (475, 1)), 20);
            feed(&mut trial, &policy, &evidence((25, errors), (475, 1)), 20);
            verdict(&trial, &policy)
        };
        let rank = |verdict| match verdict {
            Verdict::NotWorse => 0,
            Verdict::NotYet => 1,
            Verdict::Worse => 2,
        };
        assert!(rank(worth(fewer)) <= rank(worth(more)));
    }
}
