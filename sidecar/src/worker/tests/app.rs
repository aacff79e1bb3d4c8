//! An application that answers as it is told.

use super::{Body, full};
use crate::upstream::Protocol;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Handler = Arc<dyn Fn(Request<Incoming>) -> Answer + Send + Sync>;

/// A running application.
pub(super) struct App {
    pub address: SocketAddr,
    requests: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    closing: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl App {
    /// Answers every request with its name.
    pub(super) async fn named(name: &'static str) -> Self {
        Self::http1(move |_| async move { Response::new(full(name)) }).await
    }

    pub(super) async fn http1<F, A>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::start(Protocol::Http1, handler).await
    }

    pub(super) async fn start<F, A>(protocol: Protocol, handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
        A: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let connections = Arc::new(AtomicUsize::new(0));
        let closing = watch::Sender::new(false);
        let counted = Arc::clone(&requests);
        let handler: Handler = Arc::new(move |request| {
            counted.fetch_add(1, Ordering::SeqCst);
            Box::pin(handler(request))
        });
        let accepted = Arc::clone(&connections);
        let close = closing.clone();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepted.fetch_add(1, Ordering::SeqCst);
                let connection = serve(protocol, stream, Arc::clone(&handler), close.subscribe());
                tokio::spawn(connection);
            }
        });
        Self {
            address,
            requests,
            connections,
            closing,
            task,
        }
    }

    pub(super) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Ends all connections gracefully (HTTP/1: those that are idle, HTTP/2: GOAWAY).
    pub(super) fn close_connections(&self) {
        self.closing.send_replace(true);
        self.closing.send_replace(false);
    }

    /// Listens no more.
    pub(super) async fn stop(self) {
        self.task.abort();
        self.task.await.ok();
    }
}

async fn serve(
    protocol: Protocol,
    stream: tokio::net::TcpStream,
    handler: Handler,
    mut closing: watch::Receiver<bool>,
) {
    let io = TokioIo::new(stream);
    let service = service_fn(move |request| {
        let answer = handler(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let close = async move {
        closing.changed().await.ok();
    };
    match protocol {
        Protocol::Http1 => {
            let connection = http1::Builder::new().serve_connection(io, service);
            let mut connection = std::pin::pin!(connection.with_upgrades());
            tokio::select! {
                _ = connection.as_mut() => return,
                () = close => connection.as_mut().graceful_shutdown(),
            }
            connection.await.ok();
        }
        Protocol::Http2 => {
            let connection = http2::Builder::new(TokioExecutor::new());
            let mut connection = std::pin::pin!(connection.serve_connection(io, service));
            tokio::select! {
                _ = connection.as_mut() => return,
                () = close => connection.as_mut().graceful_shutdown(),
            }
            connection.await.ok();
        }
    }
}
