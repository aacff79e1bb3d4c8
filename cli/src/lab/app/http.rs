//! The application's HTTP side: small answers that say who gave them, and a stream that echoes.

use super::{
    Identity,
    fault::{Course, Fault},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use std::{convert::Infallible, sync::Arc};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Messages of a stream under way; a slow reader holds the writer up.
const UNDER_WAY: usize = 16;
/// gRPC's `INTERNAL`.
const GRPC_INTERNAL: HeaderValue = HeaderValue::from_static("13");
const GRPC_OK: HeaderValue = HeaderValue::from_static("0");

type Body = BoxBody<Bytes, Infallible>;

/// Answers one request.
pub(super) async fn answer(
    request: Request<Incoming>,
    identity: Arc<Identity>,
    fault: Fault,
) -> Result<Response<Body>, Infallible> {
    let course = fault.suffer().await;
    let stream = request.method() == Method::POST && request.uri().path() == "/stream";
    let mut response = if course == Course::Fail {
        full(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the fault of this version\n".to_owned(),
        )
    } else if stream {
        echo(request.into_body(), fault)
    } else {
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/") => full(
                StatusCode::OK,
                format!("{} {}\n", identity.version, identity.name),
            ),
            (&Method::GET | &Method::HEAD, "/ready") => full(StatusCode::OK, "ready\n".to_owned()),
            _ => full(StatusCode::NOT_FOUND, "no such page\n".to_owned()),
        }
    };
    let headers = response.headers_mut();
    headers.insert("x-lab-version", identity.version_header.clone());
    headers.insert("x-lab-instance", identity.name_header.clone());
    Ok(response)
}

fn full(status: StatusCode, text: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed());
    *response.status_mut() = status;
    response
}

/// Headers at once, then each piece of data as it comes, then trailers once the client has said all.
fn echo(body: Incoming, fault: Fault) -> Response<Body> {
    let (sender, receiver) = mpsc::channel(UNDER_WAY);
    tokio::spawn(pump(body, sender, fault));
    let mut response = Response::new(StreamBody::new(ReceiverStream::new(receiver)).boxed());
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

async fn pump(
    mut body: Incoming,
    sender: mpsc::Sender<Result<Frame<Bytes>, Infallible>>,
    fault: Fault,
) {
    let status = loop {
        let Some(frame) = body.frame().await else {
            break GRPC_OK;
        };
        // A client that broke off hears no trailers.
        let Ok(frame) = frame else { return };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if fault.suffer().await == Course::Fail {
            break GRPC_INTERNAL;
        }
        if sender.send(Ok(Frame::data(data))).await.is_err() {
            return;
        }
    };
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), status)]);
    // A client that is gone needs none.
    drop(sender.send(Ok(Frame::trailers(trailers))).await);
}
