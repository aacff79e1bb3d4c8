//! LRS: what proxies measured.

use super::{Responses, Server, no_node, spawn_serving};
use crate::{
    model::{EndpointSample, LoadSample, Observed, Timestamp},
    xds::translate::{Node, duration},
};
use envoy_types::pb::envoy::{
    config::{
        core::v3::{Address, address, socket_address::PortSpecifier},
        endpoint::v3::{
            ClusterStats, EndpointLoadMetricStats, UpstreamEndpointStats, UpstreamLocalityStats,
        },
    },
    service::load_stats::v3::{
        LoadStatsRequest, LoadStatsResponse, load_reporting_service_server::LoadReportingService,
    },
};
use segue_proto::names::metric;
use std::net::SocketAddr;
use tonic::{Request, Response, Status, Streaming};

#[tonic::async_trait]
impl LoadReportingService for Server {
    type StreamLoadStatsStream = Responses<LoadStatsResponse>;

    async fn stream_load_stats(
        &self,
        request: Request<Streaming<LoadStatsRequest>>,
    ) -> Result<Response<Self::StreamLoadStatsStream>, Status> {
        let (server, requests) = (self.clone(), request.into_inner());
        Ok(spawn_serving(|responses| {
            serve(server, requests, responses)
        }))
    }
}

type Sender = tokio::sync::mpsc::Sender<Result<LoadStatsResponse, Status>>;

async fn serve(
    server: Server,
    mut requests: Streaming<LoadStatsRequest>,
    responses: Sender,
) -> Result<(), Status> {
    let mut ending = server.ending();
    let mut interval = server.report_interval.clone();
    let mut node = None;
    loop {
        tokio::select! {
            () = ending.wished() => return Ok(()),
            () = responses.closed() => return Ok(()),
            request = requests.message() => {
                let Ok(Some(request)) = request else { return Ok(()) };
                let first = node.is_none();
                let node = match (&node, &request.node) {
                    (Some(node), _) => node,
                    (None, said) => {
                        let read = said.as_ref().and_then(Node::read).ok_or_else(no_node)?;
                        node.insert(read)
                    }
                };
                if !first || !request.cluster_stats.is_empty() {
                    let sample = sample(node, (server.clock)(), &request);
                    if server.observed.send(Observed::Load(sample)).await.is_err() {
                        return Ok(());
                    }
                }
                if first && responses.send(Ok(wish(&mut interval))).await.is_err() {
                    return Ok(());
                }
            }
            Ok(()) = interval.changed(), if node.is_some() => {
                if responses.send(Ok(wish(&mut interval))).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

fn wish(interval: &mut tokio::sync::watch::Receiver<std::time::Duration>) -> LoadStatsResponse {
    LoadStatsResponse {
        send_all_clusters: true,
        report_endpoint_granularity: true,
        load_reporting_interval: Some(duration(*interval.borrow_and_update())),
        clusters: Vec::new(),
    }
}

fn sample(node: &Node, at: Timestamp, request: &LoadStatsRequest) -> LoadSample {
    LoadSample {
        proxy: node.id.clone(),
        workload: node.workload.clone(),
        at,
        endpoints: request.cluster_stats.iter().flat_map(cluster).collect(),
    }
}

fn cluster(stats: &ClusterStats) -> impl Iterator<Item = EndpointSample> {
    stats.upstream_locality_stats.iter().flat_map(|locality| {
        if locality.upstream_endpoint_stats.is_empty() {
            return vec![whole_locality(&stats.cluster_name, locality)];
        }
        let endpoints = locality.upstream_endpoint_stats.iter();
        endpoints
            .map(|stats_of| endpoint(&stats.cluster_name, stats_of))
            .collect()
    })
}

/// From a reporter that does not tell endpoints apart.
fn whole_locality(cluster: &str, stats: &UpstreamLocalityStats) -> EndpointSample {
    let mut sample = EndpointSample {
        cluster: cluster.to_owned(),
        issued: stats.total_issued_requests,
        succeeded: stats.total_successful_requests,
        errors: stats.total_error_requests,
        requests_active: stats.total_requests_in_progress,
        connections_active: stats.total_active_connections,
        connections_opened: stats.total_new_connections,
        ..EndpointSample::default()
    };
    for named in &stats.load_metric_stats {
        add(&mut sample, named);
    }
    sample
}

fn endpoint(cluster: &str, stats: &UpstreamEndpointStats) -> EndpointSample {
    let mut sample = EndpointSample {
        cluster: cluster.to_owned(),
        address: stats.address.as_ref().and_then(socket_address),
        issued: stats.total_issued_requests,
        succeeded: stats.total_successful_requests,
        errors: stats.total_error_requests,
        requests_active: stats.total_requests_in_progress,
        ..EndpointSample::default()
    };
    for named in &stats.load_metric_stats {
        add(&mut sample, named);
    }
    sample
}

fn add(sample: &mut EndpointSample, named: &EndpointLoadMetricStats) {
    let count = named.num_requests_finished_with_metric;
    let name = named.metric_name.as_str();
    if let Some(bound) = name.strip_prefix(metric::LATENCY_BUCKET_PREFIX) {
        // Only the agreed bounds: a reporter must not make tables grow.
        if let Some(bound) = bound
            .parse()
            .ok()
            .filter(|bound| metric::LATENCY_BOUNDS_US.contains(bound))
        {
            let requests = sample.latency.entry(bound).or_default();
            *requests = requests.saturating_add(count);
            let sum = at_most(named.total_metric_value, count.saturating_mul(bound));
            sample.latency_sum_us = sample.latency_sum_us.saturating_add(sum);
        }
        return;
    }
    match name {
        metric::NEW_SESSIONS => sample.new_sessions = count,
        metric::PINNED_REQUESTS => sample.pinned_requests = count,
        metric::CONNECTIONS_ACTIVE => sample.connections_active = count,
        metric::CONNECTIONS_OPENED => sample.connections_opened = count,
        metric::EJECTED => sample.ejected = count > 0,
        metric::ERRORS_RESPONSE => sample.error_classes.response = count,
        metric::ERRORS_TIMEOUT => sample.error_classes.timeout = count,
        metric::ERRORS_RESET => sample.error_classes.reset = count,
        metric::ERRORS_CONNECT => sample.error_classes.connect = count,
        metric::CONNECTS => sample.connects = count,
        metric::CONNECTS_FAILED => sample.connects_failed = count,
        _ => {}
    }
}

/// A sum as a reporter says it, within what its bucket allows.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and what is no number becomes 0"
)]
fn at_most(sum: f64, most: u64) -> u64 {
    (sum as u64).min(most)
}

fn socket_address(address: &Address) -> Option<SocketAddr> {
    let Some(address::Address::SocketAddress(socket)) = &address.address else {
        return None;
    };
    let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else {
        return None;
    };
    Some(SocketAddr::new(
        socket.address.parse().ok()?,
        u16::try_from(port).ok()?,
    ))
}
