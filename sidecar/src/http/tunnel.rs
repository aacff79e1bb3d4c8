//! Bytes both ways after an upgrade or a CONNECT.

use super::{Active, Client};
use crate::{drain::Phase, local::Local};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::rc::Rc;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    select,
    task::spawn_local,
};

/// Forwards between two connections once both have changed protocol. `guards` live as long.
pub(super) fn upgraded<G: 'static>(
    client: &Client,
    downstream: OnUpgrade,
    upstream: OnUpgrade,
    guards: (Active, G),
) {
    let local = Rc::clone(&client.local);
    spawn_local(async move {
        let _guards = guards;
        match futures_util::future::try_join(downstream, upstream).await {
            Ok((one, other)) => copy(&local, TokioIo::new(one), TokioIo::new(other)).await,
            Err(error) => tracing::debug!(%error, "upgrade failed"),
        }
    });
}

/// Copies until both sides have ended, one fails, or the drain cuts it.
pub(super) async fn copy<A, B>(local: &Local, mut one: A, mut other: B)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    select! {
        copied = copy_bidirectional(&mut one, &mut other) => {
            if let Err(error) = copied {
                tracing::debug!(%error, "tunnel failed");
            }
        }
        () = local.drain.reached(Phase::Cut) => {
            tracing::info!("tunnel cut: the drain's deadline has passed");
        }
    }
}
