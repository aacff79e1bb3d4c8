//! The open downstream connections of one worker.
//!
//! Invariant: a connection is listed as long as something serves it, whatever it has become.

use crate::{
    drain::{Drain, Kind, Underway},
    store::ConnectionInfo,
};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::time::Instant;

/// The open connections of one worker.
pub(crate) struct Connections {
    open: RefCell<HashMap<u64, Weak<Entry>>>,
    next: Cell<u64>,
    /// How many may be open.
    limit: usize,
    refused: Cell<u64>,
}

/// What the socket's and the serving side of a connection both know. Both run on one thread; it is
/// atomic only because hyper hands connections on as `Send`.
#[derive(Debug, Default)]
pub(crate) struct Flow {
    /// True while something is written that the kernel has not taken yet.
    pub writing: AtomicBool,
    /// Requests (or the one opaque stream) under way.
    pub active: AtomicU64,
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
    /// What its socket's side knows too.
    pub flow: Arc<Flow>,
    /// Response bodies of which a part was given to HTTP/2 and no more was asked for since: the
    /// client's window is shut.
    pub held: Cell<u64>,
    /// How often HTTP/2 asked for more of a response.
    pub asked: Cell<u64>,
    opened: Instant,
    id: u64,
    connections: Rc<Connections>,
}

/// A request, or the one opaque stream, of a connection is under way as long as this lives.
pub(crate) struct Active {
    /// The connection.
    pub entry: Rc<Entry>,
    /// What it is and how far its end has come.
    pub underway: Underway,
}

impl Connections {
    /// At most `limit` at once.
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            open: RefCell::default(),
            next: Cell::new(0),
            limit,
            refused: Cell::new(0),
        })
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.open.borrow().len()
    }

    /// How many were refused since the last time this was asked.
    pub(crate) fn take_refused(&self) -> u64 {
        self.refused.take()
    }

    /// Lists a connection for as long as the result lives. None: there are too many.
    pub(crate) fn open(
        self: &Rc<Self>,
        inbound: bool,
        peer: SocketAddr,
        destination: Option<SocketAddr>,
    ) -> Option<Rc<Entry>> {
        if self.count() >= self.limit {
            self.refused.set(self.refused.get() + 1);
            return None;
        }
        let id = self.next.get();
        self.next.set(id.wrapping_add(1));
        let entry = Rc::new(Entry {
            inbound,
            peer,
            destination,
            protocol: Cell::new("detecting"),
            flow: Arc::default(),
            held: Cell::new(0),
            asked: Cell::new(0),
            opened: Instant::now(),
            id,
            connections: Rc::clone(self),
        });
        self.open.borrow_mut().insert(id, Rc::downgrade(&entry));
        Some(entry)
    }

    /// True where there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// True while something is on its way to a client that the kernel has not taken yet.
    pub(crate) fn is_writing(&self) -> bool {
        let writing = |entry: Rc<Entry>| entry.flow.writing.load(Ordering::Relaxed);
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
                active: entry.flow.active.load(Ordering::Relaxed),
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
    pub(crate) fn begin(self: &Rc<Self>, drain: &Rc<Drain>, kind: Kind, since: Instant) -> Active {
        self.flow.active.fetch_add(1, Ordering::Relaxed);
        Active {
            entry: Rc::clone(self),
            underway: drain.begin(kind, self.inbound, since),
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
        self.entry.flow.active.fetch_sub(1, Ordering::Relaxed);
    }
}
