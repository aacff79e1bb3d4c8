//! The services over a real loopback connection.

use super::Server;
use crate::{
    model::{ErrorClasses, Generation, LoadSample, Observed, ProxyState, Timestamp},
    xds::{
        fixture::{Make, snapshot},
        snapshot::Snapshot,
        translate::ResourceType,
    },
};
use envoy_types::pb::envoy::service::load_stats::v3::{
    LoadStatsRequest, load_reporting_service_client::LoadReportingServiceClient,
};
use envoy_types::pb::{
    envoy::{
        config::{
            core::v3::{
                Address, HealthStatus, Node, SocketAddress, address, socket_address::PortSpecifier,
            },
            endpoint::v3::{
                ClusterStats, EndpointLoadMetricStats, UpstreamEndpointStats, UpstreamLocalityStats,
            },
        },
        service::{
            discovery::v3::{
                DeltaDiscoveryRequest, DeltaDiscoveryResponse,
                aggregated_discovery_service_client::AggregatedDiscoveryServiceClient,
            },
            health::v3::{
                ClusterEndpointsHealth, EndpointHealth, EndpointHealthResponse, HealthCheckRequest,
                HealthCheckRequestOrEndpointHealthResponse, LocalityEndpointsHealth,
                health_check_request_or_endpoint_health_response::RequestType,
                health_discovery_service_client::HealthDiscoveryServiceClient,
            },
        },
    },
    google::protobuf::{Struct, Value, value::Kind},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Streaming, transport::Channel};

struct Running {
    server: Server,
    snapshots: watch::Sender<Arc<Snapshot>>,
    interval: watch::Sender<Duration>,
    observed: mpsc::Receiver<Observed>,
    channel: Channel,
    address: std::net::SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

async fn connect(address: std::net::SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}"));
    endpoint.unwrap().connect().await.unwrap()
}

async fn run(first: Arc<Snapshot>) -> Running {
    let (snapshots, snapshots_seen) = watch::channel(first);
    let (interval, interval_seen) = watch::channel(Duration::from_secs(5));
    let (said, observed) = mpsc::channel(16);
    let server = Server::new(snapshots_seen, said, interval_seen, || Timestamp(42));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = tonic::transport::Server::builder()
        .add_service(server.ads())
        .add_service(server.lrs())
        .add_service(server.hds());
    let incoming = TcpListenerStream::new(listener);
    let task = tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
    let channel = connect(address).await;
    Running {
        server,
        snapshots,
        interval,
        observed,
        channel,
        address,
        task,
    }
}

fn node(name: &str) -> Node {
    let text = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    Node {
        id: format!("shop/{name}"),
        metadata: Some(Struct {
            fields: HashMap::from([
                ("NAMESPACE".to_owned(), text("shop")),
                ("NAME".to_owned(), text(name)),
            ]),
        }),
        user_agent_name: "segue-sidecar".to_owned(),
        ..Node::default()
    }
}

struct Ads {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
}

impl Ads {
    async fn open(running: &Running, first: DeltaDiscoveryRequest) -> Self {
        Self::open_on(running.channel.clone(), first).await
    }

    async fn open_on(channel: Channel, first: DeltaDiscoveryRequest) -> Self {
        let (requests, stream) = mpsc::channel(16);
        let first = DeltaDiscoveryRequest {
            node: Some(node("web-0")),
            ..first
        };
        requests.send(first).await.unwrap();
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let responses = client
            .delta_aggregated_resources(ReceiverStream::new(stream))
            .await
            .unwrap()
            .into_inner();
        Self {
            requests,
            responses,
        }
    }

    async fn read_and_ack(&mut self) -> DeltaDiscoveryResponse {
        let response = self.responses.message().await.unwrap().unwrap();
        let ack = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        };
        self.requests.send(ack).await.unwrap();
        response
    }
}

