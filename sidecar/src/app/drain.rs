//! From the signal to the exit.

use super::{Failure, start::Sidecar};
use crate::store::Command;
use std::{process::ExitCode, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    time::timeout,
};
use tracing::{info, warn};

/// Workers keep the deadline themselves; one that hangs is not waited for longer than this.
const GRACE: Duration = Duration::from_secs(1);

/// The signals that stop a sidecar.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on these signals don't kill the process.
    pub(super) fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::system(format_args!("signals can't be heard: {error}")))
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Serves until a signal, drains, says goodbye. A second signal ends it at once.
pub(super) async fn until_stopped(
    mut signals: Signals,
    sidecar: Sidecar,
    deadline: Duration,
) -> ExitCode {
    signals.next().await;
    info!(?deadline, "draining");
    let stopped = async {
        drain(&sidecar, deadline).await;
        sidecar.client.shutdown().await;
    };
    tokio::select! {
        () = stopped => {
            info!("drained");
            ExitCode::SUCCESS
        }
        () = signals.next() => {
            warn!("stopped before everything was drained");
            ExitCode::FAILURE
        }
    }
}

async fn drain(sidecar: &Sidecar, deadline: Duration) {
    let draining: Vec<_> = sidecar
        .workers
        .iter()
        .filter_map(|worker| {
            let (done, drained) = oneshot::channel();
            let command = Command::Drain { deadline, done };
            worker.commands.send(command).ok().map(|()| drained)
        })
        .collect();
    let all = async {
        for drained in draining {
            // An error says that the worker has ended.
            drained.await.ok();
        }
    };
    if timeout(deadline + GRACE, all).await.is_err() {
        warn!("a worker did not drain in time");
    }
}
