//! A line of the access log: one JSON object, with OpenTelemetry's names where one exists. Pure.

use crate::model::{Ended, ErrorClass, Record};
use http::Version;
use serde::Serialize;
use std::{borrow::Cow, net::SocketAddr, time::Duration};

/// As it is written; what is not known is left out.
#[derive(Serialize)]
struct Line<'a> {
    /// Tells these lines from the log's.
    log: &'static str,
    /// RFC 3339, UTC, when the request began.
    timestamp: String,
    direction: &'static str,
    #[serde(rename = "http.request.method")]
    method: &'a str,
    #[serde(rename = "url.path", skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(rename = "url.query", skip_serializing_if = "Option::is_none")]
    query: Option<&'a str>,
    #[serde(rename = "server.address", skip_serializing_if = "Option::is_none")]
    authority: Option<Cow<'a, str>>,
    #[serde(rename = "network.protocol.version")]
    protocol: &'static str,
    #[serde(rename = "client.address")]
    peer: SocketAddr,
    #[serde(
        rename = "http.response.status_code",
        skip_serializing_if = "Option::is_none"
    )]
    status: Option<u16>,
    #[serde(
        rename = "rpc.grpc.status_code",
        skip_serializing_if = "Option::is_none"
    )]
    grpc_status: Option<u32>,
    #[serde(rename = "http.response.body.size")]
    response_bytes: u64,
    /// In milliseconds.
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pinned: bool,
    #[serde(rename = "error.type", skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<String>,
}

/// Appends a request's line.
pub(super) fn line(record: &Record, out: &mut String) {
    let (error, detail) = error(&record.ended);
    let text =
        |value: &'_ http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let line = Line {
        log: "access",
        timestamp: timestamp(record.began),
        direction: if record.inbound {
            "inbound"
        } else {
            "outbound"
        },
        method: record.method.as_str(),
        path: record.target.as_ref().map(http::uri::PathAndQuery::path),
        query: record
            .target
            .as_ref()
            .and_then(http::uri::PathAndQuery::query),
        authority: record.authority.as_ref().map(text).map(Cow::Owned),
        protocol: protocol(record.protocol),
        peer: record.peer,
        status: record.status.map(|status| status.as_u16()),
        grpc_status: record.grpc_status,
        response_bytes: record.response_bytes,
        duration_ms: milliseconds(record.took),
        cluster: record.cluster.as_deref(),
        endpoint: record.endpoint,
        version: record.version.as_deref(),
        pinned: record.pinned,
        error,
        detail,
        request_id: record.request_id.as_ref().map(text).map(Cow::Owned),
        trace_id: record.trace.map(|span| format!("{:032x}", span.trace)),
        span_id: record.trace.map(|span| format!("{:016x}", span.id)),
    };
    // Neither a map with keys that are no text nor a type of another's: it can be written.
    if let Ok(text) = serde_json::to_string(&line) {
        out.push_str(&text);
        out.push('\n');
    }
}

/// What went wrong, for `error.type`, and what is to be said of it.
pub(super) fn error(ended: &Ended) -> (Option<&'static str>, Option<&str>) {
    match ended {
        Ended::Whole => (None, None),
        Ended::ByClient => (Some("client_closed"), None),
        Ended::Drained => (Some("drained"), None),
        Ended::Refused(why) => (Some("refused"), Some(why)),
        Ended::Failed(class) => {
            let name = match class {
                ErrorClass::Response => "response",
                ErrorClass::Timeout => "timeout",
                ErrorClass::Reset => "reset",
                ErrorClass::Connect => "connect",
            };
            (Some(name), None)
        }
    }
}

/// `network.protocol.version`
pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        Version::HTTP_2 => "2",
        _ => "3",
    }
}

fn milliseconds(time: Duration) -> f64 {
    let us = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    f64::from(us) / 1_000.0
}

/// RFC 3339, to the millisecond.
fn timestamp(since_epoch: Duration) -> String {
    let whole_milliseconds = i32::try_from(since_epoch.subsec_millis()).unwrap_or_default();
    prost_types::Timestamp {
        seconds: i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX),
        nanos: whole_milliseconds * 1_000_000,
    }
    .to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use super::line;
    use crate::model::{Ended, ErrorClass, Record, Span};
    use http::{HeaderValue, Method, StatusCode, Version};
    use serde_json::{Value, json};
    use std::time::Duration;

    /// A request that went well, with everything known.
    pub(crate) fn record() -> Record {
        Record {
            began: Duration::from_millis(1_795_548_285_097),
            took: Duration::from_micros(1_234),
            inbound: false,
            peer: "10.0.0.7:4000".parse().unwrap(),
            method: Method::GET,
            target: Some("/cart?id=\"1\"".replace('"', "%22").parse().unwrap()),
            authority: Some(HeaderValue::from_static("checkout.shop")),
            protocol: Version::HTTP_11,
            request_id: Some(HeaderValue::from_static("r-1")),
            status: Some(StatusCode::OK),
            grpc_status: None,
            response_bytes: 42,
            cluster: Some("outbound|80|v2|checkout.shop.svc.cluster.local".into()),
            endpoint: Some("10.0.0.9:8080".parse().unwrap()),
            version: Some("v2".into()),
            pinned: true,
            ended: Ended::Whole,
            trace: Some(Span {
                trace: 1,
                id: 2,
                parent: Some(3),
            }),
        }
    }

    fn written(record: &Record) -> Value {
        let mut text = String::new();
        line(record, &mut text);
        assert!(text.ends_with('\n') && text.matches('\n').count() == 1);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_line_says_what_is_known() {
        let expected = json!({
            "log": "access",
            "timestamp": "2026-11-24T19:24:45.097Z",
            "direction": "outbound",
            "http.request.method": "GET",
            "url.path": "/cart",
            "url.query": "id=%221%22",
            "server.address": "checkout.shop",
            "network.protocol.version": "1.1",
            "client.address": "10.0.0.7:4000",
            "http.response.status_code": 200,
            "http.response.body.size": 42,
            "duration_ms": 1.234,
            "cluster": "outbound|80|v2|checkout.shop.svc.cluster.local",
            "endpoint": "10.0.0.9:8080",
            "version": "v2",
            "pinned": true,
            "request_id": "r-1",
            "trace_id": "00000000000000000000000000000001",
            "span_id": "0000000000000002",
        });
        assert_eq!(written(&record()), expected);
    }

    #[test]
    fn what_a_client_writes_can_not_break_a_line() {
        let hostile = Record {
            authority: Some(HeaderValue::from_bytes(b"a\"\xff,\\").unwrap()),
            request_id: Some(HeaderValue::from_bytes(b"\t{\"log\":\"access\"}").unwrap()),
            ..record()
        };
        let line = written(&hostile);
        assert_eq!(line["server.address"], "a\"\u{fffd},\\");
        assert_eq!(line["request_id"], "\t{\"log\":\"access\"}");
    }

    #[test]
    fn a_line_says_what_went_wrong() {
        for (ended, error, detail) in [
            (Ended::ByClient, "client_closed", Value::Null),
            (Ended::Failed(ErrorClass::Reset), "reset", Value::Null),
            (
                Ended::Refused("no such host".into()),
                "refused",
                "no such host".into(),
            ),
        ] {
            let line = written(&Record { ended, ..record() });
            assert_eq!(line["error.type"], error);
            assert_eq!(line["detail"], detail);
        }
    }
}
