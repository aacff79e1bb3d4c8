//! The metrics as Prometheus reads them. By service and version, not by endpoint: endpoints come and go.
//!
//! Durations have OpenTelemetry's names for what a client and what a server sees; `inbound` is what
//! the Pod's own application was asked, `outbound` what it asked of others.

use super::loads::{Downstream, Loads, Total};
use crate::model::EndpointLoad;
use segue_proto::names::{CONTROL_SUFFIX, ClusterName, metric::LATENCY_BOUNDS_US};
use std::fmt::Write as _;

/// What is known of the process besides its load.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// The control plane answers.
    pub connected: bool,
    /// The configuration in force.
    pub sequence: u64,
    /// Seconds since the process's start.
    pub uptime: f64,
    /// What was told of requests ([`super::Told::counts`]).
    pub told: [u64; 3],
}

struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&EndpointLoad) -> u64,
}

const FAMILIES: [Family; 9] = [
    Family {
        name: "segue_upstream_requests_total",
        kind: "counter",
        help: "Requests sent.",
        value: |load| load.issued,
    },
    Family {
        name: "segue_upstream_requests_succeeded_total",
        kind: "counter",
        help: "Responses that were not errors.",
        value: |load| load.succeeded,
    },
    Family {
        name: "segue_upstream_requests_active",
        kind: "gauge",
        help: "Requests under way.",
        value: |load| load.requests_active,
    },
    Family {
        name: "segue_upstream_connections_active",
        kind: "gauge",
        help: "Opaque connections open.",
        value: |load| load.connections_active,
    },
    Family {
        name: "segue_upstream_connections_opened_total",
        kind: "counter",
        help: "Opaque connections opened.",
        value: |load| load.connections_opened,
    },
    Family {
        name: "segue_upstream_connects_total",
        kind: "counter",
        help: "Connections tried.",
        value: |load| load.connects,
    },
    Family {
        name: "segue_upstream_connect_failures_total",
        kind: "counter",
        help: "Connects that failed.",
        value: |load| load.connect_failures,
    },
    Family {
        name: "segue_new_sessions_total",
        kind: "counter",
        help: "Responses that began a session.",
        value: |load| load.new_sessions,
    },
    Family {
        name: "segue_pinned_requests_total",
        kind: "counter",
        help: "Requests placed by a live session token.",
        value: |load| load.pinned_requests,
    },
];

/// All metrics.
pub fn text(loads: &Loads, process: Process) -> String {
    render(&loads.totals(), loads.downstream(), process)
}

fn render(totals: &[Total], downstream: Downstream, process: Process) -> String {
    let mut out = String::new();
    let mut gauge = |name: &str, help: &str, value: String| {
        head(&mut out, name, "gauge", help);
        line(&mut out, name, "", &value);
    };
    gauge(
        "segue_control_plane_connected",
        "1 while the control plane answers.",
        u8::from(process.connected).to_string(),
    );
    gauge(
        "segue_snapshot_sequence",
        "The number of the configuration in force.",
        process.sequence.to_string(),
    );
    gauge(
        "segue_uptime_seconds",
        "Since the process's start.",
        process.uptime.to_string(),
    );
    gauge(
        "segue_downstream_connections_active",
        "Downstream connections open.",
        downstream.connections.to_string(),
    );
    counters(&mut out, downstream, process.told);
    for family in FAMILIES {
        head(&mut out, family.name, family.kind, family.help);
        for total in totals {
            let value = (family.value)(&total.load).to_string();
            line(&mut out, family.name, &labels(total), &value);
        }
    }
    failed(&mut out, totals);
    outcomes(&mut out, totals);
    for (direction, name) in [
        (Direction::Inbound, "http_server_request_duration_seconds"),
        (Direction::Outbound, "http_client_request_duration_seconds"),
    ] {
        let of_it = totals.iter().filter(|total| direction == of(total));
        durations(&mut out, name, of_it);
    }
    out
}

