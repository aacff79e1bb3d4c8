use super::{ResourceState, Step, Stream, settle::HOLD};
use crate::{
    store::{
        Question,
        resource::{Action, Name, VirtualHost},
    },
    xds::{
        decode::Kind,
        fixture::{
            any, cluster, endpoints, on_demand, original_dst, outbound, resource, response,
            virtual_host,
        },
    },
};
use envoy_types::pb::envoy::{
    config::core::v3::Node,
    service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
};
use prost::Message;
use std::{sync::Arc, time::Duration};

const V1: &str = "outbound|80|v1|checkout.shop.svc.cluster.local";
const V2: &str = "outbound|80|v2|checkout.shop.svc.cluster.local";
const HOST: &str = "80/checkout";

/// A client and the server's side of its stream, at one moment.
struct Test {
    stream: Stream,
    now: Duration,
    nonce: u32,
    sent: Vec<DeltaDiscoveryRequest>,
}

impl Test {
    fn new() -> Self {
        let mut stream = Stream::new(Node {
            id: "shop/web-0".to_owned(),
            ..Node::default()
        });
        let sent = stream.connected();
        Self {
            stream,
            now: Duration::from_secs(1),
            nonce: 0,
            sent,
        }
    }

    /// All workers apply what is published at once.
    fn carry_out(&mut self, step: Step) {
        self.sent.extend(step.requests);
        if let Some(revision) = step.publish {
            self.sent.extend(self.stream.applied(revision));
        }
    }

    fn receive(&mut self, kind: Kind, resources: &[(&str, Vec<u8>)]) -> String {
        self.nonce += 1;
        let nonce = format!("n{}", self.nonce);
        let resources = resources
            .iter()
            .map(|(name, body)| {
                let any = envoy_types::pb::google::protobuf::Any {
                    type_url: kind.type_url().to_owned(),
                    value: body.clone(),
                };
                resource(name, &format!("version-{}", self.nonce), any)
            })
            .collect();
        let step = self
            .stream
            .receive(response(kind.type_url(), &nonce, resources), self.now);
        self.carry_out(step);
        nonce
    }

    fn remove(&mut self, kind: Kind, name: &str) {
        let response = DeltaDiscoveryResponse {
            removed_resources: vec![name.to_owned()],
            ..response(kind.type_url(), "removal", Vec::new())
        };
        let step = self.stream.receive(response, self.now);
        self.carry_out(step);
    }

    fn ask_host(&mut self) {
        let question = Question::VirtualHost {
            route_configuration: Name::from("80"),
            host: "checkout".into(),
        };
        let step = self.stream.ask(&question, self.now);
        self.carry_out(step);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let step = self.stream.tick(self.now);
        self.carry_out(step);
    }

    /// What was subscribed and unsubscribed of a kind since the last call.
    fn subscriptions(&mut self, kind: Kind) -> (Vec<String>, Vec<String>) {
        let mut subscribed = Vec::new();
        let mut unsubscribed = Vec::new();
        self.sent.retain(|request| {
            let is_of_kind = request.type_url == kind.type_url();
            if is_of_kind {
                subscribed.extend(request.resource_names_subscribe.clone());
                unsubscribed.extend(request.resource_names_unsubscribe.clone());
            }
            !is_of_kind || !request.response_nonce.is_empty()
        });
        (subscribed, unsubscribed)
    }

    fn is_acked(&self, nonce: &str) -> bool {
        self.sent
            .iter()
            .any(|request| request.response_nonce == nonce && request.error_detail.is_none())
    }

    fn nack_of(&self, nonce: &str) -> Option<String> {
        let request = self
            .sent
            .iter()
            .find(|request| request.response_nonce == nonce)?;
        Some(request.error_detail.clone()?.message)
    }

    fn host(&self) -> Option<Arc<VirtualHost>> {
        self.stream.resources().virtual_hosts.get(HOST)?.clone()
    }

    fn versions(&self) -> Vec<String> {
        let host = self.host().unwrap();
        let Action::Weighted { clusters, .. } = &host.routes.last().unwrap().action else {
            panic!("a split");
        };
        clusters
            .iter()
            .map(|choice| choice.cluster.to_string())
            .collect()
    }

    fn receive_cluster(&mut self, name: &str) -> String {
        self.receive(Kind::Cluster, &[(name, cluster(name).encode_to_vec())])
    }

    fn receive_endpoints(&mut self, name: &str) -> String {
        let body = endpoints(name, "v", &[("10.0.0.1:80", 0)]).encode_to_vec();
        self.receive(Kind::Assignment, &[(name, body)])
    }

