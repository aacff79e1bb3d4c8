//! What is told of a request once it is over: a line of the access log, a span of a trace.

use super::ErrorClass;
use http::{HeaderValue, Method, StatusCode, Version, uri::PathAndQuery};
use std::{borrow::Cow, net::SocketAddr, sync::Arc, time::Duration};

/// One request. Texts are shared with the request's own head, not copied.
#[derive(Clone, Debug)]
pub struct Record {
    /// When it began, since the Unix epoch.
    pub began: Duration,
    /// Until the response's last byte was handed on, or until whatever ended it before.
    pub took: Duration,
    /// It came in for the Pod's own application.
    pub inbound: bool,
    /// Who sent it.
    pub peer: SocketAddr,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub target: Option<PathAndQuery>,
    /// The host that it names.
    pub authority: Option<HeaderValue>,
    /// The client's protocol.
    pub protocol: Version,
    /// `x-request-id`, the client's or ours.
    pub request_id: Option<HeaderValue>,
    /// The answer's status; None: the client went away before there was one.
    pub status: Option<StatusCode>,
    /// How a gRPC call ended.
    pub grpc_status: Option<u32>,
    /// Bytes of the response's body that were handed on.
    pub response_bytes: u64,
    /// Where it was sent.
    pub cluster: Option<Arc<str>>,
    /// The endpoint that answered.
    pub endpoint: Option<SocketAddr>,
    /// The version that answered.
    pub version: Option<Arc<str>>,
    /// A live session token placed it.
    pub pinned: bool,
    /// How it went.
    pub ended: Ended,
    /// The trace that it is part of, where that is recorded.
    pub trace: Option<Span>,
}

/// How a request ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ended {
    /// By its client: it went away before the response was whole.
    #[default]
    ByClient,
    /// As it should: its response is whole.
    Whole,
    /// By a drain, at a boundary of its stream.
    Drained,
    /// By an error on the way.
    Failed(ErrorClass),
    /// By an answer of the proxy's own.
    Refused(Cow<'static, str>),
}

/// Where a request stands in a trace (W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The trace.
    pub trace: u128,
    /// Our span in it.
    pub id: u64,
    /// The span that it is part of; None: it begins the trace.
    pub parent: Option<u64>,
}

impl Record {
    /// True where somebody who only wants to see what went wrong wants to see it.
    pub fn is_error(&self) -> bool {
        let by_status = self
            .status
            .is_some_and(|status| status.is_server_error() || status == StatusCode::BAD_REQUEST);
        let by_grpc = self.grpc_status.is_some_and(|code| code != 0);
        by_status || by_grpc || !matches!(self.ended, Ended::Whole | Ended::Drained)
    }
}
