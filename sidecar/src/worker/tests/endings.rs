//! How long-lived streams end while something drains, over real sockets.

use super::{Body, LONG, Sidecar, app::App, empty, mesh::Mesh};
use crate::{
    model::{Health, UpstreamProtocol},
    upstream::Protocol,
};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

type Parts = mpsc::UnboundedSender<Frame<Bytes>>;

/// Answers each request with what is put into the channel of the request's number.
async fn streaming(
    protocol: Protocol,
    media: &'static str,
) -> (App, mpsc::UnboundedReceiver<Parts>) {
    let (opened, streams) = mpsc::unbounded_channel();
    let app = App::start(protocol, move |_| {
        let (parts, body) = mpsc::unbounded_channel();
        opened.send(parts).unwrap();
        async move {
            Response::builder()
                .header("content-type", media)
                .body(following(body))
                .unwrap()
        }
    })
    .await;
    (app, streams)
}

fn following(parts: mpsc::UnboundedReceiver<Frame<Bytes>>) -> Body {
    let parts = stream::unfold(parts, |mut parts| async {
        let part = parts.recv().await?;
        Some((Ok(part), parts))
    });
    StreamBody::new(parts).boxed()
}

fn data(text: &'static [u8]) -> Frame<Bytes> {
    Frame::data(Bytes::from_static(text))
}

/// A sidecar that ends streams of the one endpoint as soon as it drains.
fn start(mesh: &mut Mesh) -> Sidecar {
    Sidecar::start_with(mesh.snapshot(), |settings| {
        settings.endpoint_drain = Duration::from_millis(10);
    })
}

