//! What follows an upgrade.

use super::{Active, Client, websocket};
use crate::{model::EndpointId, tcp};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

/// A protocol that two connections have changed to.
pub(super) enum Upgraded {
    /// Its frames are followed.
    WebSocket,
    /// Bytes both ways.
    Other,
}

/// Forwards between two connections once both have changed protocol. What else must live as long is
/// in `guards`.
pub(super) fn upgraded<G: 'static>(
    client: &Client,
    protocol: Upgraded,
    (downstream, upstream): (OnUpgrade, OnUpgrade),
    endpoint: Option<EndpointId>,
    (active, guards): (Active, G),
) {
    client.framing.end();
    spawn_local(async move {
        let _guards = guards;
        let both = futures_util::future::try_join(downstream, upstream).await;
        let (downstream, upstream) = match both {
            Ok((one, other)) => (TokioIo::new(one), TokioIo::new(other)),
            Err(error) => {
                tracing::debug!(%error, "upgrade failed");
                return;
            }
        };
        match protocol {
            Upgraded::WebSocket => {
                websocket::carry(active, endpoint, downstream, upstream).await;
            }
            Upgraded::Other => tcp::forward_streams(active, endpoint, downstream, upstream).await,
        }
    });
}
