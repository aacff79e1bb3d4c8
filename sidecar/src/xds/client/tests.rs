use super::{Client, Connection, Handle, Settings};
use crate::{
    model::Snapshot,
    store::{Command, Publisher, Question, Questions, Worker, disk::Disk},
    xds::{
        Dialer, Identity, channel,
        decode::Kind,
        fixture::{
            any, cluster, endpoints, on_demand, original_dst, outbound, resource, response,
            virtual_host,
        },
    },
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
    aggregated_discovery_service_server::{
        AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
    },
};
use prost::Message;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread::JoinHandle,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpListener,
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

const V1: &str = "outbound|80|v1|checkout.shop.svc.cluster.local";

/// One stream, seen from the server.
struct Peer {
    requests: Streaming<DeltaDiscoveryRequest>,
    responses: mpsc::UnboundedSender<Result<DeltaDiscoveryResponse, Status>>,
}

impl Peer {
    /// The next request of that kind.
    async fn request(&mut self, kind: Kind) -> DeltaDiscoveryRequest {
        loop {
            let request = self.requests.message().await.unwrap().unwrap();
            if request.type_url == kind.type_url() {
                return request;
            }
        }
    }

    /// Answers, and waits for the ACK.
    async fn send(&mut self, kind: Kind, name: &str, version: &str, message: &impl Message) {
        let resource = resource(name, version, any(kind.type_url(), message));
        let response = response(kind.type_url(), version, vec![resource]);
        self.responses.send(Ok(response)).unwrap();
        loop {
            let request = self.request(kind).await;
            assert_eq!(request.error_detail, None);
            if request.response_nonce == version {
                return;
            }
        }
    }

    /// Everything that a sidecar needs for `checkout`, the host last.
    async fn configure(&mut self) {
        self.request(Kind::Listener).await;
        self.responses
            .send(Ok(response(
                Kind::Listener.type_url(),
                "l1",
                vec![resource(
                    "virtualOutbound",
                    "1",
                    any(Kind::Listener.type_url(), &outbound(80)),
                )],
            )))
            .unwrap();
        self.send(
            Kind::Cluster,
            "PassthroughCluster",
            "c1",
            &original_dst("PassthroughCluster"),
        )
        .await;
        self.send(Kind::RouteConfiguration, "80", "r1", &on_demand("80"))
            .await;
    }
}

struct Service(mpsc::UnboundedSender<Peer>);

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream =
        UnboundedReceiverStream<Result<DiscoveryResponse, Status>>;
    type DeltaAggregatedResourcesStream =
        UnboundedReceiverStream<Result<DeltaDiscoveryResponse, Status>>;

    async fn stream_aggregated_resources(
        &self,
        _request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (responses, receiver) = mpsc::unbounded_channel();
        let peer = Peer {
            requests: request.into_inner(),
            responses,
        };
        self.0.send(peer).ok();
        Ok(Response::new(UnboundedReceiverStream::new(receiver)))
    }
}

