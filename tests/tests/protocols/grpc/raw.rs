//! What a gRPC library hides: heads, trailers, and the same over HTTP/1.

use super::{
    super::mesh::HOST,
    server::{GRPC, NAME},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Collected, Full, StreamBody, combinators::BoxBody};
use hyper::{
    HeaderMap, Request, Response,
    body::Frame,
    client::conn::{http1, http2},
    header::HeaderValue,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

type Body = BoxBody<Bytes, Infallible>;

/// A message that is `deflated`, says its flag.
const COMPRESSED: &[u8] = b"\x01\0\0\0\x04abcd";
/// A message of one field, of bytes: `ab`.
const PLAIN: &[u8] = b"\0\0\0\0\x04\x0a\x02ab";

fn full(bytes: &'static [u8]) -> Body {
    Full::new(Bytes::from_static(bytes)).boxed()
}

fn request(host: &str, method: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://{host}:{GRPC}/{NAME}/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(body)
        .unwrap()
}

async fn call(request: Request<Body>) -> (Response<()>, bool, Collected<Bytes>) {
    let stream = TcpStream::connect((HOST, GRPC)).await.unwrap();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    let alone = hyper::body::Body::is_end_stream(&body);
    let body = body.collect().await.unwrap();
    (Response::from_parts(head, ()), alone, body)
}

/// A status without messages is one block of headers, and must stay one.
pub(super) async fn trailers_only() {
    let (head, alone, _) = call(request(HOST, "Fail", full(b"\0\0\0\0\x03\x0a\x015"))).await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["grpc-status"], "5");
    assert!(alone, "{head:?}");
}

pub(super) async fn compressed() {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [
        Ok(Frame::data(Bytes::from_static(COMPRESSED))),
        Ok(Frame::trailers(trailers.clone())),
    ];
    let body = StreamBody::new(tokio_stream::iter(frames)).boxed();
    let mut request = request(HOST, "Raw", body);
    let headers = request.headers_mut();
    headers.insert("grpc-encoding", HeaderValue::from_static("deflate"));
    headers.insert(
        "grpc-accept-encoding",
        HeaderValue::from_static("identity,deflate,gzip"),
    );
    let (head, _, body) = call(request).await;
    assert_eq!(head.headers()["grpc-encoding"], "deflate");
    assert_eq!(
        head.headers()["grpc-accept-encoding"],
        "identity,deflate,gzip"
    );
    assert_eq!(body.trailers(), Some(&trailers));
    assert_eq!(body.to_bytes(), COMPRESSED);
}

/// The sidecar's own answer is one that gRPC clients understand.
pub(super) async fn nobody() {
    let (head, alone, _) = call(request("nobody.shop", "Echo", full(PLAIN))).await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-type"], "application/grpc");
    assert_eq!(head.headers()["grpc-status"], "14");
    assert!(head.headers().contains_key("grpc-message"));
    assert!(alone, "{head:?}");
}

/// A client that speaks HTTP/1 calls a service that speaks HTTP/2; the status comes as a trailer of the chunked body.
pub(super) async fn over_http1() {
    let head = format!(
        "POST /{NAME}/Echo HTTP/1.1\r\nhost: {HOST}:{GRPC}\r\ncontent-type: application/grpc\r\nte: trailers\r\n\
         connection: te, close\r\ntransfer-encoding: chunked\r\n\r\n9\r\n"
    );
    let mut stream = TcpStream::connect((HOST, GRPC)).await.unwrap();
    let whole = [head.as_bytes(), PLAIN, b"\r\n0\r\n\r\n"].concat();
    stream.write_all(&whole).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(text.starts_with("http/1.1 200 "), "{text:?}");
    assert!(
        answer.windows(PLAIN.len()).any(|part| part == PLAIN),
        "{text:?}"
    );
    assert!(
        text.ends_with("\r\n0\r\ngrpc-status: 0\r\n\r\n"),
        "{text:?}"
    );
}

/// An HTTP/1 client at a port where the application speaks HTTP/2: keep-alive, bodies of both framings, HEAD.
pub(super) async fn http1_to_http2() {
    let stream = TcpStream::connect((HOST, 82)).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for (method, body) in [
        ("GET", full(b"")),
        ("POST", Full::new(Bytes::from(vec![b'x'; 200_000])).boxed()),
    ] {
        let request = Request::builder()
            .method(method)
            .uri("/page")
            .header("host", HOST)
            .body(body)
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200, "{method}");
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"a page"), "{method}");
    }
}
