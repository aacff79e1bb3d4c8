//! The demands of the table of `benches/analysis`, on fewer upgrades: all of them the same at each run.

#[path = "../benches/analysis/chance.rs"]
mod chance;
#[path = "../benches/analysis/rows.rs"]
mod rows;
#[path = "../benches/analysis/simulate.rs"]
mod simulate;

use rows::Summary;

/// Simulated upgrades a row.
const RUNS: u64 = 60;

#[test]
fn the_demands_hold_over_simulated_upgrades() {
    for row in rows::all() {
        let outcomes = (0..RUNS).map(|seed| row.scenario.run(seed)).collect();
        let summary = Summary::new(outcomes);
        assert!(summary.meets(row.demand), "{}: {:?}", row.name, row.demand);
    }
}
