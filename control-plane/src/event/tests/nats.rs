//! A real NATS server, where there is one.

use super::{
    event, eventually,
    http::{Bus, Delivery, Received, any_port, received_ids},
    installed,
};
use crate::{model::Sink, resource::Period};
use async_nats::{Client, jetstream};
use futures_util::StreamExt as _;
use serde_json::Value;
use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::tempdir;
use tokio::time::sleep;

fn program() -> Option<PathBuf> {
    installed("nats-server", "SEGUE_NATS_SERVER", "SEGUE_REQUIRE_NATS")
}

/// Two users: one who may do all, and one who may not publish.
const USERS: &str = "authorization { users = [
  {user: me, password: pass-word}
  {user: mute, password: pass-word, permissions: {publish: {deny: \"segue.>\"}}}
]}
";

/// A server that runs until it is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    async fn begin(program: &Path, store: &Path, port: Option<u16>) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let port = port.unwrap_or_else(|| free().unwrap().port());
        let config = store.join("server.conf");
        fs::write(&config, USERS).unwrap();
        let child = Command::new(program)
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js"])
            .arg("-sd")
            .arg(store)
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, port };
        drop(server.client().await);
        server
    }

    fn address(&self) -> String {
        format!("nats://me:pass-word@127.0.0.1:{}", self.port)
    }

    async fn client(&self) -> Client {
        for _ in 0..3_000 {
            let options = async_nats::ConnectOptions::with_user_and_password(
                "me".to_owned(),
                "pass-word".to_owned(),
            );
            if let Ok(client) = options.connect(self.address()).await {
                return client;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the NATS server does not come up");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn sink(server: &Server, jet_stream: bool) -> Sink {
    Sink::Nats {
        server: server.address(),
        subject: "segue.upgrades".to_owned(),
        jet_stream,
    }
}

fn id(payload: &[u8]) -> String {
    let event: Value = serde_json::from_slice(payload).unwrap();
    assert_eq!(event["specversion"], "1.0");
    event["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_gets_every_event_in_order() {
    let Some(program) = program() else {
        return;
    };
    let (folder, store) = (tempdir().unwrap(), tempdir().unwrap());
    let server = Server::begin(&program, store.path(), None).await;
    let client = server.client().await;
    let mut messages = client.subscribe("segue.>").await.unwrap();
    client.flush().await.unwrap();
    let delivery = Delivery::begin(folder.path());
    for n in 0..20 {
        delivery
            .outbox
            .append(&event(n), &[sink(&server, false)])
            .unwrap();
    }
    for n in 0..20 {
        let message = messages.next().await.unwrap();
        assert_eq!(id(&message.payload), event(n).id);
        let headers = message.headers.unwrap();
        assert_eq!(
            headers.get("Content-Type").unwrap().as_str(),
            "application/cloudevents+json; charset=UTF-8"
        );
    }
    eventually("all are told", || delivery.pending() == 0).await;
    let shown = format!("{:?}", delivery.outbox.counts());
    assert!(!shown.contains("pass-word"), "{shown}");
    assert_eq!(delivery.failed_tries(), 0);
    delivery.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_does_not_take_is_not_taken_for_told() {
    let Some(program) = program() else {
        return;
    };
    let (folder, store) = (tempdir().unwrap(), tempdir().unwrap());
    let server = Server::begin(&program, store.path(), None).await;
    let delivery = Delivery::begin(folder.path());
    // Not allowed to publish; and a stream that there is not.
    let address = server.address().replace("me:", "mute:");
    let mute = Sink::Nats {
        server: address,
        subject: "segue.upgrades".to_owned(),
        jet_stream: false,
    };
    let sinks = [mute, sink(&server, true)];
    delivery.outbox.append(&event(1), &sinks).unwrap();
    let all_failed = || {
        let counts = delivery.outbox.counts();
        counts.iter().all(|count| count.failed_tries > 20)
    };
    eventually("both fail many times", all_failed).await;
    for count in delivery.outbox.counts() {
        assert_eq!((count.delivered, count.pending), (0, 1));
    }
    delivery.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_server_was_down_misses_nothing() {
    let Some(program) = program() else {
        return;
    };
    let (folder, store) = (tempdir().unwrap(), tempdir().unwrap());
    let server = Server::begin(&program, store.path(), None).await;
    make_stream(&server).await;
    let to = sink(&server, true);
    let delivery = Delivery::begin(folder.path());
    for n in 0..5 {
        delivery
            .outbox
            .append(&event(n), std::slice::from_ref(&to))
            .unwrap();
    }
    eventually("five are told", || delivery.pending() == 0).await;
    let port = server.port;
    drop(server);

    let failed = delivery.failed_tries();
    for n in 5..9 {
        delivery
            .outbox
            .append(&event(n), std::slice::from_ref(&to))
            .unwrap();
    }
    eventually("tries fail", || delivery.failed_tries() > failed + 1).await;
    delivery.end().await;
    let delivery = Delivery::begin(folder.path());
    let server = Server::begin(&program, store.path(), Some(port)).await;
    eventually("all are told", || delivery.pending() == 0).await;
    delivery.end().await;

    // The stream knows by the message's id what comes twice.
    assert_eq!(stored(&server).await, ids(0..9));
}

/// An HTTP sink is down, a NATS server is not: at last both have the same. For a minute's outage:
/// `SEGUE_OUTAGE=60s`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_was_down_and_a_nats_server_receive_the_same() {
    let Some(program) = program() else {
        return;
    };
    let outage = env::var("SEGUE_OUTAGE").unwrap_or_else(|_| "300ms".to_owned());
    let outage = Period::parse(&outage).unwrap().0;
    let (folder, store) = (tempdir().unwrap(), tempdir().unwrap());
    let server = Server::begin(&program, store.path(), None).await;
    make_stream(&server).await;
    let received = Received::default();
    let bus = Bus::open(any_port(), &received, |_| 200).await;
    let (address, sinks) = (bus.address, [bus.sink(), sink(&server, true)]);
    let delivery = Delivery::begin(folder.path());
    delivery.outbox.append(&event(0), &sinks).unwrap();
    eventually("the first is told", || delivery.pending() == 0).await;
    bus.close().await;
    for n in 1..31 {
        delivery.outbox.append(&event(n), &sinks).unwrap();
        sleep(outage / 30).await;
    }
    let bus = Bus::open(address, &received, |_| 200).await;
    eventually("all is told", || delivery.pending() == 0).await;
    assert!(delivery.failed_tries() > 0);
    delivery.end().await;
    bus.close().await;
    assert_eq!(received_ids(&received), ids(0..31));
    assert_eq!(stored(&server).await, ids(0..31));
}

fn ids(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| event(n).id).collect()
}

async fn make_stream(server: &Server) {
    let config = jetstream::stream::Config {
        name: "upgrades".to_owned(),
        subjects: vec!["segue.upgrades".to_owned()],
        ..Default::default()
    };
    let context = jetstream::new(server.client().await);
    drop(context.create_stream(config).await.unwrap());
}

/// The ids of what the stream holds, in its order.
async fn stored(server: &Server) -> Vec<String> {
    let context = jetstream::new(server.client().await);
    let stream = context.get_stream("upgrades").await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let mut stored = Vec::new();
    for seq in 1..=last {
        stored.push(id(&stream.get_raw_message(seq).await.unwrap().payload));
    }
    stored
}
