use super::{
    Body, Client, Sidecar,
    app::App,
    empty, full,
    mesh::{Mesh, answering, outbound},
    text, whole,
};
use crate::{
    model::{Action, UpstreamProtocol},
    upstream::Protocol,
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

async fn http2_client(sidecar: &Sidecar) -> http2::SendRequest<Body> {
    let stream = TcpStream::connect(sidecar.address).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A body of what is sent into the channel.
fn channel() -> (mpsc::UnboundedSender<Frame<Bytes>>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let frames = stream::unfold(receiver, |mut receiver| async {
        Some((Ok::<_, hyper::Error>(receiver.recv().await?), receiver))
    });
    (sender, StreamBody::new(frames).boxed())
}

fn described(request: &Request<Incoming>) -> String {
    let host = request.headers().get("host");
    let named = host.map(|host| host.to_str().unwrap().to_owned());
    format!(
        "{} {} {:?} {:?} {named:?}",
        request.method(),
        request.uri(),
        request.version(),
        request.headers().get("x-hop"),
    )
}

async fn describing(protocol: Protocol) -> App {
    let handler =
        |request: Request<Incoming>| async move { Response::new(full(described(&request))) };
    App::start(protocol, handler).await
}

#[tokio::test]
async fn each_protocol_is_spoken_to_each() {
    let cases = [
        (
            Protocol::Http1,
            UpstreamProtocol::Http1,
            "GET /a?b HTTP/1.1 None Some(\"checkout.shop\")",
        ),
        (
            Protocol::Http2,
            UpstreamProtocol::Http2,
            "GET http://checkout.shop/a?b HTTP/2.0 None None",
        ),
    ];
    for (protocol, upstream, expected) in cases {
        let app = describing(protocol).await;
        let mut mesh = Mesh::single(app.address);
        mesh.protocol = upstream;
        let sidecar = Sidecar::start(mesh.snapshot());
        let mut http1 = sidecar.connect().await;
        let hop = [("connection", "x-hop"), ("x-hop", "1")];
        assert_eq!(text(&http1.get("/a?b", &hop).await), expected);
        let absolute = Request::get("http://checkout.shop/a?b").header("host", "other");
        let absolute = http1.send(absolute.body(empty()).unwrap()).await;
        assert_eq!(text(&absolute), expected);
        let mut http2 = http2_client(&sidecar).await;
        let request = Request::get("http://checkout.shop/a?b")
            .body(empty())
            .unwrap();
        let answer = whole(http2.send_request(request).await.unwrap()).await;
        assert_eq!(answer.version(), Version::HTTP_2);
        assert_eq!(text(&answer), expected);
    }
}

#[tokio::test]
async fn the_clients_protocol_is_mirrored() {
    let one = describing(Protocol::Http1).await;
    let sidecar = Sidecar::start(Mesh::single(one.address).snapshot());
    assert!(text(&sidecar.get("/").await).contains("HTTP/1.1"));
    let two = describing(Protocol::Http2).await;
    sidecar.apply(Mesh::single(two.address).snapshot()).await;
    let mut http2 = http2_client(&sidecar).await;
    let request = Request::get("http://checkout.shop/").body(empty()).unwrap();
    let answer = whole(http2.send_request(request).await.unwrap()).await;
    assert!(text(&answer).contains("HTTP/2.0"));
}

#[tokio::test]
async fn a_grpc_call_over_http1_ends_with_its_status() {
    let app = App::start(Protocol::Http2, |_| async {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("5"));
        trailers.insert("grpc-message", HeaderValue::from_static("none"));
        let frames = [Ok(Frame::data("one".into())), Ok(Frame::trailers(trailers))];
        let mut response = Response::new(StreamBody::new(stream::iter(frames)).boxed());
        let value = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", value);
        response
    })
    .await;
    let mut mesh = Mesh::single(app.address);
    mesh.protocol = UpstreamProtocol::Http2;
    let sidecar = Sidecar::start(mesh.snapshot());
    let head = "POST /s.S/M HTTP/1.1\r\nhost: checkout.shop\r\ncontent-type: application/grpc\r\n\
                te: trailers\r\nconnection: te, close\r\ncontent-length: 0\r\n\r\n";
    let answer = sidecar.raw(head.as_bytes()).await;
    let end = "\r\n3\r\none\r\n0\r\ngrpc-status: 5\r\ngrpc-message: none\r\n\r\n";
    assert!(answer.ends_with(end), "{answer:?}");
}

#[tokio::test]
async fn a_route_that_answers_by_itself_answers_grpc_calls_with_a_status() {
    let answer = Action::DirectResponse {
        status: StatusCode::SERVICE_UNAVAILABLE,
        body: "nobody\n".into(),
    };
    let mut snapshot = Mesh::single(([127, 0, 0, 1], 9).into()).snapshot();
    snapshot.outbound = Some(Arc::new(outbound(Some(answering(answer)))));
    let sidecar = Sidecar::start(snapshot);
    let mut client = http2_client(&sidecar).await;
    let call = Request::post("http://checkout.shop/s.S/M")
        .header("content-type", "application/grpc")
        .body(empty())
        .unwrap();
    let answer = whole(client.send_request(call).await.unwrap()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["grpc-status"], "14");
    assert_eq!(answer.headers()["grpc-message"], "nobody");
    assert!(answer.body().is_empty());
    assert_eq!(sidecar.get("/").await.status(), 503);
}

#[tokio::test]
async fn a_stream_flows_both_ways_at_once_and_its_trailers_pass() {
    let app = App::start(Protocol::Http2, |request| async {
        assert_eq!(request.headers()["te"], "trailers");
        let mut response = Response::new(request.into_body().boxed());
        let value = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", value);
        response
    })
    .await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let mut client = http2_client(&sidecar).await;
    let (send, body) = channel();
    let request = Request::post("http://checkout.shop/s.S/M")
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(body)
        .unwrap();
    let response = client.send_request(request).await.unwrap();
    let mut answers = response.into_body();
    for text in ["one", "two", "three"] {
        send.send(Frame::data(text.into())).unwrap();
        let frame = answers.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    send.send(Frame::trailers(trailers)).unwrap();
    drop(send);
    let last = answers.frame().await.unwrap().unwrap();
    assert_eq!(last.into_trailers().unwrap()["grpc-status"], "0");
    assert!(answers.frame().await.is_none());
    let load = sidecar.load().await;
    let numbers = load
        .clusters
        .values()
        .next()
        .unwrap()
        .values()
        .next()
        .unwrap();
    assert_eq!((numbers.succeeded, numbers.requests_active), (1, 0));
}

#[tokio::test]
async fn http_1_trailers_pass_too() {
    let app = App::http1(|request| async {
        let collected = request.into_body().collect().await.unwrap();
        let sum = collected.trailers().unwrap()["x-sum"].clone();
        Response::new(full(Bytes::copy_from_slice(sum.as_bytes())))
    })
    .await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let request = b"POST / HTTP/1.1\r\nhost: checkout.shop\r\ntrailer: x-sum\r\n\
        transfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n";
    let answer = sidecar.raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("42"), "{answer}");
}

#[tokio::test]
async fn bodies_pass_unchanged_whatever_their_size() {
    let app = App::http1(|request| async { Response::new(request.into_body().boxed()) }).await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let mut client = sidecar.connect().await;
    for size in [0, 1, 1_000, 100_000, 3_000_000_usize] {
        let body: Bytes = (0..=250_u8).cycle().take(size).collect::<Vec<_>>().into();
        let request = Request::post("/").header("host", "checkout.shop");
        let answer = client.send(request.body(full(body.clone())).unwrap()).await;
        assert!(answer.body() == &body, "{size}");
    }
}

#[tokio::test]
async fn head_and_204_have_no_body_and_keep_the_connection() {
    let app = App::http1(|request| async move {
        let mut response = Response::new(full("four"));
        if request.uri().path() == "/none" {
            *response.status_mut() = StatusCode::NO_CONTENT;
            *response.body_mut() = empty();
        }
        response
    })
    .await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let mut client = sidecar.connect().await;
    let head = Request::head("/").header("host", "checkout.shop");
    let head = client.send(head.body(empty()).unwrap()).await;
    assert_eq!(
        (text(&head), &head.headers()["content-length"]),
        ("", &HeaderValue::from(4))
    );
    assert_eq!(
        client.get("/none", &[]).await.status(),
        StatusCode::NO_CONTENT
    );
    assert_eq!(text(&client.get("/", &[]).await), "four");
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn a_websocket_upgrade_is_carried_through() {
    let app = App::http1(|mut request| async move {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut stream = TokioIo::new(upgrade.await.unwrap());
            let mut word = [0; 4];
            stream.read_exact(&mut word).await.unwrap();
            stream.write_all(&word).await.unwrap();
        });
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .body(empty())
            .unwrap()
    })
    .await;
    let limit = Duration::from_millis(50);
    let sidecar = Sidecar::start_with(Mesh::single(app.address).snapshot(), |settings| {
        settings.request_head_timeout = limit;
    });
    let mut client = sidecar.connect().await;
    let request = Request::get("/")
        .header("host", "checkout.shop")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket");
    let mut response = client
        .0
        .send_request(request.body(empty()).unwrap())
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(response.headers()["upgrade"], "websocket");
    let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    // What it carries is no head that must not take long.
    stream.write_all(b"pi").await.unwrap();
    tokio::time::sleep(limit * 3).await;
    stream.write_all(b"ng").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"ping");
}

#[tokio::test]
async fn one_http_2_connection_carries_all_requests_until_goaway() {
    let app = describing(Protocol::Http2).await;
    let mut mesh = Mesh::single(app.address);
    mesh.protocol = UpstreamProtocol::Http2;
    let sidecar = Sidecar::start(mesh.snapshot());
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(sidecar.connect().await);
    }
    let all = clients
        .iter_mut()
        .map(|client: &mut Client| client.get("/", &[]));
    let answers = futures_util::future::join_all(all).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.status() == StatusCode::OK)
    );
    assert_eq!(app.connections(), 1);
    for _ in 0..10 {
        app.close_connections();
        let post = Request::post("/").header("host", "checkout.shop");
        let answer = clients[0].send(post.body(full("x")).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert!(app.connections() > 1);
}
