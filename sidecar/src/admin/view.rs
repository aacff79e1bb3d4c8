//! What the endpoints show, as JSON. Pure.

use crate::{
    model::{Cluster, Discovery, Health, Snapshot},
    store::{ConnectionInfo, OpenStreams, StreamInfo},
    xds::{Connection, Dump, stream::ResourceState},
};
use serde_json::{Map, Value, json};
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

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
        "direction": direction(connection.inbound),
        "protocol": connection.protocol,
        "peer": connection.peer.to_string(),
        "originalDestination": connection.original_destination.map(|at| at.to_string()),
        "active": connection.active,
        "ageMs": ms(connection.age),
    })
}

/// What is under way in each worker: how much of each kind, and each by itself, the oldest first.
pub(super) fn streams(workers: &[Option<OpenStreams>]) -> Value {
    let mut all = Vec::new();
    for (worker, open) in workers.iter().enumerate() {
        let streams = open.iter().flat_map(|open| &open.streams);
        all.extend(streams.map(|stream| (worker, *stream)));
    }
    all.sort_by_key(|(_, stream)| Reverse(stream.age));
    let mut kinds: BTreeMap<&str, (u64, u64, Duration)> = BTreeMap::new();
    for (_, stream) in &all {
        let (count, ending, oldest) = kinds.entry(stream.kind).or_default();
        *count += 1;
        *ending += u64::from(stream.ending);
        *oldest = stream.age.max(*oldest);
    }
    let kind = |(kind, (count, ending, oldest))| {
        let shown = json!({ "count": count, "ending": ending, "oldestMs": ms(oldest) });
        (String::from(kind), shown)
    };
    let stream = |(worker, stream): &(usize, StreamInfo)| {
        json!({
            "worker": worker,
            "kind": stream.kind,
            "direction": direction(stream.inbound),
            "ageMs": ms(stream.age),
            "ending": stream.ending,
        })
    };
    json!({
        "draining": workers.iter().flatten().any(|open| open.draining),
        "open": kinds.into_iter().map(kind).collect::<Map<_, _>>(),
        "streams": all.iter().map(stream).collect::<Vec<_>>(),
    })
}

const fn direction(inbound: bool) -> &'static str {
    if inbound { "inbound" } else { "outbound" }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::streams;
    use crate::store::{OpenStreams, StreamInfo};
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn what_is_open_is_shown_by_kind_and_age() {
        let stream = |kind, seconds, ending| StreamInfo {
            kind,
            inbound: true,
            age: Duration::from_secs(seconds),
            ending,
        };
        let first = OpenStreams {
            draining: true,
            streams: vec![stream("sse", 1, false), stream("tcp", 3, true)],
        };
        let other = OpenStreams {
            draining: false,
            streams: vec![stream("sse", 2, true)],
        };
        let shown = streams(&[Some(first), None, Some(other)]);
        assert_eq!(shown["draining"], true);
        let open = json!({
            "sse": { "count": 2, "ending": 1, "oldestMs": 2_000 },
            "tcp": { "count": 1, "ending": 1, "oldestMs": 3_000 },
        });
        assert_eq!(shown["open"], open);
        let all = shown["streams"].as_array().unwrap();
        let ages: Vec<_> = all.iter().map(|one| &one["ageMs"]).collect();
        assert_eq!(ages, [3_000, 2_000, 1_000]);
        assert_eq!(shown["streams"][1]["worker"], 2);
    }
}
