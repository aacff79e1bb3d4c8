//! The sidecar's own HTTP endpoints: readiness, metrics, what configuration it has and how old.
//!
//! `--admin` serves all of it and listens on loopback, for whoever may call there may also begin a
//! drain; `--probe` serves readiness alone, since anybody may reach it.

mod view;

use crate::{
    store::{self, Command, Worker},
    telemetry::{self, Process, Reporter, Told},
    xds::{Connection, Handle},
};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// What the endpoints read.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The workers.
    pub workers: Vec<Worker>,
    /// The xDS client.
    pub client: Handle,
    /// The books, and the configuration in force.
    pub reporter: Reporter,
    /// What was told of requests.
    pub told: Told,
    /// How long a drain may take.
    pub drain_timeout: Duration,
}

/// How `/drain` is called.
#[derive(Debug, Deserialize)]
struct DrainQuery {
    /// Answer only once it is drained.
    #[serde(default)]
    wait: bool,
}

/// Everything.
pub fn admin(sources: Sources) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .route("/config_dump", get(config_dump))
        .route("/connections", get(connections))
        .route("/streams", get(streams))
        .route("/drain", post(drain))
        .with_state(Arc::new(sources))
}

/// Readiness alone.
pub fn probe(sources: Sources) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .with_state(Arc::new(sources))
}

/// Ready once a configuration with a listener is in force, wherever it came from, and as long as
/// every worker serves by it.
async fn ready(State(sources): State<Arc<Sources>>) -> (StatusCode, &'static str) {
    if !sources.workers.iter().all(Worker::is_running) {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "a worker has ended by a fault: the sidecar is about to stop\n",
        );
    }
    let snapshot = Arc::clone(&sources.reporter.snapshot.borrow());
    if snapshot.outbound.is_some() || snapshot.inbound.is_some() {
        (StatusCode::OK, "ready\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "no configuration yet: the control plane has not answered\n",
        )
    }
}

async fn metrics(State(sources): State<Arc<Sources>>) -> impl IntoResponse {
    sources.reporter.collect().await;
    let connection = sources.client.dump().await.map(|dump| dump.connection);
    let process = Process {
        connected: matches!(connection, Some(Connection::Connected(_))),
        sequence: sources.reporter.snapshot.borrow().sequence,
        uptime: sources.reporter.started.elapsed().as_secs_f64(),
        told: sources.told.counts(),
    };
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        telemetry::text(&sources.reporter.loads, process),
    )
}

async fn config_dump(State(sources): State<Arc<Sources>>) -> Result<Json<Value>, StatusCode> {
    let dump = sources
        .client
        .dump()
        .await
        .ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
    let snapshot = Arc::clone(&sources.reporter.snapshot.borrow());
    Ok(Json(view::config(&dump, &snapshot)))
}

async fn connections(State(sources): State<Arc<Sources>>) -> Json<Value> {
    let mut list = Vec::new();
    for (index, worker) in sources.workers.iter().enumerate() {
        let (answer, connections) = oneshot::channel();
        // A worker that has ended has no connections.
        worker.commands.send(Command::ListConnections(answer)).ok();
        for connection in connections.await.unwrap_or_default() {
            list.push(view::connection(index, &connection));
        }
    }
    Json(json!({ "connections": list }))
}

/// What is under way, by kind and age.
async fn streams(State(sources): State<Arc<Sources>>) -> Json<Value> {
    let mut workers = Vec::new();
    for worker in &sources.workers {
        let (answer, open) = oneshot::channel();
        worker.commands.send(Command::ListStreams(answer)).ok();
        // A worker that has ended has nothing open.
        workers.push(open.await.ok());
    }
    Json(view::streams(&workers))
}

/// Begins to drain. Whoever comes is still served, until the process is told to stop.
async fn drain(
    State(sources): State<Arc<Sources>>,
    Query(query): Query<DrainQuery>,
) -> (StatusCode, &'static str) {
    tracing::info!(deadline = ?sources.drain_timeout, "draining: the admin address was asked to");
    let drained = store::drain(&sources.workers, sources.drain_timeout, false);
    if query.wait {
        drained.await;
        (StatusCode::OK, "drained\n")
    } else {
        (StatusCode::ACCEPTED, "draining\n")
    }
}
