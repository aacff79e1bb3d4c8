//! The open downstream connections of one worker.

use crate::store::ConnectionInfo;
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::Rc,
};
use tokio::time::Instant;

/// The open connections of one worker.
#[derive(Default)]
pub(crate) struct Connections {
    open: RefCell<HashMap<u64, Rc<Entry>>>,
    next: Cell<u64>,
}

/// One open connection.
pub(crate) struct Entry {
    /// It came in for the Pod's own application.
    pub inbound: bool,
    /// Who connected.
    pub peer: SocketAddr,
    /// What it wanted to reach, where it was redirected.
    pub destination: Option<SocketAddr>,
    /// As in [`ConnectionInfo::protocol`].
    pub protocol: Cell<&'static str>,
    /// Requests (or the one opaque stream) under way.
    pub active: Cell<u64>,
    opened: Instant,
}

impl Connections {
    /// Registers a connection for as long as the result lives.
    pub(crate) fn open(
        self: &Rc<Self>,
        inbound: bool,
        peer: SocketAddr,
        destination: Option<SocketAddr>,
    ) -> Registered {
        let id = self.next.get();
        self.next.set(id.wrapping_add(1));
        let entry = Rc::new(Entry {
            inbound,
            peer,
            destination,
            protocol: Cell::new("detecting"),
            active: Cell::new(0),
            opened: Instant::now(),
        });
        self.open.borrow_mut().insert(id, Rc::clone(&entry));
        Registered {
            id,
            entry,
            connections: Rc::clone(self),
        }
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<ConnectionInfo> {
        let open = self.open.borrow();
        open.values()
            .map(|entry| ConnectionInfo {
                inbound: entry.inbound,
                protocol: entry.protocol.get(),
                peer: entry.peer,
                original_destination: entry.destination,
                active: entry.active.get(),
                age: entry.opened.elapsed(),
            })
            .collect()
    }
}

/// A connection is listed as long as this lives.
pub(crate) struct Registered {
    id: u64,
    /// What is listed.
    pub entry: Rc<Entry>,
    connections: Rc<Connections>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.id);
    }
}
