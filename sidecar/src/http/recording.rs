//! A request as it is told of once it is over. Costs nothing where nobody wants to hear.

use super::{Client, answer::Refusal, response::GrpcStatus, trace_context};
use crate::{
    local::Local,
    model::{Ended, ErrorClass, Record},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header::HOST};
use hyper::body::Incoming;
use std::{
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Tells of a request when it is dropped.
#[derive(Default)]
pub(super) struct Recording(Option<Box<Open>>);

struct Open {
    local: Rc<Local>,
    begun: Instant,
    record: Record,
}

impl Recording {
    /// Begins with the request. Its `traceparent` names our span from now on, where it has one.
    pub(super) fn begin(client: &Client, request: &mut Request<Incoming>) -> Self {
        let local = &client.local;
        let Some(records) = &local.records else {
            return Self(None);
        };
        let span = if records.traces {
            let draw = |below| local.draw(below);
            trace_context::join(request.headers_mut(), records.sampled, draw)
        } else {
            None
        };
        if !records.wants(span) {
            return Self(None);
        }
        let record = Record {
            began: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
            took: Duration::ZERO,
            inbound: client.entry.inbound,
            peer: client.entry.peer,
            method: request.method().clone(),
            target: request.uri().path_and_query().cloned(),
            authority: named(request),
            protocol: request.version(),
            request_id: None,
            status: None,
            grpc_status: None,
            response_bytes: 0,
            cluster: None,
            endpoint: None,
            version: None,
            pinned: false,
            ended: Ended::default(),
            trace: span,
        };
        Self(Some(Box::new(Open {
            local: Rc::clone(local),
            begun: Instant::now(),
            record,
        })))
    }

    /// For the response's time.
    pub(super) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Notes something, where it is told of.
    fn note(&mut self, note: impl FnOnce(&mut Record)) {
        if let Some(open) = &mut self.0 {
            note(&mut open.record);
        }
    }

    /// The request goes on with these headers.
    pub(super) fn headers(&mut self, headers: &HeaderMap) {
        self.note(|record| record.request_id = headers.get(REQUEST_ID).cloned());
    }

    /// An upstream answers.
    pub(super) fn answered(
        &mut self,
        head: &http::response::Parts,
        (cluster, endpoint): (&Arc<str>, Option<SocketAddr>),
        version: Option<&Arc<str>>,
        pinned: bool,
    ) {
        self.note(|record| {
            record.status = Some(head.status);
            record.grpc_status = GrpcStatus::of(&head.headers).map(|GrpcStatus(code)| code);
            record.cluster = Some(Arc::clone(cluster));
            record.endpoint = endpoint;
            record.version = version.cloned();
            record.pinned = pinned;
        });
    }

    /// The proxy itself answers, as a route asks.
    pub(super) fn answered_ourselves(&mut self, status: StatusCode) {
        self.note(|record| {
            record.status = Some(status);
            record.ended = Ended::Whole;
        });
    }

    /// The proxy itself answers, because something is wrong.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        self.note(|record| {
            record.status = Some(refusal.status());
            record.ended = Ended::Refused(refusal.why().clone());
        });
    }

    /// A gRPC call said how it ended.
    pub(super) fn grpc(&mut self, status: Option<GrpcStatus>) {
        if let Some(GrpcStatus(code)) = status {
            self.note(|record| record.grpc_status = Some(code));
        }
    }

    /// A part of the response's body was handed on.
    pub(super) fn handed_on(&mut self, bytes: usize) {
        self.note(|record| {
            record.response_bytes += u64::try_from(bytes).unwrap_or_default();
        });
    }

    /// The response is whole.
    pub(super) fn whole(&mut self) {
        self.note(|record| record.ended = Ended::Whole);
    }

    /// A drain has ended the response.
    pub(super) fn drained(&mut self) {
        self.note(|record| record.ended = Ended::Drained);
    }

    /// The response broke off.
    pub(super) fn failed(&mut self, class: ErrorClass) {
        self.note(|record| record.ended = Ended::Failed(class));
    }
}

fn named(request: &Request<Incoming>) -> Option<HeaderValue> {
    let from_uri = request.uri().authority();
    let from_uri = from_uri.and_then(|named| HeaderValue::try_from(named.as_str()).ok());
    from_uri.or_else(|| request.headers().get(HOST).cloned())
}

impl Drop for Recording {
    fn drop(&mut self) {
        let Some(open) = self.0.take() else {
            return;
        };
        let Open {
            local,
            begun,
            mut record,
        } = *open;
        record.took = begun.elapsed();
        if let Some(records) = &local.records {
            records.tell(record);
        }
    }
}
