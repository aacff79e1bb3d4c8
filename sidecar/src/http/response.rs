//! A response's body on its way down, and the account that is closed when it ends.

use super::{
    Active,
    answer::{self, GRPC_STATUS},
    boundary::Boundary,
    recording::Recording,
};
use crate::{
    balance::Outcome,
    drain::Ending,
    local::{Entry, InFlight, Local},
    model::{Cluster, EndpointId, ErrorClass},
    upstream::{Lease, Replay},
};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::{
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// The body of a response.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every answer is an upstream's: it needs no allocation of its own"
)]
pub(super) enum ResponseBody {
    /// One of our own; None once it was taken.
    Own(Option<Bytes>),
    /// What the upstream sends.
    Upstream(Streamed),
}

impl ResponseBody {
    pub(super) fn own(text: Bytes) -> Self {
        Self::Own((!text.is_empty()).then_some(text))
    }
}

/// What the upstream sends, until it ends.
pub(super) struct Streamed {
    incoming: Incoming,
    account: Option<Account>,
    deadline: Option<Pin<Box<Sleep>>>,
    held: Option<Held>,
    boundary: Boundary,
    /// A drain ends it with what was given last.
    last: bool,
    /// A drain has ended it.
    ended: bool,
}

/// Counts a response of which nobody has asked for more since its last part was given: only a client
/// that takes nothing keeps HTTP/2 from asking.
struct Held(Rc<Entry>);

impl Held {
    fn new(entry: &Rc<Entry>) -> Self {
        entry.held.set(entry.held.get() + 1);
        Self(Rc::clone(entry))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.set(self.0.held.get().saturating_sub(1));
        self.0.asked.set(self.0.asked.get().wrapping_add(1));
    }
}

/// What is settled when a response ends.
pub(super) struct Account {
    /// The connection it comes over.
    pub lease: Lease,
    /// Its endpoint's numbers.
    pub in_flight: InFlight,
    /// The downstream's.
    pub active: Active,
    /// The request's body.
    pub request: Replay,
    /// What is told of it.
    pub recording: Recording,
    /// What its head said. None: a gRPC call, its trailers say how it ended.
    pub outcome: Option<Outcome>,
    /// What it says something about, where the cluster watches for outliers.
    pub watched: Option<Watched>,
}

/// An endpoint whose outcomes are watched.
pub(super) struct Watched {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The endpoint.
    pub endpoint: EndpointId,
}

impl Watched {
    fn report(&self, local: &Local, outcome: Outcome) {
        let endpoints = &self.cluster.endpoints;
        if let Some(endpoint) = endpoints.iter().find(|one| one.id == self.endpoint) {
            local.report(&self.cluster, endpoint, outcome);
        }
    }
}

/// What ends a body early.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResponseError {
    /// The upstream connection failed.
    #[error(transparent)]
    Upstream(#[from] hyper::Error),
    /// The route's time is over.
    #[error("the response took longer than its route allows")]
    Timeout,
}

impl Account {
    /// The response ended; `trailers` where it had any.
    fn settle(mut self, trailers: Option<GrpcStatus>) {
        self.recording.whole();
        self.recording.grpc(trailers);
        let outcome = self.outcome.unwrap_or_else(|| {
            // A call that ends without a status is broken.
            let outcome = trailers.map_or(Outcome::ServerError, GrpcStatus::outcome);
            if let Some(watched) = &self.watched {
                watched.report(self.in_flight.local(), outcome);
            }
            outcome
        });
        self.in_flight.end(match outcome {
            Outcome::Success => Ok(()),
            Outcome::ServerError | Outcome::GatewayFailure => Err(ErrorClass::Response),
        });
        self.lease.give_back();
        drop(self.active);
    }

    /// A drain has ended it: the endpoint is not to blame. Returns the trailers of a gRPC call.
    fn drain(mut self) -> HeaderMap {
        self.in_flight.end(Ok(()));
        self.recording.drained();
        answer::drained(answer::pushback(self.in_flight.local()))
    }

    /// The response broke off.
    fn fail(mut self, class: ErrorClass) {
        // Where the client broke off, the endpoint is not to blame.
        if self.request.client_failed() {
            return;
        }
        self.recording.failed(class);
        if let Some(watched) = &self.watched {
            watched.report(self.in_flight.local(), Outcome::GatewayFailure);
        }
        self.in_flight.end(Err(class));
    }
}

impl Streamed {
    /// Streams a body whose head was sent on.
    pub(super) fn new(
        incoming: Incoming,
        account: Account,
        deadline: Option<Instant>,
        boundary: Boundary,
    ) -> Self {
        let mut streamed = Self {
            incoming,
            held: Some(Held::new(&account.active.entry)),
            account: Some(account),
            deadline: deadline.map(|at| Box::pin(sleep_until(at))),
            boundary,
            last: false,
            ended: false,
        };
        streamed.settle_at_end(None);
        streamed
    }

