//! What refusals, deadlines, slow readers and reflection get.

use super::{BOTH, checkout, covered, running, until};
use crate::{
    control::{refuse, watch::Watch},
    engine::{Board, UpgradeView, VersionNumbers},
    model::{
        Finding, Judgement, Key, Policy, PolicyField, Share, Test, Timestamp, UpgradeSpec, Verdict,
    },
    upgrade,
};
use segue_proto::control::{
    GetUpgradeRequest, ListUpgradesRequest, StartUpgradeRequest, UpgradeCommandRequest,
    WatchUpgradesRequest, watch_upgrades_response::Kind,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tonic::{Code, Request, transport::Endpoint};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt as _;

fn view() -> UpgradeView {
    let policy = Policy::default();
    let mut status = upgrade::begin(&policy, 1, Timestamp(5_000));
    status.judgement = Some(Judgement {
        verdict: Verdict::NotYet,
        requests: 12,
        eta: Some(Duration::from_secs(90)),
        findings: vec![Finding {
            test: Test::Metric("queue".to_owned()),
            verdict: Verdict::NotWorse,
            new: Some(3),
            old: None,
            limit: Some(9),
            smallest_visible: None,
            eta: None,
            shared: false,
            text: "short enough".to_owned(),
        }],
    });
    UpgradeView {
        spec: UpgradeSpec {
            key: Key::new("shop", "checkout-v2-1"),
            service: checkout(),
            from: "v1".into(),
            to: "v2".into(),
            paused: false,
        },
        status,
        created: Timestamp(5_000),
        resource_version: 1,
        steps: 4,
        old: VersionNumbers::new("v1".into()),
        new: VersionNumbers {
            latency_us: Some(12_000),
            new_sessions: 7,
            last_session: Some(Timestamp(6_000)),
            ..VersionNumbers::new("v2".into())
        },
        measured: Share::from_basis_points(2_410),
        effective: Arc::new(policy),
        policy: [PolicyField {
            path: "start".to_owned(),
            value: "Auto".to_owned(),
            source: "built-in".to_owned(),
        }]
        .into(),
        events: [].into(),
    }
}

#[test]
fn judgement_policy_and_sessions_are_told() {
    let upgrade = crate::control::convert::upgrade(&view(), Timestamp(7_000));
    let status = upgrade.status.unwrap();
    let judgement = status.judgement.unwrap();
    assert_eq!(judgement.verdict, "NotYet");
    assert_eq!(judgement.eta.unwrap().seconds, 90);
    assert_eq!(judgement.findings[0].test, "queue");
    assert_eq!(judgement.findings[0].old, None);
    assert_eq!(status.measured_weight, Some(2_410));
    assert_eq!(status.policy[0].source, "built-in");
    let new = status.new.unwrap();
    assert_eq!((new.latency_us, new.new_sessions), (Some(12_000), 7));
    assert_eq!(new.last_session.unwrap().seconds, 6);
}

#[tokio::test]
async fn refusals_carry_details_that_programs_can_read() {
    let mut running = running().await;
    let start = StartUpgradeRequest {
        namespace: "shop".to_owned(),
        service: "checkout".to_owned(),
        to: "v1".to_owned(),
        ..StartUpgradeRequest::default()
    };
    let refused = running.upgrades.start_upgrade(start).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");

    let mut watch = running.watch().await;
    running.catalogs.send(covered(&BOTH)).await.unwrap();
    let upgrade = until(&mut watch, "WarmUp").await;

    let get = GetUpgradeRequest {
        namespace: "shop".to_owned(),
        name: "nothing".to_owned(),
    };
    let refused = running.upgrades.get_upgrade(get).await.unwrap_err();
    let details = refused.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(
        (info.domain.as_str(), info.reason.as_str()),
        ("segue.dev", "NOT_FOUND")
    );
    assert_eq!(
        details.resource_info().unwrap().resource_name,
        "shop/nothing"
    );

    let list = ListUpgradesRequest {
        namespace: "../etc".to_owned(),
    };
    let refused = running.upgrades.list_upgrades(list).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let details = refused.get_error_details();
    let violation = &details.bad_request().unwrap().field_violations[0];
    assert_eq!(violation.field, "namespace");

    let retry = UpgradeCommandRequest {
        namespace: upgrade.namespace,
        name: upgrade.name,
        ..UpgradeCommandRequest::default()
    };
    let refused = running
        .upgrades
        .retry_upgrade(retry.clone())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let details = refused.get_error_details();
    let violation = &details.precondition_failure().unwrap().violations[0];
    assert_eq!(violation.subject, "shop/checkout-v2-1");

    running.stop.send_replace(true);
    while watch.message().await.is_ok_and(|message| message.is_some()) {}
    let refused = running.upgrades.pause_upgrade(retry).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.get_error_details().retry_info().is_some());
}

