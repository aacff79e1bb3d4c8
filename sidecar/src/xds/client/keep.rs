//! Saves the last good configuration off the path of requests, and not more often than needed.

use crate::store::disk::{Disk, SavedResource};
use std::{future::pending, io, time::Duration};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Instant, sleep_until},
};
use tracing::warn;

/// Changes come in groups; a group is saved once.
const DEBOUNCE: Duration = Duration::from_millis(200);

/// Decides when to save.
#[derive(Default)]
pub(super) struct Keeper {
    disk: Option<Disk>,
    due: Option<Instant>,
    running: Option<JoinHandle<io::Result<()>>>,
}

impl Keeper {
    /// Saves to `disk`, where there is one.
    pub(super) fn new(disk: Option<Disk>) -> Self {
        Self {
            disk,
            ..Self::default()
        }
    }

    /// What an earlier process saved. A damaged file counts as none.
    pub(super) async fn load(&self) -> Vec<SavedResource> {
        let Some(disk) = self.disk.clone() else {
            return Vec::new();
        };
        let path = disk.path().display().to_string();
        match spawn_blocking(move || disk.load()).await {
            Ok(Ok(resources)) => resources,
            Ok(Err(error)) => {
                warn!(file = path, %error, "the last good configuration is unreadable; starting without");
                Vec::new()
            }
            Err(error) => {
                warn!(file = path, %error, "reading the last good configuration failed");
                Vec::new()
            }
        }
    }

    /// The configuration changed.
    pub(super) fn changed(&mut self) {
        if self.disk.is_some() {
            self.due.get_or_insert_with(|| Instant::now() + DEBOUNCE);
        }
    }

    /// Ends when it is time to [`save`](Self::save). Loses nothing when dropped.
    pub(super) async fn due(&mut self) {
        self.finish().await;
        match self.due {
            Some(due) => sleep_until(due).await,
            None => pending().await,
        }
    }

    /// Begins to save.
    pub(super) fn save(&mut self, resources: Vec<SavedResource>) {
        self.due = None;
        if let Some(disk) = self.disk.clone() {
            self.running = Some(spawn_blocking(move || disk.save(resources)));
        }
    }

    /// True where a change is not saved yet.
    pub(super) fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// Waits for a save under way.
    pub(super) async fn finish(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        let result = running.await;
        self.running = None;
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the configuration could not be saved"),
            Err(error) => warn!(%error, "saving the configuration failed"),
        }
    }
}
