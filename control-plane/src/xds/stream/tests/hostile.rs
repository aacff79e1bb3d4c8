//! Clients that would have the server hold more than is sensible.

use super::client;
use crate::xds::{
    fixture::{Make, snapshot},
    snapshot::Snapshot,
    stream::{Variant, delta},
    translate::{ClientKind, ResourceType},
};
use envoy_types::pb::{envoy::service::discovery::v3::DeltaDiscoveryRequest, google::rpc::Status};
use std::sync::Arc;

fn subscribe(kind: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.url().to_owned(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn many_services() -> Arc<Snapshot> {
    let names: Vec<String> = (0..300).map(|n| format!("service-{n}")).collect();
    let services: Vec<Make> = names
        .iter()
        .map(|name| Make::http(name, 7, &[("v1", 10_000, 1)]))
        .collect();
    snapshot(1, &services)
}

#[test]
fn an_endless_nack_is_kept_once_and_short() {
    let snapshot = many_services();
    let mut client = client(Variant::Delta, ClientKind::Envoy, &snapshot);
    let clusters = subscribe(ResourceType::Cluster, &["*"]);
    let answer = delta::on_request(&mut client, &snapshot, &clusters).unwrap();
    let nack = DeltaDiscoveryRequest {
        type_url: ResourceType::Cluster.url().to_owned(),
        response_nonce: answer[0].nonce.clone(),
        error_detail: Some(Status {
            message: "no\n".repeat(1024 * 1024),
            ..Status::default()
        }),
        ..DeltaDiscoveryRequest::default()
    };
    delta::on_request(&mut client, &snapshot, &nack).unwrap();
    let state = client.state();
    assert_eq!(state.nacks.len(), 300);
    let words = state.types[0].nack.clone().unwrap();
    assert!(words.len() <= 1024 && !words.contains('\n'), "{words}");
    for kept in state.nacks.values() {
        assert!(Arc::ptr_eq(kept, &words));
    }
}
