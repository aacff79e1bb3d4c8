//! Answers of our own: where no upstream answers, the client is told why in a sentence.

use super::response::ResponseBody;
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, SERVER},
};
use std::borrow::Cow;

/// Our name in answers of our own.
const NAME: HeaderValue = HeaderValue::from_static("segue");
/// gRPC's UNAVAILABLE.
const UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");
/// The status of a gRPC call.
pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// What Envoy's clients know a tripped circuit breaker by.
const ENVOY_OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Why a request is not answered by an upstream.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    why: Cow<'static, str>,
    close: bool,
    overloaded: bool,
}

impl Refusal {
    /// An answer with a status and a reason.
    pub(super) fn new(status: StatusCode, why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            why: why.into(),
            close: false,
            overloaded: false,
        }
    }

    /// 400, and the connection is closed: what follows can't be trusted.
    pub(super) fn malformed(why: &'static str) -> Self {
        Self {
            close: true,
            ..Self::new(StatusCode::BAD_REQUEST, why)
        }
    }

    /// 501, and the connection is closed.
    pub(super) fn unsupported(why: &'static str) -> Self {
        Self {
            close: true,
            ..Self::new(StatusCode::NOT_IMPLEMENTED, why)
        }
    }

    /// 408, and the connection is closed: what follows would be taken for the rest of the body.
    pub(super) fn late(why: &'static str) -> Self {
        Self {
            close: true,
            ..Self::new(StatusCode::REQUEST_TIMEOUT, why)
        }
    }

    /// 503.
    pub(super) fn unavailable(why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
    }

    /// 503, and says that nothing was sent since the cluster has as much as it takes.
    pub(super) fn overloaded(why: &'static str) -> Self {
        Self {
            overloaded: true,
            ..Self::unavailable(why)
        }
    }

    /// The answer. gRPC callers get a status that their library understands, unless what they sent
    /// is no call at all.
    pub(super) fn response(self, grpc: bool) -> Response<ResponseBody> {
        let overloaded = self.overloaded;
        let mut response = if grpc && !self.close {
            self.grpc()
        } else {
            self.plain()
        };
        if overloaded {
            let headers = response.headers_mut();
            headers.insert(ENVOY_OVERLOADED, HeaderValue::from_static("true"));
        }
        response
    }

    fn plain(self) -> Response<ResponseBody> {
        let mut text = self.why.into_owned();
        text.push('\n');
        let mut response = Response::new(ResponseBody::own(text.into()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(SERVER, NAME);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Trailers-only (gRPC over HTTP/2, "Responses").
    fn grpc(self) -> Response<ResponseBody> {
        let mut response = Response::new(ResponseBody::own(Bytes::new()));
        let headers = response.headers_mut();
        headers.insert(SERVER, NAME);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, UNAVAILABLE);
        if let Ok(message) = HeaderValue::try_from(self.why.replace('%', "%25")) {
            headers.insert(GRPC_MESSAGE, message);
        }
        response
    }
}