    fn settle_at_end(&mut self, trailers: Option<GrpcStatus>) {
        if self.incoming.is_end_stream() {
            self.settle(trailers);
        }
    }

    fn settle(&mut self, trailers: Option<GrpcStatus>) {
        if let Some(account) = self.account.take() {
            account.settle(trailers);
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some(account), Some(data)) = (&mut self.account, frame.data_ref()) {
                    account.recording.handed_on(data.len());
                }
                match frame.trailers_ref() {
                    Some(trailers) => self.settle(GrpcStatus::of(trailers)),
                    None => self.settle_at_end(None),
                }
                match frame.into_data() {
                    Ok(part) => Poll::Ready(self.part(part)),
                    Err(frame) => Poll::Ready(Some(Ok(frame))),
                }
            }
            Poll::Ready(Some(Err(error))) => {
                self.fail(ErrorClass::Reset);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.settle(None);
                Poll::Ready(None)
            }
            Poll::Pending if self.is_to_end(cx) => Poll::Ready(self.end()),
            Poll::Pending => self.poll_deadline(cx),
        }
    }

    /// What is given of the next part, where a drain may want the stream to end.
    fn part(&mut self, mut part: Bytes) -> Option<Result<Frame<Bytes>, ResponseError>> {
        if let Some(account) = &self.account
            && self.boundary.is_followed()
        {
            if account.active.underway.ending() > Ending::No {
                if self.last {
                    return self.end();
                }
                if let Some(boundary) = self.boundary.last_in(&part) {
                    part.truncate(boundary);
                    self.last = true;
                }
            }
            self.boundary.read(&part);
        }
        Some(Ok(Frame::data(part)))
    }

    /// Nothing comes. True where a drain wants the stream to end and it may end here.
    fn is_to_end(&self, cx: &Context<'_>) -> bool {
        // Nobody but a stream with boundaries need be woken.
        self.boundary.is_followed()
            && self.account.as_ref().is_some_and(|account| {
                account.active.underway.poll_ending(cx) > Ending::No && self.boundary.is_here()
            })
    }

    /// Ends the stream in order.
    fn end(&mut self) -> Option<Result<Frame<Bytes>, ResponseError>> {
        self.ended = true;
        let trailers = self.account.take().map(Account::drain)?;
        self.boundary
            .is_grpc()
            .then(|| Ok(Frame::trailers(trailers)))
    }

    /// Breaks the response off where its time is over.
    fn poll_deadline(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        let deadline = self.deadline.as_mut();
        if deadline.is_none_or(|deadline| deadline.as_mut().poll(cx).is_pending()) {
            return Poll::Pending;
        }
        self.fail(ErrorClass::Timeout);
        Poll::Ready(Some(Err(ResponseError::Timeout)))
    }

    fn fail(&mut self, class: ErrorClass) {
        if let Some(account) = self.account.take() {
            account.fail(class);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = ResponseError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseError>>> {
        match self.get_mut() {
            Self::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Self::Upstream(streamed) => {
                streamed.held = None;
                let polled = streamed.poll(cx);
                if let (Some(account), Poll::Ready(_)) = (&streamed.account, &polled) {
                    streamed.held = Some(Held::new(&account.active.entry));
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(text) => text.is_none(),
            Self::Upstream(streamed) => streamed.ended || streamed.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(text) => {
                let length = text.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(0))
            }
            Self::Upstream(streamed) => streamed.incoming.size_hint(),
        }
    }
}

/// How a gRPC call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GrpcStatus(pub(super) u32);

impl GrpcStatus {
    /// Reads it from trailers, or from the head of a response without a body.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = headers.get(GRPC_STATUS)?.to_str().ok()?;
        text.parse().ok().map(Self)
    }

    /// As Envoy reads it (`Grpc::Utility::grpcToHttpStatus`): codes that correspond to 5xx are the
    /// server's fault, and so are those that do not exist.
    pub(super) const fn outcome(self) -> Outcome {
        match self.0 {
            // OK, and what corresponds to 4xx: CANCELLED, INVALID_ARGUMENT, NOT_FOUND,
            // ALREADY_EXISTS to OUT_OF_RANGE, UNAUTHENTICATED.
            0 | 1 | 3 | 5..=11 | 16 => Outcome::Success,
            // DEADLINE_EXCEEDED and UNAVAILABLE correspond to 504 and 503.
            4 | 14 => Outcome::GatewayFailure,
            // UNKNOWN, UNIMPLEMENTED, INTERNAL, DATA_LOSS.
            _ => Outcome::ServerError,
        }
    }
}
