//! The connections of one worker that wait for their next request.
//!
//! HTTP/1.1: a stack per endpoint, so that the warmest is used and the rest grow old. HTTP/2: one
//! connection per endpoint, more only where the peer's stream limit is reached.

use super::{
    ConnectError, Protocol, RequestBody, SendError,
    http1::{self, Sender},
    http2,
};
use crate::model::{EndpointId, Health, Snapshot};
use futures_util::{
    FutureExt,
    future::{LocalBoxFuture, Shared},
};
use http::{Request, Response};
use hyper::body::Incoming;
use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc, time::Duration};
use tokio::time::Instant;

/// An HTTP/1.1 connection that waited this long is closed, or shorter where the peer says so. Less
/// than the 5 s after which common servers (Node.js, uvicorn, Apache) close theirs: a request that
/// crosses such a close is lost, unless it may be sent twice. A new connection costs less.
pub(super) const IDLE_SECONDS: u8 = 4;

/// What connections are kept by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// An endpoint of a cluster.
    Endpoint(EndpointId),
    /// An original destination.
    Address(SocketAddr),
}

/// Where a connection is needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// Whose.
    pub key: Key,
    /// Where to connect.
    pub address: SocketAddr,
    /// What to speak.
    pub protocol: Protocol,
    /// How long a connect may take.
    pub connect_timeout: Duration,
}

type Connecting = Shared<LocalBoxFuture<'static, Result<http2::Connection, ConnectError>>>;

#[derive(Default)]
struct Entry {
    /// And until when they may be used.
    idle: Vec<(Sender, Instant)>,
    multiplexed: Vec<http2::Connection>,
    connecting: Option<Connecting>,
}

/// The connections of one worker.
pub(crate) struct Pool {
    mark: Option<u32>,
    entries: RefCell<HashMap<Key, Entry>>,
    /// By endpoint id: may its connections be kept?
    usable: RefCell<Vec<bool>>,
}

/// A connection lent to one request.
pub(crate) enum Lease {
    /// HTTP/1.1.
    Http1(http1::Lease),
    /// HTTP/2.
    Http2(http2::Lease),
}

/// What came of asking for a connection.
pub(crate) struct Leased {
    /// The connection.
    pub lease: Result<Lease, ConnectError>,
    /// One was tried for it: it was neither kept nor another's.
    pub tried: bool,
}

impl Lease {
    /// Sends a request and waits for the head of its response.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        match self {
            Self::Http1(lease) => lease.send(request).await,
            Self::Http2(lease) => lease.send(request).await,
        }
    }

    /// True for an HTTP/1.1 connection that served another request before: it may have been closed
    /// by the peer in the meantime.
    pub(crate) const fn may_be_stale(&self) -> bool {
        matches!(self, Self::Http1(lease) if lease.is_reused())
    }

    /// The peer closes the connection once it has been idle for so long.
    pub(crate) fn idle_timeout(&mut self, timeout: Duration) {
        if let Self::Http1(lease) = self {
            lease.idle_timeout(timeout);
        }
    }

    /// The response was read to the end.
    pub(crate) fn give_back(self) {
        if let Self::Http1(lease) = self {
            lease.give_back();
        }
    }
}

impl Pool {
    /// Connections carry `mark`.
    pub(crate) fn new(mark: Option<u32>) -> Rc<Self> {
        Rc::new(Self {
            mark,
            entries: RefCell::default(),
            usable: RefCell::default(),
        })
    }

    /// Takes note of a new snapshot: connections of endpoints that drain or are gone are dropped,
    /// HTTP/2 ones once their streams have ended.
    pub(crate) fn follow(&self, snapshot: &Snapshot) {
        let ids = usize::try_from(snapshot.endpoint_ids).unwrap_or(0);
        let mut usable = vec![false; ids];
        for endpoint in snapshot.clusters.values().flat_map(|c| &c.endpoints) {
            if endpoint.health != Health::Draining
                && let Some(flag) = index(endpoint.id).and_then(|index| usable.get_mut(index))
            {
                *flag = true;
            }
        }
        *self.usable.borrow_mut() = usable;
        let mut entries = self.entries.borrow_mut();
        entries.retain(|key, _| self.may_keep(*key));
    }

