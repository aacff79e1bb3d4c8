//! Connections that come in for the Pod's own application.

use super::{
    detect::{Detected, detect, slow},
    prefixed::Prefixed,
};
use crate::{
    drain::Kind,
    http,
    local::{Entry, Local, passthrough_cluster},
    model::{Cluster, NetworkFilter},
    tcp::{self, Opened},
    upstream::Protocol,
};
use bytes::BytesMut;
use std::{io, net::SocketAddr, rc::Rc, sync::Arc};
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

/// Serves a connection that was on its way to `destination`, the application's own address.
pub(super) async fn redirected(
    local: &Rc<Local>,
    entry: &Rc<Entry>,
    mut client: TcpStream,
    destination: SocketAddr,
) {
    let mut read = BytesMut::new();
    let detected = match protocol(local, &mut client, &mut read, destination).await {
        Ok(Some(detected)) => detected,
        Ok(None) => return,
        Err(error) => {
            tracing::debug!(peer = %entry.peer, %destination, %error, "closed before it was served");
            return;
        }
    };
    let read = read.freeze();
    let serve = |client, protocol| http::serve(local, entry, client, protocol);
    match detected {
        (Detected::Http1, _) => serve(Prefixed::new(read, client), Protocol::Http1).await,
        (Detected::Http2, _) => serve(Prefixed::new(read, client), Protocol::Http2).await,
        (Detected::Opaque, opened) => {
            entry.protocol.set("tcp");
            let opened = match opened {
                Some(opened) => Some(opened),
                None => open(local, destination).await,
            };
            if let Some(opened) = opened {
                let active = entry.begin(&local.drain, Kind::Tcp, Instant::now());
                tcp::forward(local, active, (read, client), opened).await;
            }
        }
    }
}

/// What the client speaks, and the upstream connection where one was opened to find that out.
async fn protocol(
    local: &Rc<Local>,
    client: &mut TcpStream,
    read: &mut BytesMut,
    destination: SocketAddr,
) -> io::Result<Option<(Detected, Option<Opened>)>> {
    let snapshot = local.snapshot();
    let chain = snapshot.inbound.as_ref();
    let chain = chain.and_then(|listener| listener.chain(destination, true));
    if !chain.is_some_and(|chain| matches!(chain.filter, NetworkFilter::Http(_))) {
        return Ok(Some((Detected::Opaque, None)));
    }
    match timeout(local.limits.detect, detect(client, read)).await {
        Ok(detected) => Ok(detected?.map(|detected| (detected, None))),
        Err(_elapsed) if read.is_empty() => slow(client, read, open(local, destination)).await,
        Err(_elapsed) => Ok(Some((Detected::Opaque, None))),
    }
}

async fn open(local: &Rc<Local>, destination: SocketAddr) -> Option<Opened> {
    let cluster = cluster(local, destination);
    match tcp::open(local, &cluster, Some(destination)).await {
        Ok(opened) => Some(opened),
        Err(error) => {
            tracing::debug!(%destination, cluster = &*cluster.name, %error, "not connected");
            None
        }
    }
}

/// Where opaque connections go; before the first configuration, to the application all the same.
fn cluster(local: &Local, destination: SocketAddr) -> Arc<Cluster> {
    let snapshot = local.snapshot();
    let chain = snapshot.inbound.as_ref();
    match chain.and_then(|listener| listener.chain(destination, false)) {
        Some(chain) => match &chain.filter {
            NetworkFilter::Tcp(cluster) => Arc::clone(cluster),
            NetworkFilter::Http(_) => passthrough_cluster(),
        },
        None => passthrough_cluster(),
    }
}
