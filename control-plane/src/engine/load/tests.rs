//! Reports that come in, and what they come to.

use super::*;
use crate::engine::tests::support::{at, catalog};

pub(in crate::engine) fn endpoint(cluster: &str, requests_active: u64) -> EndpointSample {
    EndpointSample {
        cluster: cluster.to_owned(),
        address: Some("10.0.0.1:8080".parse().unwrap()),
        requests_active,
        ..EndpointSample::default()
    }
}

pub(in crate::engine) fn report(
    proxy: &str,
    seconds: u64,
    endpoints: Vec<EndpointSample>,
) -> LoadSample {
    LoadSample {
        proxy: proxy.into(),
        workload: crate::model::Key::try_from(proxy.to_owned()).ok(),
        at: at(seconds),
        endpoints,
    }
}

const OUTBOUND: &str = "outbound|80|v1|checkout.shop.svc.cluster.local";

fn fixture() -> (Loads, Index, WorkloadKey) {
    let index = Index::new(&catalog(&[("a-0", "v1")]));
    (Loads::new(at(0)), index, WorkloadKey::new("shop", "a-0"))
}

#[test]
fn activity_sums_all_reporters_and_the_oldest_report_counts() {
    let (mut loads, index, key) = fixture();
    loads.record(
        &report("shop/a-0", 5, vec![endpoint("inbound|8080||", 2)]),
        &index,
    );
    loads.record(&report("shop/web", 7, vec![endpoint(OUTBOUND, 1)]), &index);
    let activity = loads.activity(&key, true, at(99));
    assert_eq!(activity.active, 3);
    assert_eq!(activity.last_report, Some(at(5)));
    assert_eq!(activity.last_activity, Some(at(7)));
}

#[test]
fn a_reporter_that_no_longer_mentions_an_instance_has_nothing_there() {
    let (mut loads, index, key) = fixture();
    loads.record(&report("shop/web", 5, vec![endpoint(OUTBOUND, 1)]), &index);
    loads.record(&report("shop/web", 6, vec![]), &index);
    let activity = loads.activity(&key, false, at(99));
    assert_eq!(activity.active, 0);
    assert_eq!(activity.last_report, Some(at(6)));
    assert_eq!(activity.last_activity, Some(at(5)));
}

#[test]
fn before_its_own_proxy_has_reported_nothing_is_known() {
    let (mut loads, index, key) = fixture();
    loads.record(&report("shop/web", 5, vec![endpoint(OUTBOUND, 0)]), &index);
    assert_eq!(loads.activity(&key, true, at(99)).last_report, None);
    assert_eq!(loads.activity(&key, false, at(99)).last_report, Some(at(5)));
}

#[test]
fn a_session_that_an_instances_own_proxy_placed_is_one_of_its_version() {
    let (mut loads, index, _) = fixture();
    let session =
        |loads: &Loads| loads.last_session(&ServiceKey::new("shop", "checkout"), &"v1".into());
    let mut own = endpoint("inbound|8080||", 1);
    own.issued = 3;
    loads.record(&report("shop/a-0", 4, vec![own.clone()]), &index);
    assert_eq!(session(&loads), None);
    own.pinned_requests = 1;
    loads.record(&report("shop/a-0", 5, vec![own.clone()]), &index);
    assert_eq!(session(&loads), Some(at(5)));
    own.cluster = "inbound|9999||".to_owned();
    loads.record(&report("shop/a-0", 6, vec![own]), &index);
    assert_eq!(session(&loads), Some(at(5)));
}

#[test]
fn a_proxy_that_went_no_longer_counts_as_a_client() {
    let (mut loads, index, key) = fixture();
    loads.record(&report("shop/web", 5, vec![endpoint(OUTBOUND, 4)]), &index);
    loads.proxy_gone(&"shop/web".into(), false);
    assert_eq!(loads.activity(&key, false, at(99)).active, 0);
}

#[test]
fn rates_come_from_the_instances_own_proxy_where_there_is_one() {
    let (mut loads, index, key) = fixture();
    for second in 1..=4 {
        let mut own = endpoint("inbound|8080||", 0);
        own.issued = 100;
        own.errors = 10;
        loads.record(&report("shop/a-0", second, vec![own]), &index);
        let mut client = endpoint(OUTBOUND, 0);
        client.issued = 500;
        loads.record(&report("shop/web", second, vec![client]), &index);
    }
    let traffic = loads.traffic(&key, at(4));
    assert!((traffic.requests_per_second - 100.0).abs() < 0.01);
    assert!((traffic.errors_per_second - 10.0).abs() < 0.01);
}

#[test]
fn what_passes_an_instances_own_proxy_by_is_shown_as_its_clients_see_it() {
    let (mut loads, index, key) = fixture();
    for second in 1..=4 {
        let own = endpoint("inbound|8080||", 0);
        loads.record(&report("shop/a-0", second, vec![own]), &index);
        let mut client = endpoint(OUTBOUND, 2);
        client.issued = 50;
        loads.record(&report("shop/web", second, vec![client]), &index);
    }
    let traffic = loads.traffic(&key, at(4));
    assert!((traffic.requests_per_second - 50.0).abs() < 0.01);
    assert_eq!(traffic.requests, 2);
}

