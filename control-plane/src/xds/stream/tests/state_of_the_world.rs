use super::{V1, V2, both, client, v1_only, v2_only};
use crate::{
    model::Key,
    xds::{
        snapshot::Snapshot,
        stream::{Client, Variant, state_of_the_world},
        translate::{ClientKind, ResourceType},
    },
};
use envoy_types::pb::{
    envoy::{
        config::cluster::v3::Cluster,
        service::discovery::v3::{DiscoveryRequest, DiscoveryResponse},
    },
    google::rpc::Status,
};
use prost::Message;
use std::sync::Arc;

const CDS: ResourceType = ResourceType::Cluster;
const EDS: ResourceType = ResourceType::Endpoints;
const LDS: ResourceType = ResourceType::Listener;
const RDS: ResourceType = ResourceType::Route;

fn request(kind: ResourceType, names: &[&str]) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: kind.url().to_owned(),
        resource_names: names.iter().map(ToString::to_string).collect(),
        ..DiscoveryRequest::default()
    }
}

struct Fake {
    client: Client,
    snapshot: Arc<Snapshot>,
}

impl Fake {
    fn new(kind: ClientKind, snapshot: &Arc<Snapshot>) -> Self {
        Self {
            client: client(Variant::StateOfTheWorld, kind, snapshot),
            snapshot: snapshot.clone(),
        }
    }

    fn say(&mut self, request: &DiscoveryRequest) -> Vec<DiscoveryResponse> {
        state_of_the_world::on_request(&mut self.client, &self.snapshot, request).unwrap()
    }

    fn ask(&mut self, kind: ResourceType, names: &[&str]) -> Vec<DiscoveryResponse> {
        self.say(&request(kind, names))
    }

    fn ack(&mut self, response: &DiscoveryResponse, names: &[&str]) -> Vec<DiscoveryResponse> {
        self.say(&DiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            version_info: response.version_info.clone(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            ..DiscoveryRequest::default()
        })
    }

    fn nack(&mut self, response: &DiscoveryResponse, names: &[&str]) -> Vec<DiscoveryResponse> {
        self.say(&DiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            error_detail: Some(Status {
                message: "no".to_owned(),
                ..Status::default()
            }),
            ..DiscoveryRequest::default()
        })
    }

    fn see(&mut self, snapshot: &Arc<Snapshot>) -> Vec<DiscoveryResponse> {
        self.snapshot = snapshot.clone();
        state_of_the_world::on_snapshot(&mut self.client, snapshot)
    }

    fn acked(&self) -> u64 {
        self.client.state().acked.0
    }
}

fn clusters(response: &DiscoveryResponse) -> Vec<String> {
    let decoded = response
        .resources
        .iter()
        .map(|any| Cluster::decode(any.value.as_slice()).unwrap().name);
    decoded
        .filter(|name| name.starts_with("outbound"))
        .collect()
}

/// An Envoy that has everything of `snapshot`.
fn envoy(snapshot: &Arc<Snapshot>, versions: &[&str]) -> Fake {
    let mut fake = Fake::new(ClientKind::Envoy, snapshot);
    for (kind, names) in [(CDS, &[][..]), (EDS, versions), (LDS, &[]), (RDS, &["80"])] {
        let response = fake.ask(kind, names).remove(0);
        assert!(fake.ack(&response, names).is_empty());
    }
    fake
}

#[test]
fn s01_s02_nonces_are_unique_and_the_version_is_that_of_the_set() {
    let mut fake = Fake::new(ClientKind::Envoy, &v1_only(1));
    let one = fake.ask(CDS, &[]).remove(0);
    let mut other = Fake::new(ClientKind::Envoy, &v1_only(77));
    let two = other.ask(CDS, &[]).remove(0);
    assert_eq!(one.version_info, two.version_info);
    let mut changed = Fake::new(ClientKind::Envoy, &both(1, 0));
    assert_ne!(
        changed.ask(CDS, &[]).remove(0).version_info,
        one.version_info
    );
    let eds = fake.ask(EDS, &[V1]).remove(0);
    assert_ne!(eds.nonce, one.nonce);
}

#[test]
fn s04_an_ack_is_not_answered() {
    let fake = envoy(&v1_only(1), &[V1]);
    assert_eq!(fake.acked(), 1);
}

