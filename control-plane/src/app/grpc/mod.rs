//! The gRPC port: xDS, the control API, reflection, and health that tells the truth.

use super::{KEEPALIVE, STREAMS, wished};
use crate::{
    control::{self, Deadlines},
    engine::{Board, Handle},
    event::Outbox,
    listen::Door,
    xds::Server,
};
use std::sync::Arc;
use tokio::{net::TcpListener, sync::watch};
use tonic_health::{ServingStatus, server::HealthReporter};

/// What shows upgrades and steers them: its verbs need the disk.
const UPGRADES: &str = "segue.control.v1.UpgradeService";
/// What is served from memory, whatever the disk does.
const FROM_MEMORY: [&str; 4] = [
    "segue.control.v1.ProxyService",
    "envoy.service.discovery.v3.AggregatedDiscoveryService",
    "envoy.service.load_stats.v3.LoadReportingService",
    "envoy.service.health.v3.HealthDiscoveryService",
];
/// The program as a whole, which is ready as `/readyz` has it.
const WHOLE: &str = "";

/// Serves until the end is wished.
pub(super) async fn serve(
    (listener, door): (TcpListener, Door),
    xds: Server,
    (engine, outbox): (Handle, Outbox),
    ended: watch::Receiver<bool>,
) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let serving = Serving::now(&engine.board(), *ended.borrow());
    tell(&health, None, serving).await;
    tokio::spawn(follow((health, serving), engine.watch(), ended.clone()));
    let mut builder = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .max_concurrent_streams(STREAMS)
        .layer(Deadlines);
    let mut router = builder
        .add_service(xds.ads())
        .add_service(xds.lrs())
        .add_service(xds.hds())
        .add_service(control::upgrade_service(engine.clone(), outbox))
        .add_service(control::proxy_service(engine))
        .add_service(health_service);
    match control::reflection() {
        Ok(reflection) => router = router.add_service(reflection),
        Err(error) => tracing::error!("no gRPC reflection: {error}"),
    }
    router
        .serve_with_incoming_shutdown(door.incoming(listener), wished(ended))
        .await
}

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serving {
    /// Everything.
    All,
    /// The state folder can't be written: all but verbs.
    NoVerbs,
    /// It ends: clients go elsewhere.
    Nothing,
}

impl Serving {
    fn now(board: &Board, ended: bool) -> Self {
        match (ended, &board.journal_error) {
            (true, _) => Self::Nothing,
            (false, Some(_)) => Self::NoVerbs,
            (false, None) => Self::All,
        }
    }

    fn of(self, service: &str) -> ServingStatus {
        let serves = match service {
            WHOLE | UPGRADES => self == Self::All,
            _ => self != Self::Nothing,
        };
        if serves {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        }
    }
}

/// Tells every change until the end, and then ends whoever watches: they would hold up the goodbye.
async fn follow(
    (mut health, mut told): (HealthReporter, Serving),
    mut board: watch::Receiver<Arc<Board>>,
    mut ended: watch::Receiver<bool>,
) {
    loop {
        let serving = Serving::now(&board.borrow_and_update(), *ended.borrow_and_update());
        tell(&health, Some(told), serving).await;
        told = serving;
        if serving == Serving::Nothing {
            break;
        }
        tokio::select! {
            changed = board.changed() => if changed.is_err() { wished(ended.clone()).await },
            changed = ended.changed() => if changed.is_err() { break },
        }
    }
    for service in services() {
        health.clear_service_status(service).await;
    }
}

/// Tells what is news: whoever watches hears of every word.
async fn tell(health: &HealthReporter, told: Option<Serving>, serving: Serving) {
    for service in services() {
        let status = serving.of(service);
        if told.is_none_or(|told| told.of(service) != status) {
            health.set_service_status(service, status).await;
        }
    }
}

fn services() -> impl Iterator<Item = &'static str> {
    [WHOLE, UPGRADES].into_iter().chain(FROM_MEMORY)
}

#[cfg(test)]
mod tests;
