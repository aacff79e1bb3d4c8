//! The life of a request, as named phases.

use super::{
    Active, Client,
    answer::{self, Refusal},
    attempt::{self, Call, Sent},
    authority::{self, Authority},
    connect,
    finish::finish,
    forwarded,
    framing::MIN_RATE,
    headers,
    heads::Fault,
    host::{known, lookup},
    matching::{self, Lookup},
    recording::Recording,
    response::ResponseBody,
};
use crate::{
    affinity::{self, Placement},
    balance::Outcome,
    drain::Ending,
    local::Local,
    model::{Cluster, Discovery, ErrorClass, Header, Route, VirtualHost},
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
use tokio::{select, time::Instant};

/// Answers one request.
pub(super) async fn serve(
    client: &Rc<Client>,
    mut request: Request<Incoming>,
) -> Response<ResponseBody> {
    let grpc = headers::is_grpc(request.headers());
    let mut recording = Recording::begin(client, &mut request);
    let started = Instant::now();
    let active = client.begin(started);
    let drain = &client.local.drain;
    let key = active.underway.key();
    let answered = select! {
        biased;
        answered = exchange(client, request, (started, active), &mut recording) => answered,
        // A call that has not begun to be answered is told so; other requests are cut.
        () = drain.reaches(key, Ending::Due), if grpc => Err(Refusal::drained(answer::pushback(&client.local))),
    };
    let mut response = match answered {
        Ok(response) => response,
        Err(refusal) => {
            recording.refused(&refusal);
            refusal.response(grpc)
        }
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
pub(super) struct Exchange<'a> {
    /// What is sent.
    pub call: Call<'a>,
    /// When it began.
    pub started: Instant,
    /// Where an upgrade was asked for: the client's connection, once it is agreed to.
    pub upgrade: Option<OnUpgrade>,
    /// It is under way.
    pub active: Active,
    /// What is told of it.
    pub recording: &'a mut Recording,
}

async fn exchange(
    client: &Rc<Client>,
    request: Request<Incoming>,
    (started, active): (Instant, Active),
    recording: &mut Recording,
) -> Result<Response<ResponseBody>, Refusal> {
    let (head, incoming) = request.into_parts();
    let authority = check(client, &head)?;
    if head.method == Method::CONNECT {
        return connect::serve(client, head, authority, active).await;
    }
    let times = (started, active);
    let mut exchange = begin(client, (head, incoming), authority, times, recording);
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
fn begin<'a>(
    client: &'a Rc<Client>,
    (mut head, incoming): (Parts, Incoming),
    authority: Option<Authority>,
    (started, active): (Instant, Active),
    recording: &'a mut Recording,
) -> Exchange<'a> {
    let wants_upgrade = head.version == Version::HTTP_11 && headers::wants_upgrade(&head.headers);
    let upgrade = head.extensions.remove::<OnUpgrade>();
    head.extensions.clear();
    headers::strip(&mut head.headers, wants_upgrade);
    forwarded::mark(client, &mut head.headers);
    recording.headers(&head.headers);
    let patience = patience(client, &incoming);
    let (body, replay) = RequestBody::new(incoming, patience);
    Exchange {
        call: Call {
            client,
            head: Some(head),
            body: Some(body),
            replay,
            authority,
            hash: None,
            pinned: false,
            is_guess: false,
            deadline: None,
        },
        started,
        upgrade: upgrade.filter(|_| wants_upgrade),
        active,
        recording,
    }
}

/// How long is waited for a body whose length the client has announced. That of HTTP/1 is followed
/// on the socket; HTTP/2's streams share one.
fn patience(client: &Client, incoming: &Incoming) -> Option<Patience> {
    let announced = client.protocol == Protocol::Http2 && incoming.size_hint().exact().is_some();
    announced.then(|| Patience::rate(client.local.limits.stream_idle, MIN_RATE))
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
    exchange.call.hash = placement.key.hash;
    exchange.call.pinned = placement.pinned;
    exchange.call.deadline = route.timeout.map(|limit| exchange.started + limit);
    let sent = send(&mut exchange.call, host, route, &placement).await?;
    if sent.response.status() == StatusCode::SWITCHING_PROTOCOLS && exchange.upgrade.is_none() {
        return Err(unasked(local, sent));
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
fn unasked(local: &Local, mut sent: Sent<'_>) -> Refusal {
    sent.in_flight.end(Err(ErrorClass::Response));
    if let Some(endpoint) = sent.endpoint {
        local.report(sent.cluster, endpoint, Outcome::GatewayFailure);
    }
    Refusal::new(
        StatusCode::BAD_GATEWAY,
        "the upstream changed to a protocol that was not asked for",
    )
}

/// The Pod's own application, for a request that came in and was to be forwarded to other instances,
/// none of which could be reached.
fn stand_in<'h>(
    call: &Call<'_>,
    host: &'h VirtualHost,
    tried: &Cluster,
) -> Option<&'h Arc<Cluster>> {
    let is_forwarded = call.client.entry.inbound && tried.discovery == Discovery::Endpoints;
    (is_forwarded && call.is_unsent()).then(|| host.own_application())?
}
