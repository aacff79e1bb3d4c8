//! The accept loop: one per listener and worker.

use super::{inbound, original, outbound};
use crate::local::Local;
use std::{rc::Rc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    task::spawn_local,
    time::sleep,
};

/// How long to wait where the process has no descriptors left.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Accepts for ever. Each connection is served in a task of its own.
pub(crate) async fn accept(listener: TcpListener, local: Rc<Local>, is_inbound: bool) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let local = Rc::clone(&local);
                spawn_local(serve(local, stream, peer, is_inbound));
            }
            Err(error) => {
                // The connection's own errors pass by themselves; a lack of descriptors does not.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(BACK_OFF).await;
            }
        }
    }
}

async fn serve(local: Rc<Local>, stream: TcpStream, peer: std::net::SocketAddr, is_inbound: bool) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "closed before it was served");
        return;
    }
    let destination = original::destination(&stream);
    if let Some(destination) = destination
        && local.is_own(destination)
    {
        tracing::warn!(%peer, %destination, "refused: it was meant for the sidecar itself");
        return;
    }
    let Some(entry) = local.connections.open(is_inbound, peer, destination) else {
        // The metric counts them; a line for each would be another flood.
        let limit = local.limits.max_connections;
        local.say_rarely(|| tracing::warn!(%peer, limit, "refused: too many connections are open"));
        return;
    };
    match (is_inbound, destination) {
        (false, Some(destination)) => {
            outbound::redirected(&local, &entry, stream, destination).await;
        }
        (false, None) => outbound::explicit(&local, &entry, stream).await,
        (true, Some(destination)) => {
            inbound::redirected(&local, &entry, stream, destination).await;
        }
        (true, None) => {
            tracing::debug!(%peer, "closed: it came in without an original destination");
        }
    }
}
