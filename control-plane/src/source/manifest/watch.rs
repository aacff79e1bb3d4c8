//! Reads the folder again whenever it changes.
//!
//! A change is read when the folder has been quiet for a moment, and what was read counts only if
//! nothing changed meanwhile: a file that an editor is just writing is not taken for an empty one.
//! Where the kernel can't tell of changes, the folder is looked at every two seconds.

use super::{Invalid, folder, read};
use crate::model::Catalog;
use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

/// How long the folder must be quiet before it is read.
const QUIET: Duration = Duration::from_millis(50);
/// How often it is looked at where the kernel does not tell.
const POLL: Duration = Duration::from_secs(2);
/// How often a folder that changes all the time is waited for.
const PATIENCE: u32 = 20;

type Reading = Result<Catalog, Vec<Invalid>>;

/// Sends what the folder holds: at once, and again after every change. Ends when nobody listens.
pub async fn watch(dir: PathBuf, out: mpsc::Sender<Reading>) {
    let changed = Arc::new(Notify::new());
    let mut watcher = subscribe(&dir, &changed);
    let mut sent: Option<Reading> = None;
    loop {
        if let Some(reading) = settle(&dir, &changed).await
            && sent.as_ref() != Some(&reading)
        {
            sent = Some(reading.clone());
            if out.send(reading).await.is_err() {
                return;
            }
        }
        if !dir.is_dir() {
            // The kernel tells of what was there, not of what may come in its place.
            watcher = None;
        } else if watcher.is_none() {
            watcher = subscribe(&dir, &changed);
        }
        tokio::select! {
            () = changed.notified() => {}
            () = sleep(POLL), if watcher.is_none() => {}
            () = out.closed() => return,
        }
    }
}

/// Has the kernel tell of changes; None where it can't.
fn subscribe(dir: &Path, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let changed = Arc::clone(changed);
    let tell = move |event: notify::Result<notify::Event>| {
        // Reading is an event too, and our own reading must not call for the next one.
        let read_only = event.is_ok_and(|event| {
            matches!(event.kind, EventKind::Access(kind)
                if !matches!(kind, AccessKind::Close(AccessMode::Write)))
        });
        if !read_only {
            changed.notify_one();
        }
    };
    let watcher = notify::recommended_watcher(tell).and_then(|mut watcher| {
        watcher.watch(dir, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    match watcher {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::debug!(
                dir = %dir.display(), %error,
                "the kernel does not tell of changes to manifests: looking every 2 s"
            );
            None
        }
    }
}

/// Waits until the folder is quiet, then reads it. None: it changes all the time, or the task that
/// reads was cut off.
async fn settle(dir: &Path, changed: &Notify) -> Option<Reading> {
    let mut rest = PATIENCE;
    loop {
        while rest > 0 && timeout(QUIET, changed.notified()).await.is_ok() {
            rest -= 1;
        }
        let dir = dir.to_owned();
        let read = move || {
            let before = folder::fingerprint(&dir);
            let reading = read(&dir);
            let steady = folder::fingerprint(&dir) == before;
            (reading, steady)
        };
        let (reading, steady) = tokio::task::spawn_blocking(read).await.ok()?;
        if steady || rest == 0 {
            return Some(reading);
        }
        rest -= 1;
    }
}
