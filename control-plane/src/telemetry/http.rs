//! `/metrics`, `/healthz`, `/readyz`.

use super::metrics;
use crate::{
    clock::now,
    engine::Handle,
    event::Outbox,
    listen::{Connection, Door, DoorCounts},
};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
    serve::Listener,
};
use std::{future::Future, io, net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;

/// What there is to show.
#[derive(Clone, Debug)]
pub struct Shown {
    engine: Handle,
    outbox: Outbox,
    doors: Arc<[Door]>,
}

impl Shown {
    /// Shows what the engine does, how its events fare, and who comes through the doors.
    pub fn new(engine: Handle, outbox: Outbox, doors: impl Into<Arc<[Door]>>) -> Self {
        Self {
            engine,
            outbox,
            doors: doors.into(),
        }
    }
}

/// Serves until `end` comes.
pub async fn serve(
    (listener, door): (TcpListener, Door),
    shown: Shown,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(show_readiness))
        .with_state(shown);
    axum::serve(Bounded { listener, door }, router)
        .with_graceful_shutdown(end)
        .await
}

/// A listener behind a door.
#[derive(Debug)]
struct Bounded {
    listener: TcpListener,
    door: Door,
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        self.door.accept(&self.listener).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn show_metrics(State(shown): State<Shown>) -> impl IntoResponse {
    let doors: Vec<DoorCounts> = shown.doors.iter().map(Door::counts).collect();
    let others = (shown.outbox.counts(), doors);
    let text = metrics::render(&shown.engine.board(), (&others.0, &others.1), now());
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text)
}

async fn show_readiness(State(shown): State<Shown>) -> impl IntoResponse {
    match &shown.engine.board().journal_error {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
