use super::{V1, V2, both, client, v1_only, v2_only};
use crate::{
    model::{Generation, Key},
    xds::{
        fixture::{Make, snapshot},
        snapshot::Snapshot,
        stream::{Client, Refused, Variant, delta},
        translate::{ClientKind, ResourceType},
    },
};
use envoy_types::pb::{
    envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    google::rpc::Status,
};
use std::{collections::BTreeSet, sync::Arc};

const CDS: ResourceType = ResourceType::Cluster;
const EDS: ResourceType = ResourceType::Endpoints;
const RDS: ResourceType = ResourceType::Route;
const VHDS: ResourceType = ResourceType::VirtualHost;
const HOST: &str = "80/checkout.shop";

fn request(kind: ResourceType, subscribe: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.url().to_owned(),
        resource_names_subscribe: subscribe.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

struct Fake {
    client: Client,
    snapshot: Arc<Snapshot>,
}

impl Fake {
    fn new(kind: ClientKind, snapshot: &Arc<Snapshot>) -> Self {
        Self {
            client: client(Variant::Delta, kind, snapshot),
            snapshot: snapshot.clone(),
        }
    }

    fn say(&mut self, request: &DeltaDiscoveryRequest) -> Vec<DeltaDiscoveryResponse> {
        delta::on_request(&mut self.client, &self.snapshot, request).unwrap()
    }

    fn ask(&mut self, kind: ResourceType, names: &[&str]) -> Vec<DeltaDiscoveryResponse> {
        self.say(&request(kind, names))
    }

    fn ack(&mut self, response: &DeltaDiscoveryResponse) -> Vec<DeltaDiscoveryResponse> {
        self.say(&DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..DeltaDiscoveryRequest::default()
        })
    }

    fn nack(
        &mut self,
        response: &DeltaDiscoveryResponse,
        message: &str,
    ) -> Vec<DeltaDiscoveryResponse> {
        self.say(&DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: Some(Status {
                message: message.to_owned(),
                ..Status::default()
            }),
            ..DeltaDiscoveryRequest::default()
        })
    }

    fn see(&mut self, snapshot: &Arc<Snapshot>) -> Vec<DeltaDiscoveryResponse> {
        self.snapshot = snapshot.clone();
        delta::on_snapshot(&mut self.client, snapshot)
    }

    /// Acknowledges all, and all that follows.
    fn settle(&mut self, responses: Vec<DeltaDiscoveryResponse>) -> Vec<String> {
        let mut order = Vec::new();
        let mut queue: std::collections::VecDeque<_> = responses.into();
        while let Some(response) = queue.pop_front() {
            order.extend(describe(&response));
            queue.extend(self.ack(&response));
        }
        order
    }

    fn acked(&self) -> u64 {
        self.client.state().acked.0
    }
}

fn describe(response: &DeltaDiscoveryResponse) -> Vec<String> {
    let added = response.resources.iter().map(|r| format!("+{}", r.name));
    let removed = response.removed_resources.iter().map(|r| format!("-{r}"));
    added.chain(removed).collect()
}

/// A sidecar that talks to checkout, on `snapshot`.
fn sidecar(snapshot: &Arc<Snapshot>, clusters: &[&str]) -> Fake {
    let mut fake = Fake::new(ClientKind::Sidecar, snapshot);
    for (kind, names) in [(VHDS, &[HOST][..]), (CDS, clusters), (EDS, clusters)] {
        let responses = fake.ask(kind, names);
        assert_eq!(responses.len(), 1);
        fake.settle(responses);
    }
    fake
}

#[test]
fn d24_each_response_has_a_nonce_and_each_resource_a_name_and_a_version() {
    let mut fake = Fake::new(ClientKind::Sidecar, &v1_only(1));
    let first = fake.ask(CDS, &[V1]);
    let second = fake.ask(EDS, &[V1]);
    assert_ne!(first[0].nonce, second[0].nonce);
    let resource = &first[0].resources[0];
    assert_eq!((resource.name.as_str(), resource.version.len()), (V1, 16));
}

#[test]
fn d04_s04_an_ack_is_not_answered() {
    let mut fake = Fake::new(ClientKind::Sidecar, &v1_only(1));
    let response = fake.ask(CDS, &[V1]).remove(0);
    assert_eq!(fake.acked(), 0);
    assert!(fake.ack(&response).is_empty());
    assert_eq!(fake.acked(), 1);
}

