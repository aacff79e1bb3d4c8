//! Clients that would have the server hold more than is sensible.

use super::client;
use crate::xds::{
    fixture::{Make, snapshot},
    snapshot::Snapshot,
    stream::{Refused, Variant, delta, state_of_the_world},
    translate::{ClientKind, ResourceType},
};
use envoy_types::pb::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest},
    google::rpc::Status,
};
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

#[test]
fn a_client_that_asks_and_never_answers_is_ended() {
    let snapshot = many_services();
    let mut client = client(Variant::Delta, ClientKind::Sidecar, &snapshot);
    let name = "outbound|80|v1|service-7.shop.svc.cluster.local";
    let asked = subscribe(ResourceType::Cluster, &[name]);
    let refused = (0..10_000).find_map(|n| {
        let answer = delta::on_request(&mut client, &snapshot, &asked);
        answer.err().map(|refused| (n, refused))
    });
    assert_eq!(refused, Some((1_025, Refused::Unanswered)));
}

#[test]
fn one_that_asks_for_everything_again_and_again_is_ended_sooner() {
    let snapshot = many_services();
    let mut client = client(Variant::Delta, ClientKind::Sidecar, &snapshot);
    let names: Vec<String> = (0..9_000).map(|n| format!("nothing-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let asked = subscribe(ResourceType::Cluster, &names);
    let refused = (0..100).find_map(|n| {
        let answer = delta::on_request(&mut client, &snapshot, &asked);
        answer.err().map(|refused| (n, refused))
    });
    assert_eq!(refused, Some((12, Refused::Unanswered)));
}

#[test]
fn who_answers_may_ask_for_ever() {
    let snapshot = many_services();
    let mut client = client(Variant::Delta, ClientKind::Sidecar, &snapshot);
    let name = "outbound|80|v1|service-7.shop.svc.cluster.local";
    let mut asked = subscribe(ResourceType::Cluster, &[name]);
    for _ in 0..2_000 {
        let answer = delta::on_request(&mut client, &snapshot, &asked).unwrap();
        answer[0].nonce.clone_into(&mut asked.response_nonce);
    }
}

#[test]
fn a_name_that_is_too_long_ends_the_stream_in_both_variants() {
    let snapshot = many_services();
    let (long, longest) = ("x".repeat(1_025), "x".repeat(1_024));
    let mut delta_client = client(Variant::Delta, ClientKind::Sidecar, &snapshot);
    let mut ask = |name: &str| {
        let asked = subscribe(ResourceType::Cluster, &[name]);
        delta::on_request(&mut delta_client, &snapshot, &asked).map(drop)
    };
    assert_eq!(ask(&longest), Ok(()));
    assert_eq!(ask(&long), Err(Refused::TooLong));
    let mut client = client(Variant::StateOfTheWorld, ClientKind::Envoy, &snapshot);
    let asked = DiscoveryRequest {
        type_url: ResourceType::Cluster.url().to_owned(),
        resource_names: vec![long],
        ..DiscoveryRequest::default()
    };
    let refused = state_of_the_world::on_request(&mut client, &snapshot, &asked);
    assert_eq!(refused.unwrap_err(), Refused::TooLong);
}