#[test]
fn what_is_gone_or_never_was_is_not_kept_and_no_number_is_too_large() {
    let (mut loads, index, key) = fixture();
    let mut huge = endpoint(OUTBOUND, u64::MAX);
    huge.connections_active = u64::MAX;
    huge.pinned_requests = 1;
    let mut unknown = huge.clone();
    unknown.cluster = OUTBOUND.replace("v1", "v77");
    loads.record(
        &report("shop/web", 1, vec![huge.clone(), unknown, huge]),
        &index,
    );
    loads.record(
        &report("shop/x-9", 1, vec![endpoint("inbound|1||", 1)]),
        &index,
    );
    assert_eq!(loads.activity(&key, false, at(99)).active, u64::MAX);
    assert_eq!((loads.instances.len(), loads.sessions.len()), (1, 1));
    loads.retain(&Index::new(&catalog(&[])));
    assert_eq!((loads.instances.len(), loads.sessions.len()), (0, 0));
}

#[test]
fn sessions_are_noted_by_version() {
    let (mut loads, index, _) = fixture();
    let mut pinned = endpoint(OUTBOUND, 0);
    pinned.pinned_requests = 1;
    loads.record(&report("shop/web", 9, vec![pinned]), &index);
    let service = ServiceKey::new("shop", "checkout");
    assert_eq!(loads.last_session(&service, &"v1".into()), Some(at(9)));
    assert_eq!(loads.last_session(&service, &"v2".into()), None);
}

#[test]
fn what_a_stock_client_sends_to_a_version_may_be_of_a_session() {
    let (mut loads, index, _) = fixture();
    let mut sent = endpoint(OUTBOUND, 0);
    sent.issued = 1;
    loads.record(&report("envoy-1", 9, vec![sent]), &index);
    let service = ServiceKey::new("shop", "checkout");
    assert_eq!(loads.last_session(&service, &"v1".into()), Some(at(9)));
}

#[test]
fn sessions_of_the_control_group_are_sessions_of_its_version() {
    let (mut loads, index, _) = fixture();
    let mut pinned = endpoint(&OUTBOUND.replace("v1", "v1.control"), 0);
    pinned.pinned_requests = 1;
    loads.record(&report("shop/web", 9, vec![pinned]), &index);
    let service = ServiceKey::new("shop", "checkout");
    assert_eq!(loads.last_session(&service, &"v1".into()), Some(at(9)));
}

#[test]
fn a_report_counts_since_the_one_before_of_the_same_proxy() {
    let (mut loads, index, _) = fixture();
    assert_eq!(loads.record(&report("shop/web", 5, vec![]), &index), None);
    assert_eq!(loads.record(&report("shop/api", 6, vec![]), &index), None);
    let before = loads.record(&report("shop/web", 7, vec![]), &index);
    assert_eq!(before, Some(at(5)));
    loads.proxy_gone(&"shop/web".into(), false);
    assert_eq!(loads.record(&report("shop/web", 8, vec![]), &index), None);
}

#[test]
fn recent_is_the_last_second_by_its_own_proxy_else_by_its_clients() {
    let (mut loads, index, key) = fixture();
    for second in 1..=4 {
        let mut client = endpoint(OUTBOUND, 0);
        (client.succeeded, client.errors) = (7, 3);
        loads.record(&report("shop/web", second, vec![client]), &index);
    }
    assert_eq!(loads.recent(&key, at(4)), (10, 3));
    let mut own = endpoint("inbound|8080||", 0);
    own.errors = 2;
    for second in [3, 4] {
        loads.record(&report("shop/a-0", second, vec![own.clone()]), &index);
    }
    assert_eq!(loads.recent(&key, at(4)), (2, 2));
    assert_eq!(loads.recent(&key, at(6)), (0, 0));
}

#[test]
fn an_ejection_counts_once_the_instances_own_proxy_is_heard_of_since() {
    let (mut loads, index, key) = fixture();
    let own = || vec![endpoint("inbound|8080||", 0)];
    loads.record(&report("shop/a-0", 4, own()), &index);
    let mut out = endpoint(OUTBOUND, 0);
    out.ejected = true;
    loads.record(&report("shop/web", 5, vec![out]), &index);
    let ejected_by = |loads: &Loads| loads.activity(&key, true, at(99)).ejected_by;
    assert_eq!(ejected_by(&loads), 0, "it may be lost");
    loads.record(&report("shop/a-0", 6, own()), &index);
    assert_eq!(ejected_by(&loads), 1);
}

#[test]
fn where_its_own_proxy_has_fallen_silent_its_clients_errors_are_no_burst() {
    let (mut loads, index, key) = fixture();
    let own = endpoint("inbound|8080||", 0);
    for second in [1, 2] {
        loads.record(&report("shop/a-0", second, vec![own.clone()]), &index);
    }
    for second in 1..=9 {
        let mut client = endpoint(OUTBOUND, 0);
        client.errors = 50;
        loads.record(&report("shop/web", second, vec![client]), &index);
    }
    assert_eq!(loads.recent(&key, at(9)), (0, 0));
}