#[test]
fn d25_a_stale_nonce_does_not_void_a_change_of_subscription() {
    let mut fake = Fake::new(ClientKind::Sidecar, &v1_only(1));
    let mut change = request(EDS, &[V1]);
    change.response_nonce = "of another stream".to_owned();
    assert_eq!(describe(&fake.say(&change)[0]), [format!("+{V1}")]);
}

#[test]
fn d27_what_a_client_brings_along_is_not_sent_again_where_it_is_the_same() {
    let mut fake = sidecar(&both(1, 500), &[V1, V2]);
    let versions = |fake: &Fake, kind| -> Vec<(String, String)> {
        let state = fake.client.state();
        let state = state
            .types
            .into_iter()
            .find(|t| t.type_url == ResourceType::url(kind));
        let resources = state.unwrap().resources.into_iter();
        resources.map(|(n, r)| (n, r.version.unwrap())).collect()
    };
    let brought = [VHDS, CDS, EDS].map(|kind| (kind, versions(&fake, kind)));
    fake.settle(Vec::new());
    // Another process at another generation, with one instance more in v1.
    let changed = snapshot(
        900,
        &[Make::http(
            "checkout",
            7,
            &[("v2", 500, 1), ("v1", 9500, 3)],
        )],
    );
    for (world, expected) in [(both(900, 500), 0), (changed, 2)] {
        let mut again = Fake::new(ClientKind::Sidecar, &world);
        let mut sent = Vec::new();
        // Routes last: until then it is not known what the client is interested in.
        for (kind, brought) in brought.iter().rev() {
            assert!(again.client.types.is_empty() || !again.client.is_introduced());
            let names: Vec<&str> = brought.iter().map(|(name, _)| name.as_str()).collect();
            let mut resume = request(*kind, &names);
            resume.initial_resource_versions = brought.iter().cloned().collect();
            let responses = again.say(&resume);
            sent.extend(again.settle(responses));
        }
        assert!(!again.client.is_introduced());
        let responses = again.ask(RDS, &["80"]);
        again.settle(responses);
        assert!(again.client.is_introduced());
        assert_eq!(sent.len(), expected, "{sent:?}");
        assert_eq!(again.acked(), 900);
    }
}

#[test]
fn d27_what_a_client_brings_along_may_be_older_than_every_generation() {
    let mut fake = Fake::new(ClientKind::Sidecar, &both(900, 500));
    let mut resume = request(VHDS, &[HOST]);
    resume
        .initial_resource_versions
        .insert(HOST.to_owned(), "of before".to_owned());
    let responses = fake.say(&resume);
    assert_eq!(fake.acked(), 0);
    fake.settle(responses);
    assert_eq!(fake.acked(), 900);
}

#[test]
fn d27_a_sidecar_is_introduced_once_it_has_named_its_route_configurations() {
    let mut fake = Fake::new(ClientKind::Sidecar, &both(1, 500));
    for (kind, name) in [(CDS, V1), (EDS, V1), (VHDS, HOST)] {
        let mut resume = request(kind, &[name]);
        resume
            .initial_resource_versions
            .insert(name.to_owned(), "of before".to_owned());
        let responses = fake.say(&resume);
        fake.settle(responses);
        assert!(!fake.client.is_introduced(), "after {kind:?}");
    }
    fake.say(&request(RDS, &["80"]));
    assert!(fake.client.is_introduced());
}

#[test]
fn d27_a_brought_name_that_is_no_more_is_removed() {
    let mut fake = Fake::new(ClientKind::Envoy, &v1_only(1));
    let mut resume = request(CDS, &[]);
    resume
        .initial_resource_versions
        .insert("gone".to_owned(), "1".to_owned());
    let responses = fake.say(&resume);
    let told = fake.settle(responses);
    assert!(told.contains(&"-gone".to_owned()), "{told:?}");
}

#[test]
fn d28_a_name_subscribed_to_again_is_sent_again() {
    let mut fake = sidecar(&v1_only(1), &[V1]);
    assert_eq!(fake.ask(CDS, &[V1]).len(), 1);
}

#[test]
fn d29_d17_a_name_that_does_not_exist_is_said_to_be_removed_and_pushed_once_it_appears() {
    let mut fake = Fake::new(ClientKind::Sidecar, &v1_only(1));
    let absent = fake.ask(CDS, &[V2]);
    assert_eq!(describe(&absent[0]), [format!("-{V2}")]);
    fake.settle(absent);
    assert_eq!(fake.acked(), 1);
    let appears = fake.see(&both(2, 0));
    assert_eq!(describe(&appears[0]), [format!("+{V2}")]);
}

