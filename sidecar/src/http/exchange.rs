//! The life of a request, as named phases.

use super::{
    Active, Client,
    answer::{self, Refusal},
    attempt::{self, Call, Sent},
    authority::{self, Authority, lower},
    connect, forwarded,
    framing::MIN_RATE,
    headers,
    heads::Fault,
    matching::{self, Lookup},
    response::{Account, GrpcStatus, ResponseBody, Streamed, Watched},
    tunnel,
};
use crate::{
    affinity::{self, Placement},
    balance::Outcome,
    local::{Current, Local},
    model::{
        Cluster, Discovery, ErrorClass, Header, NetworkFilter, Route, RouteConfiguration, Snapshot,
        VirtualHost,
    },
    store::Question,
    upstream::{Patience, Protocol, RequestBody},
};
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Version, header::CONNECTION, request::Parts,
};
use hyper::{
    body::{Body as _, Incoming},
    upgrade::OnUpgrade,
};
use std::{rc::Rc, sync::Arc};
use tokio::time::{Instant, sleep_until};

/// Where a host without a port is served.
const DEFAULT_PORT: u16 = 80;

/// Answers one request.
pub(super) async fn serve(
    client: &Rc<Client>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let grpc = headers::is_grpc(request.headers());
    let mut response = match exchange(client, request).await {
        Ok(response) => response,
        Err(refusal) => refusal.response(grpc),
    };
    let http1 = client.protocol == Protocol::Http1;
    if http1
        && client.local.drain.is_draining()
        && response.status() != StatusCode::SWITCHING_PROTOCOLS
    {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    } else if !http1 {
        response.headers_mut().remove(CONNECTION);
    }
    response
}

/// A request that is being served.
struct Exchange<'a> {
    call: Call<'a>,
    started: Instant,
    /// Where an upgrade was asked for: the client's connection, once it is agreed to.
    upgrade: Option<OnUpgrade>,
    active: Active,
}

async fn exchange(
    client: &Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Refusal> {
    let active = client.begin();
    let (head, incoming) = request.into_parts();
    let authority = check(client, &head)?;
    if head.method == Method::CONNECT {
        return connect::serve(client, head, authority, active).await;
    }
    let mut exchange = begin(client, head, incoming, authority, active);
    let snapshot = known(client, exchange.call.authority.as_ref()).await;
    let found = lookup(client, &snapshot, exchange.call.authority.as_ref());
    let host = match found {
        Lookup::Found(host) => host,
        _ if client.destination().is_some() => &client.local.passthrough,
        Lookup::Unknown => {
            return Err(Refusal::unavailable(
                "the control plane has not said yet where this host is served",
            ));
        }
        Lookup::Missing => {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "no such host in the mesh",
            ));
        }
    };
    exchange.call.is_guess = matches!(found, Lookup::Unknown);
    match forward(&mut exchange, host).await {
        Ok((route, placement, sent)) => Ok(finish(exchange, host, route, placement.as_ref(), sent)),
        Err(refusal) if exchange.call.is_guess => later(exchange, refusal).await,
        Err(refusal) => Err(refusal),
    }
}

/// The original destination of a host that was not known in time was not reached. Meanwhile the
/// control plane may have answered.
async fn later(
    mut exchange: Exchange<'_>,
    refusal: Refusal,
) -> Result<Response<ResponseBody>, Refusal> {
    let client = exchange.call.client;
    let snapshot = client.local.snapshot();
    let Lookup::Found(host) = lookup(client, &snapshot, exchange.call.authority.as_ref()) else {
        return Err(refusal);
    };
    if !exchange.call.is_unsent() {
        return Err(refusal);
    }
    exchange.call.is_guess = false;
    let (route, placement, sent) = forward(&mut exchange, host).await?;
    Ok(finish(exchange, host, route, placement.as_ref(), sent))
}

/// Refuses what must not be sent on, and reads the host.
fn check(client: &Client, head: &Parts) -> Result<Option<Authority>, Refusal> {
    match client.framing.next_fault() {
        Some(Fault::TwoLengths) => {
            return Err(Refusal::malformed("the body's length is given twice"));
        }
        Some(Fault::BareLineFeed) => {
            return Err(Refusal::malformed("a line ends by LF without CR"));
        }
        None => {}
    }
    if headers::has_unknown_coding(&head.headers) {
        return Err(Refusal::unsupported(
            "a Transfer-Encoding other than chunked",
        ));
    }
    authority::of(&head.uri, &head.headers, head.version)
}

/// Takes the request apart and removes what concerns this connection only.
fn begin(
    client: &Rc<Client>,
    mut head: Parts,
    incoming: Incoming,
    authority: Option<Authority>,
    active: Active,
) -> Exchange<'_> {
    let wants_upgrade = head.version == Version::HTTP_11 && headers::wants_upgrade(&head.headers);
    let upgrade = head.extensions.remove::<OnUpgrade>();
    head.extensions.clear();
    headers::strip(&mut head.headers, wants_upgrade);
    forwarded::mark(client, &mut head.headers);
    let patience = patience(client, &incoming);
    let (body, replay) = RequestBody::new(incoming, patience);
    Exchange {
        call: Call {
            client,
            head: Some(head),
            body: Some(body),
            replay,
            authority,
            pinned: false,
            is_guess: false,
            deadline: None,
        },
        started: Instant::now(),
        upgrade: upgrade.filter(|_| wants_upgrade),
        active,
    }
}

