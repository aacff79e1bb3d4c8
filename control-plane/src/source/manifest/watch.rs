//! Reads the folder again whenever it changes.
//!
//! A change is read when the folder has been quiet for a moment, and what was read counts only if
//! nothing changed meanwhile: a file that an editor is just writing is not taken for an empty one.
//! The kernel tells of changes at once; besides, the folder is looked at every two seconds, for where
//! it can't tell: another folder put in the place of this one, a network file system.

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
/// How often it is looked at, whatever the kernel tells.
const POLL: Duration = Duration::from_secs(2);
/// How often a folder that changes all the time is waited for.
const PATIENCE: u32 = 20;

type Reading = Result<Catalog, Vec<Invalid>>;

/// Sends what the folder holds: at once, and again after every change. Ends when nobody listens.
pub async fn watch(dir: PathBuf, out: mpsc::Sender<Reading>) {
    let changed = Arc::new(Notify::new());
    let mut watched = (folder::identity(&dir), subscribe(&dir, &changed));
    let mut sent: Option<Reading> = None;
    loop {
        let identity = folder::identity(&dir);
        if identity != watched.0 || watched.1.is_none() {
            // The kernel tells of the folder that was there, not of what came in its place.
            watched = (identity, subscribe(&dir, &changed));
        }
        let print = folder::fingerprint(&dir);
        if let Some(reading) = settle(&dir, &changed).await
            && sent.as_ref() != Some(&reading)
        {
            sent = Some(reading.clone());
            if out.send(reading).await.is_err() {
                return;
            }
        }
        loop {
            tokio::select! {
                () = changed.notified() => break,
                () = sleep(POLL) => {
                    let same = folder::identity(&dir) == watched.0
                        && folder::fingerprint(&dir) == print;
                    if !same {
                        break;
                    }
                }
                () = out.closed() => return,
            }
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
