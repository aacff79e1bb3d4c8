//! HDS: a Pod's own sidecar checks its application and says what it found.

use super::{Responses, Server, no_node, spawn_serving};
use crate::{
    model::{HealthSample, Observed},
    xds::translate::Node,
};
use envoy_types::pb::envoy::{
    config::core::v3::HealthStatus,
    service::health::v3::{
        EndpointHealthResponse, HealthCheckRequestOrEndpointHealthResponse as FromClient,
        HealthCheckSpecifier, health_check_request_or_endpoint_health_response::RequestType,
        health_discovery_service_server::HealthDiscoveryService,
    },
};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

type Sender = mpsc::Sender<Result<HealthCheckSpecifier, Status>>;

#[tonic::async_trait]
impl HealthDiscoveryService for Server {
    type StreamHealthCheckStream = Responses<HealthCheckSpecifier>;

    async fn stream_health_check(
        &self,
        request: Request<Streaming<FromClient>>,
    ) -> Result<Response<Self::StreamHealthCheckStream>, Status> {
        let (server, requests) = (self.clone(), request.into_inner());
        Ok(spawn_serving(|responses| {
            serve(server, requests, responses)
        }))
    }

    async fn fetch_health_check(
        &self,
        _request: Request<FromClient>,
    ) -> Result<Response<HealthCheckSpecifier>, Status> {
        Err(Status::unimplemented(
            "health checks are delegated by StreamHealthCheck",
        ))
    }
}

async fn serve(
    server: Server,
    mut requests: Streaming<FromClient>,
    responses: Sender,
) -> Result<(), Status> {
    let mut ending = server.ending();
    let mut snapshots = server.snapshots.clone();
    let mut checker: Option<Checker> = None;
    loop {
        tokio::select! {
            () = ending.wished() => return Ok(()),
            () = responses.closed() => return Ok(()),
            request = requests.message() => {
                let Ok(Some(request)) = request else { return Ok(()) };
                match (request.request_type, &checker) {
                    (Some(RequestType::HealthCheckRequest(hello)), None) => {
                        let node = hello.node.as_ref().and_then(Node::read).ok_or_else(no_node)?;
                        checker = Some(Checker { node, wished: None });
                    }
                    (Some(RequestType::EndpointHealthResponse(result)), Some(checker)) => {
                        if report(&server, checker, &result).await.is_err() {
                            return Ok(());
                        }
                    }
                    (_, Some(_)) => {}
                    (_, None) => return Err(no_node()),
                }
            }
            Ok(()) = snapshots.changed() => {}
        }
        let Some(checker) = &mut checker else {
            continue;
        };
        let wish = snapshots.borrow_and_update().health_checks(&checker.node);
        if let Some(wish) = wish.filter(|wish| checker.wished.as_ref() != Some(wish)) {
            checker.wished = Some(wish.clone());
            if responses.send(Ok(wish)).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Who checks, and what it was told to.
struct Checker {
    node: Node,
    wished: Option<HealthCheckSpecifier>,
}

async fn report(
    server: &Server,
    checker: &Checker,
    result: &EndpointHealthResponse,
) -> Result<(), ()> {
    let (Some(workload), Some(healthy)) = (checker.node.workload.clone(), verdict(result)) else {
        return Ok(());
    };
    let sample = HealthSample {
        workload,
        at: (server.clock)(),
        healthy,
    };
    let said = server.observed.send(Observed::Health(sample)).await;
    said.map_err(|_| ())
}

/// Healthy where all endpoints are; None where nothing is said of any.
#[expect(
    deprecated,
    reason = "the flat list is what older Envoys fill, and all there is from them"
)]
fn verdict(result: &EndpointHealthResponse) -> Option<bool> {
    let by_cluster = result
        .cluster_endpoints_health
        .iter()
        .flat_map(|cluster| &cluster.locality_endpoints_health)
        .flat_map(|locality| &locality.endpoints_health);
    // Who fills both says the same in both.
    by_cluster
        .chain(&result.endpoints_health)
        .map(|endpoint| endpoint.health_status() == HealthStatus::Healthy)
        .reduce(|all, one| all && one)
}
