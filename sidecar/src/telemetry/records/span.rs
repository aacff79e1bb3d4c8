//! Spans as OTLP's JSON encoding has them. Pure.
//!
//! Source: opentelemetry-proto, `ExportTraceServiceRequest`; the OTLP specification, "JSON Protobuf
//! Encoding": ids in hexadecimal, 64-bit numbers as text, enums as numbers.

use super::access_log::{error, protocol};
use crate::{
    model::{Record, Span},
    xds::Identity,
};
use serde_json::{Value, json};
use std::time::Duration;

/// `SPAN_KIND_SERVER`, `SPAN_KIND_CLIENT`
const KIND: (u8, u8) = (2, 3);
/// `STATUS_CODE_ERROR`
const ERROR: u8 = 2;

/// What is posted to a collector for these.
pub(super) fn request(identity: &Identity, records: &[Record]) -> Value {
    let spans: Vec<Value> = records.iter().filter_map(span).collect();
    let Identity {
        namespace,
        name,
        zone,
    } = identity;
    let mut resource = vec![
        text("service.name", name),
        text("service.namespace", namespace),
        text("service.instance.id", &format!("{namespace}/{name}")),
    ];
    if !zone.is_empty() {
        resource.push(text("cloud.availability_zone", zone));
    }
    json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{
            "scope": {"name": "segue-sidecar", "version": env!("CARGO_PKG_VERSION")},
            "spans": spans,
        }],
    }]})
}

fn span(record: &Record) -> Option<Value> {
    let Span { trace, id, parent } = record.trace?;
    let (error_type, detail) = error(&record.ended);
    let fails =
        error_type.is_some() || record.status.is_some_and(|status| status.is_server_error());
    let status = match (fails, detail) {
        (false, _) => json!({}),
        (true, None) => json!({"code": ERROR}),
        (true, Some(detail)) => json!({"code": ERROR, "message": detail}),
    };
    Some(json!({
        "traceId": format!("{trace:032x}"),
        "spanId": format!("{id:016x}"),
        "parentSpanId": parent.map_or_else(String::new, |parent| format!("{parent:016x}")),
        "name": record.method.as_str(),
        "kind": if record.inbound { KIND.0 } else { KIND.1 },
        "startTimeUnixNano": record.began.as_nanos().to_string(),
        "endTimeUnixNano": nanoseconds(record.began + record.took),
        "attributes": attributes(record, error_type),
        "status": status,
    }))
}

fn attributes(record: &Record, error_type: Option<&str>) -> Vec<Value> {
    let mut all = vec![
        text("http.request.method", record.method.as_str()),
        text("network.protocol.version", protocol(record.protocol)),
        text("client.address", &record.peer.ip().to_string()),
    ];
    let mut known = |name: &str, value: Option<&str>| {
        all.extend(value.map(|value| text(name, value)));
    };
    let header = |value: &Option<http::HeaderValue>| {
        let value = value.as_ref()?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    known(
        "url.path",
        record.target.as_ref().map(http::uri::PathAndQuery::path),
    );
    known("server.address", header(&record.authority).as_deref());
    known("segue.request_id", header(&record.request_id).as_deref());
    known("segue.cluster", record.cluster.as_deref());
    known("segue.version", record.version.as_deref());
    known("error.type", error_type);
    let endpoint = record.endpoint.map(|endpoint| endpoint.to_string());
    known("network.peer.address", endpoint.as_deref());
    let status = record.status.map(|status| u32::from(status.as_u16()));
    for (name, value) in [
        ("http.response.status_code", status),
        ("rpc.grpc.status_code", record.grpc_status),
    ] {
        let value = value.map(|value| value.to_string());
        all.extend(value.map(|value| json!({"key": name, "value": {"intValue": value}})));
    }
    all
}

fn text(name: &str, value: &str) -> Value {
    json!({"key": name, "value": {"stringValue": value}})
}

fn nanoseconds(since_epoch: Duration) -> String {
    since_epoch.as_nanos().to_string()
}

#[cfg(test)]
mod tests {
    use super::{super::access_log::tests::record, request};
    use crate::{
        model::{Ended, Record},
        xds::Identity,
    };
    use serde_json::json;

    fn identity() -> Identity {
        Identity {
            zone: "a".to_owned(),
            ..("shop/web-0".parse().unwrap())
        }
    }

    #[test]
    fn a_request_is_a_span_of_its_trace() {
        let refused = Record {
            inbound: true,
            ended: Ended::Refused("why".into()),
            ..record()
        };
        let sent = request(&identity(), &[record(), refused]);
        let resource = &sent["resourceSpans"][0];
        let named = json!({"key": "service.name", "value": {"stringValue": "web-0"}});
        assert_eq!(resource["resource"]["attributes"][0], named);
        let spans = &resource["scopeSpans"][0]["spans"];
        assert_eq!(spans[0]["traceId"], "00000000000000000000000000000001");
        assert_eq!(spans[0]["spanId"], "0000000000000002");
        assert_eq!(spans[0]["parentSpanId"], "0000000000000003");
        assert_eq!(spans[0]["kind"], 3);
        assert_eq!(spans[0]["startTimeUnixNano"], "1795548285097000000");
        assert_eq!(spans[0]["endTimeUnixNano"], "1795548285098234000");
        assert_eq!(spans[0]["status"], json!({}));
        let code = json!({"key": "http.response.status_code", "value": {"intValue": "200"}});
        let attributes = spans[0]["attributes"].as_array().unwrap();
        assert!(attributes.contains(&code), "{attributes:?}");
        assert_eq!(spans[1]["kind"], 2);
        assert_eq!(spans[1]["status"], json!({"code": 2, "message": "why"}));
    }

    #[test]
    fn what_belongs_to_no_trace_is_no_span() {
        let alone = Record {
            trace: None,
            ..record()
        };
        let sent = request(&identity(), &[alone]);
        assert_eq!(
            sent["resourceSpans"][0]["scopeSpans"][0]["spans"],
            json!([])
        );
    }
}
