//! `/metrics`, `/healthz`, `/readyz`.

use super::metrics;
use crate::{engine::Handle, event::Outbox};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use std::{future::Future, io};
use tokio::net::TcpListener;

/// Serves until `end` comes.
pub async fn serve(
    listener: TcpListener,
    engine: Handle,
    outbox: Outbox,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = Router::new()
        .route("/metrics", get(show_metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(show_readiness))
        .with_state((engine, outbox));
    axum::serve(listener, router)
        .with_graceful_shutdown(end)
        .await
}

type Shown = State<(Handle, Outbox)>;

async fn show_metrics(State((engine, outbox)): Shown) -> impl IntoResponse {
    let text = metrics::render(&engine.board(), &outbox.counts());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

async fn show_readiness(State((engine, _)): Shown) -> impl IntoResponse {
    match &engine.board().journal_error {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
    }
}
