//! What is told of requests that are over.

use super::{Body, LONG, Sidecar, app::App, empty, full, mesh::Mesh};
use crate::{
    model::{Ended, ErrorClass, Record},
    upstream::Protocol,
    worker::{AccessLog, Records},
};
use futures_util::{StreamExt as _, stream};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use std::sync::{Arc, atomic::AtomicU64, atomic::Ordering};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A sidecar in front of an application that answers by path, with who is told of requests.
struct Told {
    sidecar: Sidecar,
    _app: App,
    records: mpsc::Receiver<Record>,
    lost: Arc<AtomicU64>,
}

impl Told {
    async fn start(log: AccessLog, traces: bool) -> Self {
        Self::with_room(log, traces, 64).await
    }

    async fn with_room(log: AccessLog, traces: bool, room: usize) -> Self {
        let app = App::start(Protocol::Http1, |request| async move { answer(&request) }).await;
        let (to, records) = mpsc::channel(room);
        let lost = Arc::new(AtomicU64::new(0));
        let told = Records {
            to,
            log,
            traces,
            sampled: 0,
            lost: Arc::clone(&lost),
        };
        let change = |settings: &mut crate::worker::Settings| settings.records = Some(told);
        let sidecar = Sidecar::start_with(Mesh::single(app.address).snapshot(), change);
        Self {
            sidecar,
            _app: app,
            records,
            lost,
        }
    }

    async fn next(&mut self) -> Record {
        timeout(LONG, self.records.recv()).await.unwrap().unwrap()
    }
}

fn answer(request: &Request<Incoming>) -> Response<Body> {
    let said = request.headers().get("traceparent");
    let said = said.map_or_else(String::new, |said| said.to_str().unwrap().to_owned());
    let mut response = Response::new(full(said));
    match request.uri().path() {
        "/bad" => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        "/endless" => *response.body_mut() = endless(),
        _ => {}
    }
    response
}

/// One part, and then nothing ever.
fn endless() -> Body {
    let first = stream::iter([Ok::<_, hyper::Error>(Frame::data("begun".into()))]);
    BodyExt::boxed(StreamBody::new(first.chain(stream::pending())))
}

#[tokio::test]
async fn a_request_is_told_of_with_where_it_went_and_how() {
    let mut told = Told::start(AccessLog::All, false).await;
    told.sidecar.get("/a?b=c").await;
    let record = told.next().await;
    assert_eq!(record.method, Method::GET);
    assert_eq!(record.target.unwrap(), "/a?b=c");
    assert_eq!(record.authority.unwrap(), "checkout.shop");
    assert_eq!(record.status, Some(StatusCode::OK));
    assert_eq!(record.ended, Ended::Whole);
    assert!(record.endpoint.is_some() && record.cluster.is_some());
    assert!(record.request_id.is_some() && !record.inbound);
    assert_eq!(record.trace, None);
}

#[tokio::test]
async fn what_the_proxy_refuses_is_told_with_its_reason() {
    let mut told = Told::start(AccessLog::Errors, false).await;
    told.sidecar.get("/").await;
    told.sidecar
        .raw(b"GET / HTTP/1.1\r\nhost: a/b\r\nconnection: close\r\n\r\n")
        .await;
    let record = told.next().await;
    assert_eq!(record.status, Some(StatusCode::BAD_REQUEST));
    assert!(matches!(record.ended, Ended::Refused(why) if !why.is_empty()));
}

#[tokio::test]
async fn a_log_of_errors_has_errors_alone() {
    let mut told = Told::start(AccessLog::Errors, false).await;
    for path in ["/", "/bad", "/"] {
        told.sidecar.get(path).await;
    }
    let record = told.next().await;
    assert_eq!(record.status, Some(StatusCode::INTERNAL_SERVER_ERROR));
    drop(told.sidecar);
    assert!(told.records.recv().await.is_none());
}

#[tokio::test]
async fn a_client_that_goes_away_is_told_of() {
    let mut told = Told::start(AccessLog::All, false).await;
    let mut stream = TcpStream::connect(told.sidecar.address).await.unwrap();
    stream
        .write_all(b"GET /endless HTTP/1.1\r\nhost: checkout.shop\r\n\r\n")
        .await
        .unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"begun\r\n") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    drop(stream);
    let record = told.next().await;
    assert_eq!(record.ended, Ended::ByClient);
    assert_eq!(record.response_bytes, 5);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_told_of() {
    let mut mesh = Mesh::single(([127, 0, 0, 1], 1).into());
    let (to, mut records) = mpsc::channel(8);
    let change = |settings: &mut crate::worker::Settings| {
        settings.records = Some(Records {
            to,
            log: AccessLog::Errors,
            traces: false,
            sampled: 0,
            lost: Arc::default(),
        });
    };
    let sidecar = Sidecar::start_with(mesh.snapshot(), change);
    sidecar.get("/").await;
    let record = timeout(LONG, records.recv()).await.unwrap().unwrap();
    assert_eq!(record.status, Some(StatusCode::SERVICE_UNAVAILABLE));
    assert!(!matches!(record.ended, Ended::Failed(ErrorClass::Response)));
}

#[tokio::test]
async fn a_request_of_a_sampled_trace_is_a_span_that_the_application_sees_as_its_parent() {
    let mut told = Told::start(AccessLog::Off, true).await;
    let mut client = told.sidecar.connect().await;
    let unsampled = PARENT.replace("-01", "-00");
    let left_alone = client.get("/", &[("traceparent", &unsampled)]).await;
    assert_eq!(left_alone.body(), unsampled.as_bytes());
    let seen = client.get("/", &[("traceparent", PARENT)]).await;
    let span = told.next().await.trace.unwrap();
    assert_eq!(span.parent, Some(0xb7ad_6b71_6920_3331));
    let expected = format!("00-{:032x}-{:016x}-01", span.trace, span.id);
    assert_eq!(seen.body(), expected.as_bytes());
    let fresh = client.send(
        Request::get("/")
            .header("host", "checkout.shop")
            .body(empty())
            .unwrap(),
    );
    assert!(fresh.await.body().ends_with(b"-00"));
    drop(told.sidecar);
    assert!(told.records.recv().await.is_none());
}

#[tokio::test]
async fn where_nobody_takes_records_requests_go_on_and_the_loss_is_counted() {
    let told = Told::with_room(AccessLog::All, false, 1).await;
    for _ in 0..3 {
        assert_eq!(told.sidecar.get("/").await.status(), StatusCode::OK);
    }
    drop(told.sidecar);
    assert_eq!(told.lost.load(Ordering::Relaxed), 2);
}
