//! One sink's queue on disk.

use super::{
    OutboxError, SinkCounts,
    backlog::{Backlog, Bounds, Next},
    record::{self, FORMAT, Header, Record, VERSION},
};
use crate::{
    model::{Event, Sink},
    sealed::{self, checksum},
};
use parking_lot::Mutex;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};
use tokio::sync::Notify;

/// A file with more history than this, and mostly history, is written anew.
const HISTORY: u64 = 64 << 10;

/// What a record has around its event, about: what makes room is named in it too.
const ENVELOPE: usize = 64;

/// One sink's queue.
#[derive(Debug)]
pub(in crate::event) struct Queue {
    pub(in crate::event) sink: Sink,
    /// Names the queue where the address may not be shown.
    pub(in crate::event) id: String,
    /// Something came.
    pub(in crate::event) arrival: Notify,
    pub(in crate::event) counts: Counts,
    bounds: Bounds,
    inner: Mutex<Inner>,
}

/// What was counted since the process began.
#[derive(Debug, Default)]
pub(in crate::event) struct Counts {
    delivered: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
    failed_tries: AtomicU64,
    /// What was wrong with the last try; empty: nothing.
    failure: Mutex<String>,
}

impl Counts {
    pub(in crate::event) fn failed(&self, reason: &str) {
        self.failed_tries.fetch_add(1, Relaxed);
        reason.clone_into(&mut self.failure.lock());
    }
}

/// A sink that nothing was told yet.
pub(super) fn untold(sink: &Sink) -> SinkCounts {
    shown(sink, &Counts::default(), 0)
}

fn shown(sink: &Sink, counts: &Counts, waiting: usize) -> SinkCounts {
    SinkCounts {
        sink: super::label(sink),
        queue: id_of(sink),
        delivered: counts.delivered.load(Relaxed),
        pending: u64::try_from(waiting).unwrap_or(u64::MAX),
        dropped: counts.dropped.load(Relaxed),
        refused: counts.refused.load(Relaxed),
        failed_tries: counts.failed_tries.load(Relaxed),
        failure: counts.failure.lock().clone(),
    }
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    /// The length of what is whole; behind it may stand what a failed write left.
    length: u64,
    torn: bool,
    /// It was put in its place, and that is not on disk for sure yet.
    moved: bool,
    backlog: Backlog,
    /// Events are being dropped, and that has been said.
    overflowing: bool,
}

/// The name of a sink's queue.
fn id_of(sink: &Sink) -> String {
    // Debug shows every field, so that no two sinks look alike.
    checksum(format!("{sink:?}").as_bytes())
}

pub(super) fn path_of(folder: &Path, sink: &Sink) -> PathBuf {
    folder.join(format!("{}.queue", id_of(sink)))
}

impl Queue {
    /// A new queue.
    pub(super) fn create(folder: &Path, sink: &Sink, bounds: Bounds) -> io::Result<Self> {
        let header = header(sink, 0, 0);
        let path = path_of(folder, sink);
        let (file, length) = write_anew(&path, &header, &[])?;
        let backlog = Backlog::new(&header);
        Ok(Self::of(sink.clone(), bounds, path, file, length, backlog))
    }

    /// The queue of a file; None where nothing is left in it, and so it is removed.
    pub(super) fn open(path: &Path, bounds: Bounds) -> Result<Option<Self>, OutboxError> {
        let failed = |source| OutboxError::Io {
            path: path.to_owned(),
            source,
        };
        let corrupt = |reason| OutboxError::Corrupt {
            path: path.to_owned(),
            reason,
        };
        let bytes = fs::read(path).map_err(failed)?;
        let content = record::read(&bytes).map_err(corrupt)?;
        let sink = content.header.sink.clone();
        if path.file_name() != path_of(Path::new(""), &sink).file_name() {
            return Err(corrupt("its name is not that of its sink".to_owned()));
        }
        if content.length < bytes.len() {
            tracing::warn!(path = %path.display(), "dropped a record that was not written to its end");
        }
        let mut backlog = Backlog::new(&content.header);
        for (record, size) in content.records {
            backlog.apply(record, size);
        }
        if backlog.len() == 0 && backlog.lost() == 0 {
            fs::remove_file(path).map_err(failed)?;
            return Ok(None);
        }
        let (file, length) = rewrite(path, &sink, &backlog).map_err(failed)?;
        let path = path.to_owned();
        Ok(Some(Self::of(sink, bounds, path, file, length, backlog)))
    }

    fn of(
        sink: Sink,
        bounds: Bounds,
        path: PathBuf,
        file: File,
        length: u64,
        backlog: Backlog,
    ) -> Self {
        Self {
            id: id_of(&sink),
            sink,
            arrival: Notify::new(),
            counts: Counts::default(),
            bounds,
            inner: Mutex::new(Inner {
                path,
                file,
                length,
                torn: false,
                moved: true,
                backlog,
                overflowing: false,
            }),
        }
    }

    pub(super) fn counted(&self) -> SinkCounts {
        shown(&self.sink, &self.counts, self.len())
    }

    pub(in crate::event) fn len(&self) -> usize {
        self.inner.lock().backlog.len()
    }