#[test]
fn s05_s06_a_refused_version_is_reported_and_not_resent_until_the_next_change() {
    let mut fake = envoy(&both(1, 0), &[V1, V2]);
    let routes = fake.see(&both(2, 500)).remove(0);
    assert!(fake.nack(&routes, &["80"]).is_empty());
    assert!(fake.see(&both(3, 500)).is_empty());
    let state = fake.client.state();
    assert_eq!(&*state.nacks[&Key::new("shop", "checkout")], "no");
    assert_eq!(state.acked.0, 1);
    let next = fake.see(&both(4, 600)).remove(0);
    fake.ack(&next, &["80"]);
    assert_eq!(fake.acked(), 4);
    assert!(fake.client.state().nacks.is_empty());
}

#[test]
fn s06_a_refused_set_of_clusters_is_not_resent() {
    let mut fake = envoy(&v1_only(1), &[V1]);
    let refused = fake.see(&both(2, 0)).remove(0);
    // The routes go on; there the refusal of the clusters counts as an answer.
    let _routes = fake.nack(&refused, &[]);
    let after = fake.see(&both(3, 0));
    assert!(after.iter().all(|r| r.type_url != CDS.url()));
    assert_eq!(fake.acked(), 1);
}

#[test]
fn s07_s08_the_names_of_a_stale_nonce_do_not_count_and_those_of_an_empty_one_do() {
    let mut fake = Fake::new(ClientKind::Grpc, &both(1, 500));
    let first = fake.ask(CDS, &[V1]).remove(0);
    // Added before the ACK, with an empty nonce, as gRPC does.
    let second = fake.ask(CDS, &[V1, V2]).remove(0);
    assert_eq!(clusters(&second), [V1, V2]);
    // The stale ACK leaves v2's subscription alone.
    assert!(fake.ack(&first, &[V1]).is_empty());
    assert!(fake.ack(&second, &[V1, V2]).is_empty());
    assert_eq!(fake.client.state().types[0].resources.len(), 2);
    assert_eq!(fake.acked(), 1);
    let mut unknown = request(CDS, &["other"]);
    unknown.response_nonce = "nobody's".to_owned();
    assert!(fake.say(&unknown).is_empty());
}

#[test]
fn s10_s11_a_name_left_out_is_dropped_and_asked_for_again_sent_again() {
    let mut fake = Fake::new(ClientKind::Envoy, &both(1, 500));
    let both_of = fake.ask(EDS, &[V1, V2]).remove(0);
    assert_eq!(both_of.resources.len(), 2);
    assert!(fake.ack(&both_of, &[V1]).is_empty());
    let again = fake.ask(EDS, &[V1, V2]).remove(0);
    assert_eq!(again.resources.len(), 1);
}

#[test]
fn s12_s13_s14_wildcards() {
    let mut fake = Fake::new(ClientKind::Envoy, &v1_only(1));
    let all = fake.ask(CDS, &[]).remove(0);
    assert_eq!(clusters(&all), [V1]);
    fake.ack(&all, &[]);
    assert!(fake.client.state().types[0].wildcard);
    let explicit = fake.ask(CDS, &["*", "BlackHoleCluster"]).remove(0);
    assert_eq!(explicit.resources.len(), 3);
    fake.ack(&explicit, &["BlackHoleCluster"]);
    assert!(!fake.client.state().types[0].wildcard);
    assert_eq!(fake.client.state().types[0].resources.len(), 1);
    fake.ack(&explicit, &[]);
    assert!(!fake.client.state().types[0].wildcard);
    assert!(fake.client.state().types[0].resources.is_empty());
}

/// v1 goes: first v2 loses it as its fallback, then comes the route.
fn without_v1(fake: &mut Fake) -> Vec<DiscoveryResponse> {
    let endpoints = fake.see(&v2_only(2));
    assert_eq!(endpoints[0].type_url, EDS.url());
    let routes = fake.ack(&endpoints[0], &[V1, V2]);
    assert_eq!((endpoints.len(), routes.len()), (1, 1));
    assert_eq!(routes[0].type_url, RDS.url());
    routes
}