    /// Drops what waited too long.
    pub(crate) fn sweep(&self, now: Instant) {
        self.entries.borrow_mut().retain(|key, entry| {
            entry
                .idle
                .retain(|(sender, until)| !sender.is_closed() && now < *until);
            entry
                .multiplexed
                .retain(|connection| !connection.is_closed());
            let used = !entry.idle.is_empty()
                || !entry.multiplexed.is_empty()
                || entry.connecting.is_some();
            used && self.may_keep(*key)
        });
    }

    /// Lends a connection, a kept one unless `fresh`.
    pub(crate) async fn lease(self: &Rc<Self>, target: &Target, fresh: bool) -> Leased {
        match target.protocol {
            Protocol::Http1 => {
                let kept = if fresh { None } else { self.take(target.key) };
                let tried = kept.is_none();
                let sender = match kept {
                    Some(sender) => Ok(sender),
                    None => http1::open(target.address, self.mark, target.connect_timeout).await,
                };
                let lend = |sender| http1::Lease::new(sender, target.key, Rc::clone(self), !tried);
                Leased {
                    lease: sender.map(lend).map(Lease::Http1),
                    tried,
                }
            }
            Protocol::Http2 => {
                let (lease, tried) = self.multiplexed(target).await;
                Leased {
                    lease: lease.map(Lease::Http2),
                    tried,
                }
            }
        }
    }

    /// Keeps a connection so many seconds for the next request, if its endpoint may still have one.
    pub(super) fn keep(&self, key: Key, sender: Sender, seconds: u8) {
        if self.may_keep(key) {
            let mut entries = self.entries.borrow_mut();
            let entry = entries.entry(key).or_default();
            let until = Instant::now() + Duration::from_secs(seconds.into());
            entry.idle.push((sender, until));
        }
    }

    fn take(&self, key: Key) -> Option<Sender> {
        let mut entries = self.entries.borrow_mut();
        let idle = &mut entries.get_mut(&key)?.idle;
        let now = Instant::now();
        while let Some((sender, until)) = idle.pop() {
            if sender.is_ready() && now < until {
                return Some(sender);
            }
        }
        None
    }

    /// A stream, and whether a connection was tried for it rather than for another.
    async fn multiplexed(&self, target: &Target) -> (Result<http2::Lease, ConnectError>, bool) {
        loop {
            let connecting = {
                let mut entries = self.entries.borrow_mut();
                let entry = entries.entry(target.key).or_default();
                entry
                    .multiplexed
                    .retain(|connection| !connection.is_closed());
                if let Some(connection) = entry.multiplexed.iter().find(|c| c.has_room()) {
                    return (Ok(connection.begin()), false);
                }
                entry
                    .connecting
                    .get_or_insert_with(|| self.open(target))
                    .clone()
            };
            let connected = connecting.clone().await;
            let mut entries = self.entries.borrow_mut();
            let entry = entries.entry(target.key).or_default();
            // The first of those who waited files it; the others find it there.
            let first = entry
                .connecting
                .take_if(|other| other.ptr_eq(&connecting))
                .is_some();
            let connection = match connected {
                Ok(connection) => connection,
                Err(error) => return (Err(error), first),
            };
            if first {
                let lease = connection.begin();
                if self.may_keep(target.key) {
                    entry
                        .multiplexed
                        .retain(|other| !other.is_idle() || other.has_room());
                    entry.multiplexed.push(connection);
                }
                return (Ok(lease), true);
            }
            if connection.has_room() && !connection.is_closed() {
                return (Ok(connection.begin()), false);
            }
        }
    }

    fn open(&self, target: &Target) -> Connecting {
        let (address, mark, limit) = (target.address, self.mark, target.connect_timeout);
        http2::Connection::open(address, mark, limit)
            .boxed_local()
            .shared()
    }

    fn may_keep(&self, key: Key) -> bool {
        match key {
            Key::Address(_) => true,
            Key::Endpoint(id) => index(id)
                .and_then(|index| self.usable.borrow().get(index).copied())
                .unwrap_or(false),
        }
    }
}

fn index(id: EndpointId) -> Option<usize> {
    usize::try_from(id.0).ok()
}
