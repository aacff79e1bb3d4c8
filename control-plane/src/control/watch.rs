//! One watch: the present state, `SYNCED`, then each change.
//!
//! A reader that is slow gets the newest state of each upgrade, and nothing twice; nothing waits
//! for it. Live numbers alone (requests a second) are sent at most once a second.

use super::convert::Show;
use crate::{
    engine::{Board, UpgradeView},
    model::{Timestamp, UpgradeKey},
};
use segue_proto::control::{
    WatchUpgradesRequest, WatchUpgradesResponse, watch_upgrades_response::Kind,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::sleep,
};
use tonic::Status;

/// Between two messages that differ in live numbers alone.
const NUMBERS_EVERY: Duration = Duration::from_secs(1);

type Sender = mpsc::Sender<Result<WatchUpgradesResponse, Status>>;

pub(super) struct Watch {
    namespace: String,
    name: String,
    board: watch::Receiver<Arc<Board>>,
    sender: Sender,
    show: Show,
    sent: BTreeMap<UpgradeKey, (Arc<UpgradeView>, Timestamp)>,
}

/// Whether a state is to be sent.
enum News {
    None,
    Now,
    /// Its numbers alone are new, and the last were sent just now.
    Later,
}

/// The reader has gone.
struct Gone;

impl Watch {
    pub(super) fn new(
        request: WatchUpgradesRequest,
        board: watch::Receiver<Arc<Board>>,
        sender: Sender,
        show: Show,
    ) -> Self {
        Self {
            namespace: request.namespace,
            name: request.name,
            board,
            sender,
            show,
            sent: BTreeMap::new(),
        }
    }

    /// Until the reader or the engine has gone.
    pub(super) async fn run(mut self) {
        let Ok(mut held_back) = self.send_changes().await else {
            return;
        };
        if self.send(Kind::Synced, None).await.is_err() {
            return;
        }
        loop {
            tokio::select! {
                changed = self.board.changed() => if changed.is_err() { return },
                // The last numbers before a quiet time are told too.
                () = sleep(NUMBERS_EVERY), if held_back => {}
                () = self.sender.closed() => return,
            }
            held_back = match self.send_changes().await {
                Ok(held_back) => held_back,
                Err(Gone) => return,
            };
        }
    }

    /// Sends what is news; true where some numbers were held back.
    async fn send_changes(&mut self) -> Result<bool, Gone> {
        let board = Arc::clone(&self.board.borrow_and_update());
        let mut held_back = false;
        for (key, view) in &board.upgrades {
            if !self.covers(key) {
                continue;
            }
            match self.news(key, view) {
                News::Now => {
                    self.send(Kind::Put, Some(view)).await?;
                    self.sent
                        .insert(key.clone(), (Arc::clone(view), (self.show.clock)()));
                }
                News::Later => held_back = true,
                News::None => {}
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
        Ok(held_back)
    }

    fn covers(&self, key: &UpgradeKey) -> bool {
        (self.namespace.is_empty() || *self.namespace == *key.namespace)
            && (self.name.is_empty() || *self.name == *key.name)
    }

    fn news(&self, key: &UpgradeKey, view: &Arc<UpgradeView>) -> News {
        match self.sent.get(key) {
            None => News::Now,
            Some((sent, _)) if Arc::ptr_eq(sent, view) => News::None,
            Some((sent, _)) if sent.resource_version != view.resource_version => News::Now,
            Some((_, at)) if (self.show.clock)().since(*at) >= NUMBERS_EVERY => News::Now,
            Some(_) => News::Later,
        }
    }

    async fn send(&self, kind: Kind, view: Option<&Arc<UpgradeView>>) -> Result<(), Gone> {
        let response = WatchUpgradesResponse {
            kind: kind.into(),
            upgrade: view.map(|view| self.show.upgrade(view)),
        };
        self.sender.send(Ok(response)).await.map_err(|_| Gone)
    }
}