#[test]
fn d30_d31_unsubscribing_what_is_not_subscribed_or_still_covered() {
    let mut fake = Fake::new(ClientKind::Envoy, &v1_only(1));
    let responses = fake.ask(CDS, &[]);
    fake.settle(responses);
    let mut phantom = request(CDS, &[]);
    phantom.resource_names_unsubscribe = vec!["phantom".to_owned()];
    assert!(fake.say(&phantom).is_empty());
    let named = fake.ask(CDS, &[V1]);
    fake.settle(named);
    let mut covered = request(CDS, &[]);
    covered.resource_names_unsubscribe = vec![V1.to_owned()];
    let responses = fake.say(&covered);
    assert_eq!(describe(&responses[0]), [format!("+{V1}")]);
}

#[test]
fn d32_the_wildcard_is_explicit_or_an_empty_first_request() {
    for first in [&[][..], &["*"][..]] {
        let mut fake = Fake::new(ClientKind::Envoy, &v1_only(1));
        let responses = fake.ask(CDS, first);
        assert_eq!(responses[0].resources.len(), 3);
        fake.settle(responses);
        let mut stop = request(CDS, &[]);
        stop.resource_names_unsubscribe = vec!["*".to_owned()];
        assert!(fake.say(&stop).is_empty());
        assert!(fake.see(&both(2, 500)).is_empty());
    }
}

#[test]
fn d33_a_destination_is_answered_with_its_services_cluster_as_alias() {
    let db = Make::tcp("db", 9, &[("v1", 10_000, 1)]);
    let mut fake = Fake::new(ClientKind::Sidecar, &snapshot(1, &[db]));
    let asked = "outbound|3306||10.96.0.9";
    let response = fake.ask(CDS, &[asked]).remove(0);
    assert_eq!(response.resources[0].name, asked);
    let canonical = "outbound|3306||db.shop.svc.cluster.local";
    assert_eq!(response.resources[0].aliases, [canonical]);
    let interest = fake.client.state().interest;
    assert_eq!(interest, BTreeSet::from([Key::new("shop", "db")]));
    let unknown = "outbound|3306||10.96.0.8";
    let response = fake.ask(CDS, &[unknown]).remove(0);
    assert_eq!(response.removed_resources, [unknown]);
}

#[test]
fn d34_make_before_break_from_one_version_over_both_to_the_other() {
    let mut fake = Fake::new(ClientKind::Envoy, &v1_only(1));
    for kind in [CDS, ResourceType::Listener] {
        let responses = fake.ask(kind, &[]);
        fake.settle(responses);
    }
    for (kind, names) in [(EDS, [V1]), (ResourceType::Route, ["80"])] {
        let responses = fake.ask(kind, &names);
        fake.settle(responses);
    }
    // Both at once: the new cluster first; the route waits for its endpoints to be asked for.
    let cluster = fake.see(&both(2, 500));
    assert_eq!(describe(&cluster[0]), [format!("+{V2}")]);
    assert_eq!(cluster.len(), 1);
    // v1's endpoints gained nothing, so nothing else goes before the route.
    assert!(fake.ack(&cluster[0]).is_empty());
    let endpoints = fake.ask(EDS, &[V2]);
    assert_eq!(describe(&endpoints[0]), [format!("+{V2}")]);
    let routes = fake.ack(&endpoints[0]);
    assert_eq!(describe(&routes[0]), ["+80"]);
    assert_eq!(fake.acked(), 1);
    assert!(fake.ack(&routes[0]).is_empty());
    assert_eq!(fake.acked(), 2);
    // The old one: first the route lets go, then the cluster, then its endpoints.
    let responses = fake.see(&v2_only(3));
    assert_eq!(responses.len(), 1);
    let order = fake.settle(responses);
    let expected = [
        format!("+{V2}"), // its endpoints, without the fallback
        "+80".to_owned(),
        format!("-{V1}"),
        format!("-{V1}"),
    ];
    assert_eq!(order, expected);
    assert_eq!(fake.acked(), 3);
}

#[test]
fn d35_endpoints_of_a_changed_cluster_are_sent_again() {
    let mut fake = sidecar(&v1_only(1), &[V1]);
    let mut fused = Make::http("checkout", 7, &[("v1", 10_000, 2)]);
    fused.fuse = true;
    let responses = fake.see(&snapshot(2, &[fused]));
    let order = fake.settle(responses);
    assert_eq!(order, [format!("+{V1}"), format!("+{V1}")]);
    assert_eq!(fake.acked(), 2);
}