    /// Puts an event at the end; it is on disk when this returns. One that waits is not taken
    /// twice.
    pub(super) fn append(&self, event: &Event) -> io::Result<()> {
        let mut inner = self.inner.lock();
        let size = serde_json::to_vec(event)?.len() + ENVELOPE;
        let Some(record) = inner.backlog.plan(event, size, self.bounds) else {
            return Ok(());
        };
        let (before, lost) = (inner.backlog.len(), inner.backlog.lost());
        inner.write(record)?;
        let dropped = inner.backlog.lost() - lost;
        self.counts.dropped.fetch_add(dropped, Relaxed);
        if dropped > 0 && !inner.overflowing {
            inner.overflowing = true;
            tracing::warn!(
                queue = self.id,
                waiting = before,
                "the outbox is full: the oldest events are dropped until {} takes some",
                super::label(&self.sink),
            );
        }
        drop(inner);
        self.arrival.notify_one();
        Ok(())
    }

    /// The oldest event, which is on its way from now on.
    pub(in crate::event) fn head(&self) -> Option<Next> {
        self.inner.lock().backlog.head()
    }

    /// The try failed.
    pub(in crate::event) fn landed(&self) {
        self.inner.lock().backlog.landed();
    }

    /// The event was told, and with it that so many were lost.
    pub(in crate::event) fn delivered(&self, seq: u64, told: u64) {
        self.settle(Record::Delivered { seq, told });
        self.counts.delivered.fetch_add(1, Relaxed);
        self.counts.failure.lock().clear();
    }

    /// The event is given up, since the sink refuses it.
    pub(in crate::event) fn give_up(&self, seq: u64) {
        self.settle(Record::GivenUp { seq });
        self.counts.refused.fetch_add(1, Relaxed);
    }

    /// Drops all that waits, and that some were lost before: says how many went.
    pub(in crate::event) fn let_go(&self) -> usize {
        let mut inner = self.inner.lock();
        let waiting = inner.backlog.len();
        let empty = Backlog::new(&header(&self.sink, 0, inner.backlog.next_seq()));
        match rewrite(&inner.path, &self.sink, &empty) {
            Ok((file, length)) => {
                (inner.file, inner.length) = (file, length);
                (inner.torn, inner.moved) = (false, true);
                (inner.backlog, inner.overflowing) = (empty, false);
                self.counts
                    .dropped
                    .fetch_add(u64::try_from(waiting).unwrap_or(u64::MAX), Relaxed);
                waiting
            }
            Err(error) => {
                tracing::warn!(queue = self.id, "outbox: {}: {error}", inner.path.display());
                0
            }
        }
    }

    /// Where the disk refuses, the event is gone for this process and comes once more after a
    /// restart, with the same id.
    fn settle(&self, record: Record) {
        let mut inner = self.inner.lock();
        if let Err(error) = inner.write(record.clone()) {
            tracing::warn!(queue = self.id, "outbox: {}: {error}", inner.path.display());
            inner.backlog.apply(record, 0);
        }
        inner.overflowing = false;
        if let Err(error) = inner.forget_history(&self.sink) {
            tracing::warn!(queue = self.id, "outbox: {}: {error}", inner.path.display());
        }
    }
}

impl Inner {
    /// Writes a record to the disk, then takes it in.
    fn write(&mut self, record: Record) -> io::Result<()> {
        if self.moved {
            let folder = self.path.parent().unwrap_or_else(|| Path::new("."));
            File::open(folder)?.sync_all()?;
            self.moved = false;
        }
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        let line = sealed::line(&record)?;
        self.torn = true;
        self.file.write_all_at(&line, self.length)?;
        self.file.sync_data()?;
        self.torn = false;
        self.length += u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.backlog.apply(record, line.len());
        Ok(())
    }

    fn forget_history(&mut self, sink: &Sink) -> io::Result<()> {
        let live = u64::try_from(self.backlog.bytes()).unwrap_or(u64::MAX);
        if self.length < HISTORY || self.length / 2 < live {
            return Ok(());
        }
        (self.file, self.length) = rewrite(&self.path, sink, &self.backlog)?;
        (self.torn, self.moved) = (false, true);
        Ok(())
    }
}

fn header(sink: &Sink, lost: u64, next: u64) -> Header {
    Header {
        format: FORMAT.to_owned(),
        version: VERSION,
        sink: sink.clone(),
        lost,
        next,
    }
}

fn rewrite(path: &Path, sink: &Sink, backlog: &Backlog) -> io::Result<(File, u64)> {
    let header = header(sink, backlog.lost(), backlog.next_seq());
    let records: Vec<Record> = backlog.records().collect();
    write_anew(path, &header, &records)
}

/// Writes a whole file beside its place, syncs it, and puts it there: until the folder is synced,
/// the one before may come back.
fn write_anew(path: &Path, header: &Header, records: &[Record]) -> io::Result<(File, u64)> {
    let mut bytes = sealed::line(header)?;
    for record in records {
        bytes.extend(sealed::line(record)?);
    }
    let file = put_in_place(path, &bytes)?;
    Ok((file, u64::try_from(bytes.len()).unwrap_or(u64::MAX)))
}

/// Writes a file beside its place, syncs it, and puts it there.
pub(super) fn put_in_place(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let beside = path.with_extension("tmp");
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    Ok(file)
}
