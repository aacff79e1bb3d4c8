//! A receiver of CloudEvents over HTTP: keeps what comes, in order.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::{convert::Infallible, net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;

/// An event as it came.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) path: String,
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) data: serde_json::Value,
}

/// What a sink received until now.
#[derive(Debug, Clone, Default)]
pub(super) struct Sink(Arc<Mutex<Vec<Received>>>);

impl Sink {
    /// Listens from now on.
    pub(super) async fn open(at: SocketAddr) -> Self {
        let sink = Self::default();
        let listener = TcpListener::bind(at).await.unwrap();
        let received = sink.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let received = received.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| received.take(request));
                    let connection =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    // A client that went away is none of the sink's concern.
                    drop(connection.await);
                });
            }
        });
        sink
    }

    async fn take(&self, request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let received = read(&head, &body);
        self.0.lock().push(received);
        let mut response = Response::new(Empty::new());
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
    }

    /// The ids that came to this path, in order, each once.
    pub(super) fn ids(&self, path: &str) -> Vec<String> {
        once(self.at(path).into_iter().map(|received| received.id))
    }

    /// All that came to this path.
    pub(super) fn at(&self, path: &str) -> Vec<Received> {
        let all = self.0.lock();
        let here = all.iter().filter(|received| received.path == path);
        here.cloned().collect()
    }
}

/// CloudEvents HTTP Protocol Binding 1.0.2: section 3.1 (binary) and 3.2 (structured).
fn read(head: &hyper::http::request::Parts, body: &[u8]) -> Received {
    let path = head.uri.path().to_owned();
    let header = |name: &str| {
        let value = head.headers.get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let content = header(CONTENT_TYPE.as_str()).unwrap_or_default();
    if content.starts_with("application/cloudevents+json") {
        return structured(path, body);
    }
    assert_eq!(header("ce-specversion").as_deref(), Some("1.0"), "{head:?}");
    assert!(header("ce-source").is_some_and(|source| !source.is_empty()));
    assert!(content.starts_with("application/json"), "{content}");
    Received {
        path,
        id: header("ce-id").unwrap(),
        kind: header("ce-type").unwrap(),
        data: serde_json::from_slice(body).unwrap(),
    }
}

/// CloudEvents JSON Event Format 1.0.2.
pub(super) fn structured(path: String, body: &[u8]) -> Received {
    let event: serde_json::Value = serde_json::from_slice(body).unwrap();
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("specversion"), "1.0", "{event}");
    for name in ["id", "source", "type"] {
        assert!(!text(name).is_empty(), "{event}");
    }
    Received {
        path,
        id: text("id"),
        kind: text("type"),
        data: event["data"].clone(),
    }
}

/// At least once is allowed; the first time counts.
pub(super) fn once(ids: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = std::collections::BTreeSet::new();
    ids.filter(|id| seen.insert(id.clone())).collect()
}
