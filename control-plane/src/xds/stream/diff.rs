//! What a client should have against what it has, of one type.

use super::{
    super::{
        snapshot::Snapshot,
        translate::{Node, Resource, ResourceType},
    },
    subscription::{Held, Subscription},
};
use std::{collections::BTreeMap, sync::Arc};

/// What there is to say.
#[derive(Debug, Default)]
pub(super) struct Diff {
    /// Asked for, and there.
    pub(super) answers: BTreeMap<Arc<str>, Arc<Resource>>,
    /// Asked for, and not there.
    pub(super) denials: Vec<Arc<str>>,
    /// New or changed.
    pub(super) changes: BTreeMap<Arc<str>, Arc<Resource>>,
    /// The client has it, and it is no more.
    pub(super) gone: Vec<Arc<str>>,
    /// All that there should be: what a full state holds.
    pub(super) wanted: BTreeMap<Arc<str>, Arc<Resource>>,
}

impl Subscription {
    /// Compares, and notes in what the client has that it is still right.
    pub(super) fn diff(&mut self, snapshot: &Snapshot, node: &Node, kind: ResourceType) -> Diff {
        let now = snapshot.generation();
        let mut desired: BTreeMap<Arc<str>, Option<Arc<Resource>>> = BTreeMap::new();
        if self.wildcard {
            let all = snapshot.all(node, kind).into_iter();
            desired.extend(all.map(|resource| (resource.name.clone(), Some(resource))));
        }
        for name in &self.names {
            desired
                .entry(name.clone())
                .or_insert_with(|| snapshot.find(node, kind, name));
        }
        let mut diff = Diff::default();
        for name in &self.asked {
            if !desired.contains_key(name) && snapshot.find(node, kind, name).is_none() {
                diff.denials.push(name.clone());
            }
        }
        for (name, resource) in desired {
            self.compare(&mut diff, name, resource, now);
        }
        self.sweep(&mut diff);
        diff
    }

    fn compare(
        &mut self,
        diff: &mut Diff,
        name: Arc<str>,
        resource: Option<Arc<Resource>>,
        now: crate::model::Generation,
    ) {
        let told = resource.as_ref().map(|resource| resource.version.clone());
        let held = self
            .held
            .entry(name.clone())
            .or_insert_with(|| Held::new(now));
        let was_sent = held.sent.as_ref() == Some(&told);
        if was_sent {
            held.sent_through = now;
        }
        if held.acked.as_ref() == Some(&told) {
            held.acked_through = now;
        }
        let asked = self.asked.contains(&name);
        let Some(resource) = resource else {
            match held.sent {
                _ if asked => diff.denials.push(name),
                Some(None) => {}
                _ => diff.gone.push(name),
            }
            return;
        };
        diff.wanted.insert(name.clone(), resource.clone());
        if asked || (self.asked_all && !was_sent) {
            diff.answers.insert(name, resource);
        } else if self.forced.contains(&name)
            || (!was_sent && !held.refused.contains_key(&resource.version))
        {
            diff.changes.insert(name, resource);
        }
    }

    /// What is held and no longer wanted by anyone.
    fn sweep(&mut self, diff: &mut Diff) {
        let names = &self.names;
        self.held.retain(|name, held| {
            if names.contains(name) || diff.wanted.contains_key(name) {
                return true;
            }
            match (&held.sent, &held.acked) {
                (Some(Some(_)), _) => {
                    diff.gone.push(name.clone());
                    true
                }
                // Its removal is under way.
                (Some(None), acked) => !matches!(acked, Some(None)),
                (None, _) => false,
            }
        });
    }
}
