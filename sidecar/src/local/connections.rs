//! The open downstream connections of one worker.
//!
//! Invariant: a connection is listed as long as something serves it, whatever it has become.

use crate::{
    drain::{Drain, Underway},
    store::ConnectionInfo,
};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::time::Instant;

/// The open connections of one worker.
#[derive(Default)]
pub(crate) struct Connections {
    open: RefCell<HashMap<u64, Weak<Entry>>>,
    next: Cell<u64>,
}

/// One open connection, listed as long as this lives.
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
    /// True while something is written that the kernel has not taken yet.
    pub writing: Arc<AtomicBool>,
    opened: Instant,
    id: u64,
    connections: Rc<Connections>,
}

/// A request, or the one opaque stream, of a connection is under way as long as this lives.
pub(crate) struct Active {
    /// The connection.
    pub entry: Rc<Entry>,
    _underway: Underway,
}

impl Connections {
    /// Lists a connection for as long as the result lives.
    pub(crate) fn open(
        self: &Rc<Self>,
        inbound: bool,
        peer: SocketAddr,
        destination: Option<SocketAddr>,
    ) -> Rc<Entry> {
        let id = self.next.get();
        self.next.set(id.wrapping_add(1));
        let entry = Rc::new(Entry {
            inbound,
            peer,
            destination,
            protocol: Cell::new("detecting"),
            active: Cell::new(0),
            writing: Arc::default(),
            opened: Instant::now(),
            id,
            connections: Rc::clone(self),
        });
        self.open.borrow_mut().insert(id, Rc::downgrade(&entry));
        entry
    }

    /// True where there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// True while something is on its way to a client that the kernel has not taken yet.
    pub(crate) fn is_writing(&self) -> bool {
        let writing = |entry: Rc<Entry>| entry.writing.load(Ordering::Relaxed);
        self.entries().into_iter().any(writing)
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<ConnectionInfo> {
        self.entries()
            .into_iter()
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

    fn entries(&self) -> Vec<Rc<Entry>> {
        let open = self.open.borrow();
        open.values().filter_map(Weak::upgrade).collect()
    }
}

impl Entry {
    /// Counts something as under way.
    pub(crate) fn begin(self: &Rc<Self>, drain: &Rc<Drain>) -> Active {
        self.active.set(self.active.get() + 1);
        Active {
            entry: Rc::clone(self),
            _underway: drain.begin(),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.id);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let left = self.entry.active.get().saturating_sub(1);
        self.entry.active.set(left);
    }
}
