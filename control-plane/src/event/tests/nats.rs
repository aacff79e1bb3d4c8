//! A real NATS server, where there is one.

use super::{event, eventually, http::Delivery, installed};
use crate::model::Sink;
use async_nats::{Client, jetstream};
use futures_util::StreamExt as _;
use serde_json::Value;
use std::{
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

/// A server that runs until it is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    async fn begin(program: &Path, store: &Path, port: Option<u16>) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let port = port.unwrap_or_else(|| free().unwrap().port());
        let child = Command::new(program)
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js"])
            .args(["--user", "me", "--pass", "pass-word"])
            .arg("-sd")
            .arg(store)
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
async fn a_stream_whose_server_was_down_misses_nothing() {
    let Some(program) = program() else {
        return;
    };
    let (folder, store) = (tempdir().unwrap(), tempdir().unwrap());
    let server = Server::begin(&program, store.path(), None).await;
    let config = jetstream::stream::Config {
        name: "upgrades".to_owned(),
        subjects: vec!["segue.upgrades".to_owned()],
        ..Default::default()
    };
    let context = jetstream::new(server.client().await);
    drop(context.create_stream(config).await.unwrap());
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

    let context = jetstream::new(server.client().await);
    let stream = context.get_stream("upgrades").await.unwrap();
    let last = stream.cached_info().state.last_sequence;
    let mut stored = Vec::new();
    for seq in 1..=last {
        stored.push(id(&stream.get_raw_message(seq).await.unwrap().payload));
    }
    // The stream knows by the message's id what comes twice.
    let expected: Vec<String> = (0..9).map(|n| event(n).id).collect();
    assert_eq!(stored, expected);
}
