//! Where opaque connections of the Pod's own application go.

use crate::{
    local::{Local, passthrough_cluster},
    model::{Cluster, Discovery, NetworkFilter, Snapshot},
    store::Question,
};
use std::{net::SocketAddr, sync::Arc};

/// The cluster for connections to `destination`: that of a chain that names it, one that the
/// control plane names when asked, or `destination` itself.
pub(super) async fn cluster(local: &Local, destination: SocketAddr) -> Arc<Cluster> {
    let snapshot = local.snapshot();
    let Some(listener) = &snapshot.outbound else {
        return passthrough_cluster();
    };
    let by_chain = match listener.chain(destination, false).map(|one| &one.filter) {
        Some(NetworkFilter::Tcp(cluster)) => Arc::clone(cluster),
        _ => passthrough_cluster(),
    };
    if by_chain.discovery == Discovery::Endpoints {
        return by_chain;
    }
    let asked = Question::Destination(destination);
    let snapshot = local
        .ask(asked, |snapshot| {
            snapshot.destinations.contains_key(&destination)
        })
        .await;
    let known = snapshot.destinations.get(&destination);
    known.cloned().flatten().unwrap_or(by_chain)
}

/// The cluster that the control plane names for `destination`, as soon as it does.
pub(super) async fn answer(local: &Local, destination: SocketAddr) -> Arc<Cluster> {
    let named = |snapshot: &Snapshot| snapshot.destinations.get(&destination).cloned().flatten();
    let snapshot = local.wait_for(|snapshot| named(snapshot).is_some()).await;
    named(&snapshot).unwrap_or_else(passthrough_cluster)
}
