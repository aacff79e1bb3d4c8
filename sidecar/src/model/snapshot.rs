//! Everything that a request may need, at one moment.

use super::{Cluster, Listener};
use std::{collections::HashMap, net::SocketAddr, sync::Arc};

/// Everything that a request may need, resolved. Built off the request path, handed to each worker
/// whole, never changed.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts up with every snapshot of this process.
    pub sequence: u64,
    /// Listener `virtualOutbound`.
    pub outbound: Option<Arc<Listener>>,
    /// Listener `virtualInbound`.
    pub inbound: Option<Arc<Listener>>,
    /// TCP destinations asked for on demand: the original destination and its cluster. `None`:
    /// outside the mesh, goes where it was meant to.
    pub destinations: HashMap<SocketAddr, Option<Arc<Cluster>>>,
    /// All clusters, by name.
    pub clusters: HashMap<Arc<str>, Arc<Cluster>>,
    /// Every endpoint's id is below it.
    pub endpoint_ids: u32,
}
