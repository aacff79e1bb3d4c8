//! A stream that can be reset by the client.
//!
//! Tonic ends a stream of requests in one way only: it half-closes, which says goodbye. Here the
//! requests can be made to fail instead, upon which hyper resets the stream (RST_STREAM).

use http_body::{Body as HttpBody, Frame};
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::oneshot;
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
};

/// Resets the stream it belongs to. Dropped, it does nothing.
#[derive(Debug)]
pub(super) struct Reset(oneshot::Sender<()>);

impl Reset {
    pub(super) fn now(self) {
        // Nobody listens where the requests have ended already.
        self.0.send(()).ok();
    }
}

/// A channel whose first stream can be reset.
#[derive(Debug)]
pub(super) struct Resettable<S> {
    channel: S,
    reset: Option<oneshot::Receiver<()>>,
}

impl<S> Resettable<S> {
    pub(super) fn new(channel: S) -> (Self, Reset) {
        let (sender, receiver) = oneshot::channel();
        let resettable = Self {
            channel,
            reset: Some(receiver),
        };
        (resettable, Reset(sender))
    }
}

impl<S: Service<http::Request<Body>>> Service<http::Request<Body>> for Resettable<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let reset = self.reset.take();
        let request = request.map(|body| Body::new(Requests { body, reset }));
        self.channel.call(request)
    }
}

/// What is sent, until it is reset.
struct Requests {
    body: Body,
    reset: Option<oneshot::Receiver<()>>,
}

impl HttpBody for Requests {
    type Data = <Body as HttpBody>::Data;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let this = self.get_mut();
        if let Some(reset) = &mut this.reset
            && let Poll::Ready(asked) = Pin::new(reset).poll(context)
        {
            this.reset = None;
            if asked.is_ok() {
                let why = Status::cancelled("the client can't go on with this stream");
                return Poll::Ready(Some(Err(why)));
            }
        }
        Pin::new(&mut this.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
