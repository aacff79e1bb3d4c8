//! The names that requests asked for: bounded, the oldest go first.

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

    /// Adds a name; the oldest leaves where there is no room.
    pub(super) fn insert(&mut self, name: Name) {
        if !self.names.insert(Name::clone(&name)) {
            return;
        }
        self.order.push_back(name);
        if self.order.len() > self.limit
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
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
