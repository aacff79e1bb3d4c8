//! Deadlines of calls: `DEADLINE_EXCEEDED`, as gRPC has it.
//!
//! The transport would end a call whose answer has not begun with `CANCELLED`; [`Deadlines`] is asked
//! before it and ends it by the same clock. A stream that has begun is ended by [`end_at`].

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tonic::{
    Status,
    codegen::{Service, http},
    metadata::MetadataMap,
};
use tower::Layer;

/// Ends every call of a server at its deadline, if its answer has not begun by then.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines;

impl<S> Layer<S> for Deadlines {
    type Service = WithDeadlines<S>;

    fn layer(&self, inner: S) -> WithDeadlines<S> {
        WithDeadlines(inner)
    }
}

/// A service whose calls end at their deadlines.
#[derive(Clone, Debug)]
pub struct WithDeadlines<S>(S);

type Answering<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl<S, In, Out> Service<http::Request<In>> for WithDeadlines<S>
where
    S: Service<http::Request<In>, Response = http::Response<Out>>,
    S::Future: Send + 'static,
    Out: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answering<S::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<In>) -> Self::Future {
        let text = request.headers().get(TIMEOUT);
        let within = text.and_then(|text| read(text.to_str().ok()?));
        // Before the call, and so before the transport's own clock begins.
        let until = within.and_then(|within| Instant::now().checked_add(within));
        let answer = self.0.call(request);
        match until {
            None => Box::pin(answer),
            Some(until) => Box::pin(async move {
                let ended = timeout_at(until, answer).await;
                ended.unwrap_or_else(|_| Ok(over().into_http()))
            }),
        }
    }
}

const TIMEOUT: &str = "grpc-timeout";

fn over() -> Status {
    Status::deadline_exceeded("the deadline of the call has passed")
}

/// How long a call may take: `grpc-timeout`, where the caller set one.
///
/// Source: gRPC over HTTP/2, "Requests": at most eight digits and a unit.
pub(super) fn of(metadata: &MetadataMap) -> Option<Duration> {
    read(metadata.get(TIMEOUT)?.to_str().ok()?)
}

fn read(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.len() > 8 {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Runs what fills a stream, until the deadline at most.
pub(super) async fn end_at<T>(
    within: Option<Duration>,
    sender: mpsc::Sender<Result<T, Status>>,
    stream: impl Future<Output = ()>,
) {
    let Some(within) = within else {
        return stream.await;
    };
    if tokio::time::timeout(within, stream).await.is_err() {
        // A reader that does not read learns it from its own clock.
        drop(sender.try_send(Err(over())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_as_grpc_writes_it() {
        let read = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            of(&metadata)
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("1H"), Some(Duration::from_secs(3_600)));
        for text in ["", "S", "5", "5x", "123456789S", "-1S"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(of(&MetadataMap::new()), None);
    }
}
