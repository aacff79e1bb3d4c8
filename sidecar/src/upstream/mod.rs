//! Connections to endpoints: opened, kept for the next request, dropped when their endpoint drains.
//!
//! It is told where to connect; it chooses nothing and knows no routes. All of it belongs to one
//! worker.
//!
//! Invariant: a connection to an endpoint that drains or is gone takes no new request.

mod body;
mod connect;
mod error;
mod http1;
mod http2;
mod patience;
mod pool;

pub(crate) use body::{Replay, RequestBody};
pub(crate) use connect::{ConnectError, KEEPALIVE, connect};
pub(crate) use error::SendError;
pub(crate) use patience::Patience;
pub(crate) use pool::{Key, Lease, Pool, Target};

use hyper::rt::Executor;

/// Runs hyper's tasks on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalExecutor;

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Which HTTP an upstream connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}
