//! One watch: the present state, `SYNCED`, then each change.
//!
//! A reader that is slow gets the newest state of each upgrade, and nothing twice; nothing waits
//! for it. Live numbers alone (requests a second) are sent at most once a second.

use super::convert;
use crate::{
    engine::{Board, UpgradeView},
    model::{Timestamp, UpgradeKey},
};
use segue_proto::control::{
    WatchUpgradesRequest, WatchUpgradesResponse, watch_upgrades_response::Kind,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use tonic::Status;

/// Between two messages that differ in live numbers alone.
const NUMBERS_EVERY: Duration = Duration::from_secs(1);

type Sender = mpsc::Sender<Result<WatchUpgradesResponse, Status>>;

pub(super) struct Watch {
    namespace: String,
    name: String,
    board: watch::Receiver<Arc<Board>>,
    sender: Sender,
    clock: fn() -> Timestamp,
    sent: BTreeMap<UpgradeKey, (Arc<UpgradeView>, Timestamp)>,
}

/// The reader has gone.
struct Gone;

impl Watch {
    pub(super) fn new(
        request: WatchUpgradesRequest,
        board: watch::Receiver<Arc<Board>>,
        sender: Sender,
        clock: fn() -> Timestamp,
    ) -> Self {
        Self {
            namespace: request.namespace,
            name: request.name,
            board,
            sender,
            clock,
            sent: BTreeMap::new(),
        }
    }

    /// Until the reader or the engine has gone.
    pub(super) async fn run(mut self) {
        if self.send_changes().await.is_err() || self.send(Kind::Synced, None).await.is_err() {
            return;
        }
        loop {
            let changed = tokio::select! {
                changed = self.board.changed() => changed,
                () = self.sender.closed() => return,
            };
            if changed.is_err() || self.send_changes().await.is_err() {
                return;
            }
        }
    }

    async fn send_changes(&mut self) -> Result<(), Gone> {
        let board = Arc::clone(&self.board.borrow_and_update());
        for (key, view) in &board.upgrades {
            if self.covers(key) && self.is_news(key, view) {
                self.send(Kind::Put, Some(view)).await?;
                self.sent
                    .insert(key.clone(), (Arc::clone(view), (self.clock)()));
            }
        }
        let deleted: Vec<UpgradeKey> = self
            .sent
            .keys()
            .filter(|key| !board.upgrades.contains_key(*key))
            .cloned()
            .collect();
        for key in deleted {
            if let Some((view, _)) = self.sent.remove(&key) {
                self.send(Kind::Deleted, Some(&view)).await?;
            }
        }
        Ok(())
    }

    fn covers(&self, key: &UpgradeKey) -> bool {
        (self.namespace.is_empty() || *self.namespace == *key.namespace)
            && (self.name.is_empty() || *self.name == *key.name)
    }

    fn is_news(&self, key: &UpgradeKey, view: &Arc<UpgradeView>) -> bool {
        match self.sent.get(key) {
            None => true,
            Some((sent, _)) if Arc::ptr_eq(sent, view) => false,
            Some((sent, at)) => {
                sent.resource_version != view.resource_version
                    || (self.clock)().since(*at) >= NUMBERS_EVERY
            }
        }
    }

    async fn send(&self, kind: Kind, view: Option<&Arc<UpgradeView>>) -> Result<(), Gone> {
        let response = WatchUpgradesResponse {
            kind: kind.into(),
            upgrade: view.map(|view| convert::upgrade(view, (self.clock)())),
        };
        self.sender.send(Ok(response)).await.map_err(|_| Gone)
    }
}
