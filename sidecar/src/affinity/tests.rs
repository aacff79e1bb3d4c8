use super::{Key, decorate, key, place};
use crate::model::{
    Action, Cluster, Discovery, HashPolicy, HashSource, Header, HeaderMatch, HeaderMatcher,
    PathMatch, RetryPolicy, Route, UpstreamProtocol, VirtualHost, WeightedCluster,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::{net::IpAddr, sync::Arc, time::Duration};

fn cluster(version: &str) -> Arc<Cluster> {
    Arc::new(Cluster {
        name: format!("outbound|80|{version}|a.b.svc.cluster.local").into(),
        version: Some(version.into()),
        discovery: Discovery::Endpoints,
        endpoints: Vec::new(),
        overprovisioning_factor: 140,
        balancing: crate::model::Balancing::default(),
        tables: Arc::default(),
        protocol: UpstreamProtocol::SameAsDownstream,
        connect_timeout: Duration::from_secs(1),
        outlier_detection: None,
    })
}

fn cookie(value: &'static str) -> Vec<Header> {
    vec![Header {
        name: header::SET_COOKIE,
        value: HeaderValue::from_static(value),
    }]
}

fn route(action: Action, headers: Vec<HeaderMatcher>, response_headers: Vec<Header>) -> Route {
    Route {
        path: PathMatch::Prefix("/".into()),
        headers,
        action,
        removed_request_headers: Vec::new(),
        hash: Vec::new(),
        request_headers: Vec::new(),
        response_headers,
        timeout: None,
    }
}

/// v1 pinned, then v2 and v1 weighted 500 : 9,500.
fn host() -> VirtualHost {
    let weighted = |version, weight, token| WeightedCluster {
        cluster: cluster(version),
        weight,
        request_headers: Vec::new(),
        response_headers: cookie(token),
    };
    let token = HeaderMatcher {
        name: header::COOKIE,
        condition: HeaderMatch::Contains("s=one".into()),
        invert: false,
    };
    VirtualHost {
        name: "a".into(),
        routes: vec![
            route(
                Action::Cluster(cluster("v1")),
                vec![token],
                cookie("s=one.2"),
            ),
            route(
                Action::Weighted {
                    clusters: vec![weighted("v2", 500, "s=two"), weighted("v1", 9_500, "s=one")],
                    total: 10_000,
                    by_hash: false,
                },
                Vec::new(),
                Vec::new(),
            ),
        ],
        retry: RetryPolicy::default(),
        session_cookie: Some("s".into()),
    }
}

fn set_cookies(host: &VirtualHost, route: usize, drawn: u64, served: &str) -> (Vec<String>, bool) {
    let route = &host.routes[route];
    let placement = place(host, route, Key::default(), &mut |_| drawn).unwrap();
    let mut headers = HeaderMap::new();
    let began = decorate(&mut headers, host, route, &placement, Some(served));
    let values = headers.get_all(header::SET_COOKIE).iter();
    (
        values.map(|v| v.to_str().unwrap().to_owned()).collect(),
        began,
    )
}

#[test]
fn the_draw_follows_the_weights_exactly() {
    let host = host();
    let drawn = (0..10_000)
        .filter(|drawn| {
            let placement = place(&host, &host.routes[1], Key::default(), &mut |_| *drawn).unwrap();
            placement.cluster.version.as_deref() == Some("v2")
        })
        .count();
    assert_eq!(drawn, 500);
}

#[test]
fn a_cookie_route_pins_and_a_weighted_one_does_not() {
    let host = host();
    assert!(
        place(&host, &host.routes[0], Key::default(), &mut |_| 0)
            .unwrap()
            .pinned
    );
    assert!(
        !place(&host, &host.routes[1], Key::default(), &mut |_| 0)
            .unwrap()
            .pinned
    );
}

#[test]
fn a_new_session_gets_the_token_of_its_version() {
    assert_eq!(
        set_cookies(&host(), 1, 499, "v2"),
        (vec!["s=two".to_owned()], true)
    );
    assert_eq!(
        set_cookies(&host(), 1, 500, "v1"),
        (vec!["s=one".to_owned()], true)
    );
}

#[test]
fn a_renewed_session_is_not_a_new_one() {
    assert_eq!(
        set_cookies(&host(), 0, 0, "v1"),
        (vec!["s=one.2".to_owned()], false)
    );
}

#[test]
fn a_failover_gives_the_token_of_the_version_that_served() {
    assert_eq!(
        set_cookies(&host(), 0, 0, "v2"),
        (vec!["s=two".to_owned()], false)
    );
    assert_eq!(
        set_cookies(&host(), 1, 0, "v1"),
        (vec!["s=one.2".to_owned()], true)
    );
    assert_eq!(set_cookies(&host(), 1, 0, "v3"), (Vec::new(), false));
}

#[test]
fn a_response_that_a_shared_cache_may_keep_carries_no_token() {
    let host = host();
    let placement = place(&host, &host.routes[1], Key::default(), &mut |_| 0).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    assert!(!decorate(
        &mut headers,
        &host,
        &host.routes[1],
        &placement,
        Some("v2")
    ));
    assert!(!headers.contains_key(header::SET_COOKIE));
}

/// v1 has a control group: its token's routes, then v1's own, then the draw, into the group.
fn with_control_group() -> VirtualHost {
    let mut host = host();
    let group = Arc::new(Cluster {
        name: "outbound|80|v1.control|a.b.svc.cluster.local".into(),
        ..(*cluster("v1")).clone()
    });
    let of_group = route(
        Action::Cluster(Arc::clone(&group)),
        host.routes[0].headers.clone(),
        cookie("s=one.mark.2"),
    );
    host.routes.insert(0, of_group);
    let Action::Weighted { clusters, .. } = &mut host.routes[2].action else {
        panic!("not weighted")
    };
    clusters[1].cluster = group;
    clusters[1].response_headers = cookie("s=one.mark.2");
    host
}

#[test]
fn a_session_of_a_control_group_is_one_of_its_version() {
    let host = with_control_group();
    let marked = vec!["s=one.mark.2".to_owned()];
    assert_eq!(set_cookies(&host, 2, 500, "v1"), (marked.clone(), true));
    assert_eq!(set_cookies(&host, 0, 0, "v1"), (marked, false));
}

#[test]
fn a_session_that_failed_over_is_not_of_the_control_group() {
    let host = with_control_group();
    let unmarked = vec!["s=one.2".to_owned()];
    assert_eq!(set_cookies(&host, 2, 499, "v1"), (unmarked, true));
}

/// The users that v2 gets at a weight, by hash.
fn users_on_v2(weight: u32) -> Vec<u64> {
    let mut host = host();
    let route = &mut host.routes[1];
    let Action::Weighted {
        clusters, by_hash, ..
    } = &mut route.action
    else {
        unreachable!()
    };
    *by_hash = true;
    clusters[0].weight = weight;
    clusters[1].weight = 10_000 - weight;
    route.hash = vec![HashPolicy {
        source: HashSource::Header(HeaderName::from_static("x-user")),
        terminal: false,
    }];
    (0..2_000)
        .filter(|user| {
            let mut headers = HeaderMap::new();
            headers.insert("x-user", HeaderValue::from(*user));
            let client = IpAddr::from([127, 0, 0, 1]);
            let mut no_chance = |_| unreachable!("the hash decides");
            let route = &host.routes[1];
            let key = key(&route.hash, &headers, client, &mut no_chance);
            let placement = place(&host, route, key, &mut no_chance).unwrap();
            placement.cluster.version.as_deref() == Some("v2")
        })
        .collect()
}

#[test]
fn by_hash_a_growing_weight_only_wins_users_and_a_rollback_gives_them_back() {
    let weights = [0, 1, 500, 2_500, 2_501, 5_000, 9_999, 10_000];
    let users = weights.map(users_on_v2);
    for pair in users.windows(2) {
        assert!(pair[0].iter().all(|user| pair[1].contains(user)));
    }
    assert_eq!(users_on_v2(500), users[2]);
    let lengths = users.map(|users| users.len());
    assert_eq!((lengths[0], lengths[7]), (0, 2_000));
    // 5 % and 25 % of 2,000, and the 99.999 % interval of the binomial distribution.
    assert!((61..=145).contains(&lengths[2]), "{lengths:?}");
    assert!((416..=586).contains(&lengths[3]), "{lengths:?}");
}

#[test]
fn without_a_hash_chance_decides() {
    let mut host = host();
    if let Action::Weighted { by_hash, .. } = &mut host.routes[1].action {
        *by_hash = true;
    }
    let drawn = |number| {
        let placement = place(&host, &host.routes[1], Key::default(), &mut |_| number).unwrap();
        placement.cluster.version.clone().unwrap()
    };
    assert_eq!((&*drawn(499), &*drawn(500)), ("v2", "v1"));
}