/// The endpoint drains; returns once the one stream of this kind was told to end.
async fn endpoint_drains(sidecar: &Sidecar, mesh: &mut Mesh, kind: &str) {
    mesh.versions[0].endpoints[0].2 = Health::Draining;
    sidecar.apply(mesh.snapshot()).await;
    loop {
        let open = sidecar.streams().await.streams;
        assert_eq!(
            open.iter().map(|open| open.kind).collect::<Vec<_>>(),
            [kind]
        );
        if open[0].ending {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn get(sidecar: &Sidecar) -> Response<Incoming> {
    let mut client = sidecar.connect().await;
    let request = Request::get("/").header("host", "checkout.shop");
    let answer = client.0.send_request(request.body(empty()).unwrap());
    answer.await.unwrap()
}

#[tokio::test]
async fn server_sent_events_end_after_an_event() {
    let (app, mut streams) = streaming(Protocol::Http1, "text/event-stream").await;
    let mut mesh = Mesh::single(app.address);
    let sidecar = start(&mut mesh);
    let mut answer = get(&sidecar).await.into_body();
    let parts = streams.recv().await.unwrap();
    parts.send(data(b"data: one\n\ndata: tw")).unwrap();
    let first = answer.frame().await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "data: one\n\ndata: tw");
    endpoint_drains(&sidecar, &mut mesh, "sse").await;
    parts.send(data(b"o\n\ndata: three")).unwrap();
    // An error would mean that the body broke off.
    assert_eq!(answer.collect().await.unwrap().to_bytes(), "o\n\n");
    // The application hears of it.
    parts.closed().await;
}

#[tokio::test]
async fn server_sent_events_between_two_events_end_at_once() {
    let (app, mut streams) = streaming(Protocol::Http1, "text/event-stream; charset=utf-8").await;
    let mut mesh = Mesh::single(app.address);
    let sidecar = start(&mut mesh);
    let answer = get(&sidecar).await.into_body();
    let parts = streams.recv().await.unwrap();
    parts.send(data(b"data: one\n\n")).unwrap();
    mesh.versions[0].endpoints[0].2 = Health::Draining;
    sidecar.apply(mesh.snapshot()).await;
    assert_eq!(answer.collect().await.unwrap().to_bytes(), "data: one\n\n");
}

#[tokio::test]
async fn an_answer_that_is_no_stream_is_left_alone() {
    let (app, mut streams) = streaming(Protocol::Http1, "text/plain").await;
    let mut mesh = Mesh::single(app.address);
    let sidecar = start(&mut mesh);
    let answer = get(&sidecar).await.into_body();
    let parts = streams.recv().await.unwrap();
    parts.send(data(b"data: one\n\n")).unwrap();
    mesh.versions[0].endpoints[0].2 = Health::Draining;
    sidecar.apply(mesh.snapshot()).await;
    // Far more than a stream would have had.
    tokio::time::sleep(Duration::from_millis(100)).await;
    parts.send(data(b"and on")).unwrap();
    drop(parts);
    assert_eq!(
        answer.collect().await.unwrap().to_bytes(),
        "data: one\n\nand on"
    );
}

async fn call(sidecar: &Sidecar) -> h2::client::ResponseFuture {
    let stream = TcpStream::connect(sidecar.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://checkout.shop/shop.Cart/Watch")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let mut client = client.ready().await.unwrap();
    let (answer, _) = client
        .send_request(request.body(()).unwrap(), true)
        .unwrap();
    answer
}

async fn grpc() -> (App, mpsc::UnboundedReceiver<Parts>, Mesh) {
    let (app, streams) = streaming(Protocol::Http2, "application/grpc").await;
    let mut mesh = Mesh::single(app.address);
    mesh.protocol = UpstreamProtocol::Http2;
    (app, streams, mesh)
}

fn is_told_to_come_back(headers: &http::HeaderMap) {
    assert_eq!(headers["grpc-status"], "14");
    let pushback = headers["grpc-retry-pushback-ms"].to_str().unwrap();
    assert!(pushback.parse::<u64>().unwrap() < 1_000);
}

#[tokio::test]
async fn grpc_streams_end_by_unavailable_after_a_message() {
    let (_app, mut streams, mut mesh) = grpc().await;
    let sidecar = start(&mut mesh);
    let answer = call(&sidecar).await;
    let parts = streams.recv().await.unwrap();
    let mut body = answer.await.unwrap().into_body();
    parts.send(data(b"\0\0\0\0\x04hal")).unwrap();
    assert_eq!(body.data().await.unwrap().unwrap(), "\0\0\0\0\x04hal");
    endpoint_drains(&sidecar, &mut mesh, "grpc stream").await;
    parts.send(data(b"f\0\0\0\0\x02x")).unwrap();
    assert_eq!(body.data().await.unwrap().unwrap(), "f");
    assert!(body.data().await.is_none());
    is_told_to_come_back(&body.trailers().await.unwrap().unwrap());
    parts.closed().await;
    assert!(sidecar.streams().await.streams.is_empty());
}

#[tokio::test]
async fn a_call_that_ends_in_time_keeps_its_status() {
    let (_app, mut streams, mut mesh) = grpc().await;
    let sidecar = start(&mut mesh);
    let answer = call(&sidecar).await;
    let parts = streams.recv().await.unwrap();
    let mut body = answer.await.unwrap().into_body();
    parts.send(data(b"\0\0\0")).unwrap();
    assert_eq!(body.data().await.unwrap().unwrap(), "\0\0\0");
    endpoint_drains(&sidecar, &mut mesh, "grpc stream").await;
    parts.send(data(b"\0\x01x")).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", 0.into());
    parts.send(Frame::trailers(trailers)).unwrap();
    assert_eq!(body.data().await.unwrap().unwrap(), "\0\x01x");
    let trailers = body.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn a_call_without_an_answer_is_told_so_before_the_deadline() {
    // It accepts, and answers nothing.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut mesh = Mesh::single(listener.local_addr().unwrap());
    mesh.protocol = UpstreamProtocol::Http2;
    let sidecar = start(&mut mesh);
    let answer = tokio::spawn(call(&sidecar).await);
    let (_upstream, _) = listener.accept().await.unwrap();
    let drained = sidecar.drain(Duration::from_millis(500));
    let answer = answer.await.unwrap().unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    is_told_to_come_back(answer.headers());
    drained.await.unwrap();
}

/// An application that changes to a WebSocket, and this test's end of it.
async fn websockets() -> (App, mpsc::UnboundedReceiver<DuplexStream>) {
    let (opened, sockets) = mpsc::unbounded_channel();
    let app = App::http1(move |mut request| {
        let opened = opened.clone();
        async move {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let (ours, mut theirs) = duplex(1_000);
                opened.send(ours).unwrap();
                let mut stream = TokioIo::new(upgrade.await.unwrap());
                tokio::io::copy_bidirectional(&mut stream, &mut theirs)
                    .await
                    .ok();
            });
            Response::builder()
                .status(StatusCode::SWITCHING_PROTOCOLS)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .body(empty())
                .unwrap()
        }
    })
    .await;
    (app, sockets)
}

async fn open_websocket(sidecar: &Sidecar) -> TcpStream {
    let mut stream = TcpStream::connect(sidecar.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: checkout.shop\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101"));
    stream
}

async fn expect(stream: &mut (impl tokio::io::AsyncRead + Unpin), bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(read, bytes);
}

/// Close 1012, from a server.
const RESTART: &[u8] = &[0x88, 2, 0x03, 0xf4];
/// The same in answer, from a client.
const ANSWER: &[u8] = &[0x88, 0x82, 1, 2, 3, 4, 0x02, 0xf6];

#[tokio::test]
async fn a_websocket_is_closed_between_two_frames_and_the_answer_arrives() {
    let (app, mut sockets) = websockets().await;
    let mut mesh = Mesh::single(app.address);
    let sidecar = start(&mut mesh);
    let mut client = open_websocket(&sidecar).await;
    let mut server = sockets.recv().await.unwrap();
    server.write_all(b"\x81\x05hel").await.unwrap();
    expect(&mut client, b"\x81\x05hel").await;
    endpoint_drains(&sidecar, &mut mesh, "websocket").await;
    server.write_all(b"lo\x81\x03no!").await.unwrap();
    expect(&mut client, &[b"lo", RESTART].concat()).await;
    // What the client was about to say is not lost.
    client.write_all(b"\x81\x82\0\0\0\0ok").await.unwrap();
    client.write_all(ANSWER).await.unwrap();
    expect(&mut server, &[b"\x81\x82\0\0\0\0ok", ANSWER].concat()).await;
    drop(server);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    client.shutdown().await.ok();
    while !sidecar.streams().await.streams.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_answer_a_close_is_left() {
    let (app, mut sockets) = websockets().await;
    let mut mesh = Mesh::single(app.address);
    let sidecar = start(&mut mesh);
    let mut client = open_websocket(&sidecar).await;
    let mut server = sockets.recv().await.unwrap();
    mesh.versions[0].endpoints[0].2 = Health::Draining;
    sidecar.apply(mesh.snapshot()).await;
    expect(&mut client, RESTART).await;
    // The application hears Close 1001, as of a client that goes away, and then the end.
    let mut heard = Vec::new();
    server.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9]);
}

#[tokio::test]
async fn a_websocket_that_is_closing_is_not_closed_again() {
    let (app, mut sockets) = websockets().await;
    let mut mesh = Mesh::single(app.address);
    let sidecar = start(&mut mesh);
    let mut client = open_websocket(&sidecar).await;
    let mut server = sockets.recv().await.unwrap();
    server.write_all(&[0x88, 2, 0x03, 0xe8]).await.unwrap();
    expect(&mut client, &[0x88, 2, 0x03, 0xe8]).await;
    endpoint_drains(&sidecar, &mut mesh, "websocket").await;
    drop(server);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test]
async fn a_worker_that_drains_ends_its_websockets_before_the_deadline() {
    let (app, mut sockets) = websockets().await;
    let sidecar = Sidecar::start(Mesh::single(app.address).snapshot());
    let mut client = open_websocket(&sidecar).await;
    let _server = sockets.recv().await.unwrap();
    let drained = sidecar.drain(Duration::from_secs(3));
    expect(&mut client, RESTART).await;
    drop(client);
    drained.await.unwrap();
}

#[tokio::test]
async fn opaque_connections_to_an_endpoint_that_drains_are_closed_at_its_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut mesh = Mesh::single(listener.local_addr().unwrap());
    let sidecar = start(&mut mesh);
    let mut stream = TcpStream::connect(sidecar.address).await.unwrap();
    let request = b"CONNECT checkout.shop:80 HTTP/1.1\r\nhost: checkout.shop:80\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    upstream.write_all(b"hello").await.unwrap();
    let mut read = Vec::new();
    while !read.ends_with(b"hello") {
        read.push(stream.read_u8().await.unwrap());
    }
    let open = sidecar.streams().await.streams;
    assert_eq!((open[0].kind, open[0].ending), ("tcp", false));
    mesh.versions[0].endpoints[0].2 = Health::Draining;
    sidecar.apply(mesh.snapshot()).await;
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

/// The frames of one HTTP/2 connection from its beginning to its end: type, stream and payload.
async fn frames(mut stream: impl tokio::io::AsyncRead + Unpin) -> Vec<(u8, u32, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        let id = u32::from_be_bytes(head[5..9].try_into().unwrap());
        frames.push((head[3], id, payload));
    }
    frames
}

#[tokio::test]
async fn the_first_goaway_allows_what_is_on_its_way_and_the_second_names_the_last_stream() {
    let app = App::named("v1").await;
    let mut mesh = Mesh::single(app.address);
    mesh.protocol = UpstreamProtocol::Http1;
    let sidecar = Sidecar::start(mesh.snapshot());
    // A real client, between whose socket and itself the frames are written down.
    let (client, tapped) = duplex(64 * 1024);
    let socket = TcpStream::connect(sidecar.address).await.unwrap();
    let (mut from_sidecar, mut to_sidecar) = socket.into_split();
    let (mut from_client, mut to_client) = tokio::io::split(tapped);
    tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_sidecar).await });
    let tapping = tokio::spawn(async move {
        let mut seen = Vec::new();
        let mut part = [0; 1_000];
        while let Ok(read @ 1..) = from_sidecar.read(&mut part).await {
            seen.extend_from_slice(&part[..read]);
            to_client.write_all(&part[..read]).await.ok();
        }
        to_client.shutdown().await.ok();
        seen
    });
    let (client, connection) = h2::client::handshake(client).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = Request::get("http://checkout.shop/").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
    sidecar.drain(LONG).await.unwrap();
    connection.await.unwrap().unwrap();
    let seen = tapping.await.unwrap();
    let goaways: Vec<_> = frames(&seen[..])
        .await
        .into_iter()
        .filter(|frame| frame.0 == 7)
        .collect();
    let last = |frame: &(u8, u32, Vec<u8>)| u32::from_be_bytes(frame.2[..4].try_into().unwrap());
    assert_eq!(
        goaways.iter().map(last).collect::<Vec<_>>(),
        [0x7fff_ffff, 1]
    );
    assert!(
        goaways.iter().all(|frame| frame.2[4..8] == [0; 4]),
        "NO_ERROR"
    );
}
