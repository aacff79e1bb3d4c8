//! ADS: one task per stream around the pure state machine.

use super::{Ending, Responses, Server, channel, no_node};
use crate::{
    model::{Observed, ProxyState},
    xds::{
        snapshot::Snapshot,
        stream::{Client, Refusal, Refused, Variant, delta, state_of_the_world},
        translate::Node,
    },
};
use envoy_types::pb::envoy::{
    config::core::v3 as core,
    service::discovery::v3::{
        DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        aggregated_discovery_service_server::AggregatedDiscoveryService,
    },
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tonic::{Request, Response, Status, Streaming};

/// How long a client that came back may take to ask for all that it had, before it is reported by
/// what it has asked for so far. Longer than a keepalive takes to tell that a peer is dead: whoever
/// is merely cut off in the middle of its first requests serves on by what it had, and must not
/// leave the interest set for not having said so yet.
pub const INTRODUCTION: Duration = Duration::from_secs(12);

/// One variant of the protocol, as the task sees it.
trait Protocol: 'static {
    const VARIANT: Variant;
    type Request: Send + 'static;
    type Response: Send + 'static;
    fn node(request: &Self::Request) -> Option<&core::Node>;
    fn on_request(
        client: &mut Client,
        snapshot: &Arc<Snapshot>,
        request: &Self::Request,
    ) -> Result<Vec<Self::Response>, Refused>;
    fn on_snapshot(client: &mut Client, snapshot: &Arc<Snapshot>) -> Vec<Self::Response>;
}

struct Delta;

impl Protocol for Delta {
    const VARIANT: Variant = Variant::Delta;
    type Request = DeltaDiscoveryRequest;
    type Response = DeltaDiscoveryResponse;

    fn node(request: &Self::Request) -> Option<&core::Node> {
        request.node.as_ref()
    }

    fn on_request(
        client: &mut Client,
        snapshot: &Arc<Snapshot>,
        request: &Self::Request,
    ) -> Result<Vec<Self::Response>, Refused> {
        log_refusal(client, &request.type_url, request.error_detail.as_ref());
        delta::on_request(client, snapshot, request)
    }

    fn on_snapshot(client: &mut Client, snapshot: &Arc<Snapshot>) -> Vec<Self::Response> {
        delta::on_snapshot(client, snapshot)
    }
}

struct StateOfTheWorld;

impl Protocol for StateOfTheWorld {
    const VARIANT: Variant = Variant::StateOfTheWorld;
    type Request = DiscoveryRequest;
    type Response = DiscoveryResponse;

    fn node(request: &Self::Request) -> Option<&core::Node> {
        request.node.as_ref()
    }

    fn on_request(
        client: &mut Client,
        snapshot: &Arc<Snapshot>,
        request: &Self::Request,
    ) -> Result<Vec<Self::Response>, Refused> {
        log_refusal(client, &request.type_url, request.error_detail.as_ref());
        state_of_the_world::on_request(client, snapshot, request)
    }

    fn on_snapshot(client: &mut Client, snapshot: &Arc<Snapshot>) -> Vec<Self::Response> {
        state_of_the_world::on_snapshot(client, snapshot)
    }
}

fn log_refusal(
    client: &Client,
    type_url: &str,
    error: Option<&envoy_types::pb::google::rpc::Status>,
) {
    if let Some(error) = error {
        let proxy = &client.node().id;
        let message = Refusal::read(&error.message).shown;
        tracing::warn!(%proxy, type_url, %message, "a proxy refused its configuration");
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Server {
    type StreamAggregatedResourcesStream = Responses<DiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Ok(Response::new(start::<StateOfTheWorld>(self, request)))
    }

    type DeltaAggregatedResourcesStream = Responses<DeltaDiscoveryResponse>;

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        Ok(Response::new(start::<Delta>(self, request)))
    }
}

fn start<P: Protocol>(
    server: &Server,
    request: Request<Streaming<P::Request>>,
) -> Responses<P::Response> {
    let (responses, stream) = channel();
    let task = Task::<P> {
        stream: server.next_stream(),
        peer: request.remote_addr(),
        requests: request.into_inner(),
        responses,
        snapshots: server.snapshots.clone(),
        ending: server.ending(),
        server: server.clone(),
        reported: None,
    };
    tokio::spawn(task.run());
    stream
}

