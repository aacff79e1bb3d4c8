//! The delta variant: a request changes the subscription, a response the state.

use super::{
    super::{
        snapshot::Snapshot,
        translate::{Resource as Encoded, ResourceType},
    },
    client::{Batch, Client, Refused, Variant, WILDCARD, check_texts},
    subscription::Held,
};
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest as Request, DeltaDiscoveryResponse as Response, Resource,
};
use std::{collections::BTreeSet, sync::Arc};

/// Takes a request and answers what can be answered.
pub fn on_request(
    client: &mut Client,
    snapshot: &Arc<Snapshot>,
    request: &Request,
) -> Result<Vec<Response>, Refused> {
    debug_assert_eq!(client.variant, Variant::Delta);
    let Some(kind) = ResourceType::from_url(&request.type_url) else {
        return Ok(Vec::new());
    };
    let versions = &request.initial_resource_versions;
    check_texts(
        versions
            .iter()
            .flat_map(|(name, version)| [name, version])
            .chain(&request.resource_names_subscribe),
    )?;
    if !request.response_nonce.is_empty() {
        let error = request.error_detail.as_ref().map(|e| e.message.as_str());
        client.acknowledge(kind, &request.response_nonce, error);
    }
    subscribe(client, snapshot, kind, request);
    unsubscribe(client, kind, &request.resource_names_unsubscribe);
    client.check_bounds()?;
    Ok(on_snapshot(client, snapshot))
}

/// Says what has changed.
pub fn on_snapshot(client: &mut Client, snapshot: &Arc<Snapshot>) -> Vec<Response> {
    client.deliver(snapshot).into_iter().map(response).collect()
}

fn subscribe(client: &mut Client, snapshot: &Snapshot, kind: ResourceType, request: &Request) {
    let node = client.node.clone();
    let fresh = if kind == ResourceType::Endpoints {
        std::mem::take(&mut client.fresh_clusters)
    } else {
        BTreeSet::new()
    };
    let subscription = client.subscription(kind);
    let first = !std::mem::replace(&mut subscription.seen, true);
    let legacy = first && request.resource_names_subscribe.is_empty() && kind.is_full_state();
    let mut wildcard = legacy;
    for name in &request.resource_names_subscribe {
        if name == WILDCARD {
            wildcard = true;
            continue;
        }
        let name: Arc<str> = name.as_str().into();
        subscription.names.insert(name.clone());
        let known = first && request.initial_resource_versions.contains_key(&*name);
        if !known {
            subscription.asked.insert(name);
        }
    }
    if wildcard && !subscription.wildcard {
        subscription.wildcard = true;
        subscription.asked_all = request.initial_resource_versions.is_empty();
    }
    if first {
        subscription.resumed = !request.initial_resource_versions.is_empty();
        for (name, version) in &request.initial_resource_versions {
            let name: Arc<str> = name.as_str().into();
            if subscription.wildcard || subscription.names.contains(&name) {
                let held = Held::resumed(Some(version.as_str().into()), None);
                subscription.held.insert(name.clone(), held);
                if fresh.contains(&name) {
                    subscription.forced.insert(name);
                }
            } else if snapshot.find(&node, kind, &name).is_none() {
                subscription.asked.insert(name);
            }
        }
    }
}

fn unsubscribe(client: &mut Client, kind: ResourceType, names: &[String]) {
    let subscription = client.subscription(kind);
    for name in names {
        if name == WILDCARD {
            subscription.wildcard = false;
            let names = &subscription.names;
            subscription.held.retain(|name, _| names.contains(name));
            continue;
        }
        let known = subscription.names.contains(name.as_str());
        subscription.drop_name(name);
        if known && subscription.wildcard {
            // Still covered: the client is told what of it remains.
            subscription.asked.insert(name.as_str().into());
        }
    }
}

fn response(batch: Batch) -> Response {
    Response {
        type_url: batch.kind.url().to_owned(),
        nonce: batch.nonce,
        resources: batch
            .resources
            .iter()
            .map(|(asked, resource)| wrapped(batch.kind, asked, resource))
            .collect(),
        removed_resources: batch.removed.iter().map(ToString::to_string).collect(),
        ..Response::default()
    }
}

fn wrapped(kind: ResourceType, asked: &Arc<str>, resource: &Encoded) -> Resource {
    let is_alias = kind == ResourceType::Cluster && *asked != resource.name;
    Resource {
        name: asked.to_string(),
        aliases: is_alias
            .then(|| resource.name.to_string())
            .into_iter()
            .collect(),
        version: resource.version.to_string(),
        resource: Some(resource.body.clone()),
        ..Resource::default()
    }
}
