//! Runs one check against one address.

use super::spec::{Check, CheckKind};
use crate::xds::Dialer;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::{net::SocketAddr, ops::Range};
use tokio::{net::TcpStream, time::timeout};

/// `SERVING` of `grpc.health.v1.HealthCheckResponse.ServingStatus`.
const SERVING: i32 = 1;
const AGENT: HeaderValue = HeaderValue::from_static("segue-sidecar");

/// Ends with an error that says what failed.
pub(super) async fn run(check: &Check, address: SocketAddr, dialer: &Dialer) -> Result<(), String> {
    let address = check
        .port
        .map_or(address, |port| SocketAddr::new(address.ip(), port));
    let attempt = async {
        let stream = dialer
            .connect(address)
            .await
            .map_err(|error| format!("connecting to {address}: {error}"))?;
        match &check.kind {
            CheckKind::Tcp => Ok(()),
            CheckKind::Http {
                host,
                path,
                expected,
            } => http_get(stream, address, host, path, expected).await,
            CheckKind::Grpc { service } => grpc(stream, address, service).await,
        }
    };
    timeout(check.timeout, attempt)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {:?}", check.timeout)))
}

async fn http_get(
    stream: TcpStream,
    address: SocketAddr,
    host: &str,
    path: &str,
    expected: &[Range<i64>],
) -> Result<(), String> {
    let host = if host.is_empty() {
        address.to_string()
    } else {
        host.to_owned()
    };
    let request = Request::builder()
        .uri(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, AGENT)
        .header(header::CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("the check's path or host is invalid: {error}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        let code = i64::from(status.as_u16());
        if expected.iter().any(|range| range.contains(&code)) {
            Ok(())
        } else {
            Err(format!("answered {status}"))
        }
    };
    beside(connection, answer).await
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

async fn grpc(stream: TcpStream, address: SocketAddr, service: &str) -> Result<(), String> {
    let message = HealthCheckRequest {
        service: service.to_owned(),
    };
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .header(header::USER_AGENT, AGENT)
        .body(Full::new(frame(&message.encode_to_vec())))
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("answered {}", response.status()));
        }
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| error.to_string())?
            .to_bytes();
        // A frame: one byte of flags, four of length. Errors come without one.
        let message = body.get(5..).ok_or("answered with an error")?;
        match HealthCheckResponse::decode(message) {
            Ok(answer) if answer.status == SERVING => Ok(()),
            Ok(answer) => Err(format!("answered serving status {}", answer.status)),
            Err(error) => Err(error.to_string()),
        }
    };
    beside(connection, answer).await
}

fn frame(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    frame.freeze()
}

/// Drives the connection until the answer is there.
async fn beside<C, E, A>(connection: C, answer: A) -> Result<(), String>
where
    C: Future<Output = Result<(), E>>,
    A: Future<Output = Result<(), String>>,
{
    tokio::pin!(connection, answer);
    tokio::select! {
        result = &mut answer => result,
        // A connection that ended has handed over what it read.
        _ = &mut connection => answer.await,
    }
}
