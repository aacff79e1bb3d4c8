//! What the rest of the process asks of a worker, and a worker of the rest.
//!
//! A worker is one thread with its own runtime, connections and numbers. Nothing is shared with it
//! but immutable snapshots; everything else goes through these two channels.

use crate::model::{Snapshot, WorkerLoad};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::{mpsc, oneshot};

/// What a worker is told.
#[derive(Debug)]
pub enum Command {
    /// Serve every request that begins from now on by this snapshot; answer once that is so.
    Apply(Arc<Snapshot>, oneshot::Sender<()>),
    /// Hand over what was measured since the last time.
    CollectLoad(oneshot::Sender<WorkerLoad>),
    /// List the open connections.
    ListConnections(oneshot::Sender<Vec<ConnectionInfo>>),
    /// List what is under way.
    ListStreams(oneshot::Sender<OpenStreams>),
    /// Begin to drain: answer on with `Connection: close` and GOAWAY until nothing happens any
    /// more, end long-lived streams one after the other.
    Drain {
        /// From now.
        deadline: Duration,
        /// Cut what is left at the deadline: the process is about to exit.
        cut: bool,
        /// Answered then; whoever connects later is still served.
        done: oneshot::Sender<()>,
    },
}

/// One open downstream connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// True: it came in for the Pod's own application.
    pub inbound: bool,
    /// `http/1.1`, `h2c`, `tcp`, `detecting`.
    pub protocol: &'static str,
    /// Who connected.
    pub peer: SocketAddr,
    /// What it wanted to reach, where it was redirected.
    pub original_destination: Option<SocketAddr>,
    /// Requests (or the one opaque stream) under way.
    pub active: u64,
    /// How long it has been open.
    pub age: Duration,
}

/// What one worker has under way.
#[derive(Clone, Debug)]
pub struct OpenStreams {
    /// It drains.
    pub draining: bool,
    /// Requests and long-lived streams.
    pub streams: Vec<StreamInfo>,
}

/// A request or a long-lived stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamInfo {
    /// `http1`, `http2 stream`, `websocket`, `sse`, `grpc stream`, `tcp`.
    pub kind: &'static str,
    /// True: it came in for the Pod's own application.
    pub inbound: bool,
    /// How long it has been open.
    pub age: Duration,
    /// A drain has told it to end.
    pub ending: bool,
}

/// What a worker wants to know of the control plane, on behalf of a waiting request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The virtual host of a host under a route configuration that is on demand (VHDS).
    VirtualHost {
        /// The route configuration's name.
        route_configuration: Arc<str>,
        /// The host as the request gave it, lower case.
        host: Box<str>,
    },
    /// The cluster of a TCP destination.
    Destination(SocketAddr),
}

/// The rest of the process's end of one worker.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Where its commands go.
    pub commands: mpsc::UnboundedSender<Command>,
}

/// Begins to drain all of them. The result ends once they have drained.
pub fn drain(
    workers: &[Worker],
    deadline: Duration,
    cut: bool,
) -> impl Future<Output = ()> + use<> {
    let draining: Vec<_> = workers
        .iter()
        .filter_map(|worker| {
            let (done, drained) = oneshot::channel();
            let command = Command::Drain {
                deadline,
                cut,
                done,
            };
            worker.commands.send(command).ok().map(|()| drained)
        })
        .collect();
    async {
        for drained in draining {
            // An error says that the worker has ended.
            drained.await.ok();
        }
    }
}

impl Worker {
    /// False once its thread has ended.
    pub fn is_running(&self) -> bool {
        !self.commands.is_closed()
    }

    /// Waits until its thread has ended.
    pub async fn ended(&self) {
        self.commands.closed().await;
    }
}

/// The worker's end of the channel on which questions go out. The answer is a later snapshot that
/// holds either the thing or the knowledge that it does not exist.
pub type Questions = mpsc::UnboundedSender<Question>;
