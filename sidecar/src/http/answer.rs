//! Answers of our own: where no upstream answers, the client is told why in a sentence.

use super::response::ResponseBody;
use crate::{
    local::Local,
    model::{Action, Route},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONNECTION, CONTENT_TYPE, SERVER},
};
use std::{borrow::Cow, time::Duration};

/// Our name in answers of our own.
const NAME: HeaderValue = HeaderValue::from_static("segue");
/// gRPC's UNAVAILABLE.
const UNAVAILABLE: HeaderValue = HeaderValue::from_static("14");
/// The status of a gRPC call.
pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// What Envoy's clients know a tripped circuit breaker by.
const ENVOY_OVERLOADED: HeaderName = HeaderName::from_static("x-envoy-overloaded");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// After how many milliseconds the call may be tried again (gRFC A6, "Pushback").
const GRPC_RETRY_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
/// Calls that a drain has ended are tried again within so many milliseconds.
const PUSHBACK_MS: u64 = 1_000;
const DRAINED: &str = "the proxy or the instance behind it is about to stop";

/// When a call that a drain has ended may be tried again: clients that heard of it at once come back
/// one after the other.
pub(super) fn pushback(local: &Local) -> Duration {
    Duration::from_millis(local.draw(PUSHBACK_MS))
}

/// How a gRPC call ends that a drain has ended. It may be tried again after `pushback`.
pub(super) fn drained(pushback: Duration) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(3);
    trailers.insert(GRPC_STATUS, UNAVAILABLE);
    trailers.insert(GRPC_MESSAGE, HeaderValue::from_static(DRAINED));
    let pushback = u64::try_from(pushback.as_millis()).unwrap_or(u64::MAX);
    trailers.insert(GRPC_RETRY_PUSHBACK, pushback.into());
    trailers
}

/// Why a request is not answered by an upstream.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    why: Cow<'static, str>,
    close: bool,
    pushback: Option<Duration>,
    overloaded: bool,
}

impl Refusal {
    /// An answer with a status and a reason.
    pub(super) fn new(status: StatusCode, why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            why: why.into(),
            close: false,
            pushback: None,
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

    /// 503, and when a gRPC call may be tried again: a drain has ended it.
    pub(super) fn drained(pushback: Duration) -> Self {
        Self {
            pushback: Some(pushback),
            ..Self::unavailable(DRAINED)
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

    /// Its status.
    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    /// Its reason.
    pub(super) const fn why(&self) -> &Cow<'static, str> {
        &self.why
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

    fn grpc(self) -> Response<ResponseBody> {
        let mut response = trailers_only(UNAVAILABLE, &self.why);
        let headers = response.headers_mut();
        headers.insert(SERVER, NAME);
        for (name, value) in self.pushback.map(drained).iter().flatten() {
            headers.insert(name, value.clone());
        }
        response
    }
}

/// Trailers-only (gRPC over HTTP/2, "Responses").
fn trailers_only(status: HeaderValue, why: &str) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::own(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, status);
    if let Ok(message) = HeaderValue::try_from(why.replace('%', "%25")) {
        headers.insert(GRPC_MESSAGE, message);
    }
    response
}

/// The answer of a route that needs no upstream. gRPC callers get a status, as Envoy gives it.
pub(super) fn direct(route: &Route, grpc: bool) -> Response<ResponseBody> {
    let mut response = match &route.action {
        Action::DirectResponse { status, body } if grpc => {
            let why = String::from_utf8_lossy(body);
            trailers_only(grpc_status(*status), why.trim_end())
        }
        Action::DirectResponse { status, body } => {
            let mut response = Response::new(ResponseBody::own(body.clone()));
            *response.status_mut() = *status;
            response
        }
        Action::Cluster(_) | Action::Weighted { .. } => Response::new(ResponseBody::Own(None)),
    };
    let headers = response.headers_mut();
    for header in &route.response_headers {
        headers.append(header.name.clone(), header.value.clone());
    }
    response
}

/// "HTTP to gRPC Status Code Mapping" (grpc/doc/http-grpc-status-mapping.md).
fn grpc_status(status: StatusCode) -> HeaderValue {
    match status {
        StatusCode::BAD_REQUEST => HeaderValue::from_static("13"),
        StatusCode::UNAUTHORIZED => HeaderValue::from_static("16"),
        StatusCode::FORBIDDEN => HeaderValue::from_static("7"),
        StatusCode::NOT_FOUND => HeaderValue::from_static("12"),
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => UNAVAILABLE,
        _ => HeaderValue::from_static("2"),
    }
}
