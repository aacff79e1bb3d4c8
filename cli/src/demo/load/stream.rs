//! Two-way HTTP/2 streams with trailers, as a gRPC client makes them.
//!
//! A message every 200 ms, each echoed before the next; after 5 to 15 s the client half-closes and
//! expects `grpc-status: 0`. Anything else is a cut. Half of the streams share one connection, as
//! the calls of a gRPC channel do; the others have one each.

use super::{
    failure::Failure,
    report::{Channel, Kind},
    session::VERSION_HEADER,
    tally::{Shared, unix_ms},
    target::Target,
};
use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::{SendRequest, handshake},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, rc::Rc, time::Duration};
use tokio::{
    sync::{Mutex, mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

const PAUSE: Duration = Duration::from_millis(200);

type Body = StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>;

/// A connection that streams may share.
#[derive(Debug, Default)]
pub(super) struct Pool {
    sender: Mutex<Option<SendRequest<Body>>>,
}

impl Pool {
    /// A connection that takes another stream; a new one where the old one says no (GOAWAY).
    async fn sender(&self, target: &Target) -> Result<SendRequest<Body>, Failure> {
        let mut kept = self.sender.lock().await;
        if let Some(mut sender) = kept.clone()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let sender = open(target).await?;
        *kept = Some(sender.clone());
        Ok(sender)
    }

    /// Sends a request; once more on another connection where the first one closed before the
    /// request went out.
    async fn send(
        &self,
        target: &Target,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Failure> {
        loop {
            let mut sender = self.sender(target).await?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(error.into_error().into()),
                },
            }
        }
    }
}

async fn open(target: &Target) -> Result<SendRequest<Body>, Failure> {
    let stream = target
        .connect_http()
        .await
        .map_err(|error| Failure::connect(&error))?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // Its errors reach the streams on it.
    tokio::task::spawn_local(async move { connection.await.ok() });
    Ok(sender)
}

/// Keeps one stream going after the other until `stop`.
pub(super) async fn run(
    target: Rc<Target>,
    pool: Rc<Pool>,
    tally: Shared,
    mut random: fastrand::Rng,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let ends = Instant::now() + Duration::from_millis(random.u64(5_000..15_000));
        let opened = unix_ms();
        tally.borrow_mut().opened(Channel::Stream);
        let mut version = None;
        let end = one(&target, &pool, (&tally, &mut version), ends, &mut stop).await;
        let cut = end.is_err();
        tally
            .borrow_mut()
            .closed(Channel::Stream, version, opened, end);
        if cut {
            // As clients do: not in a tight circle against a service that is down.
            sleep(PAUSE).await;
        }
    }
}

async fn one(
    target: &Target,
    pool: &Pool,
    (tally, version): (&Shared, &mut Option<String>),
    ends: Instant,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), Failure> {
    let (messages, body) = mpsc::channel(1);
    let request = request(target, StreamBody::new(ReceiverStream::new(body)))?;
    let response = within(target.timeout, pool.send(target, request)).await?;
    let mut body = accept(response, tally, version)?;
    let mut number = 0_u32;
    while Instant::now() < ends && !*stop.borrow() {
        let message = message(number);
        number += 1;
        within(target.timeout, async {
            messages
                .send(Ok(Frame::data(message.clone())))
                .await
                .map_err(|_| Failure::new(Kind::Reset, "the stream takes no more messages"))?;
            echo(&mut body, &message).await
        })
        .await?;
        tokio::select! {
            () = sleep(PAUSE) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }
    drop(messages);
    within(target.timeout, trailers(&mut body)).await
}

async fn within<T>(
    limit: Duration,
    exchange: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(limit, exchange)
        .await
        .unwrap_or_else(|_| Err(Failure::timed_out()))
}

fn request(target: &Target, body: Body) -> Result<Request<Body>, Failure> {
    Request::post(format!("http://{}/stream", target.host))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(body)
        .map_err(|error| Failure::new(Kind::Other, error.to_string()))
}

fn accept(
    response: Response<Incoming>,
    tally: &Shared,
    version: &mut Option<String>,
) -> Result<Incoming, Failure> {
    let named = response
        .headers()
        .get(VERSION_HEADER)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    if let Some(named) = named {
        tally.borrow_mut().identified(Channel::Stream, &named);
        *version = Some(named);
    }
    if response.status() == http::StatusCode::OK {
        Ok(response.into_body())
    } else {
        Err(Failure::status(response.status(), None, &[]))
    }
}

/// A gRPC message: not compressed, length, content.
fn message(number: u32) -> Bytes {
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(4);
    message.put_u32(number);
    message.freeze()
}

async fn echo(body: &mut Incoming, message: &Bytes) -> Result<(), Failure> {
    let mut echoed = BytesMut::new();
    while echoed.len() < message.len() {
        match body.frame().await {
            None => return Err(Failure::new(Kind::Reset, "the stream ended early")),
            Some(frame) => match frame?.into_data() {
                Ok(data) => echoed.extend_from_slice(&data),
                Err(_) => return Err(Failure::new(Kind::Reset, "trailers came early")),
            },
        }
    }
    if echoed == *message {
        Ok(())
    } else {
        Err(Failure::new(Kind::Other, "the echo differs"))
    }
}

async fn trailers(body: &mut Incoming) -> Result<(), Failure> {
    while let Some(frame) = body.frame().await {
        if let Ok(trailers) = frame?.into_trailers() {
            return match trailers.get("grpc-status") {
                Some(status) if status == "0" => Ok(()),
                status => Err(Failure::new(
                    Kind::Other,
                    format!("grpc-status {status:?} instead of 0"),
                )),
            };
        }
    }
    Err(Failure::new(
        Kind::Reset,
        "the stream ended without trailers",
    ))
}