fn ask(kind: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.url().to_owned(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

async fn proxy(observed: &mut mpsc::Receiver<Observed>) -> ProxyState {
    match observed.recv().await {
        Some(Observed::Proxy(state)) => state,
        other => panic!("{other:?}"),
    }
}

async fn load(observed: &mut mpsc::Receiver<Observed>) -> LoadSample {
    match observed.recv().await {
        Some(Observed::Load(sample)) => sample,
        other => panic!("{other:?}"),
    }
}

fn split(generation: u64, share: u16) -> Arc<Snapshot> {
    let versions = [("v2", share, 1), ("v1", 10_000 - share, 2)];
    snapshot(generation, &[Make::http("checkout", 7, &versions)])
}

const HOST: &str = "80/checkout.shop";

#[tokio::test]
async fn a_step_reaches_a_proxy_and_its_ack_the_engine() {
    let mut running = run(split(1, 0)).await;
    let mut ads = Ads::open(&running, ask(ResourceType::VirtualHost, &[HOST])).await;
    ads.read_and_ack().await;
    assert_eq!(proxy(&mut running.observed).await.acked, Generation(0));
    let state = proxy(&mut running.observed).await;
    assert_eq!(state.acked, Generation(1));
    assert_eq!(state.proxy.to_string(), "shop/web-0");
    assert!(state.address.is_some());
    assert_eq!(state.interest.len(), 1);
    running.snapshots.send(split(2, 500)).unwrap();
    ads.read_and_ack().await;
    let state = proxy(&mut running.observed).await;
    assert_eq!((state.sent, state.acked), (Generation(2), Generation(1)));
    assert_eq!(proxy(&mut running.observed).await.acked, Generation(2));
}

async fn gone(observed: &mut mpsc::Receiver<Observed>) -> bool {
    loop {
        match observed.recv().await {
            Some(Observed::ProxyGone { clean, .. }) => return clean,
            Some(_) => {}
            None => panic!("the server is gone"),
        }
    }
}

#[tokio::test]
async fn a_goodbye_ends_a_proxy_clean() {
    let mut running = run(split(1, 0)).await;
    let mut ads = Ads::open(&running, ask(ResourceType::VirtualHost, &[HOST])).await;
    ads.read_and_ack().await;
    drop(ads.requests);
    assert!(ads.responses.message().await.unwrap().is_none());
    assert!(gone(&mut running.observed).await);
}

/// A client that resets its stream, or (`NO_ERROR`) whose connection's keep-alive went unanswered.
async fn resets_as_goodbye(reason: h2::Reason) -> bool {
    let mut running = run(split(1, 0)).await;
    let socket = tokio::net::TcpStream::connect(running.address)
        .await
        .unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post(format!(
        "http://{}/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
        running.address
    ))
    .header("content-type", "application/grpc")
    .body(())
    .unwrap();
    let mut client = client.ready().await.unwrap();
    let (_response, mut stream) = client.send_request(request, false).unwrap();
    let first = DeltaDiscoveryRequest {
        node: Some(node("web-0")),
        ..ask(ResourceType::VirtualHost, &[HOST])
    };
    let message = prost::Message::encode_to_vec(&first);
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    stream.send_data(frame.into(), false).unwrap();
    proxy(&mut running.observed).await;
    stream.send_reset(reason);
    let clean = gone(&mut running.observed).await;
    connection.abort();
    clean
}

#[tokio::test]
async fn a_reset_stream_is_no_goodbye() {
    for reason in [h2::Reason::CANCEL, h2::Reason::NO_ERROR] {
        assert!(!resets_as_goodbye(reason).await, "{reason}");
    }
}

#[tokio::test]
async fn a_broken_connection_does_not() {
    let mut running = run(split(1, 0)).await;
    let address = running.address;
    // With the runtime of this thread its connections end.
    let dies = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let ads = runtime.block_on(async {
            let channel = connect(address).await;
            let mut ads = Ads::open_on(channel, ask(ResourceType::VirtualHost, &[HOST])).await;
            ads.read_and_ack().await;
            ads
        });
        drop(runtime);
        drop(ads);
    });
    assert!(!gone(&mut running.observed).await);
    dies.join().unwrap();
}

#[tokio::test]
async fn the_end_of_an_old_stream_is_not_that_of_the_proxy() {
    let mut running = run(split(1, 0)).await;
    let mut old = Ads::open(&running, ask(ResourceType::VirtualHost, &[HOST])).await;
    old.read_and_ack().await;
    let mut new = Ads::open(&running, ask(ResourceType::VirtualHost, &[HOST])).await;
    new.read_and_ack().await;
    drop(old.requests);
    assert!(old.responses.message().await.unwrap().is_none());
    drop(new.requests);
    assert!(new.responses.message().await.unwrap().is_none());
    assert!(gone(&mut running.observed).await);
    assert!(running.observed.try_recv().is_err());
}