fn outcomes(out: &mut String, totals: &[Total]) {
    let name = "segue_upstream_endpoints_ejected";
    head(
        out,
        name,
        "gauge",
        "Endpoints kept out by outlier detection.",
    );
    for total in totals {
        line(out, name, &labels(total), &total.ejected.to_string());
    }
    let name = "segue_upstream_requests_refused_total";
    head(
        out,
        name,
        "counter",
        "Requests and retries that a circuit breaker did not let through.",
    );
    for total in totals {
        line(out, name, &labels(total), &total.refused.to_string());
    }
}

/// What is counted besides requests.
fn counters(out: &mut String, downstream: Downstream, told: [u64; 3]) {
    let [records_lost, spans_sent, spans_lost] = told;
    for (name, help, value) in [
        (
            "segue_downstream_connections_refused_total",
            "Downstream connections closed at once: a worker had --max-connections.",
            downstream.refused,
        ),
        (
            "segue_records_lost_total",
            "Requests that neither access log nor traces know of: too many came at once.",
            records_lost,
        ),
        (
            "segue_spans_sent_total",
            "Spans that the collector took.",
            spans_sent,
        ),
        (
            "segue_spans_lost_total",
            "Spans that the collector did not take.",
            spans_lost,
        ),
    ] {
        head(out, name, "counter", help);
        line(out, name, "", &value.to_string());
    }
}

/// By what the application was asked, or asked of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Inbound,
    Outbound,
}

fn of(total: &Total) -> Direction {
    match total.cluster.parse() {
        Ok(ClusterName::Inbound { .. }) => Direction::Inbound,
        _ => Direction::Outbound,
    }
}

/// Failed requests, by why.
fn failed(out: &mut String, totals: &[Total]) {
    let name = "segue_upstream_requests_failed_total";
    head(
        out,
        name,
        "counter",
        "Requests that failed: 5xx answers (response), time-outs, resets, failed connects.",
    );
    for total in totals {
        let errors = total.load.errors;
        for (kind, count) in [
            ("response", errors.response),
            ("timeout", errors.timeout),
            ("reset", errors.reset),
            ("connect", errors.connect),
        ] {
            let labels = format!("{},error_type=\"{kind}\"", labels(total));
            line(out, name, &labels, &count.to_string());
        }
    }
}

fn durations<'t>(out: &mut String, name: &str, totals: impl Iterator<Item = &'t Total>) {
    head(
        out,
        name,
        "histogram",
        "From the request's start to the response's end.",
    );
    for total in totals {
        let latency = &total.load.latency;
        let labels = labels(total);
        let mut below = 0;
        let (bucket, sum, count) = (
            format!("{name}_bucket"),
            format!("{name}_sum"),
            format!("{name}_count"),
        );
        for (bound, in_bucket) in LATENCY_BOUNDS_US.iter().zip(latency.counts) {
            below += in_bucket;
            let labels = format!("{labels},le=\"{}\"", seconds(*bound));
            line(out, &bucket, &labels, &below.to_string());
        }
        let labels_inf = format!("{labels},le=\"+Inf\"");
        line(out, &bucket, &labels_inf, &below.to_string());
        let total_us = latency.sums_us.iter().sum();
        line(out, &sum, &labels, &seconds(total_us));
        line(out, &count, &labels, &below.to_string());
    }
}

/// Microseconds in seconds, exactly.
fn seconds(us: u64) -> String {
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// Of which service and version it is; `group`: of the old version's sessions only those that are
/// compared with the new one's.
fn labels(total: &Total) -> String {
    let known = total.version.as_deref().unwrap_or_default();
    let (direction, service, port, version) = match total.cluster.parse() {
        Ok(ClusterName::Inbound { port }) => ("inbound", String::new(), port, known.to_owned()),
        Ok(ClusterName::Outbound {
            port,
            version,
            host,
        }) => ("outbound", host, port, version),
        _ => ("outbound", total.cluster.to_string(), 0, known.to_owned()),
    };
    let (version, group) = match version.strip_suffix(CONTROL_SUFFIX) {
        Some(version) => (version, "control"),
        None => (&*version, ""),
    };
    format!(
        "direction=\"{direction}\",service=\"{}\",port=\"{port}\",version=\"{}\",group=\"{group}\"",
        escaped(&service),
        escaped(version)
    )
}

fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String does not fail.
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}").ok();
}

