//! The metrics as Prometheus reads them. By cluster, not by endpoint: endpoints come and go.

use super::loads::{Downstream, Loads, Total};
use crate::model::EndpointLoad;
use segue_proto::names::metric::LATENCY_BOUNDS_US;
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
}

struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&EndpointLoad) -> u64,
}

const FAMILIES: [Family; 10] = [
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
        name: "segue_upstream_requests_failed_total",
        kind: "counter",
        help: "5xx answers, resets, time-outs, failed connects.",
        value: |load| load.errors.total(),
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
    let name = "segue_downstream_connections_refused_total";
    head(
        &mut out,
        name,
        "counter",
        "Downstream connections closed at once: a worker had --max-connections.",
    );
    line(&mut out, name, "", &downstream.refused.to_string());
    for family in FAMILIES {
        head(&mut out, family.name, family.kind, family.help);
        for total in totals {
            let value = (family.value)(&total.load).to_string();
            line(&mut out, family.name, &labels(total), &value);
        }
    }
    outcomes(&mut out, totals);
    durations(&mut out, totals);
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

fn durations(out: &mut String, totals: &[Total]) {
    let name = "segue_upstream_request_duration_seconds";
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

fn labels(total: &Total) -> String {
    let name = total.cluster.replace('\\', "\\\\").replace('"', "\\\"");
    format!("cluster=\"{}\"", name.replace('\n', "\\n"))
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
        model::EndpointLoad,
        telemetry::loads::{Downstream, Total},
    };
    use std::sync::Arc;

    #[test]
    fn totals_are_written_by_cluster_with_a_cumulative_histogram() {
        let mut load = EndpointLoad {
            issued: 2,
            ..EndpointLoad::default()
        };
        load.latency.record(300);
        load.latency.record(100);
        let total = Total {
            cluster: Arc::from("outbound|80|v1|a\"b"),
            load,
            ejected: 1,
            refused: 6,
        };
        let process = Process {
            connected: true,
            sequence: 7,
            uptime: 1.5,
        };
        let downstream = Downstream {
            connections: 3,
            refused: 9,
        };
        let text = render(&[total], downstream, process);
        for expected in [
            "segue_control_plane_connected 1\n",
            "segue_snapshot_sequence 7\n",
            "segue_downstream_connections_active 3\n",
            "segue_downstream_connections_refused_total 9\n",
            "segue_upstream_requests_total{cluster=\"outbound|80|v1|a\\\"b\"} 2\n",
            "_bucket{cluster=\"outbound|80|v1|a\\\"b\",le=\"0.000256\"} 1\n",
            "_bucket{cluster=\"outbound|80|v1|a\\\"b\",le=\"0.000362\"} 2\n",
            "_bucket{cluster=\"outbound|80|v1|a\\\"b\",le=\"+Inf\"} 2\n",
            "_sum{cluster=\"outbound|80|v1|a\\\"b\"} 0.000400\n",
            "segue_upstream_requests_refused_total{cluster=\"outbound|80|v1|a\\\"b\"} 6\n",
            "segue_upstream_endpoints_ejected{cluster=\"outbound|80|v1|a\\\"b\"} 1\n",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }
}
