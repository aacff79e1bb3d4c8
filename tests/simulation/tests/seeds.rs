//! Many seeds, each a whole run under faults.
//!
//! `SEGUE_SIM_SEEDS=5000 cargo test -p segue-simulation` runs more of them,
//! `SEGUE_SIM_SEED=N` one, with all that happened.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail as tests do; whoever replays a seed wants to see what happened"
)]

use segue_simulation::{Outcome, Violation, run};
use std::{
    collections::BTreeMap,
    env,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

/// Without a wish.
const SEEDS: u64 = 40;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

fn fail(seed: u64, violation: &Violation, outcome: &Outcome) -> ! {
    panic!(
        "seed {seed} violates {violation}\n\nthe last of what happened:\n{}\n\n\
         again: SEGUE_SIM_SEED={seed} cargo test -p segue-simulation --test seeds -- --nocapture\n",
        outcome.trace.join("\n")
    );
}

#[test]
fn every_upgrade_is_right_under_every_fault() {
    if let Some(seed) = number("SEGUE_SIM_SEED") {
        let outcome = run(seed, true);
        println!("{}", outcome.trace.join("\n"));
        if let Some(violation) = outcome.violation {
            panic!("seed {seed} violates {violation}");
        }
        return;
    }
    let first = number("SEGUE_SIM_FIRST").unwrap_or(0);
    let last = first + number("SEGUE_SIM_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(first);
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= last {
                return done;
            }
            done.push((seed, run(seed, false)));
        }
    };
    let outcomes: BTreeMap<u64, Outcome> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
        joined.flatten().collect()
    });
    tell(&outcomes);
    for (seed, outcome) in &outcomes {
        if let Some(violation) = &outcome.violation {
            fail(*seed, violation, outcome);
        }
    }
}

fn tell(outcomes: &BTreeMap<u64, Outcome>) {
    let sum = |of: fn(&Outcome) -> u64| outcomes.values().map(of).sum::<u64>();
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    for end in outcomes.values().flat_map(|outcome| &outcome.ends) {
        *ends.entry(end).or_default() += 1;
    }
    let mut violated: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for (seed, outcome) in outcomes {
        if let Some(violation) = &outcome.violation {
            violated.entry(violation.invariant).or_default().push(*seed);
        }
    }
    println!(
        "{} seeds, {} s of virtual time, {} requests answered, {} failed by a fault, {} kills of the control plane, {} of them within a turn's writes; worse by verdict: {} runs; runs ended {ends:?}",
        outcomes.len(),
        sum(|outcome| outcome.took) / 1_000,
        sum(|outcome| outcome.answered),
        sum(|outcome| outcome.excused),
        sum(|outcome| outcome.kills.0.into()),
        sum(|outcome| outcome.kills.1.into()),
        sum(|outcome| outcome.worse.try_into().unwrap_or(u64::MAX)),
    );
    for (invariant, seeds) in violated {
        println!(
            "violated `{invariant}`: {} seeds: {:?}",
            seeds.len(),
            seeds.iter().take(8).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_seed_is_one_run() {
    for seed in 0..3 {
        let (one, other) = (run(seed, true), run(seed, true));
        let differs = one
            .trace
            .iter()
            .zip(&other.trace)
            .find(|(one, other)| one != other);
        assert_eq!(one.hash, other.hash, "seed {seed}: {differs:?}");
    }
}