/// A control plane in a runtime of its own, so that killing it closes every socket.
struct ControlPlane {
    address: SocketAddr,
    peers: mpsc::UnboundedReceiver<Peer>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ControlPlane {
    async fn start(address: SocketAddr) -> Self {
        let (sender, peers) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, bound) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind(address).await.unwrap();
                ready.send(listener.local_addr().unwrap()).unwrap();
                let serve = Server::builder()
                    .add_service(AggregatedDiscoveryServiceServer::new(Service(sender)))
                    .serve_with_incoming(TcpListenerStream::new(listener));
                tokio::select! {
                    result = serve => result.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self {
            address: bound.await.unwrap(),
            peers,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    async fn anywhere() -> Self {
        Self::start((Ipv4Addr::LOCALHOST, 0).into()).await
    }

    fn kill(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Sidecar {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    questions: Questions,
    handle: Handle,
}

impl Sidecar {
    /// A client with one worker that applies what it is given.
    async fn start(control_plane: SocketAddr, state: Option<&Path>) -> Self {
        let (commands, mut received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(command) = received.recv().await {
                if let Command::Apply(_, done) = command {
                    done.send(()).ok();
                }
            }
        });
        let publisher = Publisher::new(vec![Worker { commands }]);
        let snapshots = publisher.current();
        let (questions, asked) = mpsc::unbounded_channel();
        let uri = format!("http://{control_plane}").parse().unwrap();
        let settings = Settings {
            identity: "shop/web-0".parse::<Identity>().unwrap(),
            channel: channel(uri, &Dialer::new(None)),
            disk: state.map(|folder| Disk::open(folder).unwrap()),
            seed: 7,
            started: Instant::now(),
        };
        let (mut client, handle) = Client::new(settings, publisher, asked);
        client.restore().await;
        tokio::spawn(client.run());
        Self {
            snapshots,
            questions,
            handle,
        }
    }

    fn ask(&self) {
        let question = Question::VirtualHost {
            route_configuration: "80".into(),
            host: "checkout".into(),
        };
        self.questions.send(question).unwrap();
    }

    /// Waits for a snapshot in which the endpoint stands.
    async fn endpoint(&mut self, address: &str) {
        let address: SocketAddr = address.parse().unwrap();
        self.snapshots
            .wait_for(|snapshot| {
                let cluster = snapshot.clusters.get(V1);
                cluster.is_some_and(|cluster| {
                    cluster
                        .endpoints
                        .iter()
                        .any(|endpoint| endpoint.address == address)
                })
            })
            .await
            .unwrap();
    }
}

async fn serve_checkout(peer: &mut Peer, sidecar: &Sidecar) {
    peer.configure().await;
    sidecar.ask();
    let asked = peer.request(Kind::VirtualHost).await;
    assert_eq!(asked.resource_names_subscribe, ["80/checkout"]);
    let host = virtual_host("checkout", &[("v1", 10_000)]);
    peer.responses
        .send(Ok(response(
            Kind::VirtualHost.type_url(),
            "v1",
            vec![resource(
                "80/checkout",
                "1",
                any(Kind::VirtualHost.type_url(), &host),
            )],
        )))
        .unwrap();
    peer.send(Kind::Cluster, V1, "c2", &cluster(V1)).await;
    let at = [("10.0.0.1:80", 0)];
    peer.send(Kind::Assignment, V1, "e1", &endpoints(V1, "v1", &at))
        .await;
}

#[tokio::test]
async fn the_configuration_outlives_the_control_plane_and_is_taken_up_again() {
    let mut control_plane = ControlPlane::anywhere().await;
    let mut sidecar = Sidecar::start(control_plane.address, None).await;
    let mut peer = control_plane.peers.recv().await.unwrap();
    serve_checkout(&mut peer, &sidecar).await;
    sidecar.endpoint("10.0.0.1:80").await;
    let dump = sidecar.handle.dump().await.unwrap();
    assert!(matches!(dump.connection, Connection::Connected(_)));
    assert_eq!(dump.resources.len(), 6);

    control_plane.kill();
    while let Some(Connection::Connected(_)) =
        sidecar.handle.dump().await.map(|dump| dump.connection)
    {
        tokio::task::yield_now().await;
    }
    sidecar.endpoint("10.0.0.1:80").await;

    let mut again = ControlPlane::start(control_plane.address).await;
    let mut peer = again.peers.recv().await.unwrap();
    let request = peer.request(Kind::Assignment).await;
    assert_eq!(request.resource_names_subscribe, [V1]);
    assert_eq!(request.initial_resource_versions[V1], "e1");
    let at = [("10.0.0.2:80", 0)];
    peer.send(Kind::Assignment, V1, "e2", &endpoints(V1, "v1", &at))
        .await;
    sidecar.endpoint("10.0.0.2:80").await;
    sidecar.handle.shutdown().await;
    assert!(sidecar.handle.dump().await.is_none());
}

#[tokio::test]
async fn a_sidecar_that_starts_without_a_control_plane_serves_what_it_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mut control_plane = ControlPlane::anywhere().await;
    let mut sidecar = Sidecar::start(control_plane.address, Some(folder.path())).await;
    let mut peer = control_plane.peers.recv().await.unwrap();
    serve_checkout(&mut peer, &sidecar).await;
    sidecar.endpoint("10.0.0.1:80").await;
    drop(peer);
    sidecar.handle.shutdown().await;
    control_plane.kill();

    let again = Sidecar::start(control_plane.address, Some(folder.path())).await;
    let snapshot = Arc::clone(&again.snapshots.borrow());
    assert!(snapshot.outbound.is_some());
    assert_eq!(snapshot.clusters[V1].endpoints.len(), 1);
}

#[tokio::test]
async fn a_bad_resource_is_refused_and_the_old_one_stays() {
    let mut control_plane = ControlPlane::anywhere().await;
    let mut sidecar = Sidecar::start(control_plane.address, None).await;
    let mut peer = control_plane.peers.recv().await.unwrap();
    serve_checkout(&mut peer, &sidecar).await;
    let mut bad = cluster(V1);
    bad.lb_policy = 7;
    let bad = resource(V1, "c9", any(Kind::Cluster.type_url(), &bad));
    peer.responses
        .send(Ok(response(Kind::Cluster.type_url(), "bad", vec![bad])))
        .unwrap();
    let nack = peer.request(Kind::Cluster).await;
    assert_eq!(nack.response_nonce, "bad");
    assert!(nack.error_detail.unwrap().message.contains("lb_policy"));
    sidecar.endpoint("10.0.0.1:80").await;
}

#[tokio::test]
async fn a_sidecar_that_stops_says_goodbye() {
    let mut control_plane = ControlPlane::anywhere().await;
    let sidecar = Sidecar::start(control_plane.address, None).await;
    let mut peer = control_plane.peers.recv().await.unwrap();
    peer.request(Kind::Listener).await;
    let handle = sidecar.handle.clone();
    let goodbye = tokio::spawn(async move { handle.shutdown().await });
    assert_eq!(peer.requests.message().await.unwrap(), None);
    drop(peer);
    goodbye.await.unwrap();
}

/// A connection that notes what the client sends.
struct Noted(tokio::net::TcpStream, Arc<parking_lot::Mutex<Vec<u8>>>);

impl AsyncRead for Noted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.0).poll_read(context, buffer);
        self.1.lock().extend(&buffer.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Noted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Type and flags of the frames in what a client sent (RFC 9113, 4.1), after the preface.
fn frames(sent: &[u8]) -> Vec<(u8, u8)> {
    let mut rest = &sent[24..];
    let mut frames = Vec::new();
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]);
        frames.push((rest[3], rest[4]));
        rest = rest
            .get(9 + usize::try_from(length).unwrap()..)
            .unwrap_or_default();
    }
    frames
}

