//! One HTTP/1.1 connection at a time: sent on, and given back to the pool when its response ends.

use super::{
    Key, Pool, Protocol, RequestBody, SendError, connect, connect::ConnectError, pool::IDLE_SECONDS,
};
use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, rc::Rc, time::Duration};

/// A peer's timer began when it wrote; a request must arrive before that runs out.
const IDLE_MARGIN: Duration = Duration::from_secs(1);

/// The sending half of a connection.
pub(super) type Sender = http1::SendRequest<RequestBody>;

/// Opens a connection and runs it in a task of its own.
pub(super) async fn open(
    address: SocketAddr,
    mark: Option<u32>,
    limit: Duration,
) -> Result<Sender, ConnectError> {
    let stream = connect(address, mark, limit).await?;
    let (sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| ConnectError::Handshake(address, Rc::new(error)))?;
    tokio::task::spawn_local(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%address, %error, "upstream connection ended");
        }
    });
    Ok(sender)
}

/// A connection lent to one request.
pub(crate) struct Lease {
    sender: Sender,
    key: Key,
    pool: Rc<Pool>,
    reused: bool,
    /// How many seconds it may wait for the next request.
    idle: u8,
}

impl Lease {
    pub(super) const fn new(sender: Sender, key: Key, pool: Rc<Pool>, reused: bool) -> Self {
        Self {
            sender,
            key,
            pool,
            reused,
            idle: IDLE_SECONDS,
        }
    }

    /// True where it served another request before.
    pub(crate) const fn is_reused(&self) -> bool {
        self.reused
    }

    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        self.sender
            .try_send_request(request)
            .await
            .map_err(|error| SendError::of(error, Protocol::Http1))
    }

    /// The peer closes it once it has been idle for `timeout`; it is not used that long.
    pub(super) fn idle_timeout(&mut self, timeout: Duration) {
        let seconds = timeout.saturating_sub(IDLE_MARGIN).as_secs();
        self.idle = IDLE_SECONDS.min(u8::try_from(seconds).unwrap_or(IDLE_SECONDS));
    }

    /// Gives the connection back: its response was read to the end.
    pub(crate) fn give_back(self) {
        let Self {
            mut sender,
            key,
            pool,
            idle,
            ..
        } = self;
        if sender.is_ready() {
            pool.keep(key, sender, idle);
        } else if !sender.is_closed() {
            // The request's own body is still on its way.
            tokio::task::spawn_local(async move {
                if sender.ready().await.is_ok() {
                    pool.keep(key, sender, idle);
                }
            });
        }
    }
}
