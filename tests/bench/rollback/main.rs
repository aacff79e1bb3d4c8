//! How fast fifty sidecars leave a version that turned bad.
//!
//! `cargo bench -p segue-tests --bench rollback [-- --runs 20] [-- --sidecars 50]` starts one control plane, two old and
//! two new instances and so many client sidecars, all real processes on loopback addresses, and brings the upgrade to
//! 50 %. Then the new version turns bad, run after run; between two runs it is healed and the upgrade retried.
//!
//! Measured from the first bad answer (of a hang: from its beginning) to the moment when the last request was sent that
//! reached the new version. Which requests reached it is known from the ids that its instances keep. With the control
//! plane frozen (SIGSTOP), the failing requests of each sidecar to each new endpoint are counted until the first of them
//! lets the endpoint back in.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark reports by itself, and fails by panicking"
)]

mod load;
#[path = "../../tests/upgrades/mesh.rs"]
#[expect(dead_code, reason = "scenarios use more of it")]
mod mesh;
#[path = "../../tests/upgrades/policy.rs"]
#[expect(dead_code, reason = "scenarios use more of it")]
mod policy;
#[path = "../../tests/upgrades/ready.rs"]
#[expect(dead_code, reason = "scenarios use more of it")]
mod ready;

use load::{Exchange, Load};
use mesh::{Mesh, is_applied, unix_ms};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use policy::Policy;
use segue_cli::lab::{Mode, Pod};
use segue_proto::control::UpgradeCommandRequest;
use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    process::ExitCode,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// How long the new version serves well before it turns bad.
const GOOD: Duration = Duration::from_millis(700);
/// How long it is looked at with the control plane frozen: less than an ejection lasts.
const FROZEN: Duration = Duration::from_secs(4);

/// What is measured.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    /// Requests per second to both versions together.
    rate: u32,
    fault: &'static str,
    frozen: bool,
    /// What the issue asks: milliseconds, or failing requests.
    limit: u64,
}

