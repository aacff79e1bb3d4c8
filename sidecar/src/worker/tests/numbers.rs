//! What is counted of an endpoint: errors by class, connects, gRPC calls, sessions that move.

use super::{
    Body, Client, LONG, Sidecar,
    app::App,
    full,
    mesh::{Mesh, Version},
    text,
};
use crate::{
    model::{
        Action, EndpointLoad, ErrorCounts, Header, Snapshot, UpstreamProtocol, WeightedCluster,
        WorkerLoad,
    },
    upstream::Protocol,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

fn only(load: &WorkerLoad) -> EndpointLoad {
    let cluster = load.clusters.values().next().unwrap();
    cluster.values().next().unwrap().clone()
}

fn answering(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full("x"));
    *response.status_mut() = status;
    response
}

#[tokio::test]
async fn what_the_application_answers_is_an_error_of_its_own() {
    let app = App::http1(|request| async move {
        answering(match request.uri().path() {
            "/500" => StatusCode::INTERNAL_SERVER_ERROR,
            "/503" => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::NOT_FOUND,
        })
    })
    .await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let mut client = sidecar.connect().await;
    for path in ["/500", "/503", "/404"] {
        client.get(path, &[]).await;
    }
    let load = only(&sidecar.load().await);
    let response = ErrorCounts {
        response: 2,
        ..ErrorCounts::default()
    };
    assert_eq!((load.errors, load.succeeded), (response, 1));
    assert_eq!((load.connects, load.connect_failures), (1, 0));
    assert_eq!(load.latency.counts.iter().sum::<u64>(), 3);
}

#[tokio::test]
async fn a_time_out_is_one_before_the_head_and_in_the_body() {
    let app = App::http1(|request| async move {
        if request.uri().path() == "/head" {
            std::future::pending::<()>().await;
        }
        let never = futures_util::stream::pending::<Result<Frame<_>, hyper::Error>>();
        Response::new(StreamBody::new(never).boxed())
    })
    .await;
    let mut mesh = Mesh::single(app.address);
    mesh.timeout = Some(Duration::from_millis(500));
    let sidecar = Sidecar::start(mesh.snapshot());
    assert_eq!(
        sidecar.get("/head").await.status(),
        StatusCode::GATEWAY_TIMEOUT
    );
    let raw = b"GET /body HTTP/1.1\r\nhost: checkout.shop\r\n\r\n";
    assert!(sidecar.raw(raw).await.starts_with("HTTP/1.1 200"));
    let timeout = ErrorCounts {
        timeout: 2,
        ..ErrorCounts::default()
    };
    assert_eq!(only(&sidecar.load().await).errors, timeout);
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_a_reset_before_the_head_and_in_the_body() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut part: &[u8] = b"";
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            stream.write_all(part).await.unwrap();
            part = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf";
        }
    });
    let sidecar = Sidecar::start(Mesh::single(address).snapshot());
    assert_eq!(sidecar.get("/").await.status(), StatusCode::BAD_GATEWAY);
    let raw = b"GET / HTTP/1.1\r\nhost: checkout.shop\r\n\r\n";
    assert!(sidecar.raw(raw).await.ends_with("half"));
    let load = only(&sidecar.load().await);
    let reset = ErrorCounts {
        reset: 2,
        ..ErrorCounts::default()
    };
    assert_eq!((load.errors, load.connects), (reset, 2));
}

#[tokio::test]
async fn a_connect_that_fails_is_counted_as_such_with_either_protocol() {
    for protocol in [UpstreamProtocol::Http1, UpstreamProtocol::Http2] {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = gone.local_addr().unwrap();
        drop(gone);
        let mut mesh = Mesh::single(address);
        mesh.protocol = protocol;
        let sidecar = Sidecar::start(mesh.snapshot());
        sidecar.get("/").await;
        let load = only(&sidecar.load().await);
        // The first try and two more.
        let connect = ErrorCounts {
            connect: 3,
            ..ErrorCounts::default()
        };
        assert_eq!((load.errors, load.issued), (connect, 3));
        assert_eq!((load.connects, load.connect_failures), (3, 3));
    }
}

