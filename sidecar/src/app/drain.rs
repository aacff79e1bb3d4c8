//! From the signal to the exit.

use super::{Failure, start::Sidecar};
use crate::store::{self, Worker};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use std::{process::ExitCode, time::Duration};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tracing::{error, info, warn};

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

/// Serves until a signal, drains, says goodbye. A second signal ends it at once. A worker that ends
/// by itself ends all: half a sidecar would lose what the kernel hands to the missing half.
pub(super) async fn until_stopped(
    mut signals: Signals,
    sidecar: Sidecar,
    deadline: Duration,
) -> ExitCode {
    let outcome = tokio::select! {
        () = signals.next() => ExitCode::SUCCESS,
        () = any_ended(&sidecar.workers) => {
            error!("a worker has ended by a fault; stopping, so that the sidecar is started anew");
            ExitCode::FAILURE
        }
    };
    info!(?deadline, "draining");
    let stopped = async {
        drain(&sidecar, deadline).await;
        sidecar.client.shutdown().await;
    };
    tokio::select! {
        () = stopped => {
            info!("drained");
            outcome
        }
        () = signals.next() => {
            warn!("stopped before everything was drained");
            ExitCode::FAILURE
        }
    }
}

/// Waits until one of the workers has ended.
async fn any_ended(workers: &[Worker]) {
    let mut all: FuturesUnordered<_> = workers.iter().map(Worker::ended).collect();
    if all.next().await.is_none() {
        std::future::pending::<()>().await;
    }
}

async fn drain(sidecar: &Sidecar, deadline: Duration) {
    let all = store::drain(&sidecar.workers, deadline, true);
    if timeout(deadline + GRACE, all).await.is_err() {
        warn!("a worker did not drain in time");
    }
}

#[cfg(test)]
mod tests {
    use super::any_ended;
    use crate::store::Worker;
    use futures_util::FutureExt as _;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn one_worker_that_ends_is_noticed() {
        let (commands, _running) = mpsc::unbounded_channel();
        let (other, received) = mpsc::unbounded_channel();
        let workers = [Worker { commands }, Worker { commands: other }];
        assert!(any_ended(&workers).now_or_never().is_none());
        // As a panic does, which unwinds the worker's thread.
        let died = std::thread::spawn(move || {
            let _held = received;
            panic!("a fault in the worker");
        });
        assert!(died.join().is_err());
        any_ended(&workers).await;
        assert!(workers[0].is_running() && !workers[1].is_running());
    }

    #[tokio::test]
    async fn a_sidecar_without_workers_is_not_one_whose_workers_ended() {
        assert!(any_ended(&[]).now_or_never().is_none());
    }
}