#[test]
fn d06_a_refused_version_is_not_sent_again_and_is_reported_until_there_is_another() {
    let checkout = Key::new("shop", "checkout");
    let mut fake = sidecar(&both(1, 0), &[V1, V2]);
    let refused = fake.see(&both(2, 500)).remove(0);
    assert!(fake.nack(&refused, "routes: no").is_empty());
    let state = fake.client.state();
    assert_eq!(&*state.nacks[&checkout], "routes: no");
    assert_eq!(state.acked, Generation(1));
    // Nothing changed for it: not sent again, still reported.
    assert!(fake.see(&both(3, 500)).is_empty());
    assert_eq!(fake.client.state().acked, Generation(1));
    assert!(!fake.client.state().nacks.is_empty());
    // Back to what it has.
    let back = fake.see(&both(4, 0));
    assert!(fake.client.state().nacks.is_empty());
    fake.settle(back);
    assert_eq!(fake.acked(), 4);
    // The refused one again: it is known to be refused.
    assert!(fake.see(&both(5, 500)).is_empty());
    let next = fake.see(&both(6, 600));
    fake.settle(next);
    assert_eq!(fake.acked(), 6);
}

#[test]
fn a_slow_client_gets_the_newest_state_and_no_backlog() {
    let mut fake = sidecar(&both(1, 0), &[V1, V2]);
    let first = fake.see(&both(2, 100));
    assert_eq!(first.len(), 1);
    for (generation, share) in [(3, 200), (4, 300), (5, 400)] {
        assert!(fake.see(&both(generation, share)).is_empty());
    }
    assert_eq!(fake.acked(), 1);
    let newest = fake.ack(&first[0]);
    assert_eq!(newest.len(), 1);
    assert_eq!(fake.acked(), 2);
    fake.settle(newest);
    assert_eq!(fake.acked(), 5);
}

#[test]
fn a_snapshot_that_changes_nothing_for_a_client_counts_as_applied() {
    let mut fake = sidecar(&v1_only(1), &[V1]);
    assert!(fake.see(&v1_only(2)).is_empty());
    assert_eq!(fake.acked(), 2);
    assert_eq!(fake.client.state().sent, Generation(1));
}

#[test]
fn too_many_names_end_the_stream_and_an_unknown_type_does_not() {
    let mut fake = Fake::new(ClientKind::Sidecar, &v1_only(1));
    let mut unknown = request(CDS, &["a"]);
    unknown.type_url = "type.googleapis.com/what.Ever".to_owned();
    assert!(fake.say(&unknown).is_empty());
    let names: Vec<String> = (0..10_001).map(|n| format!("name-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let asked = request(CDS, &names);
    let refused = delta::on_request(&mut fake.client, &fake.snapshot, &asked);
    assert_eq!(refused.unwrap_err(), Refused::TooManyNames);
}

#[test]
fn d26_a_request_without_a_nonce_acknowledges_nothing() {
    let mut fake = Fake::new(ClientKind::Sidecar, &v1_only(1));
    let hosts = fake.ask(VHDS, &[HOST]).remove(0);
    fake.ask(VHDS, &["80/nobody.shop"]);
    let host = |fake: &Fake| fake.client.state().types[0].resources[HOST].acked;
    assert!(!host(&fake));
    fake.ack(&hosts);
    assert!(host(&fake));
}

#[test]
fn d27_versions_brought_along_later_than_at_first_do_not_count() {
    let mut fake = Fake::new(ClientKind::Sidecar, &v1_only(1));
    let first = fake.ask(CDS, &[V1]).remove(0);
    let mut late = request(CDS, &[V1]);
    let version = first.resources[0].version.clone();
    late.initial_resource_versions
        .insert(V1.to_owned(), version);
    assert_eq!(describe(&fake.say(&late)[0]), [format!("+{V1}")]);
}

#[test]
fn d59_a_name_of_the_xdstp_scheme_is_nobodys() {
    let mut fake = Fake::new(ClientKind::Sidecar, &v1_only(1));
    let name = "xdstp://other/envoy.config.cluster.v3.Cluster/a?x=1";
    let mut order = describe(&fake.ask(CDS, &[name, V1])[0]);
    order.sort();
    assert_eq!(order, [format!("+{V1}"), format!("-{name}")]);
}