/// How long is waited for a body whose length the client has announced. That of HTTP/1 is followed
/// on the socket; HTTP/2's streams share one.
fn patience(client: &Client, incoming: &Incoming) -> Option<Patience> {
    let announced = client.protocol == Protocol::Http2 && incoming.size_hint().exact().is_some();
    announced.then(|| Patience::rate(client.local.limits.stream_idle, MIN_RATE))
}

/// A snapshot that knows the host, if the control plane answers in time.
pub(super) async fn known(client: &Client, authority: Option<&Authority>) -> Current {
    let snapshot = client.local.snapshot();
    let Some(authority) = authority else {
        return snapshot;
    };
    let unknown =
        |snapshot: &Snapshot| matches!(lookup(client, snapshot, Some(authority)), Lookup::Unknown);
    if !unknown(&snapshot) {
        return snapshot;
    }
    let Some(routes) = routes(client, &snapshot, Some(authority)) else {
        return snapshot;
    };
    let question = Question::VirtualHost {
        route_configuration: Arc::clone(&routes.name),
        host: lower(authority.host()).into(),
    };
    let answered = |snapshot: &Snapshot| !unknown(snapshot);
    client.local.ask(question, answered).await
}

/// Ends once the control plane has said where the host is served.
pub(super) async fn answered(client: &Client, authority: Option<&Authority>) {
    let found =
        |snapshot: &Snapshot| matches!(lookup(client, snapshot, authority), Lookup::Found(_));
    client.local.wait_for(found).await;
}

/// What the snapshot says of the host.
pub(super) fn lookup<'a>(
    client: &Client,
    snapshot: &'a Snapshot,
    authority: Option<&Authority>,
) -> Lookup<'a> {
    match routes(client, snapshot, authority) {
        Some(routes) => matching::host(routes, authority),
        None => Lookup::Missing,
    }
}

/// The routes for the connection's destination, or for the named port where it has none.
fn routes<'a>(
    client: &Client,
    snapshot: &'a Snapshot,
    authority: Option<&Authority>,
) -> Option<&'a Arc<RouteConfiguration>> {
    let listener = if client.entry.inbound {
        snapshot.inbound.as_ref()
    } else {
        snapshot.outbound.as_ref()
    }?;
    let http = |filter: &'a NetworkFilter| match filter {
        NetworkFilter::Http(manager) => Some(&manager.routes),
        NetworkFilter::Tcp(_) => None,
    };
    if let Some(destination) = client.destination() {
        return http(&listener.chain(destination, true)?.filter);
    }
    let port = authority.and_then(Authority::port).unwrap_or(DEFAULT_PORT);
    listener
        .chains
        .iter()
        .filter(|chain| chain.matches.destination_port == Some(port))
        .find_map(|chain| http(&chain.filter))
}

type Forwarded<'h> = (&'h Route, Option<Placement<'h>>, Option<Sent<'h>>);

/// Matches a route, places the request and sends it.
async fn forward<'h>(
    exchange: &mut Exchange<'_>,
    host: &'h VirtualHost,
) -> Result<Forwarded<'h>, Refusal> {
    let local = &exchange.call.client.local;
    let route = exchange
        .call
        .head
        .as_ref()
        .and_then(|head| matching::route(host, head.uri.path(), &head.headers))
        .ok_or_else(|| {
            Refusal::new(
                StatusCode::NOT_FOUND,
                format!("no route for this request in {}", host.name),
            )
        })?;
    let mut draw = |below| local.draw(below);
    let key = exchange
        .call
        .head
        .as_ref()
        .map(|head| {
            let client = exchange.call.client.entry.peer.ip();
            affinity::key(&route.hash, &head.headers, client, &mut draw)
        })
        .unwrap_or_default();
    let Some(placement) = affinity::place(host, route, key, &mut draw) else {
        return Ok((route, None, None));
    };
    if let Some(head) = &mut exchange.call.head {
        for name in &route.removed_request_headers {
            head.headers.remove(name);
        }
        for header in added(route, &placement) {
            head.headers
                .insert(header.name.clone(), header.value.clone());
        }
    }
    exchange.call.pinned = placement.pinned;
    exchange.call.deadline = route.timeout.map(|limit| exchange.started + limit);
    let sent = send(&mut exchange.call, host, route, &placement).await?;
    if sent.response.status() == StatusCode::SWITCHING_PROTOCOLS && exchange.upgrade.is_none() {
        return Err(unasked(local, placement.cluster, sent));
    }
    if placement.pinned {
        sent.in_flight.pinned();
    }
    Ok((route, Some(placement), Some(sent)))
}

