//! What the engine is told of a client.

use super::{
    super::translate::ResourceType,
    client::Client,
    subscription::{Held, Subscription},
};
use crate::model::{Generation, ProxyState, ResourceState, ServiceKey, TypeState};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

impl Client {
    /// What it is interested in and has applied.
    pub fn state(&self) -> ProxyState {
        ProxyState {
            proxy: self.node.id.clone(),
            user_agent: self.node.user_agent.clone(),
            address: self.address,
            interest: self.interest(),
            acked: self.acked(),
            sent: self.sent,
            nacks: self.nacks(),
            types: self
                .types
                .iter()
                .map(|(kind, subscription)| type_state(*kind, subscription))
                .collect(),
        }
    }

    /// The newest generation of which it has everything that concerns it.
    fn acked(&self) -> Generation {
        let now = self.snapshot.generation();
        // Routes that it has not spoken of may be as old as anything.
        let limit = if self.routes_known() {
            now
        } else {
            Generation::default()
        };
        self.types
            .values()
            .flat_map(|subscription| subscription.held.values())
            .map(|held| held.acked_through)
            .fold(limit, Generation::min)
    }

    fn interest(&self) -> BTreeSet<ServiceKey> {
        let mut interest = BTreeSet::new();
        for (kind, subscription) in &self.types {
            if *kind == ResourceType::Cluster && subscription.wildcard {
                interest.extend(self.snapshot.world().services.keys().cloned());
                continue;
            }
            for (name, held) in &subscription.held {
                interest.extend(self.snapshot.service_of(&self.node, *kind, name));
                interest.extend(services(held));
            }
        }
        interest
    }

    /// By service, why what it should have now is refused.
    fn nacks(&self) -> BTreeMap<ServiceKey, Arc<str>> {
        let mut nacks = BTreeMap::new();
        for (kind, subscription) in &self.types {
            for (name, held) in &subscription.held {
                let Some(message) = refusal(held) else {
                    continue;
                };
                let named = self.snapshot.service_of(&self.node, *kind, name);
                for service in services(held).chain(named) {
                    nacks.insert(service, message.clone());
                }
            }
        }
        nacks
    }
}

fn services(held: &Held) -> impl Iterator<Item = ServiceKey> {
    held.resource
        .iter()
        .flat_map(|resource| resource.services.iter().cloned())
}

/// What was sent last was refused.
fn refusal(held: &Held) -> Option<&Arc<str>> {
    let sent = held.sent.as_ref()?.as_ref()?;
    held.refused.get(sent)
}

fn type_state(kind: ResourceType, subscription: &Subscription) -> TypeState {
    TypeState {
        type_url: kind.url().to_owned(),
        wildcard: subscription.wildcard,
        resources: subscription
            .held
            .iter()
            .map(|(name, held)| {
                let state = ResourceState {
                    version: held.sent.clone().flatten().map(|v| v.to_string()),
                    acked: held.sent.is_some() && held.acked == held.sent,
                };
                (name.to_string(), state)
            })
            .collect(),
        nack: subscription.nack.clone(),
    }
}
