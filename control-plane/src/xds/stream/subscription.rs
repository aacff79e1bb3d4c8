//! What a client wants of one type, and what it has.

use super::{super::translate::Resource, refusal::Refusal};
use crate::model::Generation;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

/// What a client was told of a name: a version, or (None) that there is no such thing.
pub(super) type Told = Option<Arc<str>>;

/// How many refused versions of one resource are remembered.
const REFUSED_KEPT: usize = 8;

/// How many refused sets are remembered.
const REFUSED_SETS_KEPT: usize = 64;

/// One type's subscription.
#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// A request of this type has come.
    pub(super) seen: bool,
    /// Everything is subscribed to.
    pub(super) wildcard: bool,
    /// A name was given on this stream: an empty list no longer means everything.
    pub(super) ever_named: bool,
    /// The names subscribed to.
    pub(super) names: BTreeSet<Arc<str>>,
    /// Names to be answered, whatever was sent before.
    pub(super) asked: BTreeSet<Arc<str>>,
    /// Everything is to be answered, also if that is nothing.
    pub(super) asked_all: bool,
    /// Names to be sent although they did not change.
    pub(super) forced: BTreeSet<Arc<str>>,
    /// By name, what the client has.
    pub(super) held: BTreeMap<Arc<str>, Held>,
    /// Responses that were neither ACKed nor NACKed, oldest first.
    pub(super) outstanding: VecDeque<Outstanding>,
    /// The nonce of the newest response.
    pub(super) last_nonce: String,
    /// State of the world: sets that were refused, by version.
    pub(super) refused_sets: BTreeSet<Arc<str>>,
    /// The newest refusal that no ACK followed.
    pub(super) nack: Option<Arc<str>>,
    /// The client came with what it had on an earlier stream.
    pub(super) resumed: bool,
}

/// What a client has of one name.
#[derive(Debug)]
pub(super) struct Held {
    /// What was sent last; None: nothing yet.
    pub(super) sent: Option<Told>,
    /// What was ACKed last; None: nothing yet.
    pub(super) acked: Option<Told>,
    /// The newest generation in which what was sent last is right.
    pub(super) sent_through: Generation,
    /// The newest generation in which what was ACKed last is right.
    pub(super) acked_through: Generation,
    /// The resource that was sent last, where it is known.
    pub(super) resource: Option<Arc<Resource>>,
    /// Versions that the client refused, and why.
    pub(super) refused: BTreeMap<Arc<str>, Arc<str>>,
}

impl Held {
    /// Of no interest to the client before `now`.
    pub(super) fn new(now: Generation) -> Self {
        let before = Generation(now.0.saturating_sub(1));
        Self {
            sent: None,
            acked: None,
            sent_through: before,
            acked_through: before,
            resource: None,
            refused: BTreeMap::new(),
        }
    }

    /// The client has it from an earlier stream: where it is not what is right now, it may be as old
    /// as anything.
    pub(super) fn resumed(version: Told, resource: Option<Arc<Resource>>) -> Self {
        Self {
            sent: Some(version.clone()),
            acked: Some(version),
            resource,
            ..Self::new(Generation::default())
        }
    }

    pub(super) fn send(&mut self, told: Told, resource: Option<Arc<Resource>>, now: Generation) {
        self.sent = Some(told);
        self.sent_through = now;
        self.resource = resource;
    }

    fn ack(&mut self, told: &Told, sent_at: Generation) {
        self.acked_through = if self.sent.as_ref() == Some(told) {
            self.sent_through
        } else {
            self.acked_through.max(sent_at)
        };
        self.acked = Some(told.clone());
    }

    fn refuse(&mut self, version: Arc<str>, why: Arc<str>) {
        if self.refused.len() >= REFUSED_KEPT {
            self.refused.pop_first();
        }
        self.refused.insert(version, why);
    }

    /// True where the client has a version of it.
    pub(super) fn exists(&self) -> bool {
        matches!(self.sent, Some(Some(_)))
    }
}

/// A response that is under way.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) nonce: String,
    /// The generation it was built from.
    pub(super) generation: Generation,
    /// What it says.
    pub(super) told: BTreeMap<Arc<str>, Told>,
    /// Of these, what the client did not have before.
    pub(super) news: BTreeSet<Arc<str>>,
    /// State of the world: the version of the whole set.
    pub(super) set_version: Arc<str>,
}

/// How much of a refused response the client took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// None of it.
    Nothing,
    /// All but what the message names (gRFC A46).
    AllButNamed,
}

impl Subscription {
    /// Everything that a response says has reached the client. One that was superseded counts
    /// too: responses are read in order.
    pub(super) fn ack(&mut self, nonce: &str) {
        let Some(position) = self.outstanding.iter().position(|o| o.nonce == nonce) else {
            return;
        };
        if let Some(response) = self.outstanding.remove(position) {
            for (name, told) in &response.told {
                self.confirm(name, told, response.generation);
            }
            self.nack = None;
        }
    }

    /// Who answers a response has read those before it.
    pub(super) fn ack_older(&mut self, nonce: &str) {
        if !self.outstanding.iter().any(|o| o.nonce == nonce) {
            return;
        }
        while self.outstanding.front().is_some_and(|o| o.nonce != nonce) {
            let Some(older) = self.outstanding.pop_front() else {
                return;
            };
            for (name, told) in &older.told {
                self.confirm(name, told, older.generation);
            }
        }
    }

    /// The client refused a response.
    pub(super) fn refuse(&mut self, nonce: &str, message: &Refusal<'_>, taken: Taken) {
        let Some(position) = self.outstanding.iter().position(|o| o.nonce == nonce) else {
            return;
        };
        let Some(response) = self.outstanding.remove(position) else {
            return;
        };
        if self.refused_sets.len() >= REFUSED_SETS_KEPT {
            self.refused_sets.pop_first();
        }
        self.refused_sets.insert(response.set_version.clone());
        self.nack = Some(message.shown.clone());
        let named = |name: &Arc<str>| message.names(name);
        let any_named = response.news.iter().any(named);
        for (name, told) in &response.told {
            let guilty = response.news.contains(name) && (!any_named || named(name));
            match told {
                Some(version) if guilty => {
                    if let Some(held) = self.held.get_mut(name) {
                        held.refuse(version.clone(), message.shown.clone());
                    }
                }
                Some(version) if taken == Taken::Nothing && response.news.contains(name) => {
                    if let Some(held) = self.held.get_mut(name) {
                        held.refuse(version.clone(), message.shown.clone());
                    }
                }
                _ => self.confirm(name, told, response.generation),
            }
        }
    }

    fn confirm(&mut self, name: &Arc<str>, told: &Told, generation: Generation) {
        if let Some(held) = self.held.get_mut(name) {
            held.ack(told, generation);
        }
    }

    /// Ends a name's subscription.
    pub(super) fn drop_name(&mut self, name: &str) {
        self.names.remove(name);
        self.asked.remove(name);
        self.forced.remove(name);
        if !self.wildcard {
            self.held.remove(name);
        }
    }
}
