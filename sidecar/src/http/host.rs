//! Finding the host that a request names, by what the snapshot says and by asking the control plane.

use super::{
    Client,
    authority::{Authority, lower},
    matching::{self, Lookup},
};
use crate::{
    local::Current,
    model::{NetworkFilter, RouteConfiguration, Snapshot},
    store::Question,
};
use std::sync::Arc;

/// Where a host without a port is served.
const DEFAULT_PORT: u16 = 80;

/// A snapshot that knows the host, if the control plane answers in time.
pub(super) async fn known(client: &Client, authority: Option<&Authority>) -> Current {
    let snapshot = client.local.snapshot();
    let Some(authority) = authority else {
        return snapshot;
    };
    let unknown =
        |snapshot: &Snapshot| matches!(lookup(client, snapshot, Some(authority)), Lookup::Unknown);
    if !unknown(&snapshot) {
        return snapshot;
    }
    let Some(routes) = routes(client, &snapshot, Some(authority)) else {
        return snapshot;
    };
    let question = Question::VirtualHost {
        route_configuration: Arc::clone(&routes.name),
        host: lower(authority.host()).into(),
    };
    let answered = |snapshot: &Snapshot| !unknown(snapshot);
    client.local.ask(question, answered).await
}

/// Ends once the control plane has said where the host is served.
pub(super) async fn answered(client: &Client, authority: Option<&Authority>) {
    let found =
        |snapshot: &Snapshot| matches!(lookup(client, snapshot, authority), Lookup::Found(_));
    client.local.wait_for(found).await;
}

/// What the snapshot says of the host.
pub(super) fn lookup<'a>(
    client: &Client,
    snapshot: &'a Snapshot,
    authority: Option<&Authority>,
) -> Lookup<'a> {
    match routes(client, snapshot, authority) {
        Some(routes) => matching::host(routes, authority),
        None => Lookup::Missing,
    }
}

/// The routes for the connection's destination, or for the named port where it has none.
fn routes<'a>(
    client: &Client,
    snapshot: &'a Snapshot,
    authority: Option<&Authority>,
) -> Option<&'a Arc<RouteConfiguration>> {
    let listener = if client.entry.inbound {
        snapshot.inbound.as_ref()
    } else {
        snapshot.outbound.as_ref()
    }?;
    let http = |filter: &'a NetworkFilter| match filter {
        NetworkFilter::Http(manager) => Some(&manager.routes),
        NetworkFilter::Tcp(_) => None,
    };
    if let Some(destination) = client.destination() {
        return http(&listener.chain(destination, true)?.filter);
    }
    let port = authority.and_then(Authority::port).unwrap_or(DEFAULT_PORT);
    listener
        .chains
        .iter()
        .filter(|chain| chain.matches.destination_port == Some(port))
        .find_map(|chain| http(&chain.filter))
}
