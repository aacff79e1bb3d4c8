//! Which responses are not acknowledged yet, and why.
//!
//! An ACK tells the control plane that what it sent is *in force*: every resource of the response
//! stands in a snapshot that all workers serve by. ACKs of a kind go out in the order of their
//! responses.

use super::known::Key;
use crate::xds::decode::Kind;
use std::collections::{BTreeSet, VecDeque};

/// The responses not acknowledged yet.
#[derive(Debug, Default)]
pub(super) struct Acks {
    outstanding: VecDeque<Outstanding>,
    /// The last revision that all workers serve by.
    applied: u64,
}

#[derive(Debug)]
struct Outstanding {
    kind: Kind,
    nonce: String,
    /// What is held back still.
    waiting: BTreeSet<Key>,
    /// The revision that held all of it first.
    revision: Option<u64>,
}

impl Acks {
    /// A response came that changed these resources.
    pub(super) fn add(&mut self, kind: Kind, nonce: String, changed: BTreeSet<Key>) {
        self.outstanding.push_back(Outstanding {
            kind,
            nonce,
            waiting: changed,
            revision: None,
        });
    }

    /// As of `revision`, everything but what `is_held` is in force.
    pub(super) fn settle(&mut self, revision: u64, is_held: impl Fn(&Key) -> bool) {
        for response in &mut self.outstanding {
            response.waiting.retain(&is_held);
            if response.waiting.is_empty() {
                response.revision.get_or_insert(revision);
            }
        }
    }

    /// All workers serve by `revision`.
    pub(super) fn applied(&mut self, revision: u64) {
        self.applied = self.applied.max(revision);
    }

    /// Takes out the responses to acknowledge now.
    pub(super) fn due(&mut self) -> Vec<(Kind, String)> {
        let mut due = Vec::new();
        let mut blocked = BTreeSet::new();
        let applied = self.applied;
        self.outstanding.retain_mut(|response| {
            let in_force = response.revision.is_some_and(|needed| needed <= applied);
            if in_force && !blocked.contains(&response.kind) {
                due.push((response.kind, std::mem::take(&mut response.nonce)));
                return false;
            }
            blocked.insert(response.kind);
            true
        });
        due
    }

    /// The stream is gone, and with it whom to tell.
    pub(super) fn forget(&mut self) {
        self.outstanding.clear();
    }
}