    fn receive_host(&mut self, versions: &[(&str, u32)]) -> String {
        let body = virtual_host("checkout", versions).encode_to_vec();
        self.receive(Kind::VirtualHost, &[(HOST, body)])
    }

    /// A client that serves `checkout` by v1.
    fn serving() -> Self {
        let mut test = Self::new();
        test.receive(
            Kind::Listener,
            &[("virtualOutbound", outbound(80).encode_to_vec())],
        );
        test.receive(
            Kind::RouteConfiguration,
            &[("80", on_demand("80").encode_to_vec())],
        );
        test.receive(
            Kind::Cluster,
            &[(
                "PassthroughCluster",
                original_dst("PassthroughCluster").encode_to_vec(),
            )],
        );
        test.ask_host();
        test.receive_host(&[("v1", 10_000)]);
        test.receive_cluster(V1);
        test.receive_endpoints(V1);
        test.sent.clear();
        test
    }
}

#[test]
fn a_stream_begins_with_the_node_and_all_listeners() {
    let test = Test::new();
    let [request] = test.sent.as_slice() else {
        panic!("one request: {:?}", test.sent);
    };
    assert_eq!(request.node.as_ref().unwrap().id, "shop/web-0");
    assert_eq!(request.type_url, Kind::Listener.type_url());
    assert_eq!(request.resource_names_subscribe, ["*"]);
}

#[test]
fn subscriptions_follow_from_what_came() {
    let mut test = Test::new();
    test.receive(
        Kind::Listener,
        &[("virtualOutbound", outbound(80).encode_to_vec())],
    );
    let (routes, _) = test.subscriptions(Kind::RouteConfiguration);
    assert_eq!(routes, ["80"]);
    let (clusters, _) = test.subscriptions(Kind::Cluster);
    assert_eq!(clusters, ["PassthroughCluster"]);
    assert!(test.stream.resources().listeners.is_empty());
    test.receive(
        Kind::RouteConfiguration,
        &[("80", on_demand("80").encode_to_vec())],
    );
    test.receive(
        Kind::Cluster,
        &[(
            "PassthroughCluster",
            original_dst("PassthroughCluster").encode_to_vec(),
        )],
    );
    assert!(
        test.stream
            .resources()
            .listeners
            .contains_key("virtualOutbound")
    );
    test.ask_host();
    assert_eq!(test.subscriptions(Kind::VirtualHost).0, [HOST]);
    test.ask_host();
    assert!(test.subscriptions(Kind::VirtualHost).0.is_empty());
    test.receive_host(&[("v1", 10_000)]);
    assert_eq!(test.subscriptions(Kind::Cluster).0, [V1]);
    test.receive_cluster(V1);
    assert_eq!(test.subscriptions(Kind::Assignment).0, [V1]);
    assert!(test.host().is_none());
    test.receive_endpoints(V1);
    assert!(test.host().is_some());
}

#[test]
fn a_response_is_acknowledged_once_all_workers_serve_by_it() {
    let mut test = Test::serving();
    let body = endpoints(V1, "v1", &[("10.0.0.9:80", 0)]);
    let step = test.stream.receive(
        response(
            Kind::Assignment.type_url(),
            "later",
            vec![resource(V1, "9", any(Kind::Assignment.type_url(), &body))],
        ),
        test.now,
    );
    assert!(step.requests.is_empty());
    let acks = test.stream.applied(step.publish.unwrap());
    assert_eq!(acks.len(), 1);
    assert_eq!(acks[0].response_nonce, "later");
    assert_eq!(acks[0].error_detail, None);
}

#[test]
fn a_response_that_changes_nothing_is_acknowledged_at_once() {
    let mut test = Test::serving();
    let step = test.stream.receive(
        response(Kind::Assignment.type_url(), "empty", Vec::new()),
        test.now,
    );
    assert_eq!(step.publish, None);
    assert_eq!(step.requests[0].response_nonce, "empty");
}

#[test]
fn a_bad_resource_is_refused_by_name_and_its_neighbours_are_taken() {
    let mut test = Test::serving();
    test.receive_host(&[("v2", 0), ("v1", 10_000)]);
    let mut bad = cluster(V1);
    bad.lb_policy = 7;
    let nonce = test.receive(
        Kind::Cluster,
        &[(V1, bad.encode_to_vec()), (V2, cluster(V2).encode_to_vec())],
    );
    assert_eq!(
        test.nack_of(&nonce).unwrap(),
        format!("Cluster {V1}: lb_policy: LOAD_BALANCING_POLICY_CONFIG is not supported")
    );
    let resources = test.stream.resources();
    assert!(resources.clusters.contains_key(V1));
    assert!(resources.clusters.contains_key(V2));
    let status = test.stream.status();
    let refused = status.iter().find(|status| &*status.name == V1).unwrap();
    assert_eq!(refused.state, ResourceState::InForce);
    assert!(refused.refused.is_some());
    test.receive_cluster(V1);
    assert!(
        test.stream
            .status()
            .iter()
            .all(|status| status.refused.is_none())
    );
}

