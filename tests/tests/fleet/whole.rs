//! Whole upgrades with every kind of client on one control plane.

use super::{
    envoy::Envoy,
    grpc::{Account, Client},
    mesh::Mesh,
    peers::{self, Grpc},
    policy::{NO_ERRORS, Policy, analysis, by_hand},
    share::{Step, course, steps},
    traffic::{Load, Traffic},
};
use segue_cli::{demo::load::Begun, lab::Mode};
use segue_proto::control::UpgradeStatus;
use std::time::Duration;
use tokio::time::sleep;

/// How long a weight is looked at: more than a hundred draws of each client.
const LOOK: Duration = Duration::from_secs(8);
/// The share of a step tells something from so many draws on.
const ENOUGH: u32 = 50;
/// The port that gRPC clients ask for; its instances are the same.
const TARGET: &str = "checkout.shop.svc.cluster.local:8081";

const ENVOYS: [Envoy; 3] = [
    Envoy {
        name: "envoy-sotw",
        api: "GRPC",
        is_sidecar: true,
    },
    Envoy {
        name: "envoy-delta",
        api: "DELTA_GRPC",
        is_sidecar: true,
    },
    Envoy {
        name: "envoy-gateway",
        api: "DELTA_GRPC",
        is_sidecar: false,
    },
];

/// From v1 to v2 by 5 and 50 %.
pub(crate) async fn upgrade(mode: Mode) {
    let policy = Policy {
        strategy: by_hand(&[5, 50]),
        affinity: "Cookie",
        ..Policy::default()
    };
    let mut fleet = Fleet::start(mode, policy).await;
    fleet.traffic.version("checkout", "v2", &[]).await;
    fleet.traffic.climb("v2", 500).await;
    sleep(LOOK).await;
    fleet.traffic.climb("v2", 5_000).await;
    sleep(LOOK).await;
    fleet.traffic.promote("v2", false, "").await;
    let status = fleet.traffic.phase("v2", "Succeeded").await;
    fleet.finish(&status).await;
}

/// v2 answers with errors once it has half of all.
pub(crate) async fn errors(mode: Mode) {
    let policy = Policy {
        strategy: by_hand(&[50]),
        affinity: "Cookie",
        analysis: analysis(NO_ERRORS),
        ..Policy::default()
    };
    let mut fleet = Fleet::start(mode, policy).await;
    let flags = ["--fault", "errors"];
    fleet.traffic.version("checkout", "v2", &flags).await;
    fleet.traffic.climb("v2", 5_000).await;
    fleet.traffic.turn_bad("v2").await;
    fleet.traffic.phase("v2", "RolledBack").await;
    fleet.finish_bad().await;
}

/// A mesh with clients of every kind.
#[derive(Debug)]
struct Fleet {
    traffic: Traffic,
    names: Vec<String>,
    grpc: Vec<Client>,
}

impl Fleet {
    /// `checkout` v1 under this policy, our sidecar, and every other client that is installed.
    async fn start(mode: Mode, policy: Policy) -> Self {
        for name in peers::missing() {
            println!("  {name} is not installed and left out");
        }
        let load = Load {
            rate: 50,
            sessions: 10,
            new_sessions: 20,
            channels: 0,
        };
        let mut traffic = Traffic::start(mode, policy, load).await;
        add_grpc_port(&traffic);
        let mut names = vec!["segue-sidecar".to_owned()];
        let version = peers::envoy_version(&peers::envoy().unwrap());
        for envoy in ENVOYS {
            let pod = envoy.start(&traffic, load).await;
            traffic.load_from(pod).await;
            names.push(format!("{version} ({})", envoy.name));
        }
        let mut grpc = Vec::new();
        for which in Grpc::ALL {
            grpc.extend(Client::start(&traffic, which, TARGET).await);
        }
        traffic.proxies(2 + names.len() + grpc.len()).await;
        Self {
            traffic,
            names,
            grpc,
        }
    }

