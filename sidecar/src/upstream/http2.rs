//! One HTTP/2 connection for many requests.

use super::{
    LocalExecutor, Protocol, RequestBody, SendError,
    connect::{ConnectError, connect},
};
use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::TokioIo;
use std::{cell::Cell, future::poll_fn, net::SocketAddr, pin::Pin, rc::Rc, time::Duration};

/// Requests' and responses' header lists may be this long.
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// A connection that takes requests until it is full or closed.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: http2::SendRequest<RequestBody>,
    streams: Rc<Streams>,
}

/// How many streams are open and how many the peer allows.
struct Streams {
    open: Cell<usize>,
    allowed: Cell<usize>,
}

impl Connection {
    /// Opens a connection and runs it in a task of its own.
    pub(super) async fn open(
        address: SocketAddr,
        mark: Option<u32>,
        limit: Duration,
    ) -> Result<Self, ConnectError> {
        let stream = connect(address, mark, limit).await?;
        let (sender, mut connection) = http2::Builder::new(LocalExecutor)
            .max_header_list_size(MAX_HEADER_LIST)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| ConnectError::Handshake(address, Rc::new(error)))?;
        let streams = Rc::new(Streams {
            open: Cell::new(0),
            allowed: Cell::new(connection.current_max_send_streams()),
        });
        let seen = Rc::clone(&streams);
        tokio::task::spawn_local(async move {
            let ended = poll_fn(|cx| {
                let ended = Pin::new(&mut connection).poll(cx);
                seen.allowed.set(connection.current_max_send_streams());
                ended
            });
            if let Err(error) = ended.await {
                tracing::debug!(%address, %error, "upstream connection ended");
            }
        });
        Ok(Self { sender, streams })
    }

    /// True while it may take another request.
    pub(super) fn has_room(&self) -> bool {
        self.streams.open.get() < self.streams.allowed.get()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// True while it carries no request.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.open.get() == 0
    }

    /// Counts a stream.
    pub(super) fn begin(&self) -> Lease {
        self.streams.open.set(self.streams.open.get() + 1);
        Lease(self.clone())
    }
}

/// One stream of a connection, counted as long as this lives.
pub(crate) struct Lease(Connection);

impl Lease {
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        self.0
            .sender
            .try_send_request(request)
            .await
            .map_err(|error| SendError::of(error, Protocol::Http2))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let open = &self.0.streams.open;
        open.set(open.get().saturating_sub(1));
    }
}
