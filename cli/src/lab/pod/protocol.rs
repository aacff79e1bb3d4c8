//! What the lab and a Pod's first process tell each other: JSON lines, commands one way, events the other.

use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// A command and the number its answer carries.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) id: u64,
    pub(super) command: Command,
}

/// What a Pod can be told.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Command {
    /// Set up the network, start the sidecar, start the application.
    Start(Box<Start>),
    /// End the application, then the sidecar, in order; kill what is left after the grace.
    Stop { grace_ms: u64 },
    /// Kill the application.
    KillApp,
    /// Send the application a signal.
    SignalApp { signal: i32 },
    /// Kill the sidecar.
    KillSidecar,
    /// Send the sidecar a signal.
    SignalSidecar { signal: i32 },
    /// Start the sidecar again and wait until it serves; kill it first where it still runs.
    RestartSidecar,
}

/// Everything that makes a Pod.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    /// As `NAMESPACE-NAME`, for logs.
    pub(super) name: String,
    pub(super) logs: PathBuf,
    pub(super) network: Option<PodNetwork>,
    /// Redirect to these ports (outbound, inbound).
    pub(super) redirect: Option<(u16, u16)>,
    pub(super) sidecar: Option<Vec<OsString>>,
    /// Where the sidecar is an explicit proxy: the address it listens on, with ports of its own choice.
    pub(super) explicit: Option<IpAddr>,
    /// In its arguments `{proxy}` stands for the sidecar's outbound address where that is an explicit proxy.
    pub(super) app: Option<Vec<OsString>>,
    pub(super) environment: Vec<(String, OsString)>,
    /// Whether the application's output is told line by line; else it goes to its log.
    pub(super) lines: bool,
}

/// A Pod's place in the lab's network.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PodNetwork {
    /// The cable's end as the lab named it.
    pub(super) link: String,
    pub(super) address: Ipv4Addr,
}

/// What a Pod tells.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Event {
    /// It has a network namespace and waits for a cable.
    Ready,
    /// The Pod runs; its sidecar is an explicit proxy here.
    Started { id: u64, proxy: Option<SocketAddr> },
    /// The command was carried out.
    Done { id: u64 },
    /// It was not.
    Failed { id: u64, message: String },
    /// The Pod's processes have ended, these of them by force.
    Stopped { id: u64, killed: Vec<Part> },
    /// A line of the application's output.
    Line { text: String },
    /// A process of the Pod has ended.
    Exited(Exit),
}

/// A process of a Pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// The application.
    App,
    /// The sidecar.
    Sidecar,
}

/// How a process of a Pod has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Which one.
    pub part: Part,
    /// Its exit code, if it exited by itself.
    pub code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
}
