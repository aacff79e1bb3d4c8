//! Checks the Pod's own application on the control plane's behalf (HDS).
//!
//! Each round's raw result is sent as it is; who counts how many in a row is the engine. Checks
//! run only while the stream stands: without it there is nobody to tell.

mod check;
mod spec;

#[cfg(test)]
mod tests;

use crate::xds::{Backoff, Dialer, Identity, address};
use envoy_types::pb::envoy::{
    config::{
        core::v3::{HealthStatus, Locality},
        endpoint::v3::Endpoint,
    },
    service::health::v3::{
        Capability, ClusterEndpointsHealth, EndpointHealth, EndpointHealthResponse,
        HealthCheckRequest, HealthCheckRequestOrEndpointHealthResponse, LocalityEndpointsHealth,
        capability::Protocol, health_check_request_or_endpoint_health_response::RequestType,
        health_discovery_service_client::HealthDiscoveryServiceClient,
    },
};
use futures_util::future::join_all;
use spec::Plan;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Channel};
use tracing::{debug, info, warn};

/// The time between two looks at an application that has not come up yet.
const COMING_UP: Duration = Duration::from_millis(250);

type Message = HealthCheckRequestOrEndpointHealthResponse;

/// Runs the delegated checks.
#[derive(Clone, Debug)]
pub struct Checker {
    /// Who checks.
    pub identity: Identity,
    /// To the control plane.
    pub channel: Channel,
    /// Opens the connections of the checks.
    pub dialer: Dialer,
    /// Told the address of our own application, once it is known.
    pub own: watch::Sender<Option<IpAddr>>,
}

impl Checker {
    /// Checks for as long as it is not dropped.
    pub async fn run(self, seed: u64) {
        let mut backoff = Backoff::new(seed);
        loop {
            if let Err(status) = self.stream(&mut backoff).await {
                debug!(%status, "the health check stream ended");
            }
            sleep(backoff.wait()).await;
        }
    }

    async fn stream(&self, backoff: &mut Backoff) -> Result<(), Status> {
        let (responses, receiver) = mpsc::channel(16);
        responses.try_send(self.introduction()).ok();
        let mut client = HealthDiscoveryServiceClient::new(self.channel.clone());
        let mut specifiers = client
            .stream_health_check(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        let mut plans = Vec::new();
        let mut rounds = JoinSet::new();
        while let Some(specifier) = specifiers.message().await? {
            backoff.reset();
            let (new, refused) = spec::plans(&specifier);
            for reason in refused {
                warn!(reason, "a health check can't be done");
            }
            // The same again does not disturb the rhythm.
            if new == plans {
                continue;
            }
            plans = new;
            info!(clusters = plans.len(), "health checks set");
            self.own.send_replace(own_address(&plans));
            rounds = JoinSet::new();
            for plan in plans.clone() {
                rounds.spawn(rounds_of(plan, self.dialer.clone(), responses.clone()));
            }
        }
        drop(rounds);
        Ok(())
    }

    fn introduction(&self) -> Message {
        Message {
            request_type: Some(RequestType::HealthCheckRequest(HealthCheckRequest {
                node: Some(self.identity.node()),
                // gRPC checks are understood too; the enumeration has no word for them.
                capability: Some(Capability {
                    health_check_protocols: vec![Protocol::Http.into(), Protocol::Tcp.into()],
                }),
            })),
        }
    }
}

fn own_address(plans: &[Plan]) -> Option<IpAddr> {
    plans
        .iter()
        .flat_map(|plan| &plan.endpoints)
        .map(SocketAddr::ip)
        .next()
}

/// One round after the other, until nobody listens.
async fn rounds_of(plan: Plan, dialer: Dialer, responses: mpsc::Sender<Message>) {
    let mut rounds = Rounds::new(plan, dialer);
    loop {
        let response = rounds.next().await;
        if responses.send(response).await.is_err() {
            return;
        }
    }
}

/// The rounds of one plan, in their rhythm.
struct Rounds {
    plan: Plan,
    dialer: Dialer,
    next: Instant,
    healthy: bool,
    /// The application has passed since these rounds began.
    came_up: bool,
}

/// What a round found of each endpoint.
type Results = Vec<(SocketAddr, Result<(), String>)>;

impl Rounds {
    fn new(plan: Plan, dialer: Dialer) -> Self {
        Self {
            plan,
            dialer,
            next: Instant::now(),
            healthy: true,
            came_up: false,
        }
    }

    /// What the next round found. An application that comes up is not left waiting for it: its
    /// first pass is told at once. Failures are told in the plan's rhythm: somebody counts them.
    async fn next(&mut self) -> Message {
        let (begun, results) = if let Some(passed) = self.first_pass().await {
            passed
        } else {
            sleep_until(self.next).await;
            (Instant::now(), self.round().await)
        };
        self.note(failure(&results));
        self.next = begun
            + if self.healthy {
                self.plan.interval
            } else {
                self.plan.unhealthy_interval
            };
        response(&self.plan, &results)
    }

    /// The application's first pass, where it comes before the next round.
    async fn first_pass(&self) -> Option<(Instant, Results)> {
        if self.came_up {
            return None;
        }
        loop {
            let begun = Instant::now() + COMING_UP;
            if begun >= self.next {
                return None;
            }
            sleep_until(begun).await;
            let results = self.round().await;
            if failure(&results).is_none() {
                return Some((begun, results));
            }
        }
    }

    async fn round(&self) -> Results {
        let checks = self.plan.endpoints.iter();
        join_all(checks.map(|at| endpoint(&self.plan, *at, &self.dialer))).await
    }

    fn note(&mut self, failure: Option<&String>) {
        let cluster = &self.plan.cluster;
        match failure {
            Some(reason) if self.healthy => {
                warn!(cluster, reason, "the application fails its check");
            }
            None if !self.healthy => info!(cluster, "the application passes its check"),
            _ => {}
        }
        self.healthy = failure.is_none();
        self.came_up |= self.healthy;
    }
}

fn failure(results: &Results) -> Option<&String> {
    results.iter().find_map(|(_, result)| result.as_ref().err())
}

/// An endpoint is healthy when it passes every check.
async fn endpoint(
    plan: &Plan,
    at: SocketAddr,
    dialer: &Dialer,
) -> (SocketAddr, Result<(), String>) {
    let checks = plan
        .checks
        .iter()
        .map(|check| check::run(check, at, dialer));
    let failed = join_all(checks).await.into_iter().find(Result::is_err);
    (at, failed.unwrap_or(Ok(())))
}

fn response(plan: &Plan, results: &[(SocketAddr, Result<(), String>)]) -> Message {
    let endpoints_health = results
        .iter()
        .map(|(at, result)| EndpointHealth {
            endpoint: Some(Endpoint {
                address: Some(address(*at)),
                ..Endpoint::default()
            }),
            health_status: if result.is_ok() {
                HealthStatus::Healthy.into()
            } else {
                HealthStatus::Unhealthy.into()
            },
            health_metadata: None,
        })
        .collect();
    Message {
        request_type: Some(RequestType::EndpointHealthResponse(
            EndpointHealthResponse {
                cluster_endpoints_health: vec![ClusterEndpointsHealth {
                    cluster_name: plan.cluster.clone(),
                    locality_endpoints_health: vec![LocalityEndpointsHealth {
                        locality: Some(Locality::default()),
                        endpoints_health,
                    }],
                }],
                ..EndpointHealthResponse::default()
            },
        )),
    }
}
