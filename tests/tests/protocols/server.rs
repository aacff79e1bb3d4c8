//! The application behind the server's sidecar.

use super::{grpc, opaque, websocket};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use std::{convert::Infallible, net::Ipv4Addr, process::ExitCode};
use tokio::net::{TcpListener, TcpStream};

/// A response's body.
pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

/// More than h2spec's smallest windows.
const PAGE: &str = "a page that is longer than the smallest of windows\n";

/// A Pod's program: serves all ports, for ever.
pub(crate) async fn serve() -> ExitCode {
    let mut listeners = Vec::new();
    for port in [8080, 8082, 50051, 8443, 2525, 8081] {
        listeners.push(
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
                .await
                .unwrap(),
        );
    }
    let [http, h2c, calls, tls, greeting, mislabelled] =
        <[TcpListener; 6]>::try_from(listeners).unwrap();
    println!("serving");
    tokio::join!(
        each(http, speak_http),
        each(h2c, speak_http),
        grpc::server::serve(calls),
        each(tls, opaque::server::terminate),
        each(greeting, opaque::server::greet),
        each(mislabelled, opaque::server::greet),
    );
    ExitCode::SUCCESS
}

async fn each<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    serve: fn(TcpStream) -> F,
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(serve(stream));
    }
}

async fn speak_http(stream: TcpStream) {
    let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
    let builder = Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    // A client that breaks the protocol is what h2spec is for.
    connection.await.ok();
}

async fn answer(request: Request<Incoming>) -> Response<Body> {
    if request.uri().path().starts_with("/ws/") {
        return websocket::server::answer(request);
    }
    request.into_body().collect().await.ok();
    Response::new(full(PAGE))
}

/// A whole body.
pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed()
}
