//! The outbox: what is still to be told, on disk.
//!
//! ```text
//! STATE/outbox/ID.queue        one sink's events, oldest first (0600: a sink's address may hold secrets)
//! STATE/outbox/dead-letters    what sinks refused, oldest first, with the reason
//! ```
//!
//! An event is on disk when `append` returns, and stays until its sink has taken it: told at least
//! once, in order, always under the same id.

mod backlog;
mod dead;
mod queue;
mod record;
#[cfg(test)]
mod tests;

pub use backlog::Bounds;
pub(super) use backlog::Next;
pub(super) use dead::DeadLetter;
pub(super) use queue::Queue;

use self::dead::DeadLetters;
use crate::model::{Event, Sink, Timestamp, origin};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{Notify, watch};

/// The outbox. Its clones are the same one.
#[derive(Clone, Debug)]
pub struct Outbox {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    bounds: Bounds,
    queues: Mutex<BTreeMap<Sink, Arc<Queue>>>,
    /// The sinks that policies name, and since when; None: nobody has said yet.
    named: watch::Sender<Option<BTreeMap<Sink, Timestamp>>>,
    dead: Mutex<DeadLetters>,
    /// An event came.
    arrival: Notify,
}

/// Why the outbox can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The disk or its permissions.
    #[error("outbox: {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that was damaged, or is no queue.
    #[error("outbox: {path} can't be read ({reason}): restore it from a copy, or move it away")]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// How a sink does, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkCounts {
    /// Scheme, host and port; of NATS the subject too.
    pub sink: String,
    /// The name of its queue: a sink's address may hold secrets.
    pub queue: String,
    /// Events taken by the sink since this process began.
    pub delivered: u64,
    /// Those that wait.
    pub pending: u64,
    /// Those that were dropped since then: the outbox was full, or no policy named the sink.
    pub dropped: u64,
    /// Those that the sink refused since then: they are with the dead letters.
    pub refused: u64,
    /// Tries that failed since then.
    pub failed_tries: u64,
    /// What was wrong with the last try; empty: nothing.
    pub failure: String,
}

impl Outbox {
    /// Opens the outbox in a folder, which is made if there is none. The folder belongs to this
    /// process alone: its caller holds the state folder's lock.
    pub fn open(folder: &Path) -> Result<Self, OutboxError> {
        Self::open_within(folder, Bounds::default())
    }

    /// The same with other bounds.
    pub fn open_within(folder: &Path, bounds: Bounds) -> Result<Self, OutboxError> {
        let failed = |source| OutboxError::Io {
            path: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let mut queues = BTreeMap::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("queue") => {
                    if let Some(queue) = Queue::open(&path, bounds)? {
                        queues.insert(queue.sink.clone(), Arc::new(queue));
                    }
                }
                // What a write left that was cut off before its rename: never in force.
                Some("tmp") => fs::remove_file(&path).map_err(failed)?,
                _ if path == dead::path_of(folder) => {}
                _ => {
                    let reason = "it is no queue of this program".to_owned();
                    return Err(OutboxError::Corrupt { path, reason });
                }
            }
        }
        Ok(Self {
            inner: Arc::new(Inner {
                folder: folder.to_owned(),
                bounds,
                queues: Mutex::new(queues),
                named: watch::Sender::new(None),
                dead: Mutex::new(DeadLetters::open(folder)?),
                arrival: Notify::new(),
            }),
        })
    }

    /// Puts an event into the queues of these sinks; it is on disk when this returns. After an
    /// error it may be in some of them: putting it in once more is right, since a queue takes no
    /// event twice. A sink is told what happens after a policy has named it, and nothing before.
    pub fn append(&self, event: &Event, sinks: &[Sink]) -> io::Result<()> {
        let mut outcome = Ok(());
        for sink in sinks {
            if self.named_since(sink).is_some_and(|since| event.at < since) {
                continue;
            }
            let appended = self.queue(sink).and_then(|queue| queue.append(event));
            outcome = outcome.and(appended);
        }
        self.inner.arrival.notify_one();
        outcome
    }

    /// Says which sinks policies name from now on. Those that are named first when the process
    /// begins were named before.
    pub fn name(&self, sinks: impl IntoIterator<Item = Sink>, now: Timestamp) {
        self.inner.named.send_modify(|named| {
            let before = named.take();
            let since = |sink: &Sink| match &before {
                None => Timestamp::default(),
                Some(before) => before.get(sink).copied().unwrap_or(now),
            };
            let sinks = sinks.into_iter().map(|sink| (since(&sink), sink));
            *named = Some(sinks.map(|(since, sink)| (sink, since)).collect());
        });
    }

    /// Tells when other sinks are named.
    pub(super) fn naming(&self) -> watch::Receiver<Option<BTreeMap<Sink, Timestamp>>> {
        self.inner.named.subscribe()
    }

    /// How many wait for other sinks to be named: each courier does.
    #[cfg(test)]
    pub(super) fn naming_couriers(&self) -> usize {
        self.inner.named.receiver_count()
    }

    /// True where it is sure that no policy names a sink.
    pub(super) fn is_unnamed(&self, sink: &Sink) -> bool {
        let named = self.inner.named.borrow();
        named
            .as_ref()
            .is_some_and(|named| !named.contains_key(sink))
    }

    fn named_since(&self, sink: &Sink) -> Option<Timestamp> {
        self.inner.named.borrow().as_ref()?.get(sink).copied()
    }

    /// Puts an event by that its sink refuses; it is on disk when this returns.
    pub(super) fn put_by(&self, letter: &DeadLetter) -> io::Result<()> {
        self.inner.dead.lock().append(letter)
    }

    /// How many events lie with the dead letters.
    pub fn dead_letters(&self) -> usize {
        self.inner.dead.lock().len()
    }

    /// `append` as the engine is given it.
    pub fn log(&self) -> impl FnMut(&Event, &[Sink]) -> io::Result<()> + Send + 'static {
        let outbox = self.clone();
        move |event, sinks| outbox.append(event, sinks)
    }

    /// How the sinks do.
    pub fn counts(&self) -> Vec<SinkCounts> {
        self.queues().iter().map(|queue| queue.counted()).collect()
    }

    /// How these sinks do; of one that nothing was told yet, zeros.
    pub fn counts_of(&self, sinks: &[Sink]) -> Vec<SinkCounts> {
        let queues = self.inner.queues.lock();
        let counted = |sink| match queues.get(sink) {
            Some(queue) => queue.counted(),
            None => queue::untold(sink),
        };
        sinks.iter().map(counted).collect()
    }

    /// All queues.
    pub(super) fn queues(&self) -> Vec<Arc<Queue>> {
        self.inner.queues.lock().values().cloned().collect()
    }

    /// Waits until an event came since the last call.
    pub(super) async fn news(&self) {
        self.inner.arrival.notified().await;
    }

    fn queue(&self, sink: &Sink) -> io::Result<Arc<Queue>> {
        let mut queues = self.inner.queues.lock();
        if let Some(queue) = queues.get(sink) {
            return Ok(Arc::clone(queue));
        }
        let queue = Queue::create(&self.inner.folder, sink, self.inner.bounds)?;
        let queue = Arc::new(queue);
        queues.insert(sink.clone(), Arc::clone(&queue));
        Ok(queue)
    }
}

/// A sink as it may be shown.
pub(super) fn label(sink: &Sink) -> String {
    match sink {
        Sink::CloudEvents { sink, .. } => origin(sink),
        Sink::Nats {
            server, subject, ..
        } => format!("{}/{subject}", origin(server)),
    }
}
