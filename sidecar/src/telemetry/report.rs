//! The books as LRS spells them. Pure.

use super::loads::Line;
use crate::{model::LatencyHistogram, xds::address};
use envoy_types::pb::{
    envoy::config::{
        core::v3::Locality,
        endpoint::v3::{
            ClusterStats, EndpointLoadMetricStats, UpstreamEndpointStats, UpstreamLocalityStats,
        },
    },
    google::protobuf::Duration as ProtoDuration,
};
use segue_proto::names::metric;
use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

/// One cluster's part of a report over `interval`.
pub(super) fn cluster_stats(
    cluster: &Arc<str>,
    endpoints: &BTreeMap<SocketAddr, Line>,
    interval: Duration,
) -> ClusterStats {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(address, line)| endpoint_stats(*address, line))
        .collect();
    let sum = |of: fn(&UpstreamEndpointStats) -> u64| endpoints.iter().map(of).sum();
    let locality = UpstreamLocalityStats {
        locality: Some(Locality::default()),
        total_successful_requests: sum(|stats| stats.total_successful_requests),
        total_requests_in_progress: sum(|stats| stats.total_requests_in_progress),
        total_error_requests: sum(|stats| stats.total_error_requests),
        total_issued_requests: sum(|stats| stats.total_issued_requests),
        upstream_endpoint_stats: endpoints,
        ..UpstreamLocalityStats::default()
    };
    ClusterStats {
        cluster_name: cluster.to_string(),
        upstream_locality_stats: vec![locality],
        load_report_interval: Some(ProtoDuration {
            seconds: i64::try_from(interval.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(interval.subsec_nanos()).unwrap_or(0),
        }),
        ..ClusterStats::default()
    }
}

fn endpoint_stats(at: SocketAddr, line: &Line) -> UpstreamEndpointStats {
    let load = &line.load;
    let mut metrics = Vec::new();
    latency(&load.latency, &mut metrics);
    for (name, value) in [
        (metric::NEW_SESSIONS, load.new_sessions),
        (metric::PINNED_REQUESTS, load.pinned_requests),
        (metric::CONNECTIONS_ACTIVE, load.connections_active),
        (metric::CONNECTIONS_OPENED, load.connections_opened),
        (metric::EJECTED, u64::from(line.ejected)),
        (metric::ERRORS_RESPONSE, load.errors.response),
        (metric::ERRORS_TIMEOUT, load.errors.timeout),
        (metric::ERRORS_RESET, load.errors.reset),
        (metric::ERRORS_CONNECT, load.errors.connect),
        (metric::CONNECTS, load.connects),
        (metric::CONNECTS_FAILED, load.connect_failures),
    ] {
        if value > 0 {
            metrics.push(stats(name.to_owned(), value, value));
        }
    }
    UpstreamEndpointStats {
        address: Some(address(at)),
        total_successful_requests: load.succeeded,
        total_requests_in_progress: load.requests_active,
        total_error_requests: load.errors.total(),
        total_issued_requests: load.issued,
        load_metric_stats: metrics,
        ..UpstreamEndpointStats::default()
    }
}

fn latency(histogram: &LatencyHistogram, metrics: &mut Vec<EndpointLoadMetricStats>) {
    let buckets = histogram.counts.iter().zip(&histogram.sums_us);
    for (bound, (count, sum)) in metric::LATENCY_BOUNDS_US.iter().zip(buckets) {
        if *count > 0 {
            let name = format!("{}{bound}", metric::LATENCY_BUCKET_PREFIX);
            metrics.push(stats(name, *count, *sum));
        }
    }
}

fn stats(metric_name: String, count: u64, total: u64) -> EndpointLoadMetricStats {
    EndpointLoadMetricStats {
        metric_name,
        num_requests_finished_with_metric: count,
        total_metric_value: float(total),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact to 2^53, and no count grows beyond"
)]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::cluster_stats;
    use crate::{
        model::{EndpointLoad, ErrorCounts},
        telemetry::loads::Line,
    };
    use std::{collections::BTreeMap, sync::Arc, time::Duration};

    #[test]
    fn a_report_carries_counts_levels_and_the_latency_buckets_in_use() {
        let mut load = EndpointLoad {
            issued: 3,
            succeeded: 2,
            errors: ErrorCounts {
                response: 1,
                timeout: 2,
                reset: 3,
                connect: 4,
            },
            connects: 6,
            connect_failures: 5,
            requests_active: 4,
            new_sessions: 5,
            ..EndpointLoad::default()
        };
        load.latency.record(300);
        load.latency.record(310);
        let line = Line {
            load,
            ejected: true,
        };
        let endpoints = BTreeMap::from([
            ("10.0.0.1:80".parse().unwrap(), line),
            ("10.0.0.2:80".parse().unwrap(), Line::default()),
        ]);
        let stats = cluster_stats(&Arc::from("c"), &endpoints, Duration::from_millis(250));
        assert_eq!(stats.load_report_interval.unwrap().nanos, 250_000_000);
        let locality = &stats.upstream_locality_stats[0];
        assert_eq!(locality.total_issued_requests, 3);
        assert_eq!(locality.total_error_requests, 10);
        let metrics: Vec<_> = locality.upstream_endpoint_stats[0]
            .load_metric_stats
            .iter()
            .map(|stats| {
                (
                    stats.metric_name.as_str(),
                    stats.num_requests_finished_with_metric,
                    stats.total_metric_value.to_string(),
                )
            })
            .collect();
        assert_eq!(
            metrics,
            [
                ("segue.rtime_us.le.362", 2, "610".to_owned()),
                ("segue.new_sessions", 5, "5".to_owned()),
                ("segue.ejected", 1, "1".to_owned()),
                ("segue.errors.response", 1, "1".to_owned()),
                ("segue.errors.timeout", 2, "2".to_owned()),
                ("segue.errors.reset", 3, "3".to_owned()),
                ("segue.errors.connect", 4, "4".to_owned()),
                ("segue.cx_connect", 6, "6".to_owned()),
                ("segue.cx_connect_fail", 5, "5".to_owned()),
            ]
        );
        assert!(
            locality.upstream_endpoint_stats[1]
                .load_metric_stats
                .is_empty()
        );
    }
}
