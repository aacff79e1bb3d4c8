//! The application's end of a WebSocket: it takes the bytes as they are.

use super::{
    super::{
        mesh::HOST,
        server::{Body, full},
    },
    ACCEPT,
};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderName, HeaderValue, UPGRADE},
    upgrade::Upgraded,
};
use hyper_util::rt::TokioIo;
use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy, sink, split},
    net::TcpStream,
    time::sleep,
};

/// What it says before anything else.
pub(super) const FIRST: &[u8] = b"\x81\x05first";
/// And after the client has ended: a close frame.
pub(super) const LAST: &[u8] = b"\x88\x05\x03\xe9bye";
/// What an upgrade that is refused is answered by.
pub(super) const REFUSAL: &str = "not here";

/// What was heard after the application's own end.
static HEARD: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn answer(mut request: Request<Incoming>) -> Response<Body> {
    let kind = request.uri().path().trim_start_matches("/ws/").to_owned();
    match &*kind {
        "refused" => {
            let mut response = Response::new(full(REFUSAL));
            *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
            return response;
        }
        "heard" => return Response::new(full(HEARD.load(SeqCst).to_string())),
        _ => {}
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(stream) = upgrade.await {
            serve(&kind, TokioIo::new(stream)).await;
        }
    });
    switching(request.headers())
}

fn switching(asked: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    for (name, value) in [
        ("sec-websocket-accept", ACCEPT),
        ("sec-websocket-protocol", "superchat"),
        (
            "sec-websocket-extensions",
            "permessage-deflate; client_max_window_bits=12",
        ),
    ] {
        let name = HeaderName::from_static(name);
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (saw, name) in [
        ("x-saw-key", "sec-websocket-key"),
        ("x-saw-version", "sec-websocket-version"),
        ("x-saw-protocols", "sec-websocket-protocol"),
        ("x-saw-extensions", "sec-websocket-extensions"),
    ] {
        if let Some(value) = asked.get(name) {
            headers.insert(HeaderName::from_static(saw), value.clone());
        }
    }
    response
}

/// The connection may fail under it: then the client says what is amiss.
async fn serve(kind: &str, stream: TokioIo<Upgraded>) {
    let (mut read, mut write) = split(stream);
    match kind {
        "first" => {
            write.write_all(FIRST).await.ok();
        }
        "end" => {}
        _ => {
            copy(&mut read, &mut write).await.ok();
        }
    }
    write.write_all(LAST).await.ok();
    write.shutdown().await.ok();
    if kind == "end" {
        let heard = copy(&mut read, &mut sink()).await.unwrap_or_default();
        HEARD.store(usize::try_from(heard).unwrap(), SeqCst);
    }
}

/// The client asks until the application has heard so much.
pub(super) async fn until_heard(length: usize) {
    let ask = format!("GET /ws/heard HTTP/1.1\r\nhost: {HOST}\r\nconnection: close\r\n\r\n");
    let expected = format!("\r\n\r\n{length}");
    loop {
        let mut stream = TcpStream::connect((HOST, 80)).await.unwrap();
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        if answer.ends_with(&expected) {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
}
