//! Real HTTP servers as sinks: down, slow to take it, refusing.

use super::{event, eventually, sink};
use crate::{
    event::{Outbox, Pace, deliver},
    model::{ContentMode, Sink, Timestamp},
    web::Client,
};
use axum::{Router, body::Bytes, http::HeaderMap, http::StatusCode, routing::post};
use parking_lot::Mutex;
use serde_json::Value;
use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tempfile::tempdir;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

pub(super) const QUICK: Pace = Pace {
    first: Duration::from_millis(5),
    longest: Duration::from_millis(40),
    one_try: Duration::from_secs(10),
    unnamed: Duration::from_millis(100),
};

/// A delivery that runs.
pub(super) struct Delivery {
    pub(super) outbox: Outbox,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Delivery {
    pub(super) fn begin(folder: &Path) -> Self {
        let outbox = Outbox::open(folder).unwrap();
        let (stop, stopped) = watch::channel(false);
        let client = Client::new().unwrap();
        let task = tokio::spawn(deliver(outbox.clone(), client, QUICK, stopped));
        Self { outbox, stop, task }
    }

    pub(super) async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }

    pub(super) fn failed_tries(&self) -> u64 {
        self.outbox.counts().iter().map(|c| c.failed_tries).sum()
    }

    pub(super) fn pending(&self) -> u64 {
        self.outbox.counts().iter().map(|c| c.pending).sum()
    }
}

pub(super) type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A sink that listens, and keeps what it got.
pub(super) struct Bus {
    pub(super) address: SocketAddr,
    received: Received,
    task: JoinHandle<()>,
}

impl Bus {
    /// `answers`: which status the n-th request gets.
    pub(super) async fn open(
        address: SocketAddr,
        received: &Received,
        answers: fn(usize) -> u16,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Arc::clone(received);
        let take = move |headers: HeaderMap, body: Bytes| async move {
            let mut kept = kept.lock();
            kept.push((headers, body));
            StatusCode::from_u16(answers(kept.len())).unwrap()
        };
        let router = Router::new().route("/in", post(take));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            received: Arc::clone(received),
            task,
        }
    }

    pub(super) async fn close(self) {
        self.task.abort();
        drop(self.task.await);
    }

    pub(super) fn sink(&self) -> Sink {
        sink(&format!("http://{}/in", self.address))
    }
}

pub(super) fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn bodies(received: &Received) -> Vec<Value> {
    let received = received.lock();
    received
        .iter()
        .map(|(_, body)| serde_json::from_slice(body).unwrap())
        .collect()
}

pub(super) fn received_ids(received: &Received) -> Vec<String> {
    let id = |body: &Value| body["id"].as_str().unwrap().to_owned();
    bodies(received).iter().map(id).collect()
}

