//! A whole worker between real sockets: clients of this test's, applications of this test's.

mod app;
mod breaker;
mod drain;
mod endings;
mod failure;
mod fuse;
mod malformed;
mod mesh;
mod numbers;
mod protocol;
mod records;
mod split;
mod tcp;

use super::{Settings, spawn};
use crate::{
    listen,
    model::{Snapshot, WorkerLoad},
    store::{Command, ConnectionInfo, OpenStreams, Question},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::{net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration, time::Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot},
};

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(20);

type Body = BoxBody<Bytes, hyper::Error>;

fn empty() -> Body {
    full("")
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed()
}

/// A running worker.
struct Sidecar {
    address: SocketAddr,
    commands: mpsc::UnboundedSender<Command>,
    questions: mpsc::UnboundedReceiver<Question>,
    thread: Option<JoinHandle<()>>,
}

impl Sidecar {
    fn start(snapshot: Snapshot) -> Self {
        Self::start_with(snapshot, |_| {})
    }

    fn start_with(snapshot: Snapshot, change: impl FnOnce(&mut Settings)) -> Self {
        let outbound = listen::bind("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = outbound.local_addr().unwrap();
        let mut settings = Settings::new(outbound, Instant::now(), 7);
        settings.on_demand_timeout = LONG;
        settings.quiet = Duration::ZERO;
        change(&mut settings);
        let (commands, receiver) = mpsc::unbounded_channel();
        let (questions, asked) = mpsc::unbounded_channel();
        let snapshot = Arc::new(snapshot);
        let thread = spawn("test-worker", settings, snapshot, receiver, questions).unwrap();
        Self {
            address,
            commands,
            questions: asked,
            thread: Some(thread),
        }
    }

    async fn command<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> T {
        let (sender, answer) = oneshot::channel();
        self.commands.send(command(sender)).unwrap();
        answer.await.unwrap()
    }

    async fn apply(&self, snapshot: Snapshot) {
        self.command(|done| Command::Apply(Arc::new(snapshot), done))
            .await;
    }

    async fn load(&self) -> WorkerLoad {
        self.command(Command::CollectLoad).await
    }

    async fn connections(&self) -> Vec<ConnectionInfo> {
        self.command(Command::ListConnections).await
    }

    async fn streams(&self) -> OpenStreams {
        self.command(Command::ListStreams).await
    }

    fn drain(&self, deadline: Duration) -> oneshot::Receiver<()> {
        let (done, drained) = oneshot::channel();
        self.commands
            .send(Command::Drain {
                deadline,
                cut: true,
                done,
            })
            .unwrap();
        drained
    }

    async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    async fn get(&self, path: &str) -> Response<Bytes> {
        self.connect().await.get(path, &[]).await
    }

    /// Writes raw bytes and reads until the sidecar closes.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let (closed, _) = mpsc::unbounded_channel();
        self.commands = closed;
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "the worker panicked");
        }
    }
}

/// An HTTP/1.1 client with one connection.
struct Client(http1::SendRequest<Body>);

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self(sender)
    }

    async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
        let mut request = Request::get(path).header("host", "checkout.shop");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(empty()).unwrap()).await
    }

    async fn send(&mut self, request: Request<Body>) -> Response<Bytes> {
        self.0.ready().await.unwrap();
        whole(self.0.send_request(request).await.unwrap()).await
    }
}

async fn whole(response: Response<Incoming>) -> Response<Bytes> {
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}
