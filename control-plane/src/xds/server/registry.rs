//! Which stream speaks for a proxy. After a reconnect the old stream's end may be noticed late; it
//! must not be taken for the proxy's.

use crate::model::ProxyId;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// The newest stream of each proxy.
#[derive(Debug, Default)]
pub(super) struct Registry(Mutex<BTreeMap<ProxyId, u64>>);

impl Registry {
    /// From now on, `stream` speaks for it.
    pub(super) fn enter(&self, proxy: &ProxyId, stream: u64) {
        self.0.lock().insert(proxy.clone(), stream);
    }

    /// True while no newer stream speaks for it.
    pub(super) fn speaks_for(&self, proxy: &ProxyId, stream: u64) -> bool {
        self.0.lock().get(proxy) == Some(&stream)
    }

    /// The stream has ended. True where the proxy has gone with it.
    pub(super) fn leave(&self, proxy: &ProxyId, stream: u64) -> bool {
        let mut streams = self.0.lock();
        let was_newest = streams.get(proxy) == Some(&stream);
        if was_newest {
            streams.remove(proxy);
        }
        was_newest
    }
}
