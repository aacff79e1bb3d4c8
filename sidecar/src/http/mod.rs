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
mod connect;
mod exchange;
mod framing;
mod headers;
mod heads;
pub mod matching;
mod response;
mod tunnel;

use crate::{
    drain::Phase,
    local::{Active, Entry, Local},
    upstream::{LocalExecutor, Protocol},
};
use framing::{Checked, Framing};
use hyper::{
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, net::SocketAddr, pin::pin, rc::Rc, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    select,
};

/// A connection without a request is closed after this time. As long as Envoy's: a proxy that
/// closes earlier than the client expects makes its next request fail.
const IDLE_LIMIT: Duration = Duration::from_secs(3600);
/// Requests that one HTTP/2 connection may have under way.
const MAX_STREAMS: u32 = 1024;
/// Header lists of HTTP/2 requests may be this long.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// One downstream connection, as its requests see it.
struct Client {
    local: Rc<Local>,
    entry: Rc<Entry>,
    protocol: Protocol,
    framing: Arc<Framing>,
}

impl Client {
    fn destination(&self) -> Option<SocketAddr> {
        self.entry.destination
    }

    /// Counts a request as under way.
    fn begin(&self) -> Active {
        self.entry.begin(&self.local.drain)
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
    let writing = Arc::clone(&client.entry.writing);
    let framing = Arc::clone(&client.framing);
    let limit = client.local.limits.request_head;
    let stream = Checked::http1(stream, writing, framing, limit);
    let service = service_fn(move |request| {
        let client = Rc::clone(&client);
        async move { Ok::<_, Infallible>(exchange::serve(&client, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_LIMIT)
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
    let stream = Checked::new(stream, Arc::clone(&client.entry.writing));
    let service = service_fn(move |request| {
        let client = Rc::clone(&client);
        async move { Ok::<_, Infallible>(exchange::serve(&client, request).await) }
    });
    let mut connection = pin!(
        http2::Builder::new(LocalExecutor)
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEADER_LIST)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service)
    );
    select! {
        ended = connection.as_mut() => return ended,
        () = draining => connection.as_mut().graceful_shutdown(),
    }
    // Until the client has seen the second GOAWAY it may begin streams.
    let _underway = drain.begin();
    select! {
        ended = connection => ended,
        () = cut => Ok(()),
    }
}
