//! What refusals, deadlines, slow readers and reflection get.

use super::{BOTH, checkout, covered, running, until};
use crate::{
    control::{Deadlines, convert::Show, page, refuse, upgrade_service, watch::Watch},
    engine::{Board, Handle, Journal, Requests, UpgradeView, VersionNumbers},
    event::Outbox,
    model::{
        Finding, Judgement, Key, Policy, PolicyField, Share, Test, Timestamp, UpgradeSpec, Verdict,
    },
    upgrade,
};
use prost::Message as _;
use segue_proto::control::{
    GetUpgradeRequest, ListUpgradesRequest, StartUpgradeRequest, UpgradeCommandRequest,
    WatchUpgradesRequest, watch_upgrades_response::Kind,
};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    time::Instant,
};
use tonic::{
    Code, Request,
    transport::{Endpoint, server::TcpIncoming},
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt as _;

/// Shows upgrades by a clock of its own.
fn shown(clock: fn() -> Timestamp) -> Show {
    let folder = TempDir::new().unwrap();
    let outbox = Outbox::open(folder.path()).unwrap();
    Show { outbox, clock }
}

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
    let upgrade = shown(|| Timestamp(7_000)).upgrade(&view());
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
        ..ListUpgradesRequest::default()
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

#[test]
fn pages_show_each_upgrade_once_also_where_some_come_and_go_in_between() {
    let key = |n: usize| {
        Key::new(
            if n.is_multiple_of(3) { "shop" } else { "ops" },
            &format!("u-{n:03}"),
        )
    };
    let view = Arc::new(view());
    let mut all: BTreeMap<_, _> = (0..250).map(|n| (key(n), Arc::clone(&view))).collect();
    let ask = |all: &BTreeMap<_, _>, namespace: &str, page_size, page_token: String| {
        let request = ListUpgradesRequest {
            namespace: namespace.to_owned(),
            page_size,
            page_token,
        };
        page::of(all, &request)
    };
    for (size, sizes) in [
        (0, vec![100, 100, 50]),
        (120, vec![120, 120, 10]),
        (9_999, vec![250]),
        (125, vec![125, 125]),
    ] {
        let (mut token, mut seen) = (String::new(), Vec::new());
        loop {
            let (page, next) = ask(&all, "", size, token).unwrap();
            seen.push(page.len());
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen, sizes, "{size}");
    }
    let (first, next) = ask(&all, "shop", 50, String::new()).unwrap();
    assert_eq!((first.len(), next.as_str()), (50, "shop/u-147"));
    // The one that the token names is gone, and so is one of the first page.
    all.remove(&key(147));
    all.remove(&key(0));
    let (second, next) = ask(&all, "shop", 50, next).unwrap();
    assert_eq!((second.len(), next.as_str()), (34, ""));
    for token in ["x", "/", "shop/../etc", "Shop/a"] {
        let refused = ask(&all, "", 0, token.to_owned()).unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{token}");
        assert!(refused.message().starts_with("page_token:"), "{refused}");
    }
    assert_eq!(
        ask(&all, "", -1, String::new()).unwrap_err().code(),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_call_that_is_not_answered_in_time_has_exceeded_its_deadline() {
    // Nobody answers: the verb waits for an engine that does not look.
    let (handle, _unread) = silent_engine();
    let folder = TempDir::new().unwrap();
    let outbox = Outbox::open(folder.path()).unwrap();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    tokio::spawn(
        tonic::transport::Server::builder()
            .layer(Deadlines)
            .add_service(upgrade_service(handle, outbox))
            .serve_with_incoming(incoming),
    );
    // tonic's own client would give up by its own clock.
    for timeout in ["1m", "20m", "90000u"] {
        let status = ask_to_pause(address, timeout).await;
        assert_eq!(status, "4", "{timeout}");
    }
}

/// A handle whose verbs nobody takes.
fn silent_engine() -> (Handle, Requests) {
    let state = TempDir::new().unwrap();
    let (journal, _) = Journal::open(state.path()).unwrap();
    let (_, board) = watch::channel(Arc::default());
    Handle::new(board, journal.decisions().clone())
}

/// The `grpc-status` of a call over a socket of its own.
async fn ask_to_pause(address: SocketAddr, timeout: &str) -> String {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!(
        "http://{address}/segue.control.v1.UpgradeService/PauseUpgrade"
    ))
    .header("content-type", "application/grpc")
    .header("te", "trailers")
    .header("grpc-timeout", timeout)
    .body(())
    .unwrap();
    let (answer, mut body) = client.send_request(request, false).unwrap();
    let message = UpgradeCommandRequest {
        namespace: "shop".to_owned(),
        name: "checkout-v2-1".to_owned(),
        ..UpgradeCommandRequest::default()
    }
    .encode_to_vec();
    let length = u32::try_from(message.len()).unwrap();
    let frame = [&[0][..], &length.to_be_bytes()[..], &message].concat();
    body.send_data(frame.into(), true).unwrap();
    let answer = answer.await.unwrap();
    answer.headers()["grpc-status"].to_str().unwrap().to_owned()
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
    let watch = Watch::new(
        WatchUpgradesRequest::default(),
        watched,
        sender,
        shown(clock),
    );
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
    let watch = Watch::new(
        WatchUpgradesRequest::default(),
        watched,
        sender,
        shown(clock),
    );
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
