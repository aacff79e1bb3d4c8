//! Runs scenarios side by side and says how each went.

use super::{inside::SKIPPED, outcome::Outcome, table};
use parking_lot::Mutex;
use std::{
    env,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How one scenario went.
enum Went {
    Well(Outcome),
    Skipped(String),
    Badly(String),
}

/// Runs all scenarios that one of the words names; all of them where there is none.
pub(super) fn all(words: &[&str]) -> ExitCode {
    let names: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| !word.starts_with("--"))
        .collect();
    let long = words.contains(&"--long");
    let chosen: Vec<String> = table::all()
        .into_iter()
        .map(|scenario| scenario.name)
        .filter(|name| names.is_empty() || names.iter().any(|word| name.contains(word)))
        .collect();
    if chosen.is_empty() {
        println!("no scenario is called {names:?}; `--list` shows them");
        // A filter of another test target of the workspace is no failure.
        return ExitCode::SUCCESS;
    }
    println!(
        "{:<34} {:>11} {:>9} {:>7} {:>9} {:>9} {:>6}",
        "scenario", "ended", "requests", "by bad", "otherwise", "back ms", "took s"
    );
    let begun = Instant::now();
    let (queue, failed) = (Mutex::new(chosen.iter()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..at_once().min(chosen.len()) {
            scope.spawn(|| {
                loop {
                    let Some(name) = queue.lock().next() else {
                        return;
                    };
                    if !one(name, long) {
                        failed.lock().push(name.clone());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    println!(
        "{} scenarios, {} failed, in {:.0} s",
        chosen.len(),
        failed.len(),
        begun.elapsed().as_secs_f64()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("failed: {}", failed.join(", "));
        ExitCode::FAILURE
    }
}

/// `SEGUE_SCENARIOS_AT_ONCE`, else one more than processors: half of their time is waiting.
fn at_once() -> usize {
    let asked = env::var("SEGUE_SCENARIOS_AT_ONCE")
        .ok()
        .and_then(|number| number.parse().ok());
    asked.unwrap_or_else(|| 1 + thread::available_parallelism().map_or(1, usize::from))
}

/// Runs one and prints its line; true where it went well.
fn one(name: &str, long: bool) -> bool {
    let begun = Instant::now();
    let went = play(name, long);
    let took = begun.elapsed();
    match went {
        Went::Well(outcome) => {
            println!("{}", line(name, &outcome, took));
            for example in &outcome.examples {
                println!("    {example}");
            }
            outcome.otherwise == 0
        }
        Went::Skipped(why) => {
            println!("{name:<34} skipped: {}", why.trim());
            true
        }
        Went::Badly(why) => {
            println!(
                "{name:<34} FAILED after {:.0} s: {}",
                took.as_secs_f64(),
                why.trim()
            );
            false
        }
    }
}

fn line(name: &str, outcome: &Outcome, took: Duration) -> String {
    let back = outcome
        .rollback_ms
        .map_or_else(|| "-".to_owned(), |ms| ms.to_string());
    format!(
        "{name:<34} {:>11} {:>9} {:>7} {:>9} {back:>9} {:>6.1}{}",
        outcome.ended,
        outcome.requests,
        outcome.by_bad,
        outcome.otherwise,
        took.as_secs_f64(),
        if outcome.otherwise > 0 {
            "  FAILED"
        } else {
            ""
        }
    )
}

fn play(name: &str, long: bool) -> Went {
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["scenario", name])
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    if long {
        command.env("SEGUE_LONG", "1");
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return Went::Badly(error.to_string()),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(SKIPPED.into()) {
        return Went::Skipped(said.into_owned());
    }
    let last = said.lines().last().unwrap_or_default();
    match serde_json::from_str(last) {
        Ok(outcome) if output.status.success() => Went::Well(outcome),
        _ => Went::Badly(format!(
            "{}\n{said}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}