#[test]
fn s15_s34_the_old_cluster_stays_in_the_set_until_no_route_names_it() {
    let mut fake = envoy(&both(1, 500), &[V1, V2]);
    let routes = without_v1(&mut fake);
    let reduced = fake.ack(&routes[0], &["80"]);
    assert_eq!(clusters(&reduced[0]), [V2]);
    assert_eq!(fake.acked(), 1);
    fake.ack(&reduced[0], &[]);
    assert_eq!(fake.acked(), 2);
}

#[test]
fn s15_a_change_meanwhile_carries_the_old_cluster_along() {
    let mut fake = envoy(&both(1, 500), &[V1, V2]);
    let routes = without_v1(&mut fake);
    let mut fused = crate::xds::fixture::Make::http("checkout", 7, &[("v2", 10_000, 1)]);
    fused.fuse = true;
    let change = fake.see(&crate::xds::fixture::snapshot(3, &[fused]));
    assert_eq!(clusters(&change[0]), [V1, V2]);
    let eds = fake.ack(&change[0], &[]);
    assert_eq!(eds[0].type_url, EDS.url());
    assert!(fake.ack(&eds[0], &[V1, V2]).is_empty());
    let reduced = fake.ack(&routes[0], &["80"]);
    assert_eq!(clusters(&reduced[0]), [V2]);
}

#[test]
fn s17_names_that_do_not_exist_yet_are_pushed_when_they_appear() {
    let mut fake = Fake::new(ClientKind::Envoy, &v1_only(1));
    assert!(fake.ask(EDS, &[V2]).is_empty());
    assert_eq!(fake.acked(), 1);
    let appears = fake.see(&both(2, 0));
    assert_eq!(appears[0].resources.len(), 1);
    // Of a full state, the answer itself says that there is none.
    let mut grpc = Fake::new(ClientKind::Grpc, &v1_only(1));
    let none = grpc
        .ask(LDS, &["nobody.shop.svc.cluster.local:80"])
        .remove(0);
    assert!(none.resources.is_empty());
    assert!(
        grpc.ack(&none, &["nobody.shop.svc.cluster.local:80"])
            .is_empty()
    );
}

#[test]
fn s18_a_cluster_is_not_sent_twice_in_one_response() {
    let db = crate::xds::fixture::Make::tcp("db", 9, &[("v1", 10_000, 1)]);
    let mut fake = Fake::new(ClientKind::Envoy, &crate::xds::fixture::snapshot(1, &[db]));
    let name = "outbound|3306||db.shop.svc.cluster.local";
    let both_names = fake.ask(CDS, &[name, "outbound|3306||10.96.0.9"]).remove(0);
    assert_eq!(clusters(&both_names), [name]);
}

#[test]
fn s21_a_client_that_has_exactly_that_is_sent_nothing() {
    let mut fake = Fake::new(ClientKind::Envoy, &both(1, 500));
    let versions: Vec<(ResourceType, Vec<&str>, String)> = [
        (CDS, vec![]),
        (EDS, vec![V1, V2]),
        (LDS, vec![]),
        (RDS, vec!["80"]),
    ]
    .into_iter()
    .map(|(kind, names)| {
        let response = fake.ask(kind, &names).remove(0);
        fake.ack(&response, &names);
        (kind, names, response.version_info)
    })
    .collect();
    let mut again = Fake::new(ClientKind::Envoy, &both(500, 500));
    for (kind, names, version) in &versions {
        let mut resume = request(*kind, names);
        resume.version_info.clone_from(version);
        assert!(again.say(&resume).is_empty(), "{kind:?}");
    }
    assert_eq!(again.acked(), 500);
    let mut more = Fake::new(ClientKind::Envoy, &both(500, 500));
    let mut resume = request(EDS, &[V1]);
    resume.version_info.clone_from(&versions[1].2);
    assert_eq!(more.say(&resume).len(), 1);
    assert_eq!(more.acked(), 0, "what it had is of an unknown age");
}

#[test]
fn s35_endpoints_of_a_changed_cluster_are_sent_again_also_to_a_client_that_came_back() {
    let before = both(1, 500);
    let mut fake = Fake::new(ClientKind::Envoy, &before);
    let eds = fake.ask(EDS, &[V1, V2]).remove(0);
    let mut fused =
        crate::xds::fixture::Make::http("checkout", 7, &[("v2", 500, 1), ("v1", 9500, 2)]);
    fused.fuse = true;
    let mut again = Fake::new(
        ClientKind::Envoy,
        &crate::xds::fixture::snapshot(2, &[fused]),
    );
    let mut resume = request(CDS, &[]);
    resume.version_info = "older".to_owned();
    let cds = again.say(&resume).remove(0);
    let mut resume = request(EDS, &[V1, V2]);
    resume.version_info = eds.version_info;
    assert!(again.say(&resume).is_empty());
    let fresh = again.ack(&cds, &[]);
    assert_eq!(fresh[0].resources.len(), 2);
}

