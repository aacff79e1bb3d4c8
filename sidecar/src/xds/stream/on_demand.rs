//! The names that requests asked for: bounded. Those that lead nowhere go first, so that a client
//! that asks for many does not push out what serves others; of these the oldest.

use crate::store::resource::Name;
use std::collections::{BTreeSet, VecDeque};

/// A bounded set of names in the order in which they were asked for.
#[derive(Debug)]
pub(super) struct OnDemand {
    limit: usize,
    order: VecDeque<Name>,
    names: BTreeSet<Name>,
}

impl OnDemand {
    /// Holds at most `limit`.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            order: VecDeque::new(),
            names: BTreeSet::new(),
        }
    }

    /// Adds a name. Where there is no room the oldest that is not `in_force` leaves, else the oldest.
    pub(super) fn insert(&mut self, name: Name, in_force: impl Fn(&Name) -> bool) {
        if self.names.contains(&name) {
            return;
        }
        if self.order.len() >= self.limit {
            let idle = self.order.iter().position(|name| !in_force(name));
            if let Some(leaves) = self.order.remove(idle.unwrap_or(0)) {
                self.names.remove(&leaves);
            }
        }
        self.names.insert(Name::clone(&name));
        self.order.push_back(name);
    }

    /// True where it was asked for and not dropped since.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Name> {
        self.names.iter()
    }
}
