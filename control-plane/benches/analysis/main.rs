//! What the analysis does over many simulated upgrades, as a Markdown table. Fails where a demand is
//! not met.
//!
//! `cargo bench -p segue-control-plane --bench analysis`: 10,000 upgrades a row; with `-- --quick`
//! 500; with `--only TEXT` the rows that have it in their names.

mod chance;
mod rows;
mod simulate;

use rows::{Demand, Row, Summary};
use simulate::Outcome;
use std::{
    io::{self, Write},
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Instant,
};

fn main() -> io::Result<ExitCode> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let only = std::env::args()
        .skip_while(|argument| argument != "--only")
        .nth(1);
    let only = only.unwrap_or_default();
    let runs = if quick { 500 } else { 10_000 };
    let began = Instant::now();
    let mut out = io::stdout().lock();
    writeln!(out, "{runs} simulated upgrades a row\n")?;
    writeln!(
        out,
        "| versions | demand | rolled back | stepped up while bad | requests until *worse*: median, \
         p90 | seconds: median | seconds until *not worse*: median, p90 | met |\n\
         |---|---|---|---|---|---|---|---|"
    )?;
    let mut all_met = true;
    for row in rows::all()
        .into_iter()
        .filter(|row| row.name.contains(&only))
    {
        let summary = simulate(&row, runs);
        let met = summary.meets(row.demand);
        all_met &= met;
        writeln!(out, "{}", line(&row, &summary, met))?;
    }
    writeln!(out, "\n{:.0} s", began.elapsed().as_secs_f64())?;
    Ok(if all_met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// All upgrades of a row; the seed is the upgrade's number, so the number of threads changes nothing.
fn simulate(row: &Row, runs: u64) -> Summary {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(0);
    let work = || {
        let mut outcomes: Vec<Outcome> = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= runs {
                return outcomes;
            }
            outcomes.push(row.scenario.run(seed));
        }
    };
    let outcomes = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_default())
            .collect()
    });
    Summary::new(outcomes)
}

fn line(row: &Row, summary: &Summary, met: bool) -> String {
    let requests = |percent| summary.quantile(percent, |o| o.worse.map(|(requests, _)| requests));
    let seconds = summary.quantile(50, |o| o.worse.map(|(_, seconds)| seconds));
    let not_worse = |percent| summary.quantile(percent, |o| o.first_not_worse);
    // Of equal versions there are no requests since it turned bad.
    let was_bad = requests(50).is_some_and(|requests| requests > 0);
    let caught = if was_bad {
        let p90 = requests(90).map_or_else(|| "-".to_owned(), |n| n.to_string());
        format!("{}, {p90}", requests(50).unwrap_or_default())
    } else {
        "-".to_owned()
    };
    let after = seconds.filter(|_| was_bad);
    let shown = [50, 90].map(|percent| or_dash(not_worse(percent)));
    let shown = if shown[0] == "-" {
        "-".to_owned()
    } else {
        shown.join(", ")
    };
    format!(
        "| {} | {} | {:.2} % | {:.2} % | {caught} | {} | {shown} | {} |",
        row.name,
        demand(row.demand),
        100.0 * summary.share(|o| o.worse.is_some()),
        100.0 * summary.share(|o| o.steps_up_while_bad > 0),
        or_dash(after),
        if met { "yes" } else { "**no**" },
    )
}

fn or_dash(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}"))
}

fn demand(demand: Demand) -> String {
    match demand {
        Demand::RarelyRolledBack => "rolled back < 1 %".to_owned(),
        Demand::RarelyBlamed => "new version blamed < 1 %".to_owned(),
        Demand::CaughtWithin(most) => format!("median <= {most} requests"),
        Demand::AlwaysCaught => "rolled back > 99 %".to_owned(),
        Demand::RarelySteppedUp => "stepped up <= 1 %".to_owned(),
        Demand::NeverGuessed => "no verdict, ever".to_owned(),
        Demand::Finishes => "finished > 99 %".to_owned(),
    }
}