#[tokio::test]
async fn a_response_that_cannot_be_read_resets_the_stream_and_is_no_goodbye() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let _sidecar = Sidecar::start(listener.local_addr().unwrap(), None).await;
    let (stream, _) = listener.accept().await.unwrap();
    let sent = Arc::default();
    let noted = Noted(stream, Arc::clone(&sent));
    let mut connection = h2::server::handshake(noted).await.unwrap();
    let (request, mut respond) = connection.accept().await.unwrap().unwrap();
    tokio::spawn(async move { while connection.accept().await.is_some() {} });
    let head = http::Response::builder().header("content-type", "application/grpc");
    let mut body = respond
        .send_response(head.body(()).unwrap(), false)
        .unwrap();
    let garbage = [0, 0, 0, 0, 2, 0xff, 0xff];
    body.send_data(garbage.to_vec().into(), false).unwrap();
    let mut requests = request.into_body();
    while let Some(Ok(data)) = requests.data().await {
        requests.flow_control().release_capacity(data.len()).ok();
    }
    let (data, end_stream, reset) = (0, 1, 3);
    let frames = frames(&sent.lock());
    let goodbye = frames
        .iter()
        .any(|(kind, flags)| *kind == data && flags & end_stream != 0);
    assert!(!goodbye, "{frames:?}");
    assert!(frames.iter().any(|(kind, _)| *kind == reset), "{frames:?}");
}
