//! The last phase of a request: its response is decorated and sent on.

use super::{
    Client, answer,
    attempt::Sent,
    boundary::Boundary,
    exchange::Exchange,
    headers,
    response::{Account, GrpcStatus, ResponseBody, Streamed, Watched},
    tunnel,
};
use crate::{
    affinity::{self, Placement},
    balance::Outcome,
    drain::Kind,
    local::Local,
    model::{Cluster, Endpoint, Route, VirtualHost},
    upstream::Protocol,
};
use http::{Response, StatusCode, header::CONTENT_ENCODING};
use hyper::{
    body::{Body as _, Incoming},
    upgrade::OnUpgrade,
};
use std::sync::Arc;

/// Sends the response on.
pub(super) fn finish(
    mut exchange: Exchange<'_>,
    host: &VirtualHost,
    route: &Route,
    placement: Option<&Placement<'_>>,
    sent: Option<Sent<'_>>,
) -> Response<ResponseBody> {
    let (Some(placement), Some(mut sent)) = (placement, sent) else {
        return ourselves(&mut exchange, route);
    };
    let client = exchange.call.client;
    let (local, cluster) = (&client.local, sent.cluster);
    let (mut head, incoming) = sent.response.into_parts();
    let outcome = outcome(&head);
    let address = sent.endpoint.map(|endpoint| endpoint.address);
    let place = (&cluster.name, address.or_else(|| client.destination()));
    exchange
        .recording
        .answered(&head, place, sent.version, placement.pinned);
    let watched = sent
        .endpoint
        .filter(|_| cluster.outlier_detection.is_some())
        .inspect(|endpoint| report(local, (cluster, endpoint), outcome));
    let upgrade = exchange
        .upgrade
        .filter(|_| head.status == StatusCode::SWITCHING_PROTOCOLS);
    if let Some(timeout) = headers::idle_timeout(&head.headers) {
        sent.lease.idle_timeout(timeout);
    }
    headers::strip(&mut head.headers, upgrade.is_some());
    if outcome.is_none() && client.protocol == Protocol::Http1 {
        headers::announce_status(&mut head.headers);
    }
    let served = sent.version.map(|version| &**version);
    if affinity::decorate(&mut head.headers, host, route, placement, served) {
        sent.in_flight.began_session();
    }
    let endpoint = sent.endpoint.map(|endpoint| endpoint.id);
    if let (Some(downstream), Some(upstream)) = (upgrade, head.extensions.remove::<OnUpgrade>()) {
        exchange.recording.whole();
        let recording = exchange.recording.take();
        let guards = (sent.in_flight.upgrade(), sent.lease, recording);
        let (protocol, both) = (headers::upgraded(&head.headers), (downstream, upstream));
        tunnel::upgraded(client, protocol, both, endpoint, (exchange.active, guards));
        return Response::from_parts(head, ResponseBody::Own(None));
    }
    head.extensions.clear();
    let stream = stream(client, &head, &incoming);
    let boundary = stream.map_or(Boundary::None, |(kind, boundary)| {
        exchange.active.underway.becomes(kind, endpoint);
        boundary
    });
    let account = Account {
        lease: sent.lease,
        in_flight: sent.in_flight,
        active: exchange.active,
        request: exchange.call.replay,
        recording: exchange.recording.take(),
        outcome,
        watched: watched.map(|endpoint| Watched {
            cluster: Arc::clone(cluster),
            endpoint: endpoint.id,
        }),
    };
    let deadline = exchange.call.deadline;
    let body = Streamed::new(incoming, account, deadline, boundary);
    Response::from_parts(head, ResponseBody::Upstream(body))
}

/// The answer of a route that needs no upstream.
fn ourselves(exchange: &mut Exchange<'_>, route: &Route) -> Response<ResponseBody> {
    let head = exchange.call.head.as_ref();
    let grpc = head.is_some_and(|head| headers::is_grpc(&head.headers));
    let response = answer::direct(route, grpc);
    exchange.recording.answered_ourselves(response.status());
    response
}

/// What an answer's head says of its endpoint.
fn report(local: &Local, (cluster, endpoint): (&Cluster, &Endpoint), outcome: Option<Outcome>) {
    match outcome {
        Some(outcome) => local.report(cluster, endpoint, outcome),
        // A call that has begun may go on for hours.
        None => endpoint.state.prove(),
    }
}

/// Where an answer may go on for hours: what it is, and where it may be ended before its end. An
/// answer that says how long it is can't be.
fn stream(
    client: &Client,
    head: &http::response::Parts,
    body: &Incoming,
) -> Option<(Kind, Boundary)> {
    if body.size_hint().exact().is_some() {
        return None;
    }
    if headers::is_grpc(&head.headers) {
        // HTTP/1 clients take no trailers that were not announced.
        let http2 = client.protocol == Protocol::Http2;
        return http2.then(|| (Kind::Grpc, Boundary::message()));
    }
    headers::is_event_stream(&head.headers).then(|| {
        // What is compressed can't be followed.
        let plain = !head.headers.contains_key(CONTENT_ENCODING);
        let boundary = if plain {
            Boundary::event()
        } else {
            Boundary::None
        };
        (Kind::Sse, boundary)
    })
}

/// How it went, by the head. None: a gRPC call, its trailers will say.
fn outcome(head: &http::response::Parts) -> Option<Outcome> {
    let outcome = Outcome::of(head.status);
    if outcome == Outcome::Success && headers::is_grpc(&head.headers) {
        return GrpcStatus::of(&head.headers).map(GrpcStatus::outcome);
    }
    Some(outcome)
}