/// Each once, in the order of their first coming.
fn distinct(ids: Vec<String>) -> Vec<String> {
    let mut seen = Vec::new();
    for id in ids {
        if !seen.contains(&id) {
            seen.push(id);
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_was_down_misses_nothing() {
    let folder = tempdir().unwrap();
    let received = Received::default();
    // Every third one is taken, and said to have failed.
    let flaky = |n: usize| if n.is_multiple_of(3) { 503 } else { 202 };
    let bus = Bus::open(any_port(), &received, flaky).await;
    let (address, to) = (bus.address, bus.sink());
    let delivery = Delivery::begin(folder.path());
    for n in 0..5 {
        delivery
            .outbox
            .append(&event(n), std::slice::from_ref(&to))
            .unwrap();
    }
    eventually("five are told", || delivery.pending() == 0).await;
    bus.close().await;

    let failed = delivery.failed_tries();
    for n in 5..9 {
        delivery
            .outbox
            .append(&event(n), std::slice::from_ref(&to))
            .unwrap();
    }
    eventually("tries fail", || delivery.failed_tries() > failed + 3).await;
    delivery.end().await;

    let delivery = Delivery::begin(folder.path());
    for n in 9..12 {
        delivery
            .outbox
            .append(&event(n), std::slice::from_ref(&to))
            .unwrap();
    }
    eventually("tries fail again", || delivery.failed_tries() > 3).await;
    assert_eq!(delivery.pending(), 7);
    let bus = Bus::open(address, &received, flaky).await;
    eventually("all are told", || delivery.pending() == 0).await;
    delivery.end().await;
    bus.close().await;

    let expected: Vec<String> = (0..12).map(|n| event(n).id).collect();
    assert_eq!(distinct(received_ids(&received)), expected);
    // What came twice is the same.
    let mut by_id: BTreeMap<String, Value> = BTreeMap::new();
    for body in bodies(&received) {
        let id = body["id"].to_string();
        assert_eq!(by_id.entry(id).or_insert_with(|| body.clone()), &body);
    }
    assert!(received.lock().len() > 12, "nothing was tried twice");
    assert_eq!(Outbox::open(folder.path()).unwrap().counts(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_modes_arrive_as_the_binding_has_them() {
    let folder = tempdir().unwrap();
    let received = Received::default();
    let bus = Bus::open(any_port(), &received, |_| 204).await;
    let delivery = Delivery::begin(folder.path());
    let mut strange = event(1);
    strange.id = "shop/a b\"%é/1/1".to_owned();
    delivery.outbox.append(&strange, &[bus.sink()]).unwrap();
    eventually("it came", || received.lock().len() == 1).await;
    let binary = Sink::CloudEvents {
        sink: format!("http://{}/in", bus.address),
        mode: ContentMode::Binary,
    };
    delivery.outbox.append(&strange, &[binary]).unwrap();
    eventually("it came", || received.lock().len() == 2).await;
    delivery.end().await;

    let received = bus.received.lock();
    let (headers, body) = &received[0];
    let structured: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(
        headers["content-type"],
        "application/cloudevents+json; charset=UTF-8"
    );
    assert_eq!(structured["id"], "shop/a b\"%é/1/1");
    let (headers, body) = &received[1];
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["ce-specversion"], "1.0");
    assert_eq!(headers["ce-id"], "shop/a%20b%22%25%C3%A9/1/1");
    assert_eq!(headers["ce-source"], "/segue/shop/checkout");
    assert_eq!(headers["ce-type"], "dev.segue.upgrade.shifting.v1");
    assert_eq!(headers["ce-subject"], "shop/checkout-v2-1");
    assert_eq!(headers["ce-time"], "1970-01-01T00:00:01.001Z");
    assert!(!headers.contains_key("ce-datacontenttype"));
    let data: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(data, structured["data"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_dead_sink_is_dropped_once_no_policy_names_it() {
    let folder = tempdir().unwrap();
    let delivery = Delivery::begin(folder.path());
    let received = Received::default();
    let bus = Bus::open(any_port(), &received, |_| 200).await;
    let (address, to) = (bus.address, bus.sink());
    bus.close().await;
    delivery.outbox.name([to.clone()], Timestamp(0));
    for n in 0..3 {
        delivery
            .outbox
            .append(&event(n), std::slice::from_ref(&to))
            .unwrap();
    }
    let longer = QUICK.unnamed * 3;
    tokio::time::sleep(longer).await;
    assert_eq!(
        delivery.pending(),
        3,
        "a sink that a policy names is waited for"
    );

    delivery.outbox.name([], Timestamp(0));
    eventually("it is let go", || delivery.pending() == 0).await;
    assert_eq!(delivery.outbox.counts()[0].dropped, 3);
    assert!(Outbox::open(folder.path()).unwrap().counts().is_empty());

    let back = Bus::open(address, &received, |_| 200).await;
    delivery.outbox.name([to.clone()], Timestamp(0));
    delivery.outbox.append(&event(7), &[to]).unwrap();
    eventually("a sink that comes back is told anew", || {
        received_ids(&received) == [event(7).id]
    })
    .await;
    delivery.end().await;
    back.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sink_refuses_is_put_by_and_holds_up_nothing() {
    let folder = tempdir().unwrap();
    let received = Received::default();
    // The second of four is refused.
    let bus = Bus::open(any_port(), &received, |n| if n == 2 { 415 } else { 200 }).await;
    let to = bus.sink();
    let delivery = Delivery::begin(folder.path());
    for n in 0..4 {
        delivery
            .outbox
            .append(&event(n), std::slice::from_ref(&to))
            .unwrap();
    }
    eventually("all were offered", || delivery.pending() == 0).await;
    let expected: Vec<String> = (0..4).map(|n| event(n).id).collect();
    assert_eq!(received_ids(&received), expected, "each once, in order");
    let lost: Vec<Value> = bodies(&received)
        .iter()
        .map(|body| body["seguelost"].clone())
        .collect();
    assert_eq!(
        lost,
        [Value::Null, Value::Null, Value::from(1), Value::Null]
    );
    let counts = delivery.outbox.counts();
    assert_eq!(
        (counts[0].refused, counts[0].delivered, counts[0].dropped),
        (1, 3, 0)
    );
    assert_eq!(counts[0].failure, "");
    assert_eq!(delivery.outbox.dead_letters(), 1);
    delivery.end().await;
    bus.close().await;
    let letters = fs::read_to_string(folder.path().join("dead-letters")).unwrap();
    let letter = letters.lines().nth(1).unwrap();
    assert!(
        letter.contains("415") && letter.contains(&event(1).id),
        "{letter}"
    );
    assert_eq!(Outbox::open(folder.path()).unwrap().dead_letters(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_may_pass_is_tried_again() {
    let folder = tempdir().unwrap();
    let received = Received::default();
    let answers = |n: usize| *[302, 408, 425, 429, 500].get(n - 1).unwrap_or(&204);
    let bus = Bus::open(any_port(), &received, answers).await;
    let delivery = Delivery::begin(folder.path());
    delivery.outbox.append(&event(1), &[bus.sink()]).unwrap();
    eventually("it is taken", || delivery.pending() == 0).await;
    assert_eq!(received_ids(&received), vec![event(1).id; 6]);
    assert_eq!(delivery.outbox.dead_letters(), 0);
    delivery.end().await;
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_is_told_what_happens_after_it_was_named_and_nothing_before() {
    let folder = tempdir().unwrap();
    let received = Received::default();
    let bus = Bus::open(any_port(), &received, |_| 200).await;
    let delivery = Delivery::begin(folder.path());
    let (first, later) = (sink("http://127.0.0.1:1/in"), bus.sink());
    delivery.outbox.name([first.clone()], event(0).at);
    delivery
        .outbox
        .name([first.clone(), later.clone()], event(5).at);
    for n in 3..8 {
        delivery
            .outbox
            .append(&event(n), &[first.clone(), later.clone()])
            .unwrap();
    }
    eventually("three are told", || received.lock().len() == 3).await;
    let waiting = |to: &Sink| delivery.outbox.counts_of(std::slice::from_ref(to))[0].pending;
    assert_eq!(waiting(&first), 5, "named from the beginning, and down");
    let expected: Vec<String> = (5..8).map(|n| event(n).id).collect();
    assert_eq!(received_ids(&received), expected);
    delivery.end().await;
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_courier_of_a_sink_that_no_policy_names_goes_and_comes_again() {
    let folder = tempdir().unwrap();
    let received = Received::default();
    let bus = Bus::open(any_port(), &received, |_| 200).await;
    let to = bus.sink();
    let delivery = Delivery::begin(folder.path());
    delivery.outbox.name([to.clone()], Timestamp(0));
    let tell = |n| {
        delivery
            .outbox
            .append(&event(n), std::slice::from_ref(&to))
            .unwrap();
    };
    tell(1);
    eventually("it is told", || delivery.pending() == 0).await;
    let couriers = || delivery.outbox.naming_couriers();
    eventually("a courier waits", || couriers() == 1).await;
    delivery.outbox.name([], Timestamp(0));
    eventually("it goes", || couriers() == 0).await;
    // Told though no policy names it: what an upgrade began with may still end.
    tell(2);
    eventually("it is told", || received.lock().len() == 2).await;
    eventually("it goes again", || couriers() == 0).await;
    delivery.outbox.name([to.clone()], Timestamp(0));
    tell(3);
    eventually("it is told", || received.lock().len() == 3).await;
    delivery.end().await;
    bus.close().await;
}