const CASES: [Case; 4] = [
    Case {
        name: "errors, 500 requests/s to it",
        rate: 1_000,
        fault: "errors",
        frozen: false,
        limit: 1_000,
    },
    Case {
        name: "errors, 50 requests/s to it",
        rate: 100,
        fault: "errors",
        frozen: false,
        limit: 3_000,
    },
    Case {
        name: "hang, 50 requests/s to it",
        rate: 100,
        fault: "hang",
        frozen: false,
        // Three intervals of 1 s, and 1 s.
        limit: 4_000,
    },
    Case {
        name: "errors, control plane frozen",
        rate: 1_000,
        fault: "errors",
        frozen: true,
        limit: 3,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    if arguments[0].to_string_lossy().starts_with("segue-") {
        return segue_cli::main(arguments);
    }
    let number = |flag: &str, otherwise: usize| {
        let mut after = arguments.iter().skip_while(|word| *word != flag);
        let value = after.nth(1).map(|value| value.to_str().unwrap());
        value.map_or(otherwise, |value| value.parse().unwrap())
    };
    let (runs, sidecars) = (number("--runs", 20), number("--sidecars", 50));
    println!(
        "{} processors; {sidecars} client sidecars, 2 old and 2 new instances; {runs} runs",
        std::thread::available_parallelism().unwrap()
    );
    println!(
        "{:<32} {:>6} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "case", "runs", "median", "p90", "p99", "worst", "limit"
    );
    let mut good = true;
    for case in CASES {
        // A runtime of one thread: the lab's processes live as long as the thread that started them.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (measured, unit) = runtime.block_on(measure(case, runs, sidecars));
        let worst = *measured.last().unwrap();
        good &= quantile(&measured, 99) <= case.limit;
        println!(
            "{:<32} {:>6} {:>8} {:>8} {:>8} {worst:>8} {:>8} {unit}",
            case.name,
            measured.len(),
            quantile(&measured, 50),
            quantile(&measured, 90),
            quantile(&measured, 99),
            case.limit,
        );
    }
    if good {
        ExitCode::SUCCESS
    } else {
        println!("a p99 is beyond its limit");
        ExitCode::FAILURE
    }
}

/// Of sorted numbers, the smallest that so many percent do not exceed.
fn quantile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

/// A mesh at whose clients the load is.
struct Bench {
    mesh: Mesh,
    clients: Vec<Pod>,
    load: Load,
}

async fn measure(case: Case, runs: usize, sidecars: usize) -> (Vec<u64>, &'static str) {
    let mut bench = Bench::start(case, sidecars).await;
    let mut measured = Vec::new();
    for run in 0..runs {
        if run > 0 {
            bench.retry().await;
        }
        measured.extend(if case.frozen {
            bench.frozen().await
        } else {
            vec![bench.rollback(case).await]
        });
    }
    bench.load.stop().await;
    drop(bench.clients);
    measured.sort_unstable();
    let unit = if case.frozen {
        "failing requests per sidecar and endpoint"
    } else {
        "ms"
    };
    (measured, unit)
}

impl Bench {
    async fn start(case: Case, sidecars: usize) -> Self {
        let policy = Policy {
            strategy: policy::by_hand(&[50]),
            ..Policy::default()
        };
        let mode = Mode::Loopback {
            reason: "the load comes from one process".to_owned(),
        };
        let mut mesh = Mesh::start(mode, &[("checkout", policy)]).await;
        mesh.stops_drained = false;
        mesh.version("checkout", "v1", &[]).await;
        let mut clients = Vec::new();
        for number in 0..sidecars {
            clients.push(mesh.client(&format!("web-{number}"), None).await);
        }
        mesh.proxies(2 + sidecars).await;
        let proxies: Vec<_> = clients
            .iter()
            .map(|pod| pod.outbound_proxy().unwrap())
            .collect();
        let load = Load::start(&proxies, case.rate).await;
        mesh.version("checkout", "v2", &["--fault", case.fault])
            .await;
        let mut bench = Self {
            mesh,
            clients,
            load,
        };
        bench.up().await;
        bench
    }

    /// At 50 %, and everybody knows.
    async fn up(&mut self) {
        self.mesh
            .until("v2", "at 50 %", |status| {
                status.weight == 5_000 && is_applied(status)
            })
            .await;
        sleep(GOOD).await;
        self.load.take();
    }

    async fn retry(&mut self) {
        self.mesh.heal("v2").await;
        let upgrade = self.mesh.upgrade("v2").await.unwrap();
        let request = UpgradeCommandRequest {
            namespace: upgrade.namespace,
            name: upgrade.name,
            ..UpgradeCommandRequest::default()
        };
        let mut api = self.mesh.api().await;
        api.retry_upgrade(request).await.unwrap();
        self.up().await;
    }

    /// From the first bad answer to the last request on the new version.
    async fn rollback(&mut self, case: Case) -> u64 {
        let begun = unix_ms();
        self.mesh.turn_bad("v2").await;
        self.mesh.phase("v2", "RolledBack").await;
        let sent = self.load.settle().await;
        let seen = self.mesh.seen("v2");
        let on_new = sent.iter().filter(|one| seen.contains(&one.id));
        let last = on_new.map(|one| one.sent).max().unwrap();
        let first_bad = if case.fault == "hang" {
            begun
        } else {
            let bad = sent.iter().filter(|one| one.status == Some(500));
            bad.map(|one| one.ended).min().unwrap()
        };
        self.foreign(&sent, &seen);
        last.saturating_sub(first_bad)
    }

    /// Nothing may fail that the new version did not get.
    fn foreign(&self, sent: &[Exchange], seen: &BTreeSet<String>) {
        let failed = sent
            .iter()
            .filter(|one| one.status != Some(200) && !seen.contains(&one.id));
        let foreign: Vec<&Exchange> = failed.collect();
        assert!(
            foreign.is_empty(),
            "{} requests failed that the new version did not get, such as {:?}\n{}",
            foreign.len(),
            foreign[0],
            self.mesh.log()
        );
    }

    /// How many requests of each sidecar each new endpoint failed.
    async fn frozen(&mut self) -> Vec<u64> {
        self.signal_control_plane(Signal::SIGSTOP);
        self.mesh.turn_bad("v2").await;
        let begun = Instant::now();
        sleep(FROZEN.saturating_sub(begun.elapsed())).await;
        let sent = self.load.take();
        self.signal_control_plane(Signal::SIGCONT);
        let mut failing: BTreeMap<(usize, &str), u64> = BTreeMap::new();
        for one in sent.iter().filter(|one| one.status != Some(200)) {
            *failing.entry((one.client, &one.instance)).or_default() += 1;
        }
        let counts = failing.into_values().collect();
        self.mesh.phase("v2", "RolledBack").await;
        self.load.settle().await;
        counts
    }

    fn signal_control_plane(&self, signal: Signal) {
        let pid = self.mesh.control_plane.pid().unwrap();
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
    }
}
