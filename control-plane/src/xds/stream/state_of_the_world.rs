//! The state-of-the-world variant: a request lists all names, a response of CDS and LDS all
//! resources.

use super::{
    super::{snapshot::Snapshot, translate::ResourceType},
    client::{Batch, Client, Refused, Variant, WILDCARD, check_texts},
    delivery::set_version,
    subscription::{Held, Subscription},
};
use crate::model::Generation;
use envoy_types::pb::envoy::service::discovery::v3::{
    DiscoveryRequest as Request, DiscoveryResponse as Response,
};
use std::{collections::BTreeSet, sync::Arc};

/// Takes a request and answers what can be answered.
pub fn on_request(
    client: &mut Client,
    snapshot: &Arc<Snapshot>,
    request: &Request,
) -> Result<Vec<Response>, Refused> {
    debug_assert_eq!(client.variant, Variant::StateOfTheWorld);
    let Some(kind) = ResourceType::from_url(&request.type_url) else {
        return Ok(Vec::new());
    };
    check_texts(request.resource_names.iter())?;
    if !request.response_nonce.is_empty() {
        let error = request.error_detail.as_ref().map(|e| e.message.as_str());
        let newest = client.acknowledge(kind, &request.response_nonce, error);
        if !newest {
            // A newer response is under way; the names of the request that answers it count.
            return Ok(on_snapshot(client, snapshot));
        }
    }
    let subscription = client.subscription(kind);
    let first = !std::mem::replace(&mut subscription.seen, true);
    subscribe(subscription, kind, &request.resource_names);
    client.check_bounds()?;
    if first && !request.version_info.is_empty() {
        resume(client, snapshot, kind, &request.version_info);
    }
    Ok(on_snapshot(client, snapshot))
}

/// Says what has changed.
pub fn on_snapshot(client: &mut Client, snapshot: &Arc<Snapshot>) -> Vec<Response> {
    client.deliver(snapshot).into_iter().map(response).collect()
}

fn subscribe(subscription: &mut Subscription, kind: ResourceType, names: &[String]) {
    let legacy = names.is_empty() && kind.is_full_state() && !subscription.ever_named;
    subscription.ever_named |= !names.is_empty();
    let wildcard = legacy || names.iter().any(|name| name == WILDCARD);
    if wildcard && !subscription.wildcard {
        subscription.asked_all = true;
    }
    let was_wildcard = std::mem::replace(&mut subscription.wildcard, wildcard);
    let listed: BTreeSet<Arc<str>> = names
        .iter()
        .filter(|name| *name != WILDCARD)
        .map(|name| name.as_str().into())
        .collect();
    let dropped: Vec<Arc<str>> = subscription.names.difference(&listed).cloned().collect();
    for name in dropped {
        subscription.drop_name(&name);
    }
    for name in listed {
        if subscription.names.insert(name.clone()) {
            subscription.asked.insert(name);
        }
    }
    if was_wildcard && !wildcard {
        let names = &subscription.names;
        subscription.held.retain(|name, _| names.contains(name));
    }
}

/// A client that comes back with exactly what it would be sent is sent nothing.
fn resume(client: &mut Client, snapshot: &Arc<Snapshot>, kind: ResourceType, version: &str) {
    let node = client.node.clone();
    let fresh = if kind == ResourceType::Endpoints {
        std::mem::take(&mut client.fresh_clusters)
    } else {
        BTreeSet::new()
    };
    let subscription = client.subscription(kind);
    subscription.resumed = true;
    let wanted = subscription.diff(snapshot, &node, kind).wanted;
    if *set_version(&wanted) != *version {
        // It has something else of an unknown age.
        for held in subscription.held.values_mut() {
            held.acked_through = Generation::default();
        }
        return;
    }
    subscription.asked.clear();
    subscription.asked_all = false;
    for (name, resource) in wanted {
        let held = Held::resumed(Some(resource.version.clone()), Some(resource));
        subscription.held.insert(name.clone(), held);
        if fresh.contains(&name) {
            subscription.forced.insert(name);
        }
    }
}

fn response(batch: Batch) -> Response {
    // An alias and its resource are one here: no name twice.
    let mut sent = BTreeSet::new();
    Response {
        version_info: batch.set_version.to_string(),
        type_url: batch.kind.url().to_owned(),
        nonce: batch.nonce,
        resources: batch
            .resources
            .values()
            .filter(|resource| sent.insert(resource.name.clone()))
            .map(|resource| resource.body.clone())
            .collect(),
        ..Response::default()
    }
}
