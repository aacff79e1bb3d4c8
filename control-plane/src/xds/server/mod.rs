//! The gRPC services: ADS, LRS and HDS. Moves bytes; every decision is [`super::stream`]'s and
//! [`super::translate`]'s.
//!
//! A stream is a task. It wakes for a request, for a new snapshot (the newest; what came between is
//! skipped) and for the end; it awaits the client when sending, so that a slow client holds up
//! nobody but itself, and it awaits the engine when reporting, so that nothing is lost.

mod ads;
mod goodbye;
mod hds;
mod lrs;
mod registry;
#[cfg(test)]
mod tests;

use super::{snapshot::Snapshot, translate::Node};
use crate::model::{Observed, Timestamp};
pub use ads::INTRODUCTION;
use envoy_types::pb::envoy::service::{
    discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer,
    health::v3::health_discovery_service_server::HealthDiscoveryServiceServer,
    load_stats::v3::load_reporting_service_server::LoadReportingServiceServer,
};
pub use goodbye::Goodbyes;
use registry::Registry;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Response, Status};

/// Responses that may wait for a client to read them.
const RESPONSES_WAITING: usize = 4;

type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What proxies connect to.
#[derive(Clone, Debug)]
pub struct Server {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    observed: mpsc::Sender<Observed>,
    report_interval: watch::Receiver<Duration>,
    clock: fn() -> Timestamp,
    draining: Arc<watch::Sender<bool>>,
    streams: Arc<AtomicU64>,
    registry: Arc<Registry>,
}

impl Server {
    /// Serves the newest of `snapshots`, says to `observed` what it sees, and asks for load
    /// reports at `report_interval`.
    pub fn new(
        snapshots: watch::Receiver<Arc<Snapshot>>,
        observed: mpsc::Sender<Observed>,
        report_interval: watch::Receiver<Duration>,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            snapshots,
            observed,
            report_interval,
            clock,
            draining: Arc::new(watch::Sender::new(false)),
            streams: Arc::default(),
            registry: Arc::default(),
        }
    }

    /// The aggregated discovery service, both variants.
    pub fn ads(&self) -> Goodbyes<AggregatedDiscoveryServiceServer<Self>> {
        Goodbyes(AggregatedDiscoveryServiceServer::new(self.clone()))
    }

    /// The load reporting service.
    pub fn lrs(&self) -> LoadReportingServiceServer<Self> {
        LoadReportingServiceServer::new(self.clone())
    }

    /// The health discovery service.
    pub fn hds(&self) -> HealthDiscoveryServiceServer<Self> {
        HealthDiscoveryServiceServer::new(self.clone())
    }

    /// Ends all streams in good order, and new ones as they come: clients go elsewhere.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    fn next_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    fn ending(&self) -> Ending {
        Ending(self.draining.subscribe())
    }
}

/// The server's wish to end.
struct Ending(watch::Receiver<bool>);

impl Ending {
    /// Returns once the server drains.
    async fn wished(&mut self) {
        if self.0.wait_for(|draining| *draining).await.is_err() {
            // The server is gone and with it whoever could wish.
            std::future::pending::<()>().await;
        }
    }
}

fn channel<T: Send + 'static>() -> (mpsc::Sender<Result<T, Status>>, Responses<T>) {
    let (sender, receiver) = mpsc::channel(RESPONSES_WAITING);
    (sender, Box::pin(ReceiverStream::new(receiver)))
}

/// Serves a client on a task of its own; what that fails with is the stream's last word.
fn spawn_serving<T, F>(
    serve: impl FnOnce(mpsc::Sender<Result<T, Status>>) -> F,
) -> Response<Responses<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (responses, stream) = channel();
    let serving = serve(responses.clone());
    tokio::spawn(async move {
        if let Err(status) = serving.await {
            // The client may be gone; then nobody is to be told.
            let _gone = responses.send(Err(status)).await;
        }
    });
    Response::new(stream)
}

fn no_node() -> Status {
    let most = Node::MAX_TEXT;
    Status::invalid_argument(format!(
        "the first request of a stream must carry a node with an id; it, the cluster, the user agent, namespace and name have at most {most} bytes each"
    ))
}