#[tokio::test]
async fn a_proxy_that_comes_back_and_breaks_off_before_it_is_introduced_is_gone() {
    let mut running = run(split(1, 0)).await;
    let mut old = Ads::open(&running, ask(ResourceType::VirtualHost, &[HOST])).await;
    let first = old.read_and_ack().await;
    let mut resume = ask(ResourceType::VirtualHost, &[HOST, "80/other.shop"]);
    let resource = &first.resources[0];
    resume
        .initial_resource_versions
        .insert(resource.name.clone(), resource.version.clone());
    let mut new = Ads::open(&running, resume).await;
    new.read_and_ack().await;
    drop(old.requests);
    assert!(old.responses.message().await.unwrap().is_none());
    drop(new.requests);
    let end = tokio::time::timeout(Duration::from_secs(20), gone(&mut running.observed)).await;
    assert!(end.expect("the proxy is for ever taken for connected"));
}

#[tokio::test]
async fn after_a_restart_of_the_server_nothing_is_sent_again() {
    let running = run(split(1, 500)).await;
    let mut ads = Ads::open(&running, ask(ResourceType::VirtualHost, &[HOST])).await;
    let first = ads.read_and_ack().await;
    running.task.abort();
    let mut running = run(split(900, 500)).await;
    let mut resume = ask(ResourceType::VirtualHost, &[HOST]);
    let resource = &first.resources[0];
    resume
        .initial_resource_versions
        .insert(resource.name.clone(), resource.version.clone());
    let mut ads = Ads::open(&running, resume).await;
    let clusters = ask(ResourceType::Cluster, &["PassthroughCluster"]);
    ads.requests.send(clusters).await.unwrap();
    let response = ads.read_and_ack().await;
    assert_eq!(response.type_url, ResourceType::Cluster.url());
    let state = proxy(&mut running.observed).await;
    assert_eq!(state.interest.len(), 1);
}

