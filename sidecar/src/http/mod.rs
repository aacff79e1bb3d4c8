//! The request path.
//!
//! [`serve`] runs one downstream connection; [`exchange`](exchange::serve) is the life of a request
//! as named phases:
//!
//! ```text
//! check -> find the host -> match a route -> place (session, weight) -> send (pick, connect, retry)
//!       -> decorate the response -> stream both bodies -> account
//! ```
//!
//! Invariant: a response begins at most once, and after it began nothing is retried.

mod answer;
mod attempt;
mod authority;
mod boundary;
mod connect;
mod exchange;
mod finish;
mod forwarded;
mod frames;
mod framing;
mod headers;
mod heads;
mod host;
pub mod matching;
mod recording;
mod response;
mod trace_context;
mod tunnel;
mod websocket;

use crate::{
    drain::{Kind, Phase},
    local::{Active, Entry, Local},
    upstream::{LocalExecutor, Protocol},
};
use framing::{Checked, Framing, Times};
use http::HeaderValue;
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    select,
    time::{Instant, sleep},
};

/// A connection without a request is closed after this time. As long as Envoy's: a proxy that
/// closes earlier than the client expects makes its next request fail.
pub(crate) const IDLE_LIMIT: Duration = Duration::from_secs(3600);
/// Requests that one HTTP/2 connection may have under way.
const MAX_STREAMS: u32 = 1024;
/// Headers that an HTTP/1 request may have; more are answered by 431.
const MAX_HEADERS: usize = 100;
/// Streams that a client resets before they are served. More of them end the connection: "rapid
/// reset" (CVE-2023-44487). Of those that we reset for an error of its ("made you reset",
/// CVE-2025-8671) h2 counts all of a connection's life, so its own 1,024 is left: a long-lived
/// connection must not end for a few.
const MAX_RESETS: usize = 100;
/// Header lists of HTTP/2 requests may be this long.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// One downstream connection, as its requests see it.
struct Client {
    local: Rc<Local>,
    entry: Rc<Entry>,
    protocol: Protocol,
    framing: Arc<Framing>,
    /// Who it is, where the application is to be told.
    peer: Option<HeaderValue>,
}

impl Client {
    fn destination(&self) -> Option<SocketAddr> {
        self.entry.destination
    }

    fn times(&self) -> Times {
        Times {
            head: self.local.limits.request_head,
            idle: self.local.limits.stream_idle,
        }
    }

    /// Counts a request as under way.
    fn begin(&self, since: Instant) -> Active {
        let kind = match self.protocol {
            Protocol::Http1 => Kind::Http1,
            Protocol::Http2 => Kind::Http2,
        };
        self.entry.begin(&self.local.drain, kind, since)
    }
}

/// Serves the requests of one connection until it ends.
pub(crate) async fn serve<S>(local: &Rc<Local>, entry: &Rc<Entry>, stream: S, protocol: Protocol)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Rc::new(Client {
        local: Rc::clone(local),
        entry: Rc::clone(entry),
        protocol,
        framing: Arc::default(),
        peer: entry.inbound.then(|| forwarded::peer(entry.peer)).flatten(),
    });
    let ended = match protocol {
        Protocol::Http1 => serve_http1(client, stream).await,
        Protocol::Http2 => serve_http2(client, stream).await,
    };
    if let Err(error) = ended {
        tracing::debug!(peer = %entry.peer, %error, "connection ended");
    }
}

async fn serve_http1<S>(client: Rc<Client>, stream: S) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    client.entry.protocol.set("http/1.1");
    let cut = client.local.drain.reached(Phase::Cut);
    let flow = Arc::clone(&client.entry.flow);
    let framing = Arc::clone(&client.framing);
    let stream = Checked::http1(stream, flow, framing, client.times());
    let service = service_fn(move |request| {
        let client = Rc::clone(&client);
        // Hyper keeps room for it as long as the connection is open: a box is there for a request.
        Box::pin(async move { Ok::<_, Infallible>(exchange::serve(&client, request).await) })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_LIMIT)
        .max_headers(MAX_HEADERS)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // While it drains, each response says `Connection: close`; an idle connection stays open, for
    // its client may be about to send.
    select! {
        ended = connection => ended,
        () = cut => Ok(()),
    }
}

async fn serve_http2<S>(client: Rc<Client>, stream: S) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    client.entry.protocol.set("h2c");
    let draining = client.local.drain.reached(Phase::Draining);
    let cut = client.local.drain.reached(Phase::Cut);
    let drain = Rc::clone(&client.local.drain);
    let is_late = drain.is_draining();
    let flow = Arc::clone(&client.entry.flow);
    let stream = Checked::http2(stream, flow, client.times());
    let entry = Rc::clone(&client.entry);
    let mut neglect = pin!(neglect(entry, client.local.limits.stream_idle));
    let service = service_fn(move |request| {
        let client = Rc::clone(&client);
        async move { Ok::<_, Infallible>(exchange::serve(&client, request).await) }
    });
    let mut connection = pin!(
        http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service)
    );
    let underway = select! {
        ended = connection.as_mut() => return ended,
        neglect = neglect.as_mut() => match neglect {
            Neglect::Shut => return Ok(()),
            Neglect::Idle => None,
        },
        // Until the client has seen the second GOAWAY it may begin streams. One that came after the drain
        // began is held up by its streams alone: gRPC connects again as often as it is sent away.
        () = draining => (!is_late).then(|| drain.hold()),
    };
    connection.as_mut().graceful_shutdown();
    let ended = select! {
        ended = connection => ended,
        () = cut => Ok(()),
    };
    drop(underway);
    ended
}

/// Why an HTTP/2 connection is not kept.
enum Neglect {
    /// Nothing was asked for in [`IDLE_LIMIT`].
    Idle,
    /// Responses wait, and the client has asked for nothing of any of them for so long.
    Shut,
}

/// Looks at an HTTP/2 connection once in `limit`. A stream whose window is shut while others go on
/// holds a bounded buffer and is left alone.
async fn neglect(entry: Rc<Entry>, limit: Duration) -> Neglect {
    let mut before = (entry.asked.get(), false);
    let mut idle = Duration::ZERO;
    loop {
        sleep(limit).await;
        let now = (entry.asked.get(), entry.held.get() > 0);
        if now == before && now.1 {
            return Neglect::Shut;
        }
        let active = entry.flow.active.load(Ordering::Relaxed) > 0;
        let moved = now.0 != before.0;
        idle = if active || moved {
            Duration::ZERO
        } else {
            idle + limit
        };
        if idle >= IDLE_LIMIT {
            return Neglect::Idle;
        }
        before = now;
    }
}
