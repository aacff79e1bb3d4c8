//! Against real servers, by way of the board and back as observations.

use super::{Subject, poll};
use crate::{
    engine::{Board, UpgradeView, VersionNumbers},
    event::tests::{eventually, installed},
    model::{
        ExtraMetric, Key, MetricOutcome, MetricSample, MetricSource, Observed, Phase, Policy,
        Timestamp, UpgradeSpec,
    },
    upgrade,
    web::Client,
};
use axum::{
    Router,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use parking_lot::Mutex;
use std::{
    net::TcpListener as StdListener,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use tempfile::tempdir;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::JoinHandle,
};

pub(super) fn subject() -> Subject {
    Subject {
        upgrade: Key::new("shop", "checkout-v2-1"),
        service: Key::new("shop", "checkout"),
        from: "v1".into(),
        to: "v2".into(),
    }
}

/// A board with one upgrade, in this phase, with these metrics.
fn board(phase: Phase, to: &str, metrics: Vec<ExtraMetric>) -> Arc<Board> {
    let subject = subject();
    let mut policy = Policy::default();
    policy.analysis.metrics = metrics;
    let mut status = upgrade::begin(&policy, 1, Timestamp(0));
    status.phase = phase;
    let view = UpgradeView {
        spec: UpgradeSpec {
            key: subject.upgrade.clone(),
            service: subject.service,
            from: subject.from.clone(),
            to: to.into(),
            paused: false,
        },
        status,
        created: Timestamp(0),
        resource_version: 1,
        steps: policy.steps.len(),
        old: VersionNumbers::new(subject.from),
        new: VersionNumbers::new(to.into()),
        measured: None,
        effective: Arc::new(policy),
        policy: [].into(),
        events: [].into(),
    };
    let mut board = Board::default();
    board.upgrades.insert(subject.upgrade, Arc::new(view));
    Arc::new(board)
}

fn metric(name: &str, source: MetricSource) -> ExtraMetric {
    ExtraMetric {
        name: name.to_owned(),
        interval: Duration::from_millis(10),
        failure_threshold: 3,
        source,
    }
}

fn prometheus(address: &str, query: &str) -> ExtraMetric {
    metric(
        "errors",
        MetricSource::Prometheus {
            address: address.to_owned(),
            query: query.to_owned(),
            min: None,
            max: Some("0.5".to_owned()),
        },
    )
}

/// The poller, at work.
struct Polling {
    board: watch::Sender<Arc<Board>>,
    observed: mpsc::Receiver<Observed>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Polling {
    fn begin(first: Arc<Board>) -> Self {
        let (board, boards) = watch::channel(first);
        let (sender, observed) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let client = Client::new().unwrap();
        let clock = || Timestamp(42);
        let task = tokio::spawn(poll(boards, sender, client, clock, stopped));
        Self {
            board,
            observed,
            stop,
            task,
        }
    }

    async fn next(&mut self) -> MetricSample {
        match self.observed.recv().await.unwrap() {
            Observed::Metric(sample) => sample,
            other => panic!("{other:?}"),
        }
    }
}

type Asked = Arc<Mutex<Vec<(String, String)>>>;

/// A server that answers with what `answer` holds, and keeps what it was asked.
async fn serving(path: &str, answer: Arc<Mutex<(u16, String)>>) -> (String, Asked) {
    let asked = Asked::default();
    let kept = Arc::clone(&asked);
    let take = move |headers: HeaderMap, body: String| async move {
        let content = headers["content-type"].to_str().unwrap().to_owned();
        kept.lock().push((content, body));
        let (status, body) = answer.lock().clone();
        (StatusCode::from_u16(status).unwrap(), body)
    };
    let router = Router::new().route(path, post(take));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (format!("http://{address}"), asked)
}

#[tokio::test]
async fn prometheus_is_asked_while_traffic_shifts_and_what_it_says_is_observed() {
    let sample = |value: &str| {
        let data = format!(r#"{{"resultType":"scalar","result":[1,"{value}"]}}"#);
        (200, format!(r#"{{"status":"success","data":{data}}}"#))
    };
    let answer = Arc::new(Mutex::new(sample("0.25")));
    let (server, asked) = serving("/prom/api/v1/query", Arc::clone(&answer)).await;
    let metrics = vec![prometheus(
        &format!("{server}/prom/"),
        r#"rate(e{v="{{to}}"}[1m])"#,
    )];
    let mut polling = Polling::begin(board(Phase::Preparing, "v2", metrics.clone()));
    polling
        .board
        .send_replace(board(Phase::WarmUp, "v2", metrics.clone()));
    let first = polling.next().await;
    assert_eq!(
        first,
        MetricSample {
            upgrade: subject().upgrade,
            name: "errors".to_owned(),
            at: Timestamp(42),
            outcome: MetricOutcome::Good("0.25".to_owned()),
        }
    );
    let (content, body) = asked.lock()[0].clone();
    assert_eq!(content, "application/x-www-form-urlencoded");
    assert_eq!(body, "query=rate%28e%7Bv%3D%22v2%22%7D%5B1m%5D%29");

    *answer.lock() = sample("0.75");
    while !matches!(polling.next().await.outcome, MetricOutcome::Bad(_)) {}
    *answer.lock() = (503, "busy".to_owned());
    while !matches!(polling.next().await.outcome, MetricOutcome::Unknown(_)) {}

    // Going back needs no metric.
    polling
        .board
        .send_replace(board(Phase::RollingBack, "v2", metrics));
    loop {
        // It asks no more once nothing comes for many of its intervals.
        let before = asked.lock().len();
        tokio::time::sleep(Duration::from_millis(200)).await;
        while polling.observed.try_recv().is_ok() {}
        if asked.lock().len() == before {
            break;
        }
    }
    polling.stop.send_replace(true);
    polling.task.await.unwrap();
    assert!(polling.observed.recv().await.is_none());
}

#[tokio::test]
async fn a_webhook_is_asked_and_a_change_of_the_policy_takes_its_place() {
    let answer = Arc::new(Mutex::new((200, String::new())));
    let (server, asked) = serving("/smoke", Arc::clone(&answer)).await;
    let webhook = |name: &str| {
        let source = MetricSource::Webhook {
            url: format!("{server}/smoke"),
            timeout: Duration::from_secs(20),
        };
        metric(name, source)
    };
    let mut polling = Polling::begin(board(Phase::Shifting, "v2", vec![webhook("smoke")]));
    let good = MetricOutcome::Good("the webhook answered 200".to_owned());
    assert_eq!(polling.next().await.outcome, good);
    *answer.lock() = (200, r#"{"verdict":"Worse","message":"lost"}"#.to_owned());
    let bad = MetricOutcome::Bad("lost".to_owned());
    while polling.next().await.outcome != bad {}
    let (content, body) = asked.lock()[0].clone();
    assert_eq!(content, "application/json");
    assert!(body.contains(r#""phase":"Shifting""#), "{body}");

    let other = board(Phase::Shifting, "v2", vec![webhook("other")]);
    polling.board.send_replace(other);
    while polling.next().await.name != "other" {}
    // What was under way may come still; then none of the old one.
    for _ in 0..3 {
        let _sample = polling.next().await;
    }
    assert_eq!(polling.next().await.name, "other");
}

#[tokio::test]
async fn nobody_there_is_unknown_and_says_no_more_than_where() {
    let port = StdListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let metrics = vec![prometheus(&format!("http://{address}/secret"), "up")];
    let mut polling = Polling::begin(board(Phase::RollbackWindow, "v2", metrics));
    let MetricOutcome::Unknown(text) = polling.next().await.outcome else {
        panic!("known");
    };
    assert!(text.starts_with(&format!("http://{address}: ")), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

/// A program that runs until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_understands_what_it_is_asked() {
    let Some(program) = installed("prometheus", "SEGUE_PROMETHEUS", "SEGUE_REQUIRE_PROMETHEUS")
    else {
        return;
    };
    let folder = tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    std::fs::write(&config, "global: {scrape_interval: 1h}\n").unwrap();
    let port = StdListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let _running = Running(
        Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let up = || std::net::TcpStream::connect(address).is_ok();
    eventually("Prometheus listens", up).await;
    // Strings in both kinds of quotes, with all that would end one.
    let query = "label_replace(vector(0.25), \"v\", \"{{to}}\", \"\", \"\") \
                 or label_replace(vector(0.5), \"v\", '{{to}}x', \"\", \"\")";
    let metrics = vec![prometheus(&format!("http://{address}"), query)];
    let mut polling = Polling::begin(board(Phase::Shifting, "a\"b'c\\d", metrics.clone()));
    let outcome = loop {
        match polling.next().await.outcome {
            // It listens before it answers.
            MetricOutcome::Unknown(text) if text.contains("503") => {}
            outcome => break outcome,
        }
    };
    assert_eq!(outcome, MetricOutcome::Good("0.25, of 2 series".to_owned()));
    let wrong = vec![prometheus(&format!("http://{address}"), "rate(")];
    polling
        .board
        .send_replace(board(Phase::Shifting, "v2", wrong));
    loop {
        if let MetricOutcome::Unknown(text) = polling.next().await.outcome {
            assert!(text.contains("400") && text.contains("parse"), "{text}");
            return;
        }
    }
}
