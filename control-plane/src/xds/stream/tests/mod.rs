//! The protocol's rules, each with the number it has in the conformance list (S: state of the
//! world, D: delta), and random clients.

mod delta;
mod hostile;
mod random;
mod state_of_the_world;

use super::{Client, Variant};
use crate::xds::{
    fixture::{Make, node, snapshot},
    snapshot::Snapshot,
    translate::ClientKind,
};
use std::sync::Arc;

const V1: &str = "outbound|80|v1|checkout.shop.svc.cluster.local";
const V2: &str = "outbound|80|v2|checkout.shop.svc.cluster.local";

fn v1_only(generation: u64) -> Arc<Snapshot> {
    snapshot(
        generation,
        &[Make::http("checkout", 7, &[("v1", 10_000, 2)])],
    )
}

fn both(generation: u64, share: u16) -> Arc<Snapshot> {
    let versions = [("v2", share, 1), ("v1", 10_000 - share, 2)];
    snapshot(generation, &[Make::http("checkout", 7, &versions)])
}

fn v2_only(generation: u64) -> Arc<Snapshot> {
    snapshot(
        generation,
        &[Make::http("checkout", 7, &[("v2", 10_000, 1)])],
    )
}

fn client(variant: Variant, kind: ClientKind, snapshot: &Arc<Snapshot>) -> Client {
    Client::new(variant, 1, node(kind, "shop/web-0"), None, snapshot.clone())
}