#[test]
fn a_route_waits_for_the_cluster_and_the_endpoints_it_names() {
    let mut test = Test::serving();
    let nonce = test.receive_host(&[("v2", 500), ("v1", 9_500)]);
    assert_eq!(test.versions(), [V1]);
    assert!(!test.is_acked(&nonce));
    test.receive_cluster(V2);
    assert_eq!(test.versions(), [V1]);
    test.receive_endpoints(V2);
    assert_eq!(test.versions(), [V2, V1]);
    assert!(test.is_acked(&nonce));
}

#[test]
fn a_route_does_not_wait_for_a_cluster_that_does_not_exist() {
    let mut test = Test::serving();
    let nonce = test.receive_host(&[("v2", 500), ("v1", 9_500)]);
    test.remove(Kind::Cluster, V2);
    assert_eq!(test.versions(), [V2, V1]);
    assert!(test.is_acked(&nonce));
}

#[test]
fn a_route_waits_no_longer_than_the_hold() {
    let mut test = Test::serving();
    let nonce = test.receive_host(&[("v2", 500), ("v1", 9_500)]);
    assert_eq!(test.stream.deadline(), Some(test.now + HOLD));
    test.pass(HOLD / 2);
    // What replaces it has waited as long.
    test.receive_host(&[("v2", 600), ("v1", 9_400)]);
    assert_eq!(test.versions(), [V1]);
    test.pass(HOLD / 2);
    assert_eq!(test.versions(), [V2, V1]);
    assert!(test.is_acked(&nonce));
    assert_eq!(test.stream.deadline(), None);
}

#[test]
fn acknowledgements_of_a_kind_keep_their_order() {
    let mut test = Test::serving();
    let held = test.receive_host(&[("v2", 500), ("v1", 9_500)]);
    let later = test.receive(Kind::VirtualHost, &[]);
    assert!(!test.is_acked(&later));
    test.receive_host(&[("v1", 10_000)]);
    assert!(test.is_acked(&held));
    assert!(test.is_acked(&later));
}

#[test]
fn what_is_not_named_any_more_is_unsubscribed_and_forgotten() {
    let mut test = Test::serving();
    test.receive_host(&[("v2", 10_000)]);
    test.receive_cluster(V2);
    let (_, dropped) = test.subscriptions(Kind::Cluster);
    assert!(dropped.is_empty(), "v1 still serves");
    test.receive_endpoints(V2);
    assert_eq!(test.subscriptions(Kind::Cluster).1, [V1]);
    assert_eq!(test.subscriptions(Kind::Assignment).1, [V1]);
    assert!(!test.stream.resources().clusters.contains_key(V1));
}

#[test]
fn a_removed_cluster_stays_while_a_route_in_force_names_it() {
    let mut test = Test::serving();
    test.remove(Kind::Cluster, V1);
    test.remove(Kind::Assignment, V1);
    assert!(test.stream.resources().clusters.contains_key(V1));
    assert!(test.stream.resources().assignments.contains_key(V1));
    test.pass(HOLD);
    assert!(!test.stream.resources().clusters.contains_key(V1));
}

#[test]
fn a_host_that_does_not_exist_is_known_as_such() {
    let mut test = Test::new();
    test.ask_host();
    let before = test.stream.revision();
    test.remove(Kind::VirtualHost, HOST);
    assert!(test.stream.revision() > before);
    assert!(test.stream.resources().virtual_hosts[HOST].is_none());
    let status = test.stream.status();
    assert_eq!(status[0].state, ResourceState::Absent);
}

#[test]
fn a_destination_is_answered_with_the_cluster_of_its_service() {
    let mut test = Test::serving();
    let address = "10.96.0.7:3306".parse().unwrap();
    let step = test.stream.ask(&Question::Destination(address), test.now);
    test.carry_out(step);
    let asked = "outbound|3306||10.96.0.7";
    assert_eq!(test.subscriptions(Kind::Cluster).0, [asked]);
    let name = "outbound|3306||db.shop.svc.cluster.local";
    test.receive(Kind::Cluster, &[(asked, cluster(name).encode_to_vec())]);
    assert!(test.stream.resources().destinations.is_empty());
    test.receive_endpoints(name);
    let destinations = test.stream.resources().destinations;
    assert_eq!(destinations[&address].as_deref(), Some(name));
    test.remove(Kind::Cluster, asked);
    assert_eq!(test.stream.resources().destinations[&address], None);
}

