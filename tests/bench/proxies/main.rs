//! What the sidecar costs beside Envoy, HAProxy and nginx with the same job.
//!
//! `cargo bench -p segue-tests --bench proxies [-- --quick] [--rounds 3] [--seconds 8] [--only h1c64,tcp] [--segue FILE]`
//!
//! Two versions of a service, 95 to 5; one worker each, the proxy on core 0, clients (wrk, h2load), backends (nginx,
//! nghttpd) and the control plane on core 1. A round visits every proxy before the next begins; the table shows medians.
//! CPU is user and system time of the proxy's processes over the run, divided by the requests that were answered.
//!
//! The sidecar is told by a real control plane. As root all of it runs in a network namespace of its own, in which TCP
//! connections are redirected to each proxy alike; elsewhere the row for TCP is left out. `--quick` takes a second or two
//! a row, and fails only beyond twice a limit.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark of one thread, which waits for programs and memory to settle; it reports by itself, and fails by \
              panicking"
)]

mod arena;
mod backends;
mod load;
mod peers;
mod process;
mod proxies;
mod rows;
mod sidecar;

use arena::Arena;
use backends::Backends;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use process::Process;
use proxies::{KINDS, Kind};
use rows::{Limit, ROWS, Row};
use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// How far beyond its limit a figure of a quick run may be.
const SLACK: f64 = 2.0;

/// What was asked for.
struct Options {
    quick: bool,
    rounds: usize,
    seconds: u32,
    only: Option<Vec<String>>,
    segue: PathBuf,
}

impl Options {
    fn read(arguments: &[OsString]) -> Self {
        let value = |flag: &str| {
            let mut after = arguments.iter().skip_while(|word| *word != flag);
            after.nth(1).map(|value| value.to_str().unwrap())
        };
        let quick = arguments.iter().any(|word| word == "--quick");
        let (rounds, seconds) = if quick { (1, 2) } else { (3, 8) };
        Self {
            quick,
            rounds: value("--rounds").map_or(rounds, |text| text.parse().unwrap()),
            seconds: value("--seconds").map_or(seconds, |text| text.parse().unwrap()),
            only: value("--only").map(|text| text.split(',').map(str::to_owned).collect()),
            segue: value("--segue").map_or_else(|| env::current_exe().unwrap(), PathBuf::from),
        }
    }

    fn has(&self, row: &Row) -> bool {
        let only = self.only.as_ref();
        only.is_none_or(|keys| keys.iter().any(|key| key == row.key))
    }
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let name = Path::new(&arguments[0]).file_name().unwrap();
    if name.to_string_lossy().starts_with("segue") {
        return segue_cli::main(arguments);
    }
    let options = Options::read(&arguments);
    // A thousand connections, with an end in each of three processes; children inherit it.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let arena = Arena::enter(&options.segue);
    let needed = ["nginx", "wrk", "taskset"];
    if let Some(missing) = needed.iter().find(|program| !arena.has(program)) {
        println!("{missing} is needed for every row; nothing is measured");
        return ExitCode::FAILURE;
    }
    let _backends = Backends::start(&arena);
    let _control_plane = sidecar::control_plane(&arena);
    let mut proxies: Vec<(Kind, Process)> = KINDS
        .into_iter()
        .filter(|kind| kind.is_here(&arena))
        .map(|kind| (kind, kind.start(&arena)))
        .collect();
    println!("{}", machine(&options));
    print_row(&[
        "", "unit", "Envoy", "HAProxy", "nginx", "sidecar", "of Envoy", "limit", "",
    ]);
    print_row(&["---"; 9]);
    let mut good = true;
    for row in ROWS.iter().filter(|row| options.has(row)) {
        good &= measure(row, &mut proxies, &arena, &options);
    }
    if good {
        ExitCode::SUCCESS
    } else {
        println!("\na figure is beyond its limit");
        ExitCode::FAILURE
    }
}

/// Measures a row, prints it, and says whether the sidecar is within the limit.
fn measure(row: &Row, proxies: &mut [(Kind, Process)], arena: &Arena, options: &Options) -> bool {
    let mut seen = [const { Vec::new() }; KINDS.len()];
    for _ in 0..options.rounds {
        for (kind, process) in &mut *proxies {
            let figure = row.measure(*kind, process, arena, options.seconds);
            let place = KINDS.iter().position(|one| one == kind).unwrap();
            seen[place].extend(figure);
        }
    }
    let [envoy, haproxy, nginx, sidecar] = seen.map(|mut all| median(&mut all));
    let of_envoy = sidecar.zip(envoy).map(|(ours, theirs)| ours / theirs);
    let (limit, reached, wanted) = match row.limit {
        Limit::OfEnvoy(limit) => (limit, of_envoy, format!("<= {limit:.2} Envoy")),
        Limit::AtMost(limit) => (limit, sidecar, format!("<= {limit:.0}")),
    };
    let slack = if options.quick { SLACK } else { 1.0 };
    let verdict = match reached {
        None => "not measured",
        Some(reached) if reached <= limit => "reached",
        Some(reached) if reached <= limit * slack => "missed, within a quick run's slack",
        Some(_) => "MISSED",
    };
    let shown = |figure: Option<f64>| {
        figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"))
    };
    print_row(&[
        row.name,
        row.unit,
        &shown(envoy),
        &shown(haproxy),
        &shown(nginx),
        &shown(sidecar),
        &shown(of_envoy.filter(|ratio| ratio.is_finite())),
        &wanted,
        verdict,
    ]);
    verdict != "MISSED"
}

fn median(all: &mut [f64]) -> Option<f64> {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

/// A line of a Markdown table.
fn print_row(cells: &[&str; 9]) {
    let [name, unit, others @ .., verdict] = cells;
    let others: Vec<String> = others.iter().map(|cell| format!("{cell:>12}")).collect();
    println!(
        "| {name:<40} | {unit:<10} | {} | {verdict} |",
        others.join(" | ")
    );
}

/// What the figures hold for.
fn machine(options: &Options) -> String {
    let line = |file: &str, key: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let found = text.lines().find(|line| line.starts_with(key));
        let value = found.and_then(|line| line.split(':').nth(1));
        value.unwrap_or("?").trim().to_owned()
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{} x {}, Linux {}, load {}; {} rounds of {} s, medians\n",
        std::thread::available_parallelism().unwrap(),
        line("/proc/cpuinfo", "model name"),
        kernel.trim(),
        load.split(' ').next().unwrap_or("?"),
        options.rounds,
        options.seconds,
    )
}