#[tokio::test]
async fn a_stream_without_a_node_is_refused() {
    let running = run(split(1, 0)).await;
    let mut client = AggregatedDiscoveryServiceClient::new(running.channel.clone());
    let request = ask(ResourceType::Cluster, &[]);
    let responses = client.delta_aggregated_resources(tokio_stream::once(request));
    let mut responses = responses.await.unwrap().into_inner();
    let status = responses.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn draining_ends_streams_in_good_order() {
    let mut running = run(split(1, 0)).await;
    let mut ads = Ads::open(&running, ask(ResourceType::VirtualHost, &[HOST])).await;
    ads.read_and_ack().await;
    proxy(&mut running.observed).await;
    running.server.drain();
    assert!(ads.responses.message().await.unwrap().is_none());
}

fn stats(cluster: &str, metrics: &[(&str, u64)]) -> ClusterStats {
    ClusterStats {
        cluster_name: cluster.to_owned(),
        upstream_locality_stats: vec![UpstreamLocalityStats {
            upstream_endpoint_stats: vec![UpstreamEndpointStats {
                address: Some(Address {
                    address: Some(address::Address::SocketAddress(SocketAddress {
                        address: "10.7.0.1".to_owned(),
                        port_specifier: Some(PortSpecifier::PortValue(8080)),
                        ..SocketAddress::default()
                    })),
                }),
                total_issued_requests: 9,
                total_successful_requests: 7,
                total_error_requests: 2,
                total_requests_in_progress: 3,
                load_metric_stats: metrics
                    .iter()
                    .map(|(name, value)| EndpointLoadMetricStats {
                        metric_name: (*name).to_owned(),
                        num_requests_finished_with_metric: *value,
                        total_metric_value: 1.0,
                    })
                    .collect(),
                ..UpstreamEndpointStats::default()
            }],
            ..UpstreamLocalityStats::default()
        }],
        ..ClusterStats::default()
    }
}

#[tokio::test]
async fn load_reports_are_asked_for_at_the_interval_and_read() {
    let mut running = run(split(1, 0)).await;
    let (requests, stream) = mpsc::channel(4);
    let hello = LoadStatsRequest {
        node: Some(node("checkout-v1-0")),
        cluster_stats: Vec::new(),
    };
    requests.send(hello).await.unwrap();
    let mut client = LoadReportingServiceClient::new(running.channel.clone());
    let responses = client.stream_load_stats(ReceiverStream::new(stream)).await;
    let mut responses = responses.unwrap().into_inner();
    let wish = responses.message().await.unwrap().unwrap();
    assert!(wish.send_all_clusters && wish.report_endpoint_granularity);
    assert_eq!(wish.load_reporting_interval.unwrap().seconds, 5);
    let metrics = [
        ("segue.rtime_us.le.1024", 5),
        ("segue.rtime_us.le.7", 5),
        ("segue.cx_active", 4),
        ("segue.new_sessions", 6),
        ("segue.ejected", 1),
        ("segue.errors.response", 11),
        ("segue.errors.timeout", 12),
        ("segue.errors.reset", 13),
        ("segue.errors.connect", 14),
        ("segue.cx_connect", 16),
        ("segue.cx_connect_fail", 15),
    ];
    let report = LoadStatsRequest {
        node: None,
        cluster_stats: vec![stats("inbound|8080||", &metrics)],
    };
    requests.send(report).await.unwrap();
    let sample = load(&mut running.observed).await;
    assert_eq!(sample.workload.unwrap().to_string(), "shop/checkout-v1-0");
    assert_eq!(sample.at, Timestamp(42));
    let endpoint = &sample.endpoints[0];
    assert_eq!(endpoint.address, Some("10.7.0.1:8080".parse().unwrap()));
    assert_eq!((endpoint.issued, endpoint.requests_active), (9, 3));
    assert_eq!((endpoint.connections_active, endpoint.new_sessions), (4, 6));
    assert!(endpoint.ejected);
    let classes = ErrorClasses {
        response: 11,
        timeout: 12,
        reset: 13,
        connect: 14,
    };
    assert_eq!(endpoint.error_classes, classes);
    assert_eq!((endpoint.connects, endpoint.connects_failed), (16, 15));
    assert_eq!(endpoint.latency.iter().collect::<Vec<_>>(), [(&1024, &5)]);
    running.interval.send(Duration::from_millis(500)).unwrap();
    let wish = responses.message().await.unwrap().unwrap();
    assert_eq!(wish.load_reporting_interval.unwrap().nanos, 500_000_000);
}

fn found(status: HealthStatus) -> HealthCheckRequestOrEndpointHealthResponse {
    HealthCheckRequestOrEndpointHealthResponse {
        request_type: Some(RequestType::EndpointHealthResponse(
            EndpointHealthResponse {
                cluster_endpoints_health: vec![ClusterEndpointsHealth {
                    cluster_name: "inbound|8080||".to_owned(),
                    locality_endpoints_health: vec![LocalityEndpointsHealth {
                        endpoints_health: vec![EndpointHealth {
                            health_status: status.into(),
                            ..EndpointHealth::default()
                        }],
                        ..LocalityEndpointsHealth::default()
                    }],
                }],
                ..EndpointHealthResponse::default()
            },
        )),
    }
}

#[tokio::test]
async fn a_sidecar_is_told_what_to_check_and_each_result_reaches_the_engine() {
    let mut running = run(split(1, 0)).await;
    let (requests, stream) = mpsc::channel(4);
    let hello = HealthCheckRequestOrEndpointHealthResponse {
        request_type: Some(RequestType::HealthCheckRequest(HealthCheckRequest {
            node: Some(node("checkout-v1-0")),
            capability: None,
        })),
    };
    requests.send(hello).await.unwrap();
    let mut client = HealthDiscoveryServiceClient::new(running.channel.clone());
    let responses = client
        .stream_health_check(ReceiverStream::new(stream))
        .await;
    let mut responses = responses.unwrap().into_inner();
    let wish = responses.message().await.unwrap().unwrap();
    assert_eq!(wish.cluster_health_checks[0].cluster_name, "inbound|8080||");
    for (status, healthy) in [
        (HealthStatus::Healthy, true),
        (HealthStatus::Unhealthy, false),
        (HealthStatus::Timeout, false),
    ] {
        requests.send(found(status)).await.unwrap();
        match running.observed.recv().await {
            Some(Observed::Health(sample)) => assert_eq!(sample.healthy, healthy),
            other => panic!("{other:?}"),
        }
    }
}