#[test]
fn a_new_stream_asks_with_the_versions_at_hand() {
    let mut test = Test::serving();
    test.stream.disconnected();
    assert_eq!(test.versions(), [V1]);
    test.ask_host();
    let requests = test.stream.connected();
    let clusters = requests
        .iter()
        .find(|request| request.type_url == Kind::Cluster.type_url())
        .unwrap();
    assert_eq!(
        clusters.resource_names_subscribe,
        ["PassthroughCluster", V1]
    );
    assert_eq!(clusters.initial_resource_versions.len(), 2);
    let kinds: Vec<_> = requests.iter().map(|request| &request.type_url).collect();
    assert_eq!(
        kinds,
        Kind::ALL.map(Kind::type_url).iter().collect::<Vec<_>>()
    );
    let introductions = requests.iter().filter(|request| request.node.is_some());
    assert_eq!(introductions.count(), 1);
}

#[test]
fn a_new_stream_does_not_claim_what_is_held_back() {
    let mut test = Test::serving();
    let version = |test: &mut Test| {
        let requests = test.stream.connected();
        let mut hosts = requests
            .iter()
            .filter(|request| request.type_url == Kind::VirtualHost.type_url());
        hosts.next().unwrap().initial_resource_versions[HOST].clone()
    };
    let serving = version(&mut test);
    test.receive_host(&[("v2", 500), ("v1", 9_500)]);
    assert_eq!(version(&mut test), serving);
    test.receive_cluster(V2);
    test.receive_endpoints(V2);
    assert_ne!(version(&mut test), serving);
}

#[test]
fn what_was_saved_is_in_force_after_a_restart() {
    let test = Test::serving();
    let mut again = Stream::new(Node::default());
    let refused = again.restore(test.stream.saved(), Duration::ZERO);
    assert!(refused.is_empty(), "{refused:?}");
    let resources = again.resources();
    assert!(resources.listeners.contains_key("virtualOutbound"));
    assert!(resources.virtual_hosts[HOST].is_some());
    assert!(resources.assignments.contains_key(V1));
    assert_eq!(again.deadline(), None);
    let requests = again.connected();
    assert_eq!(requests.len(), 5);
    assert!(
        requests
            .iter()
            .all(|request| !request.initial_resource_versions.is_empty())
    );
}

#[test]
fn a_saved_resource_that_is_damaged_is_left_out() {
    let mut saved = Test::serving().stream.saved();
    let host = saved
        .iter_mut()
        .find(|resource| resource.name == HOST)
        .unwrap();
    host.body.truncate(3);
    let mut again = Stream::new(Node::default());
    assert_eq!(again.restore(saved, Duration::ZERO).len(), 1);
    assert!(again.resources().listeners.contains_key("virtualOutbound"));
    assert!(!again.resources().virtual_hosts.contains_key(HOST));
}

#[test]
fn a_resource_nobody_asked_for_is_not_kept() {
    let mut test = Test::serving();
    let nonce = test.receive_cluster("stray");
    assert!(test.is_acked(&nonce));
    assert!(!test.stream.resources().clusters.contains_key("stray"));
}

#[test]
fn a_response_of_a_foreign_type_is_refused() {
    let mut test = Test::serving();
    let step = test.stream.receive(
        response("type.googleapis.com/secret", "s", Vec::new()),
        test.now,
    );
    assert!(step.requests[0].error_detail.is_some());
}

#[test]
fn a_listener_that_is_removed_is_gone_at_once() {
    let mut test = Test::serving();
    test.remove(Kind::Listener, "virtualOutbound");
    assert!(test.stream.resources().listeners.is_empty());
    assert_eq!(test.subscriptions(Kind::RouteConfiguration).1, ["80"]);
}

#[test]
fn the_oldest_host_leaves_where_there_is_no_room() {
    let mut names = super::OnDemand::new(2);
    for name in ["a", "b", "a", "c"] {
        names.insert(Name::from(name), |_| true);
    }
    assert!(!names.contains("a"));
    assert!(names.contains("b") && names.contains("c"));
}

#[test]
fn a_host_in_force_is_not_pushed_out_by_those_that_lead_nowhere() {
    let mut names = super::OnDemand::new(2);
    for name in ["service", "x", "y", "z"] {
        names.insert(Name::from(name), |name| &**name == "service");
    }
    assert!(names.contains("service") && names.contains("z"));
    assert!(!names.contains("x") && !names.contains("y"));
}
