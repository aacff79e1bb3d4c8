//! Tells a goodbye from a stream that broke.
//!
//! A client that half-closes leaves every interest set at once; one that resets its stream or whose
//! connection dies goes on serving by what it has. Yet hyper and tonic show a reset (`NO_ERROR`, as
//! after a keep-alive that nobody answered, or `CANCEL`) as the ordinary end. So here every end but
//! the client's own (`END_STREAM`) is made an error.

use http_body::{Body as HttpBody, Frame};
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

/// A gRPC service whose requests end only if the client ends them.
#[derive(Clone, Debug)]
pub struct Goodbyes<S>(pub(super) S);

impl<S: NamedService> NamedService for Goodbyes<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: Service<http::Request<Requests>>> Service<http::Request<Body>> for Goodbyes<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.call(request.map(Requests))
    }
}

/// What a client sends.
#[derive(Debug)]
pub struct Requests(Body);

impl HttpBody for Requests {
    type Data = <Body as HttpBody>::Data;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Status>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(context));
        Poll::Ready(match frame {
            None if !self.0.is_end_stream() => Some(Err(broken())),
            Some(Err(status)) if status.code() == Code::Cancelled => Some(Err(broken())),
            other => other,
        })
    }
}

fn broken() -> Status {
    Status::unavailable("the stream broke off without a goodbye")
}