#[tokio::test]
async fn a_connection_that_many_streams_share_was_tried_once() {
    let app = App::start(Protocol::Http2, |_| async { Response::new(full("x")) }).await;
    let mut mesh = Mesh::single(app.address);
    mesh.protocol = UpstreamProtocol::Http2;
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut clients = Vec::new();
    for _ in 0..8 {
        let address = sidecar.address;
        clients.push(tokio::spawn(async move {
            let mut client = Client::connect(address).await;
            for _ in 0..5 {
                client.get("/", &[]).await;
            }
        }));
    }
    for client in clients {
        client.await.unwrap();
    }
    let load = only(&sidecar.load().await);
    assert_eq!((load.succeeded, load.connects), (40, 1));
}

/// A gRPC server's answer, as trailers-only or with a body before the trailers.
fn call(status: &str, trailers_only: bool) -> Response<Body> {
    let mut response = Response::new(full(""));
    let kind = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    let mut last = HeaderMap::new();
    if !status.is_empty() {
        last.insert("grpc-status", HeaderValue::from_str(status).unwrap());
    }
    if trailers_only {
        response.headers_mut().extend(last);
    } else {
        let frames = [
            Ok::<_, hyper::Error>(Frame::data("reply".into())),
            Ok(Frame::trailers(last)),
        ];
        *response.body_mut() = StreamBody::new(futures_util::stream::iter(frames)).boxed();
    }
    response
}

/// Sends one call per status, each both ways; returns the endpoint's numbers.
async fn calls(statuses: &'static [&'static str]) -> EndpointLoad {
    let app = App::start(Protocol::Http2, move |request| async move {
        let (index, way) = request.uri().path()[1..].split_once('/').unwrap();
        call(statuses[index.parse::<usize>().unwrap()], way == "only")
    })
    .await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let stream = TcpStream::connect(sidecar.address).await.unwrap();
    let (mut client, connection) =
        http2::handshake::<_, _, Body>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    for index in 0..statuses.len() {
        for way in ["only", "trailing"] {
            let request = Request::post(format!("http://checkout.shop/{index}/{way}"))
                .header("content-type", "application/grpc")
                .body(full("ask"))
                .unwrap();
            let answer = client.send_request(request).await.unwrap();
            answer.into_body().collect().await.unwrap();
        }
    }
    let load = only(&sidecar.load().await);
    assert_eq!(
        load.latency.counts.iter().sum::<u64>(),
        u64::try_from(2 * statuses.len()).unwrap()
    );
    load
}

#[tokio::test]
async fn grpc_statuses_that_correspond_to_5xx_are_errors() {
    // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, and what is none.
    let load = calls(&["2", "4", "12", "13", "14", "15", "17", "1000", "x", ""]).await;
    let response = ErrorCounts {
        response: 20,
        ..ErrorCounts::default()
    };
    assert_eq!((load.errors, load.succeeded), (response, 0));
}

#[tokio::test]
async fn grpc_statuses_that_are_the_callers_doing_are_no_errors() {
    let load = calls(&["0", "1", "3", "5", "6", "7", "8", "9", "10", "11", "16"]).await;
    assert_eq!((load.errors.total(), load.succeeded), (0, 22));
}

fn cookie(value: &'static str) -> Header {
    Header {
        name: header::SET_COOKIE,
        value: HeaderValue::from_static(value),
    }
}

/// `checkout` on the way back from v2: of its sessions, so many basis points are let go.
fn letting_go(mesh: &mut Mesh, released: u32) -> Snapshot {
    let mut snapshot = mesh.snapshot();
    let mut listener = (**snapshot.outbound.as_ref().unwrap()).clone();
    let crate::model::NetworkFilter::Http(manager) = &mut listener.chains[0].filter else {
        panic!("no HTTP")
    };
    let mut routes = (*manager.routes).clone();
    let host = routes.hosts.values_mut().next().unwrap().as_mut().unwrap();
    let mut changed = (**host).clone();
    let [new, old] = [0, 1].map(|index: usize| match &changed.routes[index].action {
        Action::Cluster(cluster) => Arc::clone(cluster),
        _ => panic!("not pinned"),
    });
    let choice = |cluster, weight, response_headers| WeightedCluster {
        cluster,
        weight,
        request_headers: Vec::new(),
        response_headers,
    };
    changed.routes[0].action = Action::Weighted {
        clusters: vec![
            choice(new, 10_000 - released, Vec::new()),
            choice(old, released, vec![cookie("s=v1.1; Path=/")]),
        ],
        total: 10_000,
        by_hash: false,
    };
    *host = Arc::new(changed);
    manager.routes = Arc::new(routes);
    snapshot.outbound = Some(Arc::new(listener));
    snapshot
}

