//! Opaque connections: opened to an endpoint, then bytes both ways.
//!
//! Each direction ends by itself (half-close). A connect that fails is tried at other endpoints:
//! nothing was sent yet. Once bytes flow nothing is retried.
//!
//! Invariant: a connection is cut only when one side ends it or the drain's deadline has passed.

mod relay;
mod route;

use crate::{
    balance::{Choice, Outcome},
    drain::Phase,
    local::{Active, Local, Opaque, Slot},
    model::{Cluster, Discovery, ErrorClass},
    upstream::{ConnectError, connect},
};
use bytes::Bytes;
use std::{io, net::SocketAddr, rc::Rc};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes},
    net::TcpStream,
    select,
};

/// How many endpoints are tried.
const TRIES: usize = 3;
/// Bytes read at once, per direction.
const BUFFER: usize = 64 * 1024;

/// An upstream connection, not yet counted as in use.
pub(crate) struct Opened {
    /// The connection.
    pub stream: TcpStream,
    slot: Slot,
}

impl AsRef<TcpStream> for Opened {
    fn as_ref(&self) -> &TcpStream {
        &self.stream
    }
}

/// Why an opaque connection has no upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// No endpoint may be picked.
    #[error("no healthy endpoint")]
    NoEndpoint,
    /// The cluster goes to the original destination, but there is none.
    #[error("no original destination")]
    NoDestination,
    /// It would come back to this sidecar.
    #[error("{0} is this sidecar's own listener")]
    Loop(SocketAddr),
    /// The last connect failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Connects to where a connection of the Pod's own application to `destination` goes. As long as
/// none stands, the control plane's answer beats the guess that nobody serves it.
pub(crate) async fn reach(local: &Rc<Local>, destination: SocketAddr) -> Result<Opened, OpenError> {
    let cluster = route::cluster(local, destination).await;
    let is_guess = cluster.discovery == Discovery::OriginalDst;
    select! {
        biased;
        opened = open(local, &cluster, Some(destination)) => opened,
        cluster = route::answer(local, destination), if is_guess => {
            open(local, &cluster, None).await
        }
    }
}

/// Connects to an endpoint of a cluster, or to `destination` where the cluster says so.
pub(crate) async fn open(
    local: &Rc<Local>,
    cluster: &Cluster,
    destination: Option<SocketAddr>,
) -> Result<Opened, OpenError> {
    match cluster.discovery {
        Discovery::OriginalDst => {
            let address = destination.ok_or(OpenError::NoDestination)?;
            if local.is_own(address) {
                return Err(OpenError::Loop(address));
            }
            let slot = local.load.borrow_mut().address(cluster, address);
            let stream = connect_counted(local, cluster, address, slot).await?;
            Ok(Opened { stream, slot })
        }
        Discovery::Endpoints => open_endpoint(local, cluster).await,
    }
}

async fn open_endpoint(local: &Rc<Local>, cluster: &Cluster) -> Result<Opened, OpenError> {
    let mut tried = Vec::new();
    loop {
        let endpoint = local
            .pick(cluster, Choice::Weighted, &tried)
            .ok_or(OpenError::NoEndpoint)?;
        let slot = local.load.borrow_mut().endpoint(cluster, endpoint);
        match connect_counted(local, cluster, endpoint.address, slot).await {
            Ok(stream) => {
                local.report(cluster, endpoint, Outcome::Success);
                return Ok(Opened { stream, slot });
            }
            Err(error) => {
                local.report(cluster, endpoint, Outcome::GatewayFailure);
                tried.push(endpoint.id);
                if tried.len() >= TRIES {
                    return Err(error.into());
                }
            }
        }
    }
}

async fn connect_counted(
    local: &Rc<Local>,
    cluster: &Cluster,
    address: SocketAddr,
    slot: Slot,
) -> Result<TcpStream, ConnectError> {
    let connected = connect(address, local.limits.mark, cluster.connect_timeout).await;
    local.load.borrow_mut().update(slot, |load| {
        load.connected(connected.is_ok());
        if connected.is_err() {
            load.errors.count(ErrorClass::Connect);
        }
    });
    connected
}

/// Forwards bytes between two sockets until both sides have ended, one fails, or the drain cuts it.
/// `first` was read from the client before.
pub(crate) async fn forward(
    local: &Rc<Local>,
    active: Active,
    (first, mut client): (Bytes, TcpStream),
    mut upstream: Opened,
) {
    let slot = upstream.slot;
    let relayed = relay::relay(&mut client, &first, &mut upstream.stream);
    until_ended(local, active, slot, relayed).await;
}

/// The same for a client that is not a socket of its own, such as a stream of HTTP/2.
pub(crate) async fn forward_stream<S: AsyncRead + AsyncWrite + Unpin>(
    local: &Rc<Local>,
    active: Active,
    mut client: S,
    mut upstream: Opened,
) {
    let slot = upstream.slot;
    let copied = copy_bidirectional_with_sizes(&mut client, &mut upstream.stream, BUFFER, BUFFER);
    until_ended(local, active, slot, copied).await;
}

async fn until_ended(
    local: &Rc<Local>,
    active: Active,
    slot: Slot,
    forwarding: impl Future<Output = io::Result<(u64, u64)>>,
) {
    let _opaque = Opaque::begin(local, slot);
    let peer = active.entry.peer;
    let ended = select! {
        ended = forwarding => ended,
        () = local.drain.reached(Phase::Cut) => {
            tracing::info!(%peer, "opaque connection cut: the drain's deadline has passed");
            return;
        }
    };
    match ended {
        Ok((sent, received)) => tracing::debug!(%peer, sent, received, "closed"),
        Err(error) => tracing::debug!(%peer, %error, "opaque connection failed"),
    }
}
