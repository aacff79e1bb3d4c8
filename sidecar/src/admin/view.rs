//! What the endpoints show, as JSON. Pure.

use crate::{
    model::{Cluster, Discovery, Health, Snapshot},
    store::ConnectionInfo,
    xds::{Connection, Dump, stream::ResourceState},
};
use serde_json::{Map, Value, json};
use std::{sync::Arc, time::Duration};

/// The configuration: how the stream stands, every resource with version, state and age, and the
/// clusters in force.
pub(super) fn config(dump: &Dump, snapshot: &Snapshot) -> Value {
    let mut resources: Map<String, Value> = Map::new();
    for resource in &dump.resources {
        let list = resources
            .entry(resource.kind)
            .or_insert_with(|| Value::Array(Vec::new()));
        let shown = json!({
            "name": resource.name.as_ref(),
            "version": resource.version,
            "state": match resource.state {
                ResourceState::Requested => "Requested",
                ResourceState::Held => "Held",
                ResourceState::InForce => "InForce",
                ResourceState::Absent => "Absent",
            },
            "refused": resource.refused,
            "ageMs": resource.since.map(|since| ms(dump.now.saturating_sub(since))),
        });
        if let Value::Array(list) = list {
            list.push(shown);
        }
    }
    let (connected, since) = match dump.connection {
        Connection::Connected(since) => (true, since),
        Connection::Disconnected(since) => (false, since),
    };
    let mut clusters: Vec<&Arc<Cluster>> = snapshot.clusters.values().collect();
    clusters.sort_by(|a, b| a.name.cmp(&b.name));
    json!({
        "controlPlane": {
            "connected": connected,
            "sinceMs": ms(dump.now.saturating_sub(since)),
        },
        "snapshot": snapshot.sequence,
        "resources": resources,
        "clusters": clusters.into_iter().map(|each| cluster(each, dump.now)).collect::<Vec<_>>(),
    })
}

fn cluster(cluster: &Arc<Cluster>, now: Duration) -> Value {
    let endpoints: Vec<Value> = cluster
        .endpoints
        .iter()
        .map(|endpoint| {
            json!({
                "address": endpoint.address.to_string(),
                "weight": endpoint.weight,
                "priority": endpoint.priority,
                "version": endpoint.version.as_deref(),
                "health": match endpoint.health {
                    Health::Healthy => "Healthy",
                    Health::Unhealthy => "Unhealthy",
                    Health::Draining => "Draining",
                },
                "ejected": endpoint.state.is_ejected(ms(now)),
            })
        })
        .collect();
    json!({
        "name": cluster.name.as_ref(),
        "discovery": match cluster.discovery {
            Discovery::Endpoints => "Endpoints",
            Discovery::OriginalDst => "OriginalDst",
        },
        "fuse": cluster.outlier_detection.is_some(),
        "endpoints": endpoints,
    })
}

/// One open connection.
pub(super) fn connection(worker: usize, connection: &ConnectionInfo) -> Value {
    json!({
        "worker": worker,
        "direction": if connection.inbound { "inbound" } else { "outbound" },
        "protocol": connection.protocol,
        "peer": connection.peer.to_string(),
        "originalDestination": connection.original_destination.map(|at| at.to_string()),
        "active": connection.active,
        "ageMs": ms(connection.age),
    })
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