#[test]
fn s36_a_cluster_without_instances_has_endpoints_all_the_same() {
    let none = crate::xds::fixture::Make::http("checkout", 7, &[("v1", 10_000, 0)]);
    let mut fake = Fake::new(
        ClientKind::Envoy,
        &crate::xds::fixture::snapshot(1, &[none]),
    );
    assert_eq!(fake.ask(EDS, &[V1]).remove(0).resources.len(), 1);
}

#[test]
fn s16_endpoints_that_a_response_leaves_out_are_still_there() {
    let mut fake = envoy(&both(1, 500), &[V1, V2]);
    let versions = [("v2", 500, 2), ("v1", 9_500, 2)];
    let make = crate::xds::fixture::Make::http("checkout", 7, &versions);
    let more = fake
        .see(&crate::xds::fixture::snapshot(2, &[make]))
        .remove(0);
    assert_eq!(more.type_url, EDS.url());
    // v2 has one more, at the second priority of v1 too; a third name does not change with them.
    fake.ack(&more, &[V1, V2]);
    let only = fake.ask(
        EDS,
        &[V1, V2, "outbound|80|v3|checkout.shop.svc.cluster.local"],
    );
    assert!(only.is_empty(), "what did not change is not sent");
    let state = fake.client.state();
    let endpoints = state.types.iter().find(|t| t.type_url == EDS.url());
    let has = |name: &str| endpoints.unwrap().resources[name].version.is_some();
    assert!(has(V1) && has(V2));
    assert_eq!(fake.acked(), 2);
}

/// As gRPC C-core after a restart of the server; the node is not needed again.
#[test]
fn s19_s20_types_come_in_any_order_and_before_their_answers_are_read() {
    let target = "checkout.shop.svc.cluster.local:80";
    let mut fake = Fake::new(ClientKind::Grpc, &both(1, 500));
    let mut answered = Vec::new();
    for (kind, names) in [
        (RDS, vec![target]),
        (LDS, vec![target]),
        (EDS, vec![V1, V2]),
        (CDS, vec![V1, V2]),
    ] {
        let responses = fake.ask(kind, &names);
        answered.extend(
            responses
                .into_iter()
                .map(|response| (response, names.clone())),
        );
    }
    let urls: Vec<&str> = answered.iter().map(|(r, _)| r.type_url.as_str()).collect();
    for kind in [RDS, LDS, EDS, CDS] {
        assert!(urls.contains(&kind.url()), "{kind:?} in {urls:?}");
    }
    while let Some((response, names)) = answered.pop() {
        let more = fake.ack(&response, &names);
        answered.extend(more.into_iter().map(|response| (response, names.clone())));
    }
    assert_eq!(fake.acked(), 1);
}

#[test]
fn s22_a_type_that_nobody_knows_is_not_answered_and_ends_nothing() {
    let mut fake = Fake::new(ClientKind::Envoy, &v1_only(1));
    let mut unknown = request(CDS, &["a"]);
    unknown.type_url = "type.googleapis.com/what.Ever".to_owned();
    assert!(fake.say(&unknown).is_empty());
    assert_eq!(fake.ask(CDS, &[]).len(), 1);
}

#[test]
fn s09_of_requests_that_follow_each_other_the_newest_list_counts() {
    let mut fake = Fake::new(ClientKind::Grpc, &both(1, 500));
    let first = fake.ask(EDS, &[V1]).remove(0);
    let second = fake.ask(EDS, &[V1, V2]).remove(0);
    assert_ne!(first.nonce, second.nonce);
    assert!(fake.ack(&first, &[V1]).is_empty(), "it is stale");
    assert!(fake.ack(&second, &[V1, V2]).is_empty());
    let state = fake.client.state();
    assert_eq!(state.types[0].resources.len(), 2);
    assert!(state.types[0].resources.values().all(|one| one.acked));
}
