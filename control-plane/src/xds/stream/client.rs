//! What both variants share: who the client is, its subscriptions, its nonces.

use super::{
    super::{
        snapshot::Snapshot,
        translate::{ClientKind, Node, Resource, ResourceType},
    },
    refusal::Refusal,
    subscription::{Held, Outstanding, Subscription, Taken},
};
use crate::model::Generation;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

/// How many names one stream may subscribe to.
const MAX_NAMES: usize = 10_000;
/// How long a resource's name or version may be, in bytes: four times a host name.
const MAX_TEXT: usize = 1024;
/// How many responses of one stream may wait to be ACKed or NACKed. What changes by itself waits
/// for that anyway; this bounds a client that asks and never answers.
const MAX_UNANSWERED: usize = 1024;
/// How many names those may tell of, where they are more than [`FEW_UNANSWERED`].
const MAX_UNANSWERED_NAMES: usize = 100_000;
/// So many may tell of any number: a client of everything in a large mesh.
const FEW_UNANSWERED: usize = 8;
/// The name that subscribes to everything.
pub(super) const WILDCARD: &str = "*";

/// The two variants of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// A response carries the state of a type.
    StateOfTheWorld,
    /// A response carries what changed.
    Delta,
}

/// Why a stream is ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// More subscriptions than one stream may hold.
    #[error("more than {MAX_NAMES} resource names on one stream; open another or ask for fewer")]
    TooManyNames,
    /// A name or version that nobody has.
    #[error("a resource name or version is longer than {MAX_TEXT} bytes; ask for a shorter one")]
    TooLong,
    /// It asks and never answers.
    #[error(
        "too many responses on one stream were neither ACKed nor NACKed; answer each, then ask"
    )]
    Unanswered,
}

/// One response to be, in no variant's terms.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) kind: ResourceType,
    pub(super) nonce: String,
    pub(super) set_version: Arc<str>,
    /// By the name asked for.
    pub(super) resources: BTreeMap<Arc<str>, Arc<Resource>>,
    pub(super) removed: Vec<Arc<str>>,
}

/// Refuses a request with a name or version that is too long.
pub(super) fn check_texts<'a>(mut texts: impl Iterator<Item = &'a String>) -> Result<(), Refused> {
    if texts.any(|text| text.len() > MAX_TEXT) {
        return Err(Refused::TooLong);
    }
    Ok(())
}

/// One client.
#[derive(Debug)]
pub struct Client {
    pub(super) node: Node,
    pub(super) address: Option<SocketAddr>,
    pub(super) variant: Variant,
    pub(super) types: BTreeMap<ResourceType, Subscription>,
    /// Clusters that were sent before any endpoints were asked for: a client that comes back
    /// needs their endpoints although it has them.
    pub(super) fresh_clusters: BTreeSet<Arc<str>>,
    pub(super) sent: Generation,
    pub(super) snapshot: Arc<Snapshot>,
    stream: u64,
    nonces: u64,
}

impl Client {
    /// A client whose first request has come. `stream` tells its nonces from other streams'.
    pub fn new(
        variant: Variant,
        stream: u64,
        node: Node,
        address: Option<SocketAddr>,
        snapshot: Arc<Snapshot>,
    ) -> Self {
        Self {
            node,
            address,
            variant,
            types: BTreeMap::new(),
            fresh_clusters: BTreeSet::new(),
            sent: Generation::default(),
            snapshot,
            stream,
            nonces: 0,
        }
    }

    /// Who it is.
    pub fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn subscription(&mut self, kind: ResourceType) -> &mut Subscription {
        self.types.entry(kind).or_default()
    }

    pub(super) fn next_nonce(&mut self) -> String {
        self.nonces += 1;
        format!("{:x}-{:x}", self.stream, self.nonces)
    }

    /// False while a client that came back has not yet asked for all that it had: what it is
    /// interested in is not yet known.
    pub fn is_introduced(&self) -> bool {
        let resumed = self.types.values().any(|s| s.resumed);
        let clusters = self.types.contains_key(&ResourceType::Cluster);
        !resumed || (clusters && self.routes_known())
    }

    /// Takes what a request says of the response it answers.
    pub(super) fn acknowledge(
        &mut self,
        kind: ResourceType,
        nonce: &str,
        error: Option<&str>,
    ) -> bool {
        let taken = match (self.node.kind, self.variant) {
            (ClientKind::Envoy, Variant::StateOfTheWorld) => Taken::Nothing,
            _ => Taken::AllButNamed,
        };
        let variant = self.variant;
        let subscription = self.subscription(kind);
        let newest = subscription.last_nonce == nonce;
        if newest && variant == Variant::StateOfTheWorld {
            subscription.ack_older(nonce);
        }
        match error {
            Some(message) => subscription.refuse(nonce, &Refusal::read(message), taken),
            None => subscription.ack(nonce),
        }
        newest
    }

    /// After a request was read, before it is answered.
    pub(super) fn check_bounds(&self) -> Result<(), Refused> {
        // Names that are no longer subscribed to may still wait for an answer.
        let held = |s: &Subscription| s.names.len().max(s.asked.len());
        let names: usize = self.types.values().map(held).sum();
        if names > MAX_NAMES {
            return Err(Refused::TooManyNames);
        }
        let waiting = || self.types.values().flat_map(|s| &s.outstanding);
        let (unanswered, told) = waiting().fold((0, 0), |(n, told), response| {
            (n + 1, told + response.told.len())
        });
        if unanswered > MAX_UNANSWERED
            || (unanswered > FEW_UNANSWERED && told > MAX_UNANSWERED_NAMES)
        {
            return Err(Refused::Unanswered);
        }
        Ok(())
    }

    /// Notes a batch as sent.
    pub(super) fn record(&mut self, batch: &Batch) {
        let now = self.snapshot.generation();
        self.sent = self.sent.max(now);
        let subscription = self.subscription(batch.kind);
        let mut told = BTreeMap::new();
        let mut news = BTreeSet::new();
        for (name, resource) in &batch.resources {
            let version = Some(resource.version.clone());
            if let Some(held) = subscription.held.get_mut(name) {
                if held.acked.as_ref() != Some(&version) {
                    news.insert(name.clone());
                }
                held.send(version.clone(), Some(resource.clone()), now);
            }
            told.insert(name.clone(), version);
        }
        for name in &batch.removed {
            if let Some(held) = subscription.held.get_mut(name) {
                held.send(None, None, now);
            }
            told.insert(name.clone(), None);
        }
        if batch.kind == ResourceType::Cluster {
            let clusters = news.iter().filter_map(|name| batch.resources.get(name));
            let names: Vec<Arc<str>> = clusters.map(|cluster| cluster.name.clone()).collect();
            self.refresh_endpoints(names);
        }
        let subscription = self.subscription(batch.kind);
        batch.nonce.clone_into(&mut subscription.last_nonce);
        subscription.outstanding.push_back(Outstanding {
            nonce: batch.nonce.clone(),
            generation: now,
            told,
            news,
            set_version: batch.set_version.clone(),
        });
    }

    /// Endpoints of clusters that are new to the client are sent again.
    fn refresh_endpoints(&mut self, clusters: Vec<Arc<str>>) {
        let Some(endpoints) = self.types.get_mut(&ResourceType::Endpoints) else {
            self.fresh_clusters.extend(clusters);
            return;
        };
        let known = |name: &Arc<str>| endpoints.held.get(name).is_some_and(Held::exists);
        let forced: Vec<Arc<str>> = clusters.into_iter().filter(known).collect();
        endpoints.forced.extend(forced);
    }
}
