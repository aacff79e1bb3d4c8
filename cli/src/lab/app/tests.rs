//! The application over real sockets.

use super::*;
use ::http::StatusCode;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::{body::Frame, client::conn};
use std::convert::Infallible;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;

struct Running {
    http: SocketAddr,
    tcp: SocketAddr,
    begin: watch::Sender<Option<Malady>>,
    closing: watch::Sender<bool>,
    servers: JoinSet<()>,
}

async fn running() -> Running {
    let identity = Arc::new(Identity::new("v7".to_owned(), "shop/checkout-1".to_owned()).unwrap());
    let (begin, fault) = Fault::new();
    let (closing, closed) = watch::channel(false);
    let app = App {
        identity,
        fault,
        seen: Seen::default(),
        closed,
    };
    let [http, tcp] = [bind_any().await, bind_any().await];
    let (http_address, tcp_address) = (http.local_addr().unwrap(), tcp.local_addr().unwrap());
    let mut servers = JoinSet::new();
    servers.spawn(app.clone().serve(http, App::http));
    servers.spawn(app.serve(tcp, App::tcp));
    Running {
        http: http_address,
        tcp: tcp_address,
        begin,
        closing,
        servers,
    }
}

async fn bind_any() -> TcpListener {
    bind("127.0.0.1:0".parse().unwrap()).await.unwrap()
}

async fn http1(app: &Running) -> conn::http1::SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(app.http).await.unwrap();
    let (sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn get(path: &str) -> Request<Empty<Bytes>> {
    Request::get(path)
        .header("host", "checkout")
        .body(Empty::new())
        .unwrap()
}

#[tokio::test]
async fn every_answer_says_who_gave_it() {
    let app = running().await;
    let mut client = http1(&app).await;
    for path in ["/", "/ready", "/nowhere"] {
        let response = client.send_request(get(path)).await.unwrap();
        let expected = if path == "/nowhere" { 404 } else { 200 };
        assert_eq!(response.status(), expected);
        assert_eq!(response.headers()["x-lab-version"], "v7");
        assert_eq!(response.headers()["x-lab-instance"], "shop/checkout-1");
        response.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn a_stream_is_echoed_piece_by_piece_and_ends_with_trailers() {
    let app = running().await;
    let stream = TcpStream::connect(app.http).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut client, connection) = conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    let (say, said) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let request =
        Request::post("http://checkout/stream").body(StreamBody::new(ReceiverStream::new(said)));
    let response = client.send_request(request.unwrap()).await.unwrap();
    assert_eq!(response.headers()["x-lab-version"], "v7");
    let mut body = response.into_body();
    for piece in ["one", "two"] {
        say.send(Ok(Frame::data(Bytes::from(piece)))).await.unwrap();
        let echoed = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(echoed, piece);
    }
    drop(say);
    let trailers = loop {
        let frame = body.frame().await.unwrap().unwrap();
        if let Ok(trailers) = frame.into_trailers() {
            break trailers;
        }
    };
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn lines_are_echoed_after_a_greeting() {
    let app = running().await;
    let stream = TcpStream::connect(app.tcp).await.unwrap();
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    assert_eq!(
        lines.next_line().await.unwrap().unwrap(),
        "v7 shop/checkout-1"
    );
    writer.write_all(b"hello\n").await.unwrap();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "hello");
    drop(writer);
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn a_fault_shows_also_in_readiness() {
    let app = running().await;
    app.begin.send_replace(Some(FaultKind::Errors.into()));
    let mut client = http1(&app).await;
    let response = client.send_request(get("/ready")).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(response.headers()["x-lab-version"], "v7");
}

#[tokio::test]
async fn closing_ends_idle_connections_and_refuses_new_ones() {
    let app = running().await;
    let mut client = http1(&app).await;
    let response = client.send_request(get("/")).await.unwrap();
    response.into_body().collect().await.unwrap();
    app.closing.send_replace(true);
    app.servers.join_all().await;
    assert!(TcpStream::connect(app.http).await.is_err());
}
