//! Who is told of an upgrade is told all of it, once he can be told.

use super::{
    mesh::Mesh,
    nats::Server,
    outcome::Outcome,
    policy::{self, Policy},
    sink::Sink,
    traffic::{Load, Traffic},
};
use segue_cli::lab::Mode;
use segue_proto::control::UpgradeStatus;
use std::{env, net::SocketAddr, time::Duration};
use tokio::time::{Instant, sleep};

/// Where sinks are: in the network of the lab itself, where the control plane is too.
const HTTP: ([u8; 4], u16) = ([127, 0, 0, 1], 18_080);
const NATS: ([u8; 4], u16) = ([127, 0, 0, 1], 14_222);
const SUBJECT: &str = "segue.upgrades";
/// How long the last event may take once it can be sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the sink is down: a minute with `--long`.
fn down() -> Duration {
    Duration::from_secs(if env::var_os("SEGUE_LONG").is_some() {
        60
    } else {
        4
    })
}

fn told(extra: &str) -> Policy {
    let http = SocketAddr::from(HTTP);
    Policy {
        strategy: policy::canary(&[50]),
        notify: Some(format!(
            "[{{cloudEvents: {{sink: \"http://{http}/structured\", mode: structured}}}}, \
             {{cloudEvents: {{sink: \"http://{http}/binary\", mode: binary}}}}{extra}]"
        )),
        ..Policy::default()
    }
}

/// Each transition of the history has its event, in both modes, in order and with the same ids; the control plane was
/// killed while nobody listened.
pub(super) async fn sink_was_down(mode: Mode) -> Outcome {
    let mut traffic = Traffic::start(mode, told(""), Load::of(60)).await;
    let begun = Instant::now();
    traffic.version("checkout", "v2", &[]).await;
    traffic.phase("v2", "WarmUp").await;
    traffic.control_plane.restart().await.unwrap();
    let status = traffic.phase("v2", "Succeeded").await;
    sleep(down().saturating_sub(begun.elapsed())).await;
    let sink = Sink::open(SocketAddr::from(HTTP)).await;
    everything(&traffic, &sink, &status).await;
    traffic.finish("Succeeded").await
}

/// A NATS server that was always there received what the sink got late.
pub(super) async fn nats_receives_the_same(mode: Mode) -> Outcome {
    let nats = SocketAddr::from(NATS);
    let policy = told(&format!(
        ", {{nats: {{server: \"nats://{nats}\", subject: {SUBJECT}, jetStream: false}}}}"
    ));
    let mut traffic = Traffic::start(mode, policy, Load::of(60)).await;
    let folder = traffic.folder.path().join("nats");
    let server = Server::start(nats, &folder).await;
    let subscription = server.subscribe(SUBJECT).await;
    let begun = Instant::now();
    traffic.version("checkout", "v2", &[]).await;
    let status = traffic.phase("v2", "Succeeded").await;
    sleep(down().saturating_sub(begun.elapsed())).await;
    let sink = Sink::open(SocketAddr::from(HTTP)).await;
    let ids = everything(&traffic, &sink, &status).await;
    let begun = Instant::now();
    while subscription.ids().len() < ids.len() && begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        subscription.ids(),
        ids,
        "the NATS server received other events"
    );
    traffic.finish("Succeeded").await
}

/// Waits until the sink has the last event in both modes; then nothing may be missing. The ids, in order.
async fn everything(mesh: &Mesh, sink: &Sink, status: &UpgradeStatus) -> Vec<String> {
    let last = status
        .events
        .last()
        .unwrap_or_else(|| panic!("the status tells no events: {status:#?}"));
    let begun = Instant::now();
    let has = |path: &str| sink.ids(path).contains(&last.id);
    while !(has("/structured") && has("/binary")) {
        assert!(
            begun.elapsed() < PATIENCE,
            "the last event {last:?} does not come; {} structured, {} binary\n{}",
            sink.ids("/structured").len(),
            sink.ids("/binary").len(),
            mesh.log()
        );
        sleep(Duration::from_millis(50)).await;
    }
    let ids = sink.ids("/structured");
    assert_eq!(ids, sink.ids("/binary"));
    // The status keeps the newest events: all of these came, in this order.
    let kept: Vec<&String> = status.events.iter().map(|event| &event.id).collect();
    let came: Vec<&String> = ids.iter().filter(|id| kept.contains(id)).collect();
    assert_eq!(came, kept);
    let received = sink.at("/structured");
    for line in &status.history {
        let tells = |data: &serde_json::Value| data["phase"] == line.phase.as_str();
        assert!(
            received.iter().any(|event| tells(&event.data)),
            "no event tells of {}: {received:#?}",
            line.phase
        );
    }
    assert!(received.iter().all(|event| event.kind.contains("segue")));
    ids
}
