//! The gRPC service. Each method takes and gives streams, which on the wire are the other kinds as well.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::http;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    codegen::{BoxFuture, Service},
    metadata::MetadataMap,
    server::{Grpc, NamedService},
    transport::Server,
};
use tonic_prost::ProstCodec;

/// The service's name.
pub(crate) const NAME: &str = "segue.test.Interop";
/// Its port.
pub(crate) const GRPC: u16 = 50051;
/// What each status says: with what must be percent-encoded.
pub(crate) const MESSAGE: &str = "not today \u{2014} 100 % \r\n\ttab";
/// And carries.
pub(crate) const DETAILS: &[u8] = &[0, 1, 2, 253, 254, 255];
/// One message of a flood.
const DROP: usize = 64 << 10;

/// What was counted.
#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    cancelled: AtomicU64,
    flooded: AtomicU64,
}

#[derive(Clone, Default)]
struct Interop(Arc<Counts>);

/// One method, for one call.
struct Method {
    name: String,
    counts: Arc<Counts>,
}

type Answers = ReceiverStream<Result<Vec<u8>, Status>>;
type Sender = mpsc::Sender<Result<Vec<u8>, Status>>;

pub(crate) async fn serve(listener: TcpListener) {
    let server = Server::builder().add_service(Interop::default());
    let connections = TcpListenerStream::new(listener);
    server.serve_with_incoming(connections).await.unwrap();
}

impl NamedService for Interop {
    const NAME: &'static str = NAME;
}

impl Service<http::Request<Body>> for Interop {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let name = request.uri().path().rsplit('/').next().unwrap_or_default();
        let method = Method {
            name: name.to_owned(),
            counts: Arc::clone(&self.0),
        };
        Box::pin(async move {
            if method.name == "Raw" {
                return Ok(raw(request));
            }
            let codec = ProstCodec::<Vec<u8>, Vec<u8>>::default();
            let mut grpc = Grpc::new(codec)
                .max_decoding_message_size(usize::MAX)
                .max_encoding_message_size(usize::MAX);
            Ok(grpc.streaming(method, request).await)
        })
    }
}

/// Gives back what came, undecoded: the encoding, the flag of each message, the trailers.
fn raw(request: http::Request<Body>) -> http::Response<Body> {
    let (head, body) = request.into_parts();
    let mut response = http::Response::new(Body::new(body.map_err(|error| error)));
    for name in ["content-type", "grpc-encoding", "grpc-accept-encoding"] {
        if let Some(value) = head.headers.get(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

impl Service<Request<Streaming<Vec<u8>>>> for Method {
    type Response = Response<Answers>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Vec<u8>>>) -> Self::Future {
        let (name, counts) = (self.name.clone(), Arc::clone(&self.counts));
        Box::pin(async move { call(&name, &counts, request).await })
    }
}

async fn call(
    name: &str,
    counts: &Arc<Counts>,
    request: Request<Streaming<Vec<u8>>>,
) -> Result<Response<Answers>, Status> {
    let (metadata, _, messages) = request.into_parts();
    let (answer, answers) = mpsc::channel(1);
    let mut response = Response::new(ReceiverStream::new(answers));
    match name {
        "Echo" => {
            pass_on(&metadata, response.metadata_mut());
            tokio::spawn(echo(messages, answer));
        }
        "Count" => count(messages, answer).await?,
        "Fail" => return Err(failure(messages, &metadata).await?.1),
        "FailLate" => {
            let (first, status) = failure(messages, &metadata).await?;
            tokio::spawn(async move {
                answer.send(Ok(first)).await.ok();
                answer.send(Err(status)).await.ok();
            });
        }
        "Hang" => drop(tokio::spawn(hang(
            Arc::clone(counts),
            answer,
            Some(Vec::new()),
        ))),
        "HangBefore" => {
            tokio::spawn(hang(Arc::clone(counts), answer, None));
            // Not even a head.
            std::future::pending::<()>().await;
        }
        "Flood" => drop(tokio::spawn(flood(Arc::clone(counts), answer))),
        other => {
            let said = told(other, counts, &metadata, messages).await?;
            // There is room for one.
            answer.send(Ok(said)).await.ok();
        }
    }
    Ok(response)
}

/// Methods that answer by one message.
async fn told(
    name: &str,
    counts: &Counts,
    metadata: &MetadataMap,
    mut messages: Streaming<Vec<u8>>,
) -> Result<Vec<u8>, Status> {
    let number = match name {
        "Sum" => {
            let mut sum = 0;
            while let Some(message) = messages.message().await? {
                sum += message.len() as u64;
            }
            sum
        }
        "Begun" => counts.begun.load(SeqCst),
        "Cancelled" => counts.cancelled.load(SeqCst),
        "Flooded" => counts.flooded.load(SeqCst),
        "Deadline" => {
            let deadline = metadata.get("grpc-timeout");
            return Ok(deadline.map_or_else(Vec::new, |value| value.as_bytes().to_vec()));
        }
        other => return Err(Status::unimplemented(other.to_owned())),
    };
    Ok(number.to_string().into_bytes())
}

async fn echo(mut messages: Streaming<Vec<u8>>, answer: Sender) {
    while let Some(message) = messages.message().await.transpose() {
        if answer.send(message).await.is_err() {
            return;
        }
    }
}

async fn count(mut messages: Streaming<Vec<u8>>, answer: Sender) -> Result<(), Status> {
    let (number, length) = asked(&mut messages).await?;
    tokio::spawn(async move {
        for _ in 0..number {
            answer.send(Ok(vec![b'x'; length])).await.ok();
        }
    });
    Ok(())
}

async fn asked(messages: &mut Streaming<Vec<u8>>) -> Result<(usize, usize), Status> {
    let first = messages.message().await?.unwrap_or_default();
    let text = String::from_utf8(first).unwrap_or_default();
    let numbers = text.split_once(' ');
    let parsed = numbers.and_then(|(one, other)| Some((one.parse().ok()?, other.parse().ok()?)));
    parsed.ok_or_else(|| Status::invalid_argument("no two numbers"))
}

/// The first message, and the status whose code it is.
async fn failure(
    mut messages: Streaming<Vec<u8>>,
    metadata: &MetadataMap,
) -> Result<(Vec<u8>, Status), Status> {
    let message = messages.message().await?.unwrap_or_default();
    let mut given = MetadataMap::new();
    pass_on(metadata, &mut given);
    let (code, details) = (Code::from_bytes(&message), Bytes::from_static(DETAILS));
    let status = Status::with_details_and_metadata(code, MESSAGE, details, given);
    Ok((message, status))
}

fn pass_on(from: &MetadataMap, to: &mut MetadataMap) {
    for value in &from.get_all("x-ask") {
        to.append("x-ask", value.clone());
    }
    if let Some(value) = from.get_bin("x-ask-bin") {
        to.insert_bin("x-ask-bin", value.clone());
    }
}

/// Says nothing more until the client has gone.
async fn hang(counts: Arc<Counts>, answer: Sender, first: Option<Vec<u8>>) {
    if let Some(first) = first {
        answer.send(Ok(first)).await.ok();
    }
    counts.begun.fetch_add(1, SeqCst);
    answer.closed().await;
    counts.cancelled.fetch_add(1, SeqCst);
}

async fn flood(counts: Arc<Counts>, answer: Sender) {
    while answer.send(Ok(vec![b'x'; DROP])).await.is_ok() {
        counts.flooded.fetch_add(DROP as u64, SeqCst);
    }
}