    /// Ends all clients in order: none lost a request, and each drew as it was told.
    async fn finish(mut self, status: &UpgradeStatus) {
        let reports = self.traffic.reports().await;
        let mut wrong = Vec::new();
        for (name, report) in self.names.iter().zip(&reports) {
            wrong.extend(show(
                name,
                (report.sent, report.failed),
                &report.begun,
                status,
            ));
        }
        for client in self.grpc {
            let Account {
                what,
                draws,
                failed,
            } = client.finish().await;
            let count = |all: usize| u64::try_from(all).unwrap();
            let requests = (count(draws.len() + failed.len()), count(failed.len()));
            wrong.extend(show(&what, requests, &draws, status));
            wrong.extend(failed.into_iter().take(3));
        }
        let outcome = self.traffic.judge("Succeeded", reports).await;
        wrong.extend(outcome.examples);
        assert!(
            wrong.is_empty() && outcome.otherwise == 0,
            "{wrong:#?}\n{:?}",
            course(status)
        );
    }
}

impl Fleet {
    /// Ends all clients in order: what they lost, they lost to v2 as it was bad.
    async fn finish_bad(mut self) {
        let reports = self.traffic.reports().await;
        for (name, report) in self.names.iter().zip(&reports) {
            println!(
                "  {name:<42} {:>6} requests, {} failed",
                report.sent, report.failed
            );
        }
        let mut wrong = Vec::new();
        for client in self.grpc {
            let account = client.finish().await;
            let (answered, failed) = (account.draws.len(), account.failed.len());
            let name = account.what;
            println!(
                "  {name:<42} {:>6} requests, {failed} failed",
                answered + failed
            );
            // As v2 answers: by HTTP's 500, or by gRPC's INTERNAL, which is 13, at the end of a stream.
            let by_v2 = |said: &String| {
                let said = said.splitn(3, ' ').last().unwrap().to_lowercase();
                said.contains("500") || said.contains("internal") || said.contains("! 13 ")
            };
            let others = account.failed.into_iter().filter(|said| !by_v2(said));
            wrong.extend(others.map(|said| format!("{name}: {said}")));
        }
        let outcome = self.traffic.judge("RolledBack", reports).await;
        wrong.extend(outcome.examples);
        assert!(wrong.is_empty() && outcome.otherwise == 0, "{wrong:#?}");
        assert!(outcome.by_bad > 0, "v2 was not seen to be bad");
    }
}

/// Shows how one client fared, and returns what is wrong with it.
fn show(
    name: &str,
    (requests, failed): (u64, u64),
    draws: &[Begun],
    status: &UpgradeStatus,
) -> Vec<String> {
    println!("  {name:<42} {requests:>6} requests, {failed} failed");
    let steps = steps(draws, status, "v2");
    let partial: Vec<&Step> = steps.iter().filter(|step| step.is_partial()).collect();
    for step in &partial {
        println!("    {step}");
    }
    let mut wrong: Vec<String> = steps
        .iter()
        .filter(|step| !step.holds())
        .map(|step| format!("{name}: {step}"))
        .collect();
    if partial.len() < 2 || partial.iter().any(|step| step.draws() < ENOUGH) {
        wrong.push(format!("{name} drew too little to tell"));
    }
    if failed > 0 {
        wrong.push(format!("{name}: {failed} of {requests} requests failed"));
    }
    wrong
}

/// The same instances under a port for gRPC.
fn add_grpc_port(mesh: &Mesh) {
    let path = mesh.folder.path().join("manifests/checkout-service.yaml");
    let unfinished = mesh.folder.path().join("manifests/.service.tmp");
    let service = std::fs::read_to_string(&path).unwrap();
    let port = "    - {name: grpc, port: 8081, targetPort: 8080, appProtocol: grpc}\n";
    std::fs::write(&unfinished, service + port).unwrap();
    std::fs::rename(unfinished, path).unwrap();
}
