use super::{
    Body, LONG, Sidecar,
    app::App,
    full,
    mesh::{Mesh, Version},
    text,
};
use crate::{model::OutlierDetection, upstream::Protocol};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

pub(super) fn fuse(gateway: u32, any: u32) -> OutlierDetection {
    OutlierDetection {
        consecutive_gateway_failure: Some(gateway),
        consecutive_5xx: Some(any),
        base_ejection_time: Duration::from_secs(600),
        max_ejection_time: Duration::from_secs(600),
        max_ejection_percent: 100,
    }
}

/// An address at which nobody listens.
async fn nobody() -> std::net::SocketAddr {
    let app = App::named("nobody").await;
    let address = app.address;
    app.stop().await;
    address
}

#[tokio::test]
async fn a_refused_connect_is_tried_elsewhere_and_nobody_notices() {
    let v1 = App::named("v1").await;
    let dead = nobody().await;
    let mut mesh = Mesh::new(vec![Version::new("v1", 10_000, &[dead, v1.address])]);
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut client = sidecar.connect().await;
    for _ in 0..50 {
        assert_eq!(client.get("/", &[]).await.status(), StatusCode::OK);
    }
    let load = sidecar.load().await;
    let cluster = load.clusters.values().next().unwrap();
    assert!(cluster[&dead].connect_failures > 0);
    assert_eq!(cluster[&v1.address].succeeded, 50);
}

#[tokio::test]
async fn where_every_connect_fails_the_client_is_told() {
    let mut mesh = Mesh::single(nobody().await);
    let sidecar = Sidecar::start(mesh.snapshot());
    let answer = sidecar.get("/").await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(text(&answer).starts_with("upstream connect failed: 127.0.0.1:"));
}

#[tokio::test]
async fn an_endpoint_that_fails_three_times_is_ejected() {
    let bad = App::http1(|_| async {
        let mut response = Response::new(full("bad"));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
    .await;
    let good = App::named("good").await;
    let version = Version::new("v2", 10_000, &[bad.address]).fallback("v1", good.address);
    let mut mesh = Mesh::new(vec![version]);
    mesh.fuse = Some(fuse(100, 3));
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut client = sidecar.connect().await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(text(&client.get("/", &[]).await).to_owned());
    }
    assert_eq!(answers, ["bad", "bad", "bad", "good", "good"]);
    assert_eq!(sidecar.load().await.ejected.len(), 1);
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_502_and_counts_as_a_gateway_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut mesh = Mesh::single(listener.local_addr().unwrap());
    mesh.fuse = Some(fuse(1, 100));
    let broken = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = [0; 16];
        stream.read_exact(&mut head).await.unwrap();
    });
    let sidecar = Sidecar::start(mesh.snapshot());
    let answer = sidecar.get("/").await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    broken.await.unwrap();
    let load = sidecar.load().await;
    assert_eq!(load.ejected.len(), 1);
    assert_eq!(
        load.clusters
            .values()
            .next()
            .unwrap()
            .values()
            .next()
            .unwrap()
            .errors
            .total(),
        1
    );
}

#[tokio::test]
async fn a_response_that_takes_too_long_is_504() {
    let slow = App::http1(|_| std::future::pending()).await;
    let mut mesh = Mesh::single(slow.address);
    mesh.timeout = Some(Duration::from_millis(20));
    let sidecar = Sidecar::start(mesh.snapshot());
    assert_eq!(sidecar.get("/").await.status(), StatusCode::GATEWAY_TIMEOUT);
}

/// Answers the first request of each connection; the second finds it closed after it was sent.
async fn closes_kept_connections(seen: Arc<AtomicUsize>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                assert!(stream.read(&mut head).await.unwrap() > 0);
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer).await.unwrap();
                if stream.read(&mut head).await.unwrap() > 0 {
                    seen.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_stale_kept_connection_costs_an_idempotent_request_nothing() {
    let seen = Arc::new(AtomicUsize::new(0));
    let mut mesh = Mesh::single(closes_kept_connections(Arc::clone(&seen)).await);
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut client = sidecar.connect().await;
    for _ in 0..3 {
        assert_eq!(client.get("/", &[]).await.status(), StatusCode::OK);
    }
    assert_eq!(seen.load(Ordering::SeqCst), 2);
    let load = sidecar.load().await;
    let numbers = load
        .clusters
        .values()
        .next()
        .unwrap()
        .values()
        .next()
        .unwrap();
    assert_eq!((numbers.issued, numbers.errors.total()), (3, 0));
}

#[tokio::test]
async fn a_request_that_may_have_been_processed_is_not_sent_again() {
    let seen = Arc::new(AtomicUsize::new(0));
    let mut mesh = Mesh::single(closes_kept_connections(Arc::clone(&seen)).await);
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut client = sidecar.connect().await;
    assert_eq!(client.get("/", &[]).await.status(), StatusCode::OK);
    let post = Request::post("/")
        .header("host", "checkout.shop")
        .body(full("once"));
    let answer = client.send(post.unwrap()).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn connections_that_the_application_closes_in_between_are_replaced() {
    let v1 = App::named("v1").await;
    let mut mesh = Mesh::single(v1.address);
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut client = sidecar.connect().await;
    for _ in 0..20 {
        let post = Request::post("/")
            .header("host", "checkout.shop")
            .body(full("x"));
        assert_eq!(client.send(post.unwrap()).await.status(), StatusCode::OK);
        v1.close_connections();
        // The close travels on its own; a GET is safe whether or not it has arrived.
        assert_eq!(client.get("/", &[]).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_with_its_whole_body() {
    let first = Arc::new(AtomicUsize::new(0));
    let refuse = Arc::clone(&first);
    let refusing = refusing_server(refuse).await;
    let echo = App::start(Protocol::Http2, |request| async {
        let body: Body = request.into_body().boxed();
        Response::new(body)
    })
    .await;
    let mut mesh = Mesh::new(vec![
        Version::new("v1", 10_000, &[refusing]).fallback("v1", echo.address),
    ]);
    mesh.protocol = crate::model::UpstreamProtocol::Http2;
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut client = sidecar.connect().await;
    let request = Request::builder().method(Method::POST).uri("/");
    let request = request
        .header("host", "checkout.shop")
        .body(full("all of it"));
    let answer = tokio::time::timeout(LONG, client.send(request.unwrap())).await;
    assert_eq!(text(&answer.unwrap()), "all of it");
    assert_eq!(first.load(Ordering::SeqCst), 1);
}

/// An HTTP/2 server that reads a request's first bytes, then says that it did not process it.
async fn refusing_server(refused: Arc<AtomicUsize>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let refused = Arc::clone(&refused);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((mut request, mut respond))) = connection.accept().await {
                    let refused = Arc::clone(&refused);
                    tokio::spawn(async move {
                        request.body_mut().data().await.unwrap().unwrap();
                        refused.fetch_add(1, Ordering::SeqCst);
                        respond.send_reset(h2::Reason::REFUSED_STREAM);
                    });
                }
            });
        }
    });
    address
}