#[tokio::test]
async fn a_watch_ends_at_its_deadline() {
    let mut running = running().await;
    let mut request = Request::new(WatchUpgradesRequest::default());
    request.set_timeout(Duration::from_millis(400));
    let mut watch = running
        .upgrades
        .watch_upgrades(request)
        .await
        .unwrap()
        .into_inner();
    let ended = loop {
        match watch.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended}");
}

#[tokio::test]
async fn a_slow_reader_gets_the_newest_state_and_no_backlog() {
    let board = |version: u64| {
        let view = UpgradeView {
            resource_version: version,
            ..view()
        };
        Arc::new(Board {
            upgrades: BTreeMap::from([(view.spec.key.clone(), Arc::new(view))]),
            ..Board::default()
        })
    };
    let (boards, watched) = watch::channel(board(1));
    let (sender, mut read) = mpsc::channel(1);
    let clock = || Timestamp(9_000);
    let watch = Watch::new(WatchUpgradesRequest::default(), watched, sender, clock);
    let watching = tokio::spawn(watch.run());
    for version in 2..=500 {
        boards.send_replace(board(version));
        tokio::task::yield_now().await;
    }
    let mut seen = Vec::new();
    while seen.last() != Some(&500) {
        let message = read.recv().await.unwrap().unwrap();
        match message.kind() {
            Kind::Put => seen.push(message.upgrade.unwrap().resource_version),
            kind => assert_eq!(kind, Kind::Synced),
        }
    }
    assert!(seen.len() <= 4, "{seen:?}");
    drop(boards);
    assert!(read.recv().await.is_none());
    watching.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_last_numbers_before_a_quiet_time_are_sent_too() {
    fn clock() -> Timestamp {
        static BEGIN: OnceLock<Instant> = OnceLock::new();
        Timestamp::default().after(BEGIN.get_or_init(Instant::now).elapsed())
    }
    let board = |rate: f64| {
        let mut view = view();
        view.new.requests_per_second = rate;
        Arc::new(Board {
            upgrades: BTreeMap::from([(view.spec.key.clone(), Arc::new(view))]),
            ..Board::default()
        })
    };
    let (boards, watched) = watch::channel(board(100.0));
    let (sender, mut read) = mpsc::channel(1);
    let watch = Watch::new(WatchUpgradesRequest::default(), watched, sender, clock);
    tokio::spawn(watch.run());
    let mut rates = Vec::new();
    while rates.last() != Some(&0.0) {
        let message = read.recv().await.unwrap().unwrap();
        match message.kind() {
            Kind::Put => {
                let new = message.upgrade.unwrap().status.unwrap().new.unwrap();
                rates.push(new.requests_per_second);
            }
            kind => {
                assert_eq!(kind, Kind::Synced);
                boards.send_replace(board(0.0));
            }
        }
    }
    assert_eq!(rates, [100.0, 0.0]);
}

#[test]
fn a_refusal_fits_into_headers() {
    assert_eq!(refuse::some_of(std::iter::empty::<u8>()), "");
    assert_eq!(refuse::some_of(0..3), "0, 1, 2");
    let names = (0..20_000).map(|n| n.to_string().repeat(50));
    assert!(refuse::some_of(names.collect::<Vec<_>>().iter()).ends_with(", and 19990 more"));
    let long = "é".repeat(1_000_000);
    for refusal in [
        refuse::bad_field("name", long.as_str()),
        refuse::not_found(refuse::PROXY, &long, long.clone()),
    ] {
        assert!(refusal.message().len() < 2_100);
        assert!(refusal.details().len() < 8_000);
    }
}

#[tokio::test]
async fn reflection_lists_our_services_and_health() {
    let running = running().await;
    let channel = Endpoint::from_shared(running.address.clone()).unwrap();
    let mut client = ServerReflectionClient::new(channel.connect().await.unwrap());
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = client
        .server_reflection_info(tokio_stream::once(ask))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let names: Vec<&str> = list.service.iter().map(|of| of.name.as_str()).collect();
    for name in [
        "segue.control.v1.UpgradeService",
        "segue.control.v1.ProxyService",
        "grpc.health.v1.Health",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
}
