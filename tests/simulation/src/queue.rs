//! What happens next: events by time, those of one moment in the order in which they were put.

use super::network::Stream;
use std::collections::BTreeMap;

/// Virtual time in milliseconds from the beginning.
pub(crate) type Ms = u64;
/// Names a connection of a sidecar to the control plane.
pub(crate) type ConnectionId = u64;

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// The next message of a sidecar comes in, on this stream of a connection.
    ToServer(ConnectionId, Stream),
    /// The next message of the control plane comes in.
    ToProxy(ConnectionId),
    /// The control plane notices that a connection is gone.
    ServerLoses(ConnectionId),
    /// The sidecar notices it.
    ProxyLoses(ConnectionId),
    /// A sidecar tries to connect: its name and its process.
    Connect(String, u32),
    /// A stream of the control plane sees the newest snapshot.
    StreamSnapshot(ConnectionId),
    /// A client that came back had its time to ask for all that it had.
    Introduced(ConnectionId),
    /// The control plane takes in what was observed.
    Wake(u32),
    /// The control plane's clock ticks, in this process of it.
    Tick(u32),
    /// The control plane begins anew.
    StartControlPlane,
    /// One worker of a sidecar takes its next snapshot.
    Swap(String, u32, usize),
    /// Something that a sidecar held back has waited long enough.
    Deadline(String, u32),
    /// A sidecar saves what is in force.
    Save(String, u32),
    /// A sidecar reports its load.
    Report(String, u32),
    /// A report comes in once more, late, over a stream that was thought dead, of this process of
    /// the control plane.
    LateReport(Box<segue_control_plane::model::LoadSample>, u32),
    /// A sidecar checks its application.
    Check(String, u32),
    /// A sidecar begins anew.
    StartProxy(String),
    /// A session, or (None) a client without one, makes a request.
    Request(Option<usize>),
    /// A request reaches its endpoint.
    Arrive(u64),
    /// An endpoint answers.
    Finish(u64),
    /// Instances of a version appear.
    Deploy(&'static str),
    /// An application comes up.
    Ready(String, u32),
    /// The new version turns bad.
    TurnBad,
    /// The orchestrator looks.
    Orchestrate,
    /// An instance leaves the catalog.
    Remove(String),
    /// Something breaks.
    Fault,
    /// From now on nothing breaks any more.
    Heal,
    /// Somebody asks something of the control plane.
    Operate,
    /// Somebody asks just this of the newest run.
    Aimed(segue_control_plane::model::Command),
    /// The same question is put once more.
    Repeat(Box<segue_control_plane::engine::Request>, u32),
}

/// The events to come.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    events: BTreeMap<(Ms, u64), Event>,
    sequence: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Ms, event: Event) {
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    pub(crate) fn pop(&mut self) -> Option<(Ms, Event)> {
        let ((at, _), event) = self.events.pop_first()?;
        Some((at, event))
    }
}