struct Task<P: Protocol> {
    stream: u64,
    peer: Option<SocketAddr>,
    requests: Streaming<P::Request>,
    responses: mpsc::Sender<Result<P::Response, Status>>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    ending: Ending,
    server: Server,
    reported: Option<ProxyState>,
}

/// How a stream ended.
enum End {
    /// The client half-closed it.
    Goodbye,
    /// It broke, or the client was refused.
    Broken,
    /// This server drains.
    Drained,
}

impl<P: Protocol> Task<P> {
    async fn run(mut self) {
        let first = tokio::select! {
            first = self.requests.message() => first,
            () = self.ending.wished() => return,
        };
        let Ok(Some(first)) = first else { return };
        let Some(node) = P::node(&first).and_then(Node::read) else {
            // The client may be gone; then nobody is to be told.
            let _gone = self.responses.send(Err(no_node())).await;
            return;
        };
        let snapshot = self.snapshots.borrow_and_update().clone();
        let mut client = Client::new(P::VARIANT, self.stream, node, self.peer, snapshot);
        let proxy = client.node().id.clone();
        self.server.registry.enter(&proxy, self.stream);
        tracing::info!(%proxy, agent = client.node().user_agent, "a proxy connected");
        let end = match self.request(&mut client, first).await {
            Ok(()) => self.serve(&mut client).await,
            Err(end) => end,
        };
        let was_newest = self.server.registry.leave(&proxy, self.stream);
        if matches!(end, End::Drained) {
            return;
        }
        let clean = matches!(end, End::Goodbye);
        tracing::info!(%proxy, clean, "a proxy's stream ended");
        // Also where this stream has reported nothing yet: an older one, whose end was not the
        // proxy's, may have.
        if was_newest {
            self.say(Observed::ProxyGone { proxy, clean }).await;
        }
    }

    async fn serve(&mut self, client: &mut Client) -> End {
        let introduced_by = Instant::now() + INTRODUCTION;
        loop {
            let waiting = self.reported.is_none();
            let step = tokio::select! {
                // A goodbye counts before the silence that follows it.
                biased;
                () = self.ending.wished() => return End::Drained,
                request = self.requests.message() => match request {
                    Ok(Some(request)) => self.request(client, request).await,
                    Ok(None) => return End::Goodbye,
                    Err(_) => return End::Broken,
                },
                () = self.responses.closed() => return End::Broken,
                Ok(()) = self.snapshots.changed() => self.snapshot(client).await,
                () = tokio::time::sleep_until(introduced_by), if waiting => {
                    self.report(client, true).await;
                    Ok(())
                }
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    async fn request(&mut self, client: &mut Client, request: P::Request) -> Result<(), End> {
        let snapshot = self.snapshots.borrow_and_update().clone();
        match P::on_request(client, &snapshot, &request) {
            Ok(responses) => self.send(responses).await?,
            Err(refused) => {
                let status = Status::resource_exhausted(refused.to_string());
                // The client may be gone; then nobody is to be told.
                let _gone = self.responses.send(Err(status)).await;
                return Err(End::Broken);
            }
        }
        self.report(client, false).await;
        Ok(())
    }

    async fn snapshot(&mut self, client: &mut Client) -> Result<(), End> {
        let snapshot = self.snapshots.borrow_and_update().clone();
        let responses = P::on_snapshot(client, &snapshot);
        self.send(responses).await?;
        self.report(client, false).await;
        Ok(())
    }

    async fn send(&mut self, responses: Vec<P::Response>) -> Result<(), End> {
        for response in responses {
            tokio::select! {
                sent = self.responses.send(Ok(response)) => sent.map_err(|_| End::Broken)?,
                () = self.ending.wished() => return Err(End::Drained),
            }
        }
        Ok(())
    }

    /// Tells the engine where the client's state has changed.
    async fn report(&mut self, client: &Client, anyway: bool) {
        if self.reported.is_none() && !client.is_introduced() && !anyway {
            return;
        }
        let state = client.state();
        let speaks = self.server.registry.speaks_for(&state.proxy, self.stream);
        if !speaks || self.reported.as_ref() == Some(&state) {
            return;
        }
        self.reported = Some(state.clone());
        self.say(Observed::Proxy(state)).await;
    }

    async fn say(&mut self, observed: Observed) {
        tokio::select! {
            // An error means that the engine is gone, and this process soon.
            said = self.server.observed.send(observed) => drop(said),
            () = self.ending.wished() => {}
        }
    }
}