/// What is set on a request that is placed so.
fn added<'h>(route: &'h Route, placement: &Placement<'h>) -> impl Iterator<Item = &'h Header> {
    let chosen = placement.drawn.map(|drawn| &drawn.request_headers);
    route
        .request_headers
        .iter()
        .chain(chosen.into_iter().flatten())
}

/// To the cluster where it is placed, or to the application that stands in for it.
async fn send<'h>(
    call: &mut Call<'_>,
    host: &'h VirtualHost,
    route: &'h Route,
    placement: &Placement<'h>,
) -> Result<Sent<'h>, Refusal> {
    let refusal = match attempt::send(call, placement.cluster, host.retry).await {
        Ok(sent) => return Ok(sent),
        Err(refusal) => refusal,
    };
    let Some(application) = stand_in(call, host, placement.cluster) else {
        return Err(refusal);
    };
    if let Some(head) = &mut call.head {
        for header in added(route, placement) {
            head.headers.remove(&header.name);
        }
    }
    attempt::send(call, application, host.retry).await
}

/// The upstream changes to a protocol that nobody asked for: what follows can't be read.
fn unasked(local: &Local, cluster: &Cluster, mut sent: Sent<'_>) -> Refusal {
    sent.in_flight.end(Err(ErrorClass::Response));
    if let Some(endpoint) = sent.endpoint {
        local.report(cluster, endpoint, Outcome::GatewayFailure);
    }
    Refusal::new(
        StatusCode::BAD_GATEWAY,
        "the upstream changed to a protocol that was not asked for",
    )
}

/// The Pod's own application, for a request that came in and was to be forwarded to other instances,
/// none of which could be reached.
fn stand_in<'h>(call: &Call<'_>, host: &'h VirtualHost, tried: &Cluster) -> Option<&'h Cluster> {
    let is_forwarded = call.client.entry.inbound && tried.discovery == Discovery::Endpoints;
    (is_forwarded && call.is_unsent()).then(|| host.own_application())?
}

/// Sends the response on.
fn finish(
    exchange: Exchange<'_>,
    host: &VirtualHost,
    route: &Route,
    placement: Option<&Placement<'_>>,
    sent: Option<Sent<'_>>,
) -> Response<ResponseBody> {
    let (Some(placement), Some(mut sent)) = (placement, sent) else {
        let head = exchange.call.head.as_ref();
        let grpc = head.is_some_and(|head| headers::is_grpc(&head.headers));
        return answer::direct(route, grpc);
    };
    let local = &exchange.call.client.local;
    let cluster = placement.cluster;
    let (mut head, incoming) = sent.response.into_parts();
    let outcome = outcome(&head);
    let watched = sent
        .endpoint
        .filter(|_| cluster.outlier_detection.is_some());
    if let Some(endpoint) = watched {
        match outcome {
            Some(outcome) => local.report(cluster, endpoint, outcome),
            // A call that has begun may go on for hours.
            None => endpoint.state.prove(),
        }
    }
    let upgrade = exchange
        .upgrade
        .filter(|_| head.status == StatusCode::SWITCHING_PROTOCOLS);
    if let Some(timeout) = headers::idle_timeout(&head.headers) {
        sent.lease.idle_timeout(timeout);
    }
    headers::strip(&mut head.headers, upgrade.is_some());
    if outcome.is_none() && exchange.call.client.protocol == Protocol::Http1 {
        headers::announce_status(&mut head.headers);
    }
    if affinity::decorate(&mut head.headers, host, route, placement, sent.version) {
        sent.in_flight.began_session();
    }
    if let (Some(downstream), Some(upstream)) = (upgrade, head.extensions.remove::<OnUpgrade>()) {
        let guards = (exchange.active, (sent.in_flight.upgrade(), sent.lease));
        exchange.call.client.framing.end();
        tunnel::upgraded(exchange.call.client, downstream, upstream, guards);
        return Response::from_parts(head, ResponseBody::Own(None));
    }
    head.extensions.clear();
    let account = Account {
        lease: sent.lease,
        in_flight: sent.in_flight,
        active: exchange.active,
        request: exchange.call.replay,
        outcome,
        watched: watched.map(|endpoint| Watched {
            cluster: Arc::clone(cluster),
            endpoint: endpoint.id,
        }),
    };
    let deadline = exchange.call.deadline.map(|at| Box::pin(sleep_until(at)));
    let body = Streamed::new(incoming, account, deadline);
    Response::from_parts(head, ResponseBody::Upstream(body))
}

/// How it went, by the head. None: a gRPC call, its trailers will say.
fn outcome(head: &http::response::Parts) -> Option<Outcome> {
    let outcome = Outcome::of(head.status);
    if outcome == Outcome::Success && headers::is_grpc(&head.headers) {
        return GrpcStatus::of(&head.headers).map(GrpcStatus::outcome);
    }
    Some(outcome)
}