fn line(out: &mut String, name: &str, labels: &str, value: &str) {
    if labels.is_empty() {
        writeln!(out, "{name} {value}").ok();
    } else {
        writeln!(out, "{name}{{{labels}}} {value}").ok();
    }
}

#[cfg(test)]
mod tests {
    use super::{Process, render};
    use crate::{
        model::{EndpointLoad, ErrorClass},
        telemetry::loads::{Downstream, Total},
    };
    use std::sync::Arc;

    fn total(cluster: &str, version: Option<&str>) -> Total {
        let mut load = EndpointLoad {
            issued: 2,
            ..EndpointLoad::default()
        };
        load.latency.record(300);
        load.latency.record(100);
        load.errors.count(ErrorClass::Timeout);
        Total {
            cluster: Arc::from(cluster),
            version: version.map(Arc::from),
            load,
            ejected: 1,
            refused: 6,
        }
    }

    fn written(totals: &[Total]) -> String {
        let process = Process {
            connected: true,
            sequence: 7,
            uptime: 1.5,
            told: [4, 5, 6],
        };
        let downstream = Downstream {
            connections: 3,
            refused: 9,
        };
        render(totals, downstream, process)
    }

    #[test]
    fn the_process_says_how_it_is() {
        let text = written(&[]);
        for expected in [
            "segue_control_plane_connected 1\n",
            "segue_snapshot_sequence 7\n",
            "segue_downstream_connections_active 3\n",
            "segue_downstream_connections_refused_total 9\n",
            "segue_records_lost_total 4\n",
            "segue_spans_sent_total 5\n",
            "segue_spans_lost_total 6\n",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn totals_are_written_by_service_and_version_with_a_cumulative_histogram() {
        let text = written(&[total("outbound|80|v1.control|a\"b", None)]);
        let of_it = r#"direction="outbound",service="a\"b",port="80",version="v1",group="control""#;
        for expected in [
            format!("segue_upstream_requests_total{{{of_it}}} 2\n"),
            format!("segue_upstream_requests_failed_total{{{of_it},error_type=\"timeout\"}} 1\n"),
            format!("segue_upstream_requests_failed_total{{{of_it},error_type=\"reset\"}} 0\n"),
            format!("http_client_request_duration_seconds_bucket{{{of_it},le=\"0.000256\"}} 1\n"),
            format!("http_client_request_duration_seconds_bucket{{{of_it},le=\"0.000362\"}} 2\n"),
            format!("http_client_request_duration_seconds_bucket{{{of_it},le=\"+Inf\"}} 2\n"),
            format!("http_client_request_duration_seconds_sum{{{of_it}}} 0.000400\n"),
            format!("segue_upstream_endpoints_ejected{{{of_it}}} 1\n"),
            format!("segue_upstream_requests_refused_total{{{of_it}}} 6\n"),
        ] {
            assert!(text.contains(&expected), "{expected}\n{text}");
        }
    }

    #[test]
    fn the_own_application_is_a_server_and_has_its_version() {
        let text = written(&[total("inbound|8080||", Some("v2"))]);
        let of_it = r#"direction="inbound",service="",port="8080",version="v2",group="""#;
        let count = format!("http_server_request_duration_seconds_count{{{of_it}}} 2\n");
        assert!(text.contains(&count), "{text}");
        assert!(!text.contains("http_client_request_duration_seconds_count"));
    }
}