#[tokio::test]
async fn a_session_that_is_let_go_moves_once_and_is_no_new_one() {
    let (v1, v2) = (App::named("v1").await, App::named("v2").await);
    let mut mesh = Mesh::new(vec![
        Version::new("v2", 0, &[v2.address]),
        Version::new("v1", 10_000, &[v1.address]),
    ]);
    mesh.affinity = true;
    let sidecar = Sidecar::start(letting_go(&mut mesh, 5_000));
    let mut client = sidecar.connect().await;
    let mut moved = 0;
    for _ in 0..200 {
        let answer = client.get("/", &[("cookie", "s=v2.1")]).await;
        let token = answer.headers().get(header::SET_COOKIE);
        match text(&answer) {
            "v1" => {
                assert_eq!(token.unwrap(), "s=v1.1; Path=/");
                moved += 1;
            }
            _ => assert_eq!(token, None),
        }
    }
    // Half of 200; 99.99 % of draws lie within 3.9 standard deviations of 7.1.
    assert!((72..=128).contains(&moved), "{moved}");
    let stays = client.get("/", &[("cookie", "s=v1.1")]).await;
    assert_eq!(text(&stays), "v1");
    let load = sidecar.load().await;
    let of = |version: &str, address: SocketAddr| {
        let name = format!("outbound|80|{version}|checkout.shop.svc.cluster.local");
        load.clusters[&*name][&address].clone()
    };
    let (one, two) = (of("v1", v1.address), of("v2", v2.address));
    assert_eq!((one.new_sessions, one.pinned_requests), (0, moved + 1));
    assert_eq!((two.new_sessions, two.pinned_requests), (0, 200 - moved));
}

#[tokio::test]
async fn a_connection_is_not_kept_longer_than_the_application_says() {
    let app = App::http1(|_| async {
        let mut response = Response::new(full("x"));
        let soon = HeaderValue::from_static("timeout=1");
        response.headers_mut().insert("keep-alive", soon);
        response
    })
    .await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let mut client = sidecar.connect().await;
    for _ in 0..3 {
        assert_eq!(client.get("/", &[]).await.status(), StatusCode::OK);
    }
    assert_eq!(app.connections(), 3);
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_ends_the_connection_and_an_idle_one_stays() {
    let app = App::named("v1").await;
    let limit = Duration::from_millis(50);
    let sidecar = Sidecar::start_with(Mesh::single(app.address).snapshot(), |settings| {
        settings.request_head_timeout = limit;
    });
    let mut idle = sidecar.connect().await;
    assert_eq!(text(&idle.get("/", &[]).await), "v1");
    for slow in [
        "GET / HTTP/1.1\r\nhost: checkout.shop\r\nx-slow: ",
        "GET / HTTP/1.1\r\n",
    ] {
        let mut stream = TcpStream::connect(sidecar.address).await.unwrap();
        stream.write_all(slow.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(LONG, stream.read_to_end(&mut answer));
        ended.await.expect("it ends").ok();
        assert!(answer.starts_with(b"HTTP/1.1 408"));
    }
    // It has been idle for longer than a head may take.
    assert_eq!(text(&idle.get("/", &[]).await), "v1");
    // A slow body is not a slow head.
    let mut stream = TcpStream::connect(sidecar.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: checkout.shop\r\ncontent-length: 2\r\n\r\na";
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(limit * 3).await;
    stream.write_all(b"b").await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}
